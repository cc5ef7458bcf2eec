"""How fast requests came, from the gateway's stamps. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = ["WINDOW", "Rate", "rate_of"]

WINDOW: Final = 5.0
"""Seconds that a window is long."""
_BUSY: Final = 0.9
"""The share of the requests after which the rest waits for what dead workers held."""


@attrs.frozen
class Rate:
    """The rate over time, in requests a second.

    Args:
        most: Of the fullest window, wherever it begins.
        least: Of the emptiest window within the time that `busy` is about; `None`: that is shorter than one.
        busy: From the first request to that by which nine tenths had come: as long as there was work for all.
        whole: From the first to the last.
    """

    most: float
    least: float | None
    busy: float
    whole: float


def rate_of(stamps: Sequence[float], window: float = WINDOW) -> Rate | None:
    """Look at all windows; `None` for fewer than two requests.

    A window is half open. The fullest one begins at some request, and the emptiest one just after some request: to
    begin elsewhere holds no more, and no less.
    """
    ordered = sorted(stamps)
    if len(ordered) < 2:
        return None
    most, begin = 0, 0
    for end, stamp in enumerate(ordered):
        while stamp - ordered[begin] >= window:
            begin += 1
        most = max(most, end - begin + 1)
    busy = ordered[: max(2, int(len(ordered) * _BUSY))]
    fewest = [
        bisect_right(busy, stamp + window) - at - 1
        for at, stamp in enumerate(busy)
        if stamp + window <= busy[-1]
    ]
    return Rate(
        most=most / window,
        least=min(fewest) / window if fewest else None,
        busy=_between(busy),
        whole=_between(ordered),
    )


def _between(ordered: Sequence[float]) -> float:
    """From the first to the last, of which one is not counted."""
    took = ordered[-1] - ordered[0]
    return (len(ordered) - 1) / took if took > 0 else 0.0
