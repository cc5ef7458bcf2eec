"""taskiq-redis' broker on Redis Streams, with another way to listen. `taskiq.StreamBroker` is its public name.

What is other here, and why (seen in 1.0.9 and 1.2.4):

1. Theirs takes over the tasks of a dead worker under a lock without a timeout, so a worker that is killed while it holds
   the lock stops all redelivery for good (taskiq-python/taskiq-redis#131). 1.0.9 has no setting for it.
2. 1.2.4 takes over only after new tasks have come: the last tasks of a killed worker stay where they are.
3. It takes over by a fixed time, so a task that waits for its turn for longer is delivered again while it waits
   (taskiq-python/taskiq-redis#101). Here a heartbeat keeps what a living worker has.
4. What is acknowledged stays in the stream for ever, and the consumers of workers that have ended in the group.
5. A Redis that restarts ends the listener, and with it the worker, and the calls in flight with that.
6. taskiq logs the whole of a message that it cannot read. Here it is named by its size.

Rules of this module:

- Only what taskiq documents for a broker of one's own is overridden: start-up, shut-down, `kick` and `listen`.
- A process that only enqueues asks Redis for nothing else: the group is its workers' matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

from taskiq import AckableMessage, AsyncBroker, BrokerMessage, TaskiqFormatter, TaskiqMessage
from taskiq_redis import RedisStreamBroker

from ._patience import PASSING, bounded, next_pause
from ._stream import Consumer, Entry

__all__ = ["StreamBroker"]

_logger = logging.getLogger("gateway360_async")

_UNREADABLE: Final = "gateway360:unreadable"
_DRAIN: Final = 1.0
"""Seconds that a worker which ends waits for its last tasks to be acknowledged."""


class StreamBroker(RedisStreamBroker):
    """taskiq-redis' broker on Redis Streams, for tasks that must neither get lost nor pile up.

    Each task is delivered at least once: to one worker at a time, and to another once it has not been heard of for
    `idle_timeout`. The stream has one group, and what is acknowledged is deleted from it.

    Args:
        url: Where Redis is.
        queue_name: The stream's key.
        consumer_group_name: The name of the group.
        idle_timeout: Milliseconds after which the tasks of a worker that is not heard of are delivered to others.
            A living worker says three times as often that it has them.
        xread_count: Tasks that a worker takes at a time, at most.
        xread_block: Milliseconds that it waits for them in one go.
        patience: Seconds for which a task is tried to be enqueued while Redis is away. A task can get into the queue
            twice by that; its idempotency key is one.
        max_connection_pool_size: Connections at most. A worker needs four.
        connection_kwargs: Other settings of redis-py's connections.
    """

    def __init__(
        self,
        url: str,
        *,
        queue_name: str = "gateway360:queue",
        consumer_group_name: str = "workers",
        idle_timeout: int = 30_000,
        xread_count: int = 20,
        xread_block: int = 2000,
        patience: float = 10.0,
        max_connection_pool_size: int = 32,
        **connection_kwargs: Any,
    ) -> None:
        # What is waited for is bounded in `_stream`, with the reason.
        connection_kwargs.setdefault("socket_timeout", None)
        connection_kwargs.setdefault("socket_connect_timeout", 5.0)
        super().__init__(
            url,
            queue_name=queue_name,
            consumer_group_name=consumer_group_name,
            idle_timeout=idle_timeout,
            xread_count=xread_count,
            xread_block=xread_block,
            max_connection_pool_size=max_connection_pool_size,
            **connection_kwargs,
        )
        self.with_formatter(_Formatter(self.formatter))
        self._patience = patience
        self._consumer: Consumer | None = None

    async def startup(self) -> None:
        """Call the handlers of the event. Redis is not asked: a worker may begin before it."""
        await AsyncBroker.startup(self)

    async def shutdown(self) -> None:
        """Call the handlers of the event, which let end what is in flight; give the rest back; close the connections."""
        await AsyncBroker.shutdown(self)
        if self._consumer is not None:
            await self._consumer.leave(_DRAIN)
        await self.connection_pool.disconnect()

    async def kick(self, message: BrokerMessage) -> None:
        """Enqueue a task. A Redis that restarts is waited for. Raises an error of redis-py's once patience is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        pause = 0.0
        while True:
            try:
                await bounded(super().kick(message))
                return
            except PASSING:
                pause = next_pause(pause)
                if loop.time() + pause > until:
                    raise
            await asyncio.sleep(pause)

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield tasks as they come, and those of workers that are gone."""
        consumer = self._consumer = Consumer(
            self.connection_pool,
            stream=self.queue_name,
            group=self.consumer_group_name,
            name=self.consumer_name,
            idle_timeout=self.idle_timeout,
            count=self.count or 1,
            block=self.block,
        )
        entries: deque[Entry] = deque()
        try:
            while True:
                entries.extend(await consumer.fetch())
                while entries:
                    entry_id, data = entries.popleft()
                    yield AckableMessage(data=data, ack=partial(consumer.acknowledge, entry_id))
        finally:
            await consumer.give_back(entries)


class _Formatter(TaskiqFormatter):
    """Reads and writes messages as another one does, and gives a task without a taker for what is none."""

    def __init__(self, formatter: TaskiqFormatter) -> None:
        self._formatter = formatter

    def dumps(self, message: TaskiqMessage) -> BrokerMessage:
        return self._formatter.dumps(message)

    def loads(self, message: bytes) -> TaskiqMessage:
        try:
            task = self._formatter.loads(message)
            task.parse_labels()
        except Exception as exc:  # noqa: BLE001  # whatever json, pydantic or taskiq make of it
            # What they say of it quotes it.
            name = type(exc).__name__
            _logger.warning(
                "an entry of the queue is no task (%s, %d bytes): it is dropped", name, len(message)
            )
            return TaskiqMessage(task_id="", task_name=_UNREADABLE, labels={}, args=[], kwargs={})
        task.labels_types = None  # they are read
        return task
