"""Questions to a store: bounded in time, and many in one round trip."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from random import random
from typing import Final, Generic, ParamSpec, TypeVar

import attrs

from .._aio import shield_until_done
from .._exceptions import Gateway360Error, StoreError

__all__ = ["Lane", "ask_store"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_P = ParamSpec("_P")

_MOST: Final = 500
"""Items of one round trip, at most: more would keep the store from other clients."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


async def ask_store(
    longest: float, ask: Callable[_P, Awaitable[_Answer]], *args: _P.args, **kwargs: _P.kwargs
) -> _Answer:
    """Ask a store, for `longest` seconds at most.

    Raises:
        StoreError: The store has failed, in any way.
        Gateway360Error: Any other error of this library that a store may raise.
    """
    try:
        async with asyncio.timeout(longest):
            return await ask(*args, **kwargs)
    except Gateway360Error:
        raise
    except TimeoutError:
        problem = f"gave no answer within {longest:g} s"
        raise StoreError(problem, "one that is not held up", passing=True) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # A task within the store was cancelled, and not the one that asks.
        raise StoreError("has broken off its answer", "one that works") from None
    except Exception as exc:
        # A store of the caller's may raise anything.
        raise StoreError(f"has failed ({type(exc).__name__}: {exc})", "one that works") from exc


@attrs.define(eq=False)
class _Block(Generic[_Item, _Answer]):
    items: Sequence[_Item]
    until: float
    future: asyncio.Future[Sequence[_Answer]]

    def fail(self, error: StoreError) -> None:
        """Fail the future with an error of its own: tracebacks grow where one is raised often."""
        if not self.future.done():
            self.future.set_exception(StoreError(error.problem, error.expected, passing=error.passing))
            self.future.exception()  # marked as seen: not every caller waits for a completion


class Lane(Generic[_Item, _Answer]):
    """One kind of question. One round trip is under way at a time; questions that come meanwhile share the next.

    Args:
        ask: Asks many at once.
        longest: Seconds of one round trip, at most.
        persistent: Whether a block is asked for until the lane is closed, although its future fails before.
        failed: Is told of each round trip that fails, and of how many items it was.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[_Item]], Awaitable[Sequence[_Answer]]],
        longest: float,
        *,
        persistent: bool = False,
        failed: Callable[[StoreError, int], None] | None = None,
    ) -> None:
        self._ask = ask
        self._longest = longest
        self._persistent = persistent
        self._failed = failed
        self._waiting: deque[_Block[_Item, _Answer]] = deque()
        self._asked: list[_Block[_Item, _Answer]] = []
        self._due = math.inf
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def put(
        self, items: Sequence[_Item], loop: asyncio.AbstractEventLoop, *, until: float, gap: float = 0.0
    ) -> asyncio.Future[Sequence[_Answer]]:
        """Ask for a block of items, in one round trip. One that is under way goes on although its future is cancelled.

        Args:
            items: The items.
            loop: The running event loop.
            until: How long a store that is away is waited for, on the event loop's clock.
            gap: Seconds to wait for others that share the round trip.

        Returns:
            A future of the answers, which may fail with a `StoreError`.
        """
        block: _Block[_Item, _Answer] = _Block(items, until, loop.create_future())
        if self._closed:
            block.fail(_closed())
            return block.future
        self._waiting.append(block)
        self._due = min(self._due, loop.time() + gap)
        if self._task is None:
            # In an empty context: it outlives its first caller, and is no part of that one's trace.
            self._task = asyncio.Task(self._run(loop), loop=loop, context=Context())
        return block.future

    async def aclose(self, timeout: float) -> int:
        """Ask no more, and wait for answers for `timeout` seconds at most. Return how many items have none."""
        self._closed = True
        left: list[_Block[_Item, _Answer]] = []
        try:
            if self._task is not None:
                await asyncio.wait((self._task,), timeout=timeout)
        finally:
            if self._task is not None:
                self._task.cancel()
                await shield_until_done(self._task)
            left += (*self._asked, *self._waiting)
            self._asked.clear()
            self._waiting.clear()
            for block in left:
                block.fail(_closed())
        return sum(len(block.items) for block in left)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pause = _FIRST_PAUSE
        try:
            while self._waiting:
                await asyncio.sleep(max(0.0, self._due - loop.time()))
                self._asked = self._take()
                self._due = loop.time() if self._waiting else math.inf
                if not self._asked:
                    continue
                items = [item for block in self._asked for item in block.items]
                try:
                    answers = await ask_store(self._longest, self._ask, items)
                    if len(answers) != len(items):
                        raise StoreError("gave too few answers, or too many", "one for each question")
                except Gateway360Error as exc:
                    if not isinstance(exc, StoreError):
                        exc = StoreError(f"has failed ({exc})", "one that works")
                    if self._failed is not None:
                        self._failed(exc, len(items))
                    self._put_back(exc, loop.time())
                    if self._waiting:
                        # Not all at the same moment: other processes have waited as long.
                        await asyncio.sleep(pause * (0.5 + random() / 2))  # noqa: S311  # no secret
                        pause = min(_LONGEST_PAUSE, pause * 2)
                    continue
                pause = _FIRST_PAUSE
                asked, self._asked = self._asked, []
                at = 0
                for block in asked:
                    begin, at = at, at + len(block.items)
                    if not block.future.done():
                        block.future.set_result(answers[begin:at])
        finally:
            self._task = None

    def _take(self) -> list[_Block[_Item, _Answer]]:
        taken: list[_Block[_Item, _Answer]] = []
        left = _MOST
        while self._waiting and left > 0:
            block = self._waiting.popleft()
            if self._persistent or not block.future.done():  # a caller that was cancelled asks no more
                taken.append(block)
                left -= len(block.items)
        return taken

    def _put_back(self, error: StoreError, now: float) -> None:
        """Keep the blocks that are to be asked again, and fail the others; of those that wait behind, too."""
        still: deque[_Block[_Item, _Answer]] = deque()
        for block in (*self._asked, *self._waiting):
            again = error.passing and block.until > now
            if not again:
                block.fail(error)
            if again or (self._persistent and error.passing):
                still.append(block)
        self._asked, self._waiting = [], still
        self._due = min(self._due, now) if still else math.inf


def _closed() -> StoreError:
    return StoreError("was closed", "an open client")
