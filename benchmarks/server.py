"""The gateway that all are measured against: one answer, after a settable latency, on loopback.

Rules of this module:

- It is its own process and does next to nothing, so that the client is the limit: it finds the request's
  end, counts it, and writes an answer that is prepared once. It judges nothing; the sandbox does that.
- `GET /reset?latency=SECONDS` sets the latency and the counts back, `GET /stats` reads the counts. The
  connections of these two are not counted.
- It says its ports in one line on stdout, and ends when its stdin does: when whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import sys
from typing import Final, cast

import trustme

__all__ = ["HOST"]

HOST: Final = "127.0.0.1"

_BODY: Final = b'{"status":"ok"}'
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"
    % (len(_BODY), _BODY)
)
_LENGTH: Final = b"content-length:"


class _State:
    """What the connections share."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.connections = 0
        self.requests = 0


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Its requests come one at a time: nobody here pipelines."""

    def __init__(self, state: _State, loop: asyncio.AbstractEventLoop) -> None:
        self._state = state
        self._loop = loop
        self._received = b""
        self._counted = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        plain = transport.get_extra_info("socket")
        if plain is not None:
            # The loops do so by themselves; an answer that waits for an acknowledgement would be a latency.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0 or len(received) < end + 4 + _content_length(received[:end]):
            self._received = received  # httpx writes the headers and the body one after the other
            return
        self._received = b""
        if received.startswith(b"GET"):
            self._control(received.split(b" ", 2)[1].decode())
            return
        state = self._state
        if not self._counted:
            self._counted = True
            state.connections += 1
        state.requests += 1
        if state.latency:
            self._loop.call_later(state.latency, self._write, _ANSWER)
        else:
            self._write(_ANSWER)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)

    def _control(self, target: str) -> None:
        state = self._state
        path, _, query = target.partition("?")
        if path == "/reset":
            state.latency = float(query.removeprefix("latency="))
            state.connections = state.requests = 0
        body = json.dumps({"connections": state.connections, "requests": state.requests}).encode()
        self._write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def _content_length(head: bytes) -> int:
    head = head.lower()
    at = head.find(_LENGTH)
    if at < 0:
        return 0
    at += len(_LENGTH)
    end = head.find(b"\r\n", at)
    return int(head[at:] if end < 0 else head[at:end])


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    state = _State()
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)

    def connection() -> _Connection:
        return _Connection(state, loop)

    plain = await loop.create_server(connection, HOST, 0, backlog=4096)
    tls = await loop.create_server(connection, HOST, 0, backlog=4096, ssl=context)
    ports = [server.sockets[0].getsockname()[1] for server in (plain, tls)]
    authority_pem = authority.cert_pem.bytes().decode()
    print(json.dumps({"plain": ports[0], "tls": ports[1], "authority": authority_pem}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _main() -> None:
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # not on every platform

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(_serve())


if __name__ == "__main__":
    _main()
