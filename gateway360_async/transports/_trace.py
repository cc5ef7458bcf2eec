"""Watch one exchange from inside the HTTP library.

Rules of this module:

- httpcore calls the `Watch` before and after each step of an exchange (httpcore's documentation,
  "Extensions", `trace`), for HTTP/1.1 and HTTP/2 alike. The step `send_request_headers` starts before
  the request's first byte, so its start is where "certainly not sent" ends.
- A proxy is asked to `CONNECT` by a request of its own, with the same events: these do not count.
- Other libraries under httpx's interface (mocks, adapters) report no steps. But each of them has to take
  the request's body from the stream that it is handed, and a request without its body is no request: so
  the taking of the body counts as well.
- A request goes out once. Whatever begins to send it again (an authentication flow or a retrying transport
  in a client that was handed in) is stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

import httpx

from ._base import Exchange, Phase

__all__ = ["Watch", "WatchedBody"]

_INTERRUPTIBLE: Final = ("connect_tcp", "connect_unix_socket", "start_tls", "send_", "receive_")


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Watch:
    """The `trace` callback of one exchange.

    Attributes:
        in_tls: Whether the last thing that began before the request was a TLS handshake.
        interruptible: Whether httpcore is inside a step that cleans up after itself when cancelled.
        closing: Whether the exchange is over and its connection is being put away.
    """

    __slots__ = ("_begun", "_exchange", "_stop", "_stream", "closing", "in_tls", "interruptible")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._stream: _Closable | None = None
        self._stop: BaseException | None = None
        self._begun = False
        self.in_tls = False
        self.interruptible = False
        self.closing = False

    def stop_before_sending(self, reason: BaseException) -> None:
        """Raise `reason` inside httpcore where the request's first byte would be next."""
        self._stop = reason

    def sending(self) -> None:
        """The request's first byte is next."""
        if self._stop is not None and self._exchange.phase is Phase.UNSENT:
            raise self._stop
        self._exchange.phase = max(self._exchange.phase, Phase.SENT)

    async def close_stream(self) -> None:
        """Close the connection whose TLS handshake was cancelled: httpcore forgets it, and nobody else would."""
        if self._stream is not None:
            await self._stream.aclose()

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        step, _, event = name.rpartition(".")
        step = step.rpartition(".")[2]
        self.interruptible = event == "started" and step.startswith(_INTERRUPTIBLE)
        if event == "started":
            self._started(step, info)
        elif event == "complete":
            self._completed(step, info)

    def _started(self, step: str, info: dict[str, Any]) -> None:
        self.closing = step == "response_closed"
        if step == "start_tls":
            self.in_tls = True
        elif step == "send_request_headers" and info["request"].method != b"CONNECT":
            if self._begun:
                raise httpx.StreamConsumed  # an authentication flow or a retrying transport: a second SMS
            self._begun = True
            self.in_tls = False
            self._stream = None
            self.sending()

    def _completed(self, step: str, info: dict[str, Any]) -> None:
        if step == "connect_tcp":
            self._stream = info["return_value"]
        elif step == "start_tls":
            self._stream = None  # from here on it is httpcore's to close, and over HTTP/2 others share it


class WatchedBody(httpx.AsyncByteStream):
    """A request's body that tells the watch when it is taken, and that can be taken once."""

    def __init__(self, body: bytes, watch: Watch) -> None:
        self._body: bytes | None = body
        self._watch = watch

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body, self._body = self._body, None
        if body is None:
            raise httpx.StreamConsumed  # whoever takes it again is about to send it again
        self._watch.sending()
        yield body
