"""Numbers that people hand in, before anything is compared with them."""

from __future__ import annotations

import math

__all__ = ["is_finite_number"]


def is_finite_number(value: object) -> bool:
    """Whether a value is an `int` or `float` that fits a finite float. A `bool` is not a number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False
