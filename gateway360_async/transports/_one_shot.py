"""A request that httpx, or httpx2, can send once, and the observer of its way through httpcore.

Invariants:

- A request goes out once, whatever hook, authentication flow, retrying transport or instrument is in between.
  Another start of it is stopped before its first byte.
- httpcore reports each step of an exchange before it begins ("Extensions", `trace`, in its documentation), so
  under httpcore the step `send_request_headers` is where "certainly not sent" ends. The `CONNECT` request of a
  proxy does not count.
- Another engine (a mock, an adapter) reports nothing. It has to take the body from the stream, and a request
  without its body is no request: there, the taking of the body counts.
- `read()`, `aread()` and `content` give the bytes, and are no sending.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from types import ModuleType
from typing import Any, Final, Protocol

from .._results import FailureKind
from ._base import Exchange, Phase, TransportError
from ._reading import was_spoken_on
from ._shared import SPOKEN_ON

__all__ = ["ExchangeTrace", "one_shot_request"]

_INTERRUPTIBLE: Final = ("connect_tcp", "connect_unix_socket", "start_tls", "send_", "receive_")


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class SentTwiceError(Exception):
    """The request was about to be sent again: an authentication flow, a retrying transport, an instrument."""

    def __init__(self) -> None:
        super().__init__("the request was about to be sent a second time, and was stopped")


class ExchangeTrace:
    """The `trace` callback of one exchange.

    Args:
        exchange: Where to report the phase.
        engine_reports: Whether what sends the request is httpcore, which calls this before each step.

    Attributes:
        in_tls: Whether the last step that began before the request was a TLS handshake.
        interruptible: Whether httpcore is inside a step that cleans up after itself when cancelled.
        closing: Whether the exchange is over and its connection is being put away.
    """

    __slots__ = (
        "_body_begun",
        "_engine_reports",
        "_exchange",
        "_head_begun",
        "_opened",
        "_stop",
        "_stream",
        "closing",
        "in_tls",
        "interruptible",
    )

    def __init__(self, exchange: Exchange, *, engine_reports: bool) -> None:
        self._exchange = exchange
        self._engine_reports = engine_reports
        self._stream: _Closable | None = None
        self._opened: Any = None
        self._stop: BaseException | None = None
        self._head_begun = False
        self._body_begun = False
        self.in_tls = False
        self.interruptible = False
        self.closing = False

    def stop_before_sending(self, reason: BaseException) -> None:
        """Raise `reason` inside httpcore where the request's first byte would be next."""
        self._stop = reason

    def body_taken(self) -> None:
        """Take note that the body's stream is read: by the engine, unless that is httpcore, which says so."""
        if self._engine_reports:
            return
        if self._body_begun:
            raise SentTwiceError
        self._body_begun = True
        self._sending()

    def _head_begins(self) -> None:
        if self._head_begun:
            raise SentTwiceError
        self._head_begun = True
        self._sending()

    def _sending(self) -> None:
        if self._stop is not None and self._exchange.phase is Phase.UNSENT:
            raise self._stop
        self._exchange.phase = max(self._exchange.phase, Phase.SENT)

    async def close_stream(self) -> None:
        """Close the connection whose TLS handshake was cancelled: httpcore forgets it, and would leave it open."""
        if self._stream is not None:
            await self._stream.aclose()

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        step, _, event = name.rpartition(".")
        protocol, _, step = step.rpartition(".")
        self.interruptible = event == "started" and step.startswith(_INTERRUPTIBLE)
        if event == "started":
            self._started(step, info, protocol)
        elif event == "complete":
            self._completed(step, info)

    def _started(self, step: str, info: dict[str, Any], protocol: str) -> None:
        self.closing = step == "response_closed"
        if step == "start_tls":
            self.in_tls = True
        elif step == "send_request_headers" and info["request"].method != b"CONNECT":
            self.in_tls = False
            self._stream = None
            # An HTTP/2 server may speak first.
            if self._opened is not None and protocol == "http11" and was_spoken_on(self._opened):
                raise TransportError(FailureKind.CONNECT, SPOKEN_ON)
            self._head_begins()

    def _completed(self, step: str, info: dict[str, Any]) -> None:
        if step in ("connect_tcp", "start_tls"):
            self._opened = info["return_value"]
        if step == "connect_tcp":
            self._stream = self._opened
        elif step == "start_tls":
            self._stream = None  # from here on it is httpcore's to close, and over HTTP/2 others share it


def one_shot_request(library: ModuleType, request: Any, body: bytes, trace: ExchangeTrace) -> Any:
    """Make a request like the given one, but with a body that can be sent once.

    Args:
        library: httpx or httpx2, which has made the request.
        request: The request, as the user's client has built it: with the client's headers, parameters and cookies.
        body: The bytes of its body.
        trace: Told when the body's stream is read.
    """
    request_class, stream_class = _classes(library)
    one_shot = request_class(
        request.method,
        request.url,
        headers=request.headers,
        extensions=request.extensions,
        stream=stream_class(),
    )
    one_shot.stream.hold(body, trace)
    return one_shot


@cache
def _classes(library: ModuleType) -> tuple[Any, Any]:
    """Derive the two classes from a library's own, which it asks for by `isinstance`."""

    class OneShotBody(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def hold(self, body: bytes, trace: ExchangeTrace) -> None:
            self.body = body
            self._trace = trace

        async def __aiter__(self) -> AsyncIterator[bytes]:
            self._trace.body_taken()
            yield self.body

    class OneShotRequest(library.Request):  # type: ignore[misc, name-defined]
        @property
        def content(self) -> bytes:
            return self.read()

        def read(self) -> bytes:
            stream = self.stream
            return stream.body if isinstance(stream, OneShotBody) else b""

        async def aread(self) -> bytes:
            return self.read()

    return OneShotRequest, OneShotBody
