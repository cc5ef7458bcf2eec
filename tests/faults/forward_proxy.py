"""A forward proxy on loopback: CONNECT tunnels, and plain http in absolute form.

What one side does, the other side sees: a FIN is passed on as a FIN, a RST as a RST, and a side that is not read
holds the other one up. An upstream that cannot be reached is a 502.
"""

from __future__ import annotations

import asyncio
import re
import socket
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from loopback import linger_none, listening_socket

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_UNREACHABLE = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"


class _Side(asyncio.Protocol):
    """One of the two connections of a pair; on its own, the upstream's."""

    def __init__(self, proxy: ForwardProxy, other: _Side | None = None) -> None:
        self._proxy = proxy
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.linked = True
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._proxy.open.add(self)

    def data_received(self, data: bytes) -> None:
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self.linked:
            self.pass_on_end()
        return True

    def pass_on_end(self) -> None:
        other = self.other
        if other is None or other._ended:
            self.close()
        if other is not None and other.transport is not None and not other.transport.is_closing():
            other.close() if other._ended else other.transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.open.discard(self)
        self.transport = None
        other = self.other
        if other is not None and other.transport is not None:
            if exc is not None:
                linger_none(other.transport)
                other.transport.abort()
            else:
                other.transport.close()
        if not self._proxy.open:
            self._proxy.emptied.set()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Client(_Side):
    """The client's connection: reads heads, to find out where they go."""

    def __init__(self, proxy: ForwardProxy) -> None:
        super().__init__(proxy)
        self._tunnel = False
        self._connecting: asyncio.Task[None] | None = None
        self._pending = b""
        self._body_left = 0

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            self.pass_on(data)
            return
        self._pending += data
        self._take()

    def _take(self) -> None:
        while self._pending and self._connecting is None:
            if self._tunnel:
                data, self._pending = self._pending, b""
                self.pass_on(data)
            elif self._body_left:
                data, self._pending = self._pending[: self._body_left], self._pending[self._body_left :]
                self._body_left -= len(data)
                self.pass_on(data)
            elif b"\r\n\r\n" in self._pending:
                head, _, self._pending = self._pending.partition(b"\r\n\r\n")
                self._route(head + b"\r\n\r\n")
            else:
                return

    def _route(self, head: bytes) -> None:
        method, target, rest = head.split(b" ", 2)
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            self._connect(host, int(port), b"")
            return
        url = urlsplit(target.decode())
        length = _LENGTH.search(head)
        self._body_left = int(length[1]) if length else 0
        rewritten = b"%b %b %b" % (method, url.path.encode(), rest)
        if self.other is None:
            assert url.hostname is not None
            self._connect(url.hostname, url.port or 80, rewritten)
        else:
            self.pass_on(rewritten)

    def _connect(self, host: str, port: int, head: bytes) -> None:
        loop = asyncio.get_running_loop()

        async def connect() -> None:
            assert self.transport is not None
            try:
                connection, _ = await loop.create_connection(lambda: upstream, host, port)
                if self._proxy.receive_buffer is not None:
                    connection.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_SNDBUF, self._proxy.receive_buffer
                    )
            except OSError:
                self.transport.write(_UNREACHABLE)
                self.transport.close()
                return
            self._connecting = None
            upstream.linked = True
            if head:
                self.pass_on(head)
            else:
                self._tunnel = True
                self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._take()
            if upstream._ended:
                upstream.pass_on_end()

        self.other = upstream = _Side(self._proxy, self)
        upstream.linked = False
        self._connecting = loop.create_task(connect())

    def eof_received(self) -> bool:
        if self._connecting is not None:
            self.close()  # the client has given up
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)


class ForwardProxy:
    """Listens on loopback from `async with` on.

    Args:
        receive_buffer: Bytes that the kernel takes in for a connection that is not read; `None`: its default.
    """

    def __init__(self, receive_buffer: int | None = None) -> None:
        self.open: set[_Side] = set()
        self.emptied = asyncio.Event()
        self.receive_buffer = receive_buffer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        listener = listening_socket()
        if self.receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Client(self), sock=listener, backlog=1000
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        while self.open:
            self.emptied.clear()
            await self.emptied.wait()
