"""The request that goes out once, between hooks and engines that read it; the steps of httpcore are in tests/faults."""

from __future__ import annotations

import asyncio

import httpcore
import httpx
import httpx2
import pytest

from gateway360_async.transports import Exchange, Phase, TransportError
from gateway360_async.transports._one_shot import ExchangeTrace, one_shot_request, send_once

SENDS = ("http11.send_request_headers.started", {"request": httpcore.Request("POST", "https://gateway.test")})


def trace_of(exchange: Exchange | None = None, *, engine_reports: bool = False) -> ExchangeTrace:
    return ExchangeTrace(exchange or Exchange(), engine_reports=engine_reports)


def request_of(trace: ExchangeTrace, library=httpx):
    return one_shot_request(library, library.Request("POST", "https://gateway.test"), b"body", trace)


async def stream_of(trace: ExchangeTrace) -> list[bytes]:
    return [part async for part in request_of(trace).stream]


def stopped():
    return pytest.raises(TransportError, match="second time")


class Engine(httpx.AsyncBaseTransport):
    """An engine that is not httpcore, and what others put around it: each calls `handle_async_request`."""

    def __init__(self, inner=None, *, reads=1, times=1, in_a_task=False):
        self.inner, self.reads, self.times, self.in_a_task = inner, reads, times, in_a_task
        self.bodies = []

    @property
    def innermost(self):
        return self.inner.innermost if self.inner else self

    async def handle_async_request(self, request):
        for _ in range(self.reads):
            body = await (asyncio.create_task(request.aread()) if self.in_a_task else request.aread())
            if self.inner is None:
                self.bodies.append(body)
        for _ in range(self.times if self.inner else 0):
            await self.inner.handle_async_request(request)
        return httpx.Response(200)


class Repeating(Engine):
    """An engine that repeats within one call, and reads the bytes or the stream for each."""

    def __init__(self, *, as_stream):
        super().__init__()
        self.as_stream = as_stream

    async def handle_async_request(self, request):
        for _ in range(3):
            parts = [part async for part in request.stream] if self.as_stream else [await request.aread()]
            self.bodies.extend(parts)
            await asyncio.sleep(0)  # it waits for an answer
        return httpx.Response(200)


class Logging(Engine):
    """Looks at the request before and after its answer, as a transport that logs does."""

    async def handle_async_request(self, request):
        before = request.content
        response = await self.inner.handle_async_request(request)
        assert before == request.content
        return response


class Lost(Engine):
    """An engine whose answer takes a pass of the event loop, and which httpcore's trace sees or not."""

    def __init__(self, trace=None):
        super().__init__()
        self.trace = trace

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        await asyncio.sleep(0)
        if self.trace is not None:
            await self.trace("http11.receive_response_headers.complete", {})
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
    await send_once(Client(engine, hook), request_of(trace_of(exchange), library))
    assert (read, engine.bodies, exchange.phase) == ([b"body"] * 4, [b"body"], Phase.SENT)


async def test_request_read_by_a_replaced_httpx_counts_as_sent():
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
    await send_once(Client(transport), request_of(trace_of()))
    assert transport.innermost.bodies == [b"body"] * bodies


@pytest.mark.parametrize(
    "transport",
    [
        Engine(Engine(), reads=0, times=4),
        Engine(Engine(), reads=1, times=4),
        Engine(Engine(Engine(), reads=0), reads=0, times=2),
        Engine(Engine(in_a_task=True), reads=0, times=2),
        Logging(Lost()),
        Repeating(as_stream=True),
        Repeating(as_stream=False),
    ],
    ids=[
        "retries",
        "reads and retries",
        "wrapper between",
        "tasks",
        "falls back",
        "reads streams",
        "reads bytes",
    ],
)
async def test_engine_that_sends_again_is_stopped(transport):
    trace = trace_of()
    with stopped():
        await send_once(Client(transport), request_of(trace))
    assert transport.innermost.bodies == [b"body"]
    trace.forget()


async def test_engine_that_logs_reads_after_the_answer_too():
    trace = trace_of()
    engine = Lost(trace)
    await send_once(Client(Logging(engine)), request_of(trace))
    assert engine.bodies == [b"body"]


async def test_engine_that_begins_again_after_httpcore_is_stopped():
    exchange = Exchange()
    trace = trace_of(exchange, engine_reports=True)
    for _ in range(2):  # a hook
        assert await stream_of(trace) == [b"body"]
    assert exchange.phase is Phase.UNSENT
    await trace(*SENDS)
    assert await stream_of(trace) == [b"body"]
    with stopped():
        await trace(*SENDS)


async def test_engine_in_another_task_that_reads_again_is_stopped():
    trace = trace_of()
    assert await stream_of(trace) == [b"body"]
    await asyncio.sleep(0)
    with stopped():
        await Engine().handle_async_request(request_of(trace))


@pytest.mark.parametrize("phase", [Phase.UNSENT, Phase.SENT])
async def test_exchange_that_is_stopped_sends_no_first_byte(phase):
    exchange = Exchange(phase)
    trace = trace_of(exchange)
    trace.stop = asyncio.CancelledError()
    if phase is Phase.UNSENT:
        with pytest.raises(asyncio.CancelledError):
            await stream_of(trace)
    else:
        assert await stream_of(trace) == [b"body"]
    assert exchange.phase is phase


async def test_request_whose_stream_was_replaced_reads_empty():
    request = request_of(trace_of())
    request.stream = httpx.ByteStream(b"other")
    assert await request.aread() == b""
