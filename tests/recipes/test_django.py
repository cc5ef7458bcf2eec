"""The recipe for Django: under `runserver`, under uvicorn, and in Django's test client, with a sandbox for the gateway."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.sites import RECIPES, environment, prove, served

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    "command",
    [
        ("django_site.py", "runserver", "--noreload", "127.0.0.1:PORT"),
        ("-m", "uvicorn", "django_site:application", "--port", "PORT"),
    ],
    ids=["runserver", "uvicorn"],
)
def test_site_sends_one_sms_to_a_number_and_takes_its_report(gateway, command):
    with served(gateway, *command) as url:
        prove(gateway, url, "sign-up", "sign-up-async")


def check(gateway, **changed):
    return subprocess.run(
        [sys.executable, "django_site.py", "check"],
        check=False,
        cwd=RECIPES,
        env=environment(gateway, 1, **changed),
        capture_output=True,
        text=True,
    )


def test_check_names_the_setting_that_is_missing(gateway):
    assert check(gateway).returncode == 0
    missing = check(gateway, GATEWAY360_API_KEY="")
    assert missing.returncode == 1
    assert "(gateway360.E001) gateway360: api_key: is empty" in missing.stderr
    assert "Traceback" not in missing.stderr


TESTS = """
from django.test import Client

import django_site

asked = Client()
statuses = [asked.post(path, {"msisdn": "666666111"}).status_code for path in ("/sign-up", "/sign-up-async") * 2]
assert statuses == [202] * 4, statuses
"""


def test_site_in_djangos_test_client_sends_one_sms(gateway):
    subprocess.run([sys.executable, "-c", TESTS], check=True, cwd=RECIPES, env=environment(gateway, 1))
    assert len(gateway.messages) == 1
