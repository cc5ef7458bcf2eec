"""The docstring's fleet on taskiq, with a real Redis and, where it matters, a worker's process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from examples import example_with
from taskiq.brokers.inmemory_broker import InmemoryResultBackend
from taskiq.receiver import Receiver

from gateway360_async import PinRequest
from gateway360_async.fleet import task_of
from gateway360_async.integrations.taskiq import fleet_broker, pin_task
from gateway360_async.sandbox import Sandbox

pytestmark = pytest.mark.timeout(120)  # a worker's process takes seconds to start on a machine that is busy

NUMBER = "34666666111"
SOURCE = example_with("fleet_broker(REDIS)").source
KEY = "an-api-key-of-the-tests"


def numbers(count):
    return [f"3466666{index:04}" for index in range(count)]


@pytest.fixture
def named(monkeypatch):
    """Name a sandbox in the environment, as the worker finds it."""

    def name(gateway):
        monkeypatch.setenv("GATEWAY360_BASE_URL", gateway.base_url)
        monkeypatch.setenv("GATEWAY360_API_KEY", gateway.api_key)

    return name


@pytest.fixture
def tasks(monkeypatch, server):
    module = ModuleType("tasks")
    monkeypatch.setitem(sys.modules, "tasks", module)
    exec(compile(SOURCE.replace("redis://localhost:6379/0", server.url), "tasks.py", "exec"), vars(module))
    return module


@contextlib.asynccontextmanager
async def working(broker):
    """Run a worker in this process, until the block ends."""
    broker.is_worker_process = True
    finish = asyncio.Event()
    receiving = asyncio.create_task(Receiver(broker, max_async_tasks=10).listen(finish))
    try:
        yield
    finally:
        finish.set()
        await receiving
        await broker.shutdown()


async def emptied(redis, stream="gateway360:queue"):
    while await redis.xlen(stream):
        await asyncio.sleep(0.01)


async def test_the_same_wish_is_one_sms(tasks, server, named):
    async with Sandbox() as gateway, server.client() as redis:
        named(gateway)
        await tasks.sign_up(1, NUMBER)
        await tasks.sign_up(1, NUMBER)
        await tasks.sign_up(2, "34666666112")
        async with working(tasks.broker):
            await emptied(redis)
        assert sorted(message.msisdn for message in gateway.messages) == [NUMBER, "34666666112"]


@contextlib.asynccontextmanager
async def process(server, gateway, *options, log):
    """Run `taskiq worker` with the broker that needs no code, and give its process."""
    environment = os.environ | {
        "GATEWAY360_FLEET": server.url,
        "GATEWAY360_FLEET_RATE": "1000/s",
        "GATEWAY360_BASE_URL": gateway.base_url,
        "GATEWAY360_API_KEY": gateway.api_key,
        "GATEWAY360_LOG": "debug",
    }
    command = ["worker", "gateway360_async.integrations.taskiq:broker_from_environment", "--workers", "1"]
    with log.open("ab") as out:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "taskiq", *command, *options, env=environment, stdout=out, stderr=out
        )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.send_signal(signal.SIGTERM)
        await running.wait()


@contextlib.asynccontextmanager
async def enqueuing(server):
    broker = fleet_broker(server.url)
    await broker.startup()
    try:
        yield pin_task(broker)
    finally:
        await broker.shutdown()


async def test_a_worker_without_any_code_sends_each_once_and_logs_no_number(server, tmp_path):
    log = tmp_path / "log"
    async with Sandbox(KEY) as gateway, enqueuing(server) as send_pin, server.client() as redis:
        wanted = numbers(50)
        for number in wanted + wanted:
            await send_pin.kiq(task=task_of(PinRequest(number, "GOOD PIZZA"), f"wish {number}"))
        await send_pin.kiq(
            task={"key": "poison", "request": {"msisdn": f"{NUMBER}x", "sender": "GOOD PIZZA"}}
        )
        await send_pin.kiq(task=NUMBER)
        await send_pin.kiq(NUMBER, NUMBER, msisdn=NUMBER)
        await redis.xadd("gateway360:queue", {"data": f"poison {NUMBER}"})
        async with process(server, gateway, log=log) as running:
            await emptied(redis)
            assert await redis.xpending("gateway360:queue", "workers") == {
                "pending": 0,
                "min": None,
                "max": None,
                "consumers": [],
            }
        assert running.returncode == 0
        assert await redis.xinfo_consumers("gateway360:queue", "workers") == []
        assert sorted(message.msisdn for message in gateway.messages) == wanted
    text = log.read_text()
    assert "InvalidRequest: msisdn" in text
    assert "InvalidRequest: task" in text
    assert "is no task" in text
    assert [number for number in (*wanted, NUMBER, KEY, server.path) if number in text] == []


async def test_a_worker_that_is_stopped_ends_what_it_has_begun_and_gives_back_the_rest(server, tmp_path):
    log = tmp_path / "log"
    begun = asyncio.Event()
    options = ["--max-async-tasks", "1", "--wait-tasks-timeout", "35", "--shutdown-timeout", "35"]
    async with (
        Sandbox(KEY, latency=1.0, on_message=lambda _message: begun.set()) as gateway,
        enqueuing(server) as send_pin,
        server.client() as redis,
    ):
        for number in numbers(5):
            await send_pin.kiq(task=task_of(PinRequest(number, "GOOD PIZZA"), f"wish {number}"))
        async with process(server, gateway, *options, log=log) as running:
            await begun.wait()
            running.send_signal(signal.SIGTERM)
            await running.wait()
        sent = len(gateway.messages)
        assert 1 <= sent < 5
        assert await redis.xlen("gateway360:queue") == 5 - sent  # what was begun is done
        async with process(server, gateway, log=log):
            await emptied(redis)
        assert sorted(message.msisdn for message in gateway.messages) == numbers(5)


async def test_a_task_of_a_worker_that_was_killed_sends_no_second_sms(tasks, server, named, tmp_path):
    """Its SMS is out, its answer is not: the next one learns that it may have been sent."""
    tasks.broker.with_result_backend(InmemoryResultBackend())
    killed = asyncio.Event()

    def kill(_message):
        children = children_of(running.pid)
        running.kill()  # first, or it would begin another
        for child in children:
            os.kill(child, signal.SIGKILL)
        killed.set()

    async with Sandbox(KEY, on_message=kill) as gateway, server.client() as redis:
        named(gateway)
        sent = await tasks.send_pin.kiq(task=task_of(PinRequest(NUMBER, "GOOD PIZZA"), "sign-up 1"))
        async with process(server, gateway, log=tmp_path / "log") as running:
            await killed.wait()
        # What is so after a while: its lease is over, and nobody has heard of it for `idle_timeout`.
        (record,) = [key async for key in redis.scan_iter("gateway360:wish:*")]
        await redis.hset(record, "l", 0)
        ((entry_id, _),) = await redis.xrange("gateway360:queue")
        await redis.xclaim("gateway360:queue", "workers", "gone", 0, [entry_id], idle=30_000)
        async with working(tasks.broker):
            result = await sent.wait_result(timeout=10, check_interval=0.01)
            await emptied(redis)
        assert (result.return_value["kind"], result.return_value["disposition"]) == (
            "interrupted",
            "maybe_sent",
        )
        assert len(gateway.messages) == 1


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
