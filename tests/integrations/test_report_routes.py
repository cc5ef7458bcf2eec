"""The route in applications of Starlette and FastAPI, and the plain application, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from support.serving import serving

from gateway360_async import InvalidConfiguration
from gateway360_async.delivery import MAX_BODY_BYTES, DeliveryReport, DeliveryReports, dump_delivery_reports
from gateway360_async.integrations.asgi import ReportApp

NUMBER = "34666666111"


def body(status="DELIVRD", number=NUMBER):
    return dump_delivery_reports([DeliveryReport(sms_id="7", msisdn=number, status=status)])


def starlette_app(reports, **settings):
    return Starlette(routes=[Route("/", home), Mount(reports.path, ReportApp(reports, **settings))])


def fastapi_app(reports, **settings):
    app = FastAPI()
    app.mount(reports.path, ReportApp(reports, **settings))
    return app


def mounted_app(reports, **settings):
    return Starlette(routes=[Mount("/hooks", routes=[Mount("/sms", ReportApp(reports, **settings))])])


APPS = [starlette_app, fastapi_app, mounted_app, ReportApp]


FOUND = body()


async def home(request):
    return PlainTextResponse("home")


@contextlib.asynccontextmanager
async def asking(make, **settings):
    """Serve an application on loopback, and give its inbox and a client."""
    async with serving(make, **settings) as reports:
        base_url = reports.url.removesuffix(reports.path)
        async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
            yield reports, client


@pytest.mark.parametrize("make", APPS)
async def test_a_report_wakes_who_waits(make):
    called = []
    async with asking(make, on_report=called.append) as (reports, client):
        report_id = reports.new_id()
        waiting = asyncio.create_task(reports.wait(report_id, 5))
        answer = await client.post(reports.url_for(report_id, NUMBER), content=body())
        assert (answer.status_code, answer.content) == (204, b"")
        report = await waiting
        assert (report.report_id, report.sms_id, report.delivered) == (report_id, "7", True)
        assert called == [report]


@pytest.mark.parametrize("make", APPS)
async def test_what_is_not_taken(make):
    async with asking(make) as (reports, client):
        report_id = reports.new_id()
        url = reports.url_for(report_id, NUMBER)
        other = reports.url_for(report_id, "34666666222")
        stranger = DeliveryReports(reports.url, "another-s3cret-of-mine").url_for(report_id, NUMBER)

        async def post(url, content=FOUND):
            return (await client.post(url, content=content)).status_code

        assert await post(other) == 403
        assert await post(stranger) == 403
        assert await post(f"{reports.url}/{'A' * 54}") == 403
        assert await post(f"{reports.url}/x") == 403
        assert await post(url, body(number="34666666222")) == 403
        assert await post(url, b"{") == 400
        assert await post(url, b"") == 400
        assert await post(url, b" " * MAX_BODY_BYTES + b"[]") == 413
        for ping in (await client.get(url), await client.head(url)):
            assert (ping.status_code, bool(ping.text)) == (200, ping.request.method == "GET")
        assert await reports.get(report_id) is None
        assert await post(url) == 204
        assert await post(url, body("ACCEPTD")) == 204  # replayed out of order
        assert (await reports.get(report_id)).delivered


@pytest.mark.parametrize("make", APPS)
async def test_a_body_without_an_announced_length(make):
    async def pieces(size):
        yield body()
        for _ in range(size):
            yield b" " * 65536

    async with asking(make) as (reports, client):
        report_id = reports.new_id()
        url = reports.url_for(report_id, NUMBER)
        assert (await client.post(url, content=pieces(0))).status_code == 204
        with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
            # It is answered in the middle of the body, which the server then does not want to the end.
            assert (await client.post(url, content=pieces(20))).status_code == 413
        assert (await client.post(url, content=pieces(1))).status_code == 204


@pytest.mark.parametrize("make", APPS)
async def test_what_on_report_raises_is_a_500_and_the_inbox_has_the_report(make, caplog):
    def broken(report):
        raise LookupError("no such user")

    async with asking(make, on_report=broken) as (reports, client):
        report_id = reports.new_id()
        answer = await client.post(reports.url_for(report_id, NUMBER), content=body())
        assert answer.status_code == 500
        assert (await reports.wait(report_id, 5)).delivered
    assert "no such user" in caplog.text
    assert NUMBER not in caplog.text


async def test_a_framework_answers_what_on_report_raises_as_it_does_any_other():
    def broken(report):
        raise LookupError("no such user")

    async def not_yet(request, error):
        return PlainTextResponse("later", 503)

    def make(reports):
        return Starlette(
            routes=[Mount(reports.path, ReportApp(reports, on_report=broken))],
            exception_handlers={LookupError: not_yet},
        )

    async with asking(make) as (reports, client):
        answer = await client.post(reports.url_for(reports.new_id(), NUMBER), content=body())
        assert (answer.status_code, answer.text) == (503, "later")


async def test_the_applications_other_routes_stay_as_they_are():
    async with asking(starlette_app) as (_, client):
        assert (await client.get("/")).text == "home"
        assert (await client.post("/hooks", content=body())).status_code == 404
        assert (await client.post("/hooks/sms/a/b", content=body())).status_code == 403


def test_a_setting_of_another_type():
    with pytest.raises(InvalidConfiguration):
        ReportApp("https://example.com")


async def test_the_vendors_example_with_any_content_type():
    raw = json.dumps([{"sms_id": "a" * 32, "from": "X", "to": NUMBER, "custom": "", "status": "UNDELIV"}])
    async with asking(starlette_app) as (reports, client):
        for content_type in ("application/json", "application/x-www-form-urlencoded", "text/html", ""):
            report_id = reports.new_id()
            answer = await client.post(
                reports.url_for(report_id, NUMBER), content=raw, headers={"content-type": content_type}
            )
            assert answer.status_code == 204
            report = await reports.get(report_id)
            assert (report.final, report.delivered, report.custom) == (True, False, None)
