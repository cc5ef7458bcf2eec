"""A sign-up with Django, where a worker of Celery sends the SMS.

uvicorn django_celery:application
celery -A django_celery worker --pool threads --concurrency 100
"""

import os

from celery import Celery
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorScope,
    FailureKind,
    Gateway360Client,
    InvalidRequest,
    Ok,
    PinRequest,
    SpendGuard,
    TransportFailure,
    parse_msisdn,
)
from gateway360_async.integrations.celery import pin_task
from gateway360_async.integrations.worker import result_of, task_of
from gateway360_async.stores import RedisStore

app = Celery("shop", broker=os.environ["CELERY_BROKER"], backend=os.environ["CELERY_BROKER"])


def make_client() -> Gateway360Client:
    guard = SpendGuard(allowed_regions={"ES", "PT"}, per_number=5, attempts_per_number=10)
    return Gateway360Client(store=RedisStore(os.environ["PIN_STORE"]), cooldown=60, guard=guard)


send_pin = pin_task(app, make_client)


def sign_up(request: HttpRequest) -> JsonResponse:
    try:
        pin = PinRequest(parse_msisdn(request.POST.get("msisdn", ""), region="ES"), "GOOD PIZZA")
    except InvalidRequest as exc:
        return JsonResponse({"problem": str(exc)}, status=422)
    # A hidden field of the form, with another value for each form: a double click is one SMS.
    task = send_pin.delay(task_of(pin, f"sign-up {request.POST['form']}"))
    return JsonResponse({"task": task.id}, status=202)


def outcome(request: HttpRequest, task_id: str) -> JsonResponse:  # noqa: PLR0911
    task = app.AsyncResult(task_id)
    result = result_of(task.get()) if task.ready() else None
    match result:
        case None:
            return JsonResponse({"next": "ask again in a second"}, status=202)
        case Ok():
            return JsonResponse({"next": "type the PIN of the SMS"})
        case ApiError(scope=ErrorScope.NUMBER):
            return JsonResponse({"problem": "no SMS can be sent to this number"}, status=422)
        case TransportFailure(kind=FailureKind.REGION_NOT_ALLOWED | FailureKind.PREFIX_NOT_ALLOWED):
            return JsonResponse({"problem": "we do not send to numbers of this country"}, status=403)
        case TransportFailure(kind=FailureKind.NUMBER_LIMIT | FailureKind.ATTEMPT_LIMIT):
            return JsonResponse({"problem": "this number has had enough for now"}, status=429)
        case _ if result.disposition is Disposition.NOT_SENT:
            return JsonResponse({"problem": "nothing was sent: try again later"}, status=503)
        case _:
            return JsonResponse({"next": "wait a minute for the SMS, and type its PIN"})


# A project of yours has this in its settings and its `urls.py`.
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="recipe", ALLOWED_HOSTS=["*"], MIDDLEWARE=[])  # noqa: S106
urlpatterns = [path("sign-up", sign_up), path("sign-up/<str:task_id>", outcome)]
application = get_asgi_application()
