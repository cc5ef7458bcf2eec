"""Ours, as the README shows it, with everything on.

Rules of this module:

- Numbers go in as strings and results come out, so validation, encoding, decoding, the retry policy and
  its budget, the deadline, the observed phases, the cap on the answer and the search for duplicates are
  all in the time. No setting here switches anything off.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from .driver import API_KEY, SENDER, Job, Load
from .others import Httpx, ssl_context

__all__ = ["NullTransport", "Ours", "OursHttpx", "OursStored", "null_client"]


class Ours:
    """`Gateway360Client.batch` over its default transport."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._client: Any = None

    async def _transport(self) -> Any:
        from gateway360_async.transports import DirectTransport  # each measurement imports its own

        context = ssl_context(self._job)
        return None if context is None else DirectTransport(verify=context)

    async def open(self) -> None:
        from gateway360_async import Gateway360Client

        self._client = Gateway360Client(
            API_KEY,
            sender=SENDER,
            base_url=self._job.base_url,
            concurrency=self._job.concurrency,
            transport=await self._transport(),
            **self._settings(),
        )

    async def run(self, load: Load) -> None:
        from gateway360_async import Ok

        async with self._client.batch(load.numbers(), **self._batch_settings()) as batch:
            async for item in batch:
                if isinstance(item.result, Ok):
                    load.ok(item.result.elapsed)
                else:
                    load.error(str(getattr(item.result, "kind", type(item.result).__name__)))

    def _settings(self) -> dict[str, Any]:
        return {}

    def _batch_settings(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        await self._client.aclose()


class OursHttpx(Ours):
    """The same over an `HttpxTransport`, with the ready client that the row "httpx" has."""

    async def _transport(self) -> Any:
        self._httpx = Httpx(self._job)
        await self._httpx.open()
        return self._httpx.client

    async def close(self) -> None:
        await super().close()
        await self._httpx.close()


class OursStored(Ours):
    """The same on a `SqliteStore`: each claim is on the disk before its request, and each result after. A file a run."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._directory = tempfile.TemporaryDirectory(prefix="gateway360-bench-")
        self._runs = 0

    def _settings(self) -> dict[str, Any]:
        from gateway360_async.stores import SqliteStore

        return {"store": SqliteStore(f"{self._directory.name}/bench.db")}

    def _batch_settings(self) -> dict[str, Any]:
        self._runs += 1
        return {"name": f"run {self._runs}"}

    async def close(self) -> None:
        await super().close()
        self._directory.cleanup()


class NullTransport:
    """A transport that answers at once: what is left is our own work."""

    def __init__(self, *, yields: bool = False) -> None:
        from gateway360_async.transports import Answer, Phase

        self._answer = Answer(200, {"content-type": "application/json"}, b'{"status":"ok"}')
        self._phases = Phase
        self._yields = yields

    async def post(
        self,
        url: str,  # noqa: ARG002
        *,
        headers: Mapping[str, str],  # noqa: ARG002
        body: bytes,  # noqa: ARG002
        timeout: Any,  # noqa: ARG002
        max_bytes: int,  # noqa: ARG002
        exchange: Any,
    ) -> Any:
        """Report the phases as any transport does, and answer."""
        exchange.phase = self._phases.SENT
        if self._yields:
            # As a network does: the other workers get their turn, and all of them are alive at a time.
            import asyncio

            await asyncio.sleep(0)
        exchange.phase = self._phases.ANSWERED
        exchange.http_status = 200
        exchange.answer = self._answer
        return self._answer

    async def aclose(self) -> None:
        """Nothing is open."""


def null_client(*, yields: bool = False) -> Any:
    """A client with everything on but a network."""
    from gateway360_async import Gateway360Client

    return Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url="http://127.0.0.1:9",  # never connected to
        transport=NullTransport(yields=yields),
    )
