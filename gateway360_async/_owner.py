"""The event loop and the process that use a client or a store first: it belongs to them.

Why: its connections, its timers and its waiters are that loop's. From another one, or after a fork, a request
could leave on a socket that another process reads.
"""

from __future__ import annotations

import asyncio
import os

from ._errors import WrongEventLoop

__all__ = ["Owner"]


class Owner:
    """The event loop and the process that use an object first.

    Args:
        name: What the object is called.
    """

    __slots__ = ("_loop", "_name", "_pid")

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def require(self) -> asyncio.AbstractEventLoop:
        """Give the running loop, which is taken for the owner if there is none yet.

        Raises:
            WrongEventLoop: The object belongs to another event loop or process.
        """
        # The process first: in the child of a fork, asyncio denies that its parent's loop is running.
        if self._loop is not None and self._pid != os.getpid():
            raise WrongEventLoop(
                f"this {self._name} was used before a fork: make one in each process; nothing was sent"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._pid = os.getpid()
        elif self._loop is not loop:
            raise WrongEventLoop(
                f"this {self._name} belongs to another event loop: make one in each, or share one client of "
                "gateway360_async.blocking among all; nothing was sent"
            )
        return loop
