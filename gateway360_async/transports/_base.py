"""The port: what the client asks of an HTTP library.

Rules of this module:

- A transport makes one exchange: one request, at most one time, one answer. It does not retry, follow a
  redirect, keep a cookie, decode a body, or queue.
- It reports in `Exchange.phase` how far the exchange came, the moment it gets there and before the next
  byte, so that the phase is right whatever ends the exchange: an error, a cancellation or a deadline.
  The phase decides whether the request may have been sent. Exception types never do: HTTP libraries
  report a refused connection and a lost answer by types that overlap.
- A connection whose exchange did not end cleanly is never used again.
- An error that leaves a transport holds no request: the API key is in the request's body.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Protocol, cast

import attrs

from .._config import httpx, httpx_library
from .._exceptions import Gateway360Error
from .._results import FailureKind

__all__ = ["Answer", "Exchange", "Phase", "Transport", "TransportError", "chain", "scrubbed"]


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
    """What the client asks of an HTTP library.

    A transport serves one event loop. The client bounds the exchanges that run at a time.
    """

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
            exchange: Where to report the phase.

        Raises:
            TransportError: There is no answer; `exchange` says how far it came.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def scrubbed(error: BaseException, handled: BaseException | None) -> BaseException:
    """Make an error of an HTTP library fit to be kept and shown.

    Tracebacks keep the frames, and so the local variables, of the library's innermost functions: the
    bytes of the request among them. httpx's errors also keep the request itself.

    Args:
        error: The error.
        handled: What `sys.exception()` gave before the exchange. A caller may be in an `except` block of its
            own, whose exception is then below ours in the chain, and is not ours to change.
    """
    for link in chain(error, handled):
        link.__traceback__ = None
        library = httpx_library(link, "HTTPError")
        if library is not None:
            _drop_body(link, library)
    return error


def chain(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Walk an error and what is below it (causes, contexts, members of groups), down to `handled`."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = {id(handled)}
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(cast("BaseExceptionGroup[BaseException]", current).exceptions)
        pending.extend((current.__context__, current.__cause__))


def _drop_body(error: Any, library: Any) -> None:
    try:
        request = error.request
    except RuntimeError:  # how httpx says that the error was given no request
        return
    bare = library.Request(request.method, request.url)
    error.request = bare
    if isinstance(error, library.HTTPStatusError):  # a hook of a ready client's raised it
        error.response = library.Response(error.response.status_code, request=bare)
