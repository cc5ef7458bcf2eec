"""The port to HTTP libraries, and what its adapters share.

Invariants:

- A transport makes one exchange: one request, at most one time, one answer. It does not retry, follow a
  redirect, keep a cookie, decode a body, or queue.
- It reports in `Exchange.phase` how far the exchange came, before the next byte: the phase is right whatever ends
  the exchange. HTTP libraries report a refused connection and a lost answer by exception types that overlap.
- A connection whose exchange did not end cleanly is never used again.
- An error that leaves a transport holds no request: the API key is in the request's body.
"""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import enum
import ssl
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Final, Protocol, cast

import attrs

from .._config import httpx, httpx_library, is_made_by_httpx
from .._exceptions import Gateway360Error, wrong_setting
from .._results import FailureKind

__all__ = [
    "KEEPALIVE_EXPIRY",
    "SPOKEN_ON",
    "Answer",
    "Exchange",
    "Phase",
    "Transport",
    "TransportError",
    "chain",
    "checked_limits",
    "checked_ssl_context",
    "failure_of",
    "root_of",
    "scrubbed",
    "tls_kind",
]

KEEPALIVE_EXPIRY: Final = 4.0
"""Seconds. A connection that is reused just as the server closes it loses an answer, so ours expire first."""

SPOKEN_ON: Final = "the peer closed the connection, or spoke, before the request"

# A peer that went away in mid-handshake may be back at the next try. Any other TLS error is about what
# the two sides are.
_BROKEN_OFF: Final = (
    ssl.SSLEOFError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,  # how a handshake that was waiting for the peer looks when it timed out
    ssl.SSLWantWriteError,
    ssl.SSLZeroReturnError,
)


class Phase(enum.IntEnum):
    """How far an exchange has come."""

    UNSENT = 0
    """No byte of the request has left: connecting, in a TLS handshake, waiting for a connection."""

    SENT = 1
    """The request's first byte may have left."""

    ANSWERED = 2
    """The headers of the answer have been read."""


@attrs.frozen
class Answer:
    """An HTTP answer that was read to its end.

    Args:
        http_status: The status code.
        headers: The headers: names in lower case, or a mapping that knows no case.
        body: The body as it was received. One byte more than the cap stands for any longer body.
    """

    http_status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.define
class Exchange:
    """The progress of one exchange, written by the transport and read by the client."""

    phase: Phase = Phase.UNSENT
    """How far it has come."""

    http_status: int | None = None
    """The answer's status code, once it has been read."""

    answer: Answer | None = attrs.field(default=None, repr=False)
    """The answer, from the moment that it was read whole: a deadline that passes just then does not lose it."""


class TransportError(Gateway360Error):
    """No answer. Only between a transport and the client: a caller sees a `TransportFailure`.

    Args:
        kind: Why, in one word.
        detail: Why, for people.
        cause: The HTTP library's error, `scrubbed`.
    """

    def __init__(self, kind: FailureKind, detail: str, cause: BaseException | None = None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.cause = cause


class Transport(Protocol):
    """The client's way to an HTTP library, on one event loop. The client bounds the exchanges at a time."""

    def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: httpx.Timeout,
        max_bytes: int,
        exchange: Exchange,
    ) -> Awaitable[Answer]:
        """POST `body` once and read the answer. An `async def`, mostly.

        Args:
            url: The absolute URL.
            headers: The headers to send.
            body: The body; it holds the API key.
            timeout: Bounds in seconds on connecting, on each read and write, and on waiting for a
                connection.
            max_bytes: Bytes of the answer's body to read at most. A longer one is cut to one byte more,
                and its connection is dropped.
            exchange: Takes the phase.

        Raises:
            TransportError: There is no answer; `exchange` says how far it came.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def scrubbed(error: BaseException, handled: BaseException | None) -> BaseException:
    """Make an error of an HTTP library fit to be kept and shown.

    Tracebacks keep the local variables of the library's functions, the request's bytes among them, and httpx's
    errors the request itself.

    Args:
        error: The error.
        handled: `sys.exception()` before the exchange: below it in the chain, errors are the caller's own.
    """
    for link in chain(error, handled):
        link.__traceback__ = None
        library = httpx_library(link, "HTTPError")
        if library is not None:
            _drop_body(link, library)
    return error


def _drop_body(error: Any, library: Any) -> None:
    try:
        request = error.request
    except RuntimeError:  # how httpx says that the error was given no request
        return
    error.request = library.Request(request.method, request.url)
    if isinstance(error, library.HTTPStatusError):  # a hook of a ready client's raised it
        error.response = library.Response(error.response.status_code, request=error.request)


def chain(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Walk an error and its causes, contexts and members, down to `handled`."""
    pending: list[BaseException | None] = [error]
    seen = {id(None), id(handled)}
    while pending:
        current = cast("BaseException", pending.pop())
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(cast("BaseExceptionGroup[BaseException]", current).exceptions)
        pending.extend((current.__context__, current.__cause__))


def root_of(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """Find the error of the operating system, the TLS library or h11 below the wrapping."""
    for below in chain(error, handled):
        is_systems = (
            isinstance(below, OSError) and below.errno is not None
        )  # an ssl.SSLError is an OSError as well
        if is_systems or type(below).__module__.startswith("h11."):
            return below
    return None


def tls_kind(root: BaseException | None) -> FailureKind:
    """Tell a handshake that may succeed the next time from one that will not."""
    refused = isinstance(root, ssl.SSLError) and not isinstance(root, _BROKEN_OFF)
    return FailureKind.TLS_REFUSED if refused else FailureKind.TLS


def failure_of(
    error: BaseException, kind: FailureKind, root: BaseException | None, handled: BaseException | None = None
) -> TransportError:
    """Make a library's error a `TransportError`, which names the one below it too."""
    said = str(error) or "no further detail"
    reason = f" ({root})" if root is not None and str(root) not in said else ""
    return TransportError(kind, f"{type(error).__name__}: {said}{reason}", scrubbed(error, handled))


def checked_ssl_context(verify: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Check the setting `verify`."""
    if verify is None or isinstance(verify, ssl.SSLContext):
        return verify
    raise wrong_setting("verify", verify, "an ssl.SSLContext, or None")


def checked_limits(limits: httpx.Limits | None) -> httpx.Limits:
    """Check the setting `limits`; `None`: as many idle ones as there were busy."""
    if limits is None:
        return httpx.Limits(keepalive_expiry=KEEPALIVE_EXPIRY)
    if is_made_by_httpx("Limits", limits):
        return limits
    raise wrong_setting("limits", limits, "an httpx.Limits")
