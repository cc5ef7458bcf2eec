"""Batches of the real client, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from support.loopback import Received, Server, free_port, in_turn, ok, silence, status

from gateway360_async import (
    ApiError,
    ClientClosed,
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    Ok,
    Skipped,
    SkipReason,
    TransportFailure,
)

DENIED = b'{"status":"error","error_id":"UNAUTHORIZED","error_msg":"Your API key may be invalid or your IP is blocked."}'


def number(n: int) -> str:
    return str(34600000000 + n)


def client_for(server: Server, **settings) -> Gateway360Client:
    return Gateway360Client("k3y", base_url=server.url, sender="PIZZA", **settings)


async def test_send_all_gives_the_results_in_the_order_of_the_requests():
    async def by_number(received: Received) -> None:
        if received.json["msisdn"] == number(3):
            await received.answer(200, b'{"status":"error","error_id":"INVALID_NUMBER"}')
        else:
            await received.answer()

    async with Server(by_number) as server, client_for(server, concurrency=4) as client:
        results = await client.send_all([number(n) for n in range(10)] + ["x", number(0)])
    assert [type(result) for result in results] == [Ok] * 3 + [ApiError] + [Ok] * 6 + [Skipped] * 2
    assert server.posts == 10
    assert server.connections <= 4


async def test_batch_halts_on_a_wrong_key_and_sends_nothing_more():
    async with Server(status(401, DENIED)) as server, client_for(server) as client:
        async with client.batch([number(n) for n in range(100)], concurrency=5) as batch:
            items = [item async for item in batch]
    assert len(items) == 100
    assert server.posts <= 5
    assert batch.report.by_reason == {SkipReason.HALTED: 100 - server.posts}
    assert batch.report.halted_by.error_id == "UNAUTHORIZED"


async def test_row_waiting_for_a_slot_when_the_batch_halts_is_unsent():
    async with Server(status(401, DENIED)) as server, client_for(server, concurrency=1) as client:
        results = await client.send_all([number(n) for n in range(20)], concurrency=10)
    assert server.posts == 1
    assert [type(result) for result in results] == [ApiError] + [Skipped] * 19


async def test_leaving_a_batch_early_says_what_may_have_been_sent():
    async with Server(in_turn(ok, silence)) as server, client_for(server, concurrency=2) as client:
        async with client.batch([number(n) for n in range(10)], concurrency=4) as batch:
            async for _ in batch:
                await server.wait(lambda: server.posts == 3)
                break
        report = batch.report
        # Two answers are outstanding; the other two workers wait for a place.
        assert report.by_disposition == {
            Disposition.SENT: 1,
            Disposition.MAYBE_SENT: 2,
            Disposition.NOT_SENT: 2,
        }
        assert {item.result.kind for item in report.unconsumed} == {FailureKind.CANCELLED}
        assert server.posts == 3
        server.behaviour = ok
        assert isinstance(await client.request_pin(number(99)), Ok)


async def test_batch_on_a_client_closed_meanwhile_loses_nothing():
    async with Server(in_turn(ok, silence)) as server:
        client = client_for(server, concurrency=1, deadline=0.5)
        taken = []
        async with client.batch([number(n) for n in range(10)], concurrency=1) as batch:
            with pytest.raises(ClientClosed):
                async for item in batch:
                    taken.append(item)
                    await client.aclose()
        assert batch.report.total == len(taken) + len(batch.report.unconsumed)
        assert server.posts == sum(item.result.disposition is not Disposition.NOT_SENT for item in taken)


async def test_send_all_that_is_broken_off_logs_its_counts(caplog):
    def broken():
        yield number(0)
        yield number(1)
        raise OSError("disk gone")

    async with Server() as server, client_for(server) as client:
        with pytest.raises(OSError, match="disk gone"):
            await client.send_all(broken())
    assert server.posts == 2
    assert "send_all was broken off" in caplog.text
    assert "total=2" in caplog.text


async def test_gateway_that_is_down_costs_attempts_but_no_entry():
    async with Gateway360Client("k3y", sender="PIZZA", base_url=f"http://127.0.0.1:{free_port()}") as client:
        results = await client.send_all([number(n) for n in range(5)], halt_on=())
    assert all(isinstance(result, TransportFailure) for result in results)
    assert {result.disposition for result in results} == {Disposition.NOT_SENT}


async def test_wrong_concurrency_of_a_batch_names_itself():
    async with Server() as server, client_for(server) as client:
        with pytest.raises(InvalidConfiguration) as caught:
            client.batch([], concurrency=0)
    assert caught.value.setting == "concurrency"


async def test_two_batches_share_the_clients_places():
    async with Server() as server, client_for(server, concurrency=3) as client:
        await asyncio.gather(
            client.send_all([number(n) for n in range(30)]),
            client.send_all([number(n) for n in range(30, 60)]),
        )
    assert server.posts == 60
    assert server.connections <= 3
