"""The default transport: connections of our own, straight to the gateway.

Nothing queues here: the client bounds the exchanges, and each has a connection of its own.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping

from .._config import httpx
from .._exceptions import ClientClosed
from ._base import Answer, Exchange
from ._pool import ConnectionPool, Target
from ._shared import checked_limits, checked_ssl_context

__all__ = ["DirectTransport"]


class DirectTransport:
    """Exchanges over HTTP/1.1 connections of its own, one per exchange under way.

    It knows no proxy: see `HttpxTransport`.

    Args:
        verify: The TLS settings; `None`: certifi's certificates, or those that `SSL_CERT_FILE` or `SSL_CERT_DIR`
            names.
        limits: `max_keepalive_connections` and `keepalive_expiry` (seconds) bound the idle connections; `None`: 4
            seconds, and any number. How many are busy, the client's `concurrency` bounds.

    Raises:
        InvalidConfiguration: A value is of the wrong type.
    """

    def __init__(self, *, verify: ssl.SSLContext | None = None, limits: httpx.Limits | None = None) -> None:
        limits = checked_limits(limits)
        self._pool = ConnectionPool(
            checked_ssl_context(verify),
            max_idle=_bound(limits.max_keepalive_connections),
            expiry=_bound(limits.keepalive_expiry),
        )
        self._targets: dict[str, Target] = {}

    def __repr__(self) -> str:
        return "DirectTransport()"

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: httpx.Timeout,
        max_bytes: int,
        exchange: Exchange,
    ) -> Answer:
        """POST once and read the answer; see `Transport.post`."""
        pool = self._pool
        if pool.closed:
            raise ClientClosed
        target = self._targets.get(url)
        if target is None or target.headers is not headers:
            target = self._prepare(url, headers)
        connection = pool.idle_connection(target) or await pool.connect(target, timeout.connect)
        answer = connection.send(
            exchange,
            target.head,
            body,
            max_bytes=max_bytes,
            read_timeout=_bound(timeout.read),
            write_timeout=_bound(timeout.write),
        )
        try:
            return await answer
        except BaseException:
            connection.give_up(exchange)
            raise

    async def aclose(self) -> None:
        """Close every connection, and wait until all are closed."""
        await self._pool.aclose()

    def _prepare(self, url: str, headers: Mapping[str, str]) -> Target:
        """Make the head of a URL's requests, once for a client."""
        parsed = httpx.URL(url)
        host, is_tls = parsed.raw_host.decode("ascii"), parsed.scheme == "https"
        port = parsed.port or (443 if is_tls else 80)
        fields = {"Host": parsed.netloc.decode("ascii"), **headers, "Content-Length": ""}
        lines = [
            f"POST {parsed.raw_path.decode('ascii')} HTTP/1.1",
            *(f"{n}: {v}" for n, v in fields.items()),
        ]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        earlier = self._targets.get(url)
        target = self._targets[url] = Target(
            host,
            port,
            is_tls,
            headers,
            head.encode("latin-1"),
            earlier.idle if earlier else [],
        )
        return target


def _bound(value: float | None) -> float:
    return math.inf if value is None else value
