"""Questions to a store that share round trips."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from random import random
from typing import Final, Generic, TypeVar

import attrs

from .._errors import StoreError

__all__ = ["Lane"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_MOST: Final = 500
"""Items of one round trip at most: more would keep the store from others."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


@attrs.define(eq=False)
class _Asked(Generic[_Item, _Answer]):
    item: _Item
    until: float
    future: asyncio.Future[_Answer]


class Lane(Generic[_Item, _Answer]):
    """One kind of question. One round trip is under way at a time; what is asked meanwhile shares the next.

    Args:
        ask: Asks for many at once.
        persistent: Whether an item is asked for until the lane is closed, although its future fails before.
    """

    def __init__(
        self, ask: Callable[[Sequence[_Item]], Awaitable[Sequence[_Answer]]], *, persistent: bool = False
    ) -> None:
        self._ask = ask
        self._persistent = persistent
        self._waiting: deque[_Asked[_Item, _Answer]] = deque()
        self._due = math.inf
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """How many items have no answer yet, but for those under way."""
        return len(self._waiting)

    def put(
        self, item: _Item, loop: asyncio.AbstractEventLoop, *, until: float, gap: float = 0.0
    ) -> asyncio.Future[_Answer]:
        """Ask for an item. It is asked for although its future is cancelled once it is under way.

        Args:
            item: The item.
            loop: The running event loop.
            until: When a store that is away is waited for no longer, on the event loop's clock.
            gap: Seconds for which others are waited for, to share the round trip.

        Returns:
            What becomes the answer, or fails with a `StoreError`.
        """
        future: asyncio.Future[_Answer] = loop.create_future()
        self._waiting.append(_Asked(item, until, future))
        self._due = min(self._due, loop.time() + gap)
        if self._task is None:
            # In an empty context: it outlives its first caller, and is no part of that one's trace.
            self._task = asyncio.Task(self._run(loop), loop=loop, context=Context())
        return future

    async def aclose(self, timeout: float) -> int:
        """Wait for what is asked, for so many seconds. Gives how many items have no answer."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=timeout)
        task, left = self._task, len(self._waiting)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        return left

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pause = _FIRST_PAUSE
        asked: list[_Asked[_Item, _Answer]] = []
        try:
            while self._waiting:
                await asyncio.sleep(max(0.0, self._due - loop.time()))
                asked = self._take()
                self._due = loop.time() if self._waiting else math.inf
                if not asked:
                    continue
                try:
                    answers = await self._ask([one.item for one in asked])
                except Exception as exc:  # noqa: BLE001  # a store of the caller's may raise anything
                    self._put_back(asked, exc, loop.time())
                    asked = []
                    if self._waiting:
                        # Not all at the same moment: other processes have waited as long.
                        await asyncio.sleep(pause * (0.5 + random() / 2))  # noqa: S311  # no secret
                        pause = min(_LONGEST_PAUSE, pause * 2)
                    continue
                pause = _FIRST_PAUSE
                for one, answer in zip(asked, answers, strict=True):
                    if not one.future.done():
                        one.future.set_result(answer)
        except asyncio.CancelledError:
            self._put_back(asked, StoreError("was closed", "an open client"), math.inf)
        finally:
            self._task = None

    def _take(self) -> list[_Asked[_Item, _Answer]]:
        taken: list[_Asked[_Item, _Answer]] = []
        while self._waiting and len(taken) < _MOST:
            one = self._waiting.popleft()
            if self._persistent or not one.future.done():  # a caller that was cancelled asks no more
                taken.append(one)
        return taken

    def _put_back(self, asked: list[_Asked[_Item, _Answer]], failure: Exception, now: float) -> None:
        """Keep what is to be asked again, and fail the rest; of those that wait behind, too."""
        if isinstance(failure, StoreError):
            error = failure
        else:
            error = StoreError(f"has failed ({type(failure).__name__}: {failure})", "one that works")
        still: deque[_Asked[_Item, _Answer]] = deque()
        for one in (*asked, *self._waiting):
            again = error.passing and one.until > now
            if not again and not one.future.done():
                one.future.set_exception(error)
                one.future.exception()  # taken down as seen: a completion's is not always waited for
            if again or (self._persistent and error.passing):
                still.append(one)
        self._waiting = still
        self._due = min(self._due, now) if still else math.inf
