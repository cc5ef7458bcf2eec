"""Numbers that people hand in, before anything is compared with them."""

from __future__ import annotations

import math

__all__ = ["is_finite"]


def is_finite(value: float) -> bool:
    """Whether a number fits a finite float; `math.isfinite` raises for an `int` beyond every float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
