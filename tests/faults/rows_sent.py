"""Rows whose request may have been sent: the fault comes after its first byte, and before an answer's headers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from certificates import asking_for_a_certificate, handshake
from loopback import Behaviour, Received, Server, close, raw, rst, silence
from matrix import Row
from rows_answered import LARGE
from scenes import (
    REQUEST,
    Scene,
    Setting,
    as_time_passes,
    asked,
    pass_by,
    second_call,
    serving,
    small_buffer,
)

from gateway360_async import Disposition, FailureKind, PinResult, Skipped
from gateway360_async.transports import Phase

SHORT = httpx.Timeout(10, read=1, write=1)
GONE = {FailureKind.DISCONNECTED}
HEAD_OR_NOT = {Phase.SENT, Phase.ANSWERED}
past_its_timeout = as_time_passes(1.5, asked)
past_its_deadline = as_time_passes(3.0, asked)
"""Of 2 s; the timeouts are longer."""


async def fin_after_a_byte(received: Received) -> None:
    await received.reader.readexactly(1)
    received.writer.close()


async def rst_after_a_byte(received: Received) -> None:
    await received.reader.readexactly(1)
    received.reset()


def when_kept(behave: Behaviour) -> Behaviour:
    """Do so on a connection that has carried a request."""

    async def before(received: Received) -> None:
        if received.earlier:
            await behave(received)

    return before


async def rst_in_mid_body(scene: Scene, received: Received) -> None:
    await received.reader.readuntil(b"\r\n\r\n")
    await received.reader.readexactly(1000)
    received.reset()


async def early_ok_then_rst(scene: Scene, received: Received) -> None:
    """Answer before the request is written whole, and break the connection."""
    await received.reader.readuntil(b"\r\n\r\n")
    await received.answer()
    received.reset()


async def early_ok_and_later_rst(scene: Scene, received: Received) -> None:
    """The same, when the answer has been seen."""
    await received.reader.readuntil(b"\r\n\r\n")
    await received.answer()
    await pass_by()
    received.reset()


async def drips_headers(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        await received.write(b"x")
        await asyncio.sleep(0)


async def only_interim_answers(received: Received) -> None:
    while True:
        await received.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0)


def stops_reading(after: int, **settings: Any) -> Setting:
    """A gateway that reads so many bytes, and no more until the call is over."""

    async def reads_a_little(scene: Scene, received: Received) -> None:
        await received.reader.readexactly(after)
        scene.reached.set()
        await scene.over.wait()
        await received.silence()

    return small_buffer(reads_a_little, **settings)


@contextlib.asynccontextmanager
async def wants_a_certificate(layer: str) -> AsyncIterator[Scene]:
    async with Server(before=handshake(asking_for_a_certificate(layer))) as server:
        yield Scene(server.url.replace("http:", "https:"), server)


async def left_after_the_request(scene: Scene) -> PinResult:
    async with scene.client.batch([REQUEST]) as batch:
        await scene.gateway.wait(lambda: scene.gateway.posts == 1)
    (item,) = batch.report.unconsumed
    assert not isinstance(item.result, Skipped)
    return item.result


async def left_in_mid_request(scene: Scene) -> PinResult:
    async with scene.client.batch([REQUEST]) as batch:
        await scene.reached.wait()
    (item,) = batch.report.unconsumed
    assert not isinstance(item.result, Skipped)
    return item.result


def _row(
    fault: str,
    scene: Setting,
    kinds: set[FailureKind],
    posts: int,
    *,
    phase: Phase | set[Phase] = Phase.SENT,
    **more: Any,
) -> Row:
    return Row(fault, scene, phase, Disposition.MAYBE_SENT, kinds, posts, **more)


def _answered(data: bytes, **settings: Any) -> Setting:
    return serving(raw(data), **settings)


ON_THE_WAY = (
    _row("FIN at the request's first byte", serving(before=fin_after_a_byte), GONE, 0),
    _row("RST at the request's first byte", serving(before=rst_after_a_byte), GONE, 0),
    _row(
        "FIN as a kept connection is used",
        serving(before=when_kept(fin_after_a_byte)),
        GONE,
        0,
        act=second_call,
    ),
    _row(
        "RST as a kept connection is used",
        serving(before=when_kept(rst_after_a_byte)),
        GONE,
        0,
        act=second_call,
    ),
    _row(
        "no client certificate, TLS 1.3",  # the client's handshake is over before the server has looked
        wants_a_certificate,
        GONE,
        0,
        recovers=False,
        layers=("TLS 1.3",),
    ),
    _row(
        "peer stops reading",
        stops_reading(0, timeout=SHORT),
        {FailureKind.TIMEOUT},
        0,
        padding=LARGE,
        act=as_time_passes(1.5, lambda scene: scene.reached.is_set()),
    ),
    _row(
        "cancelled in mid-request",
        stops_reading(1000),
        {FailureKind.CANCELLED},
        0,
        padding=LARGE,
        act=left_in_mid_request,
    ),
    _row("RST in mid-body", small_buffer(rst_in_mid_body), GONE, 0, padding=LARGE),
    *(
        _row(f"early ok, {when}", small_buffer(before), GONE, 0, padding=LARGE, phase=HEAD_OR_NOT)
        for when, before in (
            ("then a RST at once", early_ok_then_rst),
            ("then a RST", early_ok_and_later_rst),
        )
    ),
)

AFTER_THE_REQUEST = (
    _row("FIN after the request", serving(close), GONE, 1),
    _row("RST after the request", serving(rst), GONE, 1),
    _row("silence", serving(silence, timeout=SHORT), {FailureKind.TIMEOUT}, 1, act=past_its_timeout),
    _row(
        "headers dripped past the deadline",
        serving(drips_headers, deadline=2.0),
        {FailureKind.DEADLINE},
        1,
        act=past_its_deadline,
    ),
    _row(
        "endless 1xx",
        serving(only_interim_answers, deadline=2.0),
        {FailureKind.DEADLINE},
        1,
        act=past_its_deadline,
    ),
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
    _row(
        "deadline after the request",
        serving(silence, deadline=2.0),
        {FailureKind.DEADLINE},
        1,
        act=past_its_deadline,
    ),
)
