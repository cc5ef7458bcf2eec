"""The recipes for FastAPI, Flask, Litestar, Quart, and Celery beside Django, each under a server that its users run."""

from __future__ import annotations

import json
import time
import urllib.parse

import pytest
from support.sites import post, prove, running, served

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "uvicorn", "fastapi_app:app", "--port", "PORT"),
        ("-m", "flask", "--app", "flask_app", "run", "--port", "PORT"),
        ("-m", "uvicorn", "litestar_app:app", "--port", "PORT"),
        ("-m", "uvicorn", "quart_app:app", "--port", "PORT"),
    ],
    ids=["fastapi", "flask", "litestar", "quart"],
)
def test_site_sends_one_sms_to_a_number_and_takes_its_report(gateway, command):
    encoded = {"encode": json.dumps} if "fastapi_app:app" in command else {}
    with served(gateway, *command) as url:
        prove(gateway, url, "sign-up", **encoded)


def outcome_of_sign_up(site, msisdn, form):
    """Sign up, and wait for the outcome as a page does."""
    body = urllib.parse.urlencode({"msisdn": msisdn, "form": form}).encode()
    status, text = post(f"{site}/sign-up", body)
    if status != 202:
        return status
    while True:
        status, answer = post(f"{site}/sign-up/{json.loads(text)['task']}", b"")
        if status != 202:
            return status, json.loads(answer)
        time.sleep(0.05)


def test_celery_beside_django_answers_each_outcome(gateway, redis, monkeypatch):
    broker = redis.url.replace("unix://", "redis+socket://")
    monkeypatch.setenv("CELERY_BROKER", broker)
    monkeypatch.setenv("PIN_STORE", redis.url)
    worker = "-m", "celery", "-A", "django_celery", "worker", "--pool", "threads", "--concurrency", "4"
    with (
        running(gateway, *worker),
        served(gateway, "-m", "uvicorn", "django_celery:application", "--port", "PORT") as site,
    ):
        sent = (200, {"next": "type the PIN of the SMS"})
        assert [outcome_of_sign_up(site, "666 666 111", form) for form in "112"] == [sent] * 3
        assert [message.msisdn for message in gateway.messages] == ["34666666111"]
        assert outcome_of_sign_up(site, "x", "3") == 422
        assert outcome_of_sign_up(site, "+44 7911 123456", "4")[0] == 403
        gateway.lose_next_answer()
        lost = (200, {"next": "wait a minute for the SMS, and type its PIN"})
        assert outcome_of_sign_up(site, "666 666 112", "5") == lost
        gateway.balance = 0
        assert outcome_of_sign_up(site, "666 666 113", "6")[0] == 503
