"""Numbers as people read them, the same on a terminal and on a page.

Rules of this module:

- Pure: values in, text out.
"""

from __future__ import annotations

from typing import Final

__all__ = ["a_second", "count", "duration", "share"]

# Below how many seconds a unit is used, how many of them it has, and with how many decimals.
_UNITS: Final = ((1e-9, 1, 0, "s"), (0.0095, 1e-3, 1, "ms"), (0.9995, 1e-3, 0, "ms"), (9.995, 1, 2, "s"))


def count(number: int) -> str:
    """Write a whole number: `1,234`."""
    return f"{number:,}"


def share(part: int, whole: int) -> str:
    """Write a part of a whole: `12.5 %`. What is there is never `0.0 %`, and what is not all never `100.0 %`."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "<0.1 %"
    if 99.95 <= percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %"


def duration(seconds: float) -> str:
    """Write a duration in the unit that fits it: `0.4 ms`, `52 ms`, `1.20 s`, `12 min 5 s`, `3 h 2 min`."""
    if seconds < 99.95:
        return _short(seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{count(hours)} h {minutes} min"


def _short(seconds: float) -> str:
    for below, size, digits, unit in _UNITS:
        if seconds < below:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.1f} s"


def a_second(rate: float) -> str:
    """Write a rate a second, without digits that say nothing: `0.35`, `8.1`, `1,234`."""
    if rate < 0.995:
        return f"{rate:.2f}"
    return f"{rate:.1f}" if rate < 9.95 else f"{rate:,.0f}"
