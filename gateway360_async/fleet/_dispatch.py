"""A batch that others send: its entries go to a queue, and what became of them is read from the fleet's records.

Rules of this module:

- An entry's idempotency key is made of the batch, the number and the payload. So the same batch again goes on where it
  stopped, and whatever is handed to the queue twice is sent once.
- What the queue has lost is handed to it again, after a while: that, too, sends nothing twice.
- Once an entry has been handed over, it may be sent until there is an outcome. Whoever stops waiting is told so.
- An outcome that says "not sent" is told when nobody can send it any more: the queue may have another copy of the task.
- All entries are looked after together: a question every moment, not one for each.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Final

import attrs

from .._errors import FleetError, InvalidConfiguration
from .._payloads import PinRequest
from .._redis._names import checked_batch
from .._redis._wishes import Left, Verdict
from .._results import BatchResult, Disposition, FailureKind, PinResult, Skipped, SkipReason, TransportFailure
from .._settings import checked_seconds
from .._waiting import uninterrupted
from ._session import FleetSession, abandoned, interrupted
from ._tasks import task_of

__all__ = ["Dispatcher", "FleetQueue"]

_logger = logging.getLogger("gateway360_async")

_LOOK_EVERY: Final = 0.1
"""Seconds between two looks at the records."""
_AT_ONCE: Final = 500
"""Records that are looked at in one question: Redis answers nobody else meanwhile."""
_TRY_EVERY: Final = 1.0
"""Seconds between two tries to hand a task to a queue that does not take it."""
_TAKES_WITHIN: Final = 60.0
"""Seconds in which a queue takes a task, or has failed."""
_PATIENCE: Final = 60.0
"""Seconds that a batch waits for a Redis that is away."""


def _checked_enqueue(value: Callable[[dict[str, Any]], Awaitable[object]]) -> Any:
    if not callable(value):
        problem = f"is of type {type(value).__name__}"
        raise InvalidConfiguration("enqueue", problem, "an async function that takes a task")
    return value


def _checked_waiting(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidConfiguration("waiting", f"is {value!r}", "a whole number, 1 or more")
    return value


def _checked_again(value: float) -> float:
    return checked_seconds("again", value, "a finite number of seconds, 1 or more", least=1.0)


@attrs.frozen
class FleetQueue:
    """Where a batch's entries go, for `client.batch(…, queue=…)`.

    Args:
        batch: The batch's name. The same name, number and payload are one SMS, for as long as the fleet keeps records.
        enqueue: Hands a task to the queue, whose workers send it. What it raises is tried again for a minute.
        waiting: Entries that are in the queue at a time, at most.
        again: Seconds after which an entry that nobody has begun is handed to the queue once more.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    batch: str = attrs.field(converter=checked_batch)
    enqueue: Callable[[dict[str, Any]], Awaitable[object]] = attrs.field(converter=_checked_enqueue)
    waiting: int = attrs.field(default=2000, kw_only=True, converter=_checked_waiting)
    again: float = attrs.field(default=120.0, kw_only=True, converter=_checked_again)


@attrs.define(eq=False)
class _Entry:
    """An entry that somebody waits for. Times are the event loop's."""

    key: str
    request: PinRequest = attrs.field(repr=False)
    before: str
    """Whose claim was there before: what that one left says nothing about this time."""
    outcome: asyncio.Future[PinResult]
    due: float
    """When it is handed to the queue, once more."""
    failing: float | None = None
    """Since when the queue has not taken it."""
    handing: asyncio.Task[None] | None = None
    """What hands it to the queue."""
    report_id: str | None = None
    waiters: int = 0


class Dispatcher:
    """Hands entries to a queue, and tells what became of them.

    Args:
        queue: Where they go.
        session: The client's part of the fleet.
    """

    def __init__(self, queue: FleetQueue, session: FleetSession) -> None:
        self._queue = queue
        self._session = session
        self._entries: dict[str, _Entry] = {}
        self._looking: asyncio.Task[None] | None = None

    async def send(self, request: PinRequest, halted: Callable[[], bool]) -> BatchResult:
        """Have a request sent. A cancellation becomes a result."""
        key = self._session.key_of(self._queue.batch, request)
        entry = self._entries.get(key)
        joins = entry is not None
        try:
            if entry is None:
                (left,) = await self._session.look([key], patience=_PATIENCE)
                known = _settled(left)
                if known is not None:
                    return known
                if halted():
                    return _known(left) or _unsent("the batch was halted before")
                if left is not None and left.verdict is Verdict.GRANTED:
                    await self._session.reopen(key, patience=_PATIENCE)
                entry = self._entries.get(key)  # another may have come meanwhile
                joins = entry is not None
                entry = entry or self._enter(key, request, left)
        except FleetError as exc:
            return TransportFailure(FailureKind.FLEET, Disposition.NOT_SENT, detail=str(exc), attempts=0)
        except asyncio.CancelledError:
            return await self._left_behind(key)
        entry.waiters += 1
        try:
            if entry.due <= asyncio.get_running_loop().time():
                self._hand_over(entry)
            result = await asyncio.shield(entry.outcome)
            # An identical entry waits for it as well, and one of them is the SMS.
            return attrs.evolve(result, repeated=True) if joins else result
        except asyncio.CancelledError:
            return interrupted("is in the queue, and may be sent yet", entry.report_id)
        finally:
            entry.waiters -= 1
            if not entry.waiters:
                self._leave(entry)

    async def left(self, _index: int, request: PinRequest) -> BatchResult | None:
        """What an earlier run left of an entry that this one is not to send; `None`: nothing."""
        key = self._session.key_of(self._queue.batch, request)
        try:
            (left,) = await self._session.look([key], patience=_PATIENCE)
        except FleetError as exc:
            return _maybe(f"an earlier run may have sent it: {exc}")
        return _known(left)

    async def _left_behind(self, key: str) -> BatchResult:
        """What is true of an entry that this run was kept from handing over."""
        # It takes a moment, and the task remembers its cancellation.
        looking = asyncio.ensure_future(self._session.look([key], patience=0.0))
        await uninterrupted(looking)
        try:
            (left,) = looking.result()
        except FleetError as exc:
            return _maybe(f"an earlier run may have sent it: {exc}")
        return _known(left) or _unsent("cancelled before it was handed to the queue")

    def _enter(self, key: str, request: PinRequest, left: Left | None) -> _Entry:
        loop = asyncio.get_running_loop()
        now = loop.time()
        entry = _Entry(key, request, "", loop.create_future(), now)
        if left is not None and left.verdict is Verdict.BUSY:  # an earlier run has handed it over
            entry.due = now + self._queue.again
        elif left is not None:
            entry.before = left.token
        self._entries[key] = entry
        if self._looking is None:
            self._looking = asyncio.Task(self._look(), loop=loop, context=Context())
        return entry

    def _leave(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        if entry.handing is not None:
            entry.handing.cancel()
        if not self._entries and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _hand_over(self, entry: _Entry) -> None:
        """Begin to hand an entry to the queue, whose trouble is to hold up nobody else."""
        loop = asyncio.get_running_loop()
        entry.due = loop.time() + self._queue.again
        if entry.handing is None or entry.handing.done():
            entry.handing = asyncio.Task(self._handed_over(entry), loop=loop)

    async def _handed_over(self, entry: _Entry) -> None:
        now = asyncio.get_running_loop().time()
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(_TAKES_WITHIN):
                await self._queue.enqueue(task_of(entry.request, entry.key))
        except (
            Exception,
            asyncio.CancelledError,
        ) as exc:  # whatever a queue raises, it may have taken the task
            if task is not None and task.cancelling():
                raise
            entry.failing = entry.failing or now
            entry.due = asyncio.get_running_loop().time() + _TRY_EVERY
            name = type(exc).__name__
            if now - entry.failing < _PATIENCE:
                _logger.warning("a task could not be handed to the queue (%s), and will be tried again", name)
            elif not entry.outcome.done():
                # An earlier try may have got there.
                detail = f"the queue takes no tasks ({name}), or does not say that it has"
                entry.outcome.set_result(_maybe(detail))
        else:
            entry.failing = None

    async def _look(self) -> None:
        """Look after all entries, until there are none."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            entries = [entry for entry in self._entries.values() if not entry.outcome.done()]
            for some in _pieces(entries):
                try:
                    found = await self._session.look([entry.key for entry in some], patience=_PATIENCE)
                except FleetError as exc:
                    self._give_up(str(exc))
                    break
                unsent = [
                    (entry, left)
                    for entry, left in zip(some, found, strict=True)
                    if self._follow(entry, left) and left is not None
                ]
                try:
                    await self._close(unsent)
                except FleetError as exc:
                    self._give_up(str(exc))
                    break

    def _follow(self, entry: _Entry, left: Left | None) -> bool:
        """Look after an entry. Says whether it was not sent, and may be sent yet by who has another copy of its task."""
        if entry.outcome.done():  # its caller is gone, or the queue is
            return False
        now = asyncio.get_running_loop().time()
        if left is not None and left.token != entry.before:
            entry.report_id = left.report_id
            if left.verdict is Verdict.GRANTED:
                return True
            if left.verdict is Verdict.BUSY:
                entry.due = now + self._queue.again
            else:
                entry.outcome.set_result(left.result or abandoned(left.report_id))
        elif now >= entry.due:
            self._hand_over(entry)
        return False

    async def _close(self, unsent: list[tuple[_Entry, Left]]) -> None:
        """Tell of what was not sent, once nobody is to send it any more."""
        if not unsent:
            return
        claims = [(entry.key, left.token) for entry, left in unsent]
        closed = await self._session.close(claims, patience=_PATIENCE)
        for (entry, left), is_so in zip(unsent, closed, strict=True):
            if is_so and not entry.outcome.done():
                entry.outcome.set_result(left.result or abandoned(left.report_id))

    def _give_up(self, detail: str) -> None:
        for entry in self._entries.values():
            if not entry.outcome.done():
                entry.outcome.set_result(_maybe(f"is in the queue: {detail}"))


def _settled(left: Left | None) -> BatchResult | None:
    """What an earlier run left of an entry, if there is nothing more to do about it."""
    if left is None or left.verdict not in (Verdict.SETTLED, Verdict.UNSETTLED):
        return None
    if left.result is None:
        return abandoned(left.report_id)
    return Skipped(SkipReason.ALREADY_SETTLED, "an earlier run of this batch settled it", left.result)


def _known(left: Left | None) -> BatchResult | None:
    """What an earlier run left of an entry that this one does not wait for."""
    if left is not None and left.verdict is Verdict.BUSY:
        return interrupted("an earlier run has handed it to the queue", left.report_id)
    return _settled(left)


def _pieces(entries: list[_Entry]) -> list[list[_Entry]]:
    return [entries[start : start + _AT_ONCE] for start in range(0, len(entries), _AT_ONCE)]


def _unsent(detail: str) -> TransportFailure:
    return TransportFailure(FailureKind.CANCELLED, Disposition.NOT_SENT, detail=detail, attempts=0)


def _maybe(detail: str) -> TransportFailure:
    return TransportFailure(FailureKind.FLEET, Disposition.MAYBE_SENT, detail=detail, attempts=0)
