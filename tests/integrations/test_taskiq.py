"""The task of taskiq: real workers, a real Redis, a sandbox for the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pytest
from taskiq import InMemoryBroker
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from gateway360_async import Gateway360Client, PinRequest
from gateway360_async.integrations.taskiq import pin_task
from gateway360_async.integrations.worker import task_of
from gateway360_async.sandbox import Sandbox
from gateway360_async.stores import SqliteStore

pytestmark = pytest.mark.timeout(180)  # a worker's process takes seconds to start on a machine that is busy

SHOP = """
import os
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker
from gateway360_async import Gateway360Client
from gateway360_async.integrations.taskiq import pin_task
from gateway360_async.stores import SqliteStore

url = os.environ["BROKER"]
broker = RedisStreamBroker(url, idle_timeout=1).with_result_backend(RedisAsyncResultBackend(url))
send_pin = pin_task(broker, lambda: Gateway360Client(store=SqliteStore("pins.db")))
"""


def task(index):
    return task_of(PinRequest(str(34666666000 + index), "GOOD PIZZA"), f"sign-up {index}")


class Shop:
    """An application, its queue and its workers."""

    def __init__(self, folder, url, gateway):
        self.folder, self.url, self.gateway = folder, url, gateway
        self.broker = RedisStreamBroker(url).with_result_backend(RedisAsyncResultBackend(url))
        self.send_pin = pin_task(self.broker, lambda: None)
        self.on_message = lambda message: None
        (folder / "shop.py").write_text(SHOP)

    @contextlib.asynccontextmanager
    async def worker(self):
        """Run a worker; its process, which its manager starts again when it dies, is in a group with the manager."""
        settings = {
            "BROKER": self.url,
            "GATEWAY360_BASE_URL": self.gateway.base_url,
            "GATEWAY360_API_KEY": self.gateway.api_key,
        }
        with (self.folder / "log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "taskiq", "worker", "shop:broker", "--workers", "1"],
                cwd=self.folder,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGTERM)
            await asyncio.to_thread(worker.wait)


@pytest.fixture
async def shop(redis, tmp_path):
    async with Sandbox(on_message=lambda message: made.on_message(message)) as gateway:  # noqa: PLW0108  # it may change
        made = Shop(tmp_path, redis.url, gateway)
        await made.broker.startup()
        yield made
        await made.broker.shutdown()


async def test_tasks_delivered_twice_at_once_are_one_sms_each_and_no_number_is_logged(shop):
    twice = [await shop.send_pin.kiq(task(index)) for index in range(50) for _ in range(2)]
    async with shop.worker():
        results = [await sent.wait_result(timeout=120) for sent in twice]
    assert {result.return_value["disposition"] for result in results} == {"sent"}
    assert sorted(message.msisdn for message in shop.gateway.messages) == [
        str(34666666000 + index) for index in range(50)
    ]
    assert "346666660" not in (shop.folder / "log").read_text()


async def test_task_of_a_worker_that_was_killed_is_delivered_again_and_sends_no_second_sms(shop):
    async with shop.worker() as worker:
        shop.on_message = lambda _message: os.killpg(worker.pid, signal.SIGKILL)
        sent = await shop.send_pin.kiq(task(1))
        await asyncio.to_thread(worker.wait)
    shop.on_message = lambda _message: None
    async with shop.worker():
        await shop.send_pin.kiq(
            task(2)
        )  # the broker looks for what is overdue when it has received something
        outcome = (await sent.wait_result(timeout=120)).return_value
    assert (outcome["kind"], outcome["disposition"]) == ("interrupted", "maybe_sent")
    assert [message.msisdn for message in shop.gateway.messages].count("34666666001") == 1


async def test_worker_that_is_stopped_ends_what_it_has_begun(shop):
    async with shop.worker() as worker:
        shop.on_message = lambda _message: worker.send_signal(signal.SIGTERM)
        sent = await shop.send_pin.kiq(task(1))
        await asyncio.to_thread(worker.wait)
    assert (await sent.wait_result(timeout=5)).return_value["disposition"] == "sent"


async def test_task_runs_with_the_worker_s_client(tmp_path):
    async with Sandbox() as gateway:
        broker = InMemoryBroker()
        store = SqliteStore(tmp_path / "pins.db")
        send_pin = pin_task(
            broker, lambda: Gateway360Client(gateway.api_key, base_url=gateway.base_url, store=store)
        )
        broker.is_worker_process = True
        await broker.startup()
        result = await (await send_pin.kiq(task(1))).wait_result(timeout=30)
        await broker.shutdown()
    assert result.return_value["disposition"] == "sent"
