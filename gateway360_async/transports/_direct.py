"""The default transport: connections of our own, straight to the gateway.

Invariants:

- Idle connections are a stack: the one used last is used next, so that surplus ones grow old and are closed.
- Nothing queues here: the client bounds the exchanges, and each has a connection of its own.
- One timer ends all waits. Connections, and the timer, live in an empty context: no caller's trace or request
  context follows them.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

import attrs

from .._errors import ClientClosed
from .._results import FailureKind
from ._base import Answer, Exchange, TransportError, scrubbed
from ._connection import Connection
from ._shared import (
    SPOKEN_ON,
    checked_limits,
    checked_ssl_context,
    described,
    root_of,
    tls_kind,
)
from ._tls import TlsStream, ssl_context

if TYPE_CHECKING:
    import httpx

__all__ = ["DirectTransport"]

_HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305, section 5)."""

_GRANULARITY: Final = 0.01
"""Seconds that a wait may end late, so that a thousand of them do not set a thousand timers."""


_BUFFER_BYTES: Final = 64 * 1024
"""Bytes that are received at a time at most: more than an answer has."""


@attrs.define(eq=False)
class _Target:
    """A URL to post to: its address, the head of its requests, and its idle connections."""

    host: str
    port: int
    is_tls: bool
    headers: Mapping[str, str]
    head: bytes
    addresses: list[Any] | None
    """What the name resolves to, where it is an address itself."""
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
        limits = checked_limits(limits)
        self._ssl_context = checked_ssl_context(verify)
        self._max_idle = (
            math.inf if limits.max_keepalive_connections is None else limits.max_keepalive_connections
        )
        self._expiry = math.inf if limits.keepalive_expiry is None else limits.keepalive_expiry
        self._targets: dict[str, _Target] = {}
        self._target_of: dict[Connection, _Target] = {}
        self._idle_count = 0
        # Not by asyncio, which takes 256 KiB of fresh memory for each part of an answer, and gives it back.
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._context = Context()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

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
        if self._closed:
            raise ClientClosed
        target = self._targets.get(url)
        if target is None or target.headers is not headers:
            target = self._prepare(url, headers)
        connection = self._idle_connection(target)
        if connection is None:
            connection = await self._connect(target, timeout.connect)
        answer = connection.send(
            exchange,
            target.head,
            body,
            max_bytes=max_bytes,
            read_timeout=math.inf if timeout.read is None else timeout.read,
            write_timeout=math.inf if timeout.write is None else timeout.write,
        )
        try:
            return await answer
        except BaseException:
            connection.give_up(exchange)
            raise

    async def aclose(self) -> None:
        """Close every connection, and wait until all are closed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._target_of):
            connection.close()
        await self._empty.wait()

    def _prepare(self, url: str, headers: Mapping[str, str]) -> _Target:
        """Make the head of a URL's requests, once for a client."""
        import httpx  # noqa: PLC0415  # with the first client

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
        target = self._targets[url] = _Target(
            host,
            port,
            is_tls,
            headers,
            head.encode("latin-1"),
            _numeric(host, port),
            earlier.idle if earlier else [],
        )
        return target

    # --- Connections

    def _idle_connection(self, target: _Target) -> Connection | None:
        while target.idle:
            connection = target.idle.pop()
            self._idle_count -= 1
            if connection.can_be_used_again():
                return connection
            connection.close()
        return None

    async def _connect(self, target: _Target, seconds: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        tls = None
        if target.is_tls:
            if self._ssl_context is None:
                context = ssl_context()
                context.set_alpn_protocols(["http/1.1"])
                self._ssl_context = context
            tls = TlsStream(self._ssl_context, target.host.rstrip("."))
        connection = Connection(self, loop, tls)
        self._target_of[connection] = target
        self._empty.clear()
        opening = self._context.run(loop.create_task, _open(connection, target, loop))
        error: Exception | None = ClientClosed()
        try:
            async with asyncio.timeout(seconds):
                error = await opening
            if error is None and not connection.is_untouched():
                # What is written to a transport that is closing is lost without a word, and a byte is no answer yet.
                error = TransportError(FailureKind.CONNECT, SPOKEN_ON)
        except TimeoutError as exc:
            error = exc
        finally:
            if error is not None or self._closed:
                connection.abort()
                if not connection.is_connected:
                    self.lost(connection)
        if self._closed:
            raise ClientClosed
        if error is not None:
            raise _connect_error(error, seconds, in_tls=target.is_tls and connection.is_connected) from None
        return connection

    def released(self, connection: Connection) -> None:
        """See `ConnectionPool`."""
        if self._closed or self._idle_count >= self._max_idle:
            connection.close()
            return
        # A second before the server's own end: it would be closed just as it is used.
        connection.wait(min(self._expiry, max(connection.keep_alive - 1, 0.0)))
        self._target_of[connection].idle.append(connection)
        self._idle_count += 1

    def lost(self, connection: Connection) -> None:
        """See `ConnectionPool`."""
        target = self._target_of.pop(connection, None)
        if target is not None and connection in target.idle:
            target.idle.remove(connection)
            self._idle_count -= 1
        if not self._target_of:
            self._empty.set()

    # --- Time

    def watch(self, connection: Connection) -> None:
        """See `ConnectionPool`."""
        if connection.expires < self._timer_at:
            self._set_timer(connection.expires)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(at, self._expire, loop, context=self._context)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waits whose time is over, and come back for the next one."""
        self._timer, self._timer_at = None, math.inf
        now = loop.time()
        next_at = math.inf
        for connection in tuple(self._target_of):
            if connection.expires <= now:
                connection.expires = math.inf
                connection.expire()
            else:
                next_at = min(next_at, connection.expires)
        if next_at < math.inf:
            self._set_timer(max(next_at, now + _GRANULARITY))


async def _open(connection: Connection, target: _Target, loop: asyncio.AbstractEventLoop) -> Exception | None:
    """Connect. The error is returned: raised, it would be an event of its own to what watches tasks."""
    import aiohappyeyeballs  # noqa: PLC0415  # with the first connection

    try:
        addresses = target.addresses or await loop.getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM
        )
        sock = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType]
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.create_connection(lambda: connection, sock=sock)
        await connection.ready
    except Exception as exc:  # noqa: BLE001  # whatever it is, nothing was sent
        return exc
    return None


def _numeric(host: str, port: int) -> list[Any] | None:
    """Resolve a host that is an address, which asks no name server."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None


def _connect_error(error: Exception, seconds: float | None, *, in_tls: bool) -> TransportError:
    if isinstance(error, TransportError):
        return error
    if isinstance(error, TimeoutError) and not error.args:
        where = "the TLS handshake was not over" if in_tls else "no connection was made"
        return TransportError(
            FailureKind.TLS if in_tls else FailureKind.CONNECT, f"{where} within {seconds:g} s"
        )
    root = root_of(error, None)
    return TransportError(
        tls_kind(root) if in_tls else FailureKind.CONNECT, described(error, root), scrubbed(error, None)
    )
