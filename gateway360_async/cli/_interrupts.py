"""What Ctrl-C and SIGTERM do to a batch.

Rules of this module:

- Ctrl-C begins nothing more, and waits for the answers that are outstanding: each of them is an SMS that is known
  of rather than one that may have been sent. A call ends with its deadline, so this wait ends as well.
- A second Ctrl-C, and a SIGTERM, wait no longer: what is in flight is cancelled, and becomes a result.
- When the batch has ended, neither does anything: its summary and its page are written to their end, and the
  process ends with the code that says what became of the batch. The event loop would undo its handlers when it is
  closed, and a signal be deadly again; so the process itself ignores both from then on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from ._problems import INTERRUPTED, TERMINATED

__all__ = ["Interrupts"]


class Interrupts:
    """Handles the signals while it is entered, where the event loop can: on Windows, Ctrl-C cancels at once.

    Args:
        stop: Lets nothing more begin.
        say: Called at the first Ctrl-C.
    """

    def __init__(self, stop: Callable[[], None], say: Callable[[], None]) -> None:
        self.code: int | None = None
        """The exit code, if somebody interrupted the batch."""
        self._stop = stop
        self._say = say
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._over = False

    def __enter__(self) -> Self:
        with suppress(NotImplementedError):
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
            loop.add_signal_handler(signal.SIGTERM, self._terminate)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self) -> None:
        if self._over:
            return
        if self.code is not None:
            self._task.cancel()
            return
        self.code = INTERRUPTED
        self._stop()
        self._say()

    def _terminate(self) -> None:
        if self._over:
            return
        self.code = TERMINATED
        self._stop()
        self._task.cancel()
