"""The numbers that are sent to: each has an index, by which both sides keep what they know of it."""

from __future__ import annotations

from typing import Final

__all__ = ["LIMIT", "index_of", "number_of"]

LIMIT: Final = 100_000_000
"""How many there are."""

_PREFIX: Final = "346"


def number_of(index: int) -> str:
    """Give the number with an index."""
    return f"{_PREFIX}{index:08d}"


def index_of(number: str) -> int:
    """Give the index of a number.

    Raises:
        ValueError: It is no number of the soak's.
    """
    if not number.startswith(_PREFIX) or len(number) != len(_PREFIX) + 8:
        raise ValueError(number)
    return int(number.removeprefix(_PREFIX))
