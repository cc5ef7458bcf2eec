"""Waiting for a queue's Redis: how long for an answer, and how long until it is asked again.

Rules of this module:

- A command is bounded here, and not by redis-py's `socket_timeout`: that goes through `asyncio.wait_for`, which in Python
  3.11 swallows a cancellation that comes just when the command is written (python/cpython#86296).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as TookTooLong

__all__ = ["AWAY", "PASSING", "bounded", "next_pause"]

_T = TypeVar("_T")

PASSING: Final = (NoConnection, TookTooLong, ReadOnlyError, OSError)
"""What is raised where Redis is away, and may be back in a moment."""

AWAY: Final = (RedisError, OSError)
"""What is raised where Redis is away, or refuses: a consumer that waits can go on, one that ends cannot."""

_TIMEOUT: Final = 5.0
"""Seconds in which Redis answers."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


async def bounded(command: Awaitable[_T], wait: float = 0.0) -> _T:
    """Wait for a command's answer, for `wait` seconds longer than Redis needs. Raises `TimeoutError`, an `OSError`."""
    async with asyncio.timeout(_TIMEOUT + wait):
        return await command


def next_pause(pause: float) -> float:
    """Give the seconds to wait for a Redis that is away, after `pause` seconds were too few."""
    return min(_LONGEST_PAUSE, pause * 2) if pause else _FIRST_PAUSE
