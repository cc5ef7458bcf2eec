"""Write a batch's results as they come: a JSON line each."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final, TextIO, assert_never, cast

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

from ._audit import Audit, why
from ._problems import FileProblem
from ._rows import Row

__all__ = ["Results", "as_json", "create"]

_COMPARED: Final = 10
"""The first answers, which are compared."""


def as_json(result: BatchResult) -> dict[str, Any]:
    """Make a result's JSON object: its class, its disposition and its fields."""
    fields: dict[str, Any] = {"result": type(result).__name__, "disposition": str(result.disposition)}
    match result:
        case Ok():
            pass
        case ApiError():
            fields |= {"error_id": str(result.error_id), "error_msg": result.error_msg}
            fields |= {"scope": str(result.scope), "http_status": result.http_status}
        case TransportFailure():
            fields |= {"kind": str(result.kind), "http_status": result.http_status, "detail": result.detail}
        case Skipped():
            fields |= {"reason": str(result.reason), "detail": result.detail}
            return fields if result.result is None else fields | {"earlier": as_json(result.result)}
        case _:
            assert_never(result)
    return fields | {"attempts": result.attempts, "elapsed": round(result.elapsed, 6)}


def create(name: str, files: ExitStack) -> TextIO:
    """Open a file for writing, the last thing before anything is sent; `-` is stdout.

    Line by line, as a result is worth money and must outlive this process. Appended, as another run may have written to
    it meanwhile. For its owner alone: it may hold whole numbers.
    """
    if name == "-":
        return sys.stdout

    def for_its_owner(path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def close() -> None:
        with suppress(OSError):  # each line was written out, or complained about, when it was its turn
            out.close()

    out = open(name, "a", encoding="utf-8", buffering=1, opener=for_its_owner)  # noqa: SIM115  # closed by the callback
    files.callback(close)
    return out


class Results:
    """Writes results to a file, if there is one, and counts them."""

    def __init__(self, out: TextIO | None, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.audit = Audit()
        self.completed_to = 0
        """The last line of the input that has a result; those before it have theirs, too."""
        self.refused_alike: ApiError | TransportFailure | None = None
        """The answer to each of the first rows, if that was the same, and no `Ok`."""
        self.lost: list[str] = []
        """Results that could not be written, after the first, a line each."""
        self._answers: list[tuple[str, int]] = []
        self._out = out
        self._name = name
        self._clock = clock
        self._began = clock()

    def write(self, item: BatchItem) -> None:
        """Write a line. Raises `FileProblem`."""
        row = cast("Row", item.source)
        number = row.get("msisdn") if item.request is None else item.request.msisdn
        self.audit.add(item.result, self._clock() - self._began, row.line, number)
        self.completed_to = max(self.completed_to, row.last)
        self._compare(item.result)
        if self._out is None:
            return
        line = {"index": item.index, "line": row.line, "msisdn": number, **as_json(item.result)}
        try:
            self._out.write(json.dumps(line) + "\n")
        except OSError as exc:  # a full disk, a closed pipe
            problem = f"{self._name}: {exc.strerror}; the result of line {row.line} is not in it"
            raise FileProblem(problem) from None

    def _compare(self, result: BatchResult) -> None:
        """Compare the first answers, but for those about a number or the account.

        An error of the account halts the batch itself.
        """
        if isinstance(result, Skipped) or len(self._answers) == _COMPARED:
            return
        if isinstance(result, ApiError) and result.scope in (ErrorScope.NUMBER, ErrorScope.ACCOUNT):
            return
        status = 200 if isinstance(result, Ok) else result.http_status
        if status is None:
            return
        self._answers.append((why(result), status))
        if len(self._answers) == _COMPARED and len(set(self._answers)) == 1 and not isinstance(result, Ok):
            self.refused_alike = result

    def write_unconsumed(self, batch: Batch) -> None:
        """Write down what was known after the batch was left, by Ctrl-C say."""
        for item in batch.report.unconsumed:
            try:
                self.write(item)
            except FileProblem as exc:
                self.lost.append(str(exc))
