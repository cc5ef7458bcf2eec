"""The two bounds on the client's work: how much of it at a time, and until when.

Rules of this module:

- What asyncio has for this (`Semaphore`, `timeout`) costs each call more than all of our own work on it:
  its semaphore looks at every waiter that it has woken before, and its timeout puts a timer in the event
  loop's heap and takes it out again. Here a free place is a subtraction, and calls with the usual
  deadline, which end in the order in which they began, share one timer.
- The meaning is asyncio's: places are given in the order of asking, and a deadline that passes cancels the
  task, and takes that back (`Task.uncancel`) so that nobody else's cancellation is mistaken for it.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from contextvars import Context
from typing import cast

import attrs

__all__ = ["Deadline", "Deadlines", "Places"]


class Places:
    """So many at a time, first come first served.

    Args:
        free: Places that are free at the beginning.
    """

    __slots__ = ("_free", "_waiting")

    def __init__(self, free: int) -> None:
        self._free = free
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        """Take a place if one is free, without waiting."""
        # A place that is given while somebody waits goes to the one who waits, and is never free.
        if not self._free:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Wait for a place. A cancellation takes none."""
        if self.take_now():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # given in the same moment: on to the next
                self.give()
            raise

    def give(self) -> None:
        """Give a place back, to whoever has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # one that was cancelled is
                waiter.set_result(None)
                return
        self._free += 1


@attrs.define(eq=False)
class Deadline:
    """The deadline of one piece of work, which a task does from `Deadlines.begin` to `Deadlines.end`."""

    loop: asyncio.AbstractEventLoop
    started: float
    """When the work began, on the event loop's clock."""
    seconds: float
    """How long it takes at most."""
    task: asyncio.Task[object] | None = attrs.field(default=None, init=False)
    """What does the work, once it has begun."""
    cancelling: int = attrs.field(default=0, init=False)
    """How often the task's cancellation had been asked for before."""
    passed: bool = attrs.field(default=False, init=False)
    timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    """Its own timer, where it does not end after the others."""

    @property
    def expires(self) -> float:
        """When it passes, on the event loop's clock."""
        return self.started + self.seconds

    def pass_by(self) -> None:
        """Cancel the task: its time is over."""
        self.passed = True
        cast("asyncio.Task[object]", self.task).cancel()


class Deadlines:
    """The deadlines of one client's calls, on one event loop.

    Args:
        usual: Seconds that most calls take at most: these share a timer.
    """

    def __init__(self, usual: float) -> None:
        self._usual = usual
        self._context = Context()  # empty: a timer that outlives its call is no part of what called it
        # In the order of their beginning, which is that of their ends. A dict's first key would take ever
        # longer to find while the ones before it are deleted.
        self._pending: OrderedDict[Deadline, None] = OrderedDict()
        self._latest = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, deadline: Deadline) -> None:
        """Bound the current task.

        Raises:
            RuntimeError: No task runs.
        """
        task = deadline.task = asyncio.current_task(deadline.loop)
        if task is None:
            raise RuntimeError("a call needs an asyncio task to run in")
        deadline.cancelling = task.cancelling()
        expires = deadline.started + deadline.seconds
        if deadline.seconds != self._usual or expires < self._latest:
            deadline.timer = deadline.loop.call_at(expires, deadline.pass_by, context=self._context)
            return
        self._latest = expires
        self._pending[deadline] = None
        if self._timer is None:
            self._timer = deadline.loop.call_at(expires, self._pass_by, deadline.loop, context=self._context)

    def end(self, deadline: Deadline) -> bool:
        """Unbind the task.

        Returns:
            Whether a `CancelledError` that comes out of the task is the deadline's, and nobody else's too.
        """
        if deadline.timer is not None:
            deadline.timer.cancel()
        self._pending.pop(deadline, None)
        if not deadline.passed:
            return False
        return cast("asyncio.Task[object]", deadline.task).uncancel() <= deadline.cancelling

    def _pass_by(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is over, and come back for the one that is next."""
        self._timer = None
        now = loop.time()
        while self._pending:
            deadline = next(iter(self._pending))
            if deadline.expires > now:
                self._timer = loop.call_at(deadline.expires, self._pass_by, loop, context=self._context)
                return
            del self._pending[deadline]
            deadline.pass_by()

    def close(self) -> None:
        """Let go of the timer, once no call is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
