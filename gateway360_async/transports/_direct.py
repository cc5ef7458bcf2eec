"""The default transport: connections of its own, straight to the gateway.

Invariants:

- Nothing queues here: the client bounds the exchanges, and each has a connection of its own.
- Idle connections are a stack: the one used last is used next, so that surplus ones grow old and are closed.
- Connections, and their timers, live in an empty context: no caller's trace or request context follows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Mapping
from contextvars import Context
from typing import Any, Final

import attrs

from .._config import httpx
from .._exceptions import ClientClosed
from .._results import FailureKind
from ._base import (
    SPOKEN_ON,
    Answer,
    Exchange,
    TransportError,
    checked_limits,
    checked_ssl_context,
    failure_of,
    root_of,
    tls_kind,
)
from ._connection import Connection
from ._tls import TlsStream, ssl_context

__all__ = ["ConnectionPool", "DirectTransport", "Target"]

_HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305, section 5)."""

_BUFFER_BYTES: Final = 64 * 1024
"""Bytes that are received at a time at most: more than an answer has."""


@attrs.define(eq=False)
class Target:
    """A URL to post to: its address, the head of its requests, and its idle connections."""

    host: str
    port: int
    is_tls: bool
    headers: Mapping[str, str]
    head: bytes
    idle: list[Connection]


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
        self._pool = ConnectionPool(checked_ssl_context(verify), checked_limits(limits))
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
        answer = connection.send(exchange, target.head, body, timeout, max_bytes)
        try:
            return await answer
        except BaseException:
            if connection.exchange is exchange:
                connection.abort()
            raise

    async def aclose(self) -> None:
        """Close every connection, and wait until all are closed."""
        await self._pool.aclose()

    def _prepare(self, url: str, headers: Mapping[str, str]) -> Target:
        """Make the head of a URL's requests, once for a client."""
        parsed = httpx.URL(url)
        is_tls = parsed.scheme == "https"
        fields = {"Host": parsed.netloc.decode("ascii"), **headers, "Content-Length": ""}
        lines = [f"POST {parsed.raw_path.decode('ascii')} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        earlier = self._targets.get(url)
        target = self._targets[url] = Target(
            parsed.raw_host.decode("ascii"),
            parsed.port or (443 if is_tls else 80),
            is_tls,
            headers,
            head.encode("latin-1"),
            earlier.idle if earlier else [],
        )
        return target


class ConnectionPool:
    """The connections of a transport. A call that finds none idle makes one.

    Attributes:
        buffer: Takes the bytes that are received, of one connection at a time, which takes them out at once. asyncio
            would take 256 KiB of fresh memory for each part of an answer.
        context: The empty context that connections live in.
    """

    def __init__(self, verify: ssl.SSLContext | None, limits: httpx.Limits) -> None:
        self._ssl_context = verify
        max_idle, expiry = limits.max_keepalive_connections, limits.keepalive_expiry
        self._max_idle = math.inf if max_idle is None else max_idle
        self._expiry = math.inf if expiry is None else expiry
        self._connections: set[Connection] = set()
        self._idle_count = 0
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.context = Context()
        self._empty = asyncio.Event()
        self._empty.set()
        self.closed = False

    async def aclose(self) -> None:
        """Close every connection, and wait until all are closed."""
        self.closed = True
        for connection in tuple(self._connections):
            connection.close()
        await self._empty.wait()

    def idle_connection(self, target: Target) -> Connection | None:
        """Take an idle connection on which nothing has come; `None`: there is none."""
        while target.idle:
            connection = target.idle.pop()
            self._idle_count -= 1
            if connection.can_be_used(again=True):
                return connection
            connection.close()
        return None

    async def connect(self, target: Target, seconds: float | None) -> Connection:
        """Make a connection, within so many seconds, the TLS handshake included."""
        loop = asyncio.get_running_loop()
        tls = None
        if target.is_tls:
            if self._ssl_context is None:
                self._ssl_context = ssl_context()
                self._ssl_context.set_alpn_protocols(["http/1.1"])
            tls = TlsStream(self._ssl_context, target.host.rstrip("."))
        connection = Connection(self, target, loop, tls)
        self._connections.add(connection)
        self._empty.clear()
        opening = self.context.run(loop.create_task, _open(connection, loop))
        error: Exception | None = ClientClosed()
        try:
            async with asyncio.timeout(seconds):
                error = await opening
            if error is None and not connection.can_be_used(again=False):
                # A transport that is closing loses a write without a word, and a byte is no answer yet.
                error = TransportError(FailureKind.CONNECT, SPOKEN_ON)
        except TimeoutError:
            kind, problem = FailureKind.CONNECT, "no connection was made"
            if target.is_tls and connection.is_connected:
                kind, problem = FailureKind.TLS, "the TLS handshake was not over"
            error = TransportError(kind, f"{problem} within {seconds:g} s")
        finally:
            if error is not None or self.closed:
                connection.abort()
                # uvloop tells no protocol of a transport that it closes while its `create_connection` is cancelled.
                if not connection.is_connected or opening.cancelled():
                    self.lost(connection)
        if self.closed:
            raise ClientClosed
        if error is not None:
            raise error from None
        return connection

    def released(self, connection: Connection) -> None:
        """Take back a connection whose exchange ended cleanly."""
        if self.closed or self._idle_count >= self._max_idle:
            connection.close()
            return
        # A second before the server's own end: it would be closed just as it is used.
        connection.wait(min(self._expiry, max(connection.keep_alive - 1, 0.0)))
        connection.target.idle.append(connection)
        self._idle_count += 1

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        if connection in connection.target.idle:
            connection.target.idle.remove(connection)
            self._idle_count -= 1
        if not self._connections:
            self._empty.set()


async def _open(connection: Connection, loop: asyncio.AbstractEventLoop) -> Exception | None:
    """Connect. The error is returned: raised, it would be an event of its own to what watches tasks."""
    import aiohappyeyeballs  # noqa: PLC0415  # with the first connection

    host, port = connection.target.host, connection.target.port
    error: Exception | None
    try:
        addresses: Any = None
        with contextlib.suppress(socket.gaierror):  # an address itself is asked of no name server
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if addresses is None:
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType]
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.create_connection(lambda: connection, sock=sock)
        error = await connection.ready
    except Exception as exc:  # noqa: BLE001  # whatever it is, nothing was sent
        error = exc
    if error is None:
        return None
    root = root_of(error, None)
    in_tls = connection.target.is_tls and connection.is_connected
    return failure_of(error, tls_kind(root) if in_tls else FailureKind.CONNECT, root)
