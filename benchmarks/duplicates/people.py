"""What people write: an HTTP library, and a retry around it.

Rules of this module:

- Each is written as its library's documentation shows it; what that leaves open is set as `settings` says.
- A call ends where people have their answer: the status is checked and the JSON is read, inside the retry
  where the library's way of retrying allows it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from ..driver import PATH, payload
from .settings import NUMBER, PAUSE, TIMEOUT, TRIES

__all__ = [
    "aiohttp_retry",
    "aiohttp_retry_on",
    "httpx_alone",
    "httpx_loop",
    "httpx_retries",
    "httpx_stamina",
    "httpx_tenacity",
]

Call = Callable[[], Awaitable[str]]


@contextlib.asynccontextmanager
async def _httpx(base_url: str, **settings: Any) -> AsyncGenerator[Call, None]:
    import httpx

    async with httpx.AsyncClient(timeout=TIMEOUT, **settings) as client:

        async def post() -> str:
            response = await client.post(base_url + PATH, json=payload(NUMBER))
            response.raise_for_status()
            response.json()
            return "returned"

        yield post


def httpx_alone(base_url: str) -> contextlib.AbstractAsyncContextManager[Call]:
    """`httpx.AsyncClient`, and no retries."""
    return _httpx(base_url)


@contextlib.asynccontextmanager
async def httpx_loop(base_url: str) -> AsyncGenerator[Call, None]:
    """Three tries by hand."""
    import httpx

    async with _httpx(base_url) as post:

        async def call() -> str:
            for turn in range(TRIES):
                try:
                    return await post()
                except httpx.HTTPError:
                    if turn == TRIES - 1:
                        raise
                    await asyncio.sleep(PAUSE)
            raise AssertionError

        yield call


@contextlib.asynccontextmanager
async def httpx_stamina(base_url: str) -> AsyncGenerator[Call, None]:
    """`stamina.retry`, as its README shows it."""
    import httpx
    import stamina

    async with _httpx(base_url) as post:
        yield stamina.retry(on=httpx.HTTPError, attempts=TRIES, wait_initial=PAUSE, wait_jitter=0.0)(post)


@contextlib.asynccontextmanager
async def httpx_tenacity(base_url: str) -> AsyncGenerator[Call, None]:
    """`tenacity.retry`, which by default retries on any exception."""
    import tenacity

    async with _httpx(base_url) as post:
        yield tenacity.retry(
            stop=tenacity.stop_after_attempt(TRIES), wait=tenacity.wait_fixed(PAUSE), reraise=True
        )(post)


@contextlib.asynccontextmanager
async def httpx_retries(base_url: str) -> AsyncGenerator[Call, None]:
    """httpx-retries, told to retry POST as well: by default it does not."""
    from httpx_retries import Retry, RetryTransport

    retry = Retry(total=TRIES - 1, backoff_factor=PAUSE, allowed_methods=["GET", "POST"])
    async with _httpx(base_url, transport=RetryTransport(retry=retry)) as post:
        yield post


@contextlib.asynccontextmanager
async def _aiohttp_retry(base_url: str, **options: Any) -> AsyncGenerator[Call, None]:
    import aiohttp
    from aiohttp_retry import ExponentialRetry, RetryClient

    async with RetryClient(
        raise_for_status=True,
        retry_options=ExponentialRetry(attempts=TRIES, start_timeout=PAUSE / 2, **options),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    ) as client:

        async def call() -> str:
            async with client.post(base_url + PATH, json=payload(NUMBER)) as response:
                await response.json()
                return "returned"

        yield call


def aiohttp_retry(base_url: str) -> contextlib.AbstractAsyncContextManager[Call]:
    """aiohttp-retry, whose default is every method and every 5xx."""
    return _aiohttp_retry(base_url)


def aiohttp_retry_on(base_url: str) -> contextlib.AbstractAsyncContextManager[Call]:
    """aiohttp-retry, told the exceptions to retry on and 429, as its documentation shows."""
    import aiohttp

    return _aiohttp_retry(base_url, exceptions={aiohttp.ClientError, TimeoutError}, statuses={429})
