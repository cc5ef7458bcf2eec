"""Rows whose answer was read: the gateway's word stands."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from loopback import OK, Received, in_turn, ok, status
from matrix import Row, Scene, Setting, serving
from rows_sent import much, small_buffer

from gateway360_async import Disposition, FailureKind
from gateway360_async.transports import Phase

THROTTLED = {FailureKind.THROTTLED}


def _error(error_id: str) -> bytes:
    return b'{"status":"error","error_id":"%s","error_msg":"m"}' % error_id.encode()


async def too_large(received: Received) -> None:
    """Answer before the body is read, and drop the rest."""
    await received.reader.readuntil(b"\r\n\r\n")
    await received.answer(413, b"")
    received.writer.close()


async def too_large_and_rst(received: Received) -> None:
    await received.reader.readuntil(b"\r\n\r\n")
    await received.answer(413, b"")
    received.reset()


def throttles_twice() -> AbstractAsyncContextManager[Scene]:
    """Made anew for each run: it counts."""
    return serving(in_turn(status(429), status(429, retry_after="0"), ok))()


def _row(
    fault: str,
    scene: Setting,
    disposition: Disposition,
    kinds: Any = (),
    posts: int = 1,
    **more: Any,
) -> Row:
    return Row(fault, scene, Phase.ANSWERED, disposition, kinds, posts, **more)


def _throttled(fault: str, *, retried: bool, deadline: float = 30.0, **headers: str) -> Row:
    return _row(
        fault,
        serving(status(429, **headers), deadline=deadline),
        Disposition.NOT_SENT,
        THROTTLED,
        4 if retried else 1,
        retried=retried,
    )


ROWS = (
    _row("ok", serving(ok), Disposition.SENT),
    _row(
        "ok under another content type", serving(status(200, OK, content_type="text/html")), Disposition.SENT
    ),
    _row("error under 200", serving(status(200, _error("INVALID_NUMBER"))), Disposition.NOT_SENT),
    _row("error under 401", serving(status(401, _error("UNAUTHORIZED"))), Disposition.NOT_SENT),
    _row("error with an unknown id", serving(status(400, _error("NEW"))), Disposition.NOT_SENT),
    _row("UNKNOWN_ERROR", serving(status(200, _error("UNKNOWN_ERROR"))), Disposition.MAYBE_SENT),
    _row("unknown id under 500", serving(status(500, _error("NEW"))), Disposition.MAYBE_SENT),
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
    _throttled("429, negative Retry-After", retried=True, retry_after="-1"),
    _throttled("429, Retry-After in words", retried=True, retry_after="soon"),
    _row(
        "429 twice, then ok",
        throttles_twice,
        Disposition.SENT,
        posts=3,
        attempts=3,
        recovers=False,
    ),
    *(
        _row(
            f"early 413, {ending}, {size} request",
            scene(before=before),
            Disposition.NOT_SENT,
            {FailureKind.HTTP_STATUS},
            0,
            **more,
        )
        for ending, before in (("FIN", too_large), ("RST", too_large_and_rst))
        for size, scene, more in (("small", serving, {}), ("large", small_buffer, {"act": much}))
    ),
)
