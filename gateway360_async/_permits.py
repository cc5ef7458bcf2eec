"""The rate of a client: the moments at which requests may start.

Why not a library: those that share a rate answer "not yet" to one request at a time, so that all callers ask again and
again, where here one question gives a process its permits of the next moments.

Invariants:

- A permit is for now: one that is held for longer than a claim takes is used by no attempt.
- A permit that is not used goes to the next caller.
- No permits are made up for but those of the last moments, so that in any stretch of time there are at most those of its
  length, and a few hundredths of a second's more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, TypeAlias, cast

from ._errors import ClientClosed, StoreError
from ._rates import HORIZON, Gcra

__all__ = ["HOLDS", "Permits"]

HOLDS: Final = 0.1
"""Seconds for which a permit holds: about what a claim takes."""
_LATE: Final = 0.15
"""Seconds by which a permit may be late. Later ones are lost: used all at once, by a process that was held up, they would
be more in a moment than the rate allows. But for one of each answer, or a process that is always late would starve."""

Grant = Callable[[int, float], Awaitable[tuple[int, float]]]
"""Grants permits: how many are wanted and the seconds between two, to how many and the seconds until the first."""

_Waiting: TypeAlias = tuple["asyncio.Future[bool]", float, Callable[[], bool] | None]
"""What is done when a caller has its permit, or is let go (`False`); until when it waits for a store that is away; and
what says that it needs none any more."""


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
        self._waiting: deque[_Waiting] = deque()
        self._returned: deque[float] = deque()
        self._granting: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, timeout: float) -> float:
        """Wait for a permit.

        Args:
            timeout: Seconds to wait for a store that is away.

        Returns:
            When it was granted, on the event loop's clock.

        Raises:
            StoreError: The store is away, or refuses.
            ClientClosed: No permits are granted any more.
        """
        return cast("float", await self.wait_unless(None, timeout))

    async def wait_unless(self, is_over: Callable[[], bool] | None, timeout: float) -> float | None:
        """Wait for a permit as `wait` does, as long as it is needed.

        Args:
            is_over: Says whether none is needed any more; `let_go` asks it again.
            timeout: Seconds to wait for a store that is away.

        Returns:
            When it was granted, on the event loop's clock; `None`: none is needed any more.
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
        permit: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((permit, loop.time() + timeout, is_over))
        if self._granting is None:
            # Neither the caller's own nor in its context: a caller can be cancelled, and others wait as well.
            self._granting = asyncio.Task(self._give(loop), loop=loop, context=Context())
        try:
            granted = await permit
        except asyncio.CancelledError:
            if permit.done() and not permit.cancelled() and permit.exception() is None and permit.result():
                self.give_back(loop.time())
            raise
        return loop.time() if granted else None

    def let_go(self) -> None:
        """Let go of the callers that need no permit any more, as those of a batch that was halted."""
        for permit, _, is_over in self._waiting:
            if is_over is not None and not permit.done() and is_over():
                permit.set_result(False)

    def give_back(self, granted: float) -> None:
        """Take a permit back that was not used: it is the next caller's, while it holds."""
        if asyncio.get_running_loop().time() - granted > HOLDS:
            return
        while self._waiting:
            permit, *_ = self._waiting.popleft()
            if not permit.done():
                permit.set_result(True)
                return
        self._returned.append(granted)

    async def aclose(self) -> None:
        """Grant no more permits. Callers that wait for one are refused."""
        self._closed = True
        if self._granting is not None:
            self._granting.cancel()
            await asyncio.wait((self._granting,))
        while self._wanted():
            self._waiting.popleft()[0].set_exception(ClientClosed())

    async def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while wanted := self._wanted():
                asked = loop.time()
                if self._grant is None:
                    given, delay = self._own.grant(asked, wanted)
                else:
                    try:
                        given, delay = await self._grant(wanted, self._interval)
                    except Exception as exc:  # noqa: BLE001  # none of the callers may wait in vain
                        error = exc if isinstance(exc, StoreError) else _failed(exc)
                        self._refuse(error, loop.time())
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
                self._waiting.popleft()[0].set_result(True)

    def _wanted(self) -> int:
        """How many callers wait, at least: those that have given up are dropped from the front."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        return len(self._waiting)

    def _refuse(self, error: StoreError, now: float) -> None:
        """Refuse the callers that have waited long enough for the store; all of them, where waiting would not help."""
        still: deque[_Waiting] = deque()
        for waiting in self._waiting:
            permit, until, _ = waiting
            if permit.done():
                continue
            if error.passing and until > now:
                still.append(waiting)
            else:
                # Each gets one of its own: tracebacks grow where one is raised often.
                permit.set_exception(StoreError(error.problem, error.expected, passing=error.passing))
        self._waiting = still


def _failed(error: Exception) -> StoreError:
    return StoreError(f"grants no permits ({type(error).__name__}: {error})", "one that works")
