"""Many requests: bounded workers, results as they complete, each number once.

Rules of this module:

- It knows no client: it is handed one callable that builds a request from an entry, and one that sends
  it. The latter turns a cancellation of the batch's own tasks into a result, so that what was cancelled
  is known as well as what was answered.
- The input is read when a worker is free, and a worker waits until its result has been taken: memory
  grows with the concurrency, not with the input, but for one integer for each number sent to.
- A batch with a name shares the work out, for a store answers many questions as fast as one: a worker reads and claims
  blocks of rows, others send them, and one hands over what is on record.
- Nothing is lost: every entry that was read comes out as an item, or in `report.unconsumed` if the block was
  left before.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false, reportUnnecessaryComparison=false, reportUnnecessaryContains=false

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias, cast

from ._bounds import Places
from ._error_ids import ErrorId
from ._errors import InvalidConfiguration, InvalidRequest, StoreError
from ._payloads import PinRequest
from ._permits import Permits
from ._reports import BatchItem, BatchReport, Tally
from ._results import (
    ApiError,
    BatchResult,
    Disposition,
    FailureKind,
    Ok,
    Skipped,
    SkipReason,
    TransportFailure,
)
from ._source import Source
from ._waiting import uninterrupted

if TYPE_CHECKING:
    from ._claims._named import NamedBatch, Row
    from ._claims._session import Lease

__all__ = ["HALT_ON", "Batch", "Send"]

_logger = logging.getLogger("gateway360_async")

HALT_ON: Final[frozenset[ErrorId | str]] = frozenset({ErrorId.UNAUTHORIZED, ErrorId.NOT_ENOUGH_BALANCE})
"""The errors of the whole account: every other request would get them too."""

_MOST_CLAIMED: Final = 100
"""Rows that are read and claimed at once, at most: more would hold the exchanges up."""

Send: TypeAlias = Callable[..., Awaitable[BatchResult]]
"""Sends a request. Before its first byte it asks the second argument whether the batch has halted; a
cancellation it turns into a result; and it raises only where nothing was sent. Where there is a rate, the third argument
is when the row's permit was granted."""


class Progress(Protocol):
    """Is told how far a batch has come: after each entry, and once more when it has ended."""

    def __call__(
        self, total: int, by_disposition: Mapping[Disposition, int], elapsed: float, *, finished: bool
    ) -> None: ...


class Batch:
    """Many requests. `Gateway360Client.batch` makes one; use it once, as an async context manager.

    Iterate over it for a `BatchItem` an entry, as they complete. Leaving the block early, by `break`,
    `return`, an exception or a cancellation, cancels what is in flight, waits until each of those calls
    is settled, and reads nothing more; `report.unconsumed` then holds what was settled and not taken.

    An error in the input itself, and an error that is raised rather than returned (a closed client), ends
    the batch: what is in flight is settled and given out first, then the error is raised.
    """

    def __init__(
        self,
        source: Source,
        *,
        build: Callable[[object], PinRequest],
        send: Send,
        cancel: Callable[[Iterable[asyncio.Task[None]]], None] | None = None,
        named: NamedBatch | None = None,
        progress: Progress | None = None,
        permits: Permits | None = None,
        store_timeout: float = 0.0,
        concurrency: int,
        on_duplicate: Literal["skip", "send"],
        halt_on: Collection[ErrorId | str],
    ) -> None:
        if on_duplicate not in ("skip", "send"):
            raise InvalidConfiguration("on_duplicate", f"is {on_duplicate!r}", "'skip' or 'send'")
        if isinstance(halt_on, str) or not isinstance(halt_on, Collection):
            raise InvalidConfiguration(
                "halt_on", f"is of type {type(halt_on).__name__}", "a collection of error ids"
            )
        self._permits = permits
        self._store_timeout = store_timeout
        self._pacing = asyncio.Lock()
        self._source = source
        self._build = build
        self._send = send
        self._cancel = cancel or _cancel
        self._named = named
        self._progress = progress
        self._concurrency = concurrency
        self._most_workers = concurrency
        if named is not None:
            # Rows that are claimed and not yet given out: so many ahead of the exchanges.
            self._open = Places(concurrency + named.ahead)
            if named.takes_blocks and self._source.is_at_hand:
                self._most_workers = 1
            else:
                self._most_workers += named.ahead
        self._leased: deque[tuple[Row, Lease]] = deque()
        self._to_send = Places(0)
        self._recorded: deque[tuple[BatchItem, asyncio.Future[Sequence[bool]] | None]] = deque()
        self._more_recorded = asyncio.Event()
        self._halt_on = frozenset(halt_on)
        # Digits are kept as an int: 32 bytes and a place in the set, where a string takes twice that.
        self._seen: set[int] | None = set() if on_duplicate == "skip" else None
        # The items that nobody has taken yet; `None` is the end, and stays. Who takes one waits until one
        # is there, who brings one until there is room: each is a matter of places.
        self._items: deque[BatchItem | None] = deque()
        self._ready = Places(0)
        self._room = Places(concurrency)
        self._readers: set[asyncio.Task[None]] = set()
        """The workers that read the input: of a batch without a name, all."""
        self._senders: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._tally = Tally()
        self._unconsumed: list[BatchItem] = []
        self._halted_by: ApiError | None = None
        self._error: BaseException | None = None
        self._stopped = False
        self._stopping = False
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def report(self) -> BatchReport:
        """What has become of the batch so far; whole once the block has been left."""
        return self._tally.report(
            halted_by=self._halted_by, elapsed=self._elapsed(), unconsumed=tuple(self._unconsumed)
        )

    def stop(self) -> None:
        """Begin nothing more. The results of what is on its way come as before; entries that were not begun do not."""
        self._stopped = True
        self._source.ended = True
        self._let_go()

    def _is_over(self) -> bool:
        return self._stopped or self._halted_by is not None

    def _let_go(self) -> None:
        """Let rows wait no longer for permits to be sent."""
        if self._permits is not None:
            self._permits.let_go()

    def _elapsed(self) -> float:
        began = time.monotonic() if self._began is None else self._began
        ended = time.monotonic() if self._ended is None else self._ended
        return ended - began

    async def __aenter__(self) -> Self:
        if self._began is not None:
            raise RuntimeError("a batch can be used once: make another with client.batch()")
        self._began = time.monotonic()
        if self._named is not None:
            await self._named.open()
        self._add_worker()
        if self._named is not None:
            self._begin_work(self._hand_over_recorded())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping = True
        settled = asyncio.get_running_loop().create_task(self._settle())
        # A cancellation is kept until all is settled: half a report would say nothing.
        cancelled = await uninterrupted(settled)
        settled.result()
        if cancelled is not None:
            raise cancelled
        if isinstance(self._error, StoreError):  # nothing was taken since
            error, self._error = self._error, None
            _leave_our_frames(error)
            if exc is None:
                raise error
            exc.add_note(str(error))

    async def _settle(self) -> None:
        self._keep_untaken()
        while self._workers:
            self._cancel(self._workers)
            await asyncio.wait(self._workers)
        self._keep_untaken()
        if self._named is not None:
            await self._settle_named(self._named)
        self._end()

    async def _settle_named(self, named: NamedBatch) -> None:
        """Release the rows that were claimed and not begun, and count each that was not given out."""
        while self._leased:
            row, lease = self._leased.popleft()
            self._record(named, row, *named.release(lease))
        for item, recorded in self._recorded:
            if recorded is not None:
                await asyncio.wait((recorded,))
            self._tally.count(item.result)
            self._unconsumed.append(item)
        for row, result in named.left_aside():
            self._tally.count(result)
            self._unconsumed.append(BatchItem(row.index, row.request, result, row.entry))

    def _keep_untaken(self) -> None:
        while self._items:
            if (item := self._items.popleft()) is not None:
                self._unconsumed.append(item)

    def _end(self) -> None:
        """Tell whoever iterates, now or later, that there is nothing more."""
        if self._ended is None:
            self._ended = time.monotonic()
            if self._progress is not None:
                self._tell(self._progress, finished=True)
        self._put(None)

    def _tell(self, progress: Progress, *, finished: bool) -> None:
        counts = self._tally.by_disposition()
        progress(counts.total(), counts, self._elapsed(), finished=finished)

    def _put(self, item: BatchItem | None) -> None:
        self._items.append(item)
        self._ready.give()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchItem:
        if self._began is None:
            raise RuntimeError(
                "a batch is an async context manager: use `async with client.batch(…) as batch`"
            )
        while True:
            if not self._ready.take_now():
                await self._ready.take()
            if self._items:  # or whoever left the block just now has kept it
                break
        item = self._items.popleft()
        if item is not None:
            self._room.give()
            return item
        self._put(None)
        error, self._error = self._error, None
        if error is not None:
            _leave_our_frames(error)
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            # As Python does for generators: it would pass for the end of the batch.
            name = type(error).__name__
            raise RuntimeError(f"the input, or the limiter, raised {name}") from error  # noqa: TRY004
        if error is not None:
            raise error
        raise StopAsyncIteration

    def _add_worker(self) -> None:
        if self._named is not None:
            work = self._claim_rows(self._named)
        else:
            work = self._work() if self._permits is None else self._work_at(self._permits)
        self._readers.add(self._begin_work(work))

    def _begin_work(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Not by the loop's factory, which may begin it here and now, before it is known.
        worker = asyncio.Task(work, loop=asyncio.get_running_loop())
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)
        return worker

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        for workers in (self._workers, self._readers, self._senders):
            workers.discard(worker)
        error = asyncio.CancelledError() if worker.cancelled() else worker.exception()
        if error is not None:
            self._break_off(error)
        if not self._readers:  # there is no more to send, nor, in the end, to hand over
            for _ in self._senders:
                self._to_send.give()
        self._more_recorded.set()
        self._end_if_over()

    def _break_off(self, error: BaseException) -> None:
        """Read no more; what is in flight goes on. The error is raised when all is given out."""
        if not self._stopping:
            self._source.ended = True
            self._error = self._error or error

    def _end_if_over(self) -> None:
        if not (self._workers or self._stopping):
            self._end()

    async def _work(self) -> None:
        source, halted = self._source, self._has_halted
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        while not self._stopping and (entry := source.read_now() or await source.read()) is not None:
            if len(self._readers) < self._most_workers and not source.ended:
                self._add_worker()
            index, row = entry
            request = self._sendable(index, row)
            if not isinstance(request, PinRequest):
                await self._deliver(request, worker)
                continue
            try:
                result: BatchResult = await self._send(request, halted)
            except Exception as exc:
                await self._deliver(BatchItem(index, request, _unsent(exc), row), worker)
                raise
            if not isinstance(result, Ok):
                result = self._noted(result)
            item = BatchItem(index, request, result, row)
            if not self._handed_over(item, worker):
                await self._hand_over(item)

    async def _work_at(self, permits: Permits) -> None:
        """Work as `_work` does, at a rate: one row at a time waits for its permit, and is no call yet."""
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            async with self._pacing:
                paced = await self._next_paced(permits, worker)
            if paced is None:
                return
            index, row, request, permit = paced
            try:
                result = await self._send(request, self._has_halted, permit)
            except Exception as exc:
                await self._deliver(BatchItem(index, request, _unsent(exc), row), worker)
                raise
            await self._deliver(BatchItem(index, request, self._noted(result), row), worker)

    async def _next_paced(
        self, permits: Permits, worker: asyncio.Task[None]
    ) -> tuple[int, object, PinRequest, float | None] | None:
        """Read on to a row that is to be sent, and wait for its permit. `None`: no more are to be begun."""
        while (found := await self._next_request(self._sendable, worker)) is not None:
            index, row, request = found
            try:
                permit = await permits.wait_unless(self._is_over, self._store_timeout)
            except StoreError:
                return index, row, request, None  # its attempt asks again, and says so in the row's result
            except BaseException as exc:
                await self._deliver(BatchItem(index, request, _unsent(exc), row), worker)
                raise
            if permit is not None:
                return index, row, request, permit
            if self._halted_by is None:
                return None
            skipped = self._skipped_as_halted(self._halted_by)
            await self._deliver(BatchItem(index, request, skipped, row), worker)
        return None

    async def _next_request(
        self, make: Callable[[int, object], PinRequest | BatchItem], worker: asyncio.Task[None]
    ) -> tuple[int, object, PinRequest] | None:
        """Read on to an entry that makes a request; entries that do not are handed over on the way. `None`: the end."""
        source = self._source
        while (entry := source.read_now() or await source.read()) is not None:
            if len(self._readers) < self._most_workers and not source.ended:
                self._add_worker()
            index, row = entry
            request = make(index, row)
            if isinstance(request, PinRequest):
                return index, row, request
            await self._deliver(request, worker)
        return None

    async def _claim_rows(self, named: NamedBatch) -> None:
        """Read rows and claim them, in blocks where they are at hand, for the senders to send."""
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while not (self._stopping or self._stopped):
                if named.is_due:
                    self._add_worker()  # it reads on meanwhile
                    await self._looked_aside(named, worker)
                    if len(self._readers) > self._most_workers:
                        return
                await self._open.take()
                rows = await self._next_rows(named, worker)
                if rows:
                    await self._claim(named, rows)
                elif not await self._looked_aside(named, worker):
                    return
                if worker.cancelling():
                    raise asyncio.CancelledError  # `named` made results of it; what asked for it still stands
        finally:
            self._readers.discard(worker)  # at once: a worker that looked aside leaves the rows to the others

    async def _next_rows(self, named: NamedBatch, worker: asyncio.Task[None]) -> list[Row]:
        """Read rows that are to be claimed, a place for each.

        The caller has taken the first one's, which is given back where there are no more.
        """
        rows: list[Row] = []
        try:
            while (row := named.next_freed() or await self._next_row(named, worker)) is not None:
                rows.append(row)
                if self._most_workers > 1 or len(rows) == _MOST_CLAIMED or not self._open.take_now():
                    return rows
        except Exception as exc:  # noqa: BLE001  # it is raised when all is given out
            self._break_off(exc)
        except BaseException:
            named.put_back(rows)
            raise
        self._open.give()
        return rows

    async def _claim(self, named: NamedBatch, rows: list[Row]) -> None:
        """Claim rows: those that are granted go to the senders, the results of others are handed over."""
        claimed: Sequence[Lease | BatchResult | None]
        try:
            if self._halted_by is not None:
                # What an earlier run left of it is true all the same.
                skipped = self._skipped_as_halted(self._halted_by)
                claimed = [left or skipped for left in await named.left(rows)]
            else:
                claimed = await named.claim(rows, self._is_over)
        except Exception as exc:
            for row in rows:
                self._record(named, row, _unsent(exc))
            raise
        for row, one in zip(rows, claimed, strict=True):
            if one is None:
                self._open.give()
            elif isinstance(one, (Ok, ApiError, TransportFailure, Skipped)):
                self._record(named, row, one)
            else:
                self._leased.append((row, one))
                self._to_send.give()
        for _ in range(min(len(self._leased), self._concurrency - len(self._senders))):
            self._senders.add(self._begin_work(self._send_rows(named)))

    async def _send_rows(self, named: NamedBatch) -> None:
        """Send the rows that are claimed, until there are no more to come."""
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        while self._readers or self._leased:
            if not self._to_send.take_now():
                await self._to_send.take()
            if not self._leased:
                return
            row, lease = self._leased.popleft()
            try:
                result, recorded = await named.send(row, lease, self._has_halted, self._is_over)
            except Exception as exc:  # noqa: BLE001  # it is raised when all is given out
                self._record(named, row, _unsent(exc))
                self._break_off(exc)
            else:
                self._record(named, row, result, recorded)
            if worker.cancelling():
                raise asyncio.CancelledError  # `send` made a result of it; what asked for it still stands

    def _record(
        self,
        named: NamedBatch,
        row: Row,
        result: BatchResult,
        recorded: asyncio.Future[Sequence[bool]] | None = None,
    ) -> None:
        """Have a row's result handed over once it is on record."""
        result = self._noted(named.of_row(row, result))
        if self._stopped and _was_not_begun(result):
            self._open.give()
            return
        self._recorded.append((BatchItem(row.index, row.request, result, row.entry), recorded))
        self._more_recorded.set()

    async def _hand_over_recorded(self) -> None:
        """Hand rows over once their results are on record, in the order of the results."""
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            while self._recorded:
                item, recorded = self._recorded[0]
                if recorded is not None and not recorded.done():
                    # A store that is away is waited for no longer than its timeout.
                    await asyncio.wait((recorded,))
                self._recorded.popleft()
                await self._deliver(item, worker)
                self._open.give()
            if not (self._readers or self._senders):
                return
            self._more_recorded.clear()
            await self._more_recorded.wait()

    async def _looked_aside(self, named: NamedBatch, worker: asyncio.Task[None]) -> bool:
        """Hand over the rows of other holders that are known now. Gives whether there are any, or some are free."""
        settled = await named.look_aside()
        cancelled: asyncio.CancelledError | None = None
        for row, result in settled:
            try:
                await self._deliver(BatchItem(row.index, row.request, result, row.entry), worker)
            except asyncio.CancelledError as exc:
                cancelled = exc  # the others are counted all the same
        if cancelled is not None:
            raise cancelled
        for _ in range(min(named.freed, self._most_workers - len(self._readers))):
            self._add_worker()
        return bool(settled or named.freed)

    async def _next_row(self, named: NamedBatch, worker: asyncio.Task[None]) -> Row | None:
        """Read on to a row that is to be sent; entries that are not are handed over on the way. `None`: the end."""
        while (found := await self._next_request(self._built, worker)) is not None:
            index, given, request = found
            try:
                row = named.row(index, given, request)
            except StoreError as exc:
                await self._deliver(BatchItem(index, request, _unsent(exc), given), worker)
                raise
            ready = named.mixed(row) if self._source.is_at_hand else row
            if ready is not None:
                return ready
        return named.next_mixed()

    def _sendable(self, index: int, row: object) -> PinRequest | BatchItem:
        """Make the request of an entry, or the item of one that is not to be sent."""
        request = self._built(index, row)
        if self._halted_by is not None and isinstance(request, PinRequest):
            return BatchItem(index, request, self._skipped_as_halted(self._halted_by), row)
        return request

    def _built(self, index: int, row: object) -> PinRequest | BatchItem:
        """Make the request of an entry, or the item of one that is invalid or a duplicate."""
        try:
            request = self._build(row)
        except InvalidRequest as exc:
            return BatchItem(index, None, Skipped(SkipReason.INVALID, str(exc)), row)
        if self._seen is not None:
            number = int(request.msisdn)
            if number in self._seen:
                if self._halted_by is not None:
                    return BatchItem(index, request, self._skipped_as_halted(self._halted_by), row)
                detail = "an earlier entry has the same number, and another PIN would void the first"
                return BatchItem(index, request, Skipped(SkipReason.DUPLICATE, detail), row)
            if self._halted_by is None or self._named is not None:
                self._seen.add(number)
        return request

    def _has_halted(self) -> bool:
        return self._halted_by is not None

    def _noted(self, result: BatchResult) -> BatchResult:
        """Halt on an error of the account, and call what the halt stopped by its name."""
        if isinstance(result, ApiError):
            if result.error_id in self._halt_on and self._halted_by is None:
                self._halted_by = result
                self._let_go()
            return result
        if isinstance(result, (Ok, Skipped)):
            return result
        stopped = result.kind is FailureKind.CANCELLED and result.disposition is Disposition.NOT_SENT
        return self._skipped_as_halted(self._halted_by) if stopped and self._halted_by is not None else result

    @staticmethod
    def _skipped_as_halted(error: ApiError) -> Skipped:
        return Skipped(SkipReason.HALTED, f"the batch was halted by {error.error_id}")

    async def _deliver(self, item: BatchItem, worker: asyncio.Task[None]) -> None:
        """Count an item, and hand it over once there is room."""
        if not self._handed_over(item, worker):
            await self._hand_over(item)

    def _handed_over(self, item: BatchItem, worker: asyncio.Task[None]) -> bool:
        """Count an item, and hand it over if there is room."""
        self._tally.count(item.result)
        if self._progress is not None:
            self._tell(self._progress, finished=False)
        if self._stopping or worker.cancelling():
            # `send` made a result of the cancellation; what asked for it still stands.
            self._unconsumed.append(item)
            raise asyncio.CancelledError
        if not self._room.take_now():
            return False
        self._put(item)
        return True

    async def _hand_over(self, item: BatchItem) -> None:
        """Hand an item over once there is room."""
        try:
            await self._room.take()
        except asyncio.CancelledError:
            self._unconsumed.append(item)
            raise
        self._put(item)


def _cancel(workers: Iterable[asyncio.Task[None]]) -> None:
    for worker in workers:
        worker.cancel()


def _was_not_begun(result: BatchResult) -> bool:
    """Whether a batch ended before it made the first attempt at an entry."""
    return (
        isinstance(result, TransportFailure) and result.kind is FailureKind.CANCELLED and not result.attempts
    )


def _unsent(error: BaseException) -> TransportFailure:
    """Say of an entry for which an error was raised rather than returned, a closed client say, that it was not sent."""
    if isinstance(error, asyncio.CancelledError):
        return TransportFailure(
            FailureKind.CANCELLED, Disposition.NOT_SENT, detail="cancelled before it was sent", attempts=0
        )
    detail = f"{type(error).__name__}: {error}"
    return TransportFailure(FailureKind.UNEXPECTED, Disposition.NOT_SENT, detail=detail)


def _leave_our_frames(error: BaseException) -> None:
    """Let an error out without the workers' frames, whose variables hold the entry as it came."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith("gateway360_async."):
        frame = frame.tb_next
    error.__traceback__ = frame
