"""Rows whose request may have been sent: the fault comes after its first byte, and before an answer's headers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import attrs
import httpx
from certificates import asking_for_a_certificate, client_context, handshake
from loopback import Behaviour, Received, Server, close, raw, rst, silence
from matrix import OTHER, REQUEST, Row, Scene, Setting, serving

from gateway360_async import Disposition, FailureKind, Ok, PinResult, Skipped
from gateway360_async.transports import Phase

A_SECOND = 1.0
"""Seconds until a deadline that has to find the request sent, on a busy machine as well."""
A_TENTH = httpx.Timeout(5, read=0.1, write=0.1)
GONE = {FailureKind.DISCONNECTED}
# More than the kernel buffers for a connection that is not read, and less than aiohttp warns of.
LARGE = attrs.evolve(REQUEST, report_url=f"https://reports.test/{'x' * 1_000_000}")


async def fin_after_a_byte(received: Received) -> None:
    """Close a kept connection as its next request arrives."""
    if received.earlier:
        await received.reader.readexactly(1)
        received.writer.close()


async def rst_after_a_byte(received: Received) -> None:
    if received.earlier:
        await received.reader.readexactly(1)
        received.reset()


async def rst_in_mid_body(received: Received) -> None:
    await received.reader.readuntil(b"\r\n\r\n")
    await received.reader.readexactly(1000)
    received.reset()


async def drips_headers(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        await received.write(b"x")
        await asyncio.sleep(0.01)


async def only_interim_answers(received: Received) -> None:
    while True:
        await received.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0)


def small_buffer(before: Behaviour, **settings: Any) -> Setting:
    """A gateway that takes in little at a time, so that a large request is long under way."""

    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[Scene]:
        async with Server(before=before, receive_buffer=4096) as server:
            yield Scene(server.url, server, settings)

    return scene


def stops_reading(after: int, **settings: Any) -> Setting:
    """A gateway that reads so many bytes, and no more until the call is over."""

    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[Scene]:
        async def reads_a_little(received: Received) -> None:
            await received.reader.readexactly(after)
            scene.reached.set()
            await scene.over.wait()
            await received.silence()

        async with Server(before=reads_a_little, receive_buffer=4096) as server:
            scene = Scene(server.url, server, settings)
            yield scene

    return scene


@contextlib.asynccontextmanager
async def wants_a_certificate() -> AsyncIterator[Scene]:
    async with Server(before=handshake(asking_for_a_certificate(ssl.TLSVersion.TLSv1_3))) as server:
        yield Scene(server.url.replace("http:", "https:"), server, verify=client_context())


async def on_a_kept_connection(scene: Scene) -> PinResult:
    assert isinstance(await scene.client.send(OTHER), Ok)
    return await scene.client.send(REQUEST)


async def much(scene: Scene) -> PinResult:
    return await scene.client.send(LARGE)


async def left_after_the_request(scene: Scene) -> PinResult:
    async with scene.client.batch([REQUEST]) as batch:
        await scene.gateway.wait(lambda: scene.gateway.posts == 1)
    (item,) = batch.report.unread
    assert not isinstance(item.result, Skipped)
    return item.result


async def left_in_mid_request(scene: Scene) -> PinResult:
    async with scene.client.batch([LARGE]) as batch:
        await scene.reached.wait()
    (item,) = batch.report.unread
    assert not isinstance(item.result, Skipped)
    return item.result


def _row(fault: str, scene: Setting, kinds: set[FailureKind], posts: int, **more: Any) -> Row:
    return Row(fault, scene, Phase.SENT, Disposition.MAYBE_SENT, kinds, posts, **more)


def _answered(data: bytes, **settings: Any) -> Setting:
    return serving(raw(data), **settings)


# The peer is in this process, and accepts in the pass of the event loop in which the client learns that it is
# connected: its RST cannot come before. From another machine it can, and then nothing was sent, which is what
# the client says (the row "connection refused"; the random run has both).
ON_ACCEPT = (
    _row("FIN on accept", serving(before=close), GONE, 0),
    _row("RST on accept", serving(before=rst), GONE, 0),
    _row(
        "FIN as a kept connection is used",
        serving(before=fin_after_a_byte),
        GONE,
        0,
        act=on_a_kept_connection,
    ),
    _row(
        "RST as a kept connection is used",
        serving(before=rst_after_a_byte),
        GONE,
        0,
        act=on_a_kept_connection,
    ),
    _row(
        "no client certificate, TLS 1.3",  # the client's handshake is over before the server has looked
        wants_a_certificate,
        GONE,
        0,
        recovers=False,
    ),
    _row(
        "peer stops reading",  # aiohttp has no bound on writing: the deadline
        stops_reading(0, timeout=A_TENTH, deadline=A_SECOND),
        {FailureKind.TIMEOUT, FailureKind.DEADLINE},
        0,
        act=much,
    ),
    _row(
        "cancelled in mid-request", stops_reading(1000), {FailureKind.CANCELLED}, 0, act=left_in_mid_request
    ),
    _row("RST in mid-body", small_buffer(rst_in_mid_body), GONE, 0, act=much),
)

AFTER_THE_REQUEST = (
    _row("FIN after the request", serving(close), GONE, 1),
    _row("RST after the request", serving(rst), GONE, 1),
    _row("silence", serving(silence, timeout=A_TENTH), {FailureKind.TIMEOUT}, 1),
    _row(
        "headers dripped past the deadline",
        serving(drips_headers, deadline=A_SECOND),
        {FailureKind.DEADLINE},
        1,
    ),
    _row("endless 1xx", serving(only_interim_answers, deadline=A_SECOND), {FailureKind.DEADLINE}, 1),
    _row("FIN in the headers", _answered(b"HTTP/1.1 200 OK\r\ncontent-le"), GONE, 1),
    _row("garbage status line", _answered(b"220 mail.test ESMTP\r\n\r\n"), {FailureKind.PROTOCOL}, 1),
    _row(
        "conflicting lengths",
        _answered(b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\ncontent-length: 2\r\n\r\n{"status":"ok"}'),
        {FailureKind.PROTOCOL},
        1,
    ),
    _row(
        "one header over 100 KiB",
        _answered(
            b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000 + b'\r\ncontent-length: 15\r\n\r\n{"status":"ok"}'
        ),
        {FailureKind.PROTOCOL},
        1,
    ),
    _row(
        "many headers, over 100 KiB",
        _answered(
            b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000 + b'content-length: 15\r\n\r\n{"status":"ok"}'
        ),
        {FailureKind.PROTOCOL},
        1,
    ),
    _row(
        "cancelled after the request",
        serving(silence),
        {FailureKind.CANCELLED},
        1,
        act=left_after_the_request,
    ),
    _row("deadline after the request", serving(silence, deadline=A_SECOND), {FailureKind.DEADLINE}, 1),
)
