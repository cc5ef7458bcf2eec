"""The way of a batch's rows to the workers of a fleet, through the queue of `gateway360_async.integrations.taskiq`.

Rules of this module:

- Nothing is sent from here: what became of an entry is read from the fleet's records.
- Whoever waits is told what for, and once each: that there is no worker, or that what the workers do is not seen here.
- A library's warnings are a line each, once: thousands of entries wait for the same Redis.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway360_async import InvalidConfiguration
from gateway360_async.fleet import FleetQueue
from gateway360_async.integrations.taskiq import fleet_broker, pin_task

from ._fleet_options import fleet_of, in_words
from ._options import BatchOptions

__all__ = ["QUIET", "BatchQueue", "Warnings"]

QUIET: Final = 10.0
"""Seconds without an outcome after which it is asked why."""
_LOOK_EVERY: Final = 0.5
_GONE: Final = 20_000
"""Milliseconds after which a worker that is not heard of is none: a living one is heard of every ten seconds."""
_WORKER: Final = "taskiq worker gateway360_async.integrations.taskiq:broker_from_environment"
# The command has a line of its own: a terminal would break it into two that cannot be pasted.
_NO_WORKER: Final = f"no worker has taken anything for {QUIET:.0f} s: start one:\n  {_WORKER}"
_ELSEWHERE: Final = (
    f"the queue is empty, and no outcome has come for {QUIET:.0f} s: what does the log of the workers say? What was lost is "
    "put in the queue again after two minutes"
)


class BatchQueue:
    """A batch's way to the workers.

    Args:
        options: The batch's, with a fleet.
        say: Tells a person.

    Raises:
        UsageProblem: The fleet's URL, its name or the batch's is wrong.
    """

    def __init__(self, options: BatchOptions, say: Callable[[str], None]) -> None:
        self.fleet = fleet_of(options)
        self._broker = fleet_broker(options.fleet or "", name=self.fleet.name)
        self._task = pin_task(self._broker)
        self.queue = FleetQueue(options.batch or "", self._enqueue)
        self._say = say
        self._quiet_since = 0.0
        self._outcomes = 0
        self._said: str | None = None

    async def __aenter__(self) -> Self:
        """Look whether Redis is there. Raises `FleetError` and `UsageProblem`."""
        try:
            await self.fleet.check()
        except InvalidConfiguration as exc:  # a cluster
            raise in_words(exc) from None
        await self._broker.startup()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._broker.shutdown()

    async def _enqueue(self, task: dict[str, Any]) -> None:
        await self._task.kiq(task=task)

    @asynccontextmanager
    async def watched(
        self, counts: Callable[[], tuple[int, int]], tick: Callable[[], None]
    ) -> AsyncGenerator[None]:
        """Look after the queue while the block lasts.

        Args:
            counts: Gives how many outcomes there are, and how many are waited for.
            tick: Is called now and then, whether or not outcomes come.
        """
        watching = asyncio.create_task(self._watch(counts, tick))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def _watch(self, counts: Callable[[], tuple[int, int]], tick: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._quiet_since = loop.time()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            tick()
            await self._look(loop.time(), *counts())

    async def _look(self, now: float, outcomes: int, waiting: int) -> None:
        if outcomes != self._outcomes or not waiting:
            self._outcomes, self._quiet_since, self._said = outcomes, now, None
        elif now - self._quiet_since >= QUIET:
            self._quiet_since = now
            trouble = await self._trouble()
            if trouble is not None and trouble != self._said:
                self._said = trouble
                self._say(trouble)

    async def _trouble(self) -> str | None:
        """Say why no outcome comes; `None`: the workers are at it, or nobody can say."""
        # redis-py's types leave most answers open.
        redis: Any = Redis(connection_pool=self._broker.connection_pool)
        stream, group = self._broker.queue_name, self._broker.consumer_group_name
        try:
            if not await redis.xlen(stream):
                return _ELSEWHERE
            workers: list[dict[str, Any]] = await redis.xinfo_consumers(stream, group)
        except ResponseError:  # there was never a worker, so there is no group
            return _NO_WORKER
        except (RedisError, OSError):  # the batch itself says that Redis is away
            return None
        return None if any(worker["idle"] < _GONE for worker in workers) else _NO_WORKER


class Warnings(logging.Handler):
    """Gives each of the library's warnings to whoever tells a person, while it is entered.

    Args:
        say: Tells a person.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a warning's text, once."""
        text = record.getMessage()
        if text not in self._told:
            self._told.add(text)
            self._say(text)

    def __enter__(self) -> Self:
        if not os.environ.get("GATEWAY360_LOG"):  # then they are shown as the log's lines
            logging.getLogger("gateway360_async").addHandler(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.getLogger("gateway360_async").removeHandler(self)
