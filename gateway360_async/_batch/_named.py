"""A batch with a name: its rows are claimed in blocks, sent by workers, and given out once their results are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

from .._exceptions import StoreError
from .._results import BatchResult, FailureKind, PinResult, TransportFailure
from .._runner._records import not_sent
from .._runner._session import Lease
from ._batch import Batch, current_task, halted, unsent
from ._input import InputReader
from ._records import Row
from ._report import BatchItem
from ._rows import AHEAD, OVER, RowClaims

__all__ = ["NamedBatch"]

_MOST_CLAIMED: Final = 100
"""Rows that are read and claimed at once, at most: more would hold the exchanges up."""

_Recorded: TypeAlias = "asyncio.Future[Sequence[bool]] | None"
"""Done when a result is recorded; `None`: it is, or needs not be."""


class NamedBatch(Batch):
    """A batch with a name.

    Args:
        reader: As of a `Batch`.
        rows: Claims the rows.
        concurrency: As of a `Batch`.
        settings: The others of a `Batch`.
    """

    _looks_when_halted = True

    def __init__(
        self,
        reader: InputReader,
        *,
        rows: RowClaims,
        concurrency: int,
        **settings: Any,
    ) -> None:
        super().__init__(reader, concurrency=concurrency, **settings)
        self._rows = rows
        # Rows that are claimed and not yet given out: so many ahead of the exchanges.
        self._ahead = asyncio.Semaphore(concurrency + AHEAD)
        self._most_readers = 1 if self._permits is None and reader.is_at_hand else concurrency + AHEAD
        self._leased: asyncio.Queue[tuple[Row, Lease] | None] = asyncio.Queue()
        self._recorded: asyncio.Queue[tuple[BatchItem, _Recorded] | None] = asyncio.Queue()
        self._senders: set[asyncio.Task[None]] = set()

    async def _begin(self) -> None:
        await self._rows.open()
        self._add_reader()
        self._start(self._hand_over())

    async def _release(self) -> None:
        while not self._leased.empty():
            if (leased := self._leased.get_nowait()) is not None:
                row, lease = leased
                self._record(row, *self._rows.release(lease, "cancelled before it was sent"))
        while not self._recorded.empty():
            if (done := self._recorded.get_nowait()) is not None:
                item, recorded = done
                if recorded is not None:
                    await asyncio.wait((recorded,))
                self._keep(item)
        for row, result in self._rows.left_aside():
            self._keep(BatchItem(row.index, row.request, result, row.source))

    def _keep(self, item: BatchItem) -> None:
        self._counters.count(item.result)
        self._unconsumed.append(item)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._senders.discard(worker)
        super()._worker_ended(worker)
        if not self._readers:
            for _ in self._senders:
                self._leased.put_nowait(None)
            if not self._senders:
                self._recorded.put_nowait(None)

    async def _work(self) -> None:
        """Read rows and claim them, in blocks where they are at hand, for the senders to send."""
        worker, rows = current_task(), self._rows
        try:
            while not (self._leaving or self._stopped):
                if rows.is_due:
                    self._add_reader()  # it reads on meanwhile
                    await self._look_aside(worker)
                    if len(self._readers) > self._most_readers:
                        return
                await self._ahead.acquire()
                block = await self._next_rows(worker)
                if block:
                    await self._claim(block)
                elif not await self._look_aside(worker):
                    return
                if worker.cancelling():
                    raise asyncio.CancelledError  # a claim made results of it, and it still stands
        finally:
            self._readers.discard(worker)  # at once: a worker that looked aside leaves the rows to the others

    async def _next_rows(self, worker: asyncio.Task[None]) -> list[Row]:
        """Read rows that are to be claimed, one of `_ahead` for each.

        The caller has acquired the first one's, which is released where there are no more.
        """
        rows: list[Row] = []
        try:
            while (row := self._rows.next_freed() or await self._next_claimable(worker)) is not None:
                rows.append(row)
                if self._most_readers > 1 or len(rows) == _MOST_CLAIMED or self._ahead.locked():
                    return rows
                await self._ahead.acquire()
        except Exception as exc:  # noqa: BLE001  # it is raised when all is given out
            self._break_off(exc)
        except BaseException:
            self._rows.put_back(rows)
            raise
        self._ahead.release()
        return rows

    async def _next_claimable(self, worker: asyncio.Task[None]) -> Row | None:
        while (numbered := await self._next_row(worker)) is not None:
            index, source, request = numbered
            try:
                row = self._rows.row(index, source, request)
            except StoreError as exc:
                await self._deliver(BatchItem(index, request, unsent(exc), source), worker)
                raise
            ready = self._rows.mixed(row) if self._reader.is_at_hand else row
            if ready is not None:
                return ready
        return self._rows.next_mixed()

    async def _claim(self, rows: list[Row]) -> None:
        """Claim rows: those that are granted go to the senders, the results of others are recorded."""
        claimed: Sequence[Lease | BatchResult | None]
        try:
            if self._halted_by is not None:
                # The result of an earlier run is true all the same.
                skipped = halted(self._halted_by)
                claimed = [left or skipped for left in await self._rows.left(rows)]
            else:
                claimed = await self._rows.claim(rows, self._is_over)
        except Exception as exc:
            for row in rows:
                self._record(row, unsent(exc))
            raise
        for row, one in zip(rows, claimed, strict=True):
            if one is None:
                self._ahead.release()
            elif isinstance(one, Lease):
                self._leased.put_nowait((row, one))
            else:
                self._record(row, one)
        for _ in range(min(self._leased.qsize(), self._concurrency - len(self._senders))):
            self._senders.add(self._start(self._send_rows()))

    async def _send_rows(self) -> None:
        """Send the rows that are claimed, until there are no more to come."""
        worker = current_task()
        while (leased := await self._leased.get()) is not None:
            row, lease = leased
            if self._is_over():
                self._record(row, *self._rows.release(lease, OVER))
                continue
            try:
                result = cast("PinResult", await self._send(row.request, self._has_halted, lease))
            except Exception as exc:  # noqa: BLE001  # it is raised when all is given out
                self._rows.recorded(lease, not_sent(FailureKind.UNEXPECTED, ""))  # raised, so not sent
                self._record(row, unsent(exc))
                self._break_off(exc)
            else:
                self._record(row, result, self._rows.recorded(lease, result))
            if worker.cancelling():
                raise asyncio.CancelledError  # `send` made a result of it, and it still stands

    def _record(self, row: Row, result: BatchResult, recorded: _Recorded = None) -> None:
        """Have a row's result given out once it is recorded."""
        result = self._noted(self._rows.of_row(row, result))
        if self._stopped and _was_not_begun(result):
            self._ahead.release()
        else:
            item = BatchItem(row.index, row.request, result, row.source)
            self._recorded.put_nowait((item, recorded))

    async def _hand_over(self) -> None:
        """Give rows out once their results are recorded, in the order of the results."""
        worker = current_task()
        while (done := await self._recorded.get()) is not None:
            item, recorded = done
            if recorded is not None and not recorded.done():
                try:
                    # A store that is away is waited for no longer than its timeout.
                    await asyncio.wait((recorded,))
                except asyncio.CancelledError:
                    self._recorded.put_nowait(done)
                    raise
            await self._deliver(item, worker)
            self._ahead.release()

    async def _look_aside(self, worker: asyncio.Task[None]) -> bool:
        """Give out the rows of other holders that are known now, and say whether there are any, or some are free."""
        known = await self._rows.look_aside()
        cancelled: asyncio.CancelledError | None = None
        for row, result in known:
            try:
                await self._deliver(BatchItem(row.index, row.request, result, row.source), worker)
            except asyncio.CancelledError as exc:
                cancelled = exc  # the others are counted all the same
        if cancelled is not None:
            raise cancelled
        for _ in range(min(self._rows.freed, self._most_readers - len(self._readers))):
            self._add_reader()
        return bool(known or self._rows.freed)


def _was_not_begun(result: BatchResult) -> bool:
    """Say whether a batch ended before it made the first attempt at a row."""
    return (
        isinstance(result, TransportFailure) and result.kind is FailureKind.CANCELLED and not result.attempts
    )
