"""Throughput: what workers send in a second, what it costs, and beside it the single process.

Rules of this module:

- Each row sends to the same number of numbers, and is checked like the rest: one SMS each, or it has failed.
- The rate is from the gateway's first request to its last. CPU is what the workers' processes took from being let go
  until the queue was empty, and Redis' own by its own account; the gateway's is in neither.
- What Redis counts includes the commands that scripts call: a script is one way to Redis and back, whatever it calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import attrs

from gateway360_async import Gateway360Client, PinRequest
from gateway360_async.cli._fleet_count import Account
from gateway360_async.fleet import FleetQueue

from ..driver import API_KEY, SENDER
from ..machine import Server, measure
from ..ours import NullTransport
from .bars import bar
from .fleet import Site, fill, numbers, settled, site, stopped, warm
from .machine import RedisUse, cpu_seconds
from .rates import rate_of
from .worker import queue_of

__all__ = ["Row", "throughput"]

_LATENCY: Final = 0.05
_CONCURRENCY: Final = 100
_FIRST_RECORDS: Final = 1_000
_RECORDS: Final = 10_000
_CAP: Final = 60.0
"""Seconds that a row of the single process takes at most."""
_SINGLE: Final = (("ours", "batch"), ("ours-ledger", "batch, SqliteLedger"))


@attrs.frozen
class Row:
    """One row of workers.

    Args:
        workers: How many.
        claim: Whether each wish is claimed, and its outcome recorded.
        fsync: When Redis has what it was told on the disk.
    """

    workers: int
    claim: bool = True
    fsync: str = "always"


_ROWS: Final = (
    Row(1),
    Row(2),
    Row(4),
    Row(1, claim=False),
    Row(2, claim=False),
    Row(4, claim=False),
    Row(2, fsync="everysec"),
)


async def throughput(requests: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all rows, in turns. Gives what was measured."""
    found: dict[str, Any] = {"requests": requests, "rounds": rounds, "fleet": [], "single": []}
    for turn in range(rounds):
        for row in _ROWS:
            measured = await _row(row, requests)
            found["fleet"].append({"round": turn, **measured})
            say(
                f"throughput, round {turn + 1}: {row.workers} workers, "
                f"{'with' if row.claim else 'without'} claim, {row.fsync}: {measured['rate']:,.0f}/s, "
                f"{measured['worker_cpu_us']:,.0f} + {measured['redis_cpu_us']:,.0f} µs"
            )
        for contender, title in _SINGLE:
            for loop in ("asyncio", "uvloop"):
                measured = await asyncio.to_thread(_single, contender, loop, requests)
                found["single"].append({"round": turn, "title": title, "loop": loop, **measured})
                say(
                    f"throughput, round {turn + 1}: one process, {title}, {loop}: {measured.get('rate', 0):,.0f}/s"
                )
    found["follower"] = await _follower(requests)
    found["record_bytes"] = await _record_bytes()
    found["bars"] = [
        bar(
            "one SMS a number, in every row of throughput",
            holds=all(row["sms_right"] for row in (*found["fleet"], found["follower"])),
            found=f"{len(found['fleet']) + 1} rows",
        )
    ]
    return found


async def _row(row: Row, requests: int) -> dict[str, Any]:
    async with site(latency=_LATENCY, fsync=row.fsync) as here:
        settings = here.settings(claim=row.claim, concurrency=_CONCURRENCY)
        async with here.workers(row.workers, settings) as workers:
            await warm(here, workers, settings)
            sessions = [worker.pid for worker in workers.all if worker.pid is not None]
            with stopped(workers):
                await fill(settings, numbers(requests))
                before, used = await RedisUse.of(here.redis.url), cpu_seconds(sessions)
            await settled(settings)
            after, cpu = await RedisUse.of(here.redis.url), cpu_seconds(sessions) - used
        spent = after.since(before)
        return {
            **attrs.asdict(row),
            **await _seen(here, requests),
            "worker_cpu_us": cpu / requests * 1e6,
            "redis_cpu_us": spent.cpu / requests * 1e6,
            "redis_calls": {
                name: calls / requests
                for name, calls in spent.calls.most_common()
                if calls / requests >= 0.005
            },
        }


async def _seen(here: Site, requests: int) -> dict[str, Any]:
    seen = await here.gateway.report()
    rate = rate_of(seen.stamps)
    sms = seen.by_number()
    return {
        "rate": 0.0 if rate is None else rate.whole,
        "busy_rate": 0.0 if rate is None else rate.busy,
        "sms_right": len(sms) == sms.total() == requests and not seen.strays,
    }


def _single(contender: str, loop: str, requests: int) -> dict[str, Any]:
    with Server() as server:
        server.control(f"/reset?latency={_LATENCY}")
        job = {
            "contender": contender,
            "concurrency": _CONCURRENCY,
            "requests": requests,
            "cap": _CAP,
            "warm_up": _CONCURRENCY,
            "loop": loop,
            "collector": True,
            **server.job(tls=False),
        }
        return measure({"kind": "load", "job": job})


async def _follower(requests: int) -> dict[str, Any]:
    """A batch that is handed to two workers, from the first entry to the last outcome."""
    account = Account()
    async with site(latency=_LATENCY) as here:
        settings = here.settings(concurrency=_CONCURRENCY)
        async with here.workers(2, settings) as workers:
            await warm(here, workers, settings)
            queue, task = queue_of(settings)
            await queue.startup()

            async def enqueue(payload: dict[str, Any]) -> None:
                await task.kiq(task=payload)

            before = await RedisUse.of(here.redis.url)
            wall, cpu = time.monotonic(), time.process_time()
            try:
                async with (
                    settings.client() as client,
                    client.batch(numbers(requests), queue=FleetQueue("follower", enqueue)) as batch,
                ):
                    async for item in batch:
                        account.add(item)
            finally:
                await queue.shutdown()
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            used = (await RedisUse.of(here.redis.url)).since(before)
        seen = await here.gateway.report()
    closing = account.close(requests, seen.by_number())
    return {
        "workers": 2,
        "rate": requests / wall,
        "follower_cpu_us": cpu / requests * 1e6,
        "redis_cpu_us": used.cpu / requests * 1e6,
        "sms_right": closing.holds and closing.sms == requests,
    }


async def _record_bytes() -> float:
    """What Redis holds for one wish that was sent: what 10,000 more of them add, of the same client."""
    async with (
        site(latency=_LATENCY) as here,
        Gateway360Client(
            API_KEY, sender=SENDER, fleet=here.settings().fleet(), transport=NullTransport()
        ) as client,
    ):
        left = iter(numbers(_FIRST_RECORDS + _RECORDS))

        async def send(count: int) -> RedisUse:
            for number in islice(left, count):
                (await client.send(PinRequest(number, SENDER), idempotency_key=f"number {number}")).unwrap()
            return await RedisUse.of(here.redis.url)

        # The scripts, and what its connections hold, are there by then.
        before = await send(_FIRST_RECORDS)
        added = (await send(_RECORDS)).since(before)
    return added.memory / added.keys
