"""The gateway of the stores' benchmark: it answers after a latency, and keeps for each request when it came and its number.

    python -m benchmarks.stores.gateway SECONDS

Invariants:

- Its own process, which does next to nothing, so that the clients are the limit. It judges nothing but that a request
  is one of the benchmark's, whole: anything else is a stray.
- A request counts, and is an SMS, when its last byte has been read. When that was is the system's monotonic clock,
  which is the same for every process of a machine.
- It says its port on stdout; a line on stdin asks for the report and sets the counts back, and the end of stdin
  ends it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import sys
import time
from array import array
from typing import Any, Final, cast

from ..driver import API_KEY, PATH

__all__ = ["HOST"]

HOST: Final = "127.0.0.1"
_REQUEST_LINE: Final = f"POST {PATH} HTTP/1.1\r\n".encode()
_BODY: Final = b'{"status":"ok"}'
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"
    % (len(_BODY), _BODY)
)
_LENGTH: Final = b"content-length:"


class _Gateway:
    """What the connections share."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self._clear()

    def _clear(self) -> None:
        self.stamps = array("d")
        self.numbers = array("q")
        self.strays = 0

    def read(self, head: bytes, body: bytes) -> bool:
        """Take a whole request. Says whether it is one of ours."""
        try:
            fields: dict[str, Any] = json.loads(body)
            number = int(fields["msisdn"])
            ours = fields["api_key"] == API_KEY and head.startswith(_REQUEST_LINE)
        except (ValueError, KeyError, TypeError):
            number, ours = 0, False
        if not ours:
            self.strays += 1
            return False
        self.stamps.append(time.monotonic())
        self.numbers.append(number)
        return True

    def report(self) -> dict[str, Any]:
        """Say what came since the last report."""
        said = {
            "strays": self.strays,
            "stamps": base64.b64encode(self.stamps.tobytes()).decode(),
            "numbers": base64.b64encode(self.numbers.tobytes()).decode(),
        }
        self._clear()
        return said


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Its requests come one at a time: nobody here pipelines."""

    def __init__(self, gateway: _Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self._gateway = gateway
        self._loop = loop
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head, found, body = received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            self._received = received  # a client may write the headers and the body one after the other
            return
        self._received = b""
        if self._gateway.read(head, body):
            self._loop.call_later(self._gateway.latency, self._answer)
        elif self._transport is not None:
            self._transport.abort()

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ANSWER)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line.removeprefix(_LENGTH))
    return 0


async def _serve(latency: float) -> None:
    loop = asyncio.get_running_loop()
    gateway = _Gateway(latency)
    server = await loop.create_server(lambda: _Connection(gateway, loop), HOST, 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(gateway.report()), flush=True)


def _main() -> None:
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # not on every platform

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(_serve(float(sys.argv[1])))


if __name__ == "__main__":
    _main()
