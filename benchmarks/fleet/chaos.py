"""Chaos: workers are killed all the time, Redis restarts once, and at the end every SMS is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs

from gateway360_async import Disposition
from gateway360_async.cli._fleet_count import Account, Closing
from gateway360_async.cli._fleet_processes import Workers
from gateway360_async.fleet import FleetQueue

from .bars import bar
from .fleet import Site, numbers, site
from .machine import Seen
from .rates import WINDOW, Rate, rate_of
from .worker import queue_of

__all__ = ["Chaos", "chaos"]

_LATENCY: Final = 0.05
_DEADLINE: Final = 10.0
_IDLE: Final = 5_000
_OVER: Final = 0.05
"""The share by which a window may be over the rate."""
_TOLD_EVERY: Final = 10.0
_LIMIT: Final = 120.0
"""Seconds that a run may take beyond thrice what its rate asks for: it is given up then."""


@attrs.frozen(kw_only=True)
class Chaos:
    """What is done.

    Args:
        workers: How many workers.
        requests: How many requests, each to another number.
        rate: Requests a second, of all workers together.
        kill_every: Seconds between two SIGKILLs.
        seed: For who is killed.
    """

    workers: int = 4
    requests: int = 20_000
    rate: float = 250.0
    kill_every: float = 1.0
    seed: int = 1


class _Disturbance:
    """What goes wrong, from the first outcome on."""

    def __init__(self, wanted: Chaos, here: Site, workers: Workers) -> None:
        self._wanted = wanted
        self._site = here
        self._workers = workers
        self._random = Random(f"chaos {wanted.seed}")  # noqa: S311  # who is killed is no secret
        self.restart_seconds: float | None = None

    async def kill(self) -> None:
        """Kill a worker every second, and replace it at once, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._wanted.kill_every
            await asyncio.sleep(due - loop.time())
            number = self._random.randrange(len(self._workers.all))
            self._workers.kill(number)
            await self._workers.replace(number)

    async def restart(self) -> None:
        """Restart Redis."""
        began = time.monotonic()
        await self._site.redis.restart()
        self.restart_seconds = time.monotonic() - began


async def chaos(wanted: Chaos, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it. `say` is told how it goes. Gives what was measured, and its bars."""
    account = Account()
    began = time.monotonic()
    async with site(latency=_LATENCY) as here:
        settings = here.settings(rate=wanted.rate, deadline=_DEADLINE, idle=_IDLE)
        async with here.workers(wanted.workers, settings) as workers:
            disturbance = _Disturbance(wanted, here, workers)
            queue, task = queue_of(settings)
            await queue.startup()

            async def enqueue(payload: dict[str, Any]) -> None:
                await task.kiq(task=payload)

            disturbing: list[asyncio.Task[None]] = []
            said = time.monotonic()
            done = 0
            try:
                async with (
                    asyncio.timeout(3 * wanted.requests / wanted.rate + _LIMIT),
                    settings.client() as client,
                    client.batch(numbers(wanted.requests), queue=FleetQueue("chaos", enqueue)) as batch,
                ):
                    async for item in batch:
                        account.add(item)
                        done += 1
                        if done == 1:
                            disturbing.append(asyncio.create_task(disturbance.kill()))
                        if done == wanted.requests // 2:
                            disturbing.append(asyncio.create_task(disturbance.restart()))
                        if time.monotonic() - said > _TOLD_EVERY:
                            said = time.monotonic()
                            say(
                                f"chaos: {said - began:.0f} s: {done:,} outcomes, {workers.killed} workers killed"
                            )
            finally:
                await _ended(disturbing)
                await queue.shutdown()
            seconds = time.monotonic() - began
            killed = workers.killed
        seen = await here.gateway.report()
    closing = account.close(wanted.requests, seen.by_number())
    rate = rate_of(seen.stamps)
    return {
        **attrs.asdict(wanted),
        "seconds": seconds,
        "killed": killed,
        "redis_restart_seconds": disturbance.restart_seconds,
        "posts": len(seen.stamps),
        "sent": closing.by_disposition[Disposition.SENT],
        "maybe_sent": closing.by_disposition[Disposition.MAYBE_SENT],
        "maybe_sent_with_sms": closing.of_maybe_sent,
        "not_sent": closing.by_disposition[Disposition.NOT_SENT],
        "most_sms_to_a_number": closing.most,
        "most_a_second_in_5_s": None if rate is None else rate.most,
        "busy_rate": None if rate is None else rate.busy,
        "whole_rate": None if rate is None else rate.whole,
        "bars": _bars(wanted, closing, seen, rate, disturbance.restart_seconds),
    }


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _bars(
    wanted: Chaos, closing: Closing, seen: Seen, rate: Rate | None, restarted: float | None
) -> list[dict[str, Any]]:
    """Say what holds."""
    most = 0.0 if rate is None else rate.most
    return [
        bar("SMS per number at most 1", holds=closing.most <= 1, found=f"{closing.most}"),
        bar(
            "every request accounted for",
            holds=closing.holds and bool(closing.sms),
            found="; ".join(closing.problems) or f"{closing.entries:,} of {closing.entries:,}",
        ),
        bar(
            f"no {WINDOW:g} s with more than 5 % over {wanted.rate:g}/s",
            holds=most <= wanted.rate * (1 + _OVER),
            found=f"at most {most:.1f}/s ({most / wanted.rate - 1:+.1%})",
        ),
        bar("Redis restarted once", holds=restarted is not None, found=_seconds(restarted)),
        bar("nothing but our requests", holds=not seen.strays, found=f"{seen.strays} strays"),
    ]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"in {value:.2f} s"
