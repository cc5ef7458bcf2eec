"""More than one process, and the same promise: what a fleet of workers knows together, in Redis.

    fleet = Fleet("redis://localhost:6379/0", rate=250)
    async with Gateway360Client(sender="GOOD PIZZA", fleet=fleet, cooldown=60) as client:
        await client.request_pin("34666666111", idempotency_key="sign-up 4711")

A queue delivers a task at least once. With an idempotency key, the first who claims it in Redis sends; whoever gets the
task again gets the first one's result, or learns that it may have been sent. The client's `cooldown` and `guard` are
then the fleet's, and `rate` bounds the requests that start, over all processes.

What Redis must be like, or a power failure makes it forget, and a task that is delivered again sends a second SMS:
`appendonly yes`, `appendfsync always`, `maxmemory-policy noeviction`. A client checks that when it first asks, and logs a
warning that says what is lost. Redis replicates after it has answered, so a replica that takes over may miss the last
writes. A Redis Cluster is refused. Where Redis is away, nothing is sent.
"""

try:
    from ._fleet import Fleet
except ModuleNotFoundError as exc:
    if exc.name is None or exc.name.split(".")[0] != "redis":
        raise
    raise ImportError(f"a fleet needs {exc.name}: install gateway360-async[redis]") from exc
from ._dispatch import Dispatcher, FleetQueue
from ._session import FleetSession
from ._tasks import outcome_of, request_of, result_of, task_of

__all__ = [
    "Dispatcher",
    "Fleet",
    "FleetQueue",
    "FleetSession",
    "outcome_of",
    "request_of",
    "result_of",
    "task_of",
]
