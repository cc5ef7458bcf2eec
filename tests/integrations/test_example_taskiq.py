"""The docstring's worker of taskiq's, with the broker that taskiq has for tests."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from examples import example_with
from taskiq import AckableMessage

from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"


@pytest.fixture
def tasks(monkeypatch):
    module = ModuleType("tasks")
    monkeypatch.setitem(sys.modules, "tasks", module)  # a decorator of taskiq's looks there
    exec(compile(example_with("InMemoryBroker()").source, "tasks.py", "exec"), vars(module))
    return module


async def test_a_task_sends_one_sms_and_tells_what_happened(tasks, monkeypatch):
    broker = tasks.broker
    async with Sandbox() as gateway:
        monkeypatch.setenv("GATEWAY360_BASE_URL", gateway.base_url)
        monkeypatch.setenv("GATEWAY360_API_KEY", gateway.api_key)
        await broker.startup()
        task = await tasks.send_pin.kiq(NUMBER)
        result = await task.wait_result(timeout=5)
        gateway.lose_next_answer()
        lost = await (await tasks.send_pin.kiq(NUMBER)).wait_result(timeout=5)
        await broker.shutdown()
        assert (result.return_value, lost.return_value) == ("sent", "maybe_sent")
        assert [message.msisdn for message in gateway.messages] == [NUMBER] * 2
        assert "closed" in repr(broker.state.gateway360)


async def test_a_task_is_acknowledged_before_its_sms_and_never_after(tasks, monkeypatch):
    """What a broker has no acknowledgement of, it hands out again."""
    broker = tasks.broker
    happened = []
    async with Sandbox(on_message=lambda _message: happened.append("sms")) as gateway:
        monkeypatch.setenv("GATEWAY360_BASE_URL", gateway.base_url)
        monkeypatch.setenv("GATEWAY360_API_KEY", gateway.api_key)
        await broker.startup()

        async def deliver(message):
            await broker.receiver.callback(
                AckableMessage(data=message.message, ack=lambda: happened.append("acknowledged"))
            )

        monkeypatch.setattr(broker, "kick", deliver)
        await tasks.send_pin.kiq(NUMBER)
        await broker.shutdown()
    assert happened == ["acknowledged", "sms"]
