"""The task on any broker of taskiq's, and the worker that is made of the environment."""

from __future__ import annotations

import builtins
import importlib
import sys

import pytest
from leaks import reported
from taskiq import AckableMessage, InMemoryBroker, SimpleRetryMiddleware

from gateway360_async import Gateway360Client, InvalidConfiguration, PinRequest
from gateway360_async.fleet import Fleet, result_of, task_of
from gateway360_async.integrations import taskiq as integration
from gateway360_async.integrations.taskiq import PIN_TASK, broker_from_environment, fleet_broker, pin_task
from gateway360_async.integrations.worker import PinWorker
from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"
REDIS = "redis://:a-s3cret@localhost:6379/0"
TASK = task_of(PinRequest(NUMBER, "GOOD PIZZA"), "sign-up 1")
VARIABLES = ("FLEET", "FLEET_NAME", "FLEET_RATE", "COOLDOWN", "CONCURRENCY")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Set what the environment has, and nothing else."""
    for name in VARIABLES:
        monkeypatch.delenv(f"GATEWAY360_{name}", raising=False)

    def set_all(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"GATEWAY360_{name}", value)

    return set_all


async def test_any_broker_opens_and_drains_the_client_and_gives_the_outcome(server):
    clients = []

    def make_client():
        clients.append(Gateway360Client(gateway.api_key, base_url=gateway.base_url, fleet=Fleet(server.url)))
        return clients[-1]

    async with Sandbox() as gateway:
        broker = InMemoryBroker()
        task = pin_task(broker, PinWorker(make_client))
        await broker.startup()
        outcomes = []
        for _ in range(2):
            result = await (await task.kiq(task=TASK)).wait_result(timeout=5, check_interval=0.01)
            outcomes.append(result_of(result.return_value))
        await broker.shutdown()
        assert [(outcome.disposition, outcome.replayed) for outcome in outcomes] == [
            ("sent", False),
            ("sent", True),
        ]
        assert len(gateway.messages) == 1
        assert "closed" in repr(clients[0])


async def test_a_task_is_acknowledged_after_its_outcome_is_on_record(server, monkeypatch):
    """Whoever is killed before has it delivered again, and finds the outcome then."""
    happened = []
    async with (
        Sandbox(on_message=lambda _message: happened.append("sms")) as gateway,
        server.client() as redis,
    ):
        client = Gateway360Client(gateway.api_key, base_url=gateway.base_url, fleet=Fleet(server.url))
        broker = InMemoryBroker(await_inplace=True)
        task = pin_task(broker, PinWorker(lambda: client))
        await broker.startup()

        async def acknowledge():
            (record,) = [key async for key in redis.scan_iter("gateway360:wish:*")]
            happened.append(await redis.hget(record, "s"))

        async def deliver(message):
            await broker.receiver.callback(AckableMessage(data=message.message, ack=acknowledge))

        monkeypatch.setattr(broker, "kick", deliver)
        await task.kiq(task=TASK)
        await broker.shutdown()
    assert happened == ["sms", b"S"]


async def test_who_only_enqueues_runs_nothing(caplog):
    broker = InMemoryBroker(await_inplace=True)
    broker.add_middlewares(SimpleRetryMiddleware(default_retry_label=True))
    result = await (await pin_task(broker).kiq(task=TASK)).wait_result(timeout=5, check_interval=0.01)
    assert isinstance(result.error, InvalidConfiguration)
    assert caplog.text.count("Exception found") == 1  # and no middleware tries it again
    assert NUMBER not in caplog.text


async def test_a_task_has_one_name_everywhere():
    task = pin_task(fleet_broker(REDIS, name="shop"))
    assert task.task_name == PIN_TASK == "gateway360:send_pin"
    assert task.broker.queue_name == "shop:queue"


@pytest.mark.parametrize(("url", "name"), [("a-s3cret", "shop"), (None, "shop"), (REDIS, "a shop")])
async def test_a_broker_of_no_fleet_is_refused_without_its_url(url, name):
    with pytest.raises(InvalidConfiguration) as caught:
        fleet_broker(url, name=name)
    assert [text for text in reported(caught.value) if "a-s3cret" in text] == []


async def test_a_worker_is_made_of_the_environment(environment, monkeypatch):
    made = []
    monkeypatch.setattr(integration, "Gateway360Client", lambda **settings: made.append(settings))
    environment(FLEET=REDIS, FLEET_NAME="shop", FLEET_RATE="600/m", COOLDOWN="60", CONCURRENCY="50")
    broker = broker_from_environment()
    assert broker.queue_name == "shop:queue"
    assert broker.find_task(PIN_TASK) is not None
    with pytest.raises(InvalidConfiguration, match="make_client"):
        await PinWorker(maker_of(broker)).start()
    (settings,) = made
    fleet = settings.pop("fleet")
    assert (fleet.name, fleet.rate) == ("shop", pytest.approx(10.0))
    assert settings == {"cooldown": 60.0, "concurrency": 50}


def maker_of(broker):
    (start,) = broker.event_handlers[integration.TaskiqEvents.WORKER_STARTUP]
    return start.__self__._make_client


async def test_what_the_environment_does_not_name_has_its_default(environment, monkeypatch):
    made = []
    monkeypatch.setattr(integration, "Gateway360Client", lambda **settings: made.append(settings))
    environment(FLEET=REDIS, FLEET_NAME="", FLEET_RATE="", COOLDOWN="", CONCURRENCY="")
    broker = broker_from_environment()
    assert broker.queue_name == "gateway360:queue"
    maker_of(broker)()
    (settings,) = made
    assert settings.pop("fleet").rate is None
    assert settings == {"cooldown": None, "concurrency": 100}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLEET", ""),
        ("FLEET", "a-s3cret"),
        ("FLEET_NAME", "a shop"),
        ("FLEET_RATE", "fast"),
        ("FLEET_RATE", "1e9"),
        ("COOLDOWN", "soon"),
        ("COOLDOWN", "0"),
        ("COOLDOWN", "inf"),
        ("COOLDOWN", "nan"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "many"),
    ],
)
async def test_a_wrong_variable_is_refused_by_its_name(environment, name, value):
    environment(**{"FLEET": REDIS, name: value})
    with pytest.raises(InvalidConfiguration) as caught:
        broker_from_environment()
    assert caught.value.setting == f"GATEWAY360_{name}"
    assert [text for text in reported(caught.value) if "a-s3cret" in text] == []


def test_who_has_no_taskiq_is_told_what_to_install(monkeypatch):
    imported = builtins.__import__

    def without(name, *args, **settings):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=missing)
        return imported(name, *args, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "gateway360_async.integrations.taskiq")
    missing = "taskiq"
    with pytest.raises(ImportError, match=r"needs taskiq: install gateway360-async\[fleet\]"):
        importlib.import_module("gateway360_async.integrations.taskiq")
    monkeypatch.delitem(sys.modules, "gateway360_async.integrations._stream_broker")
    missing = "asyncio"  # something else is broken, and no extra mends it
    with pytest.raises(ModuleNotFoundError, match="asyncio"):
        importlib.import_module("gateway360_async.integrations.taskiq")
