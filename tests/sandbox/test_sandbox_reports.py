"""Delivery reports: real POSTs, to this machine only, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import ssl
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trustme
from support.sandbox_account import LEFT_OUT, NUMBER, ask, until

from gateway360_async.sandbox import Message, PostedReport, Sandbox, _reporter

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC).timestamp()


class App:
    """The application that reports are posted to: keeps each request's head and body, and answers."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.bodies: list[Any] = []
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self.port = 0

    def url(self, path: str = "/reports/token", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        self.bodies.append(httpx.Response(200, content=await reader.readexactly(length)).json())
        self.arrived.set()
        writer.write(self.answer.encode())
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""  # the connection is not kept
        self.gone.set()
        writer.close()


@contextlib.asynccontextmanager
async def app(
    answer: str = "HTTP/1.1 204 No Content\r\n\r\n", tls: ssl.SSLContext | None = None
) -> AsyncIterator[App]:
    application = App(answer)
    server = await asyncio.start_server(application.serve, "127.0.0.1", 0, ssl=tls)
    application.port = server.sockets[0].getsockname()[1]
    async with server:
        yield application


async def send(sandbox: Sandbox, report_url: Any = LEFT_OUT, msisdn: str = NUMBER) -> Message:
    answer = await ask(sandbox, report_url=report_url, msisdn=msisdn)
    assert answer.json() == {"status": "ok"}
    return sandbox.messages[-1]


async def reported(sandbox: Sandbox, report_url: str, number: int = 1) -> list[PostedReport]:
    """Send an SMS, and wait for its reports."""
    message = await send(sandbox, report_url)
    await until(lambda: len(message.reports) == number)
    return message.reports


async def test_report_is_posted_as_the_vendor_does():
    async with app() as user, Sandbox(clock=lambda: NOW) as sandbox:
        reports = await reported(sandbox, user.url("/reports/token?x=1"))
    assert reports == [PostedReport(status="DELIVRD", at=NOW, http_status=204)]
    fields = {
        "sms_id": sandbox.messages[0].sms_id,
        "from": "GOOD PIZZA",
        "to": NUMBER,
        "custom": "",
        "sms_date": "2026-03-04 05:06:07",
        "dlr_date": "2026-03-04 05:06:07",
        "status": "DELIVRD",
    }
    assert user.bodies == [[fields]]
    (head,) = user.heads
    assert head.startswith("POST /reports/token?x=1 HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{user.port}\r\n" in head.lower()
    assert "content-type: application/json\r\n" in head.lower()


async def test_reports_come_in_turn_each_with_its_own_time():
    times = iter(range(1000))
    statuses = ["ACCEPTD", "UNDELIV"]
    async with app() as user, Sandbox(delivery=statuses, clock=lambda: NOW + next(times)) as sandbox:
        reports = await reported(sandbox, user.url(), 2)
    (first,), (second,) = user.bodies
    assert (first["status"], second["status"]) == ("ACCEPTD", "UNDELIV")
    assert first["sms_date"] == second["sms_date"] < first["dlr_date"] < second["dlr_date"]
    assert reports[0].at < reports[1].at


async def test_reports_are_those_of_each_sms():
    async with app() as user, Sandbox() as sandbox:
        messages = [await send(sandbox, user.url(), f"3466666{index:04}") for index in range(5)]
        await until(lambda: all(message.reports for message in messages))
        assert sorted(report["sms_id"] for (report,) in user.bodies) == sorted(m.sms_id for m in messages)


async def test_report_is_not_posted_where_none_was_asked_for():
    async with app() as user, Sandbox(delivery=()) as sandbox:
        assert sandbox.delivery == ()
        await send(sandbox, user.url())
        sandbox.delivery = ["DELIVRD"]
        await send(sandbox)
        assert not sandbox._reporter._tasks
        assert sandbox._reporter._transport is None
        await reported(sandbox, user.url())
    assert [len(message.reports) for message in sandbox.messages] == [0, 0, 1]


async def test_report_of_an_sms_whose_answer_is_lost_is_posted():
    async with app() as user, Sandbox() as sandbox:
        sandbox.lose_next_answer()
        with pytest.raises(httpx.RemoteProtocolError):
            await send(sandbox, user.url())
        await until(lambda: sandbox.messages[0].reports)
    assert user.bodies[0][0]["sms_id"] == sandbox.messages[0].sms_id


async def test_delivery_delay_comes_before_each_report(monkeypatch):
    slept = []
    sleeping = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds > 1:  # others sleep, too
            slept.append((seconds, len(sandbox.messages[0].reports)))
            seconds = 0
        await sleeping(seconds)

    monkeypatch.setattr("gateway360_async.sandbox._reporter.asyncio.sleep", sleep)
    async with app() as user, Sandbox(delivery=("ACCEPTD", "DELIVRD"), delivery_delay=7.5) as sandbox:
        assert sandbox.delivery_delay == 7.5
        sandbox.delivery_delay = 2.5
        await reported(sandbox, user.url(), 2)
    assert slept == [(2.5, 0), (2.5, 1)]


# --- Nothing leaves the machine --------------------------------------------------------------------------

ELSEWHERE = (
    *("example.com", "127.0.0.1.example.com", "192.0.2.1", "0.0.0.0", "[2001:db8::1]", "127.1", "10.0.0.1"),
    "127.0.0.1\\@192.0.2.1",  # two parsers read it differently; to the one that connects, it is another machine's
)


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_report_to_another_machine_is_not_posted(host, scheme, monkeypatch):
    def connect(*args: object, **kwargs: object) -> None:
        raise AssertionError("it connects")

    async with Sandbox() as sandbox:
        monkeypatch.setattr(_reporter.httpx, "AsyncHTTPTransport", connect)
        message = await send(sandbox, f"{scheme}://{host}/reports")
        await until(lambda: message.reports)
        assert await sandbox.report(message) == message.reports[1]
    for report in message.reports:
        assert report.http_status is None
        assert (report.error or "").startswith("not posted: the sandbox posts to")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_report_to_this_machine_may_be_posted(host):
    assert _reporter._is_loopback(httpx.URL(f"http://{host}:1/").host)


async def test_redirect_is_not_followed():
    async with app() as other:
        async with app(f"HTTP/1.1 307 x\r\nLocation: {other.url()}\r\nContent-Length: 0\r\n\r\n") as user:
            async with Sandbox() as sandbox:
                (report,) = await reported(sandbox, user.url())
    assert (report.http_status, other.heads) == (307, [])


async def test_cookies_and_proxies_are_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with app("HTTP/1.1 500 x\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n") as user:
        async with Sandbox(delivery=("ACCEPTD", "DELIVRD")) as sandbox:
            reports = await reported(sandbox, user.url(), 2)
    assert [report.http_status for report in reports] == [500, 500]
    assert all("cookie" not in head.lower() for head in user.heads)


async def test_answer_to_a_report_has_its_body_left_unread():
    async with app("HTTP/1.1 200 x\r\nContent-Length: 1000000000\r\n\r\n") as user, Sandbox() as sandbox:
        (report,) = await reported(sandbox, user.url())
        await user.gone.wait()
    assert report.http_status == 200


async def test_certificate_of_localhost_need_not_be_signed():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with app(tls=context) as user, Sandbox() as sandbox:
        (report,) = await reported(sandbox, user.url(scheme="https"))
    assert report.http_status == 204


# --- Trouble ---------------------------------------------------------------------------------------------


async def test_application_that_is_absent_is_said(caplog):
    caplog.set_level(logging.INFO)
    async with app() as user:
        pass
    async with Sandbox() as sandbox:
        (report,) = await reported(sandbox, user.url("/reports/secret-token"))
    assert report.http_status is None
    assert (report.error or "").startswith("ConnectError: ")
    assert "secret-token" not in caplog.text + repr(report)


async def test_application_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr(_reporter, "_TIMEOUT", 0.01)
    async with app("") as user, Sandbox() as sandbox:
        (report,) = await reported(sandbox, user.url())
    assert report.error == "TimeoutError: "


async def test_clock_beyond_the_calendar_is_said():
    async with app() as user, Sandbox(clock=lambda: 1e300) as sandbox:
        (report,) = await reported(sandbox, user.url())
    assert report.http_status is None
    assert report.error


# --- By hand ---------------------------------------------------------------------------------------------


async def test_report_by_hand_is_posted_and_returned():
    async with app() as user, Sandbox(delivery=()) as sandbox:
        message = await send(sandbox, user.url())
        posted = [await sandbox.report(message), await sandbox.report(message, status="A NEW ONE")]
        assert message.reports == posted
        said = [(report.status, report.http_status) for report in posted]
        assert said == [("DELIVRD", 204), ("A NEW ONE", 204)]
        with pytest.raises(ValueError, match=r"^message: "):
            await sandbox.report(await send(sandbox))
        for status in ("", None, 5):
            with pytest.raises(ValueError, match=r"^status: "):
                await sandbox.report(message, status=status)
    with pytest.raises(RuntimeError, match="is closed"):
        await sandbox.report(message)
    with pytest.raises(RuntimeError, match="was not started"):
        await Sandbox().report(message)
    with pytest.raises(RuntimeError, match="is closed"):
        await sandbox._reporter.post(message, "DELIVRD")  # as one that was closed on the way there
    assert len(user.bodies) == 2


async def test_report_by_hand_comes_from_another_loop():
    """A test has an event loop of its own, and its sandbox may live in a thread's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        sandbox = Sandbox(delivery=())
        await asyncio.to_thread(asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result, 5)
        async with app() as user:
            message = await send(sandbox, user.url())
            loops = []
            sandbox._reporter._reported = lambda: loops.append(asyncio.get_running_loop())
            posted = await sandbox.report(message, "EXPIRED")
            assert (posted.status, posted.http_status) == ("EXPIRED", 204)
            assert message.reports == [posted]
            assert loops == [loop]
        await asyncio.to_thread(asyncio.run_coroutine_threadsafe(sandbox.aclose(), loop).result, 5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_report_by_hand_whose_caller_is_cancelled_ends():
    async with app("") as user, Sandbox(delivery=()) as sandbox:
        message = await send(sandbox, user.url())
        task = asyncio.create_task(sandbox.report(message))
        await user.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await user.gone.wait()
        await until(lambda: not sandbox._reporter._tasks)
    assert message.reports == []


# --- The end ---------------------------------------------------------------------------------------------


async def test_closing_drops_the_reports_still_to_come(caplog):
    tasks = asyncio.all_tasks()
    async with app("") as user:
        sandbox = Sandbox()
        await sandbox.start()
        waiting = await send(sandbox, user.url())
        await user.arrived.wait()
        by_hand = asyncio.create_task(sandbox.report(waiting))
        sandbox.delivery_delay = 3600
        later = await send(sandbox, user.url())
        await until(lambda: len(user.heads) == 2)
        await sandbox.aclose()
        with pytest.raises(RuntimeError, match="is closed"):
            await by_hand
        sandbox._reporter.schedule(later, ["DELIVRD"], 0.0)  # of a request that was in flight when it closed
        assert not sandbox._reporter._tasks
        await user.gone.wait()
        await sandbox.aclose()
    await until(lambda: asyncio.all_tasks() == tasks)
    assert (waiting.reports, later.reports) == ([], [])
    assert not caplog.records


@pytest.mark.parametrize("part", ["sandbox", "reporter"])
async def test_closing_that_is_cancelled_drops_them_all_the_same(part):
    async with app("") as user:
        sandbox = Sandbox()
        await sandbox.start()
        await send(sandbox, user.url())
        await user.arrived.wait()
        closed = sandbox if part == "sandbox" else sandbox._reporter
        closing = asyncio.create_task(closed.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not sandbox._reporter._tasks
        await sandbox.aclose()
        await user.gone.wait()


async def test_reports_that_wait_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr(_reporter, "_MOST_WAITING", 1)
    async with app("") as user, Sandbox(delivery=("ACCEPTD", "DELIVRD")) as sandbox:
        first = await send(sandbox, user.url())
        await user.arrived.wait()
        second = await send(sandbox, user.url())
        assert first.reports == []
        assert [report.status for report in second.reports] == ["ACCEPTD", "DELIVRD"]
        assert all("wait for their reports" in (report.error or "") for report in second.reports)


async def test_reports_at_the_same_time_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr(_reporter, "_AT_A_TIME", 2)
    async with app("") as user, Sandbox() as sandbox:
        for _ in range(5):
            await send(sandbox, user.url())
        await until(lambda: len(user.heads) == 2)
        assert len(sandbox._reporter._tasks) == 5
        assert sandbox._reporter._slots.locked()
