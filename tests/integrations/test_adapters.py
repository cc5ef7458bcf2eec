"""The adapters of the engines, in the test's own process: what each adds to its engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from unittest.mock import Mock

import pytest
from arq.connections import RedisSettings, create_pool
from arq.worker import create_worker
from celery import Celery
from celery.exceptions import Reject
from celery.signals import worker_init, worker_shutdown
from django.conf import settings
from django.core import checks
from procrastinate import App
from procrastinate.testing import InMemoryConnector
from taskiq import InMemoryBroker

from gateway360_async import Gateway360Client, InvalidConfiguration, PinRequest
from gateway360_async.integrations import arq, celery, procrastinate, taskiq
from gateway360_async.integrations.worker import PinWorker, task_of
from gateway360_async.stores import SqliteStore
from gateway360_async.testing import sandbox_in_thread

NUMBER = "34666666111"
TASK = task_of(PinRequest(NUMBER, "GOOD PIZZA"), "sign-up 1")


@pytest.fixture
def gateway():
    with sandbox_in_thread() as made:
        yield made


@pytest.fixture
def make_client(gateway, tmp_path):
    def make_client():
        store = SqliteStore(tmp_path / "pins.db")
        return Gateway360Client(gateway.api_key, base_url=gateway.base_url, store=store)

    return make_client


def without_a_store():
    return Gateway360Client("k3y")


@pytest.fixture
def celery_app():
    with Celery("shop", broker="memory://", set_as_current=False) as made:
        yield made


def test_celery_message_shows_no_number_to_logs_and_monitors(celery_app):
    celery.pin_task(celery_app, without_a_store).delay(TASK)
    with (
        celery_app.connection_for_read() as connection,
        contextlib.closing(connection.SimpleQueue("celery")) as queue,
    ):
        headers = queue.get(block=False).headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(…)", "{…}")


def test_celery_worker_with_wrong_settings_does_not_start(celery_app):
    celery.pin_task(celery_app, without_a_store)
    with Celery("other", set_as_current=False) as other:
        worker_init.send(sender=Mock(app=other))
    with pytest.raises(SystemExit, match="gateway360: make_client: makes a client without a store"):
        worker_init.send(sender=Mock(app=celery_app))


def test_celery_worker_closes_its_client_as_it_ends(celery_app, make_client):
    send_pin = celery.pin_task(celery_app, make_client)
    assert send_pin.run(TASK)["disposition"] == "sent"
    worker_shutdown.send(sender=None)
    with pytest.raises(Reject, match="closed"):
        send_pin.run(TASK)


async def test_taskiq_task_sends_with_the_workers_client(gateway, make_client):
    broker = InMemoryBroker()
    send_pin = taskiq.pin_task(broker, make_client)
    broker.is_worker_process = True
    await broker.startup()
    result = await (await send_pin.kiq(TASK)).wait_result(timeout=30)
    await broker.shutdown()
    assert result.return_value["disposition"] == "sent"


# arq closes its connections by a name that redis-py has given up, and asks for what it does by itself.
asks_for_what_is_deprecated = pytest.mark.filterwarnings("ignore:Call to .*deprecated.*:DeprecationWarning")


async def run_arq(worker_settings, redis):
    """Run a worker in this process until the queue is empty."""
    worker_settings.redis_settings = RedisSettings(unix_socket_path=redis.url.removeprefix("unix://"))
    worker = create_worker(worker_settings, burst=True, handle_signals=False, poll_delay=0.01)
    try:
        await worker.async_run()
    finally:
        await worker.close()
    return worker


@asks_for_what_is_deprecated
async def test_arq_log_shows_a_job_without_its_arguments(redis, make_client, caplog):
    caplog.set_level(logging.INFO, logger="arq.worker")

    @arq.pin_task(make_client)
    class WorkerSettings:
        pass

    queue = await create_pool(RedisSettings(unix_socket_path=redis.url.removeprefix("unix://")))
    sent = await queue.enqueue_job("send_pin", task=TASK)
    await run_arq(WorkerSettings, redis)
    assert (await sent.result(timeout=5))["disposition"] == "sent"
    await queue.aclose(close_connection_pool=True)
    assert "send_pin(…)" in caplog.text
    assert NUMBER not in caplog.text


@asks_for_what_is_deprecated
async def test_arq_settings_keep_those_of_the_class(redis, make_client):
    told = []

    async def other(ctx):
        """Do something else."""

    def worker_settings(make_client):
        @arq.pin_task(make_client, name="send_sign_up_pin")
        class WorkerSettings:
            functions = (other,)
            job_timeout = 5

            async def on_startup(ctx):
                told.append("begun")

            async def on_shutdown(ctx):
                told.append("ended")

        return WorkerSettings

    worker = await run_arq(worker_settings(make_client), redis)
    assert told == ["begun", "ended"]
    assert {name.rpartition(".")[2] for name in worker.functions} == {"other", "send_sign_up_pin"}
    assert (worker.job_timeout_s, worker.max_jobs) == (5, 100)
    with pytest.raises(InvalidConfiguration, match="without a store"):
        await run_arq(worker_settings(without_a_store), redis)
    assert told == ["begun", "ended"]  # neither begun nor ended


@contextlib.asynccontextmanager
async def procrastinate_app():
    app = App(connector=InMemoryConnector())
    async with app.open_async():
        yield app


async def test_procrastinate_task_sends_and_logs_no_number(make_client, caplog):
    caplog.set_level(logging.DEBUG, logger="procrastinate")
    async with procrastinate_app() as app:
        send_pin = procrastinate.pin_task(app, make_client)

        @app.task(name="other")
        async def other(msisdn):
            """Do something else."""

        await send_pin.defer_async(task=TASK)
        await other.defer_async(msisdn="34666666112")
        await app.run_worker_async(wait=False, install_signal_handlers=False)
        assert [job["status"] for job in app.connector.jobs.values()] == ["succeeded"] * 2
    told = f"{caplog.text} {[vars(record) for record in caplog.records]}"
    assert "gateway360.send_pin[1](…) ended with status: Success" in told
    assert NUMBER not in told
    assert "other[2](msisdn='34666666112') ended with status: Success" in told


async def test_procrastinate_worker_with_wrong_settings_ends(caplog):
    async with procrastinate_app() as app:
        await procrastinate.pin_task(app, without_a_store).defer_async(task=TASK)
        await app.run_worker_async(install_signal_handlers=False)
        assert [job["status"] for job in app.connector.jobs.values()] == ["todo"]
    assert "make_client: makes a client without a store" in caplog.text


@pytest.mark.parametrize("ended_by", ["shutdown", "abort"])
async def test_procrastinate_task_interrupted_by_a_stop_goes_back(ended_by, monkeypatch):
    waiting = asyncio.Event()

    async def wait(self, ctx=None, *, task):
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(PinWorker, "send_pin", wait)
    async with procrastinate_app() as app:
        job = await procrastinate.pin_task(app, without_a_store).defer_async(task=TASK)
        options = {"shutdown_graceful_timeout": 0, "abort_job_polling_interval": 0.01, "wait": False}
        worker = asyncio.create_task(app.run_worker_async(install_signal_handlers=False, **options))
        await waiting.wait()
        if ended_by == "shutdown":
            worker.cancel()
            await asyncio.wait([worker])
            assert app.connector.jobs[job]["status"] == "todo"
        else:
            await app.job_manager.cancel_job_by_id_async(job, abort=True)
            await worker
            assert app.connector.jobs[job]["status"] == "aborted"


async def test_procrastinate_task_that_is_malformed_is_not_retried(make_client):
    async with procrastinate_app() as app:
        send_pin = procrastinate.pin_task(app, make_client)
        await send_pin.defer_async(task={})
        await app.run_worker_async(wait=False, install_signal_handlers=False)
        assert [job["status"] for job in app.connector.jobs.values()] == ["failed"]


@pytest.fixture(scope="session")
def django_tasks():
    settings.configure(SECRET_KEY="shop", USE_TZ=True)  # noqa: S106
    from gateway360_async.integrations import django_tasks

    return django_tasks


def test_django_task_sends_with_the_client_of_its_process(django_tasks, make_client, monkeypatch):
    send_pin = django_tasks.pin_task(__name__, make_client)
    monkeypatch.setattr(sys.modules[__name__], "send_pin", send_pin, raising=False)
    assert send_pin.module_path == f"{__name__}.send_pin"
    assert send_pin.enqueue(TASK).return_value["disposition"] == "sent"  # the default backend runs it here


@pytest.mark.parametrize("command", ["db_worker", "check"])
def test_django_worker_with_wrong_settings_does_not_start(django_tasks, command, monkeypatch):
    monkeypatch.setattr(checks.registry.registry, "registered_checks", set())
    django_tasks.pin_task(__name__, without_a_store)
    monkeypatch.setattr(sys, "argv", ["manage.py", command])
    found = [str(message) for message in checks.run_checks()]
    assert [text for text in found if "E002" in text and "without a store" in text] == found
    assert len(found) == (command == "db_worker")
