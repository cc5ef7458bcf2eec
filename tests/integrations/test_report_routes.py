"""The route for delivery reports in applications, over real HTTP: a lost answer becomes a known one."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from gateway360_async import Disposition, Gateway360Client, Ok, RetryPolicy, TransportFailure
from gateway360_async.delivery import MAX_BODY_BYTES, DeliveryReport, DeliveryReports, dump_delivery_reports
from gateway360_async.integrations.asgi import ReportApp
from gateway360_async.sandbox import Sandbox
from gateway360_async.sandbox._http_server import HttpServer

NUMBER = "34666666111"


def body(status="DELIVRD", number=NUMBER):
    return dump_delivery_reports([DeliveryReport(sms_id="7", msisdn=number, status=status)])


async def home(request):
    return PlainTextResponse("home")


async def not_yet(request, error):
    return PlainTextResponse("later", 503)


def starlette_app(reports, **settings):
    routes = [Route("/", home), Mount(reports.path, ReportApp(reports, **settings))]
    return Starlette(routes=routes, exception_handlers={LookupError: not_yet})


def fastapi_app(reports, **settings):
    app = FastAPI()
    app.mount(reports.path, ReportApp(reports, **settings))
    return app


def nested_app(reports, **settings):
    return Starlette(routes=[Mount("/hooks", routes=[Mount("/sms", ReportApp(reports, **settings))])])


apps = pytest.mark.parametrize("make", [starlette_app, fastapi_app, nested_app, ReportApp])


@contextlib.asynccontextmanager
async def asking(make=starlette_app, **settings):
    """Serve an application on loopback, and give its inbox and an HTTP client."""
    listener = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    reports = DeliveryReports(f"{base_url}/hooks/sms", "a-s3cret-of-the-tests")
    server = HttpServer(make(reports, **settings), keep_alive=5.0)
    await server.start(listener)
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as browser:
        try:
            yield reports, browser
        finally:
            await server.aclose()


@contextlib.asynccontextmanager
async def sending(reports, *, concurrency=100, **settings):
    """Give a sandbox, and a client with the inbox that tries once."""
    async with (
        Sandbox(**settings) as gateway,
        Gateway360Client(
            gateway.api_key,
            base_url=gateway.base_url,
            sender="GOOD PIZZA",
            reports=reports,
            retry=RetryPolicy(max_attempts=1),
            concurrency=concurrency,
        ) as client,
    ):
        yield gateway, client


def maybe_sent(result):
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT
    return result


@apps
async def test_lost_answer_becomes_a_known_one(make):
    called = []
    async with asking(make, on_report=called.append) as (reports, _), sending(reports) as (gateway, client):
        gateway.lose_next_answer()
        failure = maybe_sent(await client.request_pin(NUMBER))
        known = await client.resolve(failure, timeout=5)
        (message,) = gateway.messages
        assert isinstance(known, Ok)
        assert (known.sms_id, known.report_id) == (message.sms_id, failure.report_id)
        ((report),) = called
        assert (report.sms_id, report.report_id, report.delivered) == (known.sms_id, known.report_id, True)
        assert await client.resolve(failure, timeout=5) == known  # as often as one likes


async def test_waiter_is_woken_by_the_report_that_comes():
    async with asking() as (reports, _), sending(reports, delivery=()) as (gateway, client):
        gateway.lose_next_answer()
        failure = maybe_sent(await client.request_pin(NUMBER))
        resolving = asyncio.create_task(client.resolve(failure, timeout=5))
        await asyncio.sleep(0)
        assert (await gateway.report(gateway.messages[0], "ACCEPTD")).http_status == 204
        assert (await resolving).sms_id == gateway.messages[0].sms_id


async def test_accepted_request_is_followed_to_its_delivery():
    async with (
        asking() as (reports, _),
        sending(reports, delivery=("ACCEPTD", "UNDELIV")) as (gateway, client),
    ):
        result = await client.request_pin(NUMBER)
        report = await reports.wait(result.report_id, 5, final=True)
        assert (report.status, report.delivered, report.msisdn) == ("UNDELIV", False, NUMBER)
        assert (await gateway.report(gateway.messages[0], "ACCEPTD")).http_status == 204
        assert await reports.get(result.report_id) == report  # an old status does not come back


async def test_report_of_another_request_resolves_nothing():
    async with asking() as (reports, _), sending(reports) as (gateway, client):
        gateway.fail_next()  # a bare 500: for the client it may have been sent
        unsent = maybe_sent(await client.request_pin(NUMBER))
        sent = await client.request_pin(NUMBER)
        assert (await reports.wait(sent.report_id, 5)).sms_id == gateway.messages[0].sms_id
        assert await client.resolve(unsent, timeout=0.01) is unsent


async def test_forged_report_resolves_nothing():
    async with asking() as (reports, attacker), sending(reports, delivery=()) as (gateway, client):
        gateway.lose_next_answer(2)
        mine = maybe_sent(await client.request_pin("34666666222"))
        failure = maybe_sent(await client.request_pin(NUMBER))
        (for_mine, message) = gateway.messages
        # The attacker even has a true URL, of a request for a number of theirs.
        for url in (for_mine.report_url, f"{reports.url}/{'A' * 54}", message.report_url[:-8] + "AAAAAAAA"):
            assert (await attacker.post(url, content=body())).status_code == 403
        assert await client.resolve(failure, timeout=0.01) is failure
        assert await client.resolve(mine, timeout=0.01) is mine
        await gateway.report(message)
        assert (await client.resolve(failure, timeout=5)).sms_id == message.sms_id


async def test_entries_of_a_batch_are_resolved_to_their_messages():
    numbers = [f"346666660{index:02}" for index in range(20)]
    async with asking() as (reports, _), sending(reports, concurrency=5) as (gateway, client):
        gateway.faults.lose_answers = True
        results = await client.send_all(numbers)
        known = [await client.resolve(maybe_sent(result), timeout=5) for result in results]
        sent = {message.msisdn: message.sms_id for message in gateway.messages}
        assert len(gateway.messages) == len(numbers)
        assert [result.sms_id for result in known] == [sent[number] for number in numbers]


@apps
async def test_requests_over_http_are_answered_by_their_status(make):
    async def pieces(count):
        yield body()
        for _ in range(count):
            yield b" " * 65536

    async with asking(make) as (reports, browser):
        report_id = reports.new_id()
        url = reports.url_for(report_id, NUMBER)

        async def post(url, content):
            return (await browser.post(url, content=content)).status_code

        assert await post(reports.url_for(report_id, "34666666222"), body()) == 403
        assert await post(f"{reports.url}/{'A' * 54}", body()) == 403
        assert await post(url, b"{") == await post(url, b"") == 400
        assert await post(url, b" " * MAX_BODY_BYTES + b"[]") == 413
        with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
            # It is answered in the middle of the body, which the server then does not want to the end.
            assert await post(url, pieces(20)) == 413
        for ping in (await browser.get(url), await browser.head(url)):
            assert (ping.status_code, bool(ping.text)) == (200, ping.request.method == "GET")
        assert await reports.get(report_id) is None
        assert (
            await post(url, pieces(1)) == await post(url, body()) == await post(url, body("ACCEPTD")) == 204
        )
        assert (await reports.get(report_id)).delivered


@apps
async def test_error_of_on_report_is_answered_as_any_other(make, caplog):
    def broken(report):
        raise LookupError("no such user")

    async with asking(make, on_report=broken) as (reports, browser):
        report_id = reports.new_id()
        answer = await browser.post(reports.url_for(report_id, NUMBER), content=body())
        assert answer.status_code == (503 if make is starlette_app else 500)
        assert (await reports.wait(report_id, 5)).delivered
    assert ("no such user" in caplog.text) is (make is not starlette_app)  # its handler has taken it
    assert NUMBER not in caplog.text


async def test_other_routes_of_an_application_stay_as_they_are():
    async with asking() as (_, browser):
        assert (await browser.get("/")).text == "home"
        assert (await browser.post("/hooks", content=body())).status_code == 404
        assert (await browser.post("/hooks/sms/a/b", content=body())).status_code == 403
