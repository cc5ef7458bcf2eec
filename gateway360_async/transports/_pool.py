"""The connections of a `DirectTransport`: made, kept, used again, closed.

Invariants:

- Idle connections are a stack: the one used last is used next, so that surplus ones grow old and are closed.
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
from typing import Any, Final

import attrs

from .._exceptions import ClientClosed
from .._results import FailureKind
from ._base import TransportError, scrubbed
from ._connection import Connection
from ._shared import SPOKEN_ON, described, root_of, tls_kind
from ._tls import TlsStream, ssl_context

__all__ = ["ConnectionPool", "Target"]

_HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305, section 5)."""

_GRANULARITY: Final = 0.01
"""Seconds that a wait may end late, so that a thousand of them do not set a thousand timers."""

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
    addresses: list[Any] | None = attrs.field(init=False)
    """Where the host is an address itself, what it resolves to: no name server is asked."""

    def __attrs_post_init__(self) -> None:
        self.addresses = _numeric(self.host, self.port)


class ConnectionPool:
    """Connections, which nothing waits for: a call that finds none idle makes one.

    Args:
        verify: The TLS settings; `None`: made with the first connection that needs them.
        max_idle: Idle connections at most.
        expiry: Seconds until an idle connection is closed.

    Attributes:
        buffer: Where received bytes are put, of one connection at a time, until it has taken them out at once.
            asyncio would take 256 KiB of fresh memory for each part of an answer.
        closed: Whether no more connections are made.
    """

    def __init__(self, verify: ssl.SSLContext | None, *, max_idle: float, expiry: float) -> None:
        self._ssl_context = verify
        self._max_idle = max_idle
        self._expiry = expiry
        self._target_of: dict[Connection, Target] = {}
        self._idle_count = 0
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._context = Context()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._empty = asyncio.Event()
        self._empty.set()
        self.closed = False

    async def aclose(self) -> None:
        """Close every connection, and wait until all are closed."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._target_of):
            connection.close()
        await self._empty.wait()

    def idle_connection(self, target: Target) -> Connection | None:
        """Take an idle connection on which nothing has come meanwhile; `None`: there is none."""
        while target.idle:
            connection = target.idle.pop()
            self._idle_count -= 1
            if connection.can_be_used_again():
                return connection
            connection.close()
        return None

    async def connect(self, target: Target, seconds: float | None) -> Connection:
        """Make a connection, within so many seconds, the TLS handshake included.

        Raises:
            TransportError: It failed.
            ClientClosed: The pool was closed meanwhile.
        """
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
            if error is not None or self.closed:
                connection.abort()
                if not connection.is_connected:
                    self.lost(connection)
        if self.closed:
            raise ClientClosed
        if error is not None:
            raise _connect_error(error, seconds, in_tls=target.is_tls and connection.is_connected) from None
        return connection

    def released(self, connection: Connection) -> None:
        """Take back a connection whose exchange ended cleanly."""
        if self.closed or self._idle_count >= self._max_idle:
            connection.close()
            return
        # A second before the server's own end: it would be closed just as it is used.
        connection.wait(min(self._expiry, max(connection.keep_alive - 1, 0.0)))
        self._target_of[connection].idle.append(connection)
        self._idle_count += 1

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        target = self._target_of.pop(connection, None)
        if target is not None and connection in target.idle:
            target.idle.remove(connection)
            self._idle_count -= 1
        if not self._target_of:
            self._empty.set()

    # --- Time

    def watch(self, connection: Connection) -> None:
        """Call `Connection.expire` once the time `Connection.expires` has passed."""
        if connection.expires < self._timer_at and not self.closed:
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


async def _open(connection: Connection, target: Target, loop: asyncio.AbstractEventLoop) -> Exception | None:
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
