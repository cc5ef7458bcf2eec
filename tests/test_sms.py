"""The sender and the text of an SMS: which pass, which are refused and why, and how a text travels."""

import unicodedata

import attrs
import pytest
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway360_async import InvalidRequest, PinParams, PinRequest, autofill_text
from gateway360_async._sms import checked_sender
from gateway360_async._text import beyond_gsm_7, sms_size

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

NUMBER = "34666666111"
SENDER = "GOOD PIZZA"


def refused(**fields):
    """Build a request that must be refused, and give the error."""
    with pytest.raises(InvalidRequest) as caught:
        PinRequest(**{"msisdn": NUMBER, "sender": SENDER, **fields})
    return caught.value


# Senders


@each(
    "sender",
    [
        "A",
        "1",
        "ABCDEFGHIJK",
        "ABC DEF GHI",
        "123456789012345",
        "H&M",
        "A&B 2.0",
        "+3466666611",
        "CAFÉ",
        "ÉÑÜçøå".replace("ø", "ó"),
    ],
    ids=ascii,
)
def test_sender_of_ascii_and_accents_is_kept(sender):
    assert PinRequest(NUMBER, sender).sender == sender


@each(
    ("written", "sender"),
    [
        (" GOOD PIZZA", "GOOD PIZZA"),
        ("GOOD PIZZA\r\n", "GOOD PIZZA"),
        ("\u00a0\t123456789012345 \u2009", "123456789012345"),
        ("  ABCDEFGHIJK  ", "ABCDEFGHIJK"),
        ("CAFE\u0301", "CAFÉ"),
    ],
    ids=ascii,
)
def test_sender_goes_out_stripped_and_composed(written, sender):
    assert PinRequest(NUMBER, written).sender == sender


@each(
    ("sender", "problem"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("\u00a0\n", "is empty"),
        ("ABCDEFGHIJKL", "has 12 characters"),
        (" ABCDEFGHIJKL", "has 12 characters"),
        ("12345678901A", "has 12 characters"),
        ("+34666666111", "has 12 characters"),
        ("1234567890123456", "has 16 digits"),
        (
            "Пицца",
            "holds U+041F CYRILLIC CAPITAL LETTER PE at position 1, which the gateway would replace or drop",
        ),
        (
            "PIZZ\u0410",
            "holds U+0410 CYRILLIC CAPITAL LETTER A at position 5, which the gateway would replace or drop",
        ),
        ("PIZZA🍕", "holds U+1F355 SLICE OF PIZZA at position 6, which the gateway would replace or drop"),
        (
            "\u0661" * 12,
            "holds U+0661 ARABIC-INDIC DIGIT ONE at position 1, which the gateway would replace or drop",
        ),
        ("X²", "holds U+00B2 SUPERSCRIPT TWO at position 2, which the gateway would replace or drop"),
        (
            "Straße",
            "holds U+00DF LATIN SMALL LETTER SHARP S at position 5, which the gateway would replace or drop",
        ),
        (
            "X\u0301Y",
            "holds U+0301 COMBINING ACUTE ACCENT at position 2, which the gateway would replace or drop",
        ),
        ("A\u200bB", "holds U+200B ZERO WIDTH SPACE at position 2, which the gateway would replace or drop"),
        ("A\u00a0B", "holds U+00A0 NO-BREAK SPACE at position 2, which the gateway would replace or drop"),
        ("A\ud800B", "holds U+D800 at position 2, which the gateway would replace or drop"),
        ("GOOD\nPIZZA", "holds U+000A at position 5, which no phone shows"),
        ("A\0B", "holds U+0000 at position 2, which no phone shows"),
        ("A\x7fB", "holds U+007F at position 2, which no phone shows"),
        ("A\x85B", "holds U+0085 at position 2, which no phone shows"),
    ],
    ids=ascii,
)
def test_sender_outside_the_rule_is_refused_with_the_reason(sender, problem):
    error = refused(sender=sender)
    assert (error.field, error.problem) == ("sender", problem)
    if len(sender) > 2:
        assert sender not in str(error)


@each("value", [True, 12345, 1.5, b"PIZZA", ["PIZZA"]])
def test_sender_of_another_type_is_asked_for_as_text(value):
    assert str(refused(sender=value)).startswith("sender: expected a sender as text, not ")


def test_sender_none_is_missing():
    assert refused(sender=None).problem == "is missing"


@PROPERTY
@given(st.text(max_size=14))
def test_sender_that_passes_needs_no_second_cleaning(text):
    try:
        sender = checked_sender(text)
    except InvalidRequest as exc:
        assert exc.field == "sender"
    else:
        assert checked_sender(sender) == sender
        base = "".join(ch for ch in unicodedata.normalize("NFKD", sender) if not unicodedata.combining(ch))
        assert base.isascii() and base.isprintable()


# Texts


@each("pin_length", [None, 4, 6, 15, 16])
def test_text_may_fill_160_characters_and_not_one_more(pin_length):
    params = None if pin_length is None else PinParams(length=pin_length)
    rest = 160 - (pin_length or 6)
    longest = "x" * (rest - 5) + "{PIN}" + "y" * 5
    assert PinRequest(NUMBER, SENDER, sms_text=longest, pin_params=params).sms_text == longest
    error = refused(sms_text=longest + "z", pin_params=params)
    assert error.field == "sms_text"
    assert "161 characters" in error.problem
    assert longest not in str(error)


def test_text_character_outside_the_basic_plane_counts_one():
    text = "\U0001f355" * 154 + "{PIN}"
    assert PinRequest(NUMBER, SENDER, sms_text=text).sms_text == text


@each(
    ("text", "problem"),
    [
        ("", "holds no {PIN}"),
        ("no placeholder", "holds no {PIN}"),
        ("{ PIN }", "holds no {PIN}"),
        ("{PIN", "holds no {PIN}"),
        ("Your code: {pin}", "holds the placeholder in other letters than {PIN}"),
        ("{PIN} twice {PIN}", "holds {PIN} 2 times"),
        ("\ud83d {PIN} \ude00", "holds half a character, U+D83D at position 1"),
        ("{PIN}\udfff", "holds half a character, U+DFFF at position 6"),
        ("{PIN}\0", "holds the control character U+0000 at position 6"),
        ("a\t{PIN}", "holds the control character U+0009 at position 2"),
        ("\x1b[2J{PIN}", "holds the control character U+001B at position 1"),
        ("{PIN}\f", "holds the control character U+000C at position 6"),
        ("{PIN}\x7f", "holds the control character U+007F at position 6"),
        ("{PIN}\x85", "holds the control character U+0085 at position 6"),
    ],
    ids=ascii,
)
def test_text_that_no_phone_could_show_is_refused(text, problem):
    error = refused(sms_text=text)
    assert (error.field, error.problem) == ("sms_text", problem)


@each(
    "text",
    [
        "{PIN}",
        "{{PIN}}",
        "${PIN}",
        "%{PIN}",
        "}{PIN}{",
        "{P{PIN}IN}",
        "a\nb\r\nc\r{PIN}",
        "“{PIN}” €👨‍👩‍👧\u2028\u200f",
    ],
    ids=ascii,
)
def test_text_with_one_placeholder_is_kept_to_the_letter(text):
    assert PinRequest(NUMBER, SENDER, sms_text=text).sms_text == text


@each("value", [True, 0, 1.5, b"{PIN}", ["{PIN}"], {"{PIN}": 1}])
def test_text_of_another_type_is_refused(value):
    assert str(refused(sms_text=value)).startswith("sms_text: expected a text, not ")


# Units and segments


def size(text, length=6):
    request = PinRequest(NUMBER, SENDER, sms_text=text, pin_params=PinParams(length=length))
    return request.sms_units, request.sms_segments


def test_size_of_the_vendors_own_text_is_not_known():
    request = PinRequest(NUMBER, SENDER)
    assert (request.sms_units, request.sms_segments) == (None, None)


@each(
    ("text", "expected"),
    [
        ("{PIN}", (6, 1)),
        ("x" * 154 + "{PIN}", (160, 1)),
        ("Precio: 5€ {PIN}", (18, 1)),  # the euro sign is an escape and a septet
        ("é" * 154 + "{PIN}", (160, 1)),
        ("€" * 77 + "{PIN}", (160, 1)),
        ("€" * 77 + "x{PIN}", (161, 2)),
        ("€" * 154 + "{PIN}", (314, 3)),  # 76 in each of two: an escape is not split from its septet
        ("\r\n{PIN}", (8, 1)),
        ("{{PIN}}", (10, 1)),
        ("á{PIN}", (7, 1)),  # á is not in GSM-7, so all is UCS-2
        ("ñ" * 65 + "{PIN}", (71, 1)),
        ("á" * 64 + "{PIN}", (70, 1)),
        ("á" * 65 + "{PIN}", (71, 2)),
        ("á" * 100 + "{PIN}", (106, 2)),
        ("“{PIN}”", (8, 1)),
        ("🍕" * 32 + "{PIN}", (70, 1)),
        ("🍕" * 80 + "{PIN}", (166, 3)),  # 33 in each: a pair of surrogates is not split
    ],
    ids=ascii,
)
def test_size_counts_units_and_segments_with_the_pin(text, expected):
    assert size(text) == expected


def test_size_counts_the_pin_at_its_length():
    text = "á" * 60 + "{PIN}"
    assert size(text, 10) == (70, 1)
    assert size(text, 11) == (71, 2)
    assert attrs.evolve(PinRequest(NUMBER, SENDER, sms_text=text)).sms_units == 66


def test_size_at_the_border_of_segments_depends_on_pairs():
    # The same units: in the second text an escape would straddle the border of 153.
    assert sms_size("x" * 306)[1:3] == (306, 2)
    assert sms_size("x" * 152 + "€" + "x" * 152)[1:3] == (306, 3)
    assert sms_size("á" + "x" * 133)[1:3] == (134, 2)
    assert sms_size("x" * 66 + "🍕" + "x" * 66)[1:3] == (134, 3)


def test_gsm_7_has_its_127_characters_and_the_extension():
    basic = [ch for ch in map(chr, range(0x10000)) if sms_size(ch)[:2] == ("GSM-7", 1)]
    extended = [ch for ch in map(chr, range(0x10000)) if sms_size(ch)[:2] == ("GSM-7", 2)]
    assert len(basic) == 127  # 128 positions but for the escape
    assert "".join(sorted(extended)) == "\f[\\]^{|}~€"


def test_beyond_gsm_7_gives_each_character_once_with_its_first_position():
    assert beyond_gsm_7("aá“á€") == [(2, "á"), (3, "“")]


@PROPERTY
@given(st.text("a€á🍕\n", max_size=200))
def test_size_fits_its_segments_and_not_one_less(text):
    measured = sms_size(text)
    joined = 153 if measured.alphabet == "GSM-7" else 67
    if measured.alphabet == "UCS-2":
        assert measured.units == len(text.encode("utf-16-le")) // 2
    assert measured.units <= measured.room
    # At most one unit of each segment but the last is left empty, for a pair that does not fit.
    assert measured.segments == 1 or measured.units > (measured.segments - 1) * (joined - 1)


# Autofill


def parsed(message):
    """Parse a message as the format's own text says: its last line alone counts."""
    line = message.replace("\r\n", "\n").replace("\r", "\n").split("\n")[-1]
    host, _, rest = line.partition(" ")
    code, _, _ = rest.partition(" ")
    assert host[:1] == "@" and code[:1] == "#" and host[1:] and code[1:]
    return host[1:], code[1:]


@each(
    ("text", "domain", "built"),
    [
        ("Your code for Good Pizza:", "example.com", "Your code for Good Pizza:\n@example.com #{PIN}"),
        ("Tu código\r\n", "Example.COM", "Tu código\r\n@example.com #{PIN}"),
        ("a\nb\n", "login.example.co.uk", "a\nb\n@login.example.co.uk #{PIN}"),
        ("", "localhost", "@localhost #{PIN}"),
        ("me@example.com #nice", "xn--exmple-cua.com", None),
        (
            "write to me@example.com",
            "xn--exmple-cua.com",
            "write to me@example.com\n@xn--exmple-cua.com #{PIN}",
        ),
    ],
    ids=ascii,
)
def test_autofill_text_ends_with_the_line_that_browsers_read(text, domain, built):
    built = built or f"{text}\n@{domain} #{{PIN}}"
    assert autofill_text(text, domain=domain) == built
    request = PinRequest(NUMBER, SENDER, sms_text=built)
    assert parsed(request.sms_text.replace("{PIN}", "123456")) == (domain.lower(), "123456")


@each(
    ("text", "problem"),
    [
        (
            "Your code is {PIN}.",
            "holds {PIN}, which may stand in an SMS once, and the last line has it",
        ),
        ("@other.com #1234 is a trick", "holds another code for a site, which a browser would take instead"),
        ("see @other.com #1", "holds another code for a site, which a browser would take instead"),
        ("a\0", "holds the control character U+0000 at position 2"),
        ("a\ud800", "holds half a character, U+D800 at position 2"),
    ],
    ids=ascii,
)
def test_autofill_text_refuses_words_that_break_the_form(text, problem):
    with pytest.raises(InvalidRequest) as caught:
        autofill_text(text, domain="example.com")
    assert (caught.value.field, caught.value.problem) == ("text", problem)


@each(
    ("domain", "problem"),
    [
        ("https://example.com", "holds more than a domain: leave out https://, a port and a path"),
        ("example.com/login", "holds more than a domain: leave out https://, a port and a path"),
        ("example.com:8443", "holds more than a domain: leave out https://, a port and a path"),
        ("exämple.com", "is not ASCII: write it as browsers send it (xn--…)"),
        ("example", "has no dot, so it is no public domain"),
        ("", "has no dot, so it is no public domain"),
        ("example.com.", "is no domain"),
        (".example.com", "is no domain"),
        ("*.example.com", "is no domain"),
        ("exa mple.com", "is no domain"),
        ("example.com\n", "is no domain"),
        ("-example.com", "is no domain"),
        ("@example.com", "is no domain"),
        ("192.0.2.1", "is no domain"),
        (f"{'a' * 64}.com", "is no domain"),
        (f"{'a.' * 127}com", "is no domain"),
    ],
    ids=ascii,
)
def test_autofill_text_refuses_a_bad_domain_with_the_cure(domain, problem):
    with pytest.raises(InvalidRequest) as caught:
        autofill_text("Your code:", domain=domain)
    assert (caught.value.field, caught.value.problem) == ("domain", problem)
    assert "example.com" in caught.value.expected


@each(("field", "arguments"), [("text", (5, "example.com")), ("domain", ("x", None))])
def test_autofill_text_refuses_other_types(field, arguments):
    text, domain = arguments
    with pytest.raises(InvalidRequest) as caught:
        autofill_text(text, domain=domain)
    assert caught.value.field == field
