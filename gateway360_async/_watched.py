"""Calls that somebody watches: what `Sharing` does, told to observers.

Why apart: a client that nobody watches neither imports this nor comes by here, and pays nothing.

Rules of this module:

- Each call has a beginning and an end for its observers, whatever becomes of it.
- A call whose result is another one's is told as joined, and has no attempts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ._attempts import Call
from ._results import Ok, PinResult
from ._sharing import Flight, Sharing
from ._verification import NotVerified, Verified, VerifyResult
from .observers import BatchWatch, CallWatch, Watch

__all__ = ["Watched"]

_Result = TypeVar("_Result", PinResult, VerifyResult)
_Taken = TypeVar("_Taken", bound=Ok | Verified | NotVerified)


class Watched:
    """Sends as `Sharing` does.

    Args:
        sharing: What sends.
        watch: Who is told.
    """

    def __init__(self, sharing: Sharing, watch: Watch) -> None:
        self._sharing = sharing
        self._watch = watch

    def batch(self) -> BatchWatch:
        """Watch a batch."""
        return BatchWatch(self._watch)

    async def send(self, call: Flight) -> PinResult:
        """See `Sharing.send`."""
        return await self._told(call, lambda: self._sharing.send(call))

    async def settled(self, call: Flight, *, share: bool) -> PinResult:
        """See `Sharing.settled`."""
        return await self._told(call, lambda: self._sharing.settled(call, share=share))

    async def verify(self, call: Call[Verified | NotVerified]) -> VerifyResult:
        """See `Sharing.verify`."""
        return await self._told(call, lambda: self._sharing.verify(call))

    async def _told(self, call: Call[_Taken], make: Callable[[], Awaitable[_Result]]) -> _Result:
        operation = call.operation
        watch = call.watch = CallWatch(
            self._watch, operation.name, call.number, operation.url, call.loop.time
        )
        try:
            result = await make()
        except BaseException as exc:
            watch.finished(call.left, joined=call.joined, error=exc)
            raise
        watch.finished(result, joined=call.joined)
        return result
