"""Waiting for something that ends by itself, and must not be left in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["uninterrupted"]


async def uninterrupted(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until a future is done, through any cancellation of the one who waits.

    Args:
        future: What ends by itself, within moments or a deadline of its own. Its result is not looked at.

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
