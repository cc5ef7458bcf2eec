"""A forward proxy on loopback: CONNECT tunnels, and plain http in absolute form.

The end of one side is the end of the other: a FIN is passed on as a FIN, a RST as a RST, and a side that is not read
holds the other one up. An upstream that cannot be reached is a 502.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from support.loopback import listening_socket, reset

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_UNREACHABLE = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"


async def _bytes_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(65536):
        yield data


async def _requests_of(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """Give the bytes of each request, the first of which has this head, without the host in its target."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            method, target, rest = head.split(b" ", 2)
            yield b"%b %b %b" % (method, urlsplit(target).path, rest)
            length = _LENGTH.search(head)
            left = int(length[1]) if length else 0
            while left:
                data = await reader.read(min(left, 65536))
                if not data:
                    return
                left -= len(data)
                yield data
            head = await reader.readuntil(_HEAD_END)


async def _pass_on(pieces: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    try:
        async for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:
        with contextlib.suppress(OSError):  # it is closed by now
            reset(writer)


class ForwardProxy:
    """Listens on loopback from `async with` on.

    Args:
        receive_buffer: Bytes that the kernel takes in for a connection that is not read; `None`: its default.
    """

    def __init__(self, receive_buffer: int | None = None) -> None:
        self.receive_buffer = receive_buffer
        self._serving: set[asyncio.Task[None]] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        listener = listening_socket()
        if self.receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._server = await asyncio.start_server(self._begin, sock=listener, backlog=1000)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connecting:
            task.cancel()  # its client has given up
        while self._serving:
            await asyncio.wait(self._serving)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(_HEAD_END)
            is_tunnel = head.startswith(b"CONNECT")
            target = head.split(b" ", 2)[1].decode()
            url = urlsplit(f"//{target}" if is_tunnel else target)
            back, out = await self._connect(url.hostname, url.port or 80)
        except OSError:
            writer.write(_UNREACHABLE)
            writer.close()
            return
        except (EOFError, asyncio.CancelledError):
            writer.close()
            return
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        requests = _bytes_of(reader) if is_tunnel else _requests_of(reader, head)
        await asyncio.gather(_pass_on(requests, out), _pass_on(_bytes_of(back), writer))
        out.close()
        writer.close()

    async def _connect(
        self, host: str | None, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        task = asyncio.current_task()
        assert task is not None
        self._connecting.add(task)
        try:
            back, out = await asyncio.open_connection(host, port)
        finally:
            self._connecting.discard(task)
        if self.receive_buffer is not None:
            upstream = out.get_extra_info("socket")
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.receive_buffer)
        return back, out
