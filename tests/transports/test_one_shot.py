"""The trace of an exchange alone, fed with httpcore's events, and the request that goes out once."""

from __future__ import annotations

import asyncio

import httpcore
import httpx
import httpx2
import pytest

from gateway360_async.transports import Exchange, Phase
from gateway360_async.transports._one_shot import (
    ExchangeTrace,
    SentTwiceError,
    one_shot_request,
    send_once,
)

POST = {"request": httpcore.Request("POST", "https://gateway.test")}
CONNECT = {"request": httpcore.Request("CONNECT", "https://gateway.test")}


class Stream:
    """A new connection's end, as httpcore gives it: of a kind that tells nothing of itself."""

    def __init__(self):
        self.closed = False

    def get_extra_info(self, _name):
        return None

    async def aclose(self) -> None:
        self.closed = True


OPENED = {"return_value": Stream(), **POST}


def trace_of(exchange: Exchange, *, engine_reports: bool = False) -> ExchangeTrace:
    return ExchangeTrace(exchange, engine_reports=engine_reports)


def body_of(trace: ExchangeTrace):
    return request_of(trace).stream


def request_of(trace: ExchangeTrace, library=httpx):
    return one_shot_request(library, library.Request("POST", "https://gateway.test"), b"body", trace)


@pytest.mark.parametrize("protocol", ["http11", "http2"])
async def test_the_first_byte_is_the_start_of_the_requests_headers(protocol):
    exchange = Exchange()
    trace = trace_of(exchange)
    for event in (
        "connection.connect_tcp.started",
        "connection.start_tls.started",
        "connection.start_tls.complete",
    ):
        await trace(event, OPENED)
    assert trace.in_tls
    assert exchange.phase is Phase.UNSENT
    await trace(f"{protocol}.send_request_headers.started", POST)
    assert exchange.phase is Phase.SENT
    assert not trace.in_tls


async def test_a_connect_is_not_the_request():
    exchange = Exchange()
    await trace_of(exchange)("http11.send_request_headers.started", CONNECT)
    assert exchange.phase is Phase.UNSENT


async def test_a_later_step_never_takes_the_phase_back():
    exchange = Exchange(Phase.ANSWERED)
    await trace_of(exchange)("http11.send_request_headers.started", POST)
    assert exchange.phase is Phase.ANSWERED


async def test_what_is_stopped_stops_before_its_first_byte():
    exchange = Exchange()
    trace = trace_of(exchange)
    trace.stop_before_sending(asyncio.CancelledError())
    await trace("connection.connect_tcp.started", {})
    await trace("http11.send_request_headers.started", CONNECT)
    with pytest.raises(asyncio.CancelledError):
        await trace("http11.send_request_headers.started", POST)
    with pytest.raises(asyncio.CancelledError):
        await anext(aiter(body_of(trace)))  # in no task of an exchange: it may be what sends
    assert exchange.phase is Phase.UNSENT


async def test_what_has_begun_is_not_stopped():
    exchange = Exchange(Phase.SENT)
    trace = trace_of(exchange)
    trace.stop_before_sending(asyncio.CancelledError())
    assert [part async for part in body_of(trace)] == [b"body"]


async def test_a_step_is_interruptible_until_it_is_complete():
    trace = trace_of(Exchange())
    assert not trace.interruptible
    await trace("connection.connect_tcp.started", {})
    assert trace.interruptible
    await trace("connection.connect_tcp.complete", {"return_value": None})
    assert not trace.interruptible
    await trace("http11.response_closed.started", {})
    assert trace.closing
    assert not trace.interruptible


async def test_a_request_goes_out_once():
    trace = trace_of(Exchange())
    await trace("http11.send_request_headers.started", POST)
    with pytest.raises(SentTwiceError):
        await trace("http11.send_request_headers.started", POST)
    body = body_of(trace)
    assert [part async for part in body] == [b"body"]
    await asyncio.sleep(0)
    with pytest.raises(SentTwiceError):  # in another task than the exchange: it may be what sends again
        await Engine().handle_async_request(request_of(trace))


async def test_only_a_connection_in_its_handshake_is_closed_by_the_trace():
    trace = trace_of(Exchange())
    await trace.close_stream()
    for step in ("connection.start_tls.complete", "http11.send_request_headers.started"):
        stream = Stream()
        await trace("connection.connect_tcp.complete", {"return_value": stream})
        await trace(step, OPENED)
        await trace.close_stream()
        assert not stream.closed
    stream = Stream()
    await trace("connection.connect_tcp.complete", {"return_value": stream})
    await trace.close_stream()
    assert stream.closed


async def test_a_second_round_is_not_taken_for_the_end_of_the_first():
    trace = trace_of(Exchange())
    await trace("http11.response_closed.started", {})
    assert trace.closing
    await trace("connection.connect_tcp.started", {})
    assert not trace.closing


@pytest.mark.parametrize("library", [httpx, httpx2])
class Engine(httpx.AsyncBaseTransport):
    """An engine that is not httpcore, and what others put around it: each calls `handle_async_request`."""

    def __init__(self, inner=None, *, reads=1, times=1, in_a_task=False):
        self.inner, self.reads, self.times, self.in_a_task = inner, reads, times, in_a_task
        self.bodies = []

    async def handle_async_request(self, request):
        for _ in range(self.reads):
            body = await (asyncio.create_task(request.aread()) if self.in_a_task else request.aread())
            if self.inner is None:
                self.bodies.append(body)
        for _ in range(self.times if self.inner else 0):
            await self.inner.handle_async_request(request)
        return httpx.Response(200)


class Repeating(httpx.AsyncBaseTransport):
    """An engine that repeats within one call, and reads the bytes or the stream for each."""

    def __init__(self, *, as_stream):
        self.as_stream = as_stream
        self.bodies = []

    async def handle_async_request(self, request):
        for _ in range(3):
            parts = [part async for part in request.stream] if self.as_stream else [await request.aread()]
            self.bodies.extend(parts)
            await asyncio.sleep(0)  # it waits for an answer
        return httpx.Response(200)


class Logging(httpx.AsyncBaseTransport):
    """Looks at the request before and after its answer, as a transport that logs does."""

    def __init__(self, inner):
        self.inner = inner

    async def handle_async_request(self, request):
        before = request.content
        response = await self.inner.handle_async_request(request)
        assert before == request.content
        return response


class Client:
    """A client as httpx's: it calls a hook, and then its transport."""

    def __init__(self, transport, hook=None):
        self.transport, self.hook = transport, hook

    async def send(self, request, **_):
        if self.hook is not None:
            await self.hook(request)
        return await self.transport.handle_async_request(request)


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_request_read_by_a_hook_stays_unsent(library):
    exchange = Exchange()
    read = []

    async def hook(request):
        read.extend((request.content, request.read(), await request.aread()))
        read.extend([part async for part in request.stream])
        assert exchange.phase is Phase.UNSENT

    engine = Engine()
    request = request_of(trace_of(exchange), library)
    await send_once(Client(engine, hook), request)
    assert (read, engine.bodies, exchange.phase) == ([b"body"] * 4, [b"body"], Phase.SENT)


async def test_hook_of_a_replaced_httpx_counts_as_sending():
    exchange = Exchange()
    trace = ExchangeTrace(exchange, engine_reports=False, hooks_known=False)

    async def hook(request):
        await request.aread()
        assert exchange.phase is Phase.SENT

    engine = Engine()
    await send_once(Client(engine, hook), request_of(trace))
    assert engine.bodies == [b"body"]


@pytest.mark.parametrize(
    ("transport", "bodies"),
    [
        (Engine(reads=3), 3),
        (Engine(Engine()), 1),
        (Engine(Engine(Engine(reads=2), reads=0), reads=2), 2),
        (Engine(in_a_task=True), 1),
    ],
    ids=["reads again", "wrapper that reads", "two wrappers", "reads in a task of its own"],
)
async def test_engine_that_sends_once_may_read_as_it_likes(transport, bodies):
    await send_once(Client(transport), request_of(trace_of(Exchange())))
    while transport.inner:
        transport = transport.inner
    assert transport.bodies == [b"body"] * bodies


@pytest.mark.parametrize(
    "transport",
    [
        Engine(Engine(), reads=0, times=4),
        Engine(Engine(), reads=1, times=4),
        Engine(Engine(Engine(), reads=0), reads=0, times=2),
        Engine(Engine(in_a_task=True), reads=0, times=2),
    ],
    ids=["retries", "reads and retries", "wrapper between", "tasks"],
)
async def test_retrying_transport_over_any_engine_sends_once(transport):
    trace = trace_of(Exchange())
    with pytest.raises(SentTwiceError):
        await send_once(Client(transport), request_of(trace))
    while transport.inner:
        transport = transport.inner
    assert transport.bodies == [b"body"]
    trace.forget()


@pytest.mark.parametrize("as_stream", [True, False], ids=["stream", "bytes"])
async def test_engine_that_repeats_within_a_call_sends_once(as_stream):
    engine = Repeating(as_stream=as_stream)
    with pytest.raises(SentTwiceError):
        await send_once(Client(engine), request_of(trace_of(Exchange())))
    assert engine.bodies == [b"body"]


async def test_transport_that_logs_reads_after_the_answer_too():
    trace = trace_of(Exchange())

    class Answering(Engine):
        async def handle_async_request(self, request):
            response = await super().handle_async_request(request)
            await asyncio.sleep(0)
            await trace("http11.receive_response_headers.complete", {})
            return response

    engine = Answering()
    await send_once(Client(Logging(engine)), request_of(trace))
    assert engine.bodies == [b"body"]


async def test_transport_that_falls_back_after_no_answer_is_stopped():
    class Lost(Engine):
        async def handle_async_request(self, request):
            await super().handle_async_request(request)
            await asyncio.sleep(0)

    with pytest.raises(SentTwiceError):
        await send_once(Client(Logging(Lost())), request_of(trace_of(Exchange())))


async def test_stream_read_under_httpcore_is_no_sending():
    exchange = Exchange()
    trace = trace_of(exchange, engine_reports=True)
    for _ in range(2):  # a hook
        assert [part async for part in body_of(trace)] == [b"body"]
    assert exchange.phase is Phase.UNSENT
    await trace("http11.send_request_headers.started", POST)
    assert [part async for part in body_of(trace)] == [b"body"]
    with pytest.raises(SentTwiceError):
        await trace("http11.send_request_headers.started", POST)


async def test_request_whose_stream_was_replaced_reads_empty():
    request = request_of(trace_of(Exchange()))
    request.stream = httpx.ByteStream(b"other")
    assert await request.aread() == b""
