"""Where the client meets the frameworks.

| | |
|---|---|
| `gateway360_async.integrations.starlette` | the route for delivery reports, in Starlette and FastAPI; an application with it |
| `gateway360_async.integrations.asgi` | the same as a plain ASGI application |
| `gateway360_async.integrations.worker` | the task of any task queue |
| `gateway360_async.integrations.celery` | that task on Celery |

Each imports its framework only where it is used. The README has a sign-up in FastAPI.

# PIN requests under a task queue

Queues deliver at least once. A task that was handed out and not acknowledged, because its worker was killed, say, is
handed out again; for a PIN, that is a second SMS, which voids the PIN of the first. With a store
(`gateway360_async.stores`), the worker that gets a task again finds its result there. So a task

- carries an idempotency key: two tasks with the same key are one SMS. It is acknowledged when it has ended, so when its
  result is on record, and may be delivered as often as the queue likes. A request that may have been sent when its worker
  died is `maybe_sent` to the next one, which sends nothing;
- is not retried by the queue: the client has repeated the attempts that certainly were not sent;
- waits for a store that is away. Such a wait has no end, so a queue that bounds a task's time has to allow for it;
- is let finish when its worker stops: a call ends with the client's `deadline`, 30 s by default;
- holds the whole number, and so does the queue until it is acknowledged. arq logs tasks at the level INFO.

# On arq

```python
import logging

from arq import func
from arq.connections import RedisSettings

from gateway360_async import Gateway360Client
from gateway360_async.integrations.worker import PinWorker
from gateway360_async.stores import RedisStore

REDIS = "redis://localhost:6379/0"


def make_client() -> Gateway360Client:
    return Gateway360Client(store=RedisStore(REDIS), rate=250, cooldown=60)


worker = PinWorker(make_client)


async def start(ctx: dict) -> None:
    logging.getLogger("arq.worker").setLevel(logging.WARNING)  # below, it logs a job's arguments
    await worker.start(ctx)


class WorkerSettings:
    functions = [func(worker.send_pin, name="send_pin")]
    on_startup = start
    on_shutdown = worker.stop
    max_jobs = 100
    job_timeout = 60  # seconds: the wait for a permit, and the client's deadline
    job_completion_wait = 35  # seconds, longer than the deadline: a stop cuts no call off
    redis_settings = RedisSettings.from_dsn(REDIS)
```

`await redis.enqueue_job("send_pin", task=task_of(request, key), _job_id=key)` enqueues one. arq hands the job of a worker
that was killed out again after `job_timeout` and ten seconds.
"""

__all__: list[str] = []
