"""A real Redis for a test, on a socket in a folder of its own, that can be ended and begun again with its data."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError


class RedisProcess:
    """A server that keeps its data in a folder: what it has answered, it has written."""

    def __init__(self, program, folder):
        self._program = program
        self._folder = folder
        self._process = None
        self.path = str(Path(folder, "redis.sock"))
        self.url = f"unix://{self.path}"

    async def start(self):
        options = ["--port", "0", "--unixsocket", self.path, "--dir", self._folder, "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]
        self._process = await asyncio.create_subprocess_exec(
            self._program, *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with self.client() as redis:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    await redis.ping()
                    return
                await asyncio.sleep(0.01)

    async def kill(self, *, forget=False):
        self._process.kill()
        await self._process.wait()
        Path(self.path).unlink(missing_ok=True)
        if forget:
            shutil.rmtree(Path(self._folder, "appendonlydir"))

    @contextlib.asynccontextmanager
    async def client(self):
        redis = Redis(unix_socket_path=self.path)
        try:
            yield redis
        finally:
            await redis.aclose()


@contextlib.asynccontextmanager
async def redis_process():
    """Serve until the end of the block."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server: install Debian's package `redis-server`")
    # Not in pytest's folder: the path of a socket has about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisProcess(program, folder)
        await server.start()
        try:
            yield server
        finally:
            await server.kill()
