"""Checks of what a user hands to the sandbox: a wrong argument is a `ValueError` that begins with its name."""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeGuard, TypeVar, cast

__all__ = ["choice", "count", "digits", "flag", "seconds", "statuses", "text", "texts", "whole"]


_T = TypeVar("_T", bound=str)


def choice(name: str, value: Any, choices: Iterable[_T]) -> _T:
    """Check one of a few words."""
    found = next((choice for choice in choices if choice == value), None)
    if found is None:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}")
    return found


def text(name: str, value: Any) -> str:
    """Check a string that must not be empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: expected a string that is not empty")
    return value


def digits(name: str, value: Any) -> str:
    """Check what numbers may begin with. Not nothing: every number begins with that."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise ValueError(f"{name}: expected a string of digits, one or more")
    return value


def texts(name: str, value: Any) -> Collection[str]:
    """Check a collection of strings."""
    # A string is a collection of strings, too: of its characters, which nobody means.
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ValueError(f"{name}: expected a collection of strings")  # noqa: TRY004  # one type for all
    return cast("Collection[str]", value)


def statuses(name: str, value: Any) -> tuple[str, ...]:
    """Check statuses of delivery reports. The set is open, as the vendor's is."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name}: expected a sequence of strings")  # noqa: TRY004  # one type for all
    return tuple(
        text(f"{name}[{index}]", status) for index, status in enumerate(cast("Sequence[object]", value))
    )


def whole(name: str, value: Any, minimum: int, maximum: int) -> int:
    """Check a whole number between two bounds, both of them in it."""
    if not _is_whole(value) or not minimum <= value <= maximum:
        raise ValueError(f"{name}: expected a whole number, {minimum} to {maximum}")
    return value


def count(name: str, value: Any) -> int | None:
    """Check how many there may be of a thing; `None`: any number."""
    if value is not None and (not _is_whole(value) or value < 0):
        raise ValueError(f"{name}: expected a whole number, 0 or more, or None")
    return value


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def seconds(name: str, value: Any) -> float:
    """Check a duration in seconds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected a finite number of seconds, 0 or more")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Check a switch."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False")  # noqa: TRY004  # one type for all
    return value
