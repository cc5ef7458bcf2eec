"""A sign-up with Flask: `flask --app flask_app run`, or gunicorn with threads, with or without `--preload`."""

import os

from flask import Flask, request

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorScope,
    FailureKind,
    InvalidRequest,
    Ok,
    SpendGuard,
    TransportFailure,
)
from gateway360_async.blocking import Gateway360Client
from gateway360_async.delivery import DeliveryReports, ForgedReport, InvalidReports

reports = DeliveryReports(os.environ["SMS_REPORT_URL"], os.environ["SMS_REPORT_SECRET"])
guard = SpendGuard(allowed_regions={"ES", "PT"}, per_number=5, attempts_per_number=10)
client = Gateway360Client(sender="GOOD PIZZA", region="ES", cooldown=60, guard=guard, reports=reports)
app = Flask(__name__)


@app.errorhandler(InvalidRequest)
def wrong_field(exc: InvalidRequest) -> tuple[dict[str, str], int]:
    return {"problem": str(exc)}, 422


@app.post("/sign-up")
def sign_up() -> tuple[dict[str, str], int]:
    result = client.request_pin(request.form["msisdn"])
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
def report(token: str) -> tuple[str, int]:
    try:
        client.run(reports.receive, token, request.get_data())
    except ForgedReport:
        return "", 403
    except InvalidReports as exc:
        return f"{len(exc.reports)} taken; {exc}", 400
    return "", 204
