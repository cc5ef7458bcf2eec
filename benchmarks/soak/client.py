"""The soak's client side: the load, its account of one byte per number, and the log.

- The account's memory is all taken at the beginning, for it is in the process whose memory has to be flat.
- Somewhat more is asked for than the client's concurrency, so that calls wait for a slot, and are cancelled while they
  wait.
- Every cut is drawn from one seeded source. The event loop then orders things as it does, so a seed gives a similar run and
  not the same one.
"""

import asyncio
import base64
import enum
import logging
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from random import Random
from typing import Any, Final

import attrs

from gateway360_async import (
    Batch,
    BatchItem,
    BatchResult,
    Disposition,
    Gateway360Client,
    Skipped,
    TransportFailure,
)

from .. import number
from ..report import Bar
from .gateway import FAULTS


class State(enum.IntEnum):
    """The client's word on one number. Of a cancelled call, the log says that it was sent, may have been, or nothing."""

    OK = 1
    NOT_SENT = 2
    MAYBE_SENT = 3
    SKIPPED = 4
    CANCELLED_SILENTLY = 5
    CANCELLED_MAYBE = 6
    CANCELLED_SENT = 7
    RAISED = 8
    PENDING = 255


CANCELLED: Final = (State.CANCELLED_SILENTLY, State.CANCELLED_MAYBE, State.CANCELLED_SENT)
_OF_RESULT: Final = {
    Disposition.SENT: State.OK,
    Disposition.NOT_SENT: State.NOT_SENT,
    Disposition.MAYBE_SENT: State.MAYBE_SENT,
}
_OF_LOG: Final = dict(zip((None, Disposition.MAYBE_SENT, Disposition.SENT), CANCELLED, strict=True))
_FEWEST: Final = {State.OK: 1, State.CANCELLED_SENT: 1}
_MOST: Final = dict.fromkeys(
    (State.OK, State.MAYBE_SENT, State.CANCELLED_MAYBE, State.CANCELLED_SENT, State.PENDING), 1
)
"""The SMS that a number of a state has to have, and may have; of others none."""


class Account:
    """The state of every number, and the counts."""

    def __init__(self, capacity: int) -> None:
        self.states = bytearray(b"\xff") * capacity  # each page is written to
        self.used = 0
        self.counts: Counter[State] = Counter()
        self.wrong: Counter[str] = Counter()  # events that should never have happened, in words
        self.entries = 0  # without a number of their own: double clicks, duplicates, invalid ones
        self.kinds: Counter[str] = Counter()  # failures, for people
        self.longest = 0.0  # seconds of the longest call

    @property
    def full(self) -> bool:
        return self.used >= len(self.states)

    @property
    def calls(self) -> int:
        return self.used + self.entries

    @property
    def cancelled(self) -> int:
        return sum(self.counts[state] for state in CANCELLED)

    def take(self) -> int:
        """Begin a call, and return its number's index."""
        self.used += 1
        return self.used - 1

    def end(self, index: int, state: State) -> None:
        """End a call, once."""
        if self.states[index] != State.PENDING:
            self.wrong["a call was ended twice"] += 1
        self.states[index] = state
        self.counts[state] += 1

    def returned(self, result: BatchResult) -> State:
        """Return the state that a result means, and take its kind down."""
        if isinstance(result, Skipped):
            return State.SKIPPED
        self.longest = max(self.longest, result.elapsed)
        if isinstance(result, TransportFailure):
            self.kinds[f"{result.kind} {result.disposition}"] += 1
        return _OF_RESULT[result.disposition]

    def broken_off(self, logged: Disposition | None) -> State:
        """Return the state that a cancellation means, of which the log said this or nothing."""
        if logged is Disposition.NOT_SENT:  # which the library has no reason to log
            self.wrong["a cancelled call was logged as not sent"] += 1
            logged = None
        return _OF_LOG[logged]

    def bars(self, server: dict[str, Any]) -> Iterator[Bar]:
        """Lay the gateway's report beside the account."""
        counts, cancelled = self.counts, self.cancelled
        ok, maybe = counts[State.OK], counts[State.MAYBE_SENT]
        results = counts.total() + self.entries
        wrong = "; ".join(f"{event}: {count}" for event, count in self.wrong.items())
        said = (
            f"{self.calls:,} calls = {results:,} results ({ok:,} Ok, {counts[State.NOT_SENT]:,} NOT_SENT, "
            f"{maybe:,} MAYBE_SENT, {counts[State.SKIPPED]:,} skipped, {cancelled:,} cancelled, "
            f"{self.entries:,} invalid or to a number twice)"
        )
        yield Bar("calls = results", results == self.calls and not wrong, said, note=wrong)
        sent, whole, faults = (base64.b64decode(server[name]) for name in ("sms", "whole", "fault"))
        sms = sum(sent)
        said = (
            f"{sms:,} SMS = {ok:,} Ok + {sms - ok:,} of the {maybe:,} MAYBE_SENT and {cancelled:,} cancelled"
        )
        # Numbers that were never used have none.
        used = sum(sent[: self.used])
        yield Bar("SMS = Ok + some in doubt", used == sms and ok <= sms <= ok + maybe + cancelled, said)
        for states, fault in (
            ((State.NOT_SENT, State.SKIPPED), "not sent, though accepted"),
            ((State.OK, State.MAYBE_SENT, State.CANCELLED_MAYBE), "with too few or too many SMS"),
            ((State.CANCELLED_SILENTLY, State.CANCELLED_SENT), "cancelled whose log is wrong"),
        ):
            bad = [
                f"{number(index)}: {State(state).name}, {sent[index]} SMS, read whole {whole[index]} times, "
                f"the last: {FAULTS[faults[index]]}"
                for index, state in enumerate(self.states[: self.used])
                if state in states
                and not _FEWEST.get(State(state), 0) <= sent[index] <= _MOST.get(State(state), 0)
            ]
            yield Bar(f"calls {fault}", not bad, f"{len(bad):,}", note="; ".join(bad[:10]))
        yield Bar("strays", not server["strays"], f"{server['strays']}")


class LogWatch(logging.Handler):
    """Reads the log: what it says of cancelled calls, and errors, of which there should be none."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[asyncio.Task[Any], Disposition] = {}
        self._errors: list[str] = []
        logging.captureWarnings(capture=True)
        warnings.simplefilter("always", ResourceWarning)  # of a connection that is left open

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        said: Disposition | None = None
        for word in record.args if isinstance(record.args, tuple) else ():
            said = getattr(word, "disposition", said)
        if record.levelno == logging.WARNING and said is not None:
            task = asyncio.current_task()
            assert task is not None
            self._said[task] = said
        elif record.levelno >= logging.ERROR or record.name == "py.warnings":
            self._errors.append(self.format(record)[-2_000:])

    def said_of(self, task: asyncio.Task[Any]) -> Disposition | None:
        """Return what the log said of a cancelled call's task, once."""
        return self._said.pop(task, None)

    def bar(self) -> Bar:
        """Judge the errors."""
        return Bar(
            "logged errors", not self._errors, f"{len(self._errors)}", note="\n".join(self._errors[:5])
        )


_BATCH_CONCURRENCY: Final = 20
_PAUSE: Final = 0.01
"""Seconds that a driver rests between two calls, in the mean: the process is busy, and not overrun."""

_KNOWS_MOST: Final = (
    *(State.OK, State.CANCELLED_SENT, State.MAYBE_SENT, State.CANCELLED_MAYBE),
    *(State.RAISED, State.NOT_SENT, State.CANCELLED_SILENTLY),
)


class _CutError(Exception):
    """Raised inside a batch's block, or by its input."""


@attrs.frozen
class Soak:
    """The load on one client, for some seconds. Every call's end goes to the account."""

    _client: Gateway360Client
    _account: Account
    _log: LogWatch
    _random: Random
    _concurrency: int
    _ends: float
    """The monotonic time after which no call begins."""

    async def run(self) -> None:
        """Send until the time is over, and wait until every call has ended."""
        async with asyncio.TaskGroup() as drivers:
            for _ in range(max(1, self._concurrency * 3 // 4)):
                drivers.create_task(self._drive(self._single))
            for _ in range(max(1, self._concurrency // 40)):
                drivers.create_task(self._drive(self._batch))

    async def _drive(self, send: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self._ends and not self._account.full:
            await send()
            await asyncio.sleep(self._random.expovariate(1 / _PAUSE))

    async def _single(self) -> None:
        """Send to one number: once, or twice or thrice in one moment, as a double click does.

        Those that come in one moment share an exchange, so all of them together are one SMS at most. Together
        they say the word of the one that knows most: one whose deadline passed while it waited to begin
        was not sent, whatever the others then did.
        """
        account = self._account
        index = account.take()
        clicks = self._random.choice((2, 3)) if self._random.random() < 0.08 else 1
        account.entries += clicks - 1
        said = await asyncio.gather(*(self._click(index) for _ in range(clicks)))
        account.end(index, min(said, key=_KNOWS_MOST.index))

    async def _click(self, index: int) -> State:
        random, account = self._random, self._account
        deadline = random.uniform(0.002, 0.5) if random.random() < 0.2 else None
        task = asyncio.create_task(self._client.request_pin(number(index), deadline=deadline))
        if random.random() < 0.2:
            await self._cancel(task)
        await asyncio.wait((task,))
        if task.cancelled():
            return account.broken_off(self._log.said_of(task))
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
            self._end(order, item)
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
                self._end(order, item)
                taken += 1
                if slow:
                    await asyncio.sleep(random.uniform(0.0, 0.05))
                if leave_after is not None and taken > leave_after:
                    if by_raising:
                        raise _CutError
                    break

    def _end(self, order: list[int | None], item: BatchItem) -> None:
        index = order[item.index]
        if index is not None:
            self._account.end(index, self._account.returned(item.result))

    def _entries(self, order: list[int | None]) -> Iterator[str]:
        """Yield a batch's entries, and take down which number each has. Few are invalid, or there twice."""
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
            last = number(index)
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
