"""A batch's results, as they come: a JSON line each, and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final, TextIO, cast

from gateway360_async import (
    ApiError,
    Batch,
    BatchItem,
    BatchResult,
    ErrorScope,
    Ok,
    Skipped,
    TransportFailure,
)

from ._notable import Notable
from ._problems import FileProblem
from ._rows import Row
from ._show import as_json
from ._stats import Statistics, why

__all__ = ["Results"]

_ANSWERS: Final = 10
"""The first answers, which are compared."""


class Results:
    """Writes results down, and counts them.

    Args:
        out: Where the lines go; `None`: they are only counted.
        name: What to call it in an error.
        clock: Seconds since any moment.
    """

    def __init__(self, out: TextIO | None, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.statistics = Statistics()
        self.notable = Notable()
        self.completed_to = 0
        """The last line of the input that has a result; those before it have theirs, too."""
        self.refused_alike: ApiError | TransportFailure | None = None
        """What the gateway answered to each of the first rows, if that was the same, and no `Ok`."""
        self._answers: list[tuple[str, int]] = []
        self.lost: list[str] = []
        """Results that could not be written, after the first, a line each."""
        self._out = out
        self._name = name
        self._clock = clock
        self._began = clock()

    def begin(self) -> None:
        """Count the time from now."""
        self._began = self._clock()

    def write(self, item: BatchItem) -> None:
        """Write a line. Raises `FileProblem`."""
        row = cast("Row", item.source)
        number = row.get("msisdn") if item.request is None else item.request.msisdn
        self.statistics.add(item.result, self._clock() - self._began)
        self.notable.add(row.line, number, item.result)
        self.completed_to = max(self.completed_to, row.last)
        self._compare(item.result)
        if self._out is None:
            return
        line = {"index": item.index, "line": row.line, "msisdn": number, **as_json(item.result)}
        try:
            self._out.write(json.dumps(line) + "\n")
        except OSError as exc:  # a full disk, a closed pipe
            raise FileProblem(
                f"{self._name}: {exc.strerror}; the result of line {row.line} is not in it"
            ) from None

    def _compare(self, result: BatchResult) -> None:
        """Compare the first answers, but for those about a number, and about the account, which halts the batch itself."""
        if isinstance(result, Skipped) or len(self._answers) == _ANSWERS:
            return
        if isinstance(result, ApiError) and result.scope in (ErrorScope.NUMBER, ErrorScope.ACCOUNT):
            return
        status = 200 if isinstance(result, Ok) else result.http_status
        if status is None:
            return
        self._answers.append((why(result), status))
        if len(self._answers) == _ANSWERS and len(set(self._answers)) == 1 and not isinstance(result, Ok):
            self.refused_alike = result

    def write_unread(self, batch: Batch) -> None:
        """Write down what was known after the batch was left, by Ctrl-C say."""
        for item in batch.report.unconsumed:
            try:
                self.write(item)
            except FileProblem as exc:
                self.lost.append(str(exc))
