"""A sign-up with Django: `python django_site.py runserver`, or `uvicorn django_site:application`."""

import os
import sys
from functools import cache

from django.conf import settings
from django.core import checks
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorScope,
    FailureKind,
    InvalidConfiguration,
    InvalidRequest,
    Ok,
    PinResult,
    SpendGuard,
    TransportFailure,
)
from gateway360_async.blocking import Gateway360Client
from gateway360_async.delivery import DeliveryReports, ForgedReport, InvalidReports

FORM = '<form method="post"><input name="msisdn" type="tel"><button>Send me a PIN</button></form>'


@cache
def reports() -> DeliveryReports:
    return DeliveryReports(os.environ["SMS_REPORT_URL"], os.environ["SMS_REPORT_SECRET"])


@cache  # one for the process, made when it is first wanted: commands of manage.py need no key
def gateway360() -> Gateway360Client:
    guard = SpendGuard(allowed_regions={"ES", "PT"}, per_number=5, attempts_per_number=10)
    return Gateway360Client(sender="GOOD PIZZA", region="ES", cooldown=60, guard=guard, reports=reports())


@checks.register
def gateway360_is_configured(app_configs: object, **options: object) -> list[checks.CheckMessage]:
    try:
        gateway360()
    except (InvalidConfiguration, KeyError) as exc:
        return [checks.Error(f"gateway360: {exc} is wrong or missing", id="gateway360.E001")]
    return []


def reply(result: PinResult) -> JsonResponse:
    match result:
        case Ok():
            return JsonResponse({"next": "type the PIN of the SMS"}, status=202)
        case ApiError(scope=ErrorScope.NUMBER):
            return JsonResponse({"problem": "no SMS can be sent to this number"}, status=422)
        case TransportFailure(kind=FailureKind.REGION_NOT_ALLOWED | FailureKind.PREFIX_NOT_ALLOWED):
            return JsonResponse({"problem": "we do not send to numbers of this country"}, status=403)
        case TransportFailure(kind=FailureKind.NUMBER_LIMIT | FailureKind.ATTEMPT_LIMIT):
            return JsonResponse({"problem": "this number has had enough for now"}, status=429)
        case _ if result.disposition is Disposition.NOT_SENT:
            return JsonResponse({"problem": "nothing was sent: try again later"}, status=503)
        case _:
            return JsonResponse({"next": "wait a minute for the SMS, and type its PIN"}, status=202)


def sign_up(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return HttpResponse(FORM)
    try:
        return reply(gateway360().request_pin(request.POST.get("msisdn", "")))
    except InvalidRequest as exc:
        return JsonResponse({"problem": str(exc)}, status=422)


async def sign_up_async(request: HttpRequest) -> JsonResponse:
    try:
        return reply(await gateway360().aio.request_pin(request.POST.get("msisdn", "")))
    except InvalidRequest as exc:
        return JsonResponse({"problem": str(exc)}, status=422)


def report(
    request: HttpRequest, token: str
) -> HttpResponse:  # in a project with CSRF protection: @csrf_exempt
    try:
        gateway360().run(reports().receive, token, request.body)
    except ForgedReport:
        return HttpResponse(status=403)
    except InvalidReports as exc:
        return HttpResponse(f"{len(exc.reports)} taken; {exc}", status=400)
    return HttpResponse(status=204)


# A project of yours has this in its settings and its `urls.py`.
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="recipe", ALLOWED_HOSTS=["*"], MIDDLEWARE=[])  # noqa: S106
urlpatterns = [
    path("sign-up", sign_up),
    path("sign-up-async", sign_up_async),
    path("hooks/sms/<str:token>", report),
]
application = get_asgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
