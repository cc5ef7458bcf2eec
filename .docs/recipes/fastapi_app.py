"""A sign-up with FastAPI: `uvicorn fastapi_app:app --no-access-log`."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse

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
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
    async with Gateway360Client(
        sender="GOOD PIZZA", region="ES", cooldown=60, guard=guard, reports=reports
    ) as client:
        yield {"gateway360": client}


app = FastAPI(lifespan=lifespan)
app.mount(reports.path, ReportApp(reports))


@app.exception_handler(InvalidRequest)
async def wrong_field(request: Request, exc: InvalidRequest) -> JSONResponse:
    return JSONResponse({"problem": str(exc)}, 422)


@app.post("/sign-up")
async def sign_up(request: Request, msisdn: Annotated[str, Body(embed=True)]) -> JSONResponse:
    result = await request.state.gateway360.request_pin(msisdn)
    match result:
        case Ok():
            return JSONResponse({"next": "type the PIN of the SMS"}, 202)
        case ApiError(scope=ErrorScope.NUMBER):
            return JSONResponse({"problem": "no SMS can be sent to this number"}, 422)
        case TransportFailure(kind=FailureKind.REGION_NOT_ALLOWED | FailureKind.PREFIX_NOT_ALLOWED):
            return JSONResponse({"problem": "we do not send to numbers of this country"}, 403)
        case TransportFailure(kind=FailureKind.NUMBER_LIMIT | FailureKind.ATTEMPT_LIMIT):
            return JSONResponse({"problem": "this number has had enough for now"}, 429)
        case _ if result.disposition is Disposition.NOT_SENT:
            return JSONResponse({"problem": "nothing was sent: try again later"}, 503)
        case _:
            return JSONResponse({"next": "wait a minute for the SMS, and type its PIN"}, 202)
