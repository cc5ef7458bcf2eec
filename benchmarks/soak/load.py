"""What the soak does with a client: single calls and batches, most of them undisturbed, some cut off.

Rules of this module:

- Somewhat more is asked for than the client's concurrency, so that calls wait for a place, and are cancelled
  while they wait.
- Every cut is drawn from one seeded source: how the event loop then orders things is its own matter, so a
  seed gives a similar run and not the same one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any, Final

from gateway360_async import Batch, BatchItem, Gateway360Client

from .account import Account, LogWatch, State
from .numbers import number_of

__all__ = ["Soak"]

_BATCH_CONCURRENCY: Final = 20
_PAUSE: Final = 0.01
"""Seconds that a driver rests between two calls, in the mean: the process is busy, and not overrun."""

_KNOWS_MOST: Final = (
    State.OK,
    State.CANCELLED_SENT,
    State.MAYBE_SENT,
    State.CANCELLED_MAYBE,
    State.RAISED,
    State.NOT_SENT,
    State.CANCELLED_SILENTLY,
)


class _CutError(Exception):
    """Raised inside a batch's block, or by its input."""


class Soak:
    """The load on one client.

    Args:
        client: The client.
        account: Where every call is settled.
        log: What says what became of a cancelled call.
        seed: For the cuts.
        concurrency: The client's.
        seconds: How long to begin new calls.
    """

    def __init__(
        self,
        client: Gateway360Client,
        account: Account,
        log: LogWatch,
        *,
        seed: int,
        concurrency: int,
        seconds: float,
    ) -> None:
        self._client = client
        self._account = account
        self._log = log
        self._random = Random(f"load {seed}")  # noqa: S311  # cuts, not secrets
        self._singles = max(1, concurrency * 3 // 4)
        self._batches = max(1, concurrency // 40)
        self._ends = time.monotonic() + seconds

    async def run(self) -> None:
        """Send until the time is over, and wait until all is settled."""
        async with asyncio.TaskGroup() as drivers:
            for _ in range(self._singles):
                drivers.create_task(self._drive_singles())
            for _ in range(self._batches):
                drivers.create_task(self._drive_batches())

    def _more(self) -> bool:
        return time.monotonic() < self._ends and not self._account.full

    async def _drive_singles(self) -> None:
        while self._more():
            await self._single()
            await asyncio.sleep(self._random.expovariate(1 / _PAUSE))

    async def _single(self) -> None:
        """Send to one number: once, or twice or thrice in one moment, as a double click does.

        Those that come in one moment share an exchange, so all of them together are one SMS at most. What they
        say together is what the one says that knows most: one whose deadline passed while it waited to begin
        was not sent, whatever the others then did.
        """
        account = self._account
        index = account.take()
        clicks = self._random.choice((2, 3)) if self._random.random() < 0.08 else 1
        account.entries += clicks - 1
        said = await asyncio.gather(*(self._click(index) for _ in range(clicks)))
        account.settle(index, min(said, key=_KNOWS_MOST.index))

    async def _click(self, index: int) -> State:
        random, account = self._random, self._account
        deadline = random.uniform(0.002, 0.5) if random.random() < 0.2 else None
        task = asyncio.create_task(self._client.request_pin(number_of(index), deadline=deadline))
        if random.random() < 0.2:
            await self._cancel(task)
        await asyncio.wait((task,))
        if task.cancelled():
            return account.cancelled(self._log.said_of(task))
        error = task.exception()
        if error is None:
            return account.returned(task.result())
        account.wrong[f"a call raised {type(error).__name__}: {error}"] += 1
        return State.RAISED

    async def _cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel at a random moment: before the first step, within the exchange, or late. Some of them twice."""
        random = self._random
        moment = random.random()
        if moment > 0.1:
            # The exchange of a good request takes a few milliseconds, so half of the moments lie there.
            await asyncio.wait((task,), timeout=random.uniform(0.0, 0.01 if moment < 0.6 else 0.7))
        task.cancel()
        if random.random() < 0.2:
            await asyncio.sleep(0)
            task.cancel()

    async def _drive_batches(self) -> None:
        while self._more():
            await self._batch()
            await asyncio.sleep(self._random.expovariate(1 / _PAUSE))

    async def _batch(self) -> None:
        account = self._account
        order: list[int | None] = []
        entries = self._entries(order)
        source = _slowly(entries) if self._random.random() < 0.3 else entries
        batch = self._client.batch(source, concurrency=_BATCH_CONCURRENCY)
        task = asyncio.create_task(self._consume(batch, order))
        if self._random.random() < 0.2:
            await asyncio.wait((task,), timeout=self._random.uniform(0.0, 1.5))
            task.cancel()
        await asyncio.wait((task,))
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, _CutError):
            account.wrong[f"a batch raised {type(error).__name__}: {error}"] += 1
        for item in batch.report.unconsumed:
            self._settle(order, item)
        missing = len(order) - batch.report.total
        if missing:
            account.wrong["entries of a batch that its report does not count"] += missing

    async def _consume(self, batch: Batch, order: list[int | None]) -> None:
        random = self._random
        leave_after = random.randrange(60) if random.random() < 0.2 else None
        by_raising = random.random() < 0.3
        slow = random.random() < 0.1
        taken = 0
        async with batch:
            async for item in batch:
                self._settle(order, item)
                taken += 1
                if slow:
                    await asyncio.sleep(random.uniform(0.0, 0.05))
                if leave_after is not None and taken > leave_after:
                    if by_raising:
                        raise _CutError
                    break

    def _settle(self, order: list[int | None], item: BatchItem) -> None:
        index = order[item.index]
        if index is not None:
            self._account.settle(index, self._account.returned(item.result))

    def _entries(self, order: list[int | None]) -> Iterator[str]:
        """Give a batch's entries, and take down which number each has. Few are invalid, or there twice."""
        random, account = self._random, self._account
        breaks_off = random.random() < 0.03
        last = ""
        for _ in range(random.randrange(1, 120)):
            if account.full:
                return
            odd = random.random()
            if odd < 0.04:
                account.entries += 1
                order.append(None)
                yield last if last and odd < 0.02 else "no number"
                continue
            index = account.take()
            order.append(index)
            last = number_of(index)
            yield last
        if breaks_off:
            raise _CutError


async def _slowly(entries: Iterator[str]) -> AsyncIterator[str]:
    """Make an input that has to be waited for."""
    while True:
        # Nothing is waited for between taking an entry and giving it: a cancellation there would lose it.
        await asyncio.sleep(0.001)
        entry = next(entries, None)
        if entry is None:
            return
        yield entry
