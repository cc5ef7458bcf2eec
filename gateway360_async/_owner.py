"""To whom a client belongs: the event loop, and the process, that use it first.

Why: its connections, its timers and its waiters are that loop's. From another one, or after a fork, a request
could leave on a socket that somebody else reads.
"""

from __future__ import annotations

import asyncio
import os

from ._errors import WrongEventLoop

__all__ = ["Owner"]


class Owner:
    """The event loop and the process that use a client first."""

    __slots__ = ("_loop", "_pid")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def require(self) -> asyncio.AbstractEventLoop:
        """Give the running loop, which is taken for the owner if there is none yet.

        Raises:
            WrongEventLoop: The client belongs to another event loop or process.
        """
        # The process first: in the child of a fork, asyncio denies that its parent's loop is running.
        if self._loop is not None and self._pid != os.getpid():
            raise WrongEventLoop(
                "this client was used before a fork: make one in each process; nothing was sent"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._pid = os.getpid()
        elif self._loop is not loop:
            raise WrongEventLoop(
                "this client belongs to another event loop: make one in each; nothing was sent"
            )
        return loop
