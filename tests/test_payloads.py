"""Requests are checked when they are built: what the gateway would refuse costs nothing."""

import pickle
import re
import traceback

import attrs
import pytest
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_data import INVALID_REQUESTS, VALID_REQUESTS, build_request, vector_id

from gateway360_async import InvalidRequest, PinParams, PinRequest, PinType
from gateway360_async._payloads import request_from

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

NUMBER = "34666666111"
SENDER = "GOOD PIZZA"
# Not the number that every message gives as its example.
PERSONAL = "34699887755"
# Python refuses to print it.
HUGE = pytest.param(10**5000, id="huge")


def refused(**fields):
    """Build a request that must be refused, and give the error."""
    with pytest.raises(InvalidRequest) as caught:
        PinRequest(**{"msisdn": NUMBER, "sender": SENDER, **fields})
    return caught.value


@each("vector", VALID_REQUESTS, ids=vector_id)
def test_a_valid_vector_builds(vector):
    request = build_request(vector["fields"])
    wire = vector["wire"]
    assert request.msisdn == wire["msisdn"]
    assert request.sender == wire["sender"]
    assert request.hlr_lookup is bool(wire["hlr_lookup"])
    assert request.sms_text == wire.get("sms_text")
    assert request.report_url == wire.get("report_url")
    assert (request.pin_params is None) is ("pin_params" not in wire)


@each("vector", INVALID_REQUESTS, ids=vector_id)
def test_an_invalid_vector_is_refused_by_field_and_its_value_is_not_echoed(vector):
    with pytest.raises(InvalidRequest) as caught:
        build_request(vector["fields"])
    error = caught.value
    assert error.field == vector["field"]
    assert str(error).startswith(f"{vector['field']}: ")
    value = vector["fields"]
    for name in vector["field"].split("."):
        value = value[name]
    # The short ones ("", "+", "1") are part of any sentence.
    if isinstance(value, str) and len(value) > 2:
        assert value not in str(error)
        assert value not in repr(error)


# msisdn


@each("value", [None, True, 34699887755, 3.4e10, PERSONAL.encode(), [PERSONAL], {}])
def test_a_number_that_is_no_string_is_refused(value):
    error = refused(msisdn=value)
    assert error.field == "msisdn"
    assert PERSONAL not in str(error)


@PROPERTY
@given(st.text(max_size=20))
def test_any_text_is_a_number_of_7_to_15_digits_or_refused(text):
    try:
        msisdn = PinRequest(text, SENDER).msisdn
    except InvalidRequest as exc:
        assert exc.field == "msisdn"
    else:
        assert re.fullmatch(r"[1-9][0-9]{6,14}", msisdn, re.ASCII)


# hlr_lookup


@each(("value", "expected"), [(True, True), (False, False), (1, True), (0, False)])
def test_hlr_lookup_is_true_false_1_or_0(value, expected):
    assert PinRequest(NUMBER, SENDER, hlr_lookup=value).hlr_lookup is expected


@each("value", [None, 2, -1, HUGE, 1.0, 0.0, "1", "", "true", b"1", [], object()])
def test_any_other_hlr_lookup_is_refused(value):
    assert refused(hlr_lookup=value).field == "hlr_lookup"


# report_url


@each(
    "url",
    [
        "http://example.com",
        "https://example.com/dlr?nonce=abc#part",
        "HTTPS://EXAMPLE.COM/",
        "https://example.com:8443/dlr",
        "https://example.com:65535/",
        "https://user:password@example.com/",
        "https://192.0.2.1/dlr",
        "https://[2001:db8::1]/dlr",
        "https://[2001:db8::1]:8443/dlr",
        "https://ex\u00e4mple.com/\u00e9",
        "https://example.com/%20?a=b%0A",
    ],
    ids=ascii,
)
def test_an_absolute_http_url_is_kept_to_the_letter(url):
    assert PinRequest(NUMBER, SENDER, report_url=url).report_url == url


@each(
    "url",
    [
        "",
        " ",
        "/dlr",
        "//example.com/dlr",
        "example.com/dlr",
        "example.com:443/dlr",
        "ftp://example.com/",
        "javascript:alert(1)",
        "mailto:someone@example.com",
        "https:",
        "https:example.com",
        "https://",
        "https:///dlr",
        "https://:443/dlr",
        "https://user@/dlr",
        "https://?nonce=abc",
        "https://example.com:65536/",
        "https://example.com:99999999999/",
        "https://example.com:-1/",
        "https://example.com:port/",
        "https://[2001:db8::1/dlr",
        "https://2001:db8::1]/dlr",
        "https://[nonsense]:80:80/",
        "https://exam ple.com/",
        "https://example.com/a b",
        " https://example.com/",
        "https://example.com/\n",
        "https://example.com/\r\nX-Header: 1",
        "ht\ntps://example.com/",
        "https://exa\tmple.com/",
        "https://example.com/\x00",
        "https://example.com/\x7f",
        "https://example.com/\u2028",
        "https://example.com/\u00a0",
        "https://example.com/\ud800",
    ],
    ids=ascii,
)
def test_anything_else_is_no_report_url(url):
    error = refused(report_url=url)
    assert error.field == "report_url"
    if len(url) > 8:
        assert url not in str(error)


def test_report_url_of_2048_characters_is_kept_and_one_more_refused():
    url = "https://example.com/?".ljust(2048, "n")
    assert PinRequest(NUMBER, SENDER, report_url=url).report_url == url
    assert str(refused(report_url=url + "n")) == (
        "report_url: has 2,049 characters; expected an absolute http:// or https:// URL of at most 2,048 "
        "characters, without spaces or control characters"
    )


@each("value", [True, 0, b"https://example.com/", ["https://example.com/"]])
def test_a_report_url_that_is_no_string_is_refused(value):
    assert refused(report_url=value).field == "report_url"


@PROPERTY
@given(st.text(max_size=30) | st.text(":/[]@?#.%ahtps0 \n", max_size=30).map(lambda rest: "https://" + rest))
def test_any_text_is_a_report_url_or_refused(text):
    try:
        request = PinRequest(NUMBER, SENDER, report_url=text)
    except InvalidRequest as exc:
        assert exc.field == "report_url"
    else:
        assert request.report_url == text
        assert text.isprintable()
        assert " " not in text
        assert text.lower().startswith(("http://", "https://"))


# pin_params


def test_pin_params_have_the_gateways_defaults():
    assert PinParams() == PinParams(PinType.NUMERIC, 6, 3600, 3)
    assert PinParams() == PinParams(type="numeric", length=6, expires_in=3600, max_tries=3)


@each("value", [*PinType, "numeric", "alpha", "alphanumeric"])
def test_a_pin_type_is_given_as_a_member_or_its_value(value):
    assert PinParams(type=value).type is PinType(value)


@each(
    ("field", "value"),
    [
        *(("length", value) for value in range(4, 17)),
        *((name, value) for name in ("expires_in", "max_tries") for value in (0, 1, 2**31, 2**63 - 1)),
    ],
)
def test_a_pin_parameter_within_its_range_is_kept(field, value):
    assert getattr(PinParams(**{field: value}), field) == value


@each(
    ("field", "value"),
    [
        *(("type", value) for value in ("", "NUMERIC", "numeric ", "digits", "PinType.ALPHA", None, 1, True)),
        *(("length", value) for value in (3, 17, 0, -6, 10**30)),
        *((name, value) for name in ("expires_in", "max_tries") for value in (-1, 2**63, -(10**30), 10**30)),
        *(
            (name, value)
            for name in ("length", "expires_in", "max_tries")
            for value in (None, True, False, 6.0, float("nan"), "6", b"6", [6])
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_pin_parameter_outside_its_range_or_of_another_type_is_refused(field, value):
    with pytest.raises(InvalidRequest) as caught:
        PinParams(**{field: value})
    assert caught.value.field == f"pin_params.{field}"
    assert len(str(caught.value)) < 200


@each(
    ("field", "value", "problem"),
    [
        ("length", 3, "too small"),
        ("length", 17, "too large"),
        ("max_tries", -1, "too small"),
        ("expires_in", 2**63, "too large"),
        ("length", None, "expected a whole number from 4 to 16, not None"),
        ("length", True, "not True"),
        ("length", 6.0, "not a float"),
        ("length", "6", "not text"),
        ("type", 5, "not an int"),
    ],
)
def test_the_error_of_a_pin_parameter_says_what_is_wrong_with_it(field, value, problem):
    with pytest.raises(InvalidRequest) as caught:
        PinParams(**{field: value})
    assert problem in caught.value.problem


@each("field", ["length", "expires_in", "max_tries"])
def test_a_number_that_python_refuses_to_print_is_refused_all_the_same(field):
    for value in (10**5000, -(10**5000)):
        with pytest.raises(InvalidRequest) as caught:
            PinParams(**{field: value})
        assert caught.value.field == f"pin_params.{field}"
        assert len(str(caught.value)) < 200


@each("value", [6, "numeric", True, (), [("length", 6)]])
def test_pin_params_that_are_no_pin_params_are_refused(value):
    assert refused(pin_params=value).field == "pin_params"


def test_the_error_of_an_unknown_pin_type_does_not_drag_the_value_along():
    with pytest.raises(InvalidRequest) as caught:
        PinParams(type=NUMBER)
    assert caught.value.__suppress_context__
    assert NUMBER not in str(caught.value)


# The request as a value


def test_the_optional_fields_are_keywords():
    with pytest.raises(TypeError):
        PinRequest(NUMBER, SENDER, True)


def test_requests_are_equal_when_they_mean_the_same():
    assert PinRequest("+34 666 666 111", SENDER) == PinRequest(NUMBER, SENDER, hlr_lookup=1)
    assert len({PinRequest("+34 666 666 111", SENDER), PinRequest(NUMBER, SENDER)}) == 1
    assert PinRequest(NUMBER, SENDER) != PinRequest(NUMBER, SENDER, pin_params=PinParams())


def test_a_request_is_frozen():
    request = PinRequest(NUMBER, SENDER, pin_params=PinParams())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request.msisdn = "34666666222"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request.pin_params.length = 99


def test_a_changed_copy_is_checked_again():
    with pytest.raises(InvalidRequest) as caught:
        attrs.evolve(PinRequest(NUMBER, SENDER), sender="ABCDEFGHIJKL")
    assert caught.value.field == "sender"


def test_a_request_survives_pickling():
    request = PinRequest(NUMBER, SENDER, sms_text="{PIN}", pin_params=PinParams(length=8))
    assert pickle.loads(pickle.dumps(request)) == request


def test_a_repr_masks_the_number_and_leaves_out_text_and_url():
    request = PinRequest(
        NUMBER,
        SENDER,
        sms_text="my text {PIN}",
        report_url="https://example.com/?nonce=n0nce",
        pin_params=PinParams(PinType.ALPHA),
    )
    for text in (repr(request), str(request), f"{request}"):
        assert "34*****111" in text
        assert SENDER in text
        assert "type=alpha" in text
        assert NUMBER not in text
        assert "my text" not in text
        assert "n0nce" not in text


# The rows of a batch


def test_a_ready_request_is_given_back_as_it_is():
    request = PinRequest(NUMBER, SENDER)
    assert request_from(request, sender="OTHER") is request


@each(
    "row",
    [
        "+34 666 666 111",
        {"msisdn": NUMBER},
        {"msisdn": NUMBER, "sender": None},
        {"msisdn": NUMBER, "sender": SENDER},
    ],
    ids=str,
)
def test_a_row_without_a_sender_takes_the_batchs(row):
    assert request_from(row, sender=SENDER) == PinRequest(NUMBER, SENDER)


def test_a_rows_own_sender_comes_first():
    assert request_from({"msisdn": NUMBER, "sender": "OWN"}, sender=SENDER).sender == "OWN"


@each("pin_params", [{"type": "alpha", "length": 8}, PinParams(PinType.ALPHA, 8)])
def test_a_mapping_gives_every_field(pin_params):
    row = {
        "msisdn": NUMBER,
        "sender": SENDER,
        "hlr_lookup": 0,
        "sms_text": "{PIN}",
        "report_url": "https://example.com/",
        "pin_params": pin_params,
    }
    assert request_from(row) == PinRequest(
        NUMBER,
        SENDER,
        hlr_lookup=False,
        sms_text="{PIN}",
        report_url="https://example.com/",
        pin_params=PinParams(PinType.ALPHA, 8),
    )
    assert row["pin_params"] is pin_params, "the caller's row was changed"


def test_an_empty_mapping_of_pin_params_is_the_defaults_spelled_out():
    assert request_from({"msisdn": NUMBER, "sender": SENDER, "pin_params": {}}).pin_params == PinParams()


@each(
    ("row", "field"),
    [
        ({}, "msisdn"),
        ({"sender": SENDER}, "msisdn"),
        ({"msisdn": None}, "msisdn"),
        ({"msisdn": 34699887755}, "msisdn"),
        ("", "msisdn"),
        ("not a number", "msisdn"),
        ({"msisdn": PERSONAL, "hlr_lookup": "1"}, "hlr_lookup"),
        ({"msisdn": PERSONAL, "sender": ""}, "sender"),
        ({"msisdn": PERSONAL, "text": "{PIN}"}, "text"),
        ({"msisdn": PERSONAL, "Sender": SENDER}, "Sender"),
        ({"msisdn": PERSONAL, "api_key": "k"}, "api_key"),
        ({"msisdn": PERSONAL, 1: 2}, "?"),
        ({"msisdn": PERSONAL, "pin_params": {"len": 6}}, "pin_params.len"),
        ({"msisdn": PERSONAL, "pin_params": {None: 6}}, "pin_params.?"),
        ({"msisdn": PERSONAL, "pin_params": {"length": "6"}}, "pin_params.length"),
        ({"msisdn": PERSONAL, "pin_params": {"type": "digits"}}, "pin_params.type"),
        ({"msisdn": PERSONAL, "pin_params": [("length", 6)]}, "pin_params"),
        ({"msisdn": PERSONAL, "pin_params": 6}, "pin_params"),
        (None, "request"),
        (True, "request"),
        (34699887755, "request"),
        (b"34699887755", "request"),
        ([PERSONAL], "request"),
        ((PERSONAL, SENDER), "request"),
        (object(), "request"),
    ],
    ids=lambda value: None if type(value) is object else ascii(value),
)
def test_a_row_that_makes_no_request_is_refused_by_field(row, field):
    with pytest.raises(InvalidRequest) as caught:
        request_from(row, sender=SENDER)
    assert caught.value.field == field
    assert PERSONAL not in str(caught.value)


@each("row", [NUMBER, {"msisdn": NUMBER}, {"msisdn": NUMBER, "sender": None}], ids=str)
def test_a_row_without_any_sender_is_refused(row):
    with pytest.raises(InvalidRequest) as caught:
        request_from(row)
    assert caught.value.field == "sender"


@each(
    "build",
    [
        lambda: PinRequest("bad", "X"),
        lambda: PinParams(length=3),
        lambda: PinRequest("34699887755", "X", sms_text=""),
    ],
    ids=["a number", "a length", "a text"],
)
def test_a_traceback_with_locals_shows_the_half_built_object(build):
    with pytest.raises(InvalidRequest) as caught:
        build()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "Pin" in shown


def test_pin_params_may_be_a_mapping_of_its_fields():
    assert PinRequest("34699887755", "X", pin_params={"length": 8}).pin_params == PinParams(length=8)


@each(
    ("pin_params", "field"),
    [({"length": 3}, "pin_params.length"), ({"size": 6}, "pin_params.size"), (6, "pin_params")],
    ids=str,
)
def test_a_mapping_of_pin_params_is_checked_by_its_fields(pin_params, field):
    with pytest.raises(InvalidRequest) as caught:
        PinRequest("34699887755", "X", pin_params=pin_params)
    assert caught.value.field == field


@each("url", ["https://.", "https://a..b/", "https://exa<mple>.com", "https://example.com\\x"])
def test_a_host_is_made_of_labels_and_a_url_of_its_characters(url):
    with pytest.raises(InvalidRequest) as caught:
        PinRequest("34699887755", "X", report_url=url)
    assert caught.value.field == "report_url"
