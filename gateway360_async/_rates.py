"""A rate as people write it, and the permits that it grants."""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["CATCH_UP", "HORIZON", "RATE_EXPECTED", "Gcra", "next_permits", "seconds_apart"]

HORIZON: Final = 0.05
"""Seconds of permits that are granted ahead."""

CATCH_UP: Final = 0.05
"""Seconds of permits that may be made up for: a timer is always late, and a fast rate would lose that each time."""

RATE_EXPECTED: Final = "a number above 0 and a unit, such as 30/s, 1000/m or 5000/h"

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, None: 1}
_LEAST_APART: Final = 1e-6
_MOST_APART: Final = 86_400.0


def seconds_apart(rate: str, name: str) -> float:
    """Read a rate such as `30`, `30/s` or `1000/m`: how many seconds lie between two requests.

    Args:
        rate: The rate.
        name: What it is called where it was given, for the text of an error.

    Raises:
        ValueError: It is none, or no sensible one.
    """
    match = _RATE.fullmatch(rate.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{name} {rate}: give {RATE_EXPECTED}")
    apart = _SECONDS[match[2]] / float(match[1])
    if not _LEAST_APART <= apart <= _MOST_APART:
        raise ValueError(f"{name}: give a rate from one a day, 0.042/h, to 1000000/s")
    return apart


def next_permits(
    at: float, now: float, count: int, interval: float, *, tick: float = 0.0
) -> tuple[int, float, float]:
    """Grant permits by the generic cell rate algorithm (ITU-T I.371): the next is one interval after the last.

    Args:
        at: When the next permit is, in seconds on the caller's clock; `now` before the first one.
        now: The time on that clock.
        count: Permits wanted.
        interval: Seconds between two permits.
        tick: Seconds that the clock is exact to.

    Returns:
        How many; in how many seconds the first one is (less than 0: it was), or where there is none, in how many seconds
        to ask again; and when the next permit is then.
    """
    first = max(at - now, -CATCH_UP)
    if first > HORIZON + interval + 1.0:
        first = 0.0  # the clock was set back, or the rate was a much lower one
    if first > HORIZON:
        return 0, first - HORIZON, at
    granted = min(count, math.floor((HORIZON - first + tick) / interval) + 1)
    return granted, first, now + first + granted * interval


class Gcra:
    """A rate limiter of one process; see `next_permits`.

    Args:
        interval: Seconds between two permits.
    """

    __slots__ = ("_interval", "_next")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: float | None = None

    def grant(self, now: float, count: int) -> tuple[int, float]:
        """Grant permits: how many, and the seconds until the first one, or until it is worth asking again."""
        at = now if self._next is None else self._next
        granted, seconds, self._next = next_permits(at, now, count, self._interval)
        return granted, seconds
