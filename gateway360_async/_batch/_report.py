"""The items of a batch, and the counts of them all. The items are not kept: a report of a million rows is small."""

from __future__ import annotations

from collections import Counter

import attrs

from .._models import PinRequest
from .._results import (
    ApiError,
    BatchResult,
    Disposition,
    ErrorId,
    FailureKind,
    Ok,
    SkipReason,
    TransportFailure,
)

__all__ = ["BatchItem", "BatchReport", "Counters"]


@attrs.frozen
class BatchItem:
    """One row of a batch, and its result.

    Args:
        index: The row's place in the input, from 0.
        request: The request, or `None` if the row does not make a valid one.
        result: The row's result.
        source: The row as it stood in the input.
    """

    index: int
    request: PinRequest | None
    result: BatchResult
    source: object = attrs.field(repr=False)


def _counted(items: tuple[object, ...]) -> str:
    return f"<{len(items)} items>"


@attrs.frozen
class BatchReport:
    """The counts of a batch so far. A count of results that did not occur is 0.

    Args:
        total: Rows that were read and have a result.
        by_result: Rows by the result's class: `"Ok"`, `"ApiError"`, `"TransportFailure"`, `"Skipped"`.
        by_disposition: Rows by what happened to the SMS.
        by_error_id: `ApiError`s by their id.
        by_kind: `TransportFailure`s by their kind.
        by_reason: Skipped rows by the reason.
        halted_by: The error that halted the batch, or `None`.
        elapsed: Seconds since the batch began, until it ended.
        unconsumed: Items that were produced and not taken, because the block was left before: at most twice
            the concurrency, and with a name the rows that were read ahead and set aside as well.
    """

    total: int
    by_result: Counter[str]
    by_disposition: Counter[Disposition]
    by_error_id: Counter[ErrorId | str]
    by_kind: Counter[FailureKind]
    by_reason: Counter[SkipReason]
    halted_by: ApiError | None
    elapsed: float
    unconsumed: tuple[BatchItem, ...] = attrs.field(repr=_counted)

    @property
    def halted(self) -> bool:
        """Whether an error of the whole account ended the sending."""
        return self.halted_by is not None


class Counters:
    """Counts the results of a batch."""

    def __init__(self) -> None:
        self._ok = 0  # nearly all of them, and an int is counted in no time
        self._by_result: Counter[str] = Counter()
        self._by_disposition: Counter[Disposition] = Counter()
        self._by_error_id: Counter[ErrorId | str] = Counter()
        self._by_kind: Counter[FailureKind] = Counter()
        self._by_reason: Counter[SkipReason] = Counter()

    def count(self, result: BatchResult) -> None:
        """Count one result."""
        if isinstance(result, Ok):
            self._ok += 1
            return
        self._by_result[type(result).__name__] += 1
        self._by_disposition[result.disposition] += 1
        if isinstance(result, ApiError):
            self._by_error_id[result.error_id] += 1
        elif isinstance(result, TransportFailure):
            self._by_kind[result.kind] += 1
        else:
            self._by_reason[result.reason] += 1

    def by_disposition(self) -> Counter[Disposition]:
        """Return the counts by what happened to the SMS: each row once."""
        return self._by_disposition + Counter({Disposition.SENT: self._ok} if self._ok else {})

    def report(
        self, *, halted_by: ApiError | None, elapsed: float, unconsumed: tuple[BatchItem, ...]
    ) -> BatchReport:
        """Return the counts so far, and beside them the values that only the batch knows."""
        by_result = self._by_result + Counter({"Ok": self._ok} if self._ok else {})
        return BatchReport(
            total=by_result.total(),
            by_result=by_result,
            by_disposition=self.by_disposition(),
            by_error_id=self._by_error_id.copy(),
            by_kind=self._by_kind.copy(),
            by_reason=self._by_reason.copy(),
            halted_by=halted_by,
            elapsed=elapsed,
            unconsumed=unconsumed,
        )
