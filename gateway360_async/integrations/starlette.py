"""The route for delivery reports in an application of Starlette or FastAPI, and an application that has it.

    app = Starlette(routes=[report_route(reports)])          # Starlette
    app.router.routes.append(report_route(reports))          # FastAPI

The client lives as long as the application, in its lifespan. A sign-up that tells its three outcomes apart:

```python
import os
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway360_async import Disposition, Gateway360Client, InvalidRequest
from gateway360_async.delivery import DeliveryReports
from gateway360_async.integrations.starlette import report_route

reports = DeliveryReports(os.environ["SMS_REPORT_URL"], os.environ["SMS_REPORT_SECRET"])


@asynccontextmanager
async def lifespan(app):
    async with Gateway360Client(sender="GOOD PIZZA", cooldown=60, reports=reports) as client:
        yield {"gateway360": client}


async def sign_up(request):
    client = request.state.gateway360
    try:
        result = await client.request_pin((await request.json())["msisdn"])
    except InvalidRequest as exc:
        return JSONResponse({"problem": str(exc)}, 422)
    match result.disposition:
        case Disposition.SENT:
            return JSONResponse({"next": "type the PIN of the SMS"}, 202)
        case Disposition.NOT_SENT:
            return JSONResponse({"problem": "nothing was sent: try again later"}, 503)
        case Disposition.MAYBE_SENT:
            wait = {"next": "wait a minute for the SMS, and type its PIN"}
            return JSONResponse(wait, 202, background=BackgroundTask(find_out, client, result))


async def find_out(client, result):
    print("a minute later:", await client.resolve(result, timeout=60))


app = Starlette(
    routes=[Route("/sign-up", sign_up, methods=["POST"]), report_route(reports)],
    lifespan=lifespan,
)
```

A server that stops, and a test client, wait for a background task. The README has the same in FastAPI, where
`on_report` remembers what came and nobody waits, and a PIN is verified.

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
        on_report: Called for every report that is news; see `ReportApp`.
        path: Where the route is, without the token; `None`: the path of the inbox's `url`. Another one where
            a proxy before the application, or a `Mount` around the route, takes a part of the path away.
        name: The route's name, for `url_path_for`.

    Raises:
        InvalidConfiguration: One of the first two is of another type.
    """
    app = ReportApp(reports, on_report=on_report)
    base = reports.path if path is None else path.rstrip("/")
    return Route(base + "/{token}", app, methods=["GET", "POST"], name=name)
