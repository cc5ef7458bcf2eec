"""Where the client meets the frameworks.

| | |
|---|---|
| `gateway360_async.integrations.starlette` | the route for delivery reports, in Starlette and FastAPI; an application with it |
| `gateway360_async.integrations.asgi` | the same as a plain ASGI application |

Each imports its framework, and nobody else does. There is nothing to import for a worker: see below. The README has
a sign-up in FastAPI, and a worker of arq's.

# What a queue owes a PIN

Queues deliver at least once. A task that was handed out and not acknowledged, because its worker was killed, say, is
handed out again; for a PIN, that is a second SMS, which voids the PIN of the first. So a task that sends a PIN

- is acknowledged before it is begun, or begun once at most: when its worker dies, the SMS may have been sent or not,
  as with any lost answer. The person who gets none asks again;
- is not retried by the queue: the client has repeated what certainly was not sent;
- is let finish when its worker stops: a call ends with the client's `deadline`, 30 s by default;
- carries an id of yours rather than the number, where others read the queue's log: brokers log and keep arguments.

What one client knows of a number (the cooldown, the exchange that two calls share, the guard's counts), it knows for
its own process. Two tasks for one number on two workers are two SMS: give tasks an id that stands for the wish (arq's
`_job_id`), or ask your database first.

# A taskiq worker

```python
from typing import Annotated

from taskiq import Context, InMemoryBroker, TaskiqDepends, TaskiqEvents, TaskiqState

from gateway360_async import Gateway360Client

broker = InMemoryBroker()  # for tests; yours is RabbitMQ's, Redis's, …


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    state.gateway360 = Gateway360Client(sender="GOOD PIZZA")


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def drain_client(state: TaskiqState) -> None:
    await state.gateway360.aclose()  # waits for what is in flight


@broker.task(ack_type="when_received", retry_on_error=False)
async def send_pin(msisdn: str, context: Annotated[Context, TaskiqDepends()]) -> str:
    result = await context.state.gateway360.request_pin(msisdn)
    return result.disposition.value  # "sent", "not_sent" or "maybe_sent"
```

Run it with `taskiq worker tasks:broker --wait-tasks-timeout 35 --shutdown-timeout 35`: both are seconds, and longer than
the client's deadline.
"""

__all__: list[str] = []
