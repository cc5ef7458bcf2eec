"""Ours, as the README shows it, with everything on.

Rules of this module:

- Numbers go in as strings and results come out, so validation, encoding, decoding, the retry policy and
  its budget, the deadline, the observed phases, the cap on the answer and the search for duplicates are
  all in the time. No setting here switches anything off.
- A transport that the library does not have is "not available": the run goes on without its rows.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from typing import Any

from .driver import API_KEY, SENDER, Job, Load
from .others import ssl_context

__all__ = [
    "NotAvailable",
    "NullTransport",
    "OursAiohttp",
    "OursAiohttpLedger",
    "OursHttpx",
    "OursHttpxLedger",
    "null_client",
]


class NotAvailable(Exception):  # it is no fault
    """Part of the library, or a package beside it, is not there to be measured."""


class OursHttpx:
    """`Gateway360Client.batch` over its default transport."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._client: Any = None

    def _transport(self, context: ssl.SSLContext | None) -> Any:
        from gateway360_async.transports import HttpxTransport

        return None if context is None else HttpxTransport(verify=context)

    async def open(self) -> None:
        from gateway360_async import Gateway360Client  # each measurement imports its own

        self._client = Gateway360Client(
            API_KEY,
            sender=SENDER,
            base_url=self._job.base_url,
            concurrency=self._job.concurrency,
            transport=self._transport(ssl_context(self._job)),
        )

    async def run(self, load: Load) -> None:
        from gateway360_async import Ok

        async with self._client.batch(load.numbers(), **self._batch_settings()) as batch:
            async for item in batch:
                if isinstance(item.result, Ok):
                    load.ok(item.result.elapsed)
                else:
                    load.error(str(getattr(item.result, "kind", type(item.result).__name__)))

    def _batch_settings(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        await self._client.aclose()


class _WithLedger(OursHttpx):
    """The same, with each intent on the disk before its request, and each outcome after. A file a run."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._directory = tempfile.TemporaryDirectory(prefix="gateway360-bench-")
        self._runs = 0

    def _batch_settings(self) -> dict[str, Any]:
        from gateway360_async.ledgers import SqliteLedger

        self._runs += 1
        return {"ledger": SqliteLedger(f"{self._directory.name}/{self._runs}.ledger")}

    async def close(self) -> None:
        await super().close()
        self._directory.cleanup()


class OursAiohttp(OursHttpx):
    """`Gateway360Client.batch` over the aiohttp transport."""

    def _transport(self, context: ssl.SSLContext | None) -> Any:
        from gateway360_async import transports

        try:
            transport = transports.AiohttpTransport  # type: ignore[attr-defined, unused-ignore]
        except (AttributeError, ImportError) as exc:
            raise NotAvailable("gateway360_async.transports has no AiohttpTransport") from exc
        return transport() if context is None else transport(verify=context)


class OursHttpxLedger(_WithLedger, OursHttpx):
    """With a ledger, over the default transport."""


class OursAiohttpLedger(_WithLedger, OursAiohttp):
    """With a ledger, over the aiohttp transport."""


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
