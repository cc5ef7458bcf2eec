"""The recipes for FastAPI, Flask, Litestar and Quart, each under a server that its users run."""

from __future__ import annotations

import json

import pytest
from sites import prove, served

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
