"""What became of an SMS: the gateway's delivery reports, read, checked and waited for.

    reports = DeliveryReports("https://example.com/hooks/sms", secret)
    async with Gateway360Client(reports=reports) as client: ...

`parse_delivery_reports` reads a body by itself. The routes that take one are in `gateway360_async.integrations`.
"""

from ._inbox import DeliveryReports, ForgedReport
from ._reading import MAX_BODY_BYTES, MAX_REPORTS, dump_delivery_reports, parse_delivery_reports
from ._reports import DeliveryReport, DeliveryStatus, InvalidReports, ReportProblem
from ._store import ReportStore

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_REPORTS",
    "DeliveryReport",
    "DeliveryReports",
    "DeliveryStatus",
    "ForgedReport",
    "InvalidReports",
    "ReportProblem",
    "ReportStore",
    "dump_delivery_reports",
    "parse_delivery_reports",
]
