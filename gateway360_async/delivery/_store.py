"""Where reports are kept until somebody asks for them: the port, and this process's memory.

Rules of this module:

- A store keeps one report per request: the one that supersedes the others.
- What is kept in memory is bounded by a count of requests; who came first goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from ._reports import DeliveryReport

__all__ = ["MemoryStore", "ReportStore"]


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
        keep: Requests whose reports are kept.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._reports: OrderedDict[str, DeliveryReport] = OrderedDict()
        self._lock = threading.Lock()

    async def put(self, report_id: str, report: DeliveryReport) -> None:
        """Keep a report, unless the one that is kept is not superseded by it."""
        with self._lock:
            kept = self._reports.get(report_id)
            if kept is None or report.supersedes(kept):
                self._reports[report_id] = report
            while len(self._reports) > self._keep:
                self._reports.popitem(last=False)

    async def get(self, report_id: str) -> DeliveryReport | None:
        """Give the report that is kept of a request."""
        with self._lock:
            return self._reports.get(report_id)
