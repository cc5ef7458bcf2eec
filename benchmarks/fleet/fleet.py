"""A fleet that is up: Redis, the gateway, and a folder; workers are started on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
from redis.asyncio import Redis

from gateway360_async import PinRequest
from gateway360_async.cli._fleet_processes import RedisServer, Workers
from gateway360_async.fleet import task_of

from ..driver import SENDER
from ..machine import ROOT
from .gateway import HOST
from .machine import Gateway
from .worker import BROKER, Settings, queue_of

__all__ = ["Site", "fill", "numbers", "settled", "site", "stopped", "warm"]

_LOOK_EVERY: Final = 0.05
_AT_A_TIME: Final = 200


@attrs.frozen
class Site:
    """What workers are started on."""

    folder: Path
    redis: RedisServer
    gateway: Gateway

    def settings(self, **more: Any) -> Settings:
        """Say what workers are to do here."""
        return Settings(redis=self.redis.url, gateway=self.gateway.url, **more)

    def workers(self, count: int, settings: Settings) -> Workers:
        """Make workers. Entering starts them."""
        folder = self.folder / settings.queue.replace(":", "-")
        folder.mkdir(exist_ok=True)
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        options = [
            *("--max-async-tasks", str(settings.concurrency)),
            *("--wait-tasks-timeout", "35", "--shutdown-timeout", "35", "--log-level", "WARNING"),
        ]
        return Workers(count, BROKER, folder, {**settings.environment(), "PYTHONPATH": path}, options)


@contextlib.asynccontextmanager
async def site(*, latency: float, fsync: str = "always") -> AsyncGenerator[Site, None]:
    """Start Redis and the gateway."""
    with tempfile.TemporaryDirectory(prefix="gateway360-bench-") as folder:
        async with (
            RedisServer(Path(folder), fsync=fsync, port=_free_port()) as redis,
            Gateway(latency) as gateway,
        ):
            yield Site(Path(folder), redis, gateway)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def numbers(count: int, start: int = 0) -> list[str]:
    """Make numbers, each another."""
    return [f"346{index:08d}" for index in range(start, start + count)]


async def fill(settings: Settings, wanted: Iterable[str]) -> None:
    """Put a task for each number into the queue."""
    queue, task = queue_of(settings)
    await queue.startup()
    left: Iterator[str] = iter(wanted)

    async def some() -> None:
        for number in left:
            await task.kiq(task=task_of(PinRequest(number, SENDER), f"number {number}"))

    try:
        await asyncio.gather(*(some() for _ in range(_AT_A_TIME)))
    finally:
        await queue.shutdown()


@contextlib.contextmanager
def stopped(workers: Workers) -> Iterator[None]:
    """Let workers stand still (SIGSTOP), whatever they are at."""
    for worker in workers.all:
        worker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers.all:
            worker.signal(signal.SIGCONT)


async def settled(settings: Settings, limit: float = 300.0) -> None:
    """Wait until the queue is empty: what is acknowledged is deleted from it."""
    redis: Any = Redis.from_url(settings.redis)
    try:
        async with asyncio.timeout(limit):
            while await redis.xlen(settings.queue):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(_LOOK_EVERY)
    finally:
        await redis.aclose()


async def warm(site: Site, workers: Workers, settings: Settings) -> None:
    """Wait until every worker waits for its first task, and let each send some; the gateway forgets them."""
    redis: Any = Redis.from_url(settings.redis)
    try:
        async with asyncio.timeout(60.0):
            while (await redis.info("clients"))["blocked_clients"] < len(workers.all):  # noqa: ASYNC110  # nor this
                await asyncio.sleep(_LOOK_EVERY)
    finally:
        await redis.aclose()
    await fill(settings, numbers(200 * len(workers.all), start=90_000_000))
    await settled(settings)
    await site.gateway.report()
