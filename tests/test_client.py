"""The client over the default transport, on real sockets: what is sent, how often, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import traceback

import httpx
import pytest
from support.loopback import OK, Received, Server, close, free_port, in_turn, ok, raw, rst, silence, status

from gateway360_async import (
    ApiError,
    ClientClosed,
    Disposition,
    ErrorId,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    Ok,
    PinParams,
    PinRequest,
    PinType,
    RetryBudget,
    RetryPolicy,
    TransportFailure,
    WrongEventLoop,
)
from gateway360_async.transports import (
    Answer,
    DirectTransport,
    Exchange,
    HttpxTransport,
    Phase,
    TransportError,
)

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
REQUEST = PinRequest(NUMBER, "GOOD PIZZA")


def requests(count: int) -> list[PinRequest]:
    """Requests that share nothing, for each is for another number."""
    return [PinRequest(str(34666666111 + n), "GOOD PIZZA") for n in range(count)]


def client_for(server: Server, **settings) -> Gateway360Client:
    return Gateway360Client(KEY, base_url=server.url, sender="GOOD PIZZA", **settings)


# --- What goes on the wire -------------------------------------------------------------------------------


async def test_call_posts_the_published_request_and_nothing_else():
    async with Server() as server, client_for(server) as client:
        result = await client.request_pin(
            "+34 666 666 111",
            hlr_lookup=False,
            sms_text="Code {PIN}",
            report_url="https://example.com/r",
            pin_params=PinParams(PinType.ALPHA, 8, 60, 1),
        )
    (received,) = server.requests
    assert isinstance(result, Ok)
    assert result.attempts == 1
    assert result.elapsed > 0
    assert received.head.startswith(b"POST /api/2fa/request HTTP/1.1\r\n")
    assert received.header("content-type") == "application/json"
    assert received.header("accept") == "application/json"
    assert received.header("accept-encoding") == "identity"
    assert received.header("content-length") == str(len(received.body))
    assert received.header("transfer-encoding") is None
    assert received.header("cookie") is None
    assert received.json == {
        "api_key": KEY,
        "msisdn": NUMBER,
        "sender": "GOOD PIZZA",
        "hlr_lookup": 0,
        "sms_text": "Code {PIN}",
        "report_url": "https://example.com/r",
        "pin_params": {"type": "alpha", "length": 8, "expires_in": 60, "max_tries": 1},
    }


async def test_base_url_with_a_path_and_prefix_are_joined():
    async with Server() as server:
        async with Gateway360Client(KEY, base_url=f"{server.url}/proxy/", path_prefix="/api/3.0") as client:
            await client.send(REQUEST)
    assert server.requests[0].target == "/proxy/api/3.0/2fa/request"


async def test_key_and_base_url_come_from_the_environment(monkeypatch):
    async with Server() as server:
        monkeypatch.setenv("GATEWAY360_API_KEY", "from-the-environment")
        monkeypatch.setenv("GATEWAY360_BASE_URL", server.url)
        async with Gateway360Client() as client:
            assert isinstance(await client.send(REQUEST), Ok)
    assert server.requests[0].json["api_key"] == "from-the-environment"


async def test_calls_own_sender_wins_over_the_clients():
    async with Server() as server, client_for(server) as client:
        await client.request_pin(NUMBER, sender="OTHER")
        await client.request_pin(NUMBER)
    assert [received.json["sender"] for received in server.requests] == ["OTHER", "GOOD PIZZA"]


async def test_connections_are_at_most_as_many_as_calls_at_a_time():
    async with Server() as server, client_for(server, concurrency=5) as client:
        results = await asyncio.gather(*map(client.send, requests(50)))
        assert all(isinstance(result, Ok) for result in results)
        assert server.connections <= 5
        assert len(server.open) <= 5
    assert server.posts == 50


async def test_max_connections_bounds_the_calls_at_a_time():
    async with Server() as server, client_for(server, limits=httpx.Limits(max_connections=2)) as client:
        await asyncio.gather(*map(client.send, requests(10)))
    assert server.connections <= 2


# --- At most one POST, and what is said of it ------------------------------------------------------------

LOST = {
    "the answer never comes": (silence, FailureKind.TIMEOUT),
    "the connection is closed after the body": (close, FailureKind.DISCONNECTED),
    "the connection is reset after the body": (rst, FailureKind.DISCONNECTED),
    "HTTP 500": (status(500), FailureKind.HTTP_STATUS),
    "HTTP 502 with a page": (status(502, b"<html>Bad Gateway</html>"), FailureKind.HTTP_STATUS),
    "HTTP 503": (status(503), FailureKind.HTTP_STATUS),
    "HTTP 503 with Retry-After": (status(503, retry_after="0"), FailureKind.HTTP_STATUS),
    "HTTP 504": (status(504), FailureKind.HTTP_STATUS),
    "not HTTP": (raw(b"220 mail.example ESMTP\r\n\r\n"), FailureKind.PROTOCOL),
    "headers that break off": (raw(b"HTTP/1.1 200 OK\r\ncontent-le"), FailureKind.DISCONNECTED),
    "a body that breaks off": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"), FailureKind.PROTOCOL),
    "an empty 200": (status(200, b""), FailureKind.UNREADABLE),
    "a page with 200": (status(200, b"<html>ok</html>"), FailureKind.UNREADABLE),
    "a compressed answer": (status(200, OK, content_encoding="gzip"), FailureKind.UNREADABLE),
    "an answer over the cap": (
        status(200, b'{"status":"ok","x":"%s"}' % (b"x" * 70_000)),
        FailureKind.UNREADABLE,
    ),
}


@pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])
@pytest.mark.parametrize(("behaviour", "kind"), LOST.values(), ids=LOST.keys())
async def test_answer_that_is_lost_is_one_post_and_maybe_sent(behaviour, kind, make, at_once):
    async with Server(behaviour) as server:
        timeout = httpx.Timeout(5, read=0.2)
        async with client_for(server, transport=make(), timeout=timeout, retry=at_once) as client:
            result = await client.send(REQUEST)
            server.behaviour = ok
            assert isinstance(await client.send(REQUEST), Ok)  # and the next call has its own answer
    assert isinstance(result, TransportFailure)
    if make is HttpxTransport:  # aiohttp has other words for the same
        assert result.kind is kind
    assert (result.disposition, result.attempts) == (Disposition.MAYBE_SENT, 1)
    assert server.posts == 2


async def test_deadline_after_the_first_byte_is_maybe_sent(at_once, later):
    async with Server(silence) as server, client_for(server, retry=at_once) as client:
        call = asyncio.create_task(client.send(REQUEST, deadline=10))
        await server.wait(lambda: server.posts == 1)
        later(10)
        result = await call
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DEADLINE, Disposition.MAYBE_SENT)
    assert server.posts == 1


async def test_body_that_drips_past_the_deadline_ends_the_call():
    async def drip(received: Received) -> None:
        await received.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
        while True:
            await received.write(b" ")
            await asyncio.sleep(0.01)

    async with Server(drip) as server, client_for(server) as client:
        result = await client.send(REQUEST, deadline=1.0)
        await server.wait(lambda: not server.open)  # the connection was dropped, not kept
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition, result.http_status) == (
        FailureKind.DEADLINE,
        Disposition.MAYBE_SENT,
        200,
    )


async def test_endless_body_is_read_to_the_cap_only():
    sent = 0

    async def flood(received: Received) -> None:
        nonlocal sent
        await received.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await received.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            sent += 1

    async with Server(flood) as server, client_for(server) as client:
        result = await client.send(REQUEST)
        await server.wait(lambda: not server.open)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.UNREADABLE, Disposition.MAYBE_SENT)
    assert sent < 1000  # what fits into the socket's buffers, not a gigabyte


@pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])
async def test_connection_refused_is_tried_again_and_not_sent(make, at_once):
    url = f"http://127.0.0.1:{free_port()}"
    async with Gateway360Client(KEY, base_url=url, transport=make(), retry=at_once) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition, result.attempts) == (
        FailureKind.CONNECT,
        Disposition.NOT_SENT,
        4,
    )
    assert "Connect call failed" in result.detail


async def test_request_not_sent_is_sent_when_the_gateway_is_back(at_once):
    behaviour = in_turn(status(429, retry_after="0"), status(429), ok)
    async with Server(behaviour) as server, client_for(server, retry=at_once) as client:
        result = await client.send(REQUEST)
    assert result == Ok(attempts=3, elapsed=result.elapsed)
    assert server.posts == 3


async def test_retry_after_beyond_the_deadline_ends_the_call(at_once):
    async with Server(status(429, retry_after="3600")) as server, client_for(server, retry=at_once) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.THROTTLED, Disposition.NOT_SENT)
    assert (result.retry_after, result.attempts) == (3600.0, 1)
    assert server.posts == 1


async def test_maybe_sent_is_repeated_only_where_the_policy_says_so():
    policy = RetryPolicy(base_delay=0.0, retry_maybe_sent=True)
    async with Server(in_turn(close, status(500), ok)) as server, client_for(server, retry=policy) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, Ok)
    assert (result.attempts, server.posts) == (3, 3)


REPEAT_EVERYTHING = RetryPolicy(base_delay=0.0, retry_maybe_sent=True)
NO_FUNDS = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE","error_msg":"The account has no funds."}'


async def test_refusal_of_the_second_attempt_does_not_undo_the_first():
    behaviour = in_turn(close, status(400, NO_FUNDS))
    async with Server(behaviour) as server, client_for(server, retry=REPEAT_EVERYTHING) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DISCONNECTED, Disposition.MAYBE_SENT)
    assert (result.attempts, server.posts) == (2, 2)


async def test_connection_refused_after_a_lost_answer_is_maybe_sent():
    transport = Fake(raises=TransportError(FailureKind.DISCONNECTED, "gone"))

    async def refuse_next(*args, exchange: Exchange, **kwargs) -> Answer:
        if transport.closed == 0:
            transport.closed = 1
            exchange.phase = Phase.SENT
            raise TransportError(FailureKind.DISCONNECTED, "gone")
        raise TransportError(FailureKind.CONNECT, "refused")

    transport.post = refuse_next
    async with Gateway360Client(KEY, transport=transport, retry=REPEAT_EVERYTHING) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DISCONNECTED, Disposition.MAYBE_SENT)
    assert result.attempts == 4


async def test_deadline_in_the_second_attempt_keeps_the_first(later):
    class Once(Limiter):
        async def __aenter__(self) -> None:
            await super().__aenter__()
            if self.entered > 1:
                later(10)
                await asyncio.Event().wait()

    async with Server(close) as server:
        async with client_for(server, retry=REPEAT_EVERYTHING, limiter=Once(), deadline=10) as client:
            result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DISCONNECTED, Disposition.MAYBE_SENT)
    assert (result.attempts, server.posts) == (2, 1)


async def test_limiter_failing_before_a_second_attempt_keeps_the_first():
    class Once(Limiter):
        async def __aenter__(self) -> None:
            await super().__aenter__()
            if self.entered > 1:
                raise RuntimeError("no more")

    async with Server(close) as server:
        async with client_for(server, retry=REPEAT_EVERYTHING, limiter=Once()) as client:
            result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT


async def test_cancellation_in_the_pause_logs_the_attempts_before(caplog):
    pausing = RetryPolicy(base_delay=1000.0, max_delay=1000.0, retry_maybe_sent=True)
    for behaviour, warned in ((close, True), (status(429, connection="close"), False)):
        caplog.clear()
        async with Server(behaviour) as server:
            async with client_for(server, retry=pausing, deadline=10_000) as client:
                call = asyncio.create_task(client.send(REQUEST))
                await server.wait(
                    lambda server=server: server.posts == 1 and not server.open or server.posts == 2
                )
                call.cancel()
                await asyncio.wait((call,))
        assert ("may have been sent" in caplog.text) is warned


async def test_error_id_is_repeated_only_where_the_policy_names_it():
    answer = b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"HLR query returned error."}'
    async with Server(status(200, answer)) as server:
        async with client_for(server) as client:
            first = await client.send(REQUEST)
        policy = RetryPolicy(max_attempts=2, base_delay=0.0, error_ids=frozenset({ErrorId.INVALID_NUMBER}))
        async with client_for(server, retry=policy) as client:
            second = await client.send(REQUEST)
    assert isinstance(first, ApiError)
    assert (first.error_id, first.attempts, first.http_status) == (ErrorId.INVALID_NUMBER, 1, 200)
    assert first.error_msg == "HLR query returned error."
    assert second.attempts == 2
    assert server.posts == 3


async def test_budget_of_the_client_ends_retrying():
    policy = RetryPolicy(base_delay=0.0, budget=RetryBudget(per_second=0.0, ratio=0.5, window=0.0))
    async with Gateway360Client(KEY, base_url=f"http://127.0.0.1:{free_port()}", retry=policy) as client:
        attempts = [(await client.send(REQUEST)).attempts for _ in range(4)]
    assert attempts == [1, 2, 1, 2]


async def test_without_a_budget_a_call_has_all_its_attempts():
    policy = RetryPolicy(base_delay=0.0, budget=None)
    async with Gateway360Client(KEY, base_url=f"http://127.0.0.1:{free_port()}", retry=policy) as client:
        assert [(await client.send(REQUEST)).attempts for _ in range(3)] == [4, 4, 4]


async def test_redirect_is_not_followed():
    async with Server() as other:
        behaviour = status(307, location=f"{other.url}/api/2fa/request")
        async with Server(behaviour) as server, client_for(server) as client:
            result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.disposition, result.http_status) == (Disposition.NOT_SENT, 307)
    assert (server.posts, other.posts) == (1, 0)


# --- Places, the limiter, and the deadline before the first byte -----------------------------------------


async def test_wait_for_a_slot_ends_with_the_deadline_unsent(at_once):
    async with Server(silence) as server, client_for(server, concurrency=1, retry=at_once) as client:
        one, other = requests(2)
        first = asyncio.create_task(client.send(one))
        await server.wait(lambda: server.posts == 1)
        second = await client.send(other, deadline=0.1)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    assert isinstance(second, TransportFailure)
    assert (second.kind, second.disposition) == (FailureKind.DEADLINE, Disposition.NOT_SENT)
    assert server.posts == 1


async def test_wait_for_a_slot_past_the_pool_timeout_is_repeated(at_once):
    timeout = httpx.Timeout(5, pool=0.02)
    async with Server(silence) as server:
        async with client_for(server, concurrency=1, retry=at_once, timeout=timeout) as client:
            one, other = requests(2)
            first = asyncio.create_task(client.send(one))
            await server.wait(lambda: server.posts == 1)
            second = await client.send(other)
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first
    assert isinstance(second, TransportFailure)
    assert (second.kind, second.disposition, second.attempts) == (FailureKind.POOL, Disposition.NOT_SENT, 4)
    assert server.posts == 1


class Limiter(contextlib.AbstractAsyncContextManager):
    def __init__(self, enter: Exception | None = None, leave: Exception | None = None) -> None:
        self.entered = 0
        self.enter = enter
        self.leave = leave
        self.swallow = False

    async def __aenter__(self) -> None:
        self.entered += 1
        if self.enter is not None:
            raise self.enter

    async def __aexit__(self, *exc_info) -> bool:
        if self.leave is not None:
            raise self.leave
        return self.swallow


async def test_limiter_is_entered_for_each_attempt(at_once):
    limiter = Limiter()
    async with Server(in_turn(status(429), ok)) as server:
        async with client_for(server, limiter=limiter, retry=at_once) as client:
            await client.send(REQUEST)
    assert limiter.entered == server.posts == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), TimeoutError("no")], ids=["any", "a timeout of its own"]
)
async def test_limiter_that_raises_first_is_raised_and_unsent(error):
    async with Server() as server, client_for(server, limiter=Limiter(enter=error)) as client:
        with pytest.raises(type(error), match="no"):
            await client.send(REQUEST)
    assert server.posts == 0


async def test_result_outlives_a_limiter_that_fails_after_it(caplog):
    async with Server() as server, client_for(server, limiter=Limiter(leave=RuntimeError("late"))) as client:
        assert isinstance(await client.send(REQUEST), Ok)
    assert "the call has a result" in caplog.text


async def test_limiter_that_breaks_the_exchange_off_gets_a_result(later):
    class Impatient(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None:
            self.timeout = asyncio.timeout(5)
            await self.timeout.__aenter__()

        async def __aexit__(self, *exc_info) -> bool | None:
            return await self.timeout.__aexit__(*exc_info)

    async with Server(silence) as server, client_for(server, limiter=Impatient()) as client:
        call = asyncio.create_task(client.send(REQUEST, deadline=10))
        await server.wait(lambda: server.posts == 1)
        later(5)
        result = await call
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.UNEXPECTED, Disposition.MAYBE_SENT)
    assert server.posts == 1


async def test_limiter_cannot_swallow_a_cancellation():
    limiter = Limiter()
    limiter.swallow = True
    async with Server(silence) as server, client_for(server, limiter=limiter) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_answer_before_the_deadline_outlives_a_slow_limiter(later):
    class Slow(Limiter):
        async def __aexit__(self, *exc_info) -> None:
            later(10)
            await asyncio.Event().wait()

    async with Server() as server, client_for(server, limiter=Slow(), deadline=10) as client:
        assert isinstance(await client.send(REQUEST), Ok)


async def test_limiter_that_swallows_an_exception_gets_a_result():
    limiter = Limiter()
    limiter.swallow = True
    transport = Fake(raises=asyncio.CancelledError())
    async with Gateway360Client(KEY, transport=transport, limiter=limiter) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.UNEXPECTED, Disposition.MAYBE_SENT)


# --- Any transport ---------------------------------------------------------------------------------------


class Fake:
    """A transport of a user's own."""

    def __init__(self, answer: Answer | None = None, raises: BaseException | None = None) -> None:
        self.answer = answer
        self.raises = raises
        self.closed = 0

    async def post(self, url, *, headers, body, timeout, max_bytes, exchange: Exchange) -> Answer:
        exchange.phase = Phase.SENT
        if self.raises is not None:
            raise self.raises
        assert self.answer is not None
        return self.answer

    async def aclose(self) -> None:
        self.closed += 1


async def test_another_transport_is_used_and_closed():
    transport = Fake(Answer(200, {}, OK))
    async with Gateway360Client(KEY, transport=transport) as client:
        assert isinstance(await client.send(REQUEST), Ok)
    assert transport.closed == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransportError(FailureKind.DISCONNECTED, "gone", OSError(104, "reset")), FailureKind.DISCONNECTED),
        (ZeroDivisionError("a bug"), FailureKind.UNEXPECTED),
    ],
    ids=["said so", "a bug"],
)
async def test_transport_that_raises_anything_is_read_by_its_phase(error, kind):
    async with Gateway360Client(KEY, transport=Fake(raises=error)) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (kind, Disposition.MAYBE_SENT)
    assert result.cause is not None
    assert result.cause.__traceback__ is None


@pytest.mark.parametrize("behaviour", [close, silence], ids=["a failure", "a cancellation"])
async def test_exception_that_a_caller_handles_keeps_its_traceback(behaviour):
    async with Server(behaviour) as server, client_for(server) as client:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as handled:
            call = asyncio.create_task(client.send(REQUEST)) if behaviour is silence else None
            if call is None:
                await client.send(REQUEST)
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await client.send(REQUEST)
                call.cancel()
                await asyncio.wait((call,))
            assert handled.__traceback__ is not None


async def test_answer_outlives_an_error_in_closing_its_connection():
    class Clumsy(Fake):
        async def post(self, url, *, exchange: Exchange, **kwargs) -> Answer:
            exchange.phase = Phase.ANSWERED
            exchange.answer = Answer(200, {}, OK)
            raise OSError("while closing")

    async with Gateway360Client(KEY, transport=Clumsy()) as client:
        assert isinstance(await client.send(REQUEST), Ok)


async def test_limiter_failing_after_a_refused_connection_keeps_it():
    url = f"http://127.0.0.1:{free_port()}"
    once = RetryPolicy(max_attempts=1)
    async with Gateway360Client(
        KEY, base_url=url, retry=once, limiter=Limiter(leave=OSError("late"))
    ) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.CONNECT, Disposition.NOT_SENT)


async def test_key_that_the_gateway_quotes_is_blanked_out():
    body = b'{"status":"error","error_id":"UNAUTHORIZED","error_msg":"no such key: %s"}' % KEY.encode()
    async with Gateway360Client(KEY, transport=Fake(Answer(401, {}, body))) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, ApiError)
    assert result.error_msg == "no such key: *****"


@pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])
async def test_key_in_pieces_of_the_protocol_is_blanked(make):
    async def echo(received: Received) -> None:
        await received.write(b"HTTP/1.1 200 OK\r\n" + received.body + b"\x00\r\n\r\n")
        received.writer.close()

    async with Server(echo) as server, client_for(server, transport=make()) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, TransportFailure)
    assert result.kind is FailureKind.PROTOCOL
    assert KEY not in f"{result} {result!r}"
    if make is HttpxTransport:
        assert result.cause is None  # it quotes the line that it could not read
    else:
        assert KEY not in repr(result.cause)


async def test_error_id_that_quotes_the_key_is_blanked_out():
    body = b'{"status":"error","error_id":"NO_%s"}' % KEY.encode()
    async with Gateway360Client(KEY, transport=Fake(Answer(400, {}, body))) as client:
        result = await client.send(REQUEST)
    assert isinstance(result, ApiError)
    assert result.error_id == "NO_*****"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit], ids=lambda error: error.__name__)
def test_interruption_does_not_show_the_key(error):
    class Interrupted:
        async def post(self, url, *, body, **kwargs) -> Answer:
            bare = bytes(body)
            assert KEY.encode() in bare
            raise error

        async def aclose(self) -> None: ...

    client = Gateway360Client(KEY, transport=Interrupted())
    loop = asyncio.new_event_loop()
    with pytest.raises(error) as caught:
        loop.run_until_complete(client.send(REQUEST))
    loop.close()
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(caught.value.__traceback__.tb_next), capture_locals=True
    )
    assert KEY not in "".join(frames.format())


@pytest.mark.parametrize("given", [True, False], ids=["an argument", "the environment"])
def test_key_that_is_refused_is_in_no_traceback(given, monkeypatch):
    monkeypatch.setenv("GATEWAY360_API_KEY", f"{KEY}\n")
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client(f"{KEY}\n") if given else Gateway360Client()
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(caught.value.__traceback__.tb_next), capture_locals=True
    )
    assert KEY not in "".join(frames.format())


# --- Bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"msisdn": "123"}, "msisdn"),
        ({"sender": "FAR TOO LONG A SENDER"}, "sender"),
        ({"sms_text": "no placeholder"}, "sms_text"),
        ({"pin_params": {"length": 3}}, "pin_params.length"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "5"}, "timeout"),
    ],
    ids=str,
)
async def test_wrong_argument_of_a_call_raises_and_nothing_is_sent(arguments, field):
    async with Server() as server, client_for(server) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.request_pin(**{"msisdn": NUMBER} | arguments)
    assert caught.value.field == field
    assert server.posts == server.connections == 0


async def test_call_without_any_sender_raises():
    async with Server() as server, Gateway360Client(KEY, base_url=server.url) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.request_pin(NUMBER)
    assert caught.value.field == "sender"


async def test_send_takes_a_pin_request_only():
    async with Server() as server, client_for(server) as client:
        with pytest.raises(InvalidRequest, match="PinRequest") as caught:
            await client.send(NUMBER)  # type: ignore[arg-type]
    assert caught.value.field == "request"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"api_key": ""}, "api_key"),
        ({"sender": "FAR TOO LONG A SENDER"}, "sender"),
        ({"base_url": "http://example.com"}, "base_url"),
        ({"path_prefix": "api"}, "path_prefix"),
        ({"timeout": "5"}, "timeout"),
        ({"deadline": 0}, "deadline"),
        ({"concurrency": 0}, "concurrency"),
        ({"retry": 3}, "retry"),
        ({"limits": 3}, "limits"),
        ({"limiter": 3}, "limiter"),
        ({"transport": 3}, "transport"),
        ({"transport": Fake(), "limits": httpx.Limits()}, "limits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_wrong_setting_raises_and_names_itself(settings, setting):
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client(**{"api_key": KEY} | settings)
    assert caught.value.setting == setting
    # The library's own frames; the one above them is this test's, which knows the key.
    frames = caught.value.__traceback__.tb_next
    shown = "".join(traceback.StackSummary.extract(traceback.walk_tb(frames), capture_locals=True).format())
    assert "_client.py" in shown
    assert KEY not in shown


async def test_bare_httpx_client_is_used_as_it_is_and_stays_open():
    async with Server() as server, httpx.AsyncClient(headers={"X-App": "mine"}) as ready:
        async with client_for(server, transport=ready) as client:
            assert isinstance(await client.send(REQUEST), Ok)
        assert not ready.is_closed
    assert server.requests[0].header("x-app") == "mine"


# --- Lifetime --------------------------------------------------------------------------------------------


async def test_closed_client_raises_and_nothing_is_sent():
    async with Server() as server:
        client = client_for(server)
        async with client:
            pass
        with pytest.raises(ClientClosed):
            await client.send(REQUEST)
        with pytest.raises(ClientClosed):
            async with client:
                pass
        await client.aclose()  # again is fine
    assert server.connections == 0
    assert repr(client).endswith("closed>")


async def test_closing_waits_for_calls_in_flight_and_refuses_new_ones():
    release = asyncio.Event()

    async def held(received: Received) -> None:
        await release.wait()
        await received.answer()

    async with Server(held) as server:
        client = client_for(server)
        calls = [asyncio.create_task(client.send(request)) for request in requests(3)]
        await server.wait(lambda: server.posts == 3)
        closing = [asyncio.create_task(client.aclose()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await client.send(REQUEST)
        assert not any(task.done() for task in (*calls, *closing))
        release.set()
        assert all(isinstance(result, Ok) for result in await asyncio.gather(*calls))
        await asyncio.gather(*closing)
        await server.wait(lambda: not server.open)


def test_another_event_loop_is_refused_before_a_byte_is_sent():
    async def first() -> tuple[Gateway360Client, int]:
        async with Server() as server:
            client = client_for(server)
            await client.send(REQUEST)
            await client.aclose()
            return client, server.posts

    async def second(client: Gateway360Client) -> None:
        with pytest.raises(WrongEventLoop):
            await client.send(REQUEST)
        with pytest.raises(WrongEventLoop):
            await client.aclose()

    client, posts = asyncio.run(first())
    asyncio.run(second(client))
    assert posts == 1


def test_client_that_was_not_used_yet_may_go_to_any_event_loop():
    client = Gateway360Client(KEY, transport=Fake(Answer(200, {}, OK)))
    assert isinstance(asyncio.run(client.send(REQUEST)), Ok)


async def test_client_used_before_a_fork_is_refused_in_the_child(monkeypatch):
    async with Server() as server, client_for(server) as client:
        await client.send(REQUEST)
        monkeypatch.setattr(os, "getpid", lambda: -1)  # what a child sees: the same loop, another process
        with pytest.raises(WrongEventLoop, match="fork"):
            await client.send(REQUEST)
        monkeypatch.undo()
    assert server.posts == 1


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_real_child_of_a_fork_is_refused():
    async with Server() as server, client_for(server) as client:
        await client.send(REQUEST)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:  # the child; it must leave by os._exit
            try:
                client.send(REQUEST).send(None)
            except BaseException as exc:  # noqa: BLE001
                os.write(write, type(exc).__name__.encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 100) == b"WrongEventLoop"
        os.close(read)
        os.close(write)
    assert server.posts == 1


# --- Cancelling ------------------------------------------------------------------------------------------


async def test_cancelling_re_raises_drops_the_connection_and_logs(caplog):
    async with Server(silence) as server, client_for(server) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.wait(lambda: not server.open)
        server.behaviour = ok
        assert isinstance(await client.send(REQUEST), Ok)
    assert server.connections == 2
    assert "34*****111" in caplog.text
    assert "was cancelled: may have been sent" in caplog.text
    assert NUMBER not in caplog.text


async def test_cancelling_before_the_first_byte_is_quiet(caplog):
    async with Server(silence) as server, client_for(server, concurrency=1) as client:
        one, other = requests(2)
        first = asyncio.create_task(client.send(one))
        await server.wait(lambda: server.posts == 1)
        second = asyncio.create_task(client.send(other))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert "may have been sent" not in caplog.text
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    assert server.posts == 1


@pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])
async def test_calls_after_hundreds_of_cancelled_ones_are_ok(make):
    seed = random.Random(360)

    async def late(received: Received) -> None:
        await asyncio.sleep(seed.random() * 0.004)
        await received.answer()

    async with Server(late) as server, client_for(server, transport=make(), concurrency=20) as client:

        async def cancelled_soon(request: PinRequest) -> None:
            call = asyncio.create_task(client.send(request))
            for _ in range(seed.randrange(40)):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))

        for _ in range(20):
            await asyncio.gather(*map(cancelled_soon, requests(20)))
        results = await asyncio.gather(*map(client.send, requests(100)))
        assert [type(result) for result in results] == [Ok] * 100
        assert len(server.open) <= 20
    assert not server.open


# --- Nothing stays behind (what may leak, `test_leaks` hunts) ---------------------------------------------


async def test_transports_connections_are_gone_when_the_client_is():
    async with Server() as server:
        async with client_for(server, transport=HttpxTransport()) as client:
            await asyncio.gather(*map(client.send, requests(10)))
            assert server.open
        await server.wait(lambda: not server.open)


def test_exit_in_a_transport_at_the_deadline_is_no_result():
    class Exits:
        async def post(self, url, *, headers, body, timeout, max_bytes, exchange):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise SystemExit(7) from None

        async def aclose(self) -> None: ...

    async def main():
        client = Gateway360Client(
            "k3y", base_url="http://127.0.0.1:9", sender="PIZZA", transport=Exits(), deadline=0.01
        )
        await client.send_all(["34666666111"])

    with pytest.raises(SystemExit):
        asyncio.run(main())
