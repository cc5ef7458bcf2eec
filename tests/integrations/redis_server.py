"""A real Redis for a test of arq: its settings, and a pool of connections."""

from __future__ import annotations

import contextlib

from arq.connections import RedisSettings, create_pool
from redis_process import RedisProcess


@contextlib.asynccontextmanager
async def redis():
    """Serve, and give the settings and a pool of connections."""
    with RedisProcess() as process:
        settings = RedisSettings(unix_socket_path=process.url.removeprefix("unix://"))
        pool = await create_pool(settings)
        try:
            yield settings, pool
        finally:
            await pool.aclose(close_connection_pool=True)
