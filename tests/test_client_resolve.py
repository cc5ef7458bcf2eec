"""What may have been sent becomes known to be sent, by its delivery report: end to end, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import httpx
import pytest
import uvicorn
from support.loopback import Server, free_port, silence

from gateway360_async import (
    Disposition,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    Ok,
    PinRequest,
    RetryPolicy,
    Skipped,
    SkipReason,
    SpendGuard,
    TransportFailure,
)
from gateway360_async.delivery import DeliveryReports
from gateway360_async.integrations.asgi import ReportApp
from gateway360_async.sandbox import Sandbox
from gateway360_async.testing._memory_store import Memory, MemoryStore

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
SECRET = b"0123456789abcdef"


@contextlib.asynccontextmanager
async def application(**settings):
    """A web application that takes reports. Gives what it shares with the client."""
    listener = socket.create_server(("127.0.0.1", 0))
    reports = DeliveryReports(f"http://127.0.0.1:{listener.getsockname()[1]}/sms", SECRET, **settings)
    config = uvicorn.Config(ReportApp(reports), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield reports
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def test_lost_answer_becomes_known_when_its_report_comes():
    async with application() as reports, Sandbox() as gateway:
        client = Gateway360Client(
            gateway.api_key, base_url=gateway.base_url, sender="GOOD PIZZA", reports=reports
        )
        async with client:
            gateway.lose_next_answer()
            lost = await client.request_pin(NUMBER)
            assert isinstance(lost, TransportFailure)
            assert lost.disposition is Disposition.MAYBE_SENT
            known = await client.resolve(lost, timeout=10)
        (message,) = gateway.messages
    assert isinstance(known, Ok)
    assert known.disposition is Disposition.SENT
    assert known.sms_id == message.sms_id
    assert known.report_id == lost.report_id
    assert "delivery report" in str(known)


async def test_request_without_a_report_url_gets_one_of_its_own():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    async with Server() as server:
        async with Gateway360Client(KEY, base_url=server.url, sender="PIZZA", reports=reports) as client:
            first, second = await client.send_all([NUMBER, "34666666112"])
            named = await client.request_pin("34666666113", report_url="https://example.com/mine")
    urls = [received.json["report_url"] for received in server.requests]
    assert len(set(urls)) == 3
    assert all(url.startswith("https://example.com/sms/") for url in urls[:2])
    assert urls[2] == "https://example.com/mine"
    assert named.report_id is None
    assert first.report_id != second.report_id
    assert reports.url_for(first.report_id, NUMBER) in urls


async def test_tries_of_one_call_share_its_report(at_once):
    reports = DeliveryReports("https://example.com/sms", SECRET)
    policy = RetryPolicy(base_delay=0.0, max_attempts=2, retry_maybe_sent=True)
    async with Server(silence) as server:
        client = Gateway360Client(
            KEY,
            base_url=server.url,
            sender="PIZZA",
            reports=reports,
            retry=policy,
            timeout=httpx.Timeout(5, read=0.1),
        )
        async with client:
            result = await client.request_pin(NUMBER)
    assert result.attempts == 2
    assert len({received.json["report_url"] for received in server.requests}) == 1
    assert result.report_id is not None


async def test_identical_requests_still_share_one_exchange():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    async with Server() as server:
        async with Gateway360Client(KEY, base_url=server.url, sender="PIZZA", reports=reports) as client:
            one, two = await asyncio.gather(client.request_pin(NUMBER), client.request_pin(NUMBER))
    assert server.posts == 1
    assert one.report_id == two.report_id is not None


async def test_result_of_a_batch_can_be_resolved():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    async with Server(silence) as server:
        async with Gateway360Client(KEY, base_url=server.url, sender="PIZZA", reports=reports) as client:
            async with client.batch([NUMBER]) as batch:
                await server.wait(lambda: server.posts == 1)
            (item,) = batch.report.unconsumed
            assert item.result.disposition is Disposition.MAYBE_SENT
            await report_for(reports, item.result.report_id)
            assert isinstance(await client.resolve(item.result, timeout=5), Ok)


async def test_result_in_a_store_can_be_resolved_by_another_process(later):
    reports, memory = DeliveryReports("https://example.com/sms", SECRET), Memory()
    async with Server(silence) as server:
        for process in range(2):
            settings = {"base_url": server.url, "reports": reports, "store": MemoryStore(memory)}
            async with Gateway360Client(KEY, sender="PIZZA", **settings) as client:
                sending = asyncio.create_task(client.send_all([NUMBER], name="1"))
                if process == 0:
                    await server.wait(lambda: server.posts == 1)
                    later(60)
                (result,) = await sending
    assert server.posts == 1
    assert isinstance(result, Skipped)
    assert result.reason is SkipReason.ALREADY_COMPLETED
    await report_for(reports, result.result.report_id)
    known = await client.resolve(result, timeout=5)
    assert isinstance(known, Ok)
    assert known.replayed  # this run sent nothing


async def test_without_a_report_in_time_nothing_is_known():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    client = Gateway360Client(KEY, base_url="http://127.0.0.1:9", reports=reports)
    lost = TransportFailure("timeout", Disposition.MAYBE_SENT, report_id=reports.new_id())
    assert await client.resolve(lost, timeout=0.01) is lost
    with pytest.raises(InvalidRequest, match="timeout"):
        await client.resolve(lost, timeout=0)


@pytest.mark.parametrize(
    "known",
    [
        Ok(),
        TransportFailure("connect", Disposition.NOT_SENT),
        Skipped(SkipReason.DUPLICATE),
        Skipped(SkipReason.ALREADY_COMPLETED, "", Ok()),
    ],
    ids=repr,
)
async def test_resolve_of_a_known_result_gives_it_back(known):
    assert await Gateway360Client(KEY).resolve(known, timeout=1) is known


async def test_resolve_of_another_type_is_refused():
    lost = TransportFailure("timeout", Disposition.MAYBE_SENT)
    with pytest.raises(InvalidConfiguration, match="reports"):
        await Gateway360Client(KEY).resolve(lost, timeout=1)
    reports = DeliveryReports("https://example.com/sms", SECRET)
    with pytest.raises(InvalidRequest, match="BatchItem"):
        await Gateway360Client(KEY, reports=reports).resolve("sent", timeout=1)


async def test_resolve_of_a_result_without_a_report_gives_it_back():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    lost = TransportFailure("timeout", Disposition.MAYBE_SENT)
    assert await Gateway360Client(KEY, reports=reports).resolve(lost, timeout=1) is lost


async def test_waiter_that_leaves_early_shares_the_report(later):
    reports = DeliveryReports("https://example.com/sms", SECRET)
    async with Server(silence) as server:
        async with Gateway360Client(KEY, base_url=server.url, sender="PIZZA", reports=reports) as client:
            first = asyncio.create_task(client.request_pin(NUMBER, deadline=12))
            await asyncio.sleep(0)
            leaving = asyncio.create_task(client.request_pin(NUMBER, deadline=5))
            await server.wait(lambda: server.posts == 1)
            later(6)
            second = await leaving
            assert second.disposition is Disposition.MAYBE_SENT
            assert not first.done()
            later(6)
            assert second.report_id == (await first).report_id is not None


async def test_request_refused_by_the_guard_has_no_report():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    guard = SpendGuard(allowed_prefixes={"351"})
    async with Gateway360Client(KEY, sender="PIZZA", reports=reports, guard=guard) as client:
        assert (await client.request_pin(NUMBER)).report_id is None


async def test_repeat_that_is_resolved_is_still_a_repeat(later):
    reports = DeliveryReports("https://example.com/sms", SECRET)
    async with Server(silence) as server:
        client = Gateway360Client(KEY, base_url=server.url, sender="PIZZA", reports=reports, cooldown=600)
        async with client:
            calling = asyncio.create_task(client.request_pin(NUMBER))
            await server.wait(lambda: server.posts == 1)
            later(60)
            first = await calling
            again = await client.request_pin(NUMBER)
            await report_for(reports, first.report_id)
            known = await client.resolve(again, timeout=5)
    assert server.posts == 1
    assert again.replayed
    assert (type(known), known.report_id) == (Ok, first.report_id)
    assert known.replayed


def test_reports_are_checked_when_the_client_is_made():
    with pytest.raises(InvalidConfiguration, match="DeliveryReports"):
        Gateway360Client(KEY, reports="https://example.com/sms")


async def test_request_never_sent_has_no_report():
    reports = DeliveryReports("https://example.com/sms", SECRET)
    client = Gateway360Client(
        KEY,
        base_url=f"http://127.0.0.1:{free_port()}",
        reports=reports,
        retry=RetryPolicy(max_attempts=1),
    )
    async with client:
        result = await client.send(PinRequest(NUMBER, "PIZZA"))
    assert result.disposition is Disposition.NOT_SENT
    assert await client.resolve(result, timeout=1) is result


async def report_for(reports, report_id):
    token = reports.url_for(report_id, NUMBER).rpartition("/")[2]
    body = b'[{"sms_id":"%s","to":"%s","status":"DELIVRD"}]' % (b"a" * 32, NUMBER.encode())
    await reports.receive(token, body)
