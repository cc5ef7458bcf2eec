"""The gateway: its SMS, the life of a PIN, verifications, the balance, its memory, the log and its secrets."""

from __future__ import annotations

import asyncio
import logging
import string
from random import Random

import pytest
from support.sandbox_account import KEY, LEFT_OUT, NUMBER, OTHER, PATH, Account, ask, fields, http_of

from gateway360_async import Gateway360Client, Ok
from gateway360_async.sandbox import Sandbox

# --- The SMS ---------------------------------------------------------------------------------------------


def test_message_has_the_published_defaults():
    account = Account()
    pin = account.send()
    (message,) = account.messages
    assert (message.msisdn, message.sender, message.report_url) == (NUMBER, "GOOD PIZZA", None)
    assert pin in message.text
    assert "{PIN}" not in message.text
    assert (len(pin), message.pin_type, pin.isdecimal()) == (6, "numeric", True)
    assert (message.sent_at, message.expires_at) == (account.time(), account.time() + 3600)
    assert (message.max_tries, message.tries, message.void_reason) == (3, 0, None)


def test_message_text_has_the_pin_in_place_of_the_placeholder():
    account = Account()
    pin = account.send(sms_text="{a} {{PIN}} {}")
    assert account.messages[0].text == f"{{a}} {{{pin}}} {{}}"


@pytest.mark.parametrize("length", [4, 16])
@pytest.mark.parametrize(
    ("pin_type", "alphabet"),
    [
        ("numeric", string.digits),
        ("alpha", string.ascii_uppercase),
        ("alphanumeric", string.ascii_uppercase + string.digits),
    ],
)
def test_pin_has_its_alphabet_and_its_length(pin_type, alphabet, length):
    account = Account()
    account._rng = Random(360)
    pins = [account.send(pin_params={"type": pin_type, "length": length}) for _ in range(200)]
    assert {len(pin) for pin in pins} == {length}
    assert set("".join(pins)) == set(alphabet)
    assert {message.pin_type for message in account.messages} == {pin_type}


def test_messages_and_requests_are_numbered():
    account = Account()
    account.send()
    account.ask(sender="")
    account.send(msisdn=OTHER)
    first, second = account.messages
    assert [first.id, second.id] == [1, 2]
    assert [(kept.id, kept.message_id) for kept in account.requests] == [(1, 1), (2, None), (3, 2)]
    assert first.sms_id != second.sms_id
    assert all(len(message.sms_id) == 32 and int(message.sms_id, 16) >= 0 for message in account.messages)


def test_on_message_is_called_for_every_sms():
    told = []
    account = Account(on_message=told.append)
    account.send()
    account.ask(sender="")
    account.send(msisdn=OTHER)
    assert len(told) == 2
    assert told == account.messages


def test_on_message_that_fails_is_logged_and_changes_nothing(caplog):
    account = Account(on_message=lambda message: 1 / 0)
    assert account.check_pin(NUMBER, account.send())
    (record,) = caplog.records
    assert (record.name, record.exc_info[0]) == ("gateway360_async.sandbox", ZeroDivisionError)


def test_balance_pays_one_for_each_sms():
    account = Account(balance=2)
    assert account.ask(sender="") == "BAD_PARAMS"
    account.send()
    account.verify()
    assert account.balance == 1
    account.send()
    assert account.ask() == "NOT_ENOUGH_BALANCE"
    assert account.balance == 0
    for balance, left in ((1, 0), (None, None)):
        account.balance = balance
        account.send()
        assert account.balance == left
    assert len(account.messages) == 4


def test_settings_change_while_it_runs():
    account = Account()
    account.block()
    assert account.blocked
    assert account.ask() == "UNAUTHORIZED"
    account.block("another")
    account.unblock()
    assert not account.blocked
    assert account.ask() == "ok"
    account.unblock("another")
    account.unblock("never blocked")
    assert account.ask(api_key="another") == "UNAUTHORIZED"
    account.hlr_fail_prefix = "346"
    assert account.ask() == "INVALID_NUMBER"
    assert account.ask(msisdn="34744123456") == "ok"
    assert not Account(blocked_keys=["another"]).blocked


# --- The life of a PIN -----------------------------------------------------------------------------------


def said(message, *, verified=False, before=False, left: int | None = 0):
    result = {
        "verified": verified,
        "previously_verified": before,
        "tries_remaining": left,
        "message": message,
    }
    return 200, {"status": "ok", "result": result}


RIGHT = said("The PIN is right.", verified=True, left=3)
WRONG = said("The PIN is wrong.", left=2)
USED = said("The PIN was verified before.", before=True)


def test_pin_confirms_once():
    account = Account()
    pin = account.send()
    assert account.verify(pin) == RIGHT
    assert account.reasons == ["verified"]
    assert account.verify(pin) == USED
    assert account.verify(pin + "x") == said("The PIN was used.")
    assert account.messages[0].tries == 0


def test_pin_that_is_tried_too_often_is_void():
    account = Account()
    pin = account.send()
    assert [account.verify() for _ in range(3)] == [
        said("The PIN is wrong.", left=left) for left in (2, 1, 0)
    ]
    assert (account.reasons, account.messages[0].tries) == (["tries"], 3)
    assert account.verify(pin) == said("All tries are used up.")
    assert account.messages[0].tries == 3


def test_pin_is_right_at_the_last_try():
    account = Account()
    pin = account.send(pin_params={"max_tries": 2})
    assert not account.check_pin(NUMBER, "x")
    assert account.verify(pin) == said("The PIN is right.", verified=True, left=1)


def test_pin_with_unlimited_tries_stays_valid():
    account = Account()
    pin = account.send(pin_params={"max_tries": 0})
    assert {account.check_pin(NUMBER, "x") for _ in range(100)} == {False}
    assert account.verify() == said("The PIN is wrong.", left=None)
    assert account.messages[0].tries == 101
    assert account.verify(pin) == said("The PIN is right.", verified=True, left=None)


def test_pin_expires():
    account = Account()
    pin = account.send(pin_params={"expires_in": 60})
    account.time.advance(59.5)
    assert account.reasons == [None]
    account.time.advance(0.5)
    assert account.reasons == ["expired"]
    assert account.verify(pin) == said("The PIN has expired.")
    assert account.messages[0].tries == 0


@pytest.mark.parametrize(("expires_in", "seconds"), [(60, 59.5), (0, 1e9)])
def test_pin_is_valid_until_it_expires(expires_in, seconds):
    account = Account()
    pin = account.send(pin_params={"expires_in": expires_in})
    account.time.advance(seconds)
    assert account.check_pin(NUMBER, pin)


def test_pin_of_a_number_is_replaced_by_a_newer_one():
    account = Account()
    first, other = account.send(), account.send(msisdn=OTHER)
    second = account.send(pin_params={"length": 5})
    assert account.reasons == ["replaced", None, None]
    assert account.verify(first) == WRONG
    assert account.check_pin(NUMBER, second)
    assert account.check_pin(OTHER, other)
    assert account.last_pin(NUMBER) == second
    assert account.messages_to(OTHER) == [account.messages[1]]


def test_pin_that_a_user_made_void_says_so():
    account = Account()
    pin = account.send()
    account.messages[0].make_void("replaced")
    assert account.verify(pin) == said("A newer PIN was sent to this number.")


def test_pin_keeps_the_first_reason_why_it_is_void():
    account = Account()
    assert account.check_pin(NUMBER, account.send())
    account.send(pin_params={"expires_in": 60})
    account.time.advance(60)
    account.send(pin_params={"max_tries": 1})
    assert not account.check_pin(NUMBER, "x")
    account.time.advance(1e6)
    account.send()
    assert account.reasons == ["verified", "expired", "tries", None]


def test_number_without_an_sms_has_no_pin():
    account = Account()
    pin = account.send()
    assert account.verify(pin, msisdn=OTHER) == said("No PIN was sent to this number.")
    assert account.last_pin(OTHER) is None
    assert account.messages[0].tries == 0


@pytest.mark.parametrize(
    "wrong", [{"sender": ""}, {"sms_text": ""}, {"hlr_lookup": True}, {"api_key": "another"}]
)
def test_request_that_is_refused_leaves_the_pin_valid(wrong):
    account = Account()
    pin = account.send()
    assert account.ask(**wrong) != "ok"
    assert account.check_pin(NUMBER, pin)


@pytest.mark.parametrize(
    ("changed", "status", "error_id", "text"),
    [
        ({"api_key": LEFT_OUT}, 400, "MISSING_PARAMS", "api_key"),
        ({"api_key": "another", "pin": LEFT_OUT}, 401, "UNAUTHORIZED", "API key"),
        ({"msisdn": LEFT_OUT}, 400, "MISSING_PARAMS", "msisdn"),
        ({"pin": LEFT_OUT}, 400, "MISSING_PARAMS", "pin"),
        ({"msisdn": 34666666111}, 400, "BAD_PARAMS", "msisdn"),
        ({"msisdn": "+34666666111"}, 200, "INVALID_NUMBER", "msisdn"),
        *(({"pin": pin}, 400, "BAD_PARAMS", "pin") for pin in (123456, "", None, ["123456"])),
    ],
)
def test_verification_that_is_refused_is_no_try(changed, status, error_id, text):
    account = Account()
    account.send()
    got, envelope = account.verify(**changed)
    assert (got, envelope["status"], envelope["error_id"]) == (status, "error", error_id)
    assert text in envelope["error_msg"]
    assert account.messages[0].tries == 0


CAMEL = {"verified": False, "previouslyVerified": False, "triesRemaining": 2, "message": "The PIN is wrong."}
RESULT = WRONG[1]["result"]
SHAPES = {
    "nested": {"result": RESULT},
    "flat": RESULT,
    "camel": {"result": CAMEL},
    "list": {"result": [RESULT]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_verify_answer_chooses_the_shape(shape):
    account = Account()
    account.send()
    account.verify_answer = shape
    assert account.verify_answer == shape
    assert account.verify() == (200, {"status": "ok"} | SHAPES[shape])
    assert (account.requests[-1].verified, account.requests[-1].message_id) == (False, None)


# --- The memory ------------------------------------------------------------------------------------------


def test_keep_drops_the_oldest_messages_and_requests():
    account = Account(keep=2)
    first, second = account.send(msisdn="34666666001"), account.send(msisdn="34666666002")
    account.send(msisdn="34666666003")
    assert account.ask(sender="") == "BAD_PARAMS"
    assert [message.msisdn for message in account.messages] == ["34666666002", "34666666003"]
    assert [request.http_status for request in account.requests] == [200, 400]
    assert account.last_pin("34666666001") is None
    assert not account.check_pin("34666666001", first)
    assert account.check_pin("34666666002", second)


def test_keep_drops_no_newer_pin_of_the_same_number():
    account = Account(keep=1)
    account.send()
    assert account.check_pin(NUMBER, account.send())


def test_keep_of_0_keeps_nothing():
    account = Account(keep=0)
    assert account.ask() == "ok"
    assert (account.messages, account.requests, account.last_pin(NUMBER)) == ([], [], None)


def test_clear_forgets_all_but_the_settings():
    account = Account()
    pin = account.send()
    account.fail_next()
    account.clear()
    assert (account.messages, account.requests, account.pending_faults) == ([], [], ["fail"])
    assert account.last_pin(NUMBER) is None
    assert not account.check_pin(NUMBER, pin)
    account.send()
    assert (account.messages[0].id, account.requests[0].id) == (2, 2)


def test_undo_clear_leaves_a_newer_pin_the_valid_one():
    account = Account()
    account.send()
    other = account.send(msisdn=OTHER)
    account.clear()
    account.clear()  # forgets nothing more
    assert not account.check_pin(OTHER, "wrong")
    newer = account.send()
    account.undo_clear()
    assert [message.id for message in account.messages] == [1, 2, 3]
    assert (len(account.requests), account.reasons) == (3, ["replaced", None, None])
    assert account.check_pin(NUMBER, newer)
    assert account.check_pin(OTHER, other)
    account.undo_clear()
    assert len(account.messages) == 3


def test_undo_clear_keeps_no_more_than_is_kept():
    account = Account(keep=2)
    for last in range(4):
        if last == 2:
            account.clear()
        account.send(msisdn=f"3466666611{last}")
    account.undo_clear()
    assert [message.id for message in account.messages] == [3, 4]


# --- The log and its secrets -----------------------------------------------------------------------------


def test_requests_are_logged():
    account = Account()
    assert account.ask(custom=[1]) == "ok"
    account.time.advance(1)
    assert account.ask(sender="") == "BAD_PARAMS"
    first, second = account.requests
    assert (first.at, first.path, first.content_type) == (second.at - 1, PATH, "application/json")
    assert first.body == fields(api_key="*****", custom=[1])
    assert (first.http_status, first.envelope) == (200, {"status": "ok"})
    assert (second.http_status, second.envelope["error_id"]) == (400, "BAD_PARAMS")


def deep(value: object) -> object:
    for _ in range(100):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    "changed",
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
        {"api_key": "the-k3y-of-another"},
    ],
    ids=str,
)
def test_key_is_in_no_log(changed, caplog):
    caplog.set_level(logging.DEBUG)
    account = Account(on_message=lambda message: 1 / 0)
    account.ask(**changed)
    for secret in (KEY, "the-k3y-of-another"):
        assert secret not in repr(account.requests) + caplog.text
    assert account.requests[0].body["api_key"] == "*****"


@pytest.mark.parametrize("body", [b'{"api_key":"%s"' % KEY.encode(), b'["%s"]' % KEY.encode(), KEY.encode()])
def test_body_that_is_no_object_is_not_logged(body):
    account = Account()
    account.post(body, f"application/json; key={KEY}")
    assert KEY not in repr(account.requests)
    assert (account.requests[0].body, account.requests[0].size) == (None, len(body))


@pytest.mark.parametrize("pin", ["SECRET-PIN", ["SECRET-PIN"], {"pin": "SECRET-PIN"}])
def test_pin_that_is_verified_is_in_no_log(pin, caplog):
    caplog.set_level(logging.DEBUG)
    account = Account()
    account.send()
    account.verify(pin)
    assert account.requests[-1].body == {"api_key": "*****", "msisdn": NUMBER, "pin": "*****"}
    assert "SECRET-PIN" not in repr(account.requests) + caplog.text


@pytest.fixture
async def logged(caplog):
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    caplog.set_level(logging.DEBUG)
    yield lambda: "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    loop.set_debug(False)


async def test_no_log_has_the_key_or_a_number(logged):
    """The messages and requests that it keeps are there to be looked at: numbers are shown in them."""

    def raising(message):
        if message.sender == "RAISE":
            raise RuntimeError("on_message is broken")

    async with Sandbox(KEY, on_message=raising) as gateway:
        async with Gateway360Client(KEY, base_url=gateway.base_url, sender="X") as client:
            assert isinstance(await client.request_pin(NUMBER), Ok)
        for changed in (
            {},
            {"sender": "RAISE"},
            {"sender": KEY},
            {"msisdn": f"{NUMBER}000000"},
            {"sms_text": f"{KEY} {{PIN}}"},
            {"pin_params": {KEY: NUMBER}},
        ):
            await ask(gateway, **changed)
        async with http_of(gateway) as http:
            for content in (b"{", f'"{KEY} {NUMBER}"'.encode(), b"x" * 100_000):
                await http.post(PATH, content=content)
            await http.post("/nowhere", content=KEY.encode())
        reader, writer = await asyncio.open_connection(*gateway.base_url.removeprefix("http://").split(":"))
        writer.write(f"{KEY} {NUMBER}\r\n\r\n".encode())
        assert b"400" in await reader.read()
        writer.close()
        await writer.wait_closed()
        shown = f"{gateway!r} {gateway.requests!r} {gateway._server!r}"
    log = logged()
    assert "on_message failed" in log
    assert "Invalid HTTP request" in log
    assert KEY not in log + shown
    assert NUMBER not in log
