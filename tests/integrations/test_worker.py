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
TASKS = [task_of(REQUEST, f"sign-up {index}") for index in range(3)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(worker_module, "_PAUSE", 0.001)


@contextlib.asynccontextmanager
async def workers(count=1, *, latency=0.0, **settings):
    """Give a sandbox, and workers whose stores share a place; each worker has its `store`."""
    memory = Memory()
    async with Sandbox(latency=latency) as gateway, contextlib.AsyncExitStack() as stack:
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
            stack.push_async_callback(worker.stop)
            made.append(worker)
        yield gateway, *made


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def test_task_delivered_often_sends_one_sms():
    async with workers(2) as (gateway, one, other):
        outcomes = [
            await one.send_pin(task=TASKS[0]),
            *await asyncio.gather(
                other.send_pin(task=TASKS[0]), one.send_pin({"a context": "of arq"}, task=TASKS[0])
            ),
        ]
        assert [outcome["disposition"] for outcome in outcomes] == ["sent"] * 3
        assert [result_of(outcome).replayed for outcome in outcomes] == [False, True, True]
        assert [message.msisdn for message in gateway.messages] == [NUMBER]


async def test_outcome_tells_how_the_call_ended():
    async with workers() as (gateway, worker):
        gateway.lose_next_answer()
        lost = await worker.send_pin(task=TASKS[0])
        gateway.balance = 0
        unsent = await worker.send_pin(task=TASKS[1])
        assert (lost["result"], lost["disposition"]) == ("TransportFailure", "maybe_sent")
        assert (unsent["result"], unsent["disposition"]) == ("ApiError", "not_sent")


@pytest.mark.parametrize(
    "poison", [None, {}, {"v": 1, "key": "1", "request": {"msisdn": f"{NUMBER}x", "sender": "P"}}]
)
async def test_task_that_is_none_is_refused_without_its_number(poison):
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
async def test_tasks_wait_for_their_store_and_one_tries_for_all(step, error, caplog):
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
        waiting = [asyncio.create_task(worker.send_pin(task=task)) for task in TASKS[:2]]
        await until(lambda: len(tries) >= 6)
        assert not any(task.done() for task in waiting)
        worker.store.before.clear()
        assert [outcome["disposition"] for outcome in await asyncio.gather(*waiting)] == ["sent"] * 2
        assert len(gateway.messages) == 2
        assert caplog.text.count("no task is begun") == 1


async def test_task_that_waits_as_its_worker_stops_never_returns(caplog):
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
        waiting = [asyncio.create_task(worker.send_pin(task=TASKS[0]))]
        await until(lambda: "no task is begun" in caplog.text)
        waiting.append(asyncio.create_task(worker.send_pin(task=TASKS[1])))
        await asyncio.sleep(0)
        await worker.stop()
        await refused.wait()
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()  # as its engine does in the end
        done, _ = await asyncio.wait(waiting)
        assert all(task.cancelled() for task in done)
        assert gateway.messages == []


async def test_task_that_tries_for_all_leaves_it_to_another(caplog):
    async with workers() as (gateway, worker):
        worker.store.before["claim"] = failing(AWAY)
        first = asyncio.create_task(worker.send_pin(task=TASKS[0]))
        await until(lambda: "no task is begun" in caplog.text)
        second = asyncio.create_task(worker.send_pin(task=TASKS[1]))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        worker.store.before.clear()
        assert (await second)["disposition"] == "sent"
        assert len(gateway.messages) == 1


async def test_stop_waits_for_calls_in_flight_and_refuses_new_ones():
    async with workers(latency=0.1) as (gateway, worker):
        sending = asyncio.create_task(worker.send_pin(task=TASKS[0]))
        await until(lambda: gateway.messages)
        await worker.stop()
        assert (await sending)["disposition"] == "sent"
        await worker.stop()
        with pytest.raises(ClientClosed, match="has stopped"):
            await worker.send_pin(task=TASKS[1])
        assert len(gateway.messages) == 1


def test_worker_opens_with_a_task_and_closes_with_its_loop(tmp_path):
    made = []

    async def work(gateway):
        def make_client():
            store = SqliteStore(tmp_path / "pins.db")
            made.append(Gateway360Client(gateway.api_key, base_url=gateway.base_url, store=store))
            return made[-1]

        worker = PinWorker(make_client)
        return await asyncio.gather(*[worker.send_pin(task=task) for task in TASKS])

    with sandbox_in_thread() as gateway:
        assert [outcome["disposition"] for outcome in asyncio.run(work(gateway))] == ["sent"] * 3
    (client,) = made
    assert "closed" in repr(client)


CLUSTER = InvalidConfiguration("url", "is a Redis Cluster", "a single Redis")


@pytest.mark.parametrize(
    ("opening", "text"),
    [(BROKEN, str(BROKEN)), (CLUSTER, str(CLUSTER)), (None, "make_client: makes a client without a store")],
)
async def test_client_that_cannot_open_is_closed(opening, text):
    store = None
    if opening is not None:
        store = ScriptedStore()
        store.before["open"] = failing(opening)
    client = Gateway360Client("k3y", sender="PIZZA", store=store)
    with pytest.raises((StoreError, InvalidConfiguration)) as caught:
        await PinWorker(lambda: client).start({})
    assert text in str(caught.value)
    assert "closed" in repr(client)


async def test_worker_without_a_client_is_refused():
    with pytest.raises(InvalidConfiguration, match="make_client: gives a NoneType"):
        await PinWorker(lambda: None).start()
    with pytest.raises(InvalidConfiguration, match="is of type Gateway360Client"):
        PinWorker(Gateway360Client("a-key"))


async def test_repr_of_a_worker_shows_no_key():
    async with workers() as (gateway, worker):
        assert "open" in repr(worker)
        assert gateway.api_key not in repr(worker)


@pytest.fixture
def blocking(tmp_path):
    with sandbox_in_thread() as gateway:

        def make_client():
            store = SqliteStore(tmp_path / "pins.db")
            return Gateway360Client(gateway.api_key, base_url=gateway.base_url, store=store)

        worker = BlockingPinWorker(make_client)
        yield gateway, worker
        worker.stop()


def test_blocking_worker_sends_once_and_nothing_after_a_stop(blocking):
    gateway, worker = blocking
    worker.check()
    outcomes = [worker.send_pin(TASKS[0]), worker.send_pin(TASKS[0])]
    worker.stop()
    worker.stop()
    with pytest.raises(ClientClosed):
        worker.send_pin(TASKS[0])
    assert [result_of(outcome).replayed for outcome in outcomes] == [False, True]
    assert len(gateway.messages) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_blocking_worker_begins_in_the_child_of_a_fork(blocking):
    gateway, worker = blocking
    worker.check()  # as an engine's parent does
    child = os.fork()
    if not child:
        status = 1
        try:
            outcome = worker.send_pin(TASKS[0])
            worker.stop()
            status = 0 if outcome["disposition"] == "sent" else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert worker.send_pin(TASKS[0])["replayed"]
    assert [message.msisdn for message in gateway.messages] == [NUMBER]


def test_blocking_worker_with_wrong_settings_says_so_each_time():
    worker = BlockingPinWorker(lambda: Gateway360Client("a-key"))
    for begin in (worker.check, lambda: worker.send_pin(TASKS[0])) * 2:
        with pytest.raises(InvalidConfiguration, match="without a store"):
            begin()
    worker.stop()
