"""Where the client meets the frameworks.

| | |
|---|---|
| `gateway360_async.integrations.starlette` | the route for delivery reports, in Starlette and FastAPI; an application with it |
| `gateway360_async.integrations.asgi` | the same as a plain ASGI application |
| `gateway360_async.integrations.worker` | the worker of a fleet, for any task queue |
| `gateway360_async.integrations.taskiq` | the same on taskiq, and a queue in Redis Streams |

Each imports its framework, and nobody else does. The README has a sign-up in FastAPI, and a worker of arq's for one
machine.

# What a queue owes a PIN

Queues deliver at least once. A task that was handed out and not acknowledged, because its worker was killed, say, is
handed out again; for a PIN, that is a second SMS, which voids the PIN of the first.

With a fleet (`gateway360_async.fleet`), whoever gets a task again finds in Redis what became of it. So a task

- carries an idempotency key, which stands for the wish: two tasks with the same key are one SMS. It is acknowledged when
  it has ended, so when its outcome is on record, and may be delivered as often as the queue likes. What may have been sent
  when its worker died is `maybe_sent` to the next one, who sends nothing;
- is not retried by the queue: the client has repeated what certainly was not sent;
- waits for its turn, and for a Redis that is away, before its call begins. Such a wait has no end, so a queue that bounds
  a task's time has to allow for it;
- is let finish when its worker stops: a call ends with the client's `deadline`, 30 s by default;
- holds the whole number, and so does Redis until it is acknowledged. taskiq logs tasks at the level DEBUG only; arq does
  at INFO.

Without a fleet, a task is acknowledged before it is begun, or begun once at most: when its worker dies, the SMS may have
been sent or not, as with any lost answer. And what one client knows of a number (the cooldown, the exchange that two calls
share, the guard's counts), it knows for its own process.

# A fleet on taskiq

`tasks.py`, for the workers and for who enqueues:

```python
from gateway360_async import Gateway360Client, PinRequest
from gateway360_async.fleet import Fleet, task_of
from gateway360_async.integrations.taskiq import fleet_broker, pin_task
from gateway360_async.integrations.worker import PinWorker

REDIS = "redis://localhost:6379/0"


def make_client() -> Gateway360Client:
    return Gateway360Client(fleet=Fleet(REDIS, rate=250), cooldown=60)


broker = fleet_broker(REDIS)
send_pin = pin_task(broker, PinWorker(make_client))


async def sign_up(user: int, msisdn: str) -> None:
    request = PinRequest(msisdn, "GOOD PIZZA")
    await send_pin.kiq(task=task_of(request, f"sign-up {user}"))
```

Who enqueues calls `await broker.startup()` first, and `await broker.shutdown()` in the end. The workers:

    taskiq worker tasks:broker --workers 2 --max-async-tasks 100 --wait-tasks-timeout 35 --shutdown-timeout 35

The last two are seconds, and longer than the client's deadline. Any other broker of taskiq's does as well, and so does no
code at all: see `gateway360_async.integrations.taskiq.broker_from_environment`.

# The same on arq

```python
import logging

from arq import func
from arq.connections import RedisSettings

from gateway360_async import Gateway360Client
from gateway360_async.fleet import Fleet
from gateway360_async.integrations.worker import PinWorker

REDIS = "redis://localhost:6379/0"


def make_client() -> Gateway360Client:
    return Gateway360Client(fleet=Fleet(REDIS, rate=250), cooldown=60)


worker = PinWorker(make_client)


async def start(ctx: dict) -> None:
    logging.getLogger("arq.worker").setLevel(logging.WARNING)  # below, it logs a job's arguments
    await worker.start(ctx)


class WorkerSettings:
    functions = [func(worker.send_pin, name="send_pin")]
    on_startup = start
    on_shutdown = worker.stop
    max_jobs = 100
    job_timeout = 60  # seconds: the wait for a turn, and the client's deadline
    job_completion_wait = 35  # seconds, longer than the deadline: a stop cuts no call off
    redis_settings = RedisSettings.from_dsn(REDIS)
```

`await redis.enqueue_job("send_pin", task=task_of(request, key), _job_id=key)` enqueues one. arq hands the job of a worker
that was killed out again after `job_timeout` and ten seconds.
"""

__all__: list[str] = []
