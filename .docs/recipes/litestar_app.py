"""A sign-up with Litestar: `uvicorn litestar_app:app --no-access-log`."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from litestar import Litestar, Request, Response, asgi, post
from litestar.datastructures import State

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorScope,
    FailureKind,
    Gateway360Client,
    InvalidRequest,
    Ok,
    SpendGuard,
    TransportFailure,
)
from gateway360_async.delivery import DeliveryReports
from gateway360_async.integrations.asgi import ReportApp

reports = DeliveryReports(os.environ["SMS_REPORT_URL"], os.environ["SMS_REPORT_SECRET"])
guard = SpendGuard(allowed_regions={"ES", "PT"}, per_number=5, attempts_per_number=10)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None]:
    async with Gateway360Client(
        sender="GOOD PIZZA", region="ES", cooldown=60, guard=guard, reports=reports
    ) as client:
        app.state.gateway360 = client
        yield


def wrong_field(request: Request, exc: InvalidRequest) -> Response:
    return Response({"problem": str(exc)}, status_code=422)


@post("/sign-up")
async def sign_up(request: Request, state: State) -> Response:
    result = await state.gateway360.request_pin((await request.form())["msisdn"])
    match result:
        case Ok():
            return Response({"next": "type the PIN of the SMS"}, status_code=202)
        case ApiError(scope=ErrorScope.NUMBER):
            return Response({"problem": "no SMS can be sent to this number"}, status_code=422)
        case TransportFailure(kind=FailureKind.REGION_NOT_ALLOWED | FailureKind.PREFIX_NOT_ALLOWED):
            return Response({"problem": "we do not send to numbers of this country"}, status_code=403)
        case TransportFailure(kind=FailureKind.NUMBER_LIMIT | FailureKind.ATTEMPT_LIMIT):
            return Response({"problem": "this number has had enough for now"}, status_code=429)
        case _ if result.disposition is Disposition.NOT_SENT:
            return Response({"problem": "nothing was sent: try again later"}, status_code=503)
        case _:
            return Response({"next": "wait a minute for the SMS, and type its PIN"}, status_code=202)


hook = asgi("/hooks/sms", is_mount=True)(ReportApp(reports).__call__)
app = Litestar([sign_up, hook], lifespan=[lifespan], exception_handlers={InvalidRequest: wrong_field})
