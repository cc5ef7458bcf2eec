"""PIN requests as a task of taskiq.

    send_pin = pin_task(broker, lambda: Gateway360Client(sender="GOOD PIZZA", store=RedisStore("redis://…")))

    await send_pin.kiq(task_of(request, key))

A broker that acknowledges hands the task of a worker that was killed out again: `RedisStreamBroker` of taskiq-redis after its
`idle_timeout`, 10 minutes by default, with the next task that comes. `ListQueueBroker` has forgotten it.
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

    Args:
        broker: The application's broker. Its worker opens and closes the client.
        make_client: Makes the client, which has to have a `store`.
        task_name: The task's name.
        labels: The task's labels.

    Raises:
        InvalidConfiguration: `make_client` is not callable; or, when the worker starts, there is no client with a store.
    """
    worker = PinWorker(make_client)
    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.stop)

    async def send_pin(task: dict[str, Any]) -> dict[str, Any]:
        return await worker.send_pin(task=task)

    return broker.register_task(send_pin, task_name=task_name, **labels)
