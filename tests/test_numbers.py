"""The text that people type becomes the number that they mean, or is refused with the cure; it never becomes another number."""

import inspect
import json
import pickle
import subprocess
import sys
import traceback

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each
from support.loopback import Server
from support.vector_data import NUMBERS, vector_id
from support.written_numbers import COUNTRIES, reading

from gateway360_async import (
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    Ok,
    PinRequest,
    Skipped,
    parse_msisdn,
)
from gateway360_async._numbers import _cleaning, number_reader
from gateway360_async.integrations.worker import request_of, task_of

PROPERTY = settings(deadline=None, max_examples=200, derandomize=True)
NUMBER = "34666666111"
FIXED = "34912345678"


def refused(text, **how):
    """Have a text refused, and give the error: its field is the number's, and it holds no whole number."""
    with pytest.raises(InvalidRequest) as caught:
        parse_msisdn(text, **how)
    error = caught.value
    assert error.field == "msisdn"
    assert not (isinstance(text, str) and len(text.strip()) > 6 and text in str(error))
    return error


# The vectors, wherever a number is read


@each("vector", NUMBERS, ids=vector_id)
def test_vector_is_read_as_it_says(vector):
    text, region = vector["text"], vector.get("region")
    reads = [lambda: parse_msisdn(text, region=region)]
    if region is None:
        reads.append(lambda: PinRequest(text, "PIZZA").msisdn)
    for read in reads:
        if vector.get("refused"):
            with pytest.raises(InvalidRequest, match="^msisdn: "):
                read()
        else:
            assert read() == vector["msisdn"]


async def test_vector_is_read_alike_by_all_calls():
    async with Server() as server:
        for region in {vector.get("region") for vector in NUMBERS}:
            async with Gateway360Client("k", base_url=server.url, sender="X", region=region) as client:
                for vector in (vector for vector in NUMBERS if vector.get("region") == region):
                    text, count = vector["text"], len(server.requests)
                    (in_batch,) = await client.send_all([text])
                    if vector.get("refused"):
                        assert isinstance(in_batch, Skipped)
                        for call in (client.request_pin(text), client.verify_pin(text, "123456")):
                            with pytest.raises(InvalidRequest):
                                await call
                        assert len(server.requests) == count
                    else:
                        assert isinstance(in_batch, Ok)
                        assert isinstance(await client.request_pin(text), Ok)
                        await client.verify_pin(text, "123456")
                        sent = [request.json["msisdn"] for request in server.requests[count:]]
                        assert sent == [vector["msisdn"]] * 3


# Removed characters

INVISIBLE = [
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",  # directions
    *"\u00ad\u200b\u200c\u200d\u2060\ufeff",  # where a line may and may not break
    *"\ufe0e\ufe0f\U000e0101\u180b\u180f",  # variation selectors
]
SPACES = [*" \u00a0\u1680\u2000\u2007\u2009\u202f\u205f\u3000"]
DASHES = [*"-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\ufe63"]


@each("char", INVISIBLE, ids=ascii)
def test_invisible_character_anywhere_is_removed(char):
    text = char + char.join("+34 666") + char
    assert parse_msisdn(f"{text} 666{char} 111") == NUMBER


@each("char", [*SPACES, *DASHES, *"./()"], ids=ascii)
def test_separator_is_removed(char):
    assert parse_msisdn(f"+34{char}666{char}666{char}111") == NUMBER
    assert parse_msisdn(f"0034{char}666{char}666{char}111{char}") == NUMBER
    assert parse_msisdn(f"666{char}666{char}111", region="ES") == NUMBER


@each("zero", [0x660, 0x6F0, 0x966, 0xE50, 0xFF10, 0x1D7CE], ids=hex)
def test_digits_of_any_script_are_digits(zero):
    digits = "".join(chr(zero + int(digit)) for digit in NUMBER)
    assert parse_msisdn(digits) == parse_msisdn(f"+{digits}") == parse_msisdn(f"\uff0b{digits}") == NUMBER
    assert parse_msisdn(digits[2:], region="ES") == NUMBER


@each(
    "written",
    [
        *("'{}", '="{}"', "\t{}\r\n", "\u2028{}\u2029", "\u00a0{}\u3000", "tel:{}", "TEL: {}", "'tel:{}"),
        *(' ="tel:{}" ', '="\'{}"', "\u200e'{}", "{}.0", "{}.00000", '="{}.0"'),
    ],
    ids=ascii,
)
@each("number", [NUMBER, f"+{NUMBER}", f"00{NUMBER}"])
def test_dressing_is_removed(written, number):
    assert parse_msisdn(written.format(number)) == NUMBER
    refused(f'= "{number}"')


def test_table_of_characters_is_bounded(monkeypatch):
    monkeypatch.setattr(_cleaning, "_MOST_CHARACTERS", 0)
    monkeypatch.setattr(_cleaning, "_CHARACTERS", _cleaning._Characters())
    assert parse_msisdn("\u202a+34\u00a0666\u00a0666\u00a0111") == NUMBER
    assert not _cleaning._CHARACTERS


@each("text", ["666666111.0", "34666666111.0", "666666111.00"])
def test_float_of_national_number_is_understood(text):
    assert parse_msisdn(text, region="ES") == NUMBER


# Refused texts


@each(
    ("text", "problem"),
    [
        ("3466666611\u00b2", "holds U+00B2 SUPERSCRIPT TWO at position 11"),
        ("\u24603466666611", "holds U+2460 CIRCLED DIGIT ONE at position 1"),
        ("3466666611\u2170", "holds U+2170 SMALL ROMAN NUMERAL ONE at position 11"),
        ("+34\u202d 666\u0000666", "holds U+0000 at position 9"),
        ("  +34666CALLME", "holds U+0043 LATIN CAPITAL LETTER C at position 9"),
        ("34666\n666111", "holds U+000A at position 6"),
        ("34666\t666111", "holds U+0009 at position 6"),
        ("34666\u2028666111", "holds U+2028 LINE SEPARATOR at position 6"),
        ("34_666_666_111", "holds U+005F LOW LINE at position 3"),
        ("34666666111,34666666222", "holds U+002C COMMA at position 12"),
        ("34666666111;ext=5", "holds U+003B SEMICOLON at position 12"),
        ("+34666666111 x12", "holds U+0078 LATIN SMALL LETTER X at position 14"),
        ("0x34666666111", "holds U+0078 LATIN SMALL LETTER X at position 2"),
        ("34666\ud800111", "holds U+D800 at position 6"),
        ("34666\udce9111", "holds U+DCE9 at position 6"),
        ("34+666666111", "holds U+002B PLUS SIGN at position 3"),
        ("++34666666111", "holds U+002B PLUS SIGN at position 2"),
        ("00+34666666111", "holds U+002B PLUS SIGN at position 3"),
        ("+34666666111+", "holds U+002B PLUS SIGN at position 13"),
        ('"34666666111"', "holds U+0022 QUOTATION MARK at position 1"),
        ('="34666666111', "holds U+003D EQUALS SIGN at position 1"),
        ("''34666666111", "holds U+0027 APOSTROPHE at position 2"),
        ("34.666.666,0", "holds U+002C COMMA at position 11"),
        ("\U0001f4de34666666111", "holds U+1F4DE TELEPHONE RECEIVER at position 1"),
        ("\uff08+34\uff09666666111", "holds U+FF08 FULLWIDTH LEFT PARENTHESIS at position 1"),
    ],
    ids=ascii,
)
def test_wrong_character_is_named_by_code_point_and_position(text, problem):
    assert refused(text).problem == problem


@each(
    "text",
    [
        *("34666666111.5", "3466666611.1", "34666666111.25", "666666111.5", "66666611.1", "346666.66111"),
        *("+34666666111.5", "+49171123456.75", "+491711234567.125", "0171 1234567.0", "0171 1234567.5"),
        *("+49 171 1234567.0", "+49 171 1234567.000"),  # 4917112345670 is a valid number, and another one
    ],
)
@each("region", [None, "ES", "DE"])
def test_decimal_is_refused(text, region):
    assert refused(text, region=region).problem == "is a decimal number"


def test_dot_between_groups_needs_a_plus_or_a_region():
    assert refused("34.666666111").problem == "is a decimal number"
    assert parse_msisdn("+34.666666111") == NUMBER


@each("text", ["3.46667E+10", "3,46667E+10", "3.4E10", "34E9", "+3.46667e+10", "3.e10"])
def test_scientific_notation_is_refused_with_its_cure(text):
    error = refused(text, region="ES")
    assert "scientific" in error.problem
    assert "format the column as text" in error.expected


DATES = "2026-01-15 2026/01/15 2026.1.5 15-01-2026 15/1/2026 1/15/2026 15.01.1999 20-12-2012 '2026-01-15"
ADDRESSES = "192.168.1.100 10.0.0.1 172.16.254.100 212.55.100.200 255.255.255.255"


@each(("texts", "problem"), [(DATES, "is a date"), (ADDRESSES, "is an IP address")])
@each("region", [None, "DK", "ES", "SG", "US", "MA"])
def test_date_or_ip_address_is_refused(texts, problem, region):
    for text in texts.split():
        assert refused(text, region=region).problem == problem


@each(
    "text",
    [
        *("2026-01-15 10:30:00", "20260115", "1.234.567", "12.345.678", "1,234,567", "1 234 567"),
        *("1.234.567.890", "+1 212-555-0100-12", "+1 212 555 0100 1234", "+49 171 1234567-123"),
        *("+351 911 111 111/99", "+34 666 666 111 / 666 666 222", "+34666666111-5", "+49 1511 234567 89 10"),
    ],
)
@each("region", [None, "ES", "IT", "PT"])
def test_amount_or_number_with_more_digits_is_refused(text, region):
    refused(text, region=region)


@each("text", ["", " ", "+", "00", "()", "-", "\u200e", "'", '=""', "tel:", "\ufeff\n"])
def test_nothing_is_refused_as_empty(text):
    assert refused(text).problem == "is empty"


@each(
    ("text", "problem"),
    [
        ("+034666666111", "starts with 0, which no country calling code does"),
        ("00034666666111", "starts with 0, which no country calling code does"),
        ("+0034666666111", "starts with 0, which no country calling code does"),
        ("+9991234567", "starts with no country calling code that there is"),
        ("+2101234567", "starts with no country calling code that there is"),
        ("+34 666 666", "has too few digits after +34"),
        ("+34 666 666 1111", "has too many digits after +34"),
        ("+34 (0)666666111", "has too many digits after +34"),
        ("+1 555 0100", "lacks its area code after +1"),
        ("+1", "has 1 digits"),
        ("+34", "has 2 digits"),
        ("+49 1234", "has 6 digits"),
        ("+49 171 1234 5678 9012 34", "has too many digits after +49"),
        ("+39 0347 1234567", "holds a national trunk 0, which is not dialled from abroad"),
        ("1234567890123456", "has 16 digits"),
        ("12", "has 2 digits"),
        ("9" * 251, "has 251 characters"),
    ],
)
def test_impossible_number_is_refused(text, problem):
    assert refused(text).problem == problem


@each(
    ("value", "text"),
    [
        (None, "msisdn: is missing; expected a number with its country calling code"),
        (34666666111, "msisdn: expected a number as text, such as '+34666666111', not an int"),
        (34666666111.0, "msisdn: expected a number as text, such as '+34666666111', not a float"),
        (True, "msisdn: expected a number as text, such as '+34666666111', not True"),
        (b"34666666111", "msisdn: expected a number as text, such as '+34666666111', not bytes"),
    ],
    ids=repr,
)
def test_number_that_is_no_text_says_so(value, text):
    with pytest.raises(InvalidRequest) as caught:
        parse_msisdn(value)
    assert str(caught.value).startswith(text)


# National and international


@each(
    ("text", "msisdn"),
    [
        ("+44 07911 123456", "447911123456"),
        ("0044 07911 123456", "447911123456"),
        ("+33 0612345678", "33612345678"),
        ("+33 (0) 6 12 34 56 78", "33612345678"),
        ("+49 0171 1234567", "491711234567"),
        ("+351 911 111 111", "351911111111"),
        ("+7 8 912 345-67-89", "79123456789"),
        ("4407911123456", "447911123456"),
        ("(+34) 666 666 111", NUMBER),
        ("(0034) 666.666.111", NUMBER),
        ("+ 34 666 666 111", NUMBER),
        ("00 34 666 666 111", NUMBER),
        ("+34-666-666-111", NUMBER),
        ("+2250707070707", "2250707070707"),
        ("+39 347 1234567", "393471234567"),
        ("+54 9 11 2345 6789", "5491123456789"),
        ("+883510000000094", "883510000000094"),
    ],
)
@each("region", [None, "ES"])
def test_international_number_is_understood(text, msisdn, region):
    assert parse_msisdn(text, region=region) == msisdn


@each(
    ("text", "region", "msisdn"),
    [
        ("666 666 111", "ES", NUMBER),
        ("666 666 111", "es", NUMBER),
        ("07911 123456", "GB", "447911123456"),  # of Guernsey, and right
        ("(07911) 123456", "GB", "447911123456"),
        ("06 12 34 56 78", "FR", "33612345678"),
        ("06.12.34.56.78", "FR", "33612345678"),
        ("0171/1234567", "DE", "491711234567"),
        ("0171.1234567", "DE", "491711234567"),
        ("347.1234567", "IT", "393471234567"),
        ("(212) 555.0100", "US", "12125550100"),
        ("1-212-555-0100", "US", "12125550100"),
        ("011 34 666 666 111", "US", NUMBER),  # as one dials abroad from there
        ("8 912 345-67-89", "RU", "79123456789"),
        ("321 1234567", "CO", "573211234567"),
        # With a calling code, and without a plus
        (NUMBER, "ES", NUMBER),
        ("34 666 666 111", "FR", NUMBER),
        ("33612345678", "FR", "33612345678"),
        ("447911123456", "GB", "447911123456"),
        ("491711234567", "DE", "491711234567"),  # and no fixed line of 0491
        ("393471234567", "IT", "393471234567"),
        ("12125550100", "US", "12125550100"),
    ],
)
def test_number_with_region_is_understood(text, region, msisdn):
    assert parse_msisdn(text, region=region) == msisdn


@each("text", ["666666111", "0666666111", "06 12 34 56 78", "07911 123456", "2125550100"])
def test_national_number_without_region_names_both_cures(text):
    error = refused(text)
    assert "+34…" in error.expected
    assert 'region="ES"' in error.expected


def test_number_that_is_neither_names_the_region():
    error = refused("666 666 1110", region="ES")
    assert error.problem == "is neither a valid number of ES nor a valid international one"


def test_two_readings_without_trunk_prefix_are_refused():
    error = refused("15123456789", region="DE")
    assert error.problem.startswith("can be read in two ways")
    assert "+49…" in error.expected
    assert "+1…" in error.expected
    assert parse_msisdn("015123456789", region="DE") == "4915123456789"
    assert parse_msisdn("+15123456789", region="DE") == "15123456789"


def test_two_readings_without_any_trunk_prefix_are_national():
    """A mobile of Italy, and one of Austria with its calling code."""
    both = "4369938077"
    assert parse_msisdn(both, region="IT") == f"39{both}"
    assert parse_msisdn(f"+{both}") == both
    reader = number_reader("IT", "sms")
    assert all(map(reader.two_readings, (both, "436 993 8077")))
    assert not any(map(reader.two_readings, (f"+{both}", "347 1234567", None, reader.read(both))))
    assert not number_reader(None, "sms").two_readings(both)
    assert not number_reader("DE", "sms").two_readings("491711234567")


def test_own_calling_code_makes_no_fixed_line():
    """0491 1711234567 would be a valid fixed line in Leer, and no fixed line receives an SMS."""
    for text in ("491711234567", "49 171 1234567"):
        assert parse_msisdn(text, region="DE") == "491711234567"
    # As of Indonesia a fixed line in either reading, and said so of the international one.
    with pytest.raises(InvalidRequest, match="is a fixed line of ID"):
        parse_msisdn("62218350123", region="ID")


def test_two_readings_of_own_code_are_refused_for_any_line():
    error = refused("491711234567", region="DE", line_types="any")
    assert error.problem.startswith("can be read in two ways")


# Lines


@each(
    ("text", "region", "line"),
    [
        ("+34 912 345 678", None, "a fixed line of ES"),
        ("912345678", "ES", "a fixed line of ES"),
        ("4930123456", "DE", "a fixed line of DE"),  # with its calling code, or as 04930 123456
        (FIXED, None, "a fixed line of ES"),
        ("+34 803 123 456", None, "a premium-rate number of ES"),
        ("+34 900 123 456", None, "a toll-free number of ES"),
        ("+34 901 123 456", None, "a shared-cost number of ES"),
        ("+34 511 234 567", None, "a company's access number of ES"),
        ("+49 177 991234567", None, "a voice mailbox of DE"),
        ("+49 164 12345", None, "a pager of DE"),
        ("+800 1234 5678", None, "a toll-free number"),
    ],
)
def test_line_without_sms_is_refused_unless_any_is_wanted(text, region, line):
    error = refused(text, region=region)
    assert error.problem == f"is {line}, which receives no SMS"
    assert 'line_types="any"' in error.expected
    if not text.startswith("49"):  # which then has two readings
        digits = parse_msisdn(text, region=region, line_types="any")
        assert digits == parse_msisdn(f"+{digits}", line_types="any")


def test_possible_number_that_is_not_valid_needs_its_plus():
    assert parse_msisdn("+34 666 666 111") == NUMBER
    assert parse_msisdn("+34 555 123 456") == "34555123456"  # a range that libphonenumber does not know yet
    refused("34555123456")


@pytest.mark.parametrize("line_types", [None, "SMS", "", 1, "mobile"])
def test_choice_of_lines_that_there_is_not_is_refused(line_types):
    with pytest.raises(InvalidRequest, match="^line_types: "):
        parse_msisdn(NUMBER, line_types=line_types)
    with pytest.raises(InvalidRequest, match="^line_types: "):
        PinRequest(NUMBER, "X", line_types=line_types)
    with pytest.raises(InvalidConfiguration, match="^line_types: "):
        Gateway360Client("k", line_types=line_types)


@pytest.mark.parametrize(
    "region", ["", "XX", "ZZ", "001", "ESP", "Spain", 34, b"ES", ["ES"], "\u0415S", "UK"]
)
def test_region_that_there_is_not_is_refused(region):
    with pytest.raises(InvalidRequest, match="^region: ") as caught:
        parse_msisdn(NUMBER, region=region)
    assert "'ES'" in caught.value.expected
    with pytest.raises(InvalidConfiguration, match="^region: ") as caught:
        Gateway360Client("k", region=region)
    assert ("did you mean 'GB'" in str(caught.value)) is (region == "UK")


# A number is checked once

UNKNOWN = "+34 555 123 456"  # possible, and not valid: to check its digits anew would refuse it


def test_checked_number_is_not_checked_again():
    digits = parse_msisdn(UNKNOWN)
    request = PinRequest(digits, "X")
    copies = [
        attrs.evolve(request, sender="Y"),
        pickle.loads(pickle.dumps(request)),
        attrs.evolve(pickle.loads(pickle.dumps(request)), sender="Y"),
        PinRequest(pickle.loads(pickle.dumps(digits)), "X"),
        request_of(json.loads(json.dumps(task_of(request, "k"))))[0],
    ]
    assert {copy.msisdn for copy in copies} == {"34555123456"}


def test_line_types_are_kept_and_stay_off_the_wire():
    request = PinRequest(f"+{FIXED}", "X", line_types="any")
    task = json.loads(json.dumps(task_of(request, "k")))
    assert task["request"]["line_types"] == "any"
    assert "line_types" not in task_of(PinRequest(NUMBER, "X"), "k")["request"]
    for copy in (
        attrs.evolve(request, sender="Y"),
        pickle.loads(pickle.dumps(request)),
        request_of(task)[0],
        attrs.evolve(request_of(task)[0], sender="Y"),
    ):
        assert (copy.msisdn, copy.line_types) == (FIXED, "any")


def test_request_for_any_line_is_checked_again_for_sms():
    request = PinRequest(f"+{FIXED}", "X", line_types="any")
    with pytest.raises(InvalidRequest, match="receives no SMS"):
        attrs.evolve(request, line_types="sms")
    unknown = PinRequest(UNKNOWN, "X", line_types="any")
    assert attrs.evolve(unknown, line_types="sms").msisdn == "34555123456"
    assert attrs.evolve(PinRequest(NUMBER, "X"), line_types="any").msisdn == NUMBER


@each("number", ["", "+34666666111x", "0", "666", 34666666111, None])
def test_number_of_a_task_that_cannot_be_is_refused(number):
    task = task_of(PinRequest(NUMBER, "X"), "k")
    task["request"]["msisdn"] = number
    with pytest.raises(InvalidRequest, match="^msisdn: "):
        request_of(task)


async def test_client_sends_to_any_line_if_it_is_told_to():
    async with Server() as server:
        settings = {"base_url": server.url, "sender": "X", "region": "ES"}
        async with Gateway360Client("k", line_types="any", **settings) as client:
            rows = ["912 345 678", {"msisdn": "912 345 679"}, {"msisdn": "912345670", "line_types": "sms"}]
            results = [await client.request_pin("912 345 671"), *await client.send_all(rows)]
        async with Gateway360Client("k", **settings) as client:
            results += await client.send_all([{"msisdn": "912 345 672", "line_types": "any"}, "912 345 673"])
            results.append(await client.send(PinRequest("+34912345674", "X", line_types="any")))
    assert [type(result) for result in results] == [Ok, Ok, Ok, Skipped, Ok, Skipped, Ok]
    assert "line_types" not in server.requests[0].json


# Secrets, and the whole


@each("text", ["+49 171 1234567-123", "34666666111x", "15123456789", "666 666 1110", FIXED])
def test_traceback_of_refusal_holds_no_number(text):
    with pytest.raises(InvalidRequest) as caught:
        parse_msisdn(text, region="DE")
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
    shown = f"{frames!r} {[frame.locals for frame in frames]} {caught.value!r}"
    assert text not in shown
    assert caught.value.__context__ is None


@PROPERTY
@given(
    st.text(max_size=40) | st.text("0123456789+ .-()/\u200e\u00a0'=\"\u0663", max_size=24),
    st.sampled_from([None, "ES", "DE", "US"]),
)
def test_any_text_is_digits_or_refused(text, region):
    try:
        digits = parse_msisdn(text, region=region)
    except InvalidRequest as exc:
        assert exc.field == "msisdn"
        assert len(text) < 7 or text not in str(exc)
    else:
        assert digits.isascii()
        assert digits.isdigit()
        assert 7 <= len(digits) <= 15
        assert parse_msisdn(f"+{digits}", region=region) == digits


@PROPERTY
@given(st.integers(0, 10**8 - 1), st.data())
def test_number_means_its_digits_however_it_is_separated(tail, data):
    digits = f"346{tail:08}"
    separators = st.text("".join([*SPACES, *"-/()", *INVISIBLE]), max_size=2)
    written = data.draw(separators) + data.draw(st.sampled_from(["", "+", "00"]))
    written += "".join(data.draw(separators) + digit for digit in digits) + data.draw(separators)
    assert parse_msisdn(written) == digits


@each("region", COUNTRIES)
def test_national_mobiles_are_right_or_refused(region):
    """A smaller count of what `python -m benchmarks.numbers` shows of 2,000."""
    _, ways, right, refusals, _ = reading(region, 60)
    assert right == ways
    assert refusals >= 0.95 * ways


# When phonenumbers is imported

SCRIPT = """
import sys
import gateway360_async
def there(): return any(name.split(".")[0] == "phonenumbers" for name in sys.modules)
def regions(): return sorted(name[-2:] for name in sys.modules if name.startswith("phonenumbers.data.region_"))
assert not there()
from gateway360_async import Gateway360Client, PinRequest, SpendGuard
SpendGuard(allowed_prefixes={"34"})
assert not there()
%s
assert there()
first = regions()
PinRequest("34666666111", "X"); PinRequest("34666666112", "X")
print(first, regions())
"""


@pytest.mark.parametrize(
    ("made", "regions"),
    [
        ('Gateway360Client("k")', "['US'] ['ES', 'US']"),
        ('Gateway360Client("k", region="PT")', "['PT', 'US'] ['ES', 'PT', 'US']"),
        ('PinRequest("351911111111", "X")', "['PT', 'US'] ['ES', 'PT', 'US']"),
    ],
)
def test_metadata_is_imported_as_it_is_met(made, regions):
    done = subprocess.run([sys.executable, "-c", SCRIPT % made], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == regions


def test_signature_is_the_documented_one():
    assert str(inspect.signature(parse_msisdn)) == (
        "(text: 'str', *, region: 'str | None' = None, line_types: 'LineTypes' = 'sms') -> 'str'"
    )
