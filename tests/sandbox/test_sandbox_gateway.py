"""What the gateway sends and keeps: PINs and what voids them, the balance, the log."""

from __future__ import annotations

import json
import logging
import string
from random import Random
from typing import Any

import pytest

from gateway360_async.sandbox._checks import PinOrder
from gateway360_async.sandbox._gateway import Gateway

KEY = "a-key-of-a-test"
NUMBER = "34666666111"
OTHER = "34666666222"


ORDER = PinOrder(NUMBER, "X", True, None, None, "numeric", 6, 3600, 3)


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Account:
    """A gateway with a clock of its own, asked as JSON."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.gateway = Gateway(KEY, clock=self.clock, **settings)

    def send(self, msisdn: str = NUMBER, **fields: Any) -> str:
        """Send an SMS and return its PIN."""
        assert self.ask(msisdn=msisdn, **fields) == "ok"
        return self.gateway.messages[-1].pin

    def ask(self, **fields: Any) -> str:
        """Return the error id, or `"ok"`."""
        body = {"api_key": KEY, "msisdn": NUMBER, "sender": "GOOD PIZZA", **fields}
        _, envelope = self.gateway.handle("/api/2fa/request", "application/json", json.dumps(body).encode())
        return envelope.get("error_id", envelope["status"])

    def check(self, pin: str, msisdn: str = NUMBER) -> bool:
        return self.gateway.check_pin(msisdn, pin)

    @property
    def reasons(self) -> list[str | None]:
        return [message.void_reason for message in self.gateway.messages]


def test_a_message_has_the_published_defaults():
    account = Account()
    pin = account.send()
    (message,) = account.gateway.messages
    assert (message.msisdn, message.sender) == (NUMBER, "GOOD PIZZA")
    assert pin in message.text
    assert "{PIN}" not in message.text
    assert len(pin) == 6
    assert set(pin) <= set(string.digits)
    assert message.pin_type == "numeric"
    assert message.sent_at == account.clock.now
    assert message.expires_at == account.clock.now + 3600
    assert (message.max_tries, message.tries) == (3, 0)
    assert message.report_url is None
    assert message.void_reason is None


def test_the_pin_is_put_in_the_place_of_the_placeholder_alone():
    account = Account()
    pin = account.send(sms_text="{a} {{PIN}} {}")
    assert account.gateway.messages[0].text == f"{{a}} {{{pin}}} {{}}"


@pytest.mark.parametrize("length", [4, 6, 16])
@pytest.mark.parametrize(
    ("pin_type", "alphabet"),
    [
        ("numeric", string.digits),
        ("alpha", string.ascii_uppercase),
        ("alphanumeric", string.ascii_uppercase + string.digits),
    ],
)
def test_the_alphabet_and_the_length_of_a_pin(pin_type, alphabet, length):
    account = Account(rng=Random(360))
    pins = [account.send(pin_params={"type": pin_type, "length": length}) for _ in range(200)]
    assert {len(pin) for pin in pins} == {length}
    assert set("".join(pins)) == set(alphabet)
    assert {message.pin_type for message in account.gateway.messages} == {pin_type}


def test_pins_come_from_the_random_source_that_was_handed_in():
    assert Account(rng=Random(1)).send() == Account(rng=Random(1)).send()
    assert Account(rng=Random(1)).send() != Account(rng=Random(2)).send()


def test_a_pin_confirms_once():
    account = Account()
    pin = account.send()
    assert account.check(pin)
    assert account.reasons == ["verified"]
    assert not account.check(pin)


def test_nothing_confirms_a_number_without_an_sms():
    account = Account()
    pin = account.send()
    assert not account.check(pin, OTHER)
    assert account.gateway.last_message(OTHER) is None
    assert account.gateway.messages[0].tries == 0


def test_only_the_last_pin_of_a_number_is_valid():
    account = Account(rng=Random(360))
    first, other, second = account.send(), account.send(OTHER), account.send()
    assert first != second
    assert account.reasons == ["replaced", None, None]
    assert not account.check(first)
    assert account.gateway.messages[2].tries == 1
    assert account.check(second)
    assert account.check(other, OTHER)


@pytest.mark.parametrize(
    "wrong", [{"sender": ""}, {"sms_text": ""}, {"hlr_lookup": True}, {"api_key": "another"}]
)
def test_what_is_refused_leaves_the_pin_valid(wrong):
    account = Account()
    pin = account.send()
    assert account.ask(**wrong) != "ok"
    assert account.check(pin)


def test_a_pin_expires():
    account = Account()
    pin = account.send(pin_params={"expires_in": 60})
    account.clock.now += 59.999
    assert account.reasons == [None]
    account.clock.now += 0.001
    assert account.reasons == ["expired"]
    assert not account.check(pin)
    assert account.gateway.messages[0].tries == 0


def test_a_pin_is_valid_until_it_expires():
    account = Account()
    pin = account.send(pin_params={"expires_in": 60})
    account.clock.now += 59.999
    assert account.check(pin)


def test_a_pin_that_never_expires():
    account = Account()
    pin = account.send(pin_params={"expires_in": 0})
    assert account.gateway.messages[0].expires_at is None
    account.clock.now += 1e9
    assert account.check(pin)


def test_failed_tries_void_a_pin():
    account = Account()
    pin = account.send()
    for _ in range(2):
        assert not account.check("x")
    assert account.reasons == [None]
    assert not account.check("x")
    assert account.reasons == ["tries"]
    assert not account.check(pin)
    assert account.gateway.messages[0].tries == 3


def test_the_last_try_may_be_right():
    account = Account()
    pin = account.send(pin_params={"max_tries": 2})
    assert not account.check("x")
    assert account.check(pin)


def test_unlimited_tries():
    account = Account()
    pin = account.send(pin_params={"max_tries": 0})
    assert not any(account.check("x") for _ in range(100))
    assert account.gateway.messages[0].tries == 100
    assert account.check(pin)


def test_of_several_reasons_the_first_stays():
    account = Account()
    assert account.check(account.send())
    account.send(pin_params={"expires_in": 60})
    account.clock.now += 60
    account.send(pin_params={"max_tries": 1})
    assert not account.check("x")
    account.clock.now += 1e6
    account.send()
    assert account.reasons == ["verified", "expired", "tries", None]


def test_every_sms_costs_one():
    account = Account(balance=2)
    assert account.ask(sender="") == "BAD_PARAMS"
    account.send()
    assert account.gateway.balance == 1
    account.send()
    assert account.ask() == "NOT_ENOUGH_BALANCE"
    assert account.gateway.balance == 0
    account.gateway.balance = 1
    account.send()
    account.gateway.balance = None
    account.send()
    assert account.gateway.balance is None
    assert len(account.gateway.messages) == 4


def test_the_log_of_requests():
    account = Account()
    assert account.ask(custom=[1]) == "ok"
    account.clock.now += 1
    assert account.ask(sender="") == "BAD_PARAMS"
    first, second = account.gateway.requests
    assert first.at == account.clock.now - 1
    assert (first.path, first.content_type) == ("/api/2fa/request", "application/json")
    assert first.body == {"api_key": "*****", "msisdn": NUMBER, "sender": "GOOD PIZZA", "custom": [1]}
    assert (first.http_status, first.envelope) == (200, {"status": "ok"})
    assert second.at == account.clock.now
    assert (second.http_status, second.envelope["error_id"]) == (400, "BAD_PARAMS")


def test_messages_and_requests_have_increasing_ids():
    account = Account(rng=Random(360))
    account.send()
    account.ask(sender="")
    account.send(OTHER)
    first, second = account.gateway.messages
    assert [first.id, second.id] == [1, 2]
    assert [(kept.id, kept.message_id) for kept in account.gateway.requests] == [(1, 1), (2, None), (3, 2)]
    for message in (first, second):
        assert len(message.sms_id) == 32
        assert set(message.sms_id) <= set("0123456789abcdef")
    assert first.sms_id != second.sms_id
    assert Account(rng=Random(360)).gateway._send(ORDER).sms_id == first.sms_id


def test_the_log_does_not_change_with_the_answer():
    gateway = Gateway(KEY)
    _, envelope = gateway.handle("/", None, b"")
    envelope.clear()
    assert gateway.requests[0].envelope["status"] == "error"


def deep(value: object) -> object:
    for _ in range(100):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": KEY},
        {"api_key": "sandbox-" + KEY},
        {"api_key": [KEY]},
        {"api_key": {KEY: KEY}},
        {"sender": KEY},
        {"custom": [{"x": f"Bearer {KEY}"}]},
        {KEY: 1},
        {"pin_params": {KEY: KEY}},
        {"custom": deep(KEY)},
    ],
)
def test_the_key_is_in_no_log(fields, caplog):
    caplog.set_level(logging.DEBUG)
    account = Account(on_message=lambda message: 1 / 0)
    account.ask(**fields)
    assert KEY not in repr(account.gateway.requests)
    assert KEY not in caplog.text
    assert account.gateway.requests[0].body["api_key"] == "*****"


@pytest.mark.parametrize("body", [b'{"api_key":"%s"' % KEY.encode(), b'["%s"]' % KEY.encode(), KEY.encode()])
def test_a_body_that_is_no_object_is_not_kept(body):
    gateway = Gateway(KEY)
    gateway.handle("/api/2fa/request", f"application/json; key={KEY}", body)
    assert KEY not in repr(gateway.requests)
    assert (gateway.requests[0].body, gateway.requests[0].size) == (None, len(body))


def test_another_accounts_key_is_not_kept_either():
    account = Account()
    assert account.ask(api_key="the-key-of-another") == "UNAUTHORIZED"
    assert "the-key-of-another" not in repr(account.gateway.requests)


def test_a_bounded_memory():
    account = Account(keep=2)
    first, second = account.send("34666666001"), account.send("34666666002")
    account.send("34666666003")
    assert account.ask(sender="") == "BAD_PARAMS"
    assert [message.msisdn for message in account.gateway.messages] == ["34666666002", "34666666003"]
    assert [request.http_status for request in account.gateway.requests] == [200, 400]
    assert account.gateway.last_message("34666666001") is None
    assert not account.check(first, "34666666001")
    assert account.check(second, "34666666002")


def test_a_dropped_message_does_not_take_a_newer_pin_with_it():
    account = Account(keep=1)
    account.send()
    assert account.check(account.send())


def test_a_memory_of_nothing():
    account = Account(keep=0)
    assert account.ask() == "ok"
    assert (account.gateway.messages, account.gateway.requests) == ([], [])
    assert account.gateway.last_message(NUMBER) is None


def test_the_hook_is_called_for_every_sms():
    told = []
    account = Account(on_message=told.append)
    account.send()
    account.ask(sender="")
    account.send(OTHER)
    assert told == account.gateway.messages
    assert len(told) == 2


def test_a_hook_that_fails_is_logged_and_changes_nothing(caplog):
    account = Account(on_message=lambda message: 1 / 0)
    assert account.check(account.send())
    (record,) = caplog.records
    assert record.name == "gateway360_async.sandbox"
    assert record.exc_info[0] is ZeroDivisionError
    assert account.gateway.requests[0].http_status == 200
