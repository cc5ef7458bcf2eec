"""A ready `httpx.AsyncClient` of the user's, used as it is.

Its pool is httpx's own, and that pool loses a slot for good where a call is cancelled between two of its
steps (httpcore 1.0.9: after a connection was assigned and before it is begun, after it is connected and
before the request is begun, and while a finished connection is put away; nothing marks it as closed, and
after as many such cancellations as there are slots, every later call ends in `PoolTimeout`). So:

- An exchange runs in a task of its own. Cancelling the call does not reach it at once.
- It is cancelled where httpcore cleans up after itself: inside a step that its trace reports. Between two
  steps it is given a few passes of the event loop, none of which waits for the network, to reach the
  next one; what is about to send its first byte is stopped there.
"""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from .._waiting import uninterrupted
from ._base import Answer, Exchange
from ._reading import read_answer
from ._trace import Watch

__all__ = ["ReadyClient"]

_PASSES: Final = 16
"""Passes of the event loop that are enough to go from one step of httpcore to the next (it takes 3)."""

_CLEAN_UP: Final = 1.0
"""Seconds to wait at most for httpcore to put a cancelled exchange away."""


class ReadyClient:
    """Exchanges through the user's client, which is not closed here."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def post(self, request: httpx.Request, watch: Watch, exchange: Exchange, max_bytes: int) -> Answer:
        """Send a request through the client and read its answer."""
        request.extensions["trace"] = watch
        task = asyncio.get_running_loop().create_task(self._exchange(request, exchange, max_bytes))
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            watch.stop_before_sending(asyncio.CancelledError())
            ending = asyncio.get_running_loop().create_task(_end(task, watch))
            await uninterrupted(ending)
            ending.result()
            raise
        return task.result()

    async def _exchange(self, request: httpx.Request, exchange: Exchange, max_bytes: int) -> Answer:
        response = await self._client.send(request, stream=True, follow_redirects=False)
        return await read_answer(response, exchange, max_bytes)

    async def aclose(self) -> None:
        """Do nothing: whoever made the client closes it."""


async def _end(task: asyncio.Task[Answer], watch: Watch) -> None:
    """Cancel an exchange where that costs its client no slot."""
    for _ in range(_PASSES):
        if task.done() or watch.interruptible or watch.closing:
            break
        await asyncio.sleep(0)
    if not watch.closing:
        task.cancel()
    await asyncio.wait((task,), timeout=_CLEAN_UP)
    task.cancel()
    if not task.done() or task.cancelled() or task.exception() is not None:
        await watch.close_stream()
