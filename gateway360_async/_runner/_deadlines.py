"""The deadlines of a client's calls: most of them share one timer.

`asyncio.timeout` has the same meaning, and would cost a call 2 µs: a timer of its own goes into the event loop's heap and
out again. A deadline cancels the task and takes that back (`Task.uncancel`), so that no other cancellation is taken for it.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from contextvars import Context
from typing import Any, cast

from ._call import InFlightCall

__all__ = ["Deadlines"]


class Deadlines:
    """The deadlines of one client's calls, on one event loop.

    Args:
        usual: The deadline of most calls in seconds: these share a timer.
    """

    def __init__(self, usual: float) -> None:
        self._usual = usual
        self._context = Context()  # empty: a timer that outlives its call is no part of the caller's trace
        # In the order of their ends. A dict's first key would take ever longer to find as others are deleted.
        self._pending: OrderedDict[InFlightCall, None] = OrderedDict()
        self._latest = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: InFlightCall) -> None:
        """Bound the current task by the call's deadline. Raise `RuntimeError` outside of a task."""
        task = call.task = asyncio.current_task(call.loop)
        if task is None:
            raise RuntimeError("a call needs an asyncio task to run in")
        call.cancelling = task.cancelling()
        expires = call.expires
        if call.seconds != self._usual or expires < self._latest:
            call.timer = call.loop.call_at(expires, _expire, call, context=self._context)
            return
        self._latest = expires
        self._pending[call] = None
        if self._timer is None:
            self._timer = call.loop.call_at(expires, self._expire_due, call.loop, context=self._context)

    def end(self, call: InFlightCall) -> bool:
        """Unbind the task, and say whether a cancellation that came out of it is the deadline's alone."""
        if call.timer is not None:
            call.timer.cancel()
        self._pending.pop(call, None)
        return call.expired and cast("asyncio.Task[Any]", call.task).uncancel() <= call.cancelling

    def close(self) -> None:
        """Cancel the timer, once no call is in flight."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire_due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._pending:
            call = next(iter(self._pending))
            if call.expires > now:
                self._timer = loop.call_at(call.expires, self._expire_due, loop, context=self._context)
                return
            del self._pending[call]
            _expire(call)


def _expire(call: InFlightCall) -> None:
    call.expired = True
    cast("asyncio.Task[Any]", call.task).cancel()
