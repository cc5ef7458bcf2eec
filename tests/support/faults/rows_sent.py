"""Rows whose request may have been sent: the fault comes after its first byte, and before an answer's headers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from support.certificates import asking_for_a_certificate, handshake
from support.faults.matrix import Row
from support.faults.rows_answered import LARGE
from support.faults.scenes import (
    PASSES,
    InScene,
    Scene,
    Setting,
    as_time_passes,
    asked,
    left,
    pass_by,
    reached,
    second_call,
    serving,
    small_buffer,
)
from support.loopback import OK, Behaviour, Received, close, raw, rst, silence

from gateway360_async import Disposition, FailureKind
from gateway360_async.transports import Phase

SHORT = httpx.Timeout(10, read=1, write=1)
GONE = {FailureKind.DISCONNECTED}
HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH_AND_OK = b"content-length: 15\r\n\r\n" + OK
HEAD_OR_NOT = {Phase.SENT, Phase.ANSWERED}
past_its_timeout = as_time_passes(1.5, asked)
past_its_deadline = as_time_passes(3.0, asked)
"""Of 2 s; the timeouts are longer."""


def after_a_byte(end: Behaviour) -> Behaviour:
    async def behave(received: Received) -> None:
        await received.reader.readexactly(1)
        await end(received)

    return behave


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


def early_ok_then_rst(passes: int) -> InScene:
    """Answer before the request is written whole, and break the connection so many passes later."""

    async def begin(scene: Scene, received: Received) -> None:
        await received.reader.readuntil(b"\r\n\r\n")
        await received.answer()
        await pass_by(passes)
        received.reset()

    return begin


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


ON_THE_WAY = (
    _row("FIN at the request's first byte", serving(before=after_a_byte(close)), GONE, 0),
    _row("RST at the request's first byte", serving(before=after_a_byte(rst)), GONE, 0),
    *(
        _row(
            f"{end} as a kept connection is used", serving(before=when_kept(behave)), GONE, 0, act=second_call
        )
        for end, behave in (("FIN", after_a_byte(close)), ("RST", after_a_byte(rst)))
    ),
    _row(
        "no client certificate, TLS 1.3",  # the client's handshake is over before the server has looked
        serving(by_hand=lambda layer: handshake(asking_for_a_certificate(layer))),
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
        act=as_time_passes(1.5, reached),
    ),
    _row(
        "cancelled in mid-request",
        stops_reading(1000),
        {FailureKind.CANCELLED},
        0,
        padding=LARGE,
        act=left(reached),
    ),
    _row("RST in mid-body", small_buffer(rst_in_mid_body), GONE, 0, padding=LARGE),
    *(
        _row(
            f"early ok, {when}",
            small_buffer(early_ok_then_rst(passes)),
            GONE,
            0,
            padding=LARGE,
            phase=HEAD_OR_NOT,
        )
        for when, passes in (("then a RST at once", 0), ("then a RST", PASSES))
    ),
)

AFTER_THE_REQUEST = (
    _row("FIN after the request", serving(close), GONE, 1),
    _row("RST after the request", serving(rst), GONE, 1),
    _row("silence", serving(silence, timeout=SHORT), {FailureKind.TIMEOUT}, 1, act=past_its_timeout),
    _row("FIN in the headers", serving(raw(b"HTTP/1.1 200 OK\r\ncontent-le")), GONE, 1),
    *(
        _row(fault, serving(raw(data)), {FailureKind.PROTOCOL}, 1)
        for fault, data in (
            ("garbage status line", b"220 mail.test ESMTP\r\n\r\n"),
            ("conflicting lengths", HEAD + b"content-length: 2\r\n" + LENGTH_AND_OK),
            ("one header over 100 KiB", HEAD + b"x: " + b"x" * 200_000 + b"\r\n" + LENGTH_AND_OK),
            ("many headers, over 100 KiB", HEAD + b"x: y\r\n" * 40_000 + LENGTH_AND_OK),
        )
    ),
    _row("cancelled after the request", serving(silence), {FailureKind.CANCELLED}, 1, act=left(asked)),
    *(
        _row(fault, serving(behaviour, deadline=2.0), {FailureKind.DEADLINE}, 1, act=past_its_deadline)
        for fault, behaviour in (
            ("headers dripped past the deadline", drips_headers),
            ("endless 1xx", only_interim_answers),
            ("deadline after the request", silence),
        )
    ),
)
