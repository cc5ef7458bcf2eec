"""The task of Celery: real workers, a real Redis, a sandbox for the gateway."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from celery import Celery
from celery.exceptions import Reject
from celery.signals import worker_init, worker_shutdown

from gateway360_async import ClientClosed, Gateway360Client, PinRequest
from gateway360_async.integrations.celery import pin_task
from gateway360_async.integrations.worker import BlockingPinWorker, task_of
from gateway360_async.testing import sandbox_in_thread

pytestmark = pytest.mark.timeout(180)  # a worker's process takes seconds to start on a machine that is busy

SHOP = """
import os
from celery import Celery
from celery.signals import worker_process_init
from gateway360_async import Gateway360Client
from gateway360_async.integrations.celery import pin_task
from gateway360_async.stores import SqliteStore

app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_transport_options = {"visibility_timeout": float(os.environ.get("VISIBILITY_TIMEOUT", 3600))}
send_pin = pin_task(app, lambda: Gateway360Client(store=SqliteStore("pins.db")))


@worker_process_init.connect
def write_pid(**_):
    with open("child", "w") as file:
        file.write(str(os.getpid()))
"""


def task(index):
    return task_of(PinRequest(str(34666666000 + index), "GOOD PIZZA"), f"sign-up {index}")


class Shop:
    """An application, its workers and the gateway."""

    def __init__(self, folder, broker, gateway):
        self.folder, self.gateway = folder, gateway
        self.broker = broker.replace("unix://", "redis+socket://")
        self.app = Celery("shop", broker=self.broker, backend=self.broker)
        self.on_message = lambda message: None
        (folder / "shop.py").write_text(SHOP)

    def enqueue(self, index, **options):
        return self.app.send_task("gateway360.send_pin", [task(index)], **options)

    def start(self, *options, **environment):
        settings = {
            "BROKER": self.broker,
            "GATEWAY360_BASE_URL": self.gateway.base_url,
            "GATEWAY360_API_KEY": self.gateway.api_key,
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "shop", "worker", "--loglevel", "INFO", *options],
                cwd=self.folder,
                env={**os.environ, **settings, **environment},
                stdout=log,
                stderr=log,
            )

    @contextlib.contextmanager
    def worker(self, *options, **environment):
        worker = self.start(*options, **environment)
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait()

    def log(self):
        return (self.folder / "log").read_text()


@pytest.fixture
def shop(redis, tmp_path):
    with sandbox_in_thread(on_message=lambda message: made.on_message(message)) as gateway:  # noqa: PLW0108  # it may change
        made = Shop(tmp_path, redis.url, gateway)
        yield made
        made.app.close()


def test_tasks_delivered_twice_at_once_are_one_sms_each_and_no_number_is_logged(shop):
    twice = [shop.enqueue(index) for index in range(50) for _ in range(2)]
    with shop.worker("--pool", "threads", "--concurrency", "20"):
        outcomes = [sent.get(timeout=120) for sent in twice]
    assert {outcome["disposition"] for outcome in outcomes} == {"sent"}
    assert sorted(message.msisdn for message in shop.gateway.messages) == [
        str(34666666000 + index) for index in range(50)
    ]
    assert "346666660" not in shop.log()


def test_task_of_a_child_that_was_killed_is_delivered_again_and_sends_no_second_sms(shop):
    def kill(_message):
        os.kill(int((shop.folder / "child").read_text()), signal.SIGKILL)

    shop.on_message = kill
    with shop.worker("--concurrency", "1"):
        outcome = shop.enqueue(1).get(timeout=120)
    assert (outcome["kind"], outcome["disposition"]) == ("interrupted", "maybe_sent")
    assert len(shop.gateway.messages) == 1


def test_task_of_a_worker_that_was_killed_is_delivered_again_and_sends_no_second_sms(shop):
    killed = shop.start("--pool", "solo")
    shop.on_message = lambda _message: killed.kill()
    sent = shop.enqueue(1)
    killed.wait()
    # As after an hour. Of Redis, a worker takes what is overdue when it starts, and then every 100 seconds.
    with shop.worker("--pool", "solo", VISIBILITY_TIMEOUT="0.001"):
        outcome = sent.get(timeout=120)
    assert (outcome["kind"], outcome["disposition"]) == ("interrupted", "maybe_sent")
    assert len(shop.gateway.messages) == 1


def test_worker_that_is_stopped_ends_what_it_has_begun(shop):
    worker = shop.start("--pool", "threads", "--concurrency", "4")
    shop.on_message = lambda _message: worker.send_signal(signal.SIGTERM)
    sent = shop.enqueue(1)
    worker.wait()
    assert sent.get(timeout=5)["disposition"] == "sent"


def test_worker_without_a_key_does_not_start_and_says_why(shop):
    worker = shop.start("--pool", "solo", GATEWAY360_API_KEY="")
    assert worker.wait() == 1
    assert "gateway360: api_key: " in shop.log()


@pytest.fixture
def app():
    with Celery("shop", broker="memory://", set_as_current=False) as made:
        yield made


def test_message_of_a_task_shows_no_number_to_logs_and_monitors(app):
    pin_task(app, lambda: Gateway360Client("k3y")).delay(task(1))
    with (
        app.connection_for_read() as connection,
        contextlib.closing(connection.SimpleQueue("celery")) as queue,
    ):
        headers = queue.get(block=False).headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(…)", "{…}")


def test_task_that_cannot_be_begun_as_its_worker_stops_goes_back_to_the_queue(app, monkeypatch):
    def stopped(self, task):
        raise ClientClosed

    monkeypatch.setattr(BlockingPinWorker, "send_pin", stopped)
    with pytest.raises(Reject) as caught:
        pin_task(app, lambda: Gateway360Client("k3y")).run(task(1))
    assert caught.value.requeue


def begin_worker(app):
    class Worker:
        pass

    worker = Worker()
    worker.app = app
    worker_init.send(sender=worker)


def test_worker_with_wrong_settings_does_not_start_but_that_of_another_application_does(app):
    pin_task(app, lambda: Gateway360Client("k3y"))
    with Celery("other", set_as_current=False) as other:
        begin_worker(other)
    with pytest.raises(SystemExit, match="gateway360: make_client: makes a client without a store"):
        begin_worker(app)


def test_worker_that_ends_closes_its_client(app, monkeypatch):
    stopped = []
    monkeypatch.setattr(BlockingPinWorker, "stop", lambda worker: stopped.append(worker))  # noqa: PLW0108  # binds
    pin_task(app, lambda: Gateway360Client("k3y"))
    worker_shutdown.send(sender=None)
    assert stopped
