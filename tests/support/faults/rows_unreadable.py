"""Rows whose answer came and says nothing: its headers were read, and no envelope that can be trusted followed."""

from __future__ import annotations

import asyncio
import json
import zlib
from functools import cache
from typing import Any

import attrs
from support.faults.matrix import PLAIN, TLS, Row
from support.faults.rows_sent import HEAD_OR_NOT, SHORT, past_its_deadline, past_its_timeout
from support.faults.rows_surplus import NO_RECORD, http
from support.faults.scenes import Act, send, serving, unheard
from support.loopback import OK, Behaviour, Received, raw, status

from gateway360_async import Disposition, FailureKind
from gateway360_async.transports import Phase

BROKEN = {FailureKind.PROTOCOL, FailureKind.DISCONNECTED}  # how far a parser got decides which of the two
UNREADABLE = {FailureKind.UNREADABLE}
HTTP_STATUS = {FailureKind.HTTP_STATUS}


async def drips_its_body(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
    while True:
        await received.write(b" ")
        await asyncio.sleep(0)


async def endless_body(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await received.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await asyncio.sleep(0)


async def half_a_body(received: Received) -> None:
    await received.write(http(OK)[:-3])
    await received.silence()


async def rst_in_the_body(received: Received) -> None:
    await received.write(http(OK)[:-3])
    received.reset()


async def no_record_in_the_body(received: Received) -> None:
    received.below_tls.pause_reading()
    received.wire(received.records(http(OK)[:-3]) + NO_RECORD)
    await received.until_gone()


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
    act: Act = send,
    **settings: Any,
) -> Row:
    return Row(fault, serving(behaviour, **settings), phase, Disposition.MAYBE_SENT, kinds, posts=1, act=act)


def _said(fault: str, behaviour: Behaviour, kinds: set[FailureKind] = UNREADABLE) -> Row:
    """A whole answer, whose words say nothing: no layer below HTTP changes them."""
    return attrs.evolve(_row(fault, behaviour, kinds), layers=PLAIN)


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
    _row(
        "body dripped past the deadline",
        drips_its_body,
        {FailureKind.DEADLINE},
        act=past_its_deadline,
        deadline=2.0,
    ),
    _row("half a body, and silence", half_a_body, {FailureKind.TIMEOUT}, act=past_its_timeout, timeout=SHORT),
    _row("endless body", endless_body),
    _row("body over the cap", status(200, b'{"status":"ok","x":"%s"}' % (b"x" * 70_000))),
    _said("gzip", status(200, _gzip(OK), content_encoding="gzip")),
    _said("gzip that unfolds to 200 MB", unfolds),
    *(
        _said(f"content-encoding: {name}", status(200, OK, content_encoding=name))
        for name in ("gzip", "deflate", "br", "zstd", "x-unheard-of", "identity, gzip")
    ),
    _said("HTML 200", status(200, b"<html>ok</html>")),
    _said("empty 200", status(200, b"")),
    _said("empty 204", raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    _said("not UTF-8", status(200, b'{"status":"ok","x":"\xff"}')),
    _said("UTF-16", status(200, OK.decode().encode("utf-16"))),
    _said("a key twice", status(200, b'{"status":"error","status":"ok"}')),
    _said("NaN", status(200, b'{"status":"ok","x":NaN}')),
    _said("depth 100,000", status(200, DEEP)),
    _said("depth 30,000, within the cap", status(200, DEEP_IN_THE_CAP)),
    _said("integer of 5,000 digits", status(200, b'{"status":"ok","x":%s}' % (b"7" * 5000))),
    _said("another schema", status(200, json.dumps({"data": {"status": "ok"}}).encode())),
    _said("ok and an error id", status(200, b'{"status":"ok","error_id":"BAD_PARAMS"}')),
    _said("HTML 502", status(502, b"<html>Bad Gateway</html>"), HTTP_STATUS),
    _said("HTML 504", status(504, b"<html>Gateway Time-out</html>"), HTTP_STATUS),
    _said("bare 500", status(500), HTTP_STATUS),
    _said("bare 503", status(503), HTTP_STATUS),
    _said("503 with Retry-After", status(503, retry_after="0"), HTTP_STATUS),
    _said("ok under 500", status(500, OK), HTTP_STATUS),
    attrs.evolve(
        _row(
            "a record that cannot be read, behind a part of the body",
            no_record_in_the_body,
            BROKEN,
            act=unheard(send),
        ),
        layers=TLS,
    ),
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
