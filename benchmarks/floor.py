"""The floor: what an asyncio program cannot go below.

Rules of this module:

- As many keep-alive connections as requests at a time, each writing the same prepared bytes as soon as it
  has found its last answer's end. No task, no future, no timeout a request; nothing is encoded or decoded.
- It is no client. It is there to say how much of the distance to it a client leaves.
- It receives as any `asyncio.Protocol` does, by the loop's own means. On the stock loop that takes 256 KiB of fresh
  memory for each read, which a buffer of one's own saves, as the default transport does: there it can come closer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

from .driver import PATH, Job, Load, payload
from .others import ssl_context

__all__ = ["Floor"]


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._began = 0.0
        self._numbers: Iterator[str] = iter(())
        self._load: Load | None = None
        self._done: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def start(self, load: Load, numbers: Iterator[str], done: asyncio.Future[None]) -> None:
        self._load, self._numbers, self._done = load, numbers, done
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        assert self._done is not None
        if next(self._numbers, None) is None:
            self._done.set_result(None)
            return
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._received = received
            return
        at = received.find(b"content-length:") + len(b"content-length:")
        if len(received) < end + 4 + int(received[at : received.find(b"\r\n", at)]):
            self._received = received
            return
        self._received = b""
        assert self._load is not None
        self._load.ok(time.perf_counter() - self._began)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


class Floor:
    """Prepared bytes on bare connections."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._connections: list[_Connection] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        address = urlsplit(self._job.base_url)
        host, port = address.hostname or "", address.port or 0
        body = json.dumps(payload("34600000000"), separators=(",", ":")).encode()
        request = (
            b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\naccept: application/json\r\n"
            b"accept-encoding: identity\r\ncontent-length: %d\r\n\r\n%s"
            % (PATH.encode(), address.netloc.encode(), len(body), body)
        )
        for _ in range(self._job.concurrency):
            _, connection = await loop.create_connection(
                lambda: _Connection(request), host, port, ssl=ssl_context(self._job)
            )
            self._connections.append(connection)

    async def run(self, load: Load) -> None:
        loop = asyncio.get_running_loop()
        numbers = load.numbers()
        done: list[asyncio.Future[None]] = []
        for connection in self._connections:
            future = loop.create_future()
            done.append(future)
            connection.start(load, numbers, future)
        await asyncio.gather(*done)

    async def close(self) -> None:
        for connection in self._connections:
            connection.close()
        await asyncio.sleep(0)
