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
"""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self, cast

import httpcore
import httpx

__all__ = ["OneConnectionTransport"]


class OneConnectionTransport(httpx.AsyncHTTPTransport):
    """An httpx transport over at most one connection, for one exchange at a time.

    Args:
        ssl_context: The TLS settings.
        keepalive_expiry: Seconds that the idle connection is good for; `None`: no end.
    """

    def __init__(self, ssl_context: ssl.SSLContext, keepalive_expiry: float | None) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        # Where httpx keeps its pool. It has made one by now, which holds nothing yet and is let go.
        self._pool = _OneConnection(ssl_context, keepalive_expiry)  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue, reportIncompatibleUnannotatedOverride]


class _OneConnection:
    """What httpx asks of a pool."""

    def __init__(self, ssl_context: ssl.SSLContext, keepalive_expiry: float | None) -> None:
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
                network_backend=cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend()),
            )
        return await connection.handle_async_request(request)

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
