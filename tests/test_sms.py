"""The sender and the text of an SMS: which pass, which are refused and why, and how a text travels."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each

from gateway360_async import InvalidRequest, PinParams, PinRequest, autofill_text
from gateway360_async._models import checked_sender
from gateway360_async._models._sms_size import beyond_gsm_7, sms_size

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

NUMBER = "34666666111"
SENDER = "GOOD PIZZA"


def refused(field, build=PinRequest, **arguments):
    """Have a call refused by a field, and give the error."""
    fields = {"msisdn": NUMBER, "sender": SENDER, **arguments} if build is PinRequest else arguments
    with pytest.raises(InvalidRequest) as caught:
        build(**fields)
    assert caught.value.field == field
    return caught.value


# Senders


@each(
    "sender",
    [
        *("A", "1", "ABCDEFGHIJK", "ABC DEF GHI", "123456789012345", "H&M", "A&B 2.0", "+3466666611"),
        *("CAFÉ", "ÉÑÜçóå"),
    ],
)
def test_sender_of_ascii_and_accents_is_kept(sender):
    assert PinRequest(NUMBER, sender).sender == sender


@each(
    ("written", "sender"),
    [
        *((" GOOD PIZZA", "GOOD PIZZA"), ("GOOD PIZZA\r\n", "GOOD PIZZA"), ("CAFE\u0301", "CAFÉ")),
        *(("\u00a0\t123456789012345 \u2009", "123456789012345"), ("  ABCDEFGHIJK  ", "ABCDEFGHIJK")),
    ],
    ids=ascii,
)
def test_sender_goes_out_stripped_and_composed(written, sender):
    assert PinRequest(NUMBER, written).sender == sender


@each(
    ("sender", "problem"),
    [
        *((None, "is missing"), ("", "is empty"), (" ", "is empty"), ("\u00a0\n", "is empty")),
        *(
            (text, "has 12 characters")
            for text in ("ABCDEFGHIJKL", " ABCDEFGHIJKL", "12345678901A", "+34666666111")
        ),
        ("1234567890123456", "has 16 digits"),
    ],
    ids=ascii,
)
def test_sender_of_no_text_or_too_much_is_refused(sender, problem):
    assert refused("sender", sender=sender).problem == problem


@each(
    ("sender", "character"),
    [
        ("Пицца", "U+041F CYRILLIC CAPITAL LETTER PE at position 1"),
        ("PIZZ\u0410", "U+0410 CYRILLIC CAPITAL LETTER A at position 5"),
        ("PIZZA🍕", "U+1F355 SLICE OF PIZZA at position 6"),
        ("\u0661" * 12, "U+0661 ARABIC-INDIC DIGIT ONE at position 1"),
        ("X²", "U+00B2 SUPERSCRIPT TWO at position 2"),
        ("Straße", "U+00DF LATIN SMALL LETTER SHARP S at position 5"),
        ("X\u0301Y", "U+0301 COMBINING ACUTE ACCENT at position 2"),
        ("A\u200bB", "U+200B ZERO WIDTH SPACE at position 2"),
        ("A\u00a0B", "U+00A0 NO-BREAK SPACE at position 2"),
        ("A\ud800B", "U+D800 at position 2"),
        ("GOOD\nPIZZA", "U+000A at position 5"),
        *((f"A{control}B", f"U+{ord(control):04X} at position 2") for control in "\0\x7f\x85"),
    ],
    ids=ascii,
)
def test_sender_with_another_character_is_refused_by_its_name(sender, character):
    control = any(unicodedata.category(ch) == "Cc" for ch in sender)
    fate = "no phone shows" if control else "the gateway would replace or drop"
    error = refused("sender", sender=sender)
    assert error.problem == f"holds {character}, which {fate}"
    assert len(sender) < 3 or sender not in str(error)


@each("value", [True, 12345, 1.5, b"PIZZA", ["PIZZA"]])
def test_sender_of_another_type_is_asked_for_as_text(value):
    assert str(refused("sender", sender=value)).startswith("sender: expected a sender as text, not ")


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
    for char in "x\U0001f355":  # one outside the basic plane counts one, too
        longest = char * (160 - (pin_length or 6) - 5) + "{PIN}" + char * 5
        assert PinRequest(NUMBER, SENDER, sms_text=longest, pin_params=params).sms_text == longest
        error = refused("sms_text", sms_text=longest + "z", pin_params=params)
        assert "161 characters" in error.problem
        assert longest not in str(error)


@each(
    ("text", "problem"),
    [
        *((text, "holds no {PIN}") for text in ("", "no placeholder", "{ PIN }", "{PIN")),
        ("Your code: {pin}", "holds the placeholder in other letters than {PIN}"),
        ("{PIN} twice {PIN}", "holds {PIN} 2 times"),
        ("\ud83d {PIN} \ude00", "holds half a character, U+D83D at position 1"),
        ("{PIN}\udfff", "holds half a character, U+DFFF at position 6"),
        ("a\t{PIN}", "holds the control character U+0009 at position 2"),
        ("\x1b[2J{PIN}", "holds the control character U+001B at position 1"),
        *(
            (f"{{PIN}}{char}", f"holds the control character U+{ord(char):04X} at position 6")
            for char in "\0\f\x7f\x85"
        ),
    ],
    ids=ascii,
)
def test_text_that_no_phone_could_show_is_refused(text, problem):
    assert refused("sms_text", sms_text=text).problem == problem


@each(
    "text",
    [
        *("{PIN}", "{{PIN}}", "${PIN}", "%{PIN}", "}{PIN}{", "{P{PIN}IN}", "a\nb\r\nc\r{PIN}"),
        "“{PIN}” €👨‍👩‍👧\u2028\u200f",
    ],
    ids=ascii,
)
def test_text_with_one_placeholder_is_kept_to_the_letter(text):
    assert PinRequest(NUMBER, SENDER, sms_text=text).sms_text == text


@each("value", [True, 0, 1.5, b"{PIN}", ["{PIN}"], {"{PIN}": 1}])
def test_text_of_another_type_is_refused(value):
    assert str(refused("sms_text", sms_text=value)).startswith("sms_text: expected a text, not ")


# Units and segments


@each(
    ("text", "length", "expected"),
    [
        (None, 6, (None, None)),  # the vendor's own text
        *(("{PIN}", 6, (6, 1)), ("{{PIN}}", 6, (10, 1)), ("\r\n{PIN}", 6, (8, 1))),
        *((char * 154 + "{PIN}", 6, (160, 1)) for char in "xé"),
        ("Precio: 5€ {PIN}", 6, (18, 1)),  # the euro sign is an escape and a septet
        *(("€" * 77 + "{PIN}", 6, (160, 1)), ("€" * 77 + "x{PIN}", 6, (161, 2))),
        ("€" * 154 + "{PIN}", 6, (314, 3)),  # 76 in each of two: an escape is not split from its septet
        *(("á{PIN}", 6, (7, 1)), ("“{PIN}”", 6, (8, 1))),  # not in GSM-7, so all is UCS-2
        *(("ñ" * 65 + "{PIN}", 6, (71, 1)),),
        *(("á" * 64 + "{PIN}", 6, (70, 1)), ("á" * 65 + "{PIN}", 6, (71, 2))),
        *(("á" * 60 + "{PIN}", 10, (70, 1)),),
        *(("á" * 60 + "{PIN}", 11, (71, 2)), ("á" * 100 + "{PIN}", 6, (106, 2))),
        *(("🍕" * 32 + "{PIN}", 6, (70, 1)), ("🍕" * 80 + "{PIN}", 6, (166, 3))),  # a pair is not split
    ],
    ids=ascii,
)
def test_size_counts_units_and_segments_with_the_pin(text, length, expected):
    request = PinRequest(NUMBER, SENDER, sms_text=text, pin_params=PinParams(length=length))
    assert (request.sms_units, request.sms_segments) == expected


def test_size_at_the_border_of_segments_depends_on_pairs():
    # The same units: in the second text an escape would straddle the border of 153.
    assert sms_size("x" * 306)[1:3] == (306, 2)
    assert sms_size("x" * 152 + "€" + "x" * 152)[1:3] == (306, 3)
    assert sms_size("á" + "x" * 133)[1:3] == (134, 2)
    assert sms_size("x" * 66 + "🍕" + "x" * 66)[1:3] == (134, 3)


def test_gsm_7_has_its_127_characters_and_the_extension():
    sizes = {ch: sms_size(ch)[:2] for ch in map(chr, range(0x10000))}
    assert list(sizes.values()).count(("GSM-7", 1)) == 127  # 128 positions but for the escape
    assert "".join(sorted(ch for ch, size in sizes.items() if size == ("GSM-7", 2))) == "\f[\\]^{|}~€"
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
        ("me@example.com #nice", "xn--exmple-cua.com", "me@example.com #nice\n@xn--exmple-cua.com #{PIN}"),
    ],
    ids=ascii,
)
def test_autofill_text_ends_with_the_line_that_browsers_read(text, domain, built):
    assert autofill_text(text, domain=domain) == built
    request = PinRequest(NUMBER, SENDER, sms_text=built)
    assert parsed(request.sms_text.replace("{PIN}", "123456")) == (domain.lower(), "123456")


OTHER_CODE = "holds another code for a site, which a browser would take instead"


@each(
    ("text", "problem"),
    [
        ("Your code is {PIN}.", "holds {PIN}, which may stand in an SMS once, and the last line has it"),
        *(("@other.com #1234 is a trick", OTHER_CODE), ("see @other.com #1", OTHER_CODE)),
        ("a\0", "holds the control character U+0000 at position 2"),
        ("a\ud800", "holds half a character, U+D800 at position 2"),
    ],
    ids=ascii,
)
def test_autofill_text_that_breaks_the_form_is_refused(text, problem):
    assert refused("text", autofill_text, text=text, domain="example.com").problem == problem


MORE = "holds more than a domain: leave out https://, a port and a path"


@each(
    ("domain", "problem"),
    [
        *((domain, MORE) for domain in ("https://example.com", "example.com/login", "example.com:8443")),
        ("exämple.com", "is not ASCII: write it as browsers send it (xn--…)"),
        *((domain, "has no dot, so it is no public domain") for domain in ("example", "")),
        *(
            (domain, "is no domain")
            for domain in (
                *("example.com.", ".example.com", "*.example.com", "exa mple.com", "example.com\n"),
                *("-example.com", "@example.com", "192.0.2.1", f"{'a' * 64}.com", f"{'a.' * 127}com"),
            )
        ),
    ],
    ids=ascii,
)
def test_autofill_text_refuses_a_bad_domain_with_the_cure(domain, problem):
    error = refused("domain", autofill_text, text="Your code:", domain=domain)
    assert error.problem == problem
    assert "example.com" in error.expected


def test_autofill_text_refuses_other_types():
    refused("text", autofill_text, text=5, domain="example.com")
    refused("domain", autofill_text, text="x", domain=None)
