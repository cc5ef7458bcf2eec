"""A sign-up with Quart: `uvicorn quart_app:app --no-access-log`, or Hypercorn."""

import os

from quart import Quart, request

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
from gateway360_async.delivery import DeliveryReports, ForgedReport, InvalidReports

reports = DeliveryReports(os.environ["SMS_REPORT_URL"], os.environ["SMS_REPORT_SECRET"])
guard = SpendGuard(allowed_regions={"ES", "PT"}, per_number=5, attempts_per_number=10)
client = Gateway360Client(sender="GOOD PIZZA", region="ES", cooldown=60, guard=guard, reports=reports)
app = Quart(__name__)


@app.after_serving
async def close() -> None:
    await client.aclose()


@app.errorhandler(InvalidRequest)
async def wrong_field(exc: InvalidRequest) -> tuple[dict[str, str], int]:
    return {"problem": str(exc)}, 422


@app.post("/sign-up")
async def sign_up() -> tuple[dict[str, str], int]:
    result = await client.request_pin((await request.form)["msisdn"])
    match result:
        case Ok():
            return {"next": "type the PIN of the SMS"}, 202
        case ApiError(scope=ErrorScope.NUMBER):
            return {"problem": "no SMS can be sent to this number"}, 422
        case TransportFailure(kind=FailureKind.REGION_NOT_ALLOWED | FailureKind.PREFIX_NOT_ALLOWED):
            return {"problem": "we do not send to numbers of this country"}, 403
        case TransportFailure(kind=FailureKind.NUMBER_LIMIT | FailureKind.ATTEMPT_LIMIT):
            return {"problem": "this number has had enough for now"}, 429
        case _ if result.disposition is Disposition.NOT_SENT:
            return {"problem": "nothing was sent: try again later"}, 503
        case _:
            return {"next": "wait a minute for the SMS, and type its PIN"}, 202


@app.post("/hooks/sms/<token>")
async def report(token: str) -> tuple[str, int]:
    try:
        await reports.receive(token, await request.get_data())
    except ForgedReport:
        return "", 403
    except InvalidReports as exc:
        return f"{len(exc.reports)} taken; {exc}", 400
    return "", 204
