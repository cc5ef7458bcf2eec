"""A lost answer becomes a known one: the client, the sandbox and an application with the route, over real HTTP."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from support.serving import serving

from gateway360_async import (
    Disposition,
    Gateway360Client,
    MaybeSentError,
    Ok,
    RetryPolicy,
    TransportFailure,
)
from gateway360_async.delivery import dump_delivery_reports
from gateway360_async.integrations.asgi import ReportApp
from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"
OTHER = "34666666222"


def starlette_app(reports, **settings):
    return Starlette(routes=[Mount(reports.path, ReportApp(reports, **settings))])


def fastapi_app(reports, **settings):
    app = FastAPI()
    app.mount(reports.path, ReportApp(reports, **settings))
    return app


def client_of(gateway, reports, **settings):
    return Gateway360Client(
        gateway.api_key, base_url=gateway.base_url, sender="GOOD PIZZA", reports=reports, **settings
    )


def maybe_sent(result):
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT
    return result


@pytest.mark.parametrize("make", [starlette_app, fastapi_app, ReportApp])
async def test_a_lost_answer_becomes_a_known_one(make):
    told = []
    async with (
        serving(make, on_report=told.append) as reports,
        Sandbox() as gateway,
        client_of(gateway, reports) as client,
    ):
        gateway.lose_next_answer()
        failure = maybe_sent(await client.request_pin(NUMBER))
        known = await client.resolve(failure, timeout=5)
        (message,) = gateway.messages
        assert isinstance(known, Ok)
        assert known.disposition is Disposition.SENT
        assert (known.sms_id, known.report_id) == (message.sms_id, failure.report_id)
        ((report),) = told
        assert (report.sms_id, report.report_id, report.delivered) == (
            message.sms_id,
            failure.report_id,
            True,
        )
        assert await client.resolve(failure, timeout=5) == known  # as often as one likes


async def test_who_resolves_before_the_report_comes_is_woken_by_it():
    async with (
        serving(starlette_app) as reports,
        Sandbox(delivery=()) as gateway,
        client_of(gateway, reports) as client,
    ):
        gateway.lose_next_answer()
        failure = maybe_sent(await client.request_pin(NUMBER))
        resolving = asyncio.create_task(client.resolve(failure, timeout=5))
        await asyncio.sleep(0)
        assert (await gateway.report(gateway.messages[0], "ACCEPTD")).http_status == 204
        known = await resolving
        assert (known.disposition, known.sms_id) == (Disposition.SENT, gateway.messages[0].sms_id)


async def test_an_accepted_request_is_followed_to_its_delivery():
    async with (
        serving(starlette_app) as reports,
        Sandbox(delivery=("ACCEPTD", "UNDELIV")) as gateway,
        client_of(gateway, reports) as client,
    ):
        result = await client.request_pin(NUMBER)
        assert isinstance(result, Ok)
        report = await reports.wait(result.report_id, 5, final=True)
        assert (report.status, report.delivered) == ("UNDELIV", False)
        assert (report.sender, report.msisdn) == ("GOOD PIZZA", NUMBER)
        assert (await gateway.report(gateway.messages[0], "ACCEPTD")).http_status == 204
        assert await reports.get(result.report_id) == report  # an old status does not come back


async def test_what_was_not_sent_is_never_resolved():
    """An SMS to the same number, and its report, say nothing about another request."""
    async with (
        serving(starlette_app) as reports,
        Sandbox() as gateway,
        client_of(gateway, reports, retry=RetryPolicy(max_attempts=1)) as client,
    ):
        gateway.fail_next()  # a bare 500: for the client it may have been sent
        unsent = maybe_sent(await client.request_pin(NUMBER))
        sent = await client.request_pin(NUMBER)
        assert (await reports.wait(sent.report_id, 5)).sms_id == gateway.messages[0].sms_id
        assert len(gateway.messages) == 1
        assert await client.resolve(unsent, timeout=0.01) is unsent
        with pytest.raises(MaybeSentError):
            unsent.unwrap()


async def test_a_forged_report_resolves_nothing():
    async with (
        serving(starlette_app) as reports,
        Sandbox(delivery=()) as gateway,
        client_of(gateway, reports) as client,
        httpx.AsyncClient(trust_env=False) as attacker,
    ):
        gateway.lose_next_answer(2)
        mine = maybe_sent(await client.request_pin(OTHER))
        failure = maybe_sent(await client.request_pin(NUMBER))
        (for_mine, message) = gateway.messages
        body = [{"sms_id": "0" * 32, "to": NUMBER, "status": "DELIVRD"}]
        # The attacker even has a true URL, of a request for a number of theirs.
        for url in (for_mine.report_url, f"{reports.url}/{'A' * 54}", message.report_url[:-8] + "AAAAAAAA"):
            assert (await attacker.post(url, json=body)).status_code == 403
        assert await client.resolve(failure, timeout=0.01) is failure
        assert await client.resolve(mine, timeout=0.01) is mine
        await gateway.report(message)
        assert (await client.resolve(failure, timeout=5)).sms_id == message.sms_id


async def test_each_entry_of_a_batch_is_resolved_to_its_own_message():
    numbers = [f"346666660{index:02}" for index in range(20)]
    async with (
        serving(starlette_app) as reports,
        Sandbox() as gateway,
        client_of(gateway, reports, concurrency=5) as client,
    ):
        gateway.faults.lose_answers = True
        results = await client.send_all(numbers)
        known = [await client.resolve(maybe_sent(result), timeout=5) for result in results]
        sent = {message.msisdn: message.sms_id for message in gateway.messages}
        assert len(gateway.messages) == len(numbers)
        assert [result.sms_id for result in known] == [sent[number] for number in numbers]


async def test_a_body_of_the_vendors_with_more_than_one_status():
    async with (
        serving(starlette_app) as reports,
        Sandbox(delivery=()) as gateway,
        client_of(gateway, reports) as client,
        httpx.AsyncClient(trust_env=False) as vendor,
    ):
        gateway.lose_next_answer()
        failure = maybe_sent(await client.request_pin(NUMBER))
        (message,) = gateway.messages
        fields = {"sms_id": message.sms_id, "to": f"+{NUMBER}", "custom": ""}
        body = [fields | {"status": status} for status in ("DELIVRD", "ACCEPTD")]
        assert (await vendor.post(message.report_url, json=body)).status_code == 204
        assert (await client.resolve(failure, timeout=5)).sms_id == message.sms_id
        report = await reports.get(failure.report_id)
        assert report.delivered
        assert NUMBER.encode() in dump_delivery_reports([report])
