"""Delivery reports of the gateway: read, checked and waited for.

    reports = DeliveryReports("https://example.com/hooks/sms", secret)
    async with Gateway360Client(reports=reports) as client: ...

`parse_delivery_reports` only reads a body. The routes that take one are in `gateway360_async.integrations`.
"""

from ._inbox import DeliveryReports, ForgedReport, ReportStore
from ._reports import (
    MAX_BODY_BYTES,
    MAX_REPORTS,
    DeliveryReport,
    DeliveryStatus,
    InvalidReports,
    ReportProblem,
    dump_delivery_reports,
    parse_delivery_reports,
)

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
