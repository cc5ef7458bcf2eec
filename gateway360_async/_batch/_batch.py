"""Many requests: bounded workers, results as they complete, each number once.

Invariants:

- Each row that was read comes out as an item, or in `report.unconsumed` if the block was left before.
- The input is read when a worker is free, and a worker waits until its result has been taken: memory grows with the
  concurrency, not with the input, but for one integer for each number sent to.
"""

# The annotations are for users' type checkers; the checks are for callers without one.
# pyright: reportUnnecessaryIsInstance=false, reportUnnecessaryComparison=false, reportUnnecessaryContains=false

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, cast

from .._aio import shield_until_done
from .._exceptions import InvalidConfiguration, InvalidRequest, StoreError, wrong_setting
from .._models import PinRequest
from .._results import (
    ApiError,
    BatchResult,
    Disposition,
    ErrorId,
    FailureKind,
    Ok,
    Skipped,
    SkipReason,
    TransportFailure,
)
from .._runner._permits import Permits
from ._input import InputReader
from ._report import BatchItem, BatchReport, Counters

__all__ = ["HALT_ON", "Batch", "Progress", "Send", "current_task", "halted", "unsent"]

HALT_ON: Final[frozenset[ErrorId | str]] = frozenset({ErrorId.UNAUTHORIZED, ErrorId.NOT_ENOUGH_BALANCE})
"""The errors of the whole account: every other request would get them too."""

Send: TypeAlias = Callable[[PinRequest, Callable[[], bool], Any], Awaitable[BatchResult]]
"""Sends a request. Takes the request, a function that says whether the batch has halted, and when a permit was granted;
in a batch with a name, its lease. Makes a result of a cancellation, and raises only where nothing was sent."""

_Row: TypeAlias = tuple[int, object, PinRequest]
"""A row that is to be sent: its index, the row as it came, and its request."""


class Progress(Protocol):
    """Is told how far a batch has come: after each row, and once more when it has ended."""

    def __call__(
        self, total: int, by_disposition: Mapping[Disposition, int], elapsed: float, *, finished: bool
    ) -> None: ...


class Batch:
    """Many requests. `Gateway360Client.batch` makes one; use it once, as an async context manager.

    Iterate over it for a `BatchItem` a row, as they complete. Leaving the block early, by `break`, `return`, an exception
    or a cancellation, cancels the calls in flight, waits until each has its result, and reads nothing more;
    `report.unconsumed` then holds the items that were produced and not taken.

    An error in the input itself, and an error that is raised rather than returned (a closed client), ends the batch: the
    calls in flight complete and are given out first, then the error is raised.
    """

    _looks_when_halted = False
    """Whether rows after a halt are looked up, for an earlier run may have sent them."""

    def __init__(
        self,
        reader: InputReader,
        *,
        build: Callable[[object], PinRequest],
        send: Send,
        cancel: Callable[[Iterable[asyncio.Task[None]]], None] | None = None,
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
            raise wrong_setting("halt_on", halt_on, "a collection of error ids")
        self._reader = reader
        self._build = build
        self._send = send
        self._cancel = cancel or _cancel
        self._progress = progress
        self._permits = permits
        self._store_timeout = store_timeout
        self._pacing = asyncio.Lock()
        self._concurrency = concurrency
        self._most_readers = concurrency
        self._halt_on = frozenset(halt_on)
        # Digits are kept as an int: 32 bytes and a place in the set, where a string takes twice that.
        self._seen: set[int] | None = set() if on_duplicate == "skip" else None
        self._items: asyncio.Queue[BatchItem | None] = asyncio.Queue(concurrency)
        """The items that are not yet taken. `None` wakes the consumer at the end."""
        self._workers: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Task[None]] = set()
        """The workers that read the input."""
        self._counters = Counters()
        self._unconsumed: list[BatchItem] = []
        self._halted_by: ApiError | None = None
        self._error: BaseException | None = None
        self._stopped = False
        self._leaving = False
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def report(self) -> BatchReport:
        """The counts of the batch so far; whole once the block has been left."""
        return self._counters.report(
            halted_by=self._halted_by, elapsed=self._elapsed(), unconsumed=tuple(self._unconsumed)
        )

    def stop(self) -> None:
        """Begin nothing more. Results of the calls in flight come as before; rows that were not begun do not."""
        self._stopped = True
        self._reader.ended = True
        self._let_go()

    def _is_over(self) -> bool:
        return self._stopped or self._halted_by is not None

    def _has_halted(self) -> bool:
        return self._halted_by is not None

    def _let_go(self) -> None:
        """Let rows that are not to be begun wait for their permits no longer."""
        if self._permits is not None:
            self._permits.let_go()

    def _elapsed(self) -> float:
        began = time.monotonic() if self._began is None else self._began
        ended = time.monotonic() if self._ended is None else self._ended
        return ended - began

    # --- The block -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._began is not None:
            raise RuntimeError("a batch can be used once: make another with client.batch()")
        self._began = time.monotonic()
        await self._begin()
        return self

    async def _begin(self) -> None:
        self._add_reader()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaving = True
        left = asyncio.get_running_loop().create_task(self._leave())
        # A cancellation is kept until each call has its result: half a report would say nothing.
        cancelled = await shield_until_done(left)
        left.result()
        if cancelled is not None:
            raise cancelled
        if isinstance(self._error, StoreError):  # no item was taken since
            error, self._error = self._error, None
            _drop_frames(error)
            if exc is None:
                raise error
            exc.add_note(str(error))

    async def _leave(self) -> None:
        self._keep_unconsumed()
        while self._workers:
            self._cancel(self._workers)
            await asyncio.wait(self._workers)
        self._keep_unconsumed()
        await self._release()
        self._end()

    async def _release(self) -> None:
        """Release the rows that were claimed and not begun."""

    def _keep_unconsumed(self) -> None:
        while not self._items.empty():
            if (item := self._items.get_nowait()) is not None:
                self._unconsumed.append(item)

    def _end(self) -> None:
        """End the iteration, now and later."""
        if self._ended is None:
            self._ended = time.monotonic()
            if self._progress is not None:
                self._tell(self._progress, finished=True)
        self._wake_consumer()

    def _tell(self, progress: Progress, *, finished: bool) -> None:
        counts = self._counters.by_disposition()
        progress(counts.total(), counts, self._elapsed(), finished=finished)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchItem:
        if self._began is None:
            raise RuntimeError(
                "a batch is an async context manager: use `async with client.batch(…) as batch`"
            )
        while self._ended is None or not self._items.empty():
            item = await self._items.get()
            if item is not None:
                self._wake_consumer()
                return item
        self._wake_consumer()
        error, self._error = self._error, None
        if error is not None:
            _drop_frames(error)
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            # As Python does for generators: it would pass for the end of the batch.
            name = type(error).__name__
            raise RuntimeError(f"the input, or the limiter, raised {name}") from error  # noqa: TRY004
        if error is not None:
            raise error
        raise StopAsyncIteration

    def _wake_consumer(self) -> None:
        """Wake a consumer that waits once the batch has ended and the last item is taken."""
        if self._ended is not None and self._items.empty():
            self._items.put_nowait(None)

    # --- Workers ---------------------------------------------------------------------------------------------------------

    def _add_reader(self) -> None:
        self._readers.add(self._start(self._work()))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Not by the loop's factory, which may begin it here and now, before it is known.
        worker = asyncio.Task(work, loop=asyncio.get_running_loop())
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)
        return worker

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._readers.discard(worker)
        error = asyncio.CancelledError() if worker.cancelled() else worker.exception()
        if error is not None:
            self._break_off(error)
        if not (self._workers or self._leaving):
            self._end()

    def _break_off(self, error: BaseException) -> None:
        """Read no more; the calls in flight go on. The error is raised when all items are given out."""
        if not self._leaving:
            self._reader.ended = True
            self._error = self._error or error

    async def _work(self) -> None:
        worker = current_task()
        while not self._leaving:
            permit = None
            if self._permits is None:
                row = await self._next_row(worker)
            else:
                # One row at a time waits for its permit, and is no call yet.
                async with self._pacing:
                    row, permit = await self._next_paced(self._permits, worker)
            if row is None:
                return
            index, source, request = row
            try:
                result = await self._send(request, self._has_halted, permit)
            except Exception as exc:
                await self._deliver(BatchItem(index, request, unsent(exc), source), worker)
                raise
            if not isinstance(result, Ok):
                result = self._noted(result)
            await self._deliver(BatchItem(index, request, result, source), worker)

    async def _next_paced(
        self, permits: Permits, worker: asyncio.Task[None]
    ) -> tuple[_Row | None, float | None]:
        """Read on to a row that is to be sent, and wait for its permit. `None`: no more are to be begun."""
        while (row := await self._next_row(worker)) is not None:
            index, source, request = row
            try:
                permit = await permits.wait(self._store_timeout, self._is_over)
            except StoreError:
                return row, None  # its attempt asks again, and says so in the row's result
            except BaseException as exc:
                await self._deliver(BatchItem(index, request, unsent(exc), source), worker)
                raise
            if permit is not None:
                return row, permit
            if self._halted_by is None:
                break
            await self._deliver(BatchItem(index, request, halted(self._halted_by), source), worker)
        return None, None

    async def _next_row(self, worker: asyncio.Task[None]) -> _Row | None:
        """Read on to a row that is to be sent, and deliver the others on the way. `None`: the end."""
        reader = self._reader
        while (numbered := reader.read_now() or await reader.read()) is not None:
            if len(self._readers) < self._most_readers and not reader.ended:
                self._add_reader()
            index, source = numbered
            request = self._request_of(index, source)
            if isinstance(request, PinRequest):
                return index, source, request
            await self._deliver(request, worker)
        return None

    def _request_of(self, index: int, source: object) -> PinRequest | BatchItem:
        """Make the request of a row, or the item of a row that is not to be sent."""
        try:
            request = self._build(source)
        except InvalidRequest as exc:
            return BatchItem(index, None, Skipped(SkipReason.INVALID, str(exc)), source)
        number = int(request.msisdn) if self._seen is not None else 0
        is_duplicate = self._seen is not None and number in self._seen
        if self._halted_by is not None and (is_duplicate or not self._looks_when_halted):
            return BatchItem(index, request, halted(self._halted_by), source)
        if is_duplicate:
            detail = "an earlier entry has the same number, and another PIN would void the first"
            return BatchItem(index, request, Skipped(SkipReason.DUPLICATE, detail), source)
        if self._seen is not None:
            self._seen.add(number)
        return request

    def _noted(self, result: BatchResult) -> BatchResult:
        """Halt on an error of the account, and call a row that the halt cancelled by its name."""
        if isinstance(result, ApiError):
            if result.error_id in self._halt_on and self._halted_by is None:
                self._halted_by = result
                self._let_go()
            return result
        if isinstance(result, (Ok, Skipped)):
            return result
        cancelled = result.kind is FailureKind.CANCELLED and result.disposition is Disposition.NOT_SENT
        return halted(self._halted_by) if cancelled and self._halted_by is not None else result

    async def _deliver(self, item: BatchItem, worker: asyncio.Task[None]) -> None:
        """Count an item, and give it out once there is room."""
        self._counters.count(item.result)
        if self._progress is not None:
            self._tell(self._progress, finished=False)
        if self._leaving or worker.cancelling():
            # `send` made a result of the cancellation, which still stands.
            self._unconsumed.append(item)
            raise asyncio.CancelledError
        if not self._items.full():
            self._items.put_nowait(item)
            return
        try:
            await self._items.put(item)
        except asyncio.CancelledError:
            self._unconsumed.append(item)
            raise


def current_task() -> asyncio.Task[None]:
    """Return the task of a worker, which runs in one."""
    return cast("asyncio.Task[None]", asyncio.current_task())


def _cancel(workers: Iterable[asyncio.Task[None]]) -> None:
    for worker in workers:
        worker.cancel()


def halted(error: ApiError) -> Skipped:
    """Make the result of a row that the halt kept from being sent."""
    return Skipped(SkipReason.HALTED, f"the batch was halted by {error.error_id}")


def unsent(error: BaseException) -> TransportFailure:
    """Make the result of a row for which an error was raised, such as `ClientClosed`: it was not sent."""
    if isinstance(error, asyncio.CancelledError):
        return TransportFailure(
            FailureKind.CANCELLED, Disposition.NOT_SENT, detail="cancelled before it was sent", attempts=0
        )
    detail = f"{type(error).__name__}: {error}"
    return TransportFailure(FailureKind.UNEXPECTED, Disposition.NOT_SENT, detail=detail)


def _drop_frames(error: BaseException) -> None:
    """Drop the workers' frames from a traceback: their variables hold the row as it came."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith("gateway360_async."):
        frame = frame.tb_next
    error.__traceback__ = frame
