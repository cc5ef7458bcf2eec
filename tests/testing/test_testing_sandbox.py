"""A sandbox in a thread: for code without an event loop, and for code in any."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from gateway360_async import Gateway360Client, Ok, testing
from gateway360_async.delivery import parse_delivery_reports
from gateway360_async.sandbox import Sandbox
from gateway360_async.testing import FakeClock, ThreadedSandbox, sandbox_in_thread
from gateway360_async.testing._sandbox import serving

NUMBER = "34666666111"


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert "gateway360-sandbox" not in [thread.name for thread in threading.enumerate()]


def send(sandbox: Sandbox, **fields: object) -> None:
    """Send an SMS, as an application does."""
    body = {"api_key": sandbox.api_key, "msisdn": NUMBER, "sender": "GOOD PIZZA", **fields}
    assert httpx.post(f"{sandbox.base_url}/api/2fa/request", json=body).json() == {"status": "ok"}


def test_sandbox_in_thread_is_found_by_the_environment():
    async def application() -> object:
        async with Gateway360Client(sender="GOOD PIZZA") as client:
            return await client.request_pin(NUMBER)

    with sandbox_in_thread() as sandbox:
        assert isinstance(asyncio.run(application()), Ok)
        assert sandbox.check_pin(NUMBER, sandbox.last_pin(NUMBER))
        assert "gateway360-sandbox" in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("before", [None, "https://sms.example"], ids=["unset", "set"])
def test_sandbox_in_thread_puts_the_environment_back(before, monkeypatch):
    monkeypatch.setenv("GATEWAY360_API_KEY", "mine")
    if before is not None:
        monkeypatch.setenv("GATEWAY360_BASE_URL", before)
    with pytest.raises(ZeroDivisionError), sandbox_in_thread(api_key="of-a-test") as sandbox:
        assert os.environ["GATEWAY360_BASE_URL"] == sandbox.base_url
        assert os.environ["GATEWAY360_API_KEY"] == "of-a-test"
        os.environ["MEANWHILE"] = "set by the application"
        _ = 1 / 0
    assert os.environ.get("GATEWAY360_BASE_URL") == before
    assert os.environ["GATEWAY360_API_KEY"] == "mine"
    assert os.environ.pop("MEANWHILE")


def test_sandbox_in_thread_that_cannot_start_says_why():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for settings, said in (({"port": taken.getsockname()[1]}, "in use"), ({"balance": -1}, "^balance: ")):
            with pytest.raises((OSError, ValueError), match=said), sandbox_in_thread(**settings):
                pytest.fail("it cannot have started")
    assert "GATEWAY360_BASE_URL" not in os.environ


def test_sandbox_in_thread_that_fails_to_close_says_why():
    class Broken(Sandbox):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError("a fault of the sandbox")

    with pytest.raises(RuntimeError, match="a fault of the sandbox"), serving(Broken()):
        pass


def test_sandbox_in_thread_goes_by_the_clock_that_is_given():
    clock = FakeClock()
    with sandbox_in_thread(clock=clock) as sandbox:
        send(sandbox)
        clock.advance(3599)
        assert sandbox.messages[0].void_reason is None
        clock.advance(1)
        assert sandbox.messages[0].void_reason == "expired"


def test_post_report_waits_for_the_result():
    with sandbox_in_thread(delivery=()) as sandbox:
        send(sandbox, report_url=f"{sandbox.base_url}/hooks")
        (message,) = sandbox.messages
        report = sandbox.post_report(message, "UNDELIV")
        assert (report.status, report.http_status) == ("UNDELIV", 404)
        assert message.reports == [report]
        assert sandbox.post_report(message).status == "DELIVRD"
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.post_report(message)


async def test_report_is_awaited_in_the_loop_of_a_test():
    with sandbox_in_thread(delivery=()) as sandbox:
        await asyncio.to_thread(send, sandbox, report_url=f"{sandbox.base_url}/hooks")
        watch = sandbox.watch()
        report = await sandbox.report(sandbox.messages[0])
        assert (report.status, report.http_status) == ("DELIVRD", 404)
        assert (await anext(watch)).kind == "report"


def test_report_json_is_for_an_application_that_listens_nowhere():
    with sandbox_in_thread(clock=FakeClock()) as sandbox:
        send(sandbox, report_url="https://shop.example/hooks/sms")
        (message,) = sandbox.messages
        assert urlsplit(message.report_url).path == "/hooks/sms"
        (report,) = parse_delivery_reports(json.dumps(sandbox.report_json(message, "UNDELIV")))
    assert (report.sms_id, report.status) == (message.sms_id, "UNDELIV")
    assert str(report.dlr_date) == "2024-01-01 00:00:00"


def test_wait_until_returns_the_first_true_value():
    with sandbox_in_thread() as sandbox:
        send(sandbox, report_url=f"{sandbox.base_url}/hooks")
        (report,) = sandbox.wait_until(lambda: sandbox.messages[0].reports)
        assert report.http_status == 404
        looks = iter([None, 0, "the third look"])
        assert sandbox.wait_until(lambda: next(looks)) == "the third look"
        with pytest.raises(
            TimeoutError, match=r"^not true within 0 s; the sandbox has 1 SMS and 1 requests$"
        ):
            sandbox.wait_until(lambda: False, timeout=0)


async def test_until_waits_in_an_event_loop():
    with sandbox_in_thread() as sandbox:
        async with Gateway360Client(sender="GOOD PIZZA") as client:
            call = asyncio.create_task(client.request_pin(NUMBER))
            pin = await sandbox.until(lambda: sandbox.last_pin(NUMBER))
            assert sandbox.check_pin(NUMBER, pin)
            await call
        with pytest.raises(TimeoutError):
            await sandbox.until(lambda: False, timeout=0)
        with pytest.raises(RuntimeError, match=r"use `await sandbox\.until\(…\)`"):
            sandbox.wait_until(lambda: True)
        with pytest.raises(RuntimeError, match=r"use `await sandbox\.report\(…\)`"):
            sandbox.post_report(None)


def test_clock_and_answers_do_without_the_extra():
    code = """if True:
        import sys
        sys.modules["uvicorn"] = None
        from gateway360_async.testing import FakeClock, answers
        from gateway360_async.testing import sandbox_in_thread
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == (
        "ImportError: the sandbox needs starlette and uvicorn: install gateway360-async[sandbox]"
    )
    assert "line 5" in ended.stderr


def test_name_that_is_unknown_is_an_attribute_error():
    assert issubclass(ThreadedSandbox, Sandbox)
    with pytest.raises(AttributeError, match="no attribute 'RealGateway'"):
        _ = testing.RealGateway
