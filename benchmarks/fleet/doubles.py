"""Doubles: each task is delivered to two workers at once, and is one SMS.

Two workers read a queue each, of the same fleet, and stand still while both queues are filled with the same tasks in
the same order. Then both go on: they come to each task within moments of one another, all the way.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from gateway360_async import PinRequest

from ..driver import SENDER
from .bars import bar
from .fleet import fill, numbers, settled, site, stopped, warm

__all__ = ["doubles"]

_LATENCY: Final = 0.05


async def doubles(count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it. Gives what was measured, and its bars."""
    say(f"doubles: {count:,} tasks, each delivered to two workers at once")
    async with site(latency=_LATENCY) as here:
        both = [here.settings(queue=f"bench:queue:{word}") for word in ("left", "right")]
        async with here.workers(1, both[0]) as left, here.workers(1, both[1]) as right:
            for workers, settings in zip((left, right), both, strict=True):
                await warm(here, workers, settings)
            with stopped(left), stopped(right):
                await asyncio.gather(*(fill(settings, numbers(count)) for settings in both))
            began = time.monotonic()
            await asyncio.gather(*(settled(settings) for settings in both))
            seconds = time.monotonic() - began
        seen = await here.gateway.report()
        # What is on record is what everybody is told who asks again, and nothing more is sent.
        async with both[0].client() as client:
            told = Counter[str]()
            for number in numbers(count):
                result = await client.send(PinRequest(number, SENDER), idempotency_key=f"number {number}")
                told[f"{type(result).__name__}, {'repeated' if result.repeated else 'NEW'}"] += 1
        after = await here.gateway.report()
    sms = seen.by_number()
    once = sum(1 for number in sms.values() if number == 1)
    return {
        "tasks": count,
        "delivered": 2 * count,
        "seconds": seconds,
        "posts": len(seen.stamps),
        "told_again": dict(told),
        "bars": [
            bar(
                f"{count:,} tasks, delivered twice at once: {count:,} SMS",
                holds=len(seen.stamps) == once == count and not seen.strays,
                found=f"{len(seen.stamps):,} SMS to {len(sms):,} numbers",
            ),
            bar(
                "asked again, each is told that it was sent, and nothing is",
                holds=told == {"Ok, repeated": count} and not after.stamps,
                found=", ".join(f"{number:,} × {what}" for what, number in told.items()),
            ),
        ],
    }
