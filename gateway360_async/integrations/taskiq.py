"""PIN requests as a task of taskiq.

send_pin = pin_task(broker, lambda: Gateway360Client(sender="GOOD PIZZA", store=RedisStore("redis://…")))
await send_pin.kiq(task_of(request, "sign-up 4711"))

A broker that acknowledges, such as `RedisStreamBroker`, delivers the task of a killed worker again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, TaskiqEvents

from .._client import Gateway360Client
from .worker import PinWorker

__all__ = ["pin_task"]


def pin_task(
    broker: AsyncBroker,
    make_client: Callable[[], Gateway360Client],
    *,
    task_name: str = "gateway360.send_pin",
    **labels: Any,
) -> AsyncTaskiqDecoratedTask[[dict[str, Any]], Any]:
    """Register the task that sends what `task_of` made, and returns its outcome.

    The broker's worker opens and closes the client. See `PinWorker` for `make_client` and for the errors raised.
    """
    worker = PinWorker(make_client)
    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.stop)

    async def send_pin(task: dict[str, Any]) -> dict[str, Any]:
        return await worker.send_pin(task=task)

    return broker.register_task(send_pin, task_name=task_name, **labels)
