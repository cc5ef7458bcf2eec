"""Who watches a sandbox is told that something has changed, and looks for itself what it is.

Rules of this module:

- Changes come from any thread, and a watcher may live in an event loop of its own: what crosses between them
  goes under a lock and through `call_soon_threadsafe`.
- Nobody waits for a watcher, and one that is slow fills no memory. What it is not told because too much waits
  for it already, it will see: a change of the same kind is among that.
- A watcher that is forgotten is gone: it is held by who watches, and by nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from typing import Final, Literal, Self, TypeAlias

import attrs

__all__ = ["Change", "ChangeKind", "Changes", "Watch"]

ChangeKind: TypeAlias = Literal["message", "request", "report", "pin", "switch", "cleared"]
"""What has changed. `"message"`: an SMS was "sent". `"request"`: a request was answered, or its answer lost.
`"report"`: a delivery report was posted, or could not be. `"pin"`: a PIN was tried, used or replaced (not: that
its time is over, which is nobody's doing). `"switch"`: a setting, or the list of faults to come. `"cleared"`:
messages and requests were forgotten."""

_MOST_WAITING: Final = 256


@attrs.frozen
class Change:
    """Something has changed.

    Args:
        kind: What it is.
    """

    kind: ChangeKind


class Watch:
    """What changes from now on: `async for change in gateway.watch():`. It ends when the sandbox is closed.

    Of changes that nobody takes, some 250 wait at most; of more, one of each kind.
    """

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final[deque[ChangeKind]] = deque()
        self._lock: Final = threading.Lock()
        self._awake: Final = asyncio.Event()
        self._waking = False
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while True:
            with self._lock:
                if self._waiting:
                    return Change(self._waiting.popleft())
                if self._ended:
                    raise StopAsyncIteration
                # Whoever changes anything from here on wakes it through the loop: after this.
                self._awake.clear()
            await self._awake.wait()

    async def aclose(self) -> None:
        """Watch no more."""
        self.end()

    def tell(self, kind: ChangeKind) -> None:
        """Tell that something has changed. From any thread, as `end`."""
        with self._lock:
            if self._ended or (len(self._waiting) >= _MOST_WAITING and kind in self._waiting):
                return
            self._waiting.append(kind)
            self._wake()

    def end(self) -> None:
        """End it, after what waits already."""
        with self._lock:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        # Once, until the loop has done it: a loop that stands still does not fill with it.
        if not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the watcher's loop is closed
                self._loop.call_soon_threadsafe(self._rouse)

    def _rouse(self) -> None:
        with self._lock:
            self._waking = False
            self._awake.set()


class Changes:
    """Tells all who watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: tuple[weakref.ref[Watch], ...] = ()
        self._closed = False

    def watch(self) -> Watch:
        """Begin to watch.

        Raises:
            RuntimeError: No event loop runs here.
        """
        watch = Watch()
        with self._lock:
            if self._closed:
                watch.end()
            # A new tuple: another thread may go through the old one.
            self._watches = (*(known for known in self._watches if known() is not None), weakref.ref(watch))
        return watch

    def tell(self, kind: ChangeKind) -> None:
        """Tell that something has changed. From any thread."""
        for known in self._watches:
            if (watch := known()) is not None:
                watch.tell(kind)

    def close(self) -> None:
        """End every watch."""
        with self._lock:
            self._closed = True
        for known in self._watches:
            if (watch := known()) is not None:
                watch.end()
