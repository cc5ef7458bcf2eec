"""A Redis and workers for a command that has this thread and its event loop for itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from redis_process import RedisProcess
from taskiq.receiver import Receiver

from gateway360_async import Gateway360Client
from gateway360_async.fleet import Fleet
from gateway360_async.integrations.taskiq import fleet_broker, pin_task
from gateway360_async.integrations.worker import PinWorker


@contextlib.asynccontextmanager
async def working(url: str, name: str, **settings: Any) -> AsyncIterator[None]:
    """Work as taskiq does, in this process, for the fleet of that name; settings are the client's."""
    broker = fleet_broker(url, name=name, xread_block=50)
    pin_task(broker, PinWorker(lambda: Gateway360Client(fleet=Fleet(url, name=name), **settings)))
    broker.is_worker_process = True
    receiver = Receiver(broker, max_async_tasks=100, run_startup=False)
    await broker.startup()
    finished = asyncio.Event()
    listening = asyncio.create_task(receiver.listen(finished))
    try:
        yield
    finally:
        finished.set()
        await listening
        await broker.shutdown()


class Aside:
    """A Redis, and an event loop in a thread for its workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, redis: RedisProcess) -> None:
        self._loop = loop
        self._redis = redis
        self.url = redis.url

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(15)

    @contextlib.contextmanager
    def worker(self, *, name: str = "gateway360", **settings: Any) -> Iterator[None]:
        """Run a worker of the fleet of that name; settings are its client's."""
        running = working(self.url, name, **settings)
        self._do(running.__aenter__())
        try:
            yield
        finally:
            self._do(running.__aexit__(None, None, None))

    def ask(self, *command: str) -> Any:
        """Ask Redis."""
        return self._redis.client.execute_command(*command)


@contextlib.contextmanager
def aside(redis: RedisProcess) -> Iterator[Aside]:
    """Begin a Redis, and a thread for its workers, and end both with the block."""
    with redis:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield Aside(loop, redis)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
