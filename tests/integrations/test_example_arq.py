"""The README's worker of arq's, with a real Redis: what it promises when it is stopped, and when it is killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest
from arq.connections import RedisSettings, create_pool
from arq.constants import in_progress_key_prefix
from arq.worker import JobExecutionFailed, create_worker
from examples import example_with

from gateway360_async.sandbox import Sandbox

# arq closes its connections by a name that redis-py has given up, and asks for what it does by itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Call to '__init__' function with deprecated:DeprecationWarning"),
    pytest.mark.timeout(120),  # a worker's process takes seconds to start on a machine that is busy
]

NUMBER = "34666666111"
SOURCE = example_with("max_tries = 1").source


@pytest.fixture
def where(redis):
    return RedisSettings(unix_socket_path=redis.url.removeprefix("unix://"))


@pytest.fixture
async def queue(where):
    pool = await create_pool(where)
    yield pool
    await pool.aclose(close_connection_pool=True)


@pytest.fixture
def worker_settings():
    namespace = {"__name__": "worker"}
    exec(compile(SOURCE, "README.md", "exec"), namespace)
    return namespace["WorkerSettings"]


async def work(settings, where):
    """Run a worker until the queue is empty, and give its context."""
    worker = create_worker(settings, redis_settings=where, burst=True, handle_signals=False, poll_delay=0.05)
    try:
        await worker.async_run()
    finally:
        await worker.close()
    return worker.ctx


async def test_a_job_sends_one_sms_and_tells_what_happened(worker_settings, named, where, queue):
    async with Sandbox() as gateway:
        named(gateway)
        sent = await queue.enqueue_job("send_pin", NUMBER, _job_id="sign-up:1")
        assert await queue.enqueue_job("send_pin", NUMBER, _job_id="sign-up:1") is None
        ctx = await work(worker_settings, where)
        assert await sent.result(timeout=5) == "sent"
        assert [message.msisdn for message in gateway.messages] == [NUMBER]
        assert "closed" in repr(ctx["gateway360"])


def stop(worker):
    worker.send_signal(signal.SIGTERM)
    while "shutdown on SIGTERM" not in worker.stderr.readline():  # the answer comes when it has heard
        assert worker.poll() is None


def kill(worker):
    worker.kill()
    worker.wait()


@pytest.fixture
def interrupted(named, tmp_path):
    """Run a worker in a process of its own, interrupt it when its SMS is out and its answer is not, give both."""

    async def run(queue, where, interrupt):
        elsewhere = (
            f"WorkerSettings.redis_settings = RedisSettings(unix_socket_path={where.unix_socket_path!r})"
        )
        (tmp_path / "worker.py").write_text(f"{SOURCE}\n\n{elsewhere}\n")
        async with Sandbox(on_message=lambda _message: interrupt(worker)) as gateway:
            named(gateway)
            job = await queue.enqueue_job("send_pin", NUMBER, _job_id="sign-up:1")
            command = [sys.executable, "-m", "arq", "worker.WorkerSettings"]
            with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as worker:
                await asyncio.to_thread(worker.wait)
        return job, gateway.messages

    return run


async def test_a_worker_that_is_stopped_ends_its_jobs(interrupted, where, queue):
    job, messages = await interrupted(queue, where, stop)
    assert await job.result(timeout=5) == "sent"
    assert len(messages) == 1


async def test_a_worker_that_is_killed_sends_no_second_sms(interrupted, worker_settings, named, where, queue):
    job, messages = await interrupted(queue, where, kill)
    assert len(messages) == 1
    # The job is handed out again once this has expired, after arq's `job_timeout` and ten seconds.
    assert await queue.delete(in_progress_key_prefix + job.job_id) == 1
    async with Sandbox() as gateway:
        named(gateway)
        await work(worker_settings, where)
        with pytest.raises(JobExecutionFailed, match="max 1 retries exceeded"):
            await job.result(timeout=5)
        assert gateway.messages == []
