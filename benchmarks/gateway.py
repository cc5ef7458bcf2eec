"""The gateway on loopback that all clients are measured against, in a process of its own.

- It does next to nothing, so that the client is the limit.
- A request counts when its last byte has been read, before anything is answered. A request that comes before the last
  one is answered, or that has bytes behind it, is a stray: no client here pipelines.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import time
from typing import Any, Final, Literal, TypeAlias

import attrs
import trustme

from . import API_KEY, HOST, PATH, index_of
from .worker import orders, say

End: TypeAlias = Literal["keep", "fin", "rst", "stall"]
_REQUEST_LINE: Final = f"POST {PATH} HTTP/1.1\r\n".encode()
_LENGTH: Final = b"\r\ncontent-length:"
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


def answer(status: int, body: bytes = b"", content_type: str = "application/json", extra: str = "") -> bytes:
    """Return the bytes of an answer, with `extra` lines of its head."""
    head = (
        f"HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


_OK: Final = answer(200, b'{"status":"ok"}')


@attrs.frozen
class Plan:
    """The acts on one request: pieces to write, each after its delay in seconds, and the connection's end.

    It is kept for the next request, closed, reset, or left as it is without ever another answer.
    """

    pieces: tuple[tuple[float, bytes], ...] = ()
    end: End = "keep"


class Gateway:
    """A gateway that counts, and accepts each request after `latency` seconds."""

    def __init__(self) -> None:
        self._reset(0.0)

    def _reset(self, latency: float) -> None:
        self.connections = self.requests = self.strays = 0
        self._plan = Plan(((latency, _OK),))

    def cut(self) -> End | None:
        """Say how a connection breaks at its begin, or before a request is read; `None`: it does not."""
        return None

    def read(self, head: bytes, body: bytes) -> Plan:  # noqa: ARG002
        """Take a whole request."""
        self.requests += 1
        return self._plan

    def report(self, latency: float | None = None) -> dict[str, Any]:
        """Return the counts; with a latency, begin anew."""
        if latency is not None:
            self._reset(latency)
        return {"connections": self.connections, "requests": self.requests}


class _Recording(Gateway):
    """A gateway that keeps each request's time, on the machine's monotonic clock, and the index of its number."""

    def _reset(self, latency: float) -> None:
        super()._reset(latency)
        self._stamps: list[float] = []
        self._indices: list[int] = []

    def read(self, head: bytes, body: bytes) -> Plan:
        index = read_index(head, body)
        if index is None:
            self.strays += 1
            return Plan(end="rst")
        self._stamps.append(time.monotonic())
        self._indices.append(index)
        return self._plan

    def report(self, latency: float | None = None) -> dict[str, Any]:
        said = {"strays": self.strays, "stamps": self._stamps, "indices": self._indices}
        super().report(latency)
        return said


def read_index(head: bytes, body: bytes) -> int | None:
    """Return the index of a request's number; `None` where it is no request of a benchmark, whole."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        fields: dict[str, Any] = json.loads(body)
        if fields["api_key"] == API_KEY and head.startswith(_REQUEST_LINE):
            return index_of(fields["msisdn"])
    return None


class _Connection(asyncio.Protocol):
    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self._gateway = gateway
        self._loop = loop
        self._received = b""
        self._busy = False
        self._transport: Any = None
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._gateway.connections += 1
        if (how := self._gateway.cut()) is not None:
            self._end(how)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        gateway = self._gateway
        if self._transport is None or self._transport.is_closing():
            return
        if (how := gateway.cut()) is not None:
            self._end(how)
            return
        if self._busy:
            gateway.strays += 1
            self._end("rst")
            return
        # httpx writes the head and the body one after the other.
        received = self._received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = received[:end]
        surplus = len(received) - end - 4 - _content_length(head)
        if surplus < 0:
            return
        if surplus:
            gateway.strays += 1
        self._received = b""
        self._busy = True
        self._follow(gateway.read(head, received[end + 4 :]), 0)

    def _follow(self, plan: Plan, at: int) -> None:
        """Write the pieces from `at` on, each when its time has come, and end."""
        for later in range(at, len(plan.pieces)):
            delay, piece = plan.pieces[later]
            if delay:
                self._next = self._loop.call_later(delay, self._write, plan, later)
                return
            self._transport.write(piece)
        self._busy = plan.end != "keep"
        self._end(plan.end)

    def _write(self, plan: Plan, at: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(plan.pieces[at][1])
            self._follow(plan, at + 1)

    def _end(self, how: End) -> None:
        if how == "rst":
            plain = self._transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()
        elif how == "fin":
            self._transport.close()


def _content_length(head: bytes) -> int:
    head = head.lower()
    at = head.find(_LENGTH)
    if at < 0:
        return 0
    at += len(_LENGTH)
    end = head.find(b"\r\n", at)
    return int(head[at:] if end < 0 else head[at:end])


def authority() -> tuple[ssl.SSLContext, str]:
    """Return a server's TLS context, and the PEM of the authority that a client has to trust."""
    made = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.issue_cert(HOST).configure_cert(context)
    return context, made.cert_pem.bytes().decode()


async def listen(gateway: Gateway, *, tls: ssl.SSLContext | None = None, **address: Any) -> asyncio.Server:
    """Listen on loopback, on any port, or as the arguments of `create_server` say."""
    loop = asyncio.get_running_loop()
    where = address if "sock" in address else {"host": HOST, "port": 0, **address}
    return await loop.create_server(lambda: _Connection(gateway, loop), backlog=4096, ssl=tls, **where)


async def obey(gateway: Gateway) -> None:
    """Answer each line of the parent with a report, to its end."""
    async for order in orders():
        say(**gateway.report(**order))


async def count(*, record: bool = False) -> None:
    """Run a gateway that counts, or keeps each request, without and with TLS; a line that names a latency begins anew."""
    gateway = _Recording() if record else Gateway()
    tls, pem = authority()
    plain, encrypted = await listen(gateway), await listen(gateway, tls=tls)
    say(port=plain.sockets[0].getsockname()[1], tls=encrypted.sockets[0].getsockname()[1], authority=pem)
    await obey(gateway)
