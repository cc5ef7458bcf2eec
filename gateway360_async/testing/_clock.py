"""A clock that stands still until it is moved."""

# The annotations are for users' type checkers; the checks are for all other users at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import threading
from typing import Final

from .._config import is_finite

__all__ = ["FakeClock"]

_START: Final = 1_704_067_200.0  # 2024-01-01 00:00:00 UTC: delivery reports have dates


class FakeClock:
    """A clock for tests, of any thread, that stands still until `advance` moves it.

        clock = FakeClock()
        with sandbox_in_thread(clock=clock) as sandbox:
            ...
            clock.advance(3601)  # by default a PIN is valid for an hour

    The sandbox's PINs expire by it, and its delivery reports are dated by it. A client's timeouts and deadlines are
    the event loop's, and go on.

    Args:
        now: Its first time, in seconds since 1970.

    Raises:
        ValueError: `now` is no finite number.
    """

    def __init__(self, now: float = _START) -> None:
        self._now = _checked("now", now)
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Read it, in seconds since 1970."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move it forward.

        Args:
            seconds: How far; 0 or more.

        Returns:
            The new time.

        Raises:
            ValueError: `seconds` is no finite number, or below 0: time does not go back.
        """
        if _checked("seconds", seconds) < 0:
            raise ValueError("seconds: expected 0 or more, as time does not go back")
        with self._lock:
            self._now += seconds
            return self._now

    def __repr__(self) -> str:
        return f"FakeClock({self._now!r})"


def _checked(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not is_finite(value):
        raise ValueError(f"{name}: expected a finite number of seconds")
    return float(value)
