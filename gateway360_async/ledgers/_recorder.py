"""Sends a batch's entries with their intents and outcomes on record.

Rules of this module:

- What an earlier run settled is skipped, with its result. What it left open is `MAYBE_SENT`, and is sent
  again only where the caller says so.
- A result is known before it is on record. It is given out when it is, or when that has failed: a ledger that
  fails ends the batch, but takes no result with it. What could not be recorded is unknown to the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .._errors import LedgerError
from .._payloads import PinRequest
from .._results import BatchResult, Disposition, FailureKind, PinResult, Skipped, SkipReason, TransportFailure
from .._waiting import uninterrupted
from ._base import Ledger, LedgerScope, LedgerSession

__all__ = ["Recorder"]


class Recorder:
    """A batch's way to its ledger.

    Args:
        ledger: The ledger.
        scope: What the batch's entries have in common.
        send: Sends a request, as `Batch` wants it sent.
        resend_unknown: Whether to send again what may have been sent.
    """

    def __init__(
        self,
        ledger: Ledger,
        scope: LedgerScope,
        send: Callable[[PinRequest, Callable[[], bool]], Awaitable[PinResult]],
        *,
        resend_unknown: bool,
    ) -> None:
        self._ledger = ledger
        self._scope = scope
        self._send = send
        self._resend_unknown = resend_unknown
        self._session: LedgerSession | None = None
        self._on_record: dict[int, asyncio.Future[None]] = {}

    async def open(self) -> None:
        """Take hold of the ledger. Raises `LedgerError`."""
        self._session = await self._ledger.open(self._scope)

    async def aclose(self) -> None:
        """Make durable what is not yet, and let go of the ledger.

        Raises:
            LedgerError: An outcome could not be recorded, and nobody has asked for it.
        """
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()
        left, self._on_record = self._on_record, {}
        outcomes = await asyncio.gather(*left.values(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def on_record(self, index: int) -> asyncio.Future[None] | None:
        """What becomes done when an entry's outcome is durable, or failed with a `LedgerError`. Ask once."""
        return self._on_record.pop(index, None)

    async def send(self, index: int, request: PinRequest, halted: Callable[[], bool]) -> BatchResult:
        """Send an entry, unless an earlier run has. A cancellation becomes a result.

        Raises:
            LedgerError: Its intent could not be recorded; nothing was sent.
        """
        session = self._opened()
        try:
            left = await session.begin(index, request, resend_unknown=self._resend_unknown)
        except asyncio.CancelledError:
            # It may have got there all the same; and what an earlier run left of it stands.
            looking = asyncio.ensure_future(session.recorded(index, request))
            await uninterrupted(looking)  # it takes a moment, and the task remembers its cancellation
            before = looking.result()
            if before is not None:
                return _as_left(before.result)
            detail = "cancelled before its intent was on record"
            unsent = TransportFailure(FailureKind.CANCELLED, Disposition.NOT_SENT, detail=detail)
            self._settle(session, index, unsent)
            return unsent
        if left is not None and not left.begun_again:
            return _as_left(left.result)
        try:
            result = await self._send(request, halted)
        except Exception:
            # Raised rather than returned, so nothing was sent.
            self._settle(session, index, TransportFailure(FailureKind.UNEXPECTED, Disposition.NOT_SENT))
            raise
        self._settle(session, index, result)
        if left is not None and result.disposition is Disposition.NOT_SENT:
            # Not this time; but what was left open is not closed by that.
            detail = f"an earlier run may have sent it; this time: {result}"
            report_id = None if left.result is None else left.result.report_id
            return TransportFailure(
                FailureKind.INTERRUPTED, Disposition.MAYBE_SENT, detail=detail, report_id=report_id
            )
        return result

    async def left(self, index: int, request: PinRequest) -> BatchResult | None:
        """What an earlier run left of an entry that this one is not to send. Raises `LedgerError`."""
        before = await self._opened().recorded(index, request)
        return None if before is None else _as_left(before.result)

    def _opened(self) -> LedgerSession:
        if self._session is None:
            raise LedgerError("is not open", "a batch inside its `async with` block")
        return self._session

    def _settle(self, session: LedgerSession, index: int, result: PinResult) -> None:
        self._on_record[index] = asyncio.ensure_future(session.settle(index, result))


def _as_left(result: PinResult | None) -> BatchResult:
    if result is not None:
        return Skipped(SkipReason.ALREADY_SETTLED, "an earlier run of this batch settled it", result)
    detail = "an earlier run of this batch ended before its outcome was known"
    return TransportFailure(FailureKind.INTERRUPTED, Disposition.MAYBE_SENT, detail=detail)
