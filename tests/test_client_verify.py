"""`verify_pin` on real sockets: one try at most, secrets stay secret, and the sandbox's word."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback

import pytest
from support.loopback import Received, Server, free_port, in_turn, ok, raw, silence, status

from gateway360_async import (
    ApiError,
    ClientClosed,
    Disposition,
    ErrorId,
    FailureKind,
    Gateway360Client,
    InvalidRequest,
    NotVerified,
    RetryPolicy,
    TransportFailure,
    Verified,
)
from gateway360_async.sandbox import Sandbox
from gateway360_async.transports import DirectTransport, HttpxTransport

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
PIN = "9081726354"

YES = json.dumps({"status": "ok", "verified": True, "message": "fine"}).encode()
NO = json.dumps({"status": "ok", "result": {"verified": False, "tries_remaining": 2}}).encode()


@pytest.fixture(params=[HttpxTransport, DirectTransport], ids=["httpx", "direct"])
def transport(request):
    return request.param


def client_for(server: Server, **settings) -> Gateway360Client:
    return Gateway360Client(KEY, base_url=server.url, **settings)


async def test_try_posts_the_published_request(transport):
    async with Server(status(200, YES)) as server, client_for(server, transport=transport()) as client:
        result = await client.verify_pin("+34 666 666 111", PIN)
        assert isinstance(result, Verified)
        assert result.attempts == 1
        assert result.elapsed > 0
        # The transport knows both addresses, one after the other.
        await client.request_pin(NUMBER, sender="GOOD PIZZA")
        await client.verify_pin(NUMBER, PIN)
    verify, request, again = server.requests
    assert verify.target == again.target == "/api/2fa/verify"
    assert request.target == "/api/2fa/request"
    assert verify.json == {"api_key": KEY, "msisdn": NUMBER, "pin": PIN}
    assert verify.header("content-type") == "application/json"


async def test_wrong_pin_says_how_many_tries_remain():
    async with Server(status(200, NO)) as server, client_for(server) as client:
        result = await client.verify_pin(NUMBER, PIN)
    assert isinstance(result, NotVerified)
    assert result.tries_remaining == 2
    assert result.raw["result"]["tries_remaining"] == 2


FAULTS = {
    "no answer": (silence, FailureKind.DEADLINE, Disposition.MAYBE_SENT),
    "closed": (raw(b""), FailureKind.DISCONNECTED, Disposition.MAYBE_SENT),
    "500": (status(500), FailureKind.HTTP_STATUS, Disposition.MAYBE_SENT),
    "429": (status(429, b"", **{"retry-after": "0"}), FailureKind.THROTTLED, Disposition.NOT_SENT),
    "html": (status(200, b"<html>"), FailureKind.UNREADABLE, Disposition.MAYBE_SENT),
    "ok, and no more": (ok, FailureKind.UNREADABLE, Disposition.MAYBE_SENT),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_try_is_never_repeated_after_its_first_byte(fault, transport, later):
    behaviour, kind, disposition = FAULTS[fault]
    policy = RetryPolicy(base_delay=0.0, retry_maybe_sent=True, error_ids=frozenset(ErrorId))
    async with Server(behaviour) as server:
        async with client_for(server, transport=transport(), retry=policy) as client:
            call = asyncio.create_task(client.verify_pin(NUMBER, PIN, deadline=10))
            if fault == "no answer":
                await server.wait(lambda: server.posts == 1)
                later(10)
            result = await call
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (kind, disposition)
    assert server.posts == 1


async def test_try_that_never_left_is_made_again(at_once, transport):
    port = free_port()
    client = Gateway360Client(KEY, base_url=f"http://127.0.0.1:{port}", retry=at_once, transport=transport())
    async with client:
        result = await client.verify_pin(NUMBER, PIN)
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.NOT_SENT
    assert result.attempts == 4


async def test_error_of_the_account_is_an_api_error():
    body = b'{"status":"error","error_id":"UNAUTHORIZED","error_msg":"no"}'
    async with Server(status(401, body)) as server, client_for(server) as client:
        result = await client.verify_pin(NUMBER, PIN)
    assert isinstance(result, ApiError)
    assert result.error_id is ErrorId.UNAUTHORIZED


async def test_two_tries_for_a_number_are_two_tries():
    async with Server(status(200, NO)) as server, client_for(server, cooldown=60) as client:
        await asyncio.gather(*(client.verify_pin(NUMBER, PIN) for _ in range(3)))
    assert server.posts == 3


@pytest.mark.parametrize(
    ("number", "pin", "field"), [("12", PIN, "msisdn"), (NUMBER, "", "pin"), (NUMBER, 1234, "pin")]
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(number, pin, field):
    async with Server(status(200, YES)) as server, client_for(server) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.verify_pin(number, pin)
        with pytest.raises(InvalidRequest, match="deadline"):
            await client.verify_pin(NUMBER, PIN, deadline=-1)
    assert caught.value.field == field
    assert server.posts == 0


async def test_closing_waits_for_a_try_and_refuses_the_next():
    answer = asyncio.Event()

    async def late(received: Received) -> None:
        await answer.wait()
        await received.answer(200, YES)

    async with Server(late) as server:
        client = client_for(server)
        trying = asyncio.create_task(client.verify_pin(NUMBER, PIN))
        await server.wait(lambda: server.posts == 1)
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await client.verify_pin(NUMBER, PIN)
        assert not closing.done()
        answer.set()
        await closing
        assert isinstance(await trying, Verified)


async def test_check_cancelled_after_its_first_byte_is_logged(caplog):
    async with Server(silence) as server, client_for(server) as client:
        trying = asyncio.create_task(client.verify_pin(NUMBER, PIN))
        await server.wait(lambda: server.posts == 1)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
    (record,) = [record for record in caplog.records if record.name == "gateway360_async"]
    assert record.levelno == logging.WARNING
    assert "34*****111" in record.getMessage()
    assert "may have been sent" in record.getMessage()


async def test_check_cancelled_before_its_first_byte_logs_nothing(caplog):
    async with Server(silence) as server, client_for(server) as client:
        trying = asyncio.create_task(client.verify_pin(NUMBER, PIN))
        await asyncio.sleep(0)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
    assert not [record for record in caplog.records if record.name == "gateway360_async"]


# --- secrets -----------------------------------------------------------------------------------------------------


def shown(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


async def test_answer_that_quotes_the_request_is_blanked(transport):
    quoted = json.dumps({"verified": False, "message": f"{PIN} of {NUMBER} with {KEY}", "pin": int(PIN)})
    async with Server(status(200, quoted.encode())) as server:
        async with client_for(server, transport=transport()) as client:
            result = await client.verify_pin(NUMBER, PIN)
    assert isinstance(result, NotVerified)
    said = f"{result!r} {result} {result.raw} {result.message}"
    for secret in (PIN, NUMBER, KEY):
        assert secret not in said


@pytest.mark.parametrize(
    ("typed", "echoed"),
    [
        ("908172 ", "908172"),
        ("908 172", "908172"),
        ("908-172", "908172"),
        ("abcdef", "ABCDEF"),
        ("0908172", 908172),
        ("666661", f"{NUMBER} 666661"),
        ("0908172\n", 908172),
        ("\uff19\uff10\uff18172", 908172),
        (PIN, float(NUMBER)),
    ],
)
async def test_pin_as_typed_is_blanked_in_any_form(typed, echoed):
    answer = json.dumps(
        {"verified": False, "message": f"{echoed}", "echo": echoed, "deep": [{"PIN": echoed}]}
    )
    async with Server(status(200, answer.encode())) as server, client_for(server) as client:
        result = await client.verify_pin(NUMBER, typed)
    said = f"{result.raw} {result.message}" if isinstance(echoed, str) else f"{result.raw}"
    assert typed.strip() not in said
    assert str(echoed).split()[-1] not in said
    assert NUMBER not in said


async def test_pin_of_zeros_leaves_our_own_words_alone():
    async with Server(silence) as server, client_for(server) as client:
        result = await client.verify_pin(NUMBER, "0003", deadline=0.3)
    assert result.detail == "the deadline of 0.3 s passed"


@pytest.mark.parametrize("wrong", ["closed", "deadline", "timeout", "pin"])
async def test_no_frame_of_what_is_raised_holds_the_number_or_the_pin(wrong):
    client = Gateway360Client(KEY)
    arguments = {"deadline": {"deadline": -1}, "timeout": {"timeout": -1}}.get(wrong, {})
    if wrong == "closed":
        await client.aclose()
    with pytest.raises((InvalidRequest, ClientClosed)) as caught:
        await client.verify_pin(NUMBER, f"{PIN}." if wrong == "pin" else PIN, **arguments)
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # without this test's own frame
    assert PIN not in shown(caught.value)
    assert NUMBER not in shown(caught.value)


async def test_no_log_and_no_traceback_shows_the_pin(caplog, transport):
    caplog.set_level(logging.DEBUG)
    async with Server(
        in_turn(status(200, YES), raw(b"garbage " + PIN.encode() + b"\r\n\r\n"), silence)
    ) as server:
        async with client_for(server, transport=transport(), limiter=Failing()) as client:
            with pytest.raises(OSError) as caught:
                await client.verify_pin(NUMBER, PIN)
        async with client_for(server, transport=transport()) as client:
            results = [await client.verify_pin(NUMBER, PIN) for _ in range(2)]
            results.append(await client.verify_pin(NUMBER, PIN, deadline=0.2))
            with pytest.raises(InvalidRequest) as invalid:
                await client.verify_pin("12", PIN)
    ours = [record.getMessage() for record in caplog.records if "gateway360" in record.name]
    ours += [f"{result!r} {result}" for result in results]
    # This test's own frames hold it, and are not the library's.
    for error in (caught.value, invalid.value):
        error.__traceback__ = error.__traceback__.tb_next
        ours.append(shown(error))
    assert not [text for text in ours if PIN in text]


class Failing:
    async def __aenter__(self) -> None:
        raise OSError("no")

    async def __aexit__(self, *_) -> None: ...


# --- as it is typed ----


@pytest.mark.parametrize(
    "typed",
    [
        "EDQ0L272",
        " EDQ0L272\r\n",
        "edq0 l272",
        "EDQ0-L272",
        "edq0\u2011l272",
        "\u202aEDQ0\u00adL272\u202c\u200b\ufeff",
        "E D Q\u00a00\u2003L\t2 7 2",
        "\uff25\uff24\uff31\uff10\uff2c\uff12\uff17\uff12",
        "\uff45dq\u0660l\u0662\u06f7\u096c"[:-1] + "2",
    ],
    ids=ascii,
)
async def test_verify_pin_sends_what_the_gateway_wrote(typed):
    async with Server(status(200, YES)) as server, client_for(server) as client:
        assert isinstance(await client.verify_pin(NUMBER, typed), Verified)
    assert server.requests[0].json["pin"] == "EDQ0L272"


# --- the sandbox ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify_answer", ["nested", "flat", "camel", "list"])
async def test_pin_of_the_sandbox_is_verified_once(transport, verify_answer):
    async with Sandbox(verify_answer=verify_answer) as gateway:
        client = Gateway360Client(
            gateway.api_key, base_url=gateway.base_url, sender="GOOD PIZZA", transport=transport()
        )
        async with client:
            (await client.request_pin(NUMBER)).unwrap()
            wrong = await client.verify_pin(NUMBER, "no such PIN")
            right = await client.verify_pin(NUMBER, gateway.last_pin(NUMBER))
            again = await client.verify_pin(NUMBER, gateway.last_pin(NUMBER))
            gateway.lose_next_answer()
            lost = await client.verify_pin(NUMBER, "no such PIN")
    assert isinstance(wrong, NotVerified)
    assert wrong.tries_remaining == 2
    assert isinstance(right, Verified)
    assert right.verified_before is False
    assert isinstance(again, NotVerified)
    assert again.verified_before is True
    assert isinstance(lost, TransportFailure)
    assert lost.disposition is Disposition.MAYBE_SENT
