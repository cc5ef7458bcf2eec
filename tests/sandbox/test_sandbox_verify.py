"""The sandbox's `POST …/2fa/verify`: what it refuses, what a try says, and that no PIN is kept in the log."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from gateway360_async.sandbox import Sandbox
from gateway360_async.sandbox._checks import PinAttempt
from gateway360_async.sandbox._gateway import Gateway

KEY = "a-key-of-a-test"
NUMBER = "34666666111"
PATH = "/api/2fa/verify"
LEFT_OUT = object()


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Account:
    def __init__(self) -> None:
        self.clock = Clock()
        self.gateway = Gateway(KEY, clock=self.clock)

    def send(self, **pin_params: Any) -> str:
        body = {"api_key": KEY, "msisdn": NUMBER, "sender": "X", "pin_params": pin_params}
        self.gateway.handle("/api/2fa/request", "application/json", json.dumps(body).encode())
        return self.gateway.messages[-1].pin

    def verify(
        self, pin: Any = "x", content_type: str = "application/json", **fields: Any
    ) -> tuple[int, Any]:
        body = {"api_key": KEY, "msisdn": NUMBER, "pin": pin, **fields}
        raw = json.dumps({name: value for name, value in body.items() if value is not LEFT_OUT}).encode()
        status, envelope = self.gateway.handle(PATH, content_type, raw, operation="verify")
        kept = self.gateway.requests[-1]
        assert (kept.operation, kept.path, kept.http_status, kept.envelope) == (
            "verify",
            PATH,
            status,
            envelope,
        )
        assert (kept.message_id, kept.fault) == (None, None)
        return status, envelope


def said(
    verified: bool, tries_remaining: int | None, message: str, *, previously_verified: bool = False
) -> tuple[int, dict[str, Any]]:
    result = {
        "verified": verified,
        "previously_verified": previously_verified,
        "tries_remaining": tries_remaining,
        "message": message,
    }
    return 200, {"status": "ok", "result": result}


def test_the_right_pin_confirms_once():
    account = Account()
    pin = account.send()
    assert account.verify(pin) == said(True, 3, "The PIN is right.")
    assert account.gateway.messages[0].void_reason == "verified"
    assert account.verify(pin) == said(False, 0, "The PIN was verified before.", previously_verified=True)
    assert account.verify(pin + "x") == said(False, 0, "The PIN was used.")
    assert account.gateway.messages[0].tries == 0


def test_failed_tries_count_down():
    account = Account()
    pin = account.send()
    assert account.verify() == said(False, 2, "The PIN is wrong.")
    assert account.verify() == said(False, 1, "The PIN is wrong.")
    assert account.verify() == said(False, 0, "The PIN is wrong.")
    assert account.gateway.messages[0].void_reason == "tries"
    assert account.verify(pin) == said(False, 0, "All tries are used up.")


def test_a_right_pin_after_a_wrong_one():
    account = Account()
    pin = account.send()
    account.verify()
    assert account.verify(pin) == said(True, 2, "The PIN is right.")


def test_unlimited_tries():
    account = Account()
    pin = account.send(max_tries=0)
    assert account.verify() == said(False, None, "The PIN is wrong.")
    assert account.verify(pin) == said(True, None, "The PIN is right.")
    assert account.verify() == said(False, 0, "The PIN was used.")


def test_an_expired_pin():
    account = Account()
    pin = account.send(expires_in=60)
    account.clock.now += 60
    assert account.verify(pin) == said(False, 0, "The PIN has expired.")


def test_only_the_last_pin_counts():
    account = Account()
    first = account.send(length=6)
    account.send(length=5)
    assert account.verify(first) == said(False, 2, "The PIN is wrong.")
    account.gateway.messages[-1].make_void("replaced")  # as a user may, by hand
    assert account.verify(first) == said(False, 0, "A newer PIN was sent to this number.")


def test_a_number_without_an_sms():
    assert Account().verify("123456") == said(False, 0, "No PIN was sent to this number.")


def test_what_check_pin_and_a_verification_count_is_the_same():
    account = Account()
    pin = account.send()
    assert not account.gateway.check_pin(NUMBER, "x")
    assert account.verify() == said(False, 1, "The PIN is wrong.")
    assert account.gateway.check_pin(NUMBER, pin)
    assert account.verify(pin) == said(False, 0, "The PIN was verified before.", previously_verified=True)


@pytest.mark.parametrize(
    ("fields", "status", "error_id", "text"),
    [
        ({"content_type": "text/plain"}, 400, "INVALID_CONTENT_TYPE", "content type"),
        ({"api_key": LEFT_OUT}, 400, "MISSING_PARAMS", "api_key"),
        ({"api_key": "another", "pin": LEFT_OUT}, 401, "UNAUTHORIZED", "API key"),
        ({"msisdn": LEFT_OUT}, 400, "MISSING_PARAMS", "msisdn"),
        ({"pin": LEFT_OUT}, 400, "MISSING_PARAMS", "pin"),
        ({"msisdn": 34666666111}, 400, "BAD_PARAMS", "msisdn"),
        ({"msisdn": "+34666666111"}, 200, "INVALID_NUMBER", "msisdn"),
        ({"pin": 123456}, 400, "BAD_PARAMS", "pin"),
        ({"pin": ""}, 400, "BAD_PARAMS", "pin"),
        ({"pin": None}, 400, "BAD_PARAMS", "pin"),
        ({"pin": ["123456"]}, 400, "BAD_PARAMS", "pin"),
    ],
)
def test_what_is_refused_is_no_try(fields, status, error_id, text):
    account = Account()
    account.send()
    got, envelope = account.verify(**fields)
    assert (got, envelope["status"], envelope["error_id"]) == (status, "error", error_id)
    assert text in envelope["error_msg"]
    assert account.gateway.messages[0].tries == 0


def test_a_verification_costs_nothing_and_sends_nothing():
    account = Account()
    account.gateway.balance = 1
    account.verify(account.send())
    assert account.gateway.balance == 0
    assert len(account.gateway.messages) == 1


@pytest.mark.parametrize("pin", ["SECRET-PIN", ["SECRET-PIN"], {"pin": "SECRET-PIN"}])
def test_the_pin_is_in_no_log(pin, caplog):
    caplog.set_level(logging.DEBUG)
    account = Account()
    account.send()
    account.verify(pin)
    kept = account.gateway.requests[-1]
    assert kept.body == {"api_key": "*****", "msisdn": NUMBER, "pin": "*****"}
    assert "SECRET-PIN" not in repr(account.gateway.requests)
    assert "SECRET-PIN" not in caplog.text
    assert "SECRET-PIN" not in repr(PinAttempt(NUMBER, "SECRET-PIN"))


@pytest.mark.parametrize("prefix", ["/api", "/api/3.0"])
async def test_over_http(prefix):
    async with (
        Sandbox() as sandbox,
        httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as http,
    ):
        body = {"api_key": sandbox.api_key, "msisdn": NUMBER}
        await http.post("/api/2fa/request", json={**body, "sender": "X"})
        wrong = await http.post(f"{prefix}/2fa/verify", json={**body, "pin": "x"})
        right = await http.post(f"{prefix}/2fa/verify", json={**body, "pin": sandbox.last_pin(NUMBER)})
        assert (await http.get(f"{prefix}/2fa/verify")).status_code == 405
    assert wrong.text == (
        '{"status":"ok","result":{"verified":false,"previously_verified":false,"tries_remaining":2,'
        '"message":"The PIN is wrong."}}'
    )
    assert (right.status_code, right.json()["result"]["verified"]) == (200, True)
    assert [received.operation for received in sandbox.requests] == ["request", "verify", "verify"]
    assert [received.id for received in sandbox.requests] == [1, 2, 3]


WRONG = {
    "verified": False,
    "previously_verified": False,
    "tries_remaining": 2,
    "message": "The PIN is wrong.",
}
CAMEL = {"verified": False, "previouslyVerified": False, "triesRemaining": 2, "message": "The PIN is wrong."}


@pytest.mark.parametrize(
    ("verify_answer", "envelope"),
    [
        ("nested", {"status": "ok", "result": WRONG}),
        ("flat", {"status": "ok", **WRONG}),
        ("camel", {"status": "ok", "result": CAMEL}),
        ("list", {"status": "ok", "result": [WRONG]}),
    ],
)
async def test_verify_answer_chooses_the_shape(verify_answer, envelope):
    async with (
        Sandbox() as sandbox,
        httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as http,
    ):
        body = {"api_key": sandbox.api_key, "msisdn": NUMBER}
        await http.post("/api/2fa/request", json={**body, "sender": "X"})
        sandbox.verify_answer = verify_answer
        assert sandbox.verify_answer == verify_answer
        wrong = await http.post("/api/2fa/verify", json={**body, "pin": "x"})
    assert wrong.json() == envelope
    assert sandbox.requests[-1].verified is False


@pytest.mark.parametrize("wrong", ["", "nest", None, 1, ["flat"]])
def test_verify_answer_of_another_word_is_refused(wrong):
    with pytest.raises(ValueError, match="verify_answer: expected one of nested, flat, camel, list"):
        Sandbox(verify_answer=wrong)
    sandbox = Sandbox(verify_answer="camel")
    with pytest.raises(ValueError, match="verify_answer: "):
        sandbox.verify_answer = wrong
    assert sandbox.verify_answer == "camel"
