"""A request that httpx, or httpx2, can send once, and the observer of its way.

Invariants:

- A request goes out once, whatever hook, authentication flow, retrying transport or instrument is in between.
  Another start of it is stopped before its first byte.
- httpcore reports each step of an exchange before it begins ("Extensions", `trace`, in its documentation), so
  under httpcore the step `send_request_headers` is where "certainly not sent" ends. The `CONNECT` request of a
  proxy does not count.
- Another engine (a mock, an adapter) reports nothing. But it has to read the body, inside of its
  `handle_async_request`, and a request without its body is no request: there, that reading counts. Event hooks and
  authentication flows run outside of it; they may read as often as they like.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from inspect import currentframe
from types import ModuleType
from typing import Any, Final, Protocol

from .._results import FailureKind
from ._base import Exchange, Phase, TransportError
from ._reading import was_spoken_on
from ._shared import SPOKEN_ON

__all__ = ["ExchangeTrace", "SentTwiceError", "one_shot_request", "send_once"]

_INTERRUPTIBLE: Final = ("connect_tcp", "connect_unix_socket", "start_tls", "send_", "receive_")


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class SentTwiceError(Exception):
    """The request was about to be sent again: an authentication flow, a retrying transport, an instrument."""

    def __init__(self) -> None:
        super().__init__("the request was about to be sent a second time, and was stopped")


_ANOTHER_TASK: Final = object()


class ExchangeTrace:
    """The `trace` callback of one exchange.

    Args:
        exchange: Where to report the phase.
        engine_reports: Whether what sends the request is httpcore, which calls this before each step.
        hooks_known: Whether a read outside of a transport is a hook's: httpx's own functions are the originals.

    Attributes:
        in_tls: Whether the last step that began before the request was a TLS handshake.
        interruptible: Whether httpcore is inside a step that cleans up after itself when cancelled.
        closing: Whether the exchange is over and its connection is being put away.
    """

    __slots__ = (
        "_answered",
        "_engine_reports",
        "_exchange",
        "_head_begun",
        "_hooks_known",
        "_opened",
        "_reading_calls",
        "_same_pass",
        "_stop",
        "_stream",
        "_stream_read",
        "closing",
        "in_tls",
        "interruptible",
    )

    def __init__(self, exchange: Exchange, *, engine_reports: bool, hooks_known: bool = True) -> None:
        self._exchange = exchange
        self._engine_reports = engine_reports
        self._hooks_known = hooks_known
        self._reading_calls: list[object] = []
        self._same_pass = False
        self._stream_read = False
        self._answered = False
        self._stream: _Closable | None = None
        self._opened: Any = None
        self._stop: BaseException | None = None
        self._head_begun = False
        self.in_tls = False
        self.interruptible = False
        self.closing = False

    def stop_before_sending(self, reason: BaseException) -> None:
        """Raise `reason` inside httpcore where the request's first byte would be next."""
        self._stop = reason

    def body_read(self, *, as_stream: bool) -> None:
        """Take note that the body is read, by a hook or by what sends it.

        What reads the stream sends it, and the stream is read once. What reads the bytes may look at them before it
        sends, and after the answer; a further read in between may be for sending again. A transport around another
        one may read before it.

        Args:
            as_stream: Whether the stream is read, and not the bytes.

        Raises:
            SentTwiceError: The body may be about to be sent again.
        """
        if self._engine_reports:
            return
        calls = _transport_calls()
        if calls == [] and self._hooks_known:
            return
        if calls != []:
            calls = calls or [_ANOTHER_TASK]
            earlier = self._reading_calls
            by_the_same = calls[0] in earlier
            if by_the_same:
                again = not (self._answered or self._same_pass)
            else:
                again = bool(earlier) and earlier[0] not in calls
            if again or (as_stream and self._stream_read):
                raise SentTwiceError
            if not by_the_same:
                self._reading_calls = calls
                self._same_pass = True
                asyncio.get_running_loop().call_soon(self._pass_is_over)
        self._stream_read |= as_stream
        self._sending()

    def _pass_is_over(self) -> None:
        self._same_pass = False

    def forget(self) -> None:
        """Let go of the calls that were looked at."""
        self._reading_calls = []

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
        elif step == "receive_response_headers":
            self._answered = True
        elif step == "start_tls":
            self._stream = None  # from here on it is httpcore's to close, and over HTTP/2 others share it


def _transport_calls() -> list[object] | None:
    """List the calls of `handle_async_request` that wait for the present read, the innermost first.

    The awaiting functions of a task are its stack. `None`: the read is in another task than the exchange.
    """
    calls: list[object] = []
    frame = currentframe()
    while frame is not None:
        if frame.f_code is send_once.__code__:
            return calls
        if frame.f_code.co_name == "handle_async_request":
            calls.append(frame)
        frame = frame.f_back
    return None


async def send_once(client: Any, request: Any) -> Any:
    """Send a request through a client, and give the response, whose body is not read yet."""
    return await client.send(request, stream=True, follow_redirects=False)


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
            self.trace = trace

        async def __aiter__(self) -> AsyncIterator[bytes]:
            self.trace.body_read(as_stream=True)
            yield self.body

    class OneShotRequest(library.Request):  # type: ignore[misc, name-defined]
        @property
        def content(self) -> bytes:
            return self.read()

        def read(self) -> bytes:
            stream = self.stream
            if not isinstance(stream, OneShotBody):
                return b""
            stream.trace.body_read(as_stream=False)
            return stream.body

        async def aread(self) -> bytes:
            return self.read()

    return OneShotRequest, OneShotBody
