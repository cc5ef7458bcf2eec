"""Settings that are checked when they are set.

A wrong one is a `ValueError` that begins with its name.
"""

# The annotations are for users' type checkers; the checks are for all other users at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

__all__ = [
    "Settings",
    "choice",
    "count",
    "digits",
    "flag",
    "seconds",
    "statuses",
    "text",
    "texts",
    "whole",
]

_T = TypeVar("_T")


class Settings:
    """An object whose settings are checked when they are set, and told to `changed`."""

    _CHECKS: ClassVar[Mapping[str, Callable[[str, Any], Any]]] = {}
    """The check of each setting, which returns the value that is kept."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._changed = changed

    if TYPE_CHECKING:
        pass  # a type checker would let any name be set
    else:

        def __setattr__(self, name: str, value: object) -> None:
            if name not in self._CHECKS:
                super().__setattr__(name, value)
                return
            checked = self._CHECKS[name](name, value)
            with self._lock:
                super().__setattr__(name, checked)
            self._changed()


def _checked(name: str, value: _T, right: object, expected: str) -> _T:
    if not right:
        raise ValueError(f"{name}: expected {expected}")
    return value


def choice(name: str, value: _T, choices: Collection[_T]) -> _T:
    return _checked(name, value, value in list(choices), f"one of {', '.join(map(str, choices))}")


def text(name: str, value: str) -> str:
    return _checked(name, value, isinstance(value, str) and value, "a string that is not empty")


def digits(name: str, value: str) -> str:
    # Not nothing: every number begins with that.
    right = isinstance(value, str) and value.isascii() and value.isdigit()
    return _checked(name, value, right, "a string of digits, one or more")


def texts(name: str, value: Collection[str]) -> Collection[str]:
    # A string is a collection of strings, too: of its characters, which no caller means.
    right = isinstance(value, Collection) and not isinstance(value, str)
    return _checked(name, value, right, "a collection of strings")


def statuses(name: str, value: Sequence[str]) -> tuple[str, ...]:
    # The set is open, as the vendor's is.
    right = isinstance(value, Sequence) and not isinstance(value, str)
    items = _checked(name, value, right, "a sequence of strings")
    return tuple(text(f"{name}[{index}]", item) for index, item in enumerate(items))


def whole(name: str, value: int, minimum: int, maximum: int) -> int:
    right = _is_whole(value) and minimum <= value <= maximum
    return _checked(name, value, right, f"a whole number, {minimum} to {maximum}")


def count(name: str, value: int | None) -> int | None:
    right = value is None or (_is_whole(value) and value >= 0)
    return _checked(name, value, right, "a whole number, 0 or more, or None")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def seconds(name: str, value: float) -> float:
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
    return float(_checked(name, value, right, "a finite number of seconds, 0 or more"))


def flag(name: str, value: bool) -> bool:
    return _checked(name, value, isinstance(value, bool), "True or False")
