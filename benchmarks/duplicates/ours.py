"""Ours, over both transports, with the default retry policy."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from ..driver import API_KEY, SENDER
from .settings import NUMBER, PAUSE, TIMEOUT

__all__ = ["as_it_comes", "over_httpx"]


@contextlib.asynccontextmanager
async def _ours(base_url: str, transport: Any) -> AsyncGenerator[Callable[[], Awaitable[str]], None]:
    from gateway360_async import Gateway360Client, RetryPolicy

    async with Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url=base_url,
        transport=transport,
        timeout=TIMEOUT,
        retry=RetryPolicy(base_delay=PAUSE),
    ) as client:

        async def call() -> str:
            result = await client.request_pin(NUMBER)
            return result.disposition.value

        yield call


def as_it_comes(base_url: str) -> contextlib.AbstractAsyncContextManager[Callable[[], Awaitable[str]]]:
    """Over the default transport."""
    return _ours(base_url, None)


def over_httpx(base_url: str) -> contextlib.AbstractAsyncContextManager[Callable[[], Awaitable[str]]]:
    """Over httpx."""
    from gateway360_async.transports import HttpxTransport

    return _ours(base_url, HttpxTransport())
