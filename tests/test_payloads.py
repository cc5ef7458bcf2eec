"""Requests are checked when they are built: one that the gateway would refuse costs nothing."""

import pickle
import re
import traceback

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each
from support.vector_data import INVALID_REQUESTS, VALID_REQUESTS, build_request, vector_id

from gateway360_async import InvalidRequest, PinParams, PinRequest, PinType
from gateway360_async._models import request_from

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

NUMBER = "34666666111"
SENDER = "GOOD PIZZA"
PERSONAL = "34699887755"  # not the number that every message gives as its example
HUGE = 10**5000  # Python refuses to print it


def refused(field, build=PinRequest, **fields):
    """Have a request refused by a field, and give the error, which shows neither number nor long value."""
    values = fields if build is PinParams else {"msisdn": PERSONAL, "sender": SENDER, **fields}
    with pytest.raises(InvalidRequest) as caught:
        build(**values)
    error = caught.value
    assert error.field == field
    assert str(error).startswith(f"{field}: ")
    assert len(str(error)) < 200
    assert PERSONAL not in f"{error} {error!r}"
    return error


@each("vector", VALID_REQUESTS, ids=vector_id)
def test_request_of_a_valid_vector_holds_its_wire_form(vector):
    request, wire = build_request(vector["fields"]), vector["wire"]
    assert request.hlr_lookup is bool(wire["hlr_lookup"])
    for name in ("msisdn", "sender", "sms_text", "report_url"):
        assert getattr(request, name) == wire.get(name)
    assert (request.pin_params is None) is ("pin_params" not in wire)


@each("vector", INVALID_REQUESTS, ids=vector_id)
def test_request_of_an_invalid_vector_is_refused_by_field(vector):
    with pytest.raises(InvalidRequest) as caught:
        build_request(vector["fields"])
    error = caught.value
    assert error.field == vector["field"]
    value = vector["fields"]
    for name in vector["field"].split("."):
        value = value[name]
    # The short ones ("", "+", "1") are part of any sentence.
    if isinstance(value, str) and len(value) > 2:
        assert value not in f"{error} {error!r}"


# Fields


@each(
    ("field", "values"),
    [
        ("msisdn", [None, True, int(PERSONAL), 3.4e10, PERSONAL.encode(), [PERSONAL], {}]),
        ("hlr_lookup", [None, 2, -1, HUGE, 1.0, 0.0, "1", "", "true", b"1", [], object()]),
        ("report_url", [True, 0, b"https://example.com/", ["https://example.com/"]]),
        ("pin_params", [6, "numeric", True, (), [("length", 6)]]),
    ],
    ids=str,
)
def test_field_of_another_type_is_refused_by_name(field, values):
    for value in values:
        refused(field, **{field: value})


@PROPERTY
@given(st.text(max_size=20))
def test_number_of_any_text_has_7_to_15_digits_or_is_refused(text):
    try:
        msisdn = PinRequest(text, SENDER).msisdn
    except InvalidRequest as exc:
        assert exc.field == "msisdn"
    else:
        assert re.fullmatch(r"[1-9][0-9]{6,14}", msisdn, re.ASCII)


@each(("value", "expected"), [(True, True), (False, False), (1, True), (0, False)])
def test_hlr_lookup_is_true_false_1_or_0(value, expected):
    assert PinRequest(NUMBER, SENDER, hlr_lookup=value).hlr_lookup is expected


@each(
    "url",
    [
        *("http://example.com", "https://example.com/dlr?nonce=abc#part", "HTTPS://EXAMPLE.COM/"),
        *("https://example.com:8443/dlr", "https://example.com:65535/", "https://192.0.2.1/dlr"),
        *("https://user:password@example.com/",),
        *("https://[2001:db8::1]/dlr", "https://[2001:db8::1]:8443/dlr"),
        *("https://ex\u00e4mple.com/\u00e9", "https://example.com/%20?a=b%0A"),
        "https://example.com/?".ljust(2048, "n"),
    ],
    ids=ascii,
)
def test_report_url_that_is_absolute_is_kept_to_the_letter(url):
    assert PinRequest(NUMBER, SENDER, report_url=url).report_url == url


@each(
    "url",
    [
        *("", " ", "/dlr", "//example.com/dlr", "example.com/dlr"),
        *("example.com:443/dlr", "ftp://example.com/"),
        *("javascript:alert(1)", "mailto:someone@example.com", "https:", "https:example.com", "https://"),
        *("https:///dlr", "https://:443/dlr", "https://user@/dlr", "https://?nonce=abc"),
        *(f"https://example.com:{port}/" for port in ("65536", "99999999999", "-1", "port")),
        *("https://[2001:db8::1/dlr", "https://2001:db8::1]/dlr", "https://[nonsense]:80:80/"),
        *("https://exam ple.com/", "https://example.com/a b"),
        *(" https://example.com/", "ht\ntps://example.com/"),
        *("https://exa\tmple.com/", "https://.", "https://a..b/"),
        *("https://exa<mple>.com", "https://example.com\\x"),
        *(
            f"https://example.com/{end}"
            for end in ("\n", "\r\nX: 1", "\0", "\x7f", "\u2028", "\u00a0", "\ud800")
        ),
    ],
    ids=ascii,
)
def test_report_url_of_another_form_is_refused(url):
    error = refused("report_url", report_url=url)
    assert len(url) <= 8 or url not in str(error)


def test_report_url_of_2049_characters_is_refused():
    assert str(refused("report_url", report_url="https://example.com/?".ljust(2049, "n"))) == (
        "report_url: has 2,049 characters; expected an absolute http:// or https:// URL of at most 2,048 "
        "characters, without spaces or control characters"
    )


@PROPERTY
@given(st.text(max_size=30) | st.text(":/[]@?#.%ahtps0 \n", max_size=30).map(lambda rest: "https://" + rest))
def test_report_url_of_any_text_is_printable_http_or_refused(text):
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


@each(
    ("field", "values"),
    [
        ("type", [*PinType, "numeric", "alpha", "alphanumeric"]),
        ("length", range(4, 17)),
        ("expires_in", [0, 1, 2, 2**31, 2**63 - 1]),
        ("max_tries", [0, 1, 2, 2**31, 2**63 - 1]),
    ],
)
def test_pin_parameter_within_its_range_is_kept(field, values):
    for value in values:
        assert getattr(PinParams(**{field: value}), field) == value
    assert type(PinParams(type="alpha").type) is PinType


NO_INTEGERS = [None, True, False, 6.0, float("nan"), "6", b"6", [6], HUGE, -HUGE, 10**30, -(10**30)]


@each(
    ("field", "values"),
    [
        ("type", ["", "NUMERIC", "numeric ", "digits", "PinType.ALPHA", None, 1, True]),
        ("length", [3, 17, 0, -6, *NO_INTEGERS]),
        ("expires_in", [-1, 2**63, *NO_INTEGERS]),
        ("max_tries", [-1, 2**63, *NO_INTEGERS]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pin_parameter_outside_its_range_is_refused_by_name(field, values):
    for value in values:
        refused(f"pin_params.{field}", PinParams, **{field: value})


@each(
    ("field", "value", "problem"),
    [
        *(("length", 3, "is too small"), ("length", 17, "is too large"), ("max_tries", -1, "is too small")),
        ("length", None, "expected a whole number from 4 to 16, not None"),
        ("length", "6", "expected a whole number from 4 to 16, not text"),
        ("type", 5, "expected 'numeric', 'alpha' or 'alphanumeric', not an int"),
    ],
)
def test_pin_parameter_error_says_what_is_wrong(field, value, problem):
    assert refused(f"pin_params.{field}", PinParams, **{field: value}).problem == problem


def test_pin_type_error_does_not_drag_the_value_along():
    error = refused("pin_params.type", PinParams, type=PERSONAL)
    assert error.__suppress_context__


# The request as a value


def test_request_takes_its_optional_fields_by_keyword():
    with pytest.raises(TypeError):
        PinRequest(NUMBER, SENDER, True)


def test_requests_are_equal_when_they_mean_the_same():
    assert PinRequest("+34 666 666 111", SENDER) == PinRequest(NUMBER, SENDER, hlr_lookup=1)
    assert len({PinRequest("+34 666 666 111", SENDER), PinRequest(NUMBER, SENDER)}) == 1
    assert PinRequest(NUMBER, SENDER) != PinRequest(NUMBER, SENDER, pin_params=PinParams())


def test_request_is_frozen_pickles_and_is_checked_when_copied():
    request = PinRequest(NUMBER, SENDER, sms_text="{PIN}", pin_params=PinParams(length=8))
    for value, field in ((request, "msisdn"), (request.pin_params, "length")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field, 99)
    assert pickle.loads(pickle.dumps(request)) == request
    with pytest.raises(InvalidRequest, match="^sender: "):
        attrs.evolve(request, sender="ABCDEFGHIJKL")


def test_request_repr_masks_the_number_and_leaves_out_texts():
    request = PinRequest(
        NUMBER,
        SENDER,
        sms_text="my text {PIN}",
        report_url="https://example.com/?nonce=n0nce",
        pin_params=PinParams(PinType.ALPHA),
    )
    for text in (repr(request), str(request), f"{request}"):
        assert all(shown in text for shown in ("34*****111", SENDER, "type=alpha"))
        assert not any(hidden in text for hidden in (NUMBER, "my text", "n0nce"))


@each(
    "build",
    [
        lambda: PinRequest("bad", "X"),
        lambda: PinParams(length=3),
        lambda: PinRequest("34699887755", "X", sms_text=""),
    ],
    ids=["a number", "a length", "a text"],
)
def test_request_half_built_can_be_shown_in_a_traceback(build):
    with pytest.raises(InvalidRequest) as caught:
        build()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "Pin" in shown


# The rows of a batch


def test_row_that_is_a_request_is_given_back_as_it_is():
    request = PinRequest(NUMBER, SENDER)
    assert request_from(request, sender="OTHER") is request


@each("row", ["+34 666 666 111", *({"msisdn": NUMBER, **more} for more in ({}, {"sender": None}))], ids=str)
def test_row_without_a_sender_takes_the_batchs(row):
    assert request_from(row, sender=SENDER) == PinRequest(NUMBER, SENDER)
    with pytest.raises(InvalidRequest, match="^sender: "):
        request_from(row)


@each("pin_params", [{"type": "alpha", "length": 8}, PinParams(PinType.ALPHA, 8)])
def test_row_of_a_mapping_gives_every_field(pin_params):
    fields = {"hlr_lookup": 0, "sms_text": "{PIN}", "report_url": "https://example.com/"}
    row = {"msisdn": NUMBER, "sender": "OWN", **fields, "pin_params": pin_params}
    expected = PinRequest(NUMBER, "OWN", **fields, pin_params=PinParams(PinType.ALPHA, 8))
    assert request_from(row, sender=SENDER) == PinRequest(**row) == expected
    assert row["pin_params"] is pin_params, "the caller's row was changed"
    assert request_from({**row, "pin_params": {}}).pin_params == PinParams()


@each(
    ("row", "field"),
    [
        *(({}, "msisdn"), ({"sender": SENDER}, "msisdn"), ({"msisdn": None}, "msisdn"), ("", "msisdn")),
        *(({"msisdn": int(PERSONAL)}, "msisdn"), ("not a number", "msisdn")),
        *(
            ({"msisdn": PERSONAL, "hlr_lookup": "1"}, "hlr_lookup"),
            ({"msisdn": PERSONAL, "sender": ""}, "sender"),
        ),
        *(({"msisdn": PERSONAL, name: "x"}, name) for name in ("text", "Sender", "api_key")),
        *(({"msisdn": PERSONAL, 1: 2}, "?"), ({PERSONAL: 1}, "?")),
        *(
            ({"msisdn": PERSONAL, "pin_params": params}, f"pin_params{field}")
            for params, field in [
                *(({"len": 6}, ".len"), ({None: 6}, ".?")),
                *(({"length": "6"}, ".length"), ({"length": 3}, ".length")),
                *(({"type": "digits"}, ".type"), ([("length", 6)], ""), (6, "")),
            ]
        ),
        *((row, "request") for row in (None, True, int(PERSONAL), PERSONAL.encode(), [PERSONAL], object())),
    ],
    ids=lambda value: None if type(value) is object else ascii(value),
)
def test_row_that_makes_no_request_is_refused_by_field(row, field):
    with pytest.raises(InvalidRequest) as caught:
        request_from(row, sender=SENDER)
    assert caught.value.field == field
    assert PERSONAL not in str(caught.value)
