"""One consumer of a Redis stream: what it holds, how it keeps hold of it, and how it gives it back.

Rules of this module:

- What is delivered is held until it is acknowledged. A heartbeat says so to Redis, however long it takes: an entry is
  taken for a dead worker's once no heartbeat came for `idle_timeout`.
- Taking over needs no lock: `XAUTOCLAIM` is atomic, and resets the idle time of what it gives (redis/redis#13956).
- What is acknowledged is deleted in the same step: an acknowledgement alone leaves the entry in the stream for ever.
  So a stream has one group.
- As many as end at the same moment are acknowledged by one command. A Redis that is away is waited for.
- Nothing of an entry is logged but its id.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ResponseError

from ._patience import AWAY, bounded, next_pause

__all__ = ["Consumer", "Entry"]

_logger = logging.getLogger("gateway360_async")

Entry: TypeAlias = tuple[bytes, bytes]
"""An entry's id, and the task in it."""

_DATA: Final = b"data"
_START: Final = b"0-0"
_LEAST_GONE: Final = 60_000
"""Milliseconds after which a consumer that has not been heard of is gone: a living one asks every few seconds."""

_DROP: Final = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""
"""In one step: what a consumer holds when it is deleted is not delivered again."""

_Found: TypeAlias = Sequence[tuple[bytes, "Mapping[bytes, bytes] | None"]]
_Acknowledged: TypeAlias = tuple[bytes, "asyncio.Future[None]"]


class Consumer:
    """A worker's place in the group of a stream.

    Args:
        pool: The connections.
        stream: The stream's key.
        group: The group's name.
        name: This consumer's own name, which no other process has.
        idle_timeout: Milliseconds without a heartbeat after which an entry is delivered to another.
        count: Entries that are read at a time.
        block: Milliseconds that a read waits for an entry.
    """

    def __init__(
        self,
        pool: BlockingConnectionPool,
        *,
        stream: str,
        group: str,
        name: str,
        idle_timeout: int,
        count: int,
        block: int,
    ) -> None:
        # redis-py's types leave most answers open.
        self._redis: Any = Redis(connection_pool=pool)
        self._stream = stream
        self._group = group
        self._name = name
        self._idle_timeout = idle_timeout
        self._count = count
        self._block = block
        self._joined = False
        self._cursor = _START
        self._look_at = 0.0
        self._held: set[bytes] = set()
        self._to_acknowledge: deque[_Acknowledged] = deque()
        self._acknowledging: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._forgotten = asyncio.Event()
        self._left = False

    async def fetch(self) -> list[Entry]:
        """Wait for entries: new ones, and now and then those of who is gone. May give none.

        A Redis that is away, or refuses, is waited for: who ends instead takes along what it works on.
        """
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        pause = 0.0
        while True:
            try:
                found = await bounded(self._ask(), self._block / 1000)
            except AWAY as exc:
                if not pause:
                    name = type(exc).__name__
                    _logger.warning("the queue's Redis cannot be asked (%s): it is waited for", name)
                pause = next_pause(pause)
                await asyncio.sleep(pause)
            else:
                if pause:
                    _logger.warning("the queue's Redis is back")
                return found

    async def acknowledge(self, entry_id: bytes) -> None:
        """Let Redis forget an entry: it is done. Waits for a Redis that is away."""
        if not self._left:
            await self._ask_to_forget(entry_id)

    async def give_back(self, entries: Iterable[Entry] | None) -> None:
        """Give others what this consumer has and does not work on, and what it never heard that it has.

        Args:
            entries: What was given to it and not begun; `None`: everything, for it ends.
        """
        if entries is None:
            self._held.clear()
        else:
            self._held.difference_update(entry_id for entry_id, _ in entries)
        with suppress(*AWAY):  # without this it takes until `idle_timeout`
            await bounded(self._make_idle())

    async def leave(self, seconds: float) -> None:
        """End: acknowledge what is done, give back the rest, and leave the group if nothing is left.

        Args:
            seconds: How long to wait for what is about to be acknowledged.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._held:
                    self._forgotten.clear()
                    await self._forgotten.wait()
        self._left = True
        for task in (self._beating, self._acknowledging):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        while self._to_acknowledge:
            self._to_acknowledge.popleft()[1].cancel()
        await self.give_back(None)
        with suppress(*AWAY):
            await bounded(self._drop(self._name))

    async def _ask(self) -> list[Entry]:
        loop = asyncio.get_running_loop()
        if not self._joined:
            await self._join()
            self._joined = True
        try:
            if self._cursor == _START and loop.time() < self._look_at:
                return await self._read()
            found = await self._take_over()
            # From now, or a Redis that is slow would be asked for nothing else.
            self._look_at = loop.time() + self._idle_timeout / 6000
            return found
        except ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            _logger.warning("the queue is gone from its Redis: it begins anew")
            self._joined = False
            return []

    async def _join(self) -> None:
        """Make the group, from the stream's beginning: what was enqueued before the first worker came is for it too."""
        try:
            await self._redis.xgroup_create(self._stream, self._group, "0", mkstream=True)
        except ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):  # somebody has made it
                raise

    async def _read(self) -> list[Entry]:
        streams = {self._stream: ">"}
        read = await self._redis.xreadgroup(
            self._group, self._name, streams, count=self._count, block=self._block
        )
        return [entry for _, found in read or () for entry in self._taken(found)]

    async def _take_over(self) -> list[Entry]:
        """Take over what others held who are gone, a part at a time: the cursor says where to go on."""
        if self._cursor == _START:
            await self._sweep()
        claimed = await self._redis.xautoclaim(
            self._stream, self._group, self._name, self._idle_timeout, self._cursor, self._count
        )
        # The third value, which Redis has since 7.0, are ids that were deleted: they are no longer pending.
        self._cursor, found = claimed[:2]
        return self._taken(found)

    def _taken(self, found: _Found) -> list[Entry]:
        """Hold what was given, but for what this process works on already and what is no task.

        Nothing is awaited here: what is held and not handed on would be kept from everybody.
        """
        entries: list[Entry] = []
        for entry_id, fields in found:
            if entry_id in self._held:
                # Redis was away for longer than `idle_timeout`, or this process was stopped for as long.
                continue
            data = None if fields is None else fields.get(_DATA)
            if data is None:
                _logger.warning("an entry of the queue holds no task: %s is deleted", entry_id.decode())
                self._ask_to_forget(entry_id)
                continue
            self._held.add(entry_id)
            entries.append((entry_id, data))
        return entries

    async def _make_idle(self) -> None:
        """Make what is pending here, and not held, look as if nobody had been heard of for long enough."""
        start = "-"
        while True:
            pending = await self._redis.xpending_range(self._stream, self._group, start, "+", 100, self._name)
            ids: list[bytes] = [found["message_id"] for found in pending]
            unheld = [entry_id for entry_id in ids if entry_id not in self._held]
            if unheld:
                await self._redis.xclaim(
                    self._stream, self._group, self._name, 0, unheld, idle=self._idle_timeout, justid=True
                )
            if len(ids) < 100:
                return
            start = f"({ids[-1].decode()}"

    def _ask_to_forget(self, entry_id: bytes) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_acknowledge.append((entry_id, done))
        if self._acknowledging is None:
            self._acknowledging = asyncio.create_task(self._acknowledge())
        return done

    async def _delete(self, ids: list[bytes]) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xack(self._stream, self._group, *ids)
        pipeline.xdel(self._stream, *ids)
        await bounded(pipeline.execute())

    async def _acknowledge(self) -> None:
        pause = 0.0
        try:
            while self._to_acknowledge:
                asked = list(self._to_acknowledge)
                try:
                    await self._delete([entry_id for entry_id, _ in asked])
                except AWAY:
                    # Who listens says it in the log.
                    pause = next_pause(pause)
                    await asyncio.sleep(pause)
                    continue
                pause = 0.0
                for entry_id, done in asked:
                    self._to_acknowledge.popleft()
                    self._held.discard(entry_id)
                    if not done.done():
                        done.set_result(None)
                self._forgotten.set()
        finally:
            self._acknowledging = None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._idle_timeout / 3000)
            held = list(self._held)
            if held:
                with suppress(*AWAY):  # it is tried again soon
                    await bounded(
                        self._redis.xclaim(self._stream, self._group, self._name, 0, held, justid=True)
                    )

    async def _sweep(self) -> None:
        """Delete consumers that are gone and hold nothing: each worker that is killed leaves one."""
        gone = max(_LEAST_GONE, self._idle_timeout)
        for consumer in await self._redis.xinfo_consumers(self._stream, self._group):
            if not consumer["pending"] and consumer["idle"] >= gone:
                await self._drop(consumer["name"])

    async def _drop(self, name: str | bytes) -> None:
        await self._redis.eval(_DROP, 1, self._stream, self._group, name)
