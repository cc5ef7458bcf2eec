"""The benchmark's workers: `taskiq worker benchmarks.fleet.worker:broker`.

Rules of this module:

- What a worker is to do is in its environment, as JSON.
- Without the claim, everything else is the same: the engine, the stream, the client. That is what the claim costs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

import attrs
from taskiq import TaskiqEvents, TaskiqState

from gateway360_async import Gateway360Client
from gateway360_async.fleet import Fleet, outcome_of, request_of
from gateway360_async.integrations.taskiq import StreamBroker, pin_task
from gateway360_async.integrations.worker import PinWorker

from ..driver import API_KEY, SENDER

__all__ = ["BROKER", "Settings", "broker", "queue_of"]

BROKER: Final = "benchmarks.fleet.worker:broker"
_VARIABLE: Final = "GATEWAY360_BENCHMARK"


@attrs.frozen(kw_only=True)
class Settings:
    """What the workers are to do.

    Args:
        redis: Where Redis is.
        gateway: Where the gateway is.
        queue: The queue's name.
        rate: Requests a second, of all workers together; `None`: no bound.
        claim: Whether a wish is claimed before it is sent, and its outcome recorded after.
        deadline: Seconds that a call takes at most.
        idle: Milliseconds after which what a dead worker had is given to another.
        concurrency: Requests at a time, of each worker.
    """

    redis: str
    gateway: str
    queue: str = "bench:queue"
    rate: float | None = None
    claim: bool = True
    deadline: float = 30.0
    idle: int = 30_000
    concurrency: int = 100

    def environment(self) -> dict[str, str]:
        """Give what a worker finds in its environment."""
        return {_VARIABLE: json.dumps(attrs.asdict(self))}

    def fleet(self) -> Fleet:
        """Make what the workers share."""
        return Fleet(self.redis, name="bench", rate=self.rate)

    def client(self) -> Gateway360Client:
        """Make a client."""
        return Gateway360Client(
            API_KEY,
            sender=SENDER,
            base_url=self.gateway,
            fleet=self.fleet() if self.claim else None,
            deadline=self.deadline,
            concurrency=self.concurrency,
        )


def broker() -> StreamBroker:
    """Make the worker's side."""
    return queue_of(Settings(**json.loads(os.environ[_VARIABLE])))[0]


def queue_of(settings: Settings) -> tuple[StreamBroker, Any]:
    """Make the queue, and the task that is put into it."""
    queue = StreamBroker(settings.redis, queue_name=settings.queue, idle_timeout=settings.idle)
    if settings.claim:
        return queue, pin_task(queue, PinWorker(settings.client))
    return queue, _without_claim(queue, settings)


def _without_claim(queue: StreamBroker, settings: Settings) -> Any:
    async def start(state: TaskiqState) -> None:
        state.client = settings.client()

    async def stop(state: TaskiqState) -> None:
        await state.client.aclose()

    async def send_pin(task: Mapping[str, Any]) -> dict[str, Any]:
        request, _key = request_of(task)
        return outcome_of(await queue.state.client.send(request))

    queue.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)
    queue.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, stop)
    return queue.register_task(
        send_pin, task_name="bench:send_pin", retry_on_error=False, ack_type="when_executed"
    )
