"""The worker that no engine knows of: what it does with a task, with a real Redis."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from leaks import reported
from loopback import free_port

from gateway360_async import (
    ClientClosed,
    FleetError,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    PinRequest,
)
from gateway360_async.fleet import Fleet, result_of, task_of
from gateway360_async.integrations import worker as worker_module
from gateway360_async.integrations.worker import PinWorker
from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"
REQUEST = PinRequest(NUMBER, "GOOD PIZZA")


@contextlib.asynccontextmanager
async def workers(server, count=1, *, rate=None, latency=0.0):
    """Give a sandbox, and workers of one fleet."""
    async with Sandbox(latency=latency) as gateway:

        def make_client():
            fleet = Fleet(server.url, rate=rate, patience=0.05)
            return Gateway360Client(gateway.api_key, base_url=gateway.base_url, fleet=fleet)

        made = [PinWorker(make_client) for _ in range(count)]
        for worker in made:
            await worker.start()
        try:
            yield gateway, *made
        finally:
            for worker in made:
                await worker.stop()


async def test_a_task_sends_one_sms_however_often_it_is_delivered(server):
    async with workers(server, 2) as (gateway, one, other):
        task = task_of(REQUEST, "sign-up 1")
        outcomes = [
            await one.send_pin(task=task),
            *await asyncio.gather(other.send_pin(task=task), one.send_pin({"what": "arq gives"}, task=task)),
        ]
        assert [outcome["disposition"] for outcome in outcomes] == ["sent"] * 3
        assert [result_of(outcome).replayed for outcome in outcomes] == [False, True, True]
        assert [message.msisdn for message in gateway.messages] == [NUMBER]


async def test_an_outcome_tells_what_happened(server):
    async with workers(server) as (gateway, worker):
        gateway.lose_next_answer()
        lost = await worker.send_pin(task=task_of(REQUEST, "1"))
        gateway.balance = 0
        unsent = await worker.send_pin(task=task_of(REQUEST, "2"))
        assert (lost["result"], lost["disposition"]) == ("TransportFailure", "maybe_sent")
        assert (unsent["result"], unsent["disposition"]) == ("ApiError", "not_sent")


@pytest.mark.parametrize(
    "poison",
    [
        None,
        NUMBER,
        {},
        {"key": "1", "request": NUMBER},
        {"key": "1", "request": {"msisdn": f"{NUMBER}x", "sender": "GOOD PIZZA"}},
        {"key": "", "request": {"msisdn": NUMBER, "sender": "GOOD PIZZA"}},
    ],
)
async def test_what_is_no_task_is_refused_without_a_word_of_it(server, poison):
    async with workers(server) as (gateway, worker):
        with pytest.raises(InvalidRequest) as caught:
            await worker.send_pin(task=poison)
        assert [text for text in reported(caught.value) if NUMBER in text] == []
        assert gateway.messages == []


async def test_a_key_of_another_request_is_refused(server):
    async with workers(server) as (gateway, worker):
        await worker.send_pin(task=task_of(REQUEST, "1"))
        with pytest.raises(InvalidRequest, match="idempotency_key"):
            await worker.send_pin(task=task_of(PinRequest("34666666112", "GOOD PIZZA"), "1"))
        assert len(gateway.messages) == 1


@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_a_task_waits_for_a_redis_that_is_away(server, rate, caplog, monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.01)
    async with workers(server, rate=rate) as (gateway, worker):
        await worker.send_pin(task=task_of(REQUEST, "1"))
        await server.kill()
        waiting = [asyncio.create_task(worker.send_pin(task=task_of(REQUEST, f"{key}"))) for key in (2, 3)]
        if rate is None:
            while "no task is begun" not in caplog.text:
                await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        await server.start()
        assert [outcome["disposition"] for outcome in await asyncio.gather(*waiting)] == ["sent"] * 2
        assert len(gateway.messages) == 3
        assert caplog.text.count("no task is begun") <= 1
    assert server.path not in caplog.text


async def test_a_task_waits_for_a_redis_that_refuses(server, caplog, monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.01)
    async with workers(server) as (gateway, worker), server.client() as redis:
        await worker.send_pin(task=task_of(REQUEST, "1"))
        tries = []
        ahead = worker._client.ahead
        worker._client.ahead = lambda: tries.append("one") or ahead()
        await redis.config_set("maxmemory", "1")
        waiting = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "2")))
        while len(tries) < 3:
            await asyncio.sleep(0.01)
        await redis.config_set("maxmemory", "0")
        assert (await waiting)["disposition"] == "sent"
        assert len(gateway.messages) == 2
        assert caplog.text.count("no task is begun") == 1


async def test_a_task_waits_for_a_redis_that_gives_no_turns(server, caplog, monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.01)
    async with workers(server, rate=1000.0) as (gateway, worker), server.client() as redis:
        turns = worker._client._fleet._names.turns
        await redis.lpush(turns, "no time")
        waiting = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "1")))
        while "no task is begun" not in caplog.text:
            await asyncio.sleep(0.01)
        await redis.delete(turns)
        assert (await waiting)["disposition"] == "sent"
        assert len(gateway.messages) == 1


async def test_a_task_that_waits_when_its_worker_stops_is_not_taken_for_done(server, caplog, monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.01)
    async with workers(server) as (gateway, worker):
        await worker.send_pin(task=task_of(REQUEST, "1"))
        await server.kill()
        refused = asyncio.Event()
        send = worker._client.send

        async def watched(*args, **settings):
            try:
                return await send(*args, **settings)
            except ClientClosed:
                refused.set()
                raise

        worker._client.send = watched
        waiting = [asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "2")))]
        while "no task is begun" not in caplog.text:
            await asyncio.sleep(0.01)
        waiting.append(asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "3"))))
        stopping = asyncio.create_task(worker.stop())
        await refused.wait()
        await server.start()
        await stopping
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()  # as its engine does in the end
        done, _ = await asyncio.wait(waiting)
        assert all(task.cancelled() for task in done)
        assert len(gateway.messages) == 1


async def test_when_who_tries_for_all_is_cancelled_another_one_does(server, caplog, monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.01)
    async with workers(server) as (gateway, worker):
        await worker.send_pin(task=task_of(REQUEST, "1"))
        await server.kill()
        first = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "2")))
        while "no task is begun" not in caplog.text:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "3")))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        await server.start()
        assert (await second)["disposition"] == "sent"
        assert len(gateway.messages) == 2


async def test_a_stop_waits_for_what_is_in_flight(server):
    async with workers(server, latency=0.1) as (gateway, worker):
        sending = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "1")))
        while not gateway.messages:
            await asyncio.sleep(0.001)
        await worker.stop()
        assert (await sending)["disposition"] == "sent"


async def test_a_worker_that_has_not_begun_or_has_ended_sends_nothing(server):
    async with workers(server) as (gateway, worker):
        await worker.stop()
        await worker.stop()
        for idle in (worker, PinWorker(lambda: None)):
            with pytest.raises(ClientClosed, match="has not begun, or has ended"):
                await idle.send_pin(task=task_of(REQUEST, "1"))
        assert gateway.messages == []


async def test_a_worker_that_the_fleet_does_not_take_does_not_begin(server):
    """It would hold tasks that others could send: the fleet's name is of another API key."""
    made = []

    def make_client(key="another"):
        fleet = Fleet(server.url, patience=0.05)
        made.append(Gateway360Client(key, base_url="http://127.0.0.1:1", fleet=fleet))
        return made[-1]

    ours = PinWorker(lambda: make_client("k3y"))
    await ours.start()
    with pytest.raises(FleetError, match="with another API key"):
        await PinWorker(make_client).start()
    await ours.stop()
    assert ["closed" in repr(client) for client in made] == [True, True]


async def test_a_worker_begins_while_redis_is_away_and_not_on_a_cluster(monkeypatch):
    made = []

    def make_client():
        away = Fleet(f"redis://127.0.0.1:{free_port()}/0", patience=0.0)
        made.append(Gateway360Client("k3y", sender="PIZZA", fleet=away))
        return made[-1]

    worker = PinWorker(make_client)
    await worker.start()
    await worker.stop()

    async def cluster(_client):
        raise InvalidConfiguration("url", "is a Redis Cluster", "a single Redis")

    monkeypatch.setattr(Gateway360Client, "join_fleet", cluster)
    with pytest.raises(InvalidConfiguration, match="Cluster"):
        await worker.start()
    assert ["closed" in repr(client) for client in made] == [True, True]


async def test_a_client_without_a_fleet_has_nobody_to_ask():
    async with Gateway360Client("k3y", sender="PIZZA") as client:
        await client.join_fleet()


async def test_a_client_without_a_fleet_is_refused_and_closed():
    made = []

    def make_client():
        made.append(Gateway360Client("a-key"))
        return made[0]

    with pytest.raises(InvalidConfiguration, match="without a fleet") as caught:
        await PinWorker(make_client).start({})
    assert caught.value.setting == "make_client"
    assert "closed" in repr(made[0])


async def test_what_makes_no_client_is_refused():
    with pytest.raises(InvalidConfiguration, match="gives a NoneType"):
        await PinWorker(lambda: None).start()
    with pytest.raises(InvalidConfiguration, match="is of type Gateway360Client"):
        PinWorker(Gateway360Client("a-key"))


async def test_a_worker_shows_nothing_of_what_it_shares(server):
    async with workers(server) as (gateway, worker):
        assert "open" in repr(worker)
        assert server.path not in repr(worker)
        assert gateway.api_key not in repr(worker)
