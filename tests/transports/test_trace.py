"""The watch alone, fed with httpcore's events."""

from __future__ import annotations

import asyncio

import httpcore
import httpx
import pytest

from gateway360_async.transports import Exchange, Phase
from gateway360_async.transports._trace import Watch, WatchedBody

POST = {"request": httpcore.Request("POST", "https://gateway.test")}
CONNECT = {"request": httpcore.Request("CONNECT", "https://gateway.test")}


@pytest.mark.parametrize("protocol", ["http11", "http2"])
async def test_the_first_byte_is_the_start_of_the_requests_headers(protocol):
    exchange = Exchange()
    watch = Watch(exchange)
    for event in (
        "connection.connect_tcp.started",
        "connection.start_tls.started",
        "connection.start_tls.complete",
    ):
        await watch(event, {})
    assert watch.in_tls
    assert exchange.phase is Phase.UNSENT
    await watch(f"{protocol}.send_request_headers.started", POST)
    assert exchange.phase is Phase.SENT
    assert not watch.in_tls


async def test_a_connect_is_not_the_request():
    exchange = Exchange()
    await Watch(exchange)("http11.send_request_headers.started", CONNECT)
    assert exchange.phase is Phase.UNSENT


async def test_taking_the_body_counts_where_no_step_is_reported():
    exchange = Exchange()
    assert [part async for part in WatchedBody(b"body", Watch(exchange))] == [b"body"]
    assert exchange.phase is Phase.SENT


async def test_a_later_step_never_takes_the_phase_back():
    exchange = Exchange(Phase.ANSWERED)
    await Watch(exchange)("http11.send_request_headers.started", POST)
    assert exchange.phase is Phase.ANSWERED


async def test_what_is_stopped_stops_before_its_first_byte():
    exchange = Exchange()
    watch = Watch(exchange)
    watch.stop_before_sending(asyncio.CancelledError())
    await watch("connection.connect_tcp.started", {})
    await watch("http11.send_request_headers.started", CONNECT)
    with pytest.raises(asyncio.CancelledError):
        await watch("http11.send_request_headers.started", POST)
    with pytest.raises(asyncio.CancelledError):
        await anext(aiter(WatchedBody(b"body", watch)))
    assert exchange.phase is Phase.UNSENT


async def test_what_has_begun_is_not_stopped():
    exchange = Exchange(Phase.SENT)
    watch = Watch(exchange)
    watch.stop_before_sending(asyncio.CancelledError())
    assert [part async for part in WatchedBody(b"body", watch)] == [b"body"]


async def test_a_step_is_interruptible_until_it_is_complete():
    watch = Watch(Exchange())
    assert not watch.interruptible
    await watch("connection.connect_tcp.started", {})
    assert watch.interruptible
    await watch("connection.connect_tcp.complete", {"return_value": None})
    assert not watch.interruptible
    await watch("http11.response_closed.started", {})
    assert watch.closing
    assert not watch.interruptible


async def test_a_request_goes_out_once():
    watch = Watch(Exchange())
    await watch("http11.send_request_headers.started", POST)
    with pytest.raises(httpx.StreamConsumed):
        await watch("http11.send_request_headers.started", POST)
    body = WatchedBody(b"body", watch)
    assert [part async for part in body] == [b"body"]
    with pytest.raises(httpx.StreamConsumed):
        await anext(aiter(body))


async def test_only_a_connection_in_its_handshake_is_closed_by_the_watch():
    closed = []

    class Stream:
        async def aclose(self) -> None:
            closed.append(self)

    watch = Watch(Exchange())
    await watch.close_stream()
    for step in ("connection.start_tls.complete", "http11.send_request_headers.started"):
        await watch("connection.connect_tcp.complete", {"return_value": Stream()})
        await watch(step, POST)
        await watch.close_stream()
    assert closed == []
    await watch("connection.connect_tcp.complete", {"return_value": Stream()})
    await watch.close_stream()
    assert len(closed) == 1


async def test_a_second_round_is_not_taken_for_the_end_of_the_first():
    watch = Watch(Exchange())
    await watch("http11.response_closed.started", {})
    assert watch.closing
    await watch("connection.connect_tcp.started", {})
    assert not watch.closing
