"""The rate of a fleet: at which moments requests may start, over all of its processes.

Why not a library: those that share a rate over Redis answer "not yet", one request at a time, so that all who wait ask
again and again (`limits`, `pyrate-limiter`, `throttled-py`), where here one question gives a process its turns of the
next moments.

Rules of this module:

- A process asks for as many turns as it has waiters, a few hundredths of a second ahead, and gives each to who has waited
  longest. What is given to a process that is killed is lost: hence no further ahead.
- The clock is Redis' own: the machines' clocks need not agree.
- Whoever gives up waiting leaves its turn to the next.
- Turns that nobody took are made up for, but only those of the last moments.
- A turn is for now. Calls that took theirs ahead and were held up then (no place was free, Redis was slow) would all
  begin at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, Final

from .._errors import ClientClosed, FleetError
from ._link import Link

__all__ = ["Turns"]

_AHEAD: Final = 0.05
"""Seconds of turns that are given ahead."""
_CATCH_UP: Final = 0.05
"""Seconds of turns that may be made up for: a timer is always late, and a fast rate would lose that each time."""
_HOLDS: Final = 0.1
"""Seconds for which a turn that was taken ahead holds: about what an admission takes."""
_LATE: Final = 0.15
"""Seconds by which a turn may be late. Later ones are lost: used all at once, by a process that was held up, they would
be more in a moment than the rate allows. But for one of each answer, or a process that is always late would starve."""
_MICROSECONDS: Final = 1_000_000

_taken: ContextVar[list[tuple[Turns, float]] | None] = ContextVar("gateway360_turn_taken", default=None)


class Turns(AbstractAsyncContextManager[None]):
    """Entered around each attempt: waits for a turn.

    Args:
        link: The way to Redis.
        key: Where the next turn is.
        rate: Turns a second.
        patience: Seconds that an attempt waits for a Redis that is away.
    """

    def __init__(self, link: Link, key: str, rate: float, *, patience: float) -> None:
        self._link = link
        self._key = key
        self._apart = _MICROSECONDS / rate
        self._patience = patience
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._giving: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> None:
        """Wait for a turn, unless this call has taken one ahead. Raises `FleetError`."""
        taken = _taken.get()
        if taken and taken[0][0] is self:
            ((_, at),) = taken
            taken.clear()  # for one attempt: another needs another
            if asyncio.get_running_loop().time() - at <= _HOLDS:
                return
        await self.wait(self._patience)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: the turn is used."""

    def ahead(self) -> _Ahead:
        """Take a turn for the first attempt that is made within the block, before it begins."""
        return _Ahead(self)

    async def wait(self, patience: float) -> None:
        """Wait for a turn.

        Args:
            patience: Seconds to wait for a Redis that is away.

        Raises:
            FleetError: Redis is away, or refuses.
            ClientClosed: No turns are given any more.
        """
        if self._closed:
            raise ClientClosed
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, loop.time() + patience))
        if self._giving is None:
            # Neither the caller's own nor in its context: a caller can be cancelled, and others wait as well.
            self._giving = asyncio.Task(self._give(), loop=loop, context=Context())
        await turn

    async def aclose(self) -> None:
        """Give no more turns. Whoever waits for one ahead of a call is refused: there will be no call."""
        self._closed = True
        if self._giving is not None:
            self._giving.cancel()
            await asyncio.wait((self._giving,))
        while self._wanted():
            self._waiting.popleft()[0].set_exception(ClientClosed())

    async def _give(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while wanted := self._wanted():
                asked = [
                    str(self._apart),
                    wanted,
                    int(_AHEAD * _MICROSECONDS),
                    int(_CATCH_UP * _MICROSECONDS),
                ]
                asked_at = loop.time()
                try:
                    given, delay = await self._link.run("turns", [self._key], asked, patience=0.0)
                except FleetError as exc:
                    self._refuse(exc, loop.time())
                    await asyncio.sleep(_AHEAD)
                    continue
                if given:
                    delay /= _MICROSECONDS
                    await self._hand_out(given, loop.time() + delay, asked_at + delay + _LATE, loop)
                else:
                    # Others have taken what there was: with half of what is ahead to share, all get some.
                    await asyncio.sleep(max(delay / _MICROSECONDS, _AHEAD / 2))
        finally:
            self._giving = None

    async def _hand_out(
        self, given: int, first: float, latest: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Give out turns: the first one at `first`, or until `latest`, and the others an interval after the other."""
        for place in range(given):
            after = place * self._apart / _MICROSECONDS
            left = first + after - loop.time()
            if left > 0:
                await asyncio.sleep(left)
            if self._wanted() and (place == 0 or loop.time() <= latest + after):
                self._waiting.popleft()[0].set_result(None)

    def _wanted(self) -> int:
        """How many wait, at least: those who have given up are dropped from the front."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        return len(self._waiting)

    def _refuse(self, error: FleetError, now: float) -> None:
        """Tell those whose patience is over; all of them, where waiting would not help."""
        still: deque[tuple[asyncio.Future[None], float]] = deque()
        for turn, until in self._waiting:
            if turn.done():
                continue
            if error.passing and until > now:
                still.append((turn, until))
            else:
                turn.set_exception(error)
        self._waiting = still


class _Ahead(AbstractAsyncContextManager[None]):
    """A turn that was taken before its call begins."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._token: Any = None

    async def __aenter__(self) -> None:
        await self._turns.wait(float("inf"))
        self._token = _taken.set([(self._turns, asyncio.get_running_loop().time())])

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _taken.reset(self._token)
