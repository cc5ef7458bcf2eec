"""The gateway's refusals, by id, status and text; and it accepts each published request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.cases import each
from support.sandbox_account import KEY, LEFT_OUT, Account, fields

from gateway360_async.sandbox import HLR_FAIL_PREFIX

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "requests.json").read_text("utf-8"))
OK = (200, {"status": "ok"})
RAW = json.dumps(fields()).encode()


def refused(
    body: Any, content_type: str | None = "application/json", **settings: Any
) -> tuple[int, str, str]:
    """Ask, check that nothing was sent, and return HTTP status, error id and text."""
    account = Account(**settings)
    status, envelope = account.post(body, content_type)
    assert not account.messages
    assert list(envelope) == ["status", "error_id", "error_msg"]
    assert envelope["status"] == "error"
    return status, envelope["error_id"], envelope["error_msg"]


@each("wire", [v["wire"] for v in VECTORS if v["valid"]], ids=lambda wire: str(len(wire)))
def test_gateway_published_request_is_accepted(wire):
    account = Account()
    assert account.post({"api_key": KEY, **wire}) == OK
    (message,) = account.messages
    pin_params = wire.get("pin_params", {})
    assert (message.msisdn, message.sender) == (wire["msisdn"], wire["sender"])
    assert message.report_url == wire.get("report_url")
    assert len(message.pin) == pin_params.get("length", 6)
    assert message.max_tries == pin_params.get("max_tries", 3)
    if "sms_text" in wire:
        assert message.text == wire["sms_text"].replace("{PIN}", message.pin)
        assert len(message.text) <= 160


NOT_JSON_TYPES = (
    None,
    "",
    "text/json",
    "application/jsonp",
    "application/x-www-form-urlencoded",
    "charset=utf-8",
)


@each("content_type", ["application/json", "Application/JSON;x=y", " application/json ; charset=utf-8"])
def test_content_type_of_json_is_accepted(content_type):
    assert Account().post(fields(), content_type) == OK


@each("content_type", NOT_JSON_TYPES)
def test_content_type_of_another_kind_is_refused(content_type):
    assert refused(fields(), content_type)[:2] == (400, "INVALID_CONTENT_TYPE")


@each(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b'"x"', b"1", b"api_key=x&msisdn=34666666111"),
        RAW + b"x",
        RAW[:-1],
        json.dumps(fields()).encode("utf-16"),
        b"\xef\xbb\xbf" + RAW,
        b'{"api_key":"\xff"}',
        json.dumps(fields(x=float("nan"))).encode(),
        RAW[:-1] + b',"sender":"OTHER"}',
        RAW[:-1] + b',"pin_params":{"length":4,"length":6}}',
        b'{"x":' * 10_000,
        b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=lambda body: repr(body[-20:]),
)
def test_body_that_is_no_json_object_is_refused(body):
    assert refused(body) == (400, "JSON_PARSE_ERROR", "Your JSON was formatted incorrectly.")


@each("name", ["api_key", "msisdn", "sender"])
def test_mandatory_field_left_out_is_named(name):
    status, error_id, text = refused(fields(**{name: LEFT_OUT}))
    assert (status, error_id) == (400, "MISSING_PARAMS")
    assert name in text


UNAUTHORIZED = (401, "UNAUTHORIZED", "Your API key may be invalid or your IP is blocked.")


@each("key", ["", "another", KEY.upper(), KEY + " ", None, 1, [KEY], {KEY: KEY}])
def test_key_of_another_account_is_refused(key):
    assert refused(fields(api_key=key)) == UNAUTHORIZED


def test_key_that_is_blocked_is_refused():
    assert refused(fields(), blocked_keys=[KEY]) == UNAUTHORIZED
    assert Account(blocked_keys=["another"]).post(fields()) == OK


MSISDNS = (
    *("", "123456", "1234567890123456", "+34666666111", "0034666666111", "0666666111", "34 666 666 111"),
    *("34666666111\n", "3466666611\u00b2", "\u0663\u0664666666111", 34666666111, None, ["34666666111"]),
)
SENDERS = (
    *("", "   ", "ABCDEFGHIJKL", "1234567890123456", "PIZZA1234567", "\u00b2" * 12, "\u0661" * 12),
    *("GOOD\nPIZZA", "A\u0000B", "A\ud800", 5, None, {}),
)
URLS = (
    *("", "ftp://example.com/x", "/dlr", "example.com/dlr", "https:///dlr", "https://exa mple.com/"),
    *(
        "https://example.com/\r\nX: y",
        "https://[::1",
        "https://example.com:port/",
        "https://example.com/\ud800",
    ),
    *(5, None, []),
)


@each(
    ("name", "value"),
    [("msisdn", v) for v in MSISDNS] + [("sender", v) for v in SENDERS] + [("report_url", v) for v in URLS],
)
def test_field_that_is_wrong_is_named(name, value):
    status, error_id, text = refused(fields(**{name: value}))
    # A string that is no MSISDN is the number's matter; anything else about a field is the request's.
    number = name == "msisdn" and isinstance(value, str)
    assert (status, error_id) == ((200, "INVALID_NUMBER") if number else (400, "BAD_PARAMS"))
    assert text.startswith(name)


@each("url", ["http://example.com", "HTTPS://example.com:8443/a?b=c#d", "https://[::1]/x"])
def test_report_url_is_kept_as_it_is(url):
    account = Account()
    assert account.ask(report_url=url) == "ok"
    assert account.messages[0].report_url == url


@each("value", [True, False, 2, -1, 0.5, 1.0, "1", "yes", None, [1]])
def test_hlr_lookup_that_is_not_0_or_1_is_refused(value):
    assert refused(fields(hlr_lookup=value))[:2] == (400, "INVALID_HLR_LOOKUP_PARAM")


@each(
    ("text", "pin_params"),
    [
        *(
            (text, {"length": 6})
            for text in ("", "no place", "{pin}", "{PIN} {PIN}", "{PIN} \ud800", 5, None)
        ),
        ("{PIN} \udfff", {"length": 6}),
        *(("x" * (161 - length) + "{PIN}", {"length": length}) for length in (4, 6, 16)),
        ("x" * 155 + "{PIN}", {}),  # counted with the default PIN
    ],
)
def test_sms_text_that_is_wrong_is_refused(text, pin_params):
    assert refused(fields(sms_text=text, pin_params=pin_params))[:2] == (400, "INVALID_SMS_TEXT")


@each("pin_params", [{}, {"length": 6}, {"length": 4}, {"length": 16}])
def test_sms_text_of_160_characters_is_accepted(pin_params):
    account = Account()
    filling = "\u00e9" * (160 - pin_params.get("length", 6))
    assert account.ask(sms_text=filling + "{PIN}", pin_params=pin_params) == "ok"
    assert len(account.messages[0].text) == 160


WHOLE = (True, "6", 6.0, 6.5, None, -1, 2**63, [6])


@each(
    "pin_params",
    [
        *(None, [], "numeric", 6),
        *({"type": value} for value in ("Numeric", "", "hex", None, 1, ["numeric"])),
        *({"length": value} for value in (*WHOLE, 0, 3, 17)),
        *({"expires_in": value} for value in WHOLE),
        *({"max_tries": value} for value in WHOLE),
    ],
)
def test_pin_params_that_are_wrong_are_refused(pin_params):
    status, error_id, text = refused(fields(pin_params=pin_params))
    assert (status, error_id) == (400, "INVALID_PIN_PARAMS")
    assert text.startswith("pin_params")


def test_pin_params_of_64_bits_are_accepted():
    account = Account()
    assert account.ask(pin_params={"expires_in": 2**63 - 1, "max_tries": 2**63 - 1}) == "ok"
    assert account.reasons == [None]


def test_sender_that_is_forbidden_is_refused():
    settings = {"forbidden_senders": ["BANK"]}
    assert refused(fields(sender="BANK"), **settings)[:2] == (400, "INVALID_SENDER")
    assert Account(**settings).ask(sender="BANKER") == "ok"


@each(
    ("number", "hlr_lookup", "prefix", "fails"),
    [
        ("347441234", 1, HLR_FAIL_PREFIX, True),
        ("347441234", LEFT_OUT, "34744", True),
        ("347441234", 0, HLR_FAIL_PREFIX, False),
        ("4912345678", 1, "49", True),
        ("347441234", 1, "49", False),
    ],
)
def test_hlr_lookup_fails_for_a_prefix(number, hlr_lookup, prefix, fails):
    body = fields(msisdn=number, hlr_lookup=hlr_lookup)
    if fails:
        said = (200, "INVALID_NUMBER", "HLR query returned error.")
        assert refused(body, hlr_fail_prefix=prefix) == said
    else:
        assert Account(hlr_fail_prefix=prefix).post(body) == OK


def test_field_that_is_not_published_is_ignored_and_logged():
    account = Account()
    body = fields(custom="x", pin_params={"length": 4, "colour": "red"})
    assert account.post(body) == OK
    assert account.requests[0].body == {**body, "api_key": "*****"}


def test_checks_come_in_their_order():
    """Each step repairs the fault that was named, and the next one comes to light."""
    settings = {"balance": 0, "forbidden_senders": ["BANK"]}
    wrong: dict[str, Any] = {
        "api_key": "another",
        "sender": "",
        "hlr_lookup": "x",
        "pin_params": 1,
        "sms_text": "",
        "report_url": "",
    }
    assert refused(b"{", "text/plain", **settings)[1] == "INVALID_CONTENT_TYPE"
    assert refused(b"{", **settings)[1] == "JSON_PARSE_ERROR"
    assert refused(wrong, **settings)[1] == "UNAUTHORIZED"
    wrong["api_key"] = KEY
    assert refused(wrong, **settings)[1] == "MISSING_PARAMS"
    wrong["msisdn"] = HLR_FAIL_PREFIX + "1234"
    assert refused(wrong, **settings)[1] == "BAD_PARAMS"
    wrong["sender"] = "BANK"
    found = set()
    for name in ("pin_params", "hlr_lookup", "sms_text", "report_url"):
        found.add(refused(wrong, **settings)[1])
        del wrong[name]
    assert found == {"INVALID_PIN_PARAMS", "INVALID_HLR_LOOKUP_PARAM", "INVALID_SMS_TEXT", "BAD_PARAMS"}
    assert refused(wrong, **settings)[1] == "INVALID_SENDER"
    wrong["sender"] = "GOOD PIZZA"
    assert refused(wrong, **settings)[1] == "INVALID_NUMBER"
    wrong["hlr_lookup"] = 0
    assert refused(wrong, **settings)[:2] == (400, "NOT_ENOUGH_BALANCE")
