"""Pieces of asyncio that it lacks."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ._exceptions import WrongEventLoop

__all__ = ["LoopAffinity", "shield_until_done"]


class LoopAffinity:
    """The event loop and the process that an object belongs to: those that use it first.

    From another loop, or after a fork, a request could leave on a socket that another process reads.

    Args:
        name: The name of the object in errors.
    """

    __slots__ = ("_loop", "_name", "_pid")

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def require(self) -> asyncio.AbstractEventLoop:
        """Return the running loop. The first one becomes the owner.

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


async def shield_until_done(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until a future is done, through any cancellation of the current task.

    Args:
        future: Ends by itself, within moments or a deadline of its own. Its result is not looked at.

    Returns:
        The last cancellation that came meanwhile, for the caller to raise; its task remembers it in any case
        (`Task.cancelling`).
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled
