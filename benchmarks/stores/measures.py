"""The parts of the stores' benchmark that measure speed."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import attrs

from .processes import Gateway, Seen, Sender, Site
from .rates import rate_of
from .worker import Job

__all__ = ["bar", "keyed", "throughput", "two"]

LATENCY: Final = 0.05
_LEAST_SHARE: Final = {"sqlite": 0.95, "redis": 0.95, "postgres": 0.9}
_MOST_CPU: Final = {"sqlite": 80.0, "redis": 80.0, "postgres": 130.0}
_MOST_KEYED_CPU: Final = 300.0
_LEAST_OF_TWO: Final = 1.6


def bar(what: str, *, holds: bool, found: str) -> dict[str, Any]:
    """Say whether a bar is met."""
    return {"what": what, "holds": holds, "found": found}


@attrs.frozen
class Run:
    """The figures of senders that ran together."""

    rate: float
    cpu: float
    server_cpu: float


async def run(here: Site, gateway: Gateway, *jobs: Job) -> Run:
    """Let senders go together, and check that each number had one SMS."""
    async with AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(Sender(job)) for job in jobs]
        for sender in senders:
            await sender.ready()
        await gateway.report()
        before = here.cpu()
        for sender in senders:
            sender.write()
        figures = [await sender.figures() for sender in senders]
        server = here.cpu() - before
        seen = await gateway.report()
    rows = max(job.first + job.rows for job in jobs) - min(job.first for job in jobs)
    _check(seen, rows)
    rate = rate_of(seen.stamps)
    assert rate is not None
    cpu = sum(figure["cpu"] for figure in figures if figure is not None)
    return Run(rate.whole, cpu / rows * 1e6, server / rows * 1e6)


def _check(seen: Seen, rows: int) -> None:
    numbers = seen.by_number()
    assert (len(numbers), numbers.total(), seen.strays) == (rows, rows, 0), "not one SMS a number"


async def throughput(
    kind: str, here: Site, rounds: int, rows: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Compare a batch with a store to one without."""
    without: list[Run] = []
    stored: list[Run] = []
    async with Gateway(LATENCY) as gateway:
        await run(here, gateway, Job(gateway=gateway.url, store=here.store, name="first", rows=500))
        for turn in range(rounds):
            without.append(await run(here, gateway, Job(gateway=gateway.url, rows=rows)))
            stored.append(
                await run(
                    here, gateway, Job(gateway=gateway.url, store=here.store, name=f"run {turn}", rows=rows)
                )
            )
            say(
                f"{kind}, round {turn + 1}: {without[-1].rate:,.0f}/s, with the store {stored[-1].rate:,.0f}/s; "
                f"{without[-1].cpu:.0f} and {stored[-1].cpu:.0f} µs, server {stored[-1].server_cpu:.0f} µs"
            )
    share = statistics.median(b.rate / a.rate for a, b in zip(without, stored, strict=True))
    added = statistics.median(b.cpu - a.cpu for a, b in zip(without, stored, strict=True))
    return {
        "rate_without": statistics.median(one.rate for one in without),
        "rate_with": statistics.median(one.rate for one in stored),
        "cpu_without": statistics.median(one.cpu for one in without),
        "cpu_added": added,
        "server_cpu": statistics.median(one.server_cpu for one in stored),
        "bars": [
            bar(
                f"{kind}: requests/s with ÷ without at least {_LEAST_SHARE[kind]}",
                holds=share >= _LEAST_SHARE[kind],
                found=f"{share:.3f}",
            ),
            bar(
                f"{kind}: CPU added to a request at most {_MOST_CPU[kind]:.0f} µs",
                holds=added <= _MOST_CPU[kind],
                found=f"{added:.0f} µs",
            ),
        ],
    }


async def keyed(kind: str, here: Site, rounds: int, rows: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure `request_pin` with a key."""
    runs: list[Run] = []
    async with Gateway(LATENCY) as gateway:
        for turn in range(rounds):
            job = Job(gateway=gateway.url, store=here.store, name=f"keyed {turn}", keyed=True, rows=rows)
            runs.append(await run(here, gateway, job))
            say(f"{kind}, with a key: {runs[-1].rate:,.0f}/s, {runs[-1].cpu:.0f} µs")
    cpu = statistics.median(one.cpu for one in runs)
    bars = []
    if kind == "redis":
        what = f"redis: request_pin with a key, CPU of a request at most {_MOST_KEYED_CPU:.0f} µs"
        bars.append(bar(what, holds=cpu <= _MOST_KEYED_CPU, found=f"{cpu:.0f} µs"))
    return {"rate": statistics.median(one.rate for one in runs), "cpu": cpu, "bars": bars}


async def two(kind: str, here: Site, rounds: int, rows: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Compare two processes that share a file to one."""
    ratios: list[float] = []
    async with Gateway(LATENCY) as gateway:
        for turn in range(rounds):
            one = Job(gateway=gateway.url, store=here.store, name=f"one {turn}", rows=rows)
            both = attrs.evolve(one, name=f"both {turn}", rows=2 * rows)
            alone, together = await run(here, gateway, one), await run(here, gateway, both, both)
            ratios.append(together.rate / alone.rate)
            say(
                f"{kind}: one process {alone.rate:,.0f}/s, two {together.rate:,.0f}/s ({together.cpu:.0f} µs)"
            )
    ratio = statistics.median(ratios)
    return {
        "ratio": ratio,
        "bars": [
            bar(
                f"{kind}: two processes ÷ one, requests/s at least {_LEAST_OF_TWO}",
                holds=ratio >= _LEAST_OF_TWO,
                found=f"{ratio:.2f}",
            )
        ],
    }
