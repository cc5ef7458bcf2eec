"""Rows whose answer was read: the gateway's word stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.faults.matrix import PLAIN, TLS, Row
from support.faults.scenes import (
    REQUEST,
    InScene,
    Scene,
    Setting,
    asked,
    pass_by,
    second_call,
    serving,
    small_buffer,
)
from support.loopback import OK, Behaviour, Received, close, in_turn, ok, rst, status

from gateway360_async import Disposition, FailureKind, PinResult
from gateway360_async.transports import Phase

THROTTLED = {FailureKind.THROTTLED}
LARGE = 4_000_000
"""More bytes than the kernel buffers for a connection that is not read."""
BY_HTTPX = ("httpx client", "httpx2 client", "proxy")

# It reads no answer before its request is written, and then there is no connection any more.
LOST_BY_HTTPX: dict[str, Any] = {
    "over": dict.fromkeys(
        BY_HTTPX,
        {"phase": Phase.SENT, "disposition": Disposition.MAYBE_SENT, "kinds": {FailureKind.DISCONNECTED}},
    )
}


def _error(error_id: str) -> bytes:
    return b'{"status":"error","error_id":"%s","error_msg":"m"}' % error_id.encode()


def answer(head: bytes, body: bytes = OK, *, ending: Callable[[Received], Any] | None = None) -> Behaviour:
    """Answer to the byte, with an SMS."""

    async def behave(received: Received) -> None:
        received.answered = (200, OK)
        await received.write(head + b"\r\n" + body)
        if ending is not None:
            ending(received)

    return behave


def too_large(end: Behaviour) -> InScene:
    """Answer before the body is read, and drop the rest."""

    async def begin(scene: Scene, received: Received) -> None:
        await received.reader.readuntil(b"\r\n\r\n")
        await received.answer(413, b"")
        await end(received)

    return begin


async def early_ok(scene: Scene, received: Received) -> None:
    """Answer before the body is read, and read it then."""
    received.head = await received.reader.readuntil(b"\r\n\r\n")
    await received.answer()
    await pass_by()
    received.body = await received.reader.readexactly(int(received.header("content-length") or 0))
    await scene.gateway.take(received)


async def until_it_is_read(scene: Scene) -> PinResult:
    """Call, and wait until the server has read what the kernel has taken."""
    result = await scene.client.send(REQUEST)
    await asked(scene)
    return result


def throttled_twice(layer: str) -> Any:
    return serving(in_turn(status(429), status(429, retry_after="0"), ok))(layer)  # made anew, for it counts


def _row(
    fault: str, scene: Setting, disposition: Disposition, kinds: Any = (), posts: int = 1, **more: Any
) -> Row:
    return Row(fault, scene, Phase.ANSWERED, disposition, kinds, posts, **more)


def _throttled(fault: str, *, retried: bool, deadline: float = 30.0, **headers: str) -> Row:
    """The fault is a header's value, which no layer below HTTP changes."""
    return _row(
        fault,
        serving(status(429, **headers), deadline=deadline),
        Disposition.NOT_SENT,
        THROTTLED,
        4 if retried else 1,
        retried=retried,
        layers=PLAIN,
    )


ROWS = (
    _row("ok", serving(ok), Disposition.SENT),
    _row(
        "ok under another content type",
        serving(status(200, OK, content_type="text/html")),
        Disposition.SENT,
        layers=PLAIN,
    ),
    _row("a header of 9 KB", serving(status(200, OK, x_long="x" * 9000)), Disposition.SENT),
    _row("error under 200", serving(status(200, _error("INVALID_NUMBER"))), Disposition.NOT_SENT),
    _row("error under 401", serving(status(401, _error("UNAUTHORIZED"))), Disposition.NOT_SENT),
    _row("error with an unknown id", serving(status(400, _error("NEW"))), Disposition.NOT_SENT, layers=PLAIN),
    _row(
        "UNKNOWN_ERROR", serving(status(200, _error("UNKNOWN_ERROR"))), Disposition.MAYBE_SENT, layers=PLAIN
    ),
    _row("unknown id under 500", serving(status(500, _error("NEW"))), Disposition.MAYBE_SENT, layers=PLAIN),
    _row("HTML 404", serving(status(404, b"<html>")), Disposition.NOT_SENT, {FailureKind.HTTP_STATUS}),
    _row(
        "redirect",
        serving(status(307, location="http://127.0.0.1:9/")),
        Disposition.NOT_SENT,
        {FailureKind.HTTP_STATUS},
    ),
    _throttled("429", retried=True),
    _throttled("429, Retry-After: 0", retried=True, retry_after="0"),
    _throttled("429, seconds past the deadline", retried=False, retry_after="2", deadline=1.0),
    _throttled("429, a date that has passed", retried=True, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    _throttled("429, a date past the deadline", retried=False, retry_after="Wed, 21 Oct 2115 07:28:00 GMT"),
    _throttled("429, absurd Retry-After", retried=False, retry_after="9" * 400),
    # A fraction is rounded up, of a list the largest counts, and a value that cannot be read means no retry.
    _throttled("429, Retry-After: 0.0", retried=True, retry_after="0.0"),
    _throttled("429, Retry-After: 60.0", retried=False, retry_after="60.0"),
    _throttled("429, Retry-After: 2.5, and 2.8 s left", retried=False, retry_after="2.5", deadline=2.8),
    _throttled("429, Retry-After: 0, 2", retried=False, retry_after="0, 2", deadline=1.0),
    _throttled("429, Retry-After: 2, 2", retried=False, retry_after="2, 2", deadline=1.0),
    _throttled("429, negative Retry-After", retried=False, retry_after="-1"),
    _throttled("429, Retry-After in words", retried=False, retry_after="soon"),
    _row("429 twice, then ok", throttled_twice, Disposition.SENT, posts=3, attempts=3, recovers=False),
    *(
        _row(
            f"early 413, {ending}, {size} request",
            small_buffer(too_large(end)),
            Disposition.NOT_SENT,
            {FailureKind.HTTP_STATUS},
            0,
            padding=padding,
            **more,
        )
        for ending, end in (("FIN", close), ("RST", rst))
        for size, padding, more in (("small", 0, {}), ("large", LARGE, LOST_BY_HTTPX))
    ),
    _row(
        "early ok, then the rest is read",
        small_buffer(early_ok),
        Disposition.SENT,
        padding=LARGE,
        act=until_it_is_read,
    ),
)

CHUNKS = b"5\r\n" + OK[:5] + b"\r\na;x=y\r\n" + OK[5:] + b"\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
LENGTH = b" 200 OK\r\ncontent-length: 15\r\n"

ENDS = (
    *(
        _row(
            fault,
            serving(behaviour),
            Disposition.SENT,
            connections=connections,
            act=second_call,
            over=dict.fromkeys(BY_HTTPX, {"connections": by_httpx}),
        )
        for fault, behaviour, connections, by_httpx in (
            ("Connection: close", status(200, OK, connection="close"), 2, 2),
            ("HTTP/1.0", answer(b"HTTP/1.0" + LENGTH), 2, 2),
            # h11 takes it for no more than it has to be.
            (
                "HTTP/1.0 that keeps the connection",
                answer(b"HTTP/1.0" + LENGTH + b"connection: keep-alive\r\n"),
                1,
                2,
            ),
            ("interim answers before it", answer(INTERIM + b"HTTP/1.1" + LENGTH), 1, 1),
            (
                "chunks with trailers",
                answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", CHUNKS),
                1,
                1,
            ),
            # httpx does not read this header.
            ("kept by the server for a second", status(200, OK, keep_alive="timeout=1"), 2, 1),
            ("kept by the server for a minute", status(200, OK, keep_alive="timeout=60, max=100"), 1, 1),
            (
                "body that ends with the connection",
                answer(b"HTTP/1.1 200 OK\r\n", ending=lambda received: received.writer.close()),
                2,
                2,
            ),
        )
    ),
    _row(
        "body that ends with a RST",
        serving(answer(b"HTTP/1.1 200 OK\r\n", ending=Received.reset)),
        Disposition.MAYBE_SENT,
        {FailureKind.DISCONNECTED},
    ),
    _row(
        "body that ends with the connection, which TLS does not know of",
        serving(answer(b"HTTP/1.1 200 OK\r\n", ending=Received.fin)),
        Disposition.MAYBE_SENT,  # a stranger can cut a connection (RFC 9112, section 9.8)
        {FailureKind.DISCONNECTED},
        layers=TLS,
        # httpx does not tell a cut from an end (anyio's `standard_compatible=False`).
        over=dict.fromkeys(BY_HTTPX, {"disposition": Disposition.SENT, "kinds": ()}),
    ),
)
