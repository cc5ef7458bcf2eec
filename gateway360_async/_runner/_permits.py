"""The rate of a client: when its requests may start.

A library's limiter answers "not yet" to one request at a time, so that all callers ask again and again; here one question
gives a process its permits of the next moments.

Invariants:

- A permit is for now: no attempt uses one that is held for longer than a claim takes.
- A permit that is not used goes to the next caller.
- Only the permits of the last moments are made up for, so that any stretch of time has those of its length, and those of
  a few hundredths of a second more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

import attrs

from .._exceptions import ClientClosed, StoreError
from .._retry import HORIZON, Gcra

__all__ = ["HOLDS", "Permits"]

HOLDS: Final = 0.1
"""Seconds for which a permit holds: about as long as a claim takes."""
_LATE: Final = 0.15
"""Seconds by which a permit may be late. Later ones are lost: used all at once, by a process that was held up, they would
be more in a moment than the rate allows. But for one of each answer, or a process that is always late would starve."""

Grant = Callable[[int, float], Awaitable[tuple[int, float]]]
"""Grants permits: takes how many are wanted and the seconds between two, gives how many and the seconds until the first."""


@attrs.define(eq=False)
class _Waiter:
    permit: asyncio.Future[bool]
    """Done with whether a permit was granted; `False`: none is needed any more."""
    until: float
    """How long a store that is away is waited for."""
    is_over: Callable[[], bool] | None


class Permits:
    """Grants permits to callers in the order of asking.

    Args:
        rate: Permits per second.
        grant: Asks a store that shares the rate; `None`: the rate is this client's own.
    """

    def __init__(self, rate: float, grant: Grant | None = None) -> None:
        self._interval = 1.0 / rate
        self._grant = grant
        self._own = Gcra(self._interval)
        self._waiting: deque[_Waiter] = deque()
        self._returned: deque[float] = deque()
        self._granting: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, timeout: float, is_over: Callable[[], bool] | None = None) -> float | None:
        """Wait for a permit.

        Args:
            timeout: Seconds to wait for a store that is away.
            is_over: Says whether no permit is needed any more; `let_go` asks it again.

        Returns:
            When it was granted, on the event loop's clock; `None`: `is_over`.

        Raises:
            StoreError: The store is away, or refuses.
            ClientClosed: No permits are granted any more.
        """
        if self._closed:
            raise ClientClosed
        if is_over is not None and is_over():
            return None
        loop = asyncio.get_running_loop()
        while self._returned:
            granted = self._returned.popleft()
            if loop.time() - granted <= HOLDS:
                return granted
        waiter = _Waiter(loop.create_future(), loop.time() + timeout, is_over)
        self._waiting.append(waiter)
        if self._granting is None:
            # Neither the caller's own nor in its context: a caller can be cancelled, and others wait as well.
            self._granting = asyncio.Task(self._give(loop), loop=loop, context=Context())
        permit = waiter.permit
        try:
            return loop.time() if await permit else None
        except asyncio.CancelledError:
            if permit.done() and not permit.cancelled() and permit.exception() is None and permit.result():
                self.give_back(loop.time())
            raise

    def let_go(self) -> None:
        """Let go of the callers that need no permit any more, such as those of a batch that was halted."""
        for waiter in self._waiting:
            if waiter.is_over is not None and not waiter.permit.done() and waiter.is_over():
                waiter.permit.set_result(False)

    def give_back(self, granted: float) -> None:
        """Give a permit that was not used to the next caller, while it holds."""
        if asyncio.get_running_loop().time() - granted > HOLDS:
            return
        if self._wanted():
            self._waiting.popleft().permit.set_result(True)
        else:
            self._returned.append(granted)

    async def aclose(self) -> None:
        """Grant no more permits, and refuse the callers that wait for one."""
        self._closed = True
        if self._granting is not None:
            self._granting.cancel()
            await asyncio.wait((self._granting,))
        while self._wanted():
            self._waiting.popleft().permit.set_exception(ClientClosed())

    async def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while wanted := self._wanted():
                asked = loop.time()
                if self._grant is None:
                    given, delay = self._own.grant(asked, wanted)
                else:
                    try:
                        given, delay = await self._grant(wanted, self._interval)
                    except Exception as exc:  # noqa: BLE001  # no caller may wait in vain
                        self._refuse(exc, loop.time())
                        await asyncio.sleep(HORIZON)
                        continue
                if given:
                    await self._hand_out(given, loop.time() + delay, asked + delay + _LATE, loop)
                else:
                    # Others have taken the permits: with half of the horizon to share, all get some.
                    await asyncio.sleep(max(delay, HORIZON / 2))
        finally:
            self._granting = None

    async def _hand_out(
        self, given: int, first: float, latest: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Hand permits out: one at `first`, or until `latest`, and the others an interval after each other."""
        for place in range(given):
            after = place * self._interval
            left = first + after - loop.time()
            if left > 0:
                await asyncio.sleep(left)
            if self._wanted() and (place == 0 or loop.time() <= latest + after):
                self._waiting.popleft().permit.set_result(True)

    def _wanted(self) -> int:
        """Count the callers that wait, at least: those in front that have given up are dropped."""
        while self._waiting and self._waiting[0].permit.done():
            self._waiting.popleft()
        return len(self._waiting)

    def _refuse(self, error: Exception, now: float) -> None:
        """Refuse the callers that have waited long enough for the store; all of them, where waiting cannot help."""
        if not isinstance(error, StoreError):
            error = StoreError(
                f"grants no permits ({type(error).__name__}: {error})", "one that works", passing=False
            )
        waiting = [waiter for waiter in self._waiting if not waiter.permit.done()]
        self._waiting.clear()
        for waiter in waiting:
            if error.passing and waiter.until > now:
                self._waiting.append(waiter)
            else:
                # Each gets one of its own: tracebacks grow where one is raised often.
                waiter.permit.set_exception(StoreError(error.problem, error.expected, passing=error.passing))
