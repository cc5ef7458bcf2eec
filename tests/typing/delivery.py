"""The delivery reports' API as users write against it. It is type-checked (mypy and basedpyright, strict), not run."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway360_async.delivery import (
    DeliveryReport,
    DeliveryReports,
    DeliveryStatus,
    ForgedReport,
    InvalidReports,
    ReportProblem,
    ReportStore,
    dump_delivery_reports,
    parse_delivery_reports,
)
from gateway360_async.integrations.asgi import OnReport, ReportApp


class Table:
    """A store of the application's own."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    async def put(self, report_id: str, report: DeliveryReport) -> None:
        kept = await self.get(report_id)
        if kept is None or report.supersedes(kept):
            self.rows[report_id] = dump_delivery_reports([report])

    async def get(self, report_id: str) -> DeliveryReport | None:
        row = self.rows.get(report_id)
        return None if row is None else parse_delivery_reports(row)[0]


store: ReportStore = Table()
reports = DeliveryReports("https://example.com/hooks/sms", "secret" * 6)
rotated = DeliveryReports(
    "https://example.com/hooks/sms",
    [b"new" * 11, "old" * 11],
    max_entries=1000,
    max_bytes=10_000_000,
    store=store,
    poll=0.5,
)


async def remember(report: DeliveryReport) -> None:
    assert_type(report.status, DeliveryStatus | str)
    assert_type(report.dlr_date, datetime | None)
    assert_type(report.report_id, str | None)
    assert_type(report.delivered, bool)
    assert_type(report.final, bool)
    assert_type(report.superseded, bool)


def print_it(report: DeliveryReport) -> None:
    print(report.sms_id, report.sender, report.msisdn, report.custom, report.sms_date)


collected: list[DeliveryReport] = []
called: list[OnReport] = [remember, print_it, collected.append, lambda report: report.sms_id]

app = Starlette(
    routes=[
        Mount(reports.path, ReportApp(reports, on_report=remember)),
        Mount("/plain", ReportApp(reports, on_report=collected.append)),
    ]
)
api = FastAPI()
api.mount(reports.path, ReportApp(reports, on_report=print_it))
api.mount("/plain", ReportApp(reports))


async def taken(token: str, body: bytes) -> list[DeliveryReport]:
    try:
        return await reports.receive(token, body)
    except ForgedReport:
        return []
    except InvalidReports as error:
        assert_type(error.problems, list[ReportProblem])
        for problem in error.problems:
            assert_type(problem.index, int | None)
            assert_type(problem.field, str | None)
        return error.reports


async def waited() -> None:
    report_id = reports.new_id()
    assert_type(reports.url_for(report_id, "34666666111"), str)
    assert_type(await reports.get(report_id), DeliveryReport | None)
    assert_type(await reports.wait(report_id, 5), DeliveryReport | None)
    assert_type(await reports.wait(report_id, timeout=5.0, final=True), DeliveryReport | None)
