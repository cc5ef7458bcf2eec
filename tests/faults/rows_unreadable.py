"""Rows whose answer came and says nothing: its headers were read, and no envelope that can be trusted followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from certificates import client_context, server_context
from loopback import OK, Behaviour, Received, Server, raw, status
from matrix import OTHER, REQUEST, Row, Scene, Setting, serving

from gateway360_async import Disposition, FailureKind, Ok, PinResult
from gateway360_async.transports import Phase

BROKEN = {FailureKind.PROTOCOL, FailureKind.DISCONNECTED}  # how far a parser got decides which of the two
UNREADABLE = {FailureKind.UNREADABLE}
HTTP_STATUS = {FailureKind.HTTP_STATUS}
HEAD_OR_NOT = {Phase.SENT, Phase.ANSWERED}
NO_FUNDS = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


async def drips_its_body(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
    while True:
        await received.write(b" ")
        await asyncio.sleep(0.01)


async def endless_body(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await received.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


async def rst_in_the_body(received: Received) -> None:
    await received.write(http(OK)[:-3])
    received.reset()


@cache
def bomb() -> bytes:
    """200 kB of gzip that unfold to 200 MB of spaces: a compressed block that stands there 200 times."""
    size = 1_000_000
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(b" " * size) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * 200 + packer.flush()


async def unfolds(received: Received) -> None:
    await received.answer(200, bomb(), content_encoding="gzip")


def _row(
    fault: str,
    behaviour: Behaviour,
    kinds: set[FailureKind] = UNREADABLE,
    *,
    phase: Phase | set[Phase] = Phase.ANSWERED,
    **settings: Any,
) -> Row:
    return Row(fault, serving(behaviour, **settings), phase, Disposition.MAYBE_SENT, kinds, posts=1)


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


DEEP = b'{"status":"ok","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DEEP_IN_THE_CAP = b'{"status":"ok","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}"

ROWS = (
    _row("length longer than the body", raw(http(OK)[:-1]), BROKEN),
    _row("RST in the body", rst_in_the_body, BROKEN),
    _row(
        "broken chunk",
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + OK + b"\r\n0\r\n\r\n"),
        BROKEN,
        phase=HEAD_OR_NOT,
    ),
    _row(
        "chunks that break off",
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nf\r\n" + OK + b"\r\n"),
        BROKEN,
    ),
    _row("body dripped past the deadline", drips_its_body, {FailureKind.DEADLINE}, deadline=1.0),
    _row("endless body", endless_body),
    _row("body over the cap", status(200, b'{"status":"ok","x":"%s"}' % (b"x" * 70_000))),
    _row("gzip", status(200, _gzip(OK), content_encoding="gzip")),
    _row("gzip that unfolds to 200 MB", unfolds),
    *(
        _row(f"content-encoding: {name}", status(200, OK, content_encoding=name))
        for name in ("gzip", "deflate", "br", "zstd", "x-unheard-of", "identity, gzip")
    ),
    _row("HTML 200", status(200, b"<html>ok</html>")),
    _row("empty 200", status(200, b"")),
    _row("empty 204", raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    _row("not UTF-8", status(200, b'{"status":"ok","x":"\xff"}')),
    _row("UTF-16", status(200, OK.decode().encode("utf-16"))),
    _row("a key twice", status(200, b'{"status":"error","status":"ok"}')),
    _row("NaN", status(200, b'{"status":"ok","x":NaN}')),
    _row("depth 100,000", status(200, DEEP)),
    _row("depth 30,000, within the cap", status(200, DEEP_IN_THE_CAP)),
    _row("integer of 5,000 digits", status(200, b'{"status":"ok","x":%s}' % (b"7" * 5000))),
    _row("another schema", status(200, json.dumps({"data": {"status": "ok"}}).encode())),
    _row("ok and an error id", status(200, b'{"status":"ok","error_id":"BAD_PARAMS"}')),
    _row("HTML 502", status(502, b"<html>Bad Gateway</html>"), HTTP_STATUS),
    _row("HTML 504", status(504, b"<html>Gateway Time-out</html>"), HTTP_STATUS),
    _row("bare 500", status(500), HTTP_STATUS),
    _row("bare 503", status(503), HTTP_STATUS),
    _row("503 with Retry-After", status(503, retry_after="0"), HTTP_STATUS),
    _row("ok under 500", status(500, OK), HTTP_STATUS),
    # An answer, to HTTP: the request may have been taken before the protocol was given up.
    _row(
        "unexpected 101",
        raw(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", then_close=False
        ),
        HTTP_STATUS | BROKEN,
        phase=HEAD_OR_NOT,
    ),
)


# --- Surplus answers: the second call of a connection must get the second answer -------------------------


async def twice_then_refuse(received: Received) -> None:
    """Answer once too often, in one segment: it lands in the parser's buffer, not in the socket's."""
    await ok_then_refuse(received)
    if received.json["msisdn"] == OTHER.msisdn:
        await received.answer()


async def ok_then_refuse(received: Received) -> None:
    await received.answer(body=NO_FUNDS if received.json["msisdn"] == REQUEST.msisdn else OK)


async def second_call(scene: Scene) -> PinResult:
    assert isinstance(await scene.client.send(OTHER), Ok)
    return await scene.client.send(REQUEST)


def late(surplus: bytes, *, passes: int) -> Any:
    """Write while the connection is idle, so many passes of the event loop before it is used again."""

    async def act(scene: Scene) -> PinResult:
        assert isinstance(await scene.client.send(OTHER), Ok)
        await scene.gateway.requests[0].write(surplus)
        for _ in range(passes):
            await asyncio.sleep(0)
        return await scene.client.send(REQUEST)

    return act


@contextlib.asynccontextmanager
async def over_tls() -> AsyncIterator[Scene]:
    async with Server(ok_then_refuse, tls=server_context()) as server:
        yield Scene(server.url, server, verify=client_context())


def _surplus(fault: str, scene: Setting, act: Any) -> Row:
    return Row(fault, scene, Phase.ANSWERED, Disposition.NOT_SENT, posts=1, act=act)


SURPLUS = (
    _surplus("surplus answer in one segment", serving(twice_then_refuse), second_call),
    *(
        _surplus(f"{what}, {when}", scene, late(data, passes=passes))
        for what, scene, data in (
            ("late surplus answer", serving(ok_then_refuse), http(OK)),
            ("late surplus byte", serving(ok_then_refuse), b"H"),
            ("late surplus over TLS", over_tls, http(OK)),
        )
        for when, passes in (("in the kernel", 0), ("read while idle", 5))
    ),
)
