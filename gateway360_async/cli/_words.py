"""Write numbers as people read them, the same on a terminal and on a page."""

from __future__ import annotations

from typing import Final

__all__ = ["a_second", "count", "duration", "share"]

# Below how many seconds a unit is used, how many of them it has, and with how many decimals.
_UNITS: Final = (
    *((1e-9, 1, 0, "s"), (0.0095, 1e-3, 1, "ms"), (0.9995, 1e-3, 0, "ms")),
    *((9.995, 1, 2, "s"), (99.95, 1, 1, "s")),
)


def count(number: int) -> str:
    """Write a whole number: `1,234`."""
    return f"{number:,}"


def share(part: int, whole: int) -> str:
    """Write a share: `12.5 %`. Only nothing is `0.0 %`, and only all of it `100.0 %`."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "<0.1 %"
    return ">99.9 %" if 99.95 <= percent < 100 else f"{percent:.1f} %"


def duration(seconds: float) -> str:
    """Write a duration in its unit: `0.4 ms`, `52 ms`, `1.20 s`, `12 min 5 s`."""
    for below, size, digits, unit in _UNITS:
        if seconds < below:
            return f"{seconds / size:.{digits}f} {unit}"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{count(hours)} h {minutes} min"


def a_second(rate: float) -> str:
    """Write a rate a second, without digits that say nothing: `0.35`, `8.1`, `1,234`."""
    return f"{rate:,.{2 if rate < 0.995 else 1 if rate < 9.95 else 0}f}"
