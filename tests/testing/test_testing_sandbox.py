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


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gateway360-sandbox"]


def send(sandbox: Sandbox, **fields: object) -> None:
    """What an application does, in a few words."""
    body = {"api_key": sandbox.api_key, "msisdn": NUMBER, "sender": "GOOD PIZZA", **fields}
    assert httpx.post(f"{sandbox.base_url}/api/2fa/request", json=body).json() == {"status": "ok"}


def test_code_without_an_event_loop_finds_it_by_the_environment():
    async def application() -> object:
        async with Gateway360Client(sender="GOOD PIZZA") as client:
            return await client.request_pin(NUMBER)

    with sandbox_in_thread() as sandbox:
        assert isinstance(asyncio.run(application()), Ok)
        assert sandbox.check_pin(NUMBER, sandbox.last_pin(NUMBER))
        assert threads()
    assert not threads()


@pytest.mark.parametrize("before", [None, "https://sms.example"], ids=["unset", "set"])
def test_the_environment_is_put_back_as_it_was(before, monkeypatch):
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


def test_what_cannot_start_says_why_and_leaves_nothing():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use"):
            with sandbox_in_thread(port=taken.getsockname()[1]):
                pytest.fail("it cannot have started")
    assert not threads()
    assert "GATEWAY360_BASE_URL" not in os.environ
    with pytest.raises(ValueError, match=r"^balance: "):
        with sandbox_in_thread(balance=-1):
            pytest.fail("it cannot have started")


def test_what_goes_wrong_while_it_closes_is_raised():
    class Broken(Sandbox):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError("a fault of the sandbox")

    with pytest.raises(RuntimeError, match="a fault of the sandbox"):
        with serving(Broken()):
            pass
    assert not threads()


def test_its_pins_expire_by_the_clock_that_is_given():
    clock = FakeClock()
    with sandbox_in_thread(clock=clock) as sandbox:
        send(sandbox)
        clock.advance(3599)
        assert sandbox.messages[0].void_reason is None
        clock.advance(1)
        assert sandbox.messages[0].void_reason == "expired"


def test_a_report_is_posted_and_waited_for_without_an_event_loop():
    with sandbox_in_thread(delivery=()) as sandbox:
        send(sandbox, report_url=f"{sandbox.base_url}/hooks")
        (message,) = sandbox.messages
        report = sandbox.post_report(message, "UNDELIV")
        assert (report.status, report.http_status) == ("UNDELIV", 404)
        assert message.reports == [report]
        assert sandbox.post_report(message).status == "DELIVRD"
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.post_report(message)


async def test_a_report_is_awaited_in_the_tests_own_loop():
    with sandbox_in_thread(delivery=()) as sandbox:
        await asyncio.to_thread(send, sandbox, report_url=f"{sandbox.base_url}/hooks")
        watch = sandbox.watch()
        report = await sandbox.report(sandbox.messages[0])
        assert (report.status, report.http_status) == ("DELIVRD", 404)
        assert (await anext(watch)).kind == "report"


def test_what_would_be_posted_is_there_for_an_application_that_listens_nowhere():
    with sandbox_in_thread(clock=FakeClock()) as sandbox:
        send(sandbox, report_url="https://shop.example/hooks/sms")
        (message,) = sandbox.messages
        assert urlsplit(message.report_url).path == "/hooks/sms"
        (report,) = parse_delivery_reports(json.dumps(sandbox.report_json(message, "UNDELIV")))
    assert (report.sms_id, report.status) == (message.sms_id, "UNDELIV")
    assert str(report.dlr_date) == "2024-01-01 00:00:00"


def test_what_happens_behind_the_tests_back_is_waited_for():
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


async def test_and_so_it_is_in_an_event_loop(sandbox):
    async with Gateway360Client(sender="GOOD PIZZA") as client:
        call = asyncio.create_task(client.request_pin(NUMBER))
        pin = await sandbox.until(lambda: sandbox.last_pin(NUMBER))
        assert sandbox.check_pin(NUMBER, pin)
        await call
    with pytest.raises(TimeoutError):
        await sandbox.until(lambda: False, timeout=0)


async def test_what_blocks_refuses_to_where_an_event_loop_runs(sandbox):
    with pytest.raises(RuntimeError, match=r"use `await sandbox\.until\(…\)`"):
        sandbox.wait_until(lambda: True)
    with pytest.raises(RuntimeError, match=r"use `await sandbox\.report\(…\)`"):
        sandbox.post_report(None)


def test_the_clock_and_the_answers_do_without_the_extra():
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


def test_an_unknown_name_is_an_attribute_error():
    assert issubclass(ThreadedSandbox, Sandbox)
    with pytest.raises(AttributeError, match="no attribute 'RealGateway'"):
        _ = testing.RealGateway
