"""The function of arq: real workers, a real Redis, a sandbox for the gateway."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys

import pytest
from arq.connections import RedisSettings, create_pool
from arq.constants import in_progress_key_prefix
from arq.worker import create_worker

from gateway360_async import Gateway360Client, InvalidConfiguration, PinRequest
from gateway360_async.integrations.arq import pin_task
from gateway360_async.integrations.worker import task_of
from gateway360_async.sandbox import Sandbox
from gateway360_async.stores import SqliteStore

# arq closes its connections by a name that redis-py has given up, and asks for what it does by itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Call to '__init__' function with deprecated:DeprecationWarning"),
    pytest.mark.timeout(120),  # a worker's process takes seconds to start on a machine that is busy
]

NUMBER = "34666666111"
SHOP = """
import os
from arq.connections import RedisSettings
from gateway360_async import Gateway360Client
from gateway360_async.integrations.arq import pin_task
from gateway360_async.stores import SqliteStore


@pin_task(lambda: Gateway360Client(store=SqliteStore("pins.db")))
class WorkerSettings:
    redis_settings = RedisSettings(unix_socket_path=os.environ["BROKER"])
    poll_delay = 0.05
"""


def task(index):
    return task_of(PinRequest(str(34666666000 + index), "GOOD PIZZA"), f"sign-up {index}")


class Shop:
    """An application, its queue and its workers."""

    def __init__(self, folder, path, queue, gateway):
        self.folder, self.path, self.queue, self.gateway = folder, path, queue, gateway
        self.on_message = lambda message: None
        (folder / "shop.py").write_text(SHOP)

    async def enqueue(self, index, job):
        return await self.queue.enqueue_job("send_pin", task=task(index), _job_id=job)

    def start(self, *options, **environment):
        settings = {
            "BROKER": self.path,
            "GATEWAY360_BASE_URL": self.gateway.base_url,
            "GATEWAY360_API_KEY": self.gateway.api_key,
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "arq", "shop.WorkerSettings", *options],
                cwd=self.folder,
                env={**os.environ, **settings, **environment},
                stdout=log,
                stderr=log,
            )

    async def work(self, **environment):
        """Run a worker until the queue is empty."""
        return await asyncio.to_thread(self.start("--burst", **environment).wait)

    def log(self):
        return (self.folder / "log").read_text()


@pytest.fixture
async def shop(redis, tmp_path):
    path = redis.url.removeprefix("unix://")
    queue = await create_pool(RedisSettings(unix_socket_path=path))
    async with Sandbox(on_message=lambda message: made.on_message(message)) as gateway:  # noqa: PLW0108  # it may change
        made = Shop(tmp_path, path, queue, gateway)
        yield made
    await queue.aclose(close_connection_pool=True)


async def test_jobs_delivered_twice_at_once_are_one_sms_each_and_no_number_is_logged(shop):
    twice = [await shop.enqueue(index, f"{index} {time}") for index in range(50) for time in "ab"]
    await shop.work()
    outcomes = [await sent.result(timeout=30) for sent in twice]
    assert {outcome["disposition"] for outcome in outcomes} == {"sent"}
    assert sorted(message.msisdn for message in shop.gateway.messages) == [
        str(34666666000 + index) for index in range(50)
    ]
    assert "send_pin(…)" in shop.log()
    assert "346666660" not in shop.log()


async def test_job_of_a_worker_that_was_killed_is_delivered_again_and_sends_no_second_sms(shop):
    worker = shop.start()
    shop.on_message = lambda _message: worker.kill()
    sent = await shop.enqueue(1, "1")
    await asyncio.to_thread(worker.wait)
    assert await shop.queue.delete(in_progress_key_prefix + sent.job_id) == 1  # as after 70 seconds
    await shop.work()
    outcome = await sent.result(timeout=30)
    assert (outcome["kind"], outcome["disposition"]) == ("interrupted", "maybe_sent")
    assert len(shop.gateway.messages) == 1


async def test_worker_that_is_stopped_ends_what_it_has_begun(shop):
    worker = shop.start()
    shop.on_message = lambda _message: worker.send_signal(signal.SIGTERM)
    sent = await shop.enqueue(1, "1")
    await asyncio.to_thread(worker.wait)
    assert (await sent.result(timeout=5))["disposition"] == "sent"


async def test_worker_without_a_key_does_not_start_and_says_why(shop):
    assert await shop.work(GATEWAY360_API_KEY="") == 1
    assert shop.log().splitlines()[-1].startswith("gateway360_async._errors.InvalidConfiguration: api_key: ")
    assert "KeyError" not in shop.log()


async def run(settings):
    """Run a worker in this process until the queue is empty."""
    worker = create_worker(settings, burst=True, handle_signals=False, poll_delay=0.01)
    try:
        await worker.async_run()
    finally:
        await worker.close()
    return worker


async def test_log_shows_a_job_without_its_arguments(shop, caplog):
    caplog.set_level(logging.INFO, logger="arq.worker")

    def make_client():
        store = SqliteStore(shop.folder / "pins.db")
        return Gateway360Client(shop.gateway.api_key, base_url=shop.gateway.base_url, store=store)

    @pin_task(make_client)
    class WorkerSettings:
        redis_settings = RedisSettings(unix_socket_path=shop.path)

    sent = await shop.enqueue(1, "1")
    await run(WorkerSettings)
    assert (await sent.result(timeout=5))["disposition"] == "sent"
    assert "send_pin(…)" in caplog.text
    assert "34666666001" not in caplog.text


async def test_settings_keep_what_the_class_has(redis, tmp_path):
    told = []

    async def other(ctx):
        told.append("other")

    def settings(make_client):
        @pin_task(make_client, name="send_sign_up_pin")
        class WorkerSettings:
            redis_settings = RedisSettings(unix_socket_path=redis.url.removeprefix("unix://"))
            functions = (other,)
            job_timeout = 5

            async def on_startup(ctx):
                told.append("begun")

            async def on_shutdown(ctx):
                told.append("ended")

        return WorkerSettings

    worker = await run(settings(lambda: Gateway360Client("k3y", store=SqliteStore(tmp_path / "pins.db"))))
    assert told == ["begun", "ended"]
    assert {name.rpartition(".")[2] for name in worker.functions} == {"other", "send_sign_up_pin"}
    assert (worker.job_timeout_s, worker.max_jobs) == (5, 100)
    with pytest.raises(InvalidConfiguration, match="without a store"):
        await run(settings(lambda: Gateway360Client("k3y")))
    assert told == ["begun", "ended"]  # neither begun nor ended
