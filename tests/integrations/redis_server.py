"""A real Redis for a test: on a socket in the test's folder, without a port and without a file."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from arq.connections import RedisSettings, create_pool


@contextlib.asynccontextmanager
async def redis():
    """Serve, and give the settings and a pool of connections."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server: install Debian's package `redis-server`")
    # Not in pytest's folder: the path of a socket has about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        path = str(Path(folder, "redis.sock"))
        options = ["--port", "0", "--unixsocket", path, "--dir", folder, "--save", "", "--appendonly", "no"]
        server = await asyncio.create_subprocess_exec(
            program, *options, "--loglevel", "warning", stdout=asyncio.subprocess.DEVNULL
        )
        settings = RedisSettings(unix_socket_path=path, conn_retries=100, conn_retry_delay=0.05)
        try:
            pool = await create_pool(settings)
            try:
                yield settings, pool
            finally:
                await pool.aclose(close_connection_pool=True)
        finally:
            server.terminate()
            await server.wait()
