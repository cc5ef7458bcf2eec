"""The route for delivery reports in an application of Starlette or FastAPI.

    reports = DeliveryReports("https://example.com/hooks/sms", secret=os.environ["SMS_REPORT_SECRET"])

    app = Starlette(routes=[report_route(reports)])          # Starlette
    app.router.routes.append(report_route(reports))          # FastAPI

Rules of this module:

- It is `asgi.ReportApp` with a path. What is answered, and when `on_report` is called, is written there.
- There is no extra for it: who has a route to add has Starlette.
"""

from __future__ import annotations

from starlette.routing import Route

from ..delivery import DeliveryReports
from .asgi import OnReport, ReportApp

__all__ = ["report_route"]


def report_route(
    reports: DeliveryReports,
    *,
    on_report: OnReport | None = None,
    path: str | None = None,
    name: str = "gateway360_reports",
) -> Route:
    """Make the route that takes delivery reports.

    Args:
        reports: The inbox, which the client has as well.
        on_report: Called for every report that was taken; see `ReportApp`.
        path: Where the route is, without the token; `None`: the path of the inbox's `url`. Another one where
            a proxy before the application, or a `Mount` around the route, takes a part of the path away.
        name: The route's name, for `url_path_for`.

    Raises:
        InvalidConfiguration: One of the first two is of another type.
    """
    app = ReportApp(reports, on_report=on_report)
    base = reports.path if path is None else path.rstrip("/")
    return Route(base + "/{token}", app, methods=["POST"], name=name)
