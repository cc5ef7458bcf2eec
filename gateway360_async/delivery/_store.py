"""Where reports are kept until somebody asks for them: the port, and this process's memory.

Rules of this module:

- A store keeps one report per request: the one that supersedes the others.
- What is kept in memory is bounded by a count of requests and in bytes; the oldest goes first.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from typing import Final, Protocol

from ._reports import DeliveryReport

__all__ = ["LEAST_BYTES", "MAX_BYTES", "MemoryStore", "ReportStore"]

MAX_BYTES: Final = 128 * 1024 * 1024
"""Bytes of memory for reports, as a rule: a hundred thousand as they are published have about half of it."""

LEAST_BYTES: Final = 8 * 1024 * 1024
"""Bytes that hold the largest report: a body has 1 MiB, and a character takes up to four bytes in memory."""

_OVERHEAD: Final = (
    512  # bytes of a report beside its texts: the object, its dates, its entry in the dictionary
)


class ReportStore(Protocol):
    """A place for reports that several processes share, such as a table or a Redis.

    A store bounds what it keeps, and how long its methods take, by itself. What they raise goes to the caller
    of `DeliveryReports.receive` (the route answers 500, and the gateway may post again) or `DeliveryReports.wait`.
    `dump_delivery_reports` and `parse_delivery_reports` turn a report into bytes and back.
    """

    async def put(self, report_id: str, report: DeliveryReport) -> None:
        """Keep a report, unless the one that is kept of this request is not superseded by it.

        `report.supersedes(kept)` says whether it is. Two processes may do this at the same time: compare and
        write in one step (a transaction, say), or a temporary status can take the place of a final one.

        Args:
            report_id: The request's report id.
            report: What came in.
        """
        ...

    async def get(self, report_id: str) -> DeliveryReport | None:
        """Give the report that is kept of a request; `None`: there is none."""
        ...


class MemoryStore:
    """The default store: this process's memory. Any thread may use it.

    Args:
        max_entries: Requests whose reports are kept.
        max_bytes: Bytes of memory that they may take.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._reports: OrderedDict[str, DeliveryReport] = OrderedDict()
        self._lock = threading.Lock()

    async def put(self, report_id: str, report: DeliveryReport) -> None:
        """Keep a report, unless the one that is kept is not superseded by it."""
        with self._lock:
            kept = self._reports.get(report_id)
            if kept is None or report.supersedes(kept):
                self._bytes += _size(report) - (0 if kept is None else _size(kept))
                self._reports[report_id] = report
            while len(self._reports) > self._max_entries or self._bytes > self._max_bytes:
                _, oldest = self._reports.popitem(last=False)
                self._bytes -= _size(oldest)

    async def get(self, report_id: str) -> DeliveryReport | None:
        """Give the report that is kept of a request."""
        with self._lock:
            return self._reports.get(report_id)


def _size(report: DeliveryReport) -> int:
    texts = (report.sms_id, report.msisdn, report.status, report.sender, report.custom, report.report_id)
    return _OVERHEAD + sum(sys.getsizeof(text) for text in texts if text is not None)
