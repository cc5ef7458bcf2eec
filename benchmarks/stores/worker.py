"""A process of the stores' benchmark: it sends rows through a store, and says what it took.

    python -m benchmarks.stores.worker JSON

It connects, says "ready", waits for a line on stdin, and prints its figures as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import attrs

from gateway360_async import Gateway360Client, PinRequest, Skipped
from gateway360_async.stores import store_at

from ..driver import API_KEY, SENDER

__all__ = ["Job", "number"]

_FIRST_NUMBER = 34_600_000_000


@attrs.frozen(kw_only=True)
class Job:
    """What a process does.

    Args:
        gateway: The gateway's URL.
        store: Where the store is; `None`: there is none.
        first: The first row.
        rows: How many rows, each of another number.
        name: The batch's name, or the prefix of the idempotency keys.
        keyed: Whether to call `request_pin` with a key for each row, in place of a batch.
        concurrency: Requests at a time.
        rate: Requests that start per second, of all processes.
        deadline: Seconds that a call takes at most.
        timeout: Seconds that the store is waited for.
        told: Whether to say what became of each row.
    """

    gateway: str
    store: str | None = None
    first: int = 0
    rows: int = 8000
    name: str = "bench"
    keyed: bool = False
    concurrency: int = 100
    rate: float | None = None
    deadline: float = 30.0
    timeout: float = 10.0
    told: bool = False


def number(row: int) -> str:
    """Give the number of a row."""
    return str(_FIRST_NUMBER + row)


async def _work(job: Job) -> dict[str, Any]:
    store = None if job.store is None else store_at(job.store, timeout=job.timeout)
    counts: Counter[str] = Counter()
    told: list[tuple[int, str]] = []
    async with Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url=job.gateway,
        store=store,
        concurrency=job.concurrency,
        rate=job.rate,
        deadline=job.deadline,
    ) as client:
        await client.connect()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        wall, cpu = time.monotonic(), time.process_time()
        rows = (number(row) for row in range(job.first, job.first + job.rows))
        if job.keyed:
            await _keyed(client, job, rows, counts)
        else:
            async with client.batch(rows, name=job.name if store else None) as batch:
                async for item in batch:
                    skipped = isinstance(item.result, Skipped)
                    counts[f"{item.result.disposition}{' before' if skipped else ''}"] += 1
                    if job.told:
                        told.append((job.first + item.index, item.result.disposition.value))
    return {
        "wall": time.monotonic() - wall,
        "cpu": time.process_time() - cpu,
        "counts": counts,
        "told": told,
    }


async def _keyed(client: Gateway360Client, job: Job, rows: Any, counts: Counter[str]) -> None:
    async def caller() -> None:
        for msisdn in rows:
            result = await client.send(PinRequest(msisdn, SENDER), idempotency_key=f"{job.name} {msisdn}")
            counts[result.disposition.value] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(job.concurrency):
            group.create_task(caller())


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_work(Job(**json.loads(sys.argv[1]))))), flush=True)
