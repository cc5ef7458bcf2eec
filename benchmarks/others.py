"""What people write: an HTTP library, `gather`, a semaphore, and a retry decorator.

Rules of this module:

- Each is written as its library's documentation shows it, and tuned in its favour where the defaults would
  break it: as many connections as requests at a time, all of them kept alive, and no timeout on the wait
  for the library's own pool. None validates, observes phases, caps the answer or keeps a budget.
- The latency is taken inside the semaphore: waiting for a turn is no latency of the library's.
- `gather` makes a task a number, as people do. A task whose turn comes after the time is over does nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .driver import PATH, Job, Load, payload

__all__ = [
    "AioHttp",
    "Httpx",
    "Httpx2",
    "HttpxBare",
    "HttpxOverAiohttp",
    "HttpxStamina",
    "Pyreqwest",
    "ssl_context",
]


def ssl_context(job: Job) -> ssl.SSLContext | None:
    """The context that trusts the server of this run, or `None` without TLS."""
    return None if job.authority is None else ssl.create_default_context(cadata=job.authority)


async def _gathered(
    load: Load, concurrency: int, post: Callable[[str], Awaitable[int]], ends: float | None
) -> None:
    semaphore = asyncio.Semaphore(concurrency)

    async def one(number: str) -> None:
        async with semaphore:
            if ends is not None and time.perf_counter() > ends:
                load.capped = True
                return
            began = time.perf_counter()
            try:
                status = await post(number)
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is shown
                load.error(type(exc).__name__)
                return
            if status == 200:
                load.ok(time.perf_counter() - began)
            else:
                load.error(f"HTTP {status}")

    await asyncio.gather(*(one(number) for number in load.numbers()))


class Httpx:
    """`httpx.AsyncClient` behind a semaphore."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._url = job.base_url + PATH
        self.client: Any = None

    async def open(self) -> None:
        import httpx  # each measurement imports what it measures

        self.client = httpx.AsyncClient(**self._settings(httpx))

    def _settings(self, library: Any) -> dict[str, Any]:
        job = self._job
        limits = library.Limits(max_connections=job.concurrency, max_keepalive_connections=job.concurrency)
        context = ssl_context(job)
        tls = {} if context is None else {"verify": context}
        return {"limits": limits, "timeout": library.Timeout(30.0, pool=None), **tls}

    async def _post(self, number: str) -> int:
        response = await self.client.post(self._url, json=payload(number))
        response.json()
        return int(response.status_code)

    async def run(self, load: Load) -> None:
        await _gathered(load, self._job.concurrency, self._post, time.perf_counter() + self._job.cap)

    async def close(self) -> None:
        await self.client.aclose()


class HttpxBare(Httpx):
    """`httpx.AsyncClient` and `gather`, nothing else: httpx's default limits, and its pool is the queue."""

    def _settings(self, library: Any) -> dict[str, Any]:
        # With the default of 5 s most calls would end in a PoolTimeout, and finish nothing.
        return {"timeout": library.Timeout(60.0, pool=None)}

    async def run(self, load: Load) -> None:
        # All are begun at once, so there is nothing to cut short; whoever started this process may end it.
        await _gathered(load, self._job.requests, self._post, None)


class HttpxStamina(Httpx):
    """`httpx.AsyncClient` behind a semaphore, and stamina's retries around it."""

    async def open(self) -> None:
        await super().open()
        import httpx
        import stamina

        self._retried = stamina.retry(on=httpx.HTTPError, attempts=4)(super()._post)

    async def _post(self, number: str) -> int:
        return await self._retried(number)


class HttpxOverAiohttp(Httpx):
    """httpx's interface on aiohttp's connections (httpx-aiohttp), behind a semaphore."""

    async def open(self) -> None:
        import httpx
        import httpx_aiohttp

        self.client = httpx_aiohttp.HttpxAiohttpClient(**self._settings(httpx))


class Httpx2(Httpx):
    """`httpx2.AsyncClient` behind a semaphore."""

    async def open(self) -> None:
        import httpx2

        self.client = httpx2.AsyncClient(**self._settings(httpx2))


class AioHttp(Httpx):
    """`aiohttp.ClientSession` behind a semaphore, with `json=`."""

    async def open(self) -> None:
        import aiohttp

        context = ssl_context(self._job)
        connector = aiohttp.TCPConnector(
            limit=self._job.concurrency, ssl=True if context is None else context
        )
        self.client = aiohttp.ClientSession(connector=connector)

    async def _post(self, number: str) -> int:
        async with self.client.post(self._url, json=payload(number)) as response:
            await response.json()
            return int(response.status)

    async def close(self) -> None:
        await self.client.close()


class Pyreqwest(Httpx):
    """pyreqwest's client (reqwest, in Rust) behind a semaphore. Its own threads do a part of the work."""

    async def open(self) -> None:
        from datetime import timedelta

        from pyreqwest.client import ClientBuilder

        job = self._job
        builder = ClientBuilder().timeout(timedelta(seconds=30)).max_connections(job.concurrency)
        if job.authority is not None:
            builder = builder.add_root_certificate_pem(job.authority.encode())
        self.client = builder.build()

    async def _post(self, number: str) -> int:
        response = await self.client.post(self._url).body_json(payload(number)).build().send()
        await response.json()
        return int(response.status)

    async def close(self) -> None:
        await self.client.close()
