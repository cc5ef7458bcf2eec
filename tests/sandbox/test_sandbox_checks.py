"""What the gateway refuses, by which id, status and text; and that it accepts what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cases import each

from gateway360_async.sandbox import HLR_FAIL_PREFIX
from gateway360_async.sandbox._gateway import Gateway

KEY = "a-key-of-a-test"
PATH = "/api/2fa/request"
GOOD = {"api_key": KEY, "msisdn": "34666666111", "sender": "GOOD PIZZA", "hlr_lookup": 1}
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "requests.json").read_text("utf-8"))
LEFT_OUT = object()


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **fields}.items() if value is not LEFT_OUT}


def ask(
    gateway: Gateway, body: Any, content_type: str | None = "application/json"
) -> tuple[int, dict[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = gateway.handle(PATH, content_type, raw)
    kept = gateway.requests[-1]
    assert (kept.http_status, kept.envelope) == answer
    assert kept.size == len(raw)
    return answer


def refused(
    body: Any, content_type: str | None = "application/json", **settings: Any
) -> tuple[int, str, str]:
    """Ask, check that nothing was sent, and return HTTP status, error id and text."""
    gateway = Gateway(KEY, **settings)
    status, envelope = ask(gateway, body, content_type)
    assert not gateway.messages
    assert envelope.keys() == {"status", "error_id", "error_msg"}
    assert envelope["status"] == "error"
    return status, envelope["error_id"], envelope["error_msg"]


@each("wire", [v["wire"] for v in VECTORS if v["valid"]], ids=lambda wire: str(len(wire)))
def test_every_published_request_is_accepted(wire):
    gateway = Gateway(KEY)
    assert ask(gateway, {"api_key": KEY, **wire}) == (200, {"status": "ok"})
    (message,) = gateway.messages
    pin_params = wire.get("pin_params", {})
    assert (message.msisdn, message.sender) == (wire["msisdn"], wire["sender"])
    assert message.report_url == wire.get("report_url")
    assert len(message.pin) == pin_params.get("length", 6)
    assert message.max_tries == pin_params.get("max_tries", 3)
    if "sms_text" in wire:
        assert message.text == wire["sms_text"].replace("{PIN}", message.pin)
        assert len(message.text) <= 160


@each(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;x=y", " application/json "],
)
def test_content_types_that_are_json(content_type):
    assert ask(Gateway(KEY), GOOD, content_type) == (200, {"status": "ok"})


@each(
    "content_type",
    [None, "", "text/json", "application/jsonp", "application/x-www-form-urlencoded", "charset=utf-8"],
)
def test_content_types_that_are_not(content_type):
    assert refused(GOOD, content_type)[:2] == (400, "INVALID_CONTENT_TYPE")


@each(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"api_key=x&msisdn=34666666111",
        json.dumps(GOOD).encode() + b"x",
        json.dumps(GOOD).encode()[:-1],
        json.dumps(GOOD).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        b'{"api_key":"\xff"}',
        json.dumps({**GOOD, "x": float("nan")}).encode(),
        json.dumps(GOOD).encode()[:-1] + b',"sender":"OTHER"}',
        json.dumps(GOOD).encode()[:-1] + b',"pin_params":{"length":4,"length":6}}',
        b'{"x":' * 10_000,
        b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=lambda body: repr(body[-20:]),
)
def test_what_is_not_json(body):
    assert refused(body) == (400, "JSON_PARSE_ERROR", "Your JSON was formatted incorrectly.")


@each("name", ["api_key", "msisdn", "sender"])
def test_mandatory_fields(name):
    status, error_id, text = refused(changed(**{name: LEFT_OUT}))
    assert (status, error_id) == (400, "MISSING_PARAMS")
    assert name in text


UNAUTHORIZED = (401, "UNAUTHORIZED", "Your API key may be invalid or your IP is blocked.")


@each("key", ["", "another", KEY.upper(), KEY + " ", None, 1, [KEY], {KEY: KEY}])
def test_keys_that_are_not_the_accounts(key):
    assert refused(changed(api_key=key)) == UNAUTHORIZED


def test_a_blocked_key():
    assert refused(GOOD, blocked_keys=[KEY]) == UNAUTHORIZED
    assert ask(Gateway(KEY, blocked_keys=["another"]), GOOD) == (200, {"status": "ok"})


MSISDNS = (
    "",
    "123456",
    "1234567890123456",
    "+34666666111",
    "0034666666111",
    "0666666111",
    "34 666 666 111",
    "34666666111\n",
    "3466666611\u00b2",
    "\u0663\u0664666666111",
    34666666111,
    None,
    ["34666666111"],
)
SENDERS = (
    "",
    "   ",
    "ABCDEFGHIJKL",
    "1234567890123456",
    "PIZZA1234567",
    "\u00b2" * 12,
    "\u0661" * 12,
    "GOOD\nPIZZA",
    "A\u0000B",
    "A\ud800",
    5,
    None,
    {},
)
URLS = (
    "",
    "ftp://example.com/x",
    "/dlr",
    "example.com/dlr",
    "https:///dlr",
    "https://exa mple.com/",
    "https://example.com/\r\nX: y",
    "https://[::1",
    "https://example.com:port/",
    "https://example.com/\ud800",
    5,
    None,
    [],
)


@each(
    ("name", "value"),
    [("msisdn", v) for v in MSISDNS] + [("sender", v) for v in SENDERS] + [("report_url", v) for v in URLS],
)
def test_bad_params(name, value):
    status, error_id, text = refused(changed(**{name: value}))
    # A string that is no MSISDN is the number's matter; anything else about a field is the request's.
    number = name == "msisdn" and isinstance(value, str)
    assert (status, error_id) == ((200, "INVALID_NUMBER") if number else (400, "BAD_PARAMS"))
    assert text.startswith(name)


@each("url", ["http://example.com", "HTTPS://example.com:8443/a?b=c#d", "https://[::1]/x"])
def test_report_urls(url):
    gateway = Gateway(KEY)
    assert ask(gateway, changed(report_url=url)) == (200, {"status": "ok"})
    assert gateway.messages[0].report_url == url


@each("value", [True, False, 2, -1, 0.5, 1.0, "1", "yes", None, [1]])
def test_invalid_hlr_lookup(value):
    assert refused(changed(hlr_lookup=value))[:2] == (400, "INVALID_HLR_LOOKUP_PARAM")


@each(
    ("text", "pin_length"),
    [
        ("", 6),
        ("no place", 6),
        ("{pin}", 6),
        ("{PIN} {PIN}", 6),
        ("{PIN} \ud800", 6),
        ("{PIN} \udfff", 6),
        ("x" * 155 + "{PIN}", 6),
        ("x" * 157 + "{PIN}", 4),
        ("x" * 145 + "{PIN}", 16),
        (5, 6),
        (None, 6),
    ],
)
def test_invalid_sms_text(text, pin_length):
    body = changed(sms_text=text, pin_params={"length": pin_length})
    assert refused(body)[:2] == (400, "INVALID_SMS_TEXT")


@each(("filling", "pin_length"), [(154, 6), (156, 4), (144, 16)])
def test_the_longest_sms_text(filling, pin_length):
    gateway = Gateway(KEY)
    body = changed(sms_text="\u00e9" * filling + "{PIN}", pin_params={"length": pin_length})
    assert ask(gateway, body) == (200, {"status": "ok"})
    assert len(gateway.messages[0].text) == 160


def test_the_length_of_a_text_is_counted_with_the_default_pin():
    assert refused(changed(sms_text="x" * 155 + "{PIN}"))[:2] == (400, "INVALID_SMS_TEXT")
    assert ask(Gateway(KEY), changed(sms_text="x" * 154 + "{PIN}"))[0] == 200


WHOLE = (True, "6", 6.0, 6.5, None, -1, 2**63, [6])


@each(
    "pin_params",
    [
        None,
        [],
        "numeric",
        6,
        *({"type": value} for value in ("Numeric", "", "hex", None, 1, ["numeric"])),
        *({"length": value} for value in (*WHOLE, 0, 3, 17)),
        *({"expires_in": value} for value in WHOLE),
        *({"max_tries": value} for value in WHOLE),
    ],
)
def test_invalid_pin_params(pin_params):
    status, error_id, text = refused(changed(pin_params=pin_params))
    assert (status, error_id) == (400, "INVALID_PIN_PARAMS")
    assert text.startswith("pin_params")


def test_the_largest_pin_params():
    gateway = Gateway(KEY, clock=lambda: 1000.0)
    pin_params = {"expires_in": 2**63 - 1, "max_tries": 2**63 - 1}
    assert ask(gateway, changed(pin_params=pin_params)) == (200, {"status": "ok"})
    assert gateway.messages[0].void_reason is None


def test_a_sender_that_is_not_allowed():
    settings = {"forbidden_senders": ["BANK"]}
    assert refused(changed(sender="BANK"), **settings)[:2] == (400, "INVALID_SENDER")
    assert ask(Gateway(KEY, **settings), changed(sender="BANKER")) == (200, {"status": "ok"})


INVALID_NUMBER = (200, "INVALID_NUMBER", "HLR query returned error.")


@each("hlr_lookup", [1, LEFT_OUT])
def test_a_number_whose_lookup_fails(hlr_lookup):
    assert HLR_FAIL_PREFIX == "34744"
    assert refused(changed(msisdn=HLR_FAIL_PREFIX + "1234", hlr_lookup=hlr_lookup)) == INVALID_NUMBER


def test_a_number_that_is_not_looked_up():
    body = changed(msisdn=HLR_FAIL_PREFIX + "1234", hlr_lookup=0)
    assert ask(Gateway(KEY), body) == (200, {"status": "ok"})


def test_the_prefix_can_be_chosen():
    assert refused(changed(msisdn="4912345678"), hlr_fail_prefix="49") == INVALID_NUMBER
    body = changed(msisdn=HLR_FAIL_PREFIX + "1234")
    assert ask(Gateway(KEY, hlr_fail_prefix="49"), body) == (200, {"status": "ok"})


def test_no_funds():
    assert refused(GOOD, balance=0)[:2] == (400, "NOT_ENOUGH_BALANCE")


def test_fields_that_are_not_published_are_ignored_and_kept():
    gateway = Gateway(KEY)
    body = changed(custom="x", pin_params={"length": 4, "colour": "red"})
    assert ask(gateway, body) == (200, {"status": "ok"})
    assert gateway.requests[0].body == {**body, "api_key": "*****"}


def test_the_order_of_the_checks():
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
    assert refused(wrong, **settings)[1] == "NOT_ENOUGH_BALANCE"
