"""A fleet's queue on taskiq and Redis Streams, and its task on any broker of taskiq's.

    broker = fleet_broker("redis://localhost:6379/0")
    send_pin = pin_task(broker, PinWorker(make_client))
    await send_pin.kiq(task=task_of(request, "sign-up 4711"))

Rules of this module:

- A task is acknowledged after its outcome is on record. Whoever gets it a second time finds the outcome, and sends nothing.
- taskiq is not given what it would log: neither an argument's type to check, nor a result.
- The environment is read when a worker is made of it, and an error names the variable.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

try:
    from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, TaskiqEvents

    from ._stream_broker import StreamBroker
except ModuleNotFoundError as exc:
    if exc.name is None or exc.name.split(".")[0] not in ("taskiq", "taskiq_redis", "redis"):
        raise
    raise ImportError(f"a fleet's queue needs {exc.name}: install gateway360-async[fleet]") from exc

from .._client import Gateway360Client
from .._errors import InvalidConfiguration
from .._rates import RATE_EXPECTED, seconds_apart
from .._settings import FLEET_NAME_VARIABLE, FLEET_RATE_VARIABLE, FLEET_VARIABLE
from ..fleet import Fleet
from .worker import PinWorker

__all__ = ["PIN_TASK", "StreamBroker", "broker_from_environment", "fleet_broker", "pin_task"]

PIN_TASK: Final = "gateway360:send_pin"
"""The name of the task, in each fleet and on each broker."""


def pin_task(
    broker: AsyncBroker, worker: PinWorker | None = None
) -> AsyncTaskiqDecoratedTask[..., Coroutine[Any, Any, dict[str, Any]]]:
    """Register the task that sends one PIN request, on any broker of taskiq's.

    It is acknowledged when it has ended, so when its outcome is on record, and no middleware tries it again.

    Args:
        broker: The broker.
        worker: Who sends, in a worker's process: its client is opened at the worker's start-up, and drained at its
            shut-down. `None`: this process only enqueues.

    Returns:
        taskiq's task: `await task.kiq(task=task_of(request, key))` enqueues one.
    """
    if worker is not None:
        broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.start)
        broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.stop)

    # Without a type that taskiq could check a task against: it logs what does not fit, with its numbers.
    async def send_pin(task: Any = None, *_: Any, **__: Any) -> dict[str, Any]:
        if worker is None:
            raise InvalidConfiguration("worker", "is missing", "a PinWorker, where tasks are run")
        return await worker.send_pin(task=task)

    return broker.register_task(send_pin, PIN_TASK, ack_type="when_executed", retry_on_error=False)


def fleet_broker(url: str, *, name: str = "gateway360", **settings: Any) -> StreamBroker:
    """Make the broker of a fleet, in the Redis that it shares.

    Args:
        url: Where Redis is.
        name: The fleet's name, as the `Fleet` has it.
        settings: Settings of `StreamBroker`.

    Raises:
        InvalidConfiguration: The URL is none of Redis', or the name no fleet's.
    """
    try:
        fleet = Fleet(url, name=name)
    except InvalidConfiguration as exc:
        wrong = InvalidConfiguration(exc.setting, exc.problem, exc.expected)
    else:
        return StreamBroker(url, queue_name=f"{fleet.name}:queue", **settings)
    del url  # its traceback does not show it
    raise wrong


def broker_from_environment() -> StreamBroker:
    r"""Make the broker and the task of a worker that needs no code of yours.

        taskiq worker gateway360_async.integrations.taskiq:broker_from_environment \
            --workers 2 --max-async-tasks 100 --wait-tasks-timeout 35 --shutdown-timeout 35

    The last two are seconds, and longer than the client's deadline: what is in flight ends. With `--log-level DEBUG`
    taskiq logs whole tasks, numbers included.

    | in the environment | |
    |---|---|
    | `GATEWAY360_FLEET` | the URL of the Redis that the fleet shares |
    | `GATEWAY360_FLEET_NAME` | the fleet's name; `gateway360` |
    | `GATEWAY360_FLEET_RATE` | requests that start, over all workers: `250/s`, `1000/m`; any number |
    | `GATEWAY360_COOLDOWN` | seconds within which a number gets no second SMS; none |
    | `GATEWAY360_CONCURRENCY` | exchanges of a worker at a time, as many as `--max-async-tasks`; 100 |
    | `GATEWAY360_API_KEY`, `GATEWAY360_BASE_URL`, `GATEWAY360_LOG` | the client's own |

    It has no result backend: what became of a task is in the fleet's records, where `client.batch(…, queue=…)` finds
    it. For `wait_result`, with one more command a task:

        broker.with_result_backend(RedisAsyncResultBackend(url, serializer=JSONSerializer(), result_ex_time=3600))

    Raises:
        InvalidConfiguration: A variable is missing, or wrong; `.setting` names it.
    """
    fleet = _fleet_from_environment()
    cooldown = _seconds("GATEWAY360_COOLDOWN")
    concurrency = _count("GATEWAY360_CONCURRENCY", 100)

    def make_client() -> Gateway360Client:
        return Gateway360Client(fleet=fleet, cooldown=cooldown, concurrency=concurrency)

    broker = fleet_broker(os.environ[FLEET_VARIABLE], name=fleet.name)
    pin_task(broker, PinWorker(make_client))
    return broker


def _fleet_from_environment() -> Fleet:
    rate = os.environ.get(FLEET_RATE_VARIABLE) or None
    try:
        apart = None if rate is None else seconds_apart(rate, FLEET_RATE_VARIABLE)
    except ValueError:
        raise InvalidConfiguration(FLEET_RATE_VARIABLE, "is no rate", RATE_EXPECTED) from None
    try:
        # An empty one is no URL of Redis' either.
        return Fleet(
            os.environ.get(FLEET_VARIABLE, ""),
            name=os.environ.get(FLEET_NAME_VARIABLE) or "gateway360",
            rate=None if apart is None else 1 / apart,
        )
    except InvalidConfiguration as exc:
        wrong = InvalidConfiguration(
            {"url": FLEET_VARIABLE, "name": FLEET_NAME_VARIABLE}[exc.setting], exc.problem, exc.expected
        )
    raise wrong  # from here, where no frame below shows the URL


def _seconds(variable: str) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    with suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < float("inf"):
            return seconds
    raise InvalidConfiguration(variable, f"is {text!r}", "a finite number of seconds above 0, or nothing")


def _count(variable: str, default: int) -> int:
    text = os.environ.get(variable)
    if not text:
        return default
    with suppress(ValueError):
        count = int(text)
        if count > 0:
            return count
    raise InvalidConfiguration(variable, f"is {text!r}", "a whole number, 1 or more, or nothing")
