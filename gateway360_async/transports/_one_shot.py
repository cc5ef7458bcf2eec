"""One exchange through httpx, or httpx2: a request that can be sent once, its observer, and its answer.

Invariants:

- A request goes out once, whatever hook, authentication flow, retrying transport or instrument is in between.
  Another start of it is stopped before its first byte.
- httpcore reports each step of an exchange before it begins ("Extensions", `trace`, in its documentation), so
  under httpcore the step `send_request_headers` is where "certainly not sent" ends. The `CONNECT` request of a
  proxy does not count.
- Another engine (a mock, an adapter) reports nothing. But it has to read the body, inside of its
  `handle_async_request`, and a request without its body is no request: there, that reading counts. Event hooks and
  authentication flows run outside of it; they may read as often as they like.
- An answer is read as it came off the wire: httpx would unfold a compressed one without a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import cache
from inspect import currentframe
from types import ModuleType
from typing import Any, Final, cast

from .._results import FailureKind
from ._base import SPOKEN_ON, Answer, Exchange, Phase, TransportError

__all__ = ["ExchangeTrace", "one_shot_request", "read_answer", "send_once"]

_INTERRUPTIBLE: Final = ("connect_tcp", "connect_unix_socket", "start_tls", "send_", "receive_")
_ANOTHER_TASK: Final = object()
_SENT_TWICE: Final = "the request was about to be sent a second time, and was stopped"
_LAYERS: Final = 8
"""Wrappers between an httpx answer and its connection; there are five."""


class ExchangeTrace:
    """The `trace` callback of one exchange.

    Args:
        exchange: Takes the phase.
        engine_reports: Whether what sends the request is httpcore, which calls this before each step.
        hooks_known: Whether a read outside of a transport is a hook's: httpx's own functions are the originals.

    Attributes:
        in_tls: Whether the last step that began before the request was a TLS handshake.
        interruptible: Whether httpcore is inside a step that cleans up after itself when cancelled.
        closing: Whether the exchange is over and its connection is being put away.
        stop: Raised inside httpcore where the request's first byte would be next.
    """

    def __init__(self, exchange: Exchange, *, engine_reports: bool, hooks_known: bool = True) -> None:
        self._exchange = exchange
        self._engine_reports = engine_reports
        self._hooks_known = hooks_known
        self._reading_calls: list[object] = []
        self._same_pass = self._stream_read = self._answered = self._head_begun = False
        self._handshaking: Any = None
        self._opened: Any = None
        self.in_tls = self.interruptible = self.closing = False
        self.stop: BaseException | None = None

    def body_read(self, *, as_stream: bool) -> None:
        """Note that the body is read: by a hook, or in order to be sent.

        The stream is read once, for sending. The bytes may be looked at before they are sent, and after the answer; a
        further read in between may be for sending again. A transport around another one may read before it.
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
                raise TransportError(FailureKind.UNEXPECTED, _SENT_TWICE)
            if not by_the_same:
                self._reading_calls = calls
                self._same_pass = True
                asyncio.get_running_loop().call_soon(self._end_pass)
        self._stream_read |= as_stream
        self._sending()

    def _end_pass(self) -> None:
        self._same_pass = False

    def forget(self) -> None:
        """Let go of the calls that were looked at."""
        self._reading_calls = []

    def _sending(self) -> None:
        if self.stop is not None and self._exchange.phase is Phase.UNSENT:
            raise self.stop
        self._exchange.phase = max(self._exchange.phase, Phase.SENT)

    async def close_stream(self) -> None:
        """Close the connection whose TLS handshake was cancelled: httpcore forgets it, and would leave it open."""
        if self._handshaking is not None:
            await self._handshaking.aclose()

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        path, _, event = name.rpartition(".")
        protocol, _, step = path.rpartition(".")
        self.interruptible = event == "started" and step.startswith(_INTERRUPTIBLE)
        if event == "started":
            self.closing = step == "response_closed"
            if step == "start_tls":
                self.in_tls = True
            elif step == "send_request_headers" and info["request"].method != b"CONNECT":
                self._request_begins(protocol)
        elif event == "complete":
            if step in ("connect_tcp", "start_tls"):
                self._opened = info["return_value"]
                # After the handshake it is httpcore's to close, and over HTTP/2 others share it.
                self._handshaking = self._opened if step == "connect_tcp" else None
            elif step == "receive_response_headers":
                self._answered = True

    def _request_begins(self, protocol: str) -> None:
        self.in_tls = False
        self._handshaking = None
        # An HTTP/2 server may speak first.
        if self._opened is not None and protocol == "http11" and _was_spoken_on(self._opened):
            raise TransportError(FailureKind.CONNECT, SPOKEN_ON)
        if self._head_begun:
            raise TransportError(FailureKind.UNEXPECTED, _SENT_TWICE)
        self._head_begun = True
        self._sending()


def _transport_calls() -> list[object] | None:
    """List the calls of `handle_async_request` on the task's stack, the innermost first.

    `None`: the read is in another task than the exchange.
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
    """Make a request like the given one, of httpx or httpx2, but with a body that can be sent once."""
    request_class, stream_class = _classes(library)
    return request_class(
        request.method,
        request.url,
        headers=request.headers,
        extensions=request.extensions,
        stream=stream_class(body, trace),
    )


@cache
def _classes(library: ModuleType) -> tuple[Any, Any]:
    """Derive the two classes from a library's own, which it asks for by `isinstance`."""

    class OneShotBody(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, body: bytes, trace: ExchangeTrace) -> None:
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


async def read_answer(response: Any, exchange: Exchange, max_bytes: int) -> Answer:
    """Read the answer whose headers have just arrived, and give its connection back or drop it."""
    exchange.http_status = response.status_code
    exchange.phase = Phase.ANSWERED
    try:
        body = await _read_raw(response, max_bytes)
        headers: dict[str, str] = {}
        # From the raw fields: httpx's own mapping finds out an encoding, and decodes anew at each look.
        for raw_name, raw_value in response.headers.raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            # A field on several lines is one list (RFC 9110, section 5.3): no line hides another.
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        exchange.answer = Answer(response.status_code, headers, body)
        stream = response.extensions.get("network_stream")
        if stream is not None and not _is_clean(response, stream):
            await stream.aclose()
    finally:
        # An answer that was not read to its end leaves its connection unusable; httpcore closes it here.
        await response.aclose()
    return exchange.answer


async def _read_raw(response: Any, max_bytes: int) -> bytes:
    if response.is_stream_consumed:
        # Read before by an event hook of the user's client, or made in memory by a mock transport.
        return bytes(response.content[: max_bytes + 1])
    chunks = cast("AsyncGenerator[bytes, None]", aiter(response.stream))
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            # Left in the middle, the generator would be closed by the garbage collector, some time.
            await chunks.aclose()
            return body[: max_bytes + 1]
    return body


def _is_clean(response: Any, network_stream: Any) -> bool:
    """Whether nothing has come after the answer, as far as that can be proven.

    httpcore notices bytes that wait in the socket, but not those that were read already: in h11's buffer, in a TLS
    layer, in anyio's queue. Only private names lead there: where one is missing, the connection is not clean.
    """
    if response.extensions.get("http_version") == b"HTTP/2":
        return True  # its answers name their requests
    parser = _parser_of(response.stream)
    try:
        return parser is not None and not parser.trailing_data[0] and not _holds_bytes(network_stream)
    except AttributeError:
        return False


def _was_spoken_on(network_stream: Any) -> bool:
    """Whether a new connection was closed or written on by its peer, as far as that can be seen.

    Over TLS 1.3 it cannot: there may be session tickets (RFC 8446, section 4.6.1).
    """
    tls = network_stream.get_extra_info("ssl_object")
    if tls is not None and tls.version() == "TLSv1.3":
        return False
    try:
        return bool(network_stream.get_extra_info("is_readable")) or _holds_bytes(network_stream)
    except AttributeError:
        return False


def _holds_bytes(network_stream: Any) -> bool:
    """Whether bytes wait between the socket and httpcore, by private names."""
    layer = network_stream._stream  # noqa: SLF001  # anyio's, in httpcore's
    while hasattr(layer, "_ssl_object"):
        # Its last read ended with the answer's own record, so a further one, or a part of it, waits here.
        if layer._read_bio.pending or layer._ssl_object.pending():  # noqa: SLF001
            return True
        layer = layer.transport_stream
    return bool(layer._protocol.read_queue)  # noqa: SLF001


def _parser_of(holder: Any) -> Any:
    for _ in range(_LAYERS):
        parser = getattr(holder, "_h11_state", None)
        if parser is not None:
            return parser
        inner = (getattr(holder, name, None) for name in ("_stream", "_httpcore_stream", "_connection"))
        holder = next((found for found in inner if found is not None), holder)
    return None
