"""Servers on loopback for the tests: real sockets, whole requests counted, answers to the byte."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

OK = b'{"status":"ok"}'
OPEN_FILES = Path("/dev/fd")


class Received:
    """One whole request, and the connection that it came on."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        body: bytes,
        earlier: int = 0,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head
        self.body = body
        self.earlier = earlier
        """Requests that came before on the same connection."""
        self.answered: tuple[int, bytes] | None = None
        """The status and the body of a whole answer."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.strip().decode()
        return None

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def records(self, *pieces: bytes) -> bytes:
        """Give the bytes that carry these pieces: over TLS, each piece begins a record."""
        tls = self.writer.get_extra_info("ssl_object")
        if tls is None:
            return b"".join(pieces)
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[tls.write(view) :]
        return self._tls_protocol._outgoing.read()

    def close_notify(self) -> bytes:
        """Give the bytes by which TLS says that nothing follows."""
        with contextlib.suppress(ssl.SSLError):  # it would wait for the peer's word
            self.writer.get_extra_info("ssl_object").unwrap()
        return self._tls_protocol._outgoing.read()

    def wire(self, data: bytes) -> None:
        """Write bytes below TLS, in one piece."""
        if not self.writer.is_closing():
            self.below_tls.write(data)

    def fin(self) -> None:
        """Send a FIN and nothing else: over TLS, without a word of it."""
        self.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    @property
    def _tls_protocol(self) -> Any:
        return self.writer.transport._ssl_protocol  # asyncio has no public way below its TLS

    @property
    def below_tls(self) -> Any:
        """The transport that the kernel's bytes pass."""
        plain = self.writer.get_extra_info("ssl_object") is None
        return self.writer.transport if plain else self._tls_protocol._transport

    async def answer(self, status: int = 200, body: bytes = OK, **headers: str) -> None:
        self.answered = (status, body)
        fields = {"content-length": str(len(body)), "content-type": "application/json"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status} x\r\n{lines}\r\n".encode() + body)

    async def silence(self) -> None:
        """Say nothing until the peer goes away."""
        await self.reader.read()

    async def until_gone(self) -> None:
        """Wait until the peer goes away, without reading a byte that it sends."""
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        reset(self.writer)


def abort(writer: asyncio.StreamWriter) -> None:
    """Close at once. Up to Python 3.11.2, a TLS transport that was closed twice cannot be aborted: it is closing."""
    with contextlib.suppress(AttributeError):
        writer.transport.abort()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST rather than a FIN."""
    linger_none(writer)
    abort(writer)


def linger_none(connection: asyncio.StreamWriter | asyncio.BaseTransport | socket.socket) -> None:
    """Make the end of a connection a RST."""
    sock = connection if isinstance(connection, socket.socket) else connection.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Behaviour = Callable[[Received], Awaitable[None]]


async def ok(received: Received) -> None:
    await received.answer()


async def silence(received: Received) -> None:
    await received.silence()


async def close(received: Received) -> None:
    received.writer.close()


async def rst(received: Received) -> None:
    received.reset()


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    async def answer(received: Received) -> None:
        await received.answer(code, body, **headers)

    return answer


def raw(data: bytes, *, then_close: bool = True) -> Behaviour:
    async def answer(received: Received) -> None:
        await received.write(data)
        if then_close:
            received.writer.close()

    return answer


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave once as each of these, and then as the last."""
    queue = list(behaviours)

    async def answer(received: Received) -> None:
        await (queue.pop(0) if len(queue) > 1 else queue[0])(received)

    return answer


class Server:
    """Reads whole requests, counts them, and answers each as `behaviour` says.

    Args:
        behaviour: What to do with a whole request.
        before: What to do before each request is read, on a new connection and on one that is kept.
        tls: The TLS settings; `None` for plain text.
        port: Where to listen; 0 for any free port.
        receive_buffer: Bytes that the kernel takes in for a connection that is not read; `None`: its default.
    """

    def __init__(
        self,
        behaviour: Behaviour = ok,
        *,
        before: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        receive_buffer: int | None = None,
    ) -> None:
        self.behaviour = behaviour
        self.before = before
        self.requests: list[Received] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self._tls = tls
        self._port = port
        self.receive_buffer = receive_buffer
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()

    @property
    def posts(self) -> int:
        return len(self.requests)

    def posts_for(self, number: str) -> list[Received]:
        """The whole requests for one number, in the order in which they came."""
        wanted = f'"msisdn":"{number}"'.encode()
        return [received for received in self.requests if wanted in received.body]

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        listener = listening_socket(self._port)
        if self.receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._server = await asyncio.start_server(
            self._serve, sock=listener, ssl=self._tls, backlog=1000, limit=self.receive_buffer or 2**16
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.open:
            abort(writer)
        await self.wait(lambda: not self.open)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something that the server sees is so."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def take(self, received: Received) -> None:
        """Count a whole request."""
        self.requests.append(received)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        await self._notify()
        try:
            for earlier in itertools.count():
                if self.before is not None and not writer.is_closing():
                    await self.before(Received(reader, writer, b"", b"", earlier))
                if writer.is_closing():
                    break
                head = await reader.readuntil(b"\r\n\r\n")
                received = Received(reader, writer, head, b"", earlier)
                received.body = await reader.readexactly(int(received.header("content-length") or 0))
                await self.take(received)
                await self.behaviour(received)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            abort(writer)
            self.open.discard(writer)
            await self._notify()


def open_files() -> int:
    """Files and sockets that this process has open."""
    return sum(1 for _ in OPEN_FILES.iterdir())


def listening_socket(port: int = 0) -> socket.socket:
    """Make one with its protocol named, which asyncio asks for before it turns Nagle's delay off."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def free_port() -> int:
    """A port where nothing listens: a connection to it is refused, until a server of the test's takes it.

    It is held to the end of the process, so that no other process is given it: tests run side by side.
    """
    held = listening_socket()
    atexit.register(held.close)
    return held.getsockname()[1]
