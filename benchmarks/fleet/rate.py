"""The rate, undisturbed: what workers that all have work make of the rate that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .bars import bar
from .fleet import fill, numbers, settled, site, stopped, warm
from .rates import WINDOW, rate_of

__all__ = ["rate"]

_LATENCY: Final = 0.05
_OFF: Final = 0.05
"""The share by which a window may be off the rate."""


async def rate(workers: int, a_second: float, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it. Gives what was measured, and its bars."""
    count = int(a_second * seconds)
    say(f"rate: {workers} workers, {a_second:g} a second together, {count:,} requests")
    async with site(latency=_LATENCY) as here:
        settings = here.settings(rate=a_second)
        async with here.workers(workers, settings) as running:
            await warm(here, running, settings)
            with stopped(running):
                await fill(settings, numbers(count))
            await settled(settings)
        seen = await here.gateway.report()
    found = rate_of(seen.stamps)
    most = 0.0 if found is None else found.most
    least = 0.0 if found is None or found.least is None else found.least
    return {
        "workers": workers,
        "rate": a_second,
        "requests": count,
        "most_a_second_in_5_s": most,
        "least_a_second_in_5_s": least,
        "bars": [
            bar(
                f"undisturbed, every {WINDOW:g} s within 5 % of {a_second:g}/s",
                holds=a_second * (1 - _OFF) <= least and most <= a_second * (1 + _OFF),
                found=f"{least:.1f} to {most:.1f}/s ({least / a_second - 1:+.1%}, {most / a_second - 1:+.1%})",
            ),
        ],
    }
