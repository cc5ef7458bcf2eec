"""One httpcore connection under an httpx transport, without a pool.

Why: a pool hands a request to a connection through a queue, an event and two shielded clean-ups, on every
request and every answer. A slot has one connection and one exchange at a time, so none of that is needed,
and it is more than half of the cost of a request (httpcore 1.0.9: each of these steps also looks for the
event loop's library by an import, which fails anew every time where `sniffio` is not installed).

Rules of this module:

- The transport stays an `httpx.AsyncHTTPTransport`, and the connection an `httpcore.AsyncHTTPConnection`:
  what instruments or mocks either of them (OpenTelemetry, respx) sees every request.
- A connection that has expired, was closed, or has something to read before it was asked anything, is
  replaced, as the pool would.
- The bytes are observed where they leave, at the network stream that httpcore writes to: nearer to the
  fact than its trace events, and without their cost (ten of them a request).
- The request's head waits for its body, and both leave in one write: half the system calls and packets.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore
import httpx

from ._base import Exchange
from ._trace import Watch

__all__ = ["OneConnectionTransport"]


class OneConnectionTransport(httpx.AsyncHTTPTransport):
    """An httpx transport over at most one connection, for one exchange at a time.

    Args:
        ssl_context: The TLS settings.
        keepalive_expiry: Seconds that the idle connection is good for; `None`: no end.
    """

    def __init__(self, ssl_context: ssl.SSLContext, keepalive_expiry: float | None) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        self._network = _Network()
        # Where httpx keeps its pool. It has made one by now, which holds nothing yet and is let go.
        self._pool = _OneConnection(ssl_context, keepalive_expiry, self._network)  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue, reportIncompatibleUnannotatedOverride]

    def watched_by(self, watch: Watch) -> None:
        """Report the next exchange to `watch`."""
        self._network.watch = watch

    async def aclose(self) -> None:
        """Close the connection, also one whose handshake httpcore has forgotten in a cancellation."""
        try:
            await super().aclose()
        finally:
            await self._network.aclose()


class _OneConnection:
    """What httpx asks of a pool."""

    def __init__(
        self, ssl_context: ssl.SSLContext, keepalive_expiry: float | None, network: _Network
    ) -> None:
        self._network = network
        self._ssl_context = ssl_context
        self._keepalive_expiry = keepalive_expiry
        self._connection: httpcore.AsyncHTTPConnection | None = None

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        connection = self._connection
        if connection is not None and (not connection.is_available() or connection.has_expired()):
            await connection.aclose()
            connection = None
        if connection is None:
            connection = self._connection = httpcore.AsyncHTTPConnection(
                origin=request.url.origin,
                ssl_context=self._ssl_context,
                keepalive_expiry=self._keepalive_expiry,
                network_backend=self._network,
            )
        return await connection.handle_async_request(request)

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()


class _Network(httpcore.AsyncNetworkBackend):
    """Opens httpcore's own connections, and stands between them and httpcore."""

    def __init__(self) -> None:
        self._anyio = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        self._stream: httpcore.AsyncNetworkStream | None = None
        self.watch = Watch(Exchange())  # until the first exchange brings its own

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._stream = await self._anyio.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(self._stream, self)

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()


class _Stream(httpcore.AsyncNetworkStream):
    """One connection, as httpcore writes to it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, network: _Network) -> None:
        self._stream = stream
        self._network = network
        self._head = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        if not self._head:
            self._head = buffer
            return
        await self._send(buffer, timeout)

    async def _send(self, buffer: bytes, timeout: float | None) -> None:
        head, self._head = self._head, b""
        self._network.watch.sending()
        await self._stream.write(head + buffer, timeout)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._head:  # a request without a body
            await self._send(b"", timeout)
        return await self._stream.read(max_bytes, timeout)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        watch = self._network.watch
        watch.in_tls = True
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        watch.in_tls = False
        return _Stream(stream, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def aclose(self) -> None:
        await self._stream.aclose()
