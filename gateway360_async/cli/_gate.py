"""The way of a file's rows into a batch, and of each attempt to the gateway: each at its turn.

Rules of this module:

- A row waits here rather than inside its call, where waiting for a slow rate would count towards the call's
  deadline. One row waits at a time, so one that was read and not begun when the gate is shut is not begun.
- A turn that was not needed (an invalid row, one that an earlier run has settled) is given back: a batch that goes
  on after a million settled rows passes them as fast as it can read.
- A turn is for one request. A row that passes grants one attempt; an attempt that finds no grant, a retry, takes a
  turn of its own: however much is tried again, no more requests start than there were turns.
- A gate that is shut stops rows, and no attempt: what was begun is brought to its end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, TypeVar

from aiolimiter import AsyncLimiter

from .. import _rates
from ._problems import UsageProblem
from ._rows import Row

__all__ = ["Gate", "seconds_apart"]

_CATCH_UP: Final = 0.05
"""Seconds of turns that may be made up for. A timer is always late, and a fast rate would lose that each time."""
_T = TypeVar("_T")


def seconds_apart(rate: str | None) -> float | None:
    """Read a rate such as `30`, `30/s` or `1000/m`: how many seconds lie between two requests."""
    if rate is None:
        return None
    try:
        return _rates.seconds_apart(rate, "--rate")
    except ValueError as exc:
        raise UsageProblem(str(exc)) from None


class Gate:
    """Lets rows pass until it is shut.

    Args:
        apart: Seconds between two rows; `None`: no rate.
    """

    def __init__(self, apart: float | None = None) -> None:
        self.passed = 0
        """Rows that were let in."""
        self._granted = 0
        self._burst = 1 if apart is None else max(1, math.ceil(_CATCH_UP / apart))
        self._limiter = None if apart is None else AsyncLimiter(self._burst, self._burst * apart)
        self.attempts: AbstractAsyncContextManager[None] | None = (
            None if self._limiter is None else _Attempts(self, self._limiter)
        )
        """For the client, around each attempt; `None`: no rate."""
        self._given_back = 0
        self._shut = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def is_shut(self) -> bool:
        """Whether no more rows pass."""
        return self._shut.is_set()

    def shut(self) -> None:
        """Let nothing in any more."""
        self._shut.set()
        self._news.set()

    def give_back(self) -> None:
        """Take back a turn that was not needed, for the next row; nothing where a retry has used it by now."""
        if self._granted:
            self._granted -= 1
            self._given_back += 1
            self._news.set()

    async def attempt(self, limiter: AsyncLimiter) -> None:
        """Wait until one more request may start."""
        if self._granted:
            self._granted -= 1
        elif self._given_back:
            self._given_back -= 1
        else:
            await limiter.acquire()

    def rows(self, rows: Iterable[Row] | AsyncIterable[Row]) -> Iterator[Row] | AsyncIterator[Row]:
        """Give the rows that pass."""
        if isinstance(rows, AsyncIterable):
            return self._awaited(rows)
        return self._at_once(rows) if self._limiter is None else self._in_turn(rows, self._limiter)

    async def _begin(self) -> None:
        """Take away what the limiter would give at once: only a turn that came late is made up for."""
        if self._limiter is not None and self._burst > 1:
            await self._limiter.acquire(self._burst - 1)

    def _at_once(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if self.is_shut:
                return
            self.passed += 1
            yield row

    async def _in_turn(self, rows: Iterable[Row], limiter: AsyncLimiter) -> AsyncIterator[Row]:
        await self._begin()
        for row in rows:
            if not await self._turn(limiter):
                return
            self.passed += 1
            self._granted += 1
            yield row

    async def _awaited(self, rows: AsyncIterable[Row]) -> AsyncIterator[Row]:
        await self._begin()
        source = aiter(rows)
        while True:
            coming = await _unless(self._shut, _next(source))
            row = None if coming is None else coming.result()
            if row is None or self.is_shut or (self._limiter and not await self._turn(self._limiter)):
                return
            self.passed += 1
            self._granted += 1
            yield row

    async def _turn(self, limiter: AsyncLimiter) -> bool:
        """Wait for a turn; `False`: the gate was shut before."""
        while not self.is_shut:
            self._news.clear()
            if self._given_back:
                self._given_back -= 1
                return True
            if limiter.has_capacity():  # without a task for it
                await limiter.acquire()
                return True
            if await _unless(self._news, limiter.acquire()) is not None:
                return not self.is_shut
        return False


class _Attempts(AbstractAsyncContextManager[None]):
    """Entered around each attempt."""

    def __init__(self, gate: Gate, limiter: AsyncLimiter) -> None:
        self._gate = gate
        self._limiter = limiter

    async def __aenter__(self) -> None:
        await self._gate.attempt(self._limiter)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: the turn is used."""


async def _next(rows: AsyncIterator[Row]) -> Row | None:
    return await anext(rows, None)


async def _unless(event: asyncio.Event, waiting: Awaitable[_T]) -> asyncio.Future[_T] | None:
    """Wait for something, and give it when it is done; `None`, and it is cancelled, if the event comes before."""
    task = asyncio.ensure_future(waiting)
    coming = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, coming), return_when=asyncio.FIRST_COMPLETED)
        return task if task.done() else None
    finally:
        coming.cancel()
        task.cancel()
