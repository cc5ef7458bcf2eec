"""Observers of a sandbox, which are told that something has changed.

- Changes come from any thread, and an observer may live in an event loop of its own.
- The sandbox waits for no observer, and a slow one fills no memory. It misses a change only while one of the same
  kind waits for it.
- A forgotten observer is gone: the sandbox holds it weakly.
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
"""The kind of a change. `"message"`: an SMS was "sent". `"request"`: a request was answered, or its answer lost.
`"report"`: a delivery report was posted, or could not be. `"pin"`: a PIN was tried, used or replaced (not: that
its time is over). `"switch"`: a setting, or the list of faults to come. `"cleared"`: messages and requests were
forgotten."""

_MOST_WAITING: Final = 256


@attrs.frozen
class Change:
    """Something has changed.

    Args:
        kind: The kind of the change.
    """

    kind: ChangeKind


class Watch:
    """The changes from now on: `async for change in gateway.watch():`.

    It ends when the sandbox is closed. Of changes that are not taken, some 250 wait at most; of more, one of each kind.
    """

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final[deque[ChangeKind]] = deque()
        self._lock: Final = threading.Lock()
        self._awake: Final = asyncio.Event()
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
                self._awake.clear()  # a change from here on sets it through the loop: after this
            await self._awake.wait()

    async def aclose(self) -> None:
        """Watch no more."""
        self.end()

    def skip(self) -> None:
        """Drop the changes that wait: the observer looks at everything anyway."""
        with self._lock:
            self._waiting.clear()

    def tell(self, kind: ChangeKind) -> None:
        """Tell that something has changed. From any thread, as `end`."""
        with self._lock:
            if self._ended or (len(self._waiting) >= _MOST_WAITING and kind in self._waiting):
                return
            self._waiting.append(kind)
            if (
                len(self._waiting) == 1
            ):  # of more, the loop is told already: one that stands still does not fill up
                self._wake()

    def end(self) -> None:
        """End it, after the changes that wait already."""
        with self._lock:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the observer's loop is closed
            self._loop.call_soon_threadsafe(self._awake.set)


class Changes:
    """Tells all observers. From any thread."""

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
            self._watches = (*map(weakref.ref, self._known()), weakref.ref(watch))
        return watch

    def _known(self) -> list[Watch]:
        return [watch for known in self._watches if (watch := known()) is not None]

    def tell(self, kind: ChangeKind) -> None:
        """Tell that something has changed."""
        for watch in self._known():
            watch.tell(kind)

    def close(self) -> None:
        """End every watch."""
        with self._lock:
            self._closed = True
        for watch in self._known():
            watch.end()
