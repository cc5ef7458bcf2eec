"""A real Redis for a test that runs an event loop: it can be ended and begun again with its data meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

from redis.asyncio import Redis
from support.redis_process import RedisProcess


class RestartingRedis:
    """A server that keeps its data in a folder: what it has answered, it has written."""

    def __init__(self, process: RedisProcess) -> None:
        self._process = process
        self.url = process.url
        self.path = process.url.removeprefix("unix://")

    async def start(self):
        await asyncio.to_thread(self._process.start)

    async def kill(self, *, forget=False):
        await asyncio.to_thread(self._process.kill, forget=forget)

    @contextlib.asynccontextmanager
    async def client(self):
        redis = Redis(unix_socket_path=self.path)
        try:
            yield redis
        finally:
            await redis.aclose()
