"""The soak's gateway: it misbehaves by a seed, and keeps for each number what it read and what it "sent".

Rules of this module:

- A process of its own. It says its port on stdout; a line on stdin asks for the report, and the end of stdin
  ends it.
- A request counts when its last byte has been read, and is then accepted or not, before anything else.
- Some connections are broken before that: at once, or in the middle of a request. Every quarter of a minute
  it stops listening for a moment, as a gateway that is restarted does: connections are refused.
- What is read has to be one whole request, in JSON, with the key, a number of the soak's, and nothing
  behind it. Anything else is counted as a stray.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import struct
import sys
from collections import Counter
from random import Random
from typing import Any, Final, cast

from ..driver import API_KEY, PATH
from .faults import PLANS, Plan, draw
from .numbers import index_of

HOST: Final = "127.0.0.1"
_REQUEST_LINE: Final = f"POST {PATH} HTTP/1.1\r\n".encode()
_RESTARTS_EVERY: Final = 15.0
"""Seconds."""
_RESTART_TAKES: Final = 0.25
"""Seconds."""
_BROKEN_EARLY: Final = 0.005
"""The share of requests whose connection is broken before they were read whole."""


class _Gateway:
    """What the connections share."""

    def __init__(self, seed: int, capacity: int) -> None:
        self.random = Random(f"server {seed}")  # noqa: S311  # faults, not secrets
        self.whole = bytearray(capacity)
        self.sms = bytearray(capacity)
        self.plan = bytearray(capacity)
        self.counts: Counter[str] = Counter()

    def read(self, head: bytes, body: bytes) -> Plan:
        """Take a whole request, and settle what becomes of it."""
        try:
            fields: dict[str, Any] = json.loads(body)
            index = index_of(fields["msisdn"])
            ours = fields["api_key"] == API_KEY and head.startswith(_REQUEST_LINE)
            self.whole[index] += ours
        except (ValueError, KeyError, TypeError, IndexError):
            ours, index = False, 0
        if not ours:
            self.counts["stray"] += 1
            return Plan("stray", accepted=False, end="rst")
        plan = draw(self.random)
        self.sms[index] += plan.accepted
        self.plan[index] = PLANS.index(plan.name)
        self.counts[plan.name] += 1
        return plan

    def report(self) -> dict[str, Any]:
        arrays = {"whole": self.whole, "sms": self.sms, "plan": self.plan}
        return {
            "counts": dict(self.counts),
            **{name: base64.b64encode(array).decode() for name, array in arrays.items()},
        }


class _Connection(asyncio.Protocol):
    """One connection. A request that comes before the last one has been answered is none of ours: a stray."""

    def __init__(self, gateway: _Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self._gateway = gateway
        self._loop = loop
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._gateway.random.random() < _BROKEN_EARLY:
            self._gateway.counts["broken at once"] += 1
            self._end(self._gateway.random.choice(("fin", "rst")))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        gateway = self._gateway
        if gateway.random.random() < _BROKEN_EARLY:
            gateway.counts["broken before it was read"] += 1
            self._end(gateway.random.choice(("fin", "rst")))
            return
        if self._busy:
            gateway.counts["stray"] += 1
            self._end("rst")
            return
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < (length := _content_length(head)):
            return
        self._received = b""
        if len(body) > length:
            gateway.counts["stray"] += 1
        self._busy = True
        plan = gateway.read(head, body)
        self._follow(plan, 0)

    def _follow(self, plan: Plan, at: int) -> None:
        """Write the next piece when its time has come, or end."""
        self._next = None
        if at < len(plan.pieces):
            delay, piece = plan.pieces[at]
            self._next = self._loop.call_later(delay, self._write, plan, at, piece)
        elif plan.end == "keep":
            self._busy = False
        else:
            self._end(plan.end)

    def _write(self, plan: Plan, at: int, piece: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(piece)
            self._follow(plan, at + 1)

    def _end(self, how: str) -> None:
        if self._transport is None or how == "stall":
            return
        if how == "rst":
            plain = self._transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _listen(gateway: _Gateway) -> None:
    """Listen, with a restart now and then, for ever."""
    loop = asyncio.get_running_loop()
    port = 0
    while True:
        server = await loop.create_server(
            lambda: _Connection(gateway, loop), HOST, port, backlog=4096, reuse_address=True
        )
        if not port:
            port = server.sockets[0].getsockname()[1]
            print(json.dumps({"port": port}), flush=True)
        await asyncio.sleep(_RESTARTS_EVERY)
        server.close()  # its connections live on
        gateway.counts["restarts"] += 1
        await asyncio.sleep(_RESTART_TAKES)


async def _serve(seed: int, capacity: int) -> None:
    gateway = _Gateway(seed, capacity)
    listening = asyncio.create_task(_listen(gateway))
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(gateway.report()), flush=True)
    listening.cancel()


def _main() -> None:
    seed, capacity = (int(word) for word in sys.argv[1:])
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # not on every platform

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(_serve(seed, capacity))


if __name__ == "__main__":
    _main()
