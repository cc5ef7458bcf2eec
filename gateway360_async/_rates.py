"""A rate as people write it, and which numbers can be counted with."""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["RATE_EXPECTED", "is_finite", "seconds_apart"]

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


def is_finite(value: float) -> bool:
    """Whether a number fits a finite float; `math.isfinite` raises for an `int` beyond every float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
