"""The worker of any task queue: what it does with a task, on a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from support.leaks import reported
from support.scripted_store import AWAY, BROKEN, ScriptedStore, failing

from gateway360_async import (
    ClientClosed,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    PinRequest,
    StoreError,
)
from gateway360_async.integrations import worker as worker_module
from gateway360_async.integrations.worker import BlockingPinWorker, PinWorker, result_of, task_of
from gateway360_async.sandbox import Sandbox
from gateway360_async.stores import SqliteStore
from gateway360_async.testing import sandbox_in_thread
from gateway360_async.testing._memory_store import Memory

NUMBER = "34666666111"
REQUEST = PinRequest(NUMBER, "GOOD PIZZA")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.001)


@contextlib.asynccontextmanager
async def workers(count=1, *, latency=0.0, **settings):
    """Give a sandbox, and workers whose stores share a place; each worker has its `store`."""
    memory = Memory()
    async with Sandbox(latency=latency) as gateway:
        made = []
        for _ in range(count):
            store = ScriptedStore(memory)
            worker = PinWorker(
                lambda store=store: Gateway360Client(
                    gateway.api_key, base_url=gateway.base_url, store=store, **settings
                )
            )
            worker.store = store
            await worker.start()
            made.append(worker)
        try:
            yield gateway, *made
        finally:
            for worker in made:
                await worker.stop()


async def test_task_sends_one_sms_however_often_it_is_delivered():
    async with workers(2) as (gateway, one, other):
        task = task_of(REQUEST, "sign-up 1")
        outcomes = [
            await one.send_pin(task=task),
            *await asyncio.gather(other.send_pin(task=task), one.send_pin({"what": "arq gives"}, task=task)),
        ]
        assert [outcome["disposition"] for outcome in outcomes] == ["sent"] * 3
        assert [result_of(outcome).replayed for outcome in outcomes] == [False, True, True]
        assert [message.msisdn for message in gateway.messages] == [NUMBER]


async def test_outcome_tells_what_happened():
    async with workers() as (gateway, worker):
        gateway.lose_next_answer()
        lost = await worker.send_pin(task=task_of(REQUEST, "1"))
        gateway.balance = 0
        unsent = await worker.send_pin(task=task_of(REQUEST, "2"))
        assert (lost["result"], lost["disposition"]) == ("TransportFailure", "maybe_sent")
        assert (unsent["result"], unsent["disposition"]) == ("ApiError", "not_sent")


@pytest.mark.parametrize(
    "poison", [None, {}, {"v": 1, "key": "1", "request": {"msisdn": f"{NUMBER}x", "sender": "P"}}]
)
async def test_task_that_is_none_is_refused_without_a_word_of_it(poison):
    async with workers() as (gateway, worker):
        with pytest.raises(InvalidRequest) as caught:
            await worker.send_pin(task=poison)
        assert [text for text in reported(caught.value) if NUMBER in text] == []
        assert gateway.messages == []


async def test_task_with_the_key_of_another_request_is_refused():
    async with workers() as (gateway, worker):
        await worker.send_pin(task=task_of(REQUEST, "1"))
        with pytest.raises(InvalidRequest, match="idempotency_key"):
            await worker.send_pin(task=task_of(PinRequest("34666666112", "GOOD PIZZA"), "1"))
        assert len(gateway.messages) == 1


@pytest.mark.parametrize("step", ["open", "claim", "permits"])
@pytest.mark.parametrize("error", [AWAY, BROKEN], ids=str)
async def test_tasks_wait_for_a_store_that_cannot_be_asked_and_one_tries_for_all(step, error, caplog):
    async with workers(rate=1000.0) as (gateway, worker):
        if step == "open":
            await worker.stop()
            worker.store.before["open"] = failing(AWAY)
            await worker.start()
        worker.store.before[step] = failing(error)
        tries = []
        send = worker._client.send

        async def counted(*args, **settings):
            tries.append("one")
            return await send(*args, **settings)

        worker._client.send = counted
        waiting = [asyncio.create_task(worker.send_pin(task=task_of(REQUEST, f"{key}"))) for key in (2, 3)]
        while len(tries) < 6:
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in waiting)
        worker.store.before.clear()
        assert [outcome["disposition"] for outcome in await asyncio.gather(*waiting)] == ["sent"] * 2
        assert len(gateway.messages) == 2
        assert caplog.text.count("no task is begun") == 1


async def test_task_that_waits_when_its_worker_stops_is_not_taken_for_done(caplog):
    async with workers() as (gateway, worker):
        worker.store.before["claim"] = failing(AWAY)
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
            await asyncio.sleep(0.001)
        waiting.append(asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "3"))))
        await asyncio.sleep(0)
        await worker.stop()
        await refused.wait()
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()  # as its engine does in the end
        done, _ = await asyncio.wait(waiting)
        assert all(task.cancelled() for task in done)
        assert gateway.messages == []


async def test_task_that_tries_for_all_and_is_cancelled_leaves_it_to_another(caplog):
    async with workers() as (gateway, worker):
        worker.store.before["claim"] = failing(AWAY)
        first = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "2")))
        while "no task is begun" not in caplog.text:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "3")))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        worker.store.before.clear()
        assert (await second)["disposition"] == "sent"
        assert len(gateway.messages) == 1


async def test_stopping_waits_for_what_is_in_flight():
    async with workers(latency=0.1) as (gateway, worker):
        sending = asyncio.create_task(worker.send_pin(task=task_of(REQUEST, "1")))
        while not gateway.messages:
            await asyncio.sleep(0.001)
        await worker.stop()
        assert (await sending)["disposition"] == "sent"


async def test_worker_that_has_stopped_sends_nothing():
    async with workers() as (gateway, worker):
        await worker.stop()
        await worker.stop()
        with pytest.raises(ClientClosed, match="has stopped"):
            await worker.send_pin(task=task_of(REQUEST, "1"))
        assert gateway.messages == []


def test_worker_that_was_not_started_begins_with_its_first_tasks_and_ends_with_the_event_loop(tmp_path):
    made = []

    async def work(gateway):
        def make_client():
            store = SqliteStore(tmp_path / "pins.db")
            made.append(Gateway360Client(gateway.api_key, base_url=gateway.base_url, store=store))
            return made[-1]

        worker = PinWorker(make_client)
        tasks = [worker.send_pin(task=task_of(REQUEST, key)) for key in "123"]
        return [outcome["disposition"] for outcome in await asyncio.gather(*tasks)]

    with sandbox_in_thread() as gateway:
        assert asyncio.run(work(gateway)) == ["sent"] * 3
    assert len(made) == 1
    assert "closed" in repr(made[0])


@pytest.mark.parametrize(
    "error", [BROKEN, InvalidConfiguration("url", "is a Redis Cluster", "a single Redis")], ids=str
)
async def test_worker_whose_store_refuses_it_does_not_begin(error):
    made = []

    def make_client():
        store = ScriptedStore()
        store.before["open"] = failing(error)
        made.append(Gateway360Client("k3y", sender="PIZZA", store=store))
        return made[-1]

    with pytest.raises((StoreError, InvalidConfiguration)):
        await PinWorker(make_client).start()
    assert "closed" in repr(made[0])


async def test_worker_whose_client_has_no_store_does_not_begin():
    made = []

    def make_client():
        made.append(Gateway360Client("a-key"))
        return made[0]

    with pytest.raises(InvalidConfiguration, match="without a store") as caught:
        await PinWorker(make_client).start({})
    assert caught.value.setting == "make_client"
    assert "closed" in repr(made[0])


async def test_worker_without_a_client_is_refused():
    with pytest.raises(InvalidConfiguration, match="gives a NoneType"):
        await PinWorker(lambda: None).start()
    with pytest.raises(InvalidConfiguration, match="is of type Gateway360Client"):
        PinWorker(Gateway360Client("a-key"))


async def test_worker_shows_no_key():
    async with workers() as (gateway, worker):
        assert "open" in repr(worker)
        assert gateway.api_key not in repr(worker)


@pytest.fixture
def blocking(tmp_path):
    with sandbox_in_thread() as gateway:

        def make_client():
            return Gateway360Client(
                gateway.api_key, base_url=gateway.base_url, store=SqliteStore(tmp_path / "pins.db")
            )

        worker = BlockingPinWorker(make_client)
        worker.gateway = gateway
        yield worker
        worker.stop()


def test_blocking_worker_sends_a_task_once_and_nothing_after_a_stop(blocking):
    blocking.check()
    task = task_of(REQUEST, "sign-up 1")
    outcomes = [blocking.send_pin(task), blocking.send_pin(task)]
    blocking.stop()
    blocking.stop()
    with pytest.raises(ClientClosed):
        blocking.send_pin(task)
    assert [outcome["disposition"] for outcome in outcomes] == ["sent"] * 2
    assert [result_of(outcome).replayed for outcome in outcomes] == [False, True]
    assert len(blocking.gateway.messages) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_blocking_worker_begins_in_the_child_of_a_fork(blocking):
    blocking.check()  # as an engine's parent does
    child = os.fork()
    if not child:
        status = 1
        try:
            outcome = blocking.send_pin(task_of(REQUEST, "sign-up 1"))
            blocking.stop()
            status = 0 if outcome["disposition"] == "sent" else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert blocking.send_pin(task_of(REQUEST, "sign-up 1"))["replayed"]
    assert [message.msisdn for message in blocking.gateway.messages] == [NUMBER]


def test_blocking_worker_with_wrong_settings_is_told_so_and_can_be_tried_again():
    worker = BlockingPinWorker(lambda: Gateway360Client("a-key"))
    for begin in (worker.check, lambda: worker.send_pin(task_of(REQUEST, "1"))) * 2:
        with pytest.raises(InvalidConfiguration, match="without a store"):
            begin()
    worker.stop()
