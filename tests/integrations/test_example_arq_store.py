"""The docstring's worker of arq with a store, on a real Redis."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys

import pytest
from arq.connections import RedisSettings, create_pool
from arq.constants import in_progress_key_prefix
from arq.worker import create_worker
from examples import example_with

from gateway360_async import PinRequest
from gateway360_async.integrations.worker import task_of
from gateway360_async.sandbox import Sandbox

# arq closes its connections by a name that redis-py has given up, and asks for what it does by itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Call to '__init__' function with deprecated:DeprecationWarning"),
    pytest.mark.timeout(120),  # a worker's process takes seconds to start on a machine that is busy
]

NUMBER = "34666666111"
SOURCE = example_with("RedisSettings.from_dsn(REDIS)").source
TASK = task_of(PinRequest(NUMBER, "GOOD PIZZA"), "sign-up 1")


@pytest.fixture
async def queue(server):
    pool = await create_pool(RedisSettings.from_dsn(server.url))
    yield pool
    await pool.aclose(close_connection_pool=True)


@pytest.fixture
def source(server):
    level = logging.getLogger("arq.worker").level
    yield SOURCE.replace("redis://localhost:6379/0", server.url)
    logging.getLogger("arq.worker").setLevel(level)


async def work(source):
    """Run a worker until the queue is empty."""
    namespace = {"__name__": "worker"}
    exec(compile(source, "worker.py", "exec"), namespace)
    worker = create_worker(namespace["WorkerSettings"], burst=True, handle_signals=False, poll_delay=0.05)
    try:
        await worker.async_run()
    finally:
        await worker.close()


async def test_two_jobs_with_one_key_are_one_sms_and_no_number_is_logged(queue, source, named, caplog):
    caplog.set_level(logging.INFO)
    async with Sandbox() as gateway:
        named(gateway)
        jobs = [await queue.enqueue_job("send_pin", task=TASK, _job_id=name) for name in ("1", "2")]
        await work(source)
        outcomes = [await job.result(timeout=5) for job in jobs]
        assert [outcome["disposition"] for outcome in outcomes] == ["sent", "sent"]
        assert [message.msisdn for message in gateway.messages] == [NUMBER]
    assert NUMBER not in caplog.text


async def test_the_job_of_a_worker_that_was_killed_sends_no_second_sms(queue, source, named, tmp_path):
    (tmp_path / "worker.py").write_text(source)

    def kill(_message):
        worker.send_signal(signal.SIGKILL)

    async with Sandbox(on_message=kill) as gateway:
        named(gateway)
        job = await queue.enqueue_job("send_pin", task=TASK, _job_id="sign-up 1")
        command = [sys.executable, "-m", "arq", "worker.WorkerSettings"]
        with (
            (tmp_path / "log").open("wb") as log,
            subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) as worker,
        ):
            await asyncio.to_thread(worker.wait)
        assert len(gateway.messages) == 1
        # As after a while: the job is handed out again.
        assert await queue.delete(in_progress_key_prefix + job.job_id) == 1
        await work(source)
        outcome = await job.result(timeout=5)
        assert (outcome["kind"], outcome["disposition"]) == ("interrupted", "maybe_sent")
        assert len(gateway.messages) == 1
    assert NUMBER not in (tmp_path / "log").read_text()
