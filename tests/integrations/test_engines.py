"""Conformance of the engines: real workers and brokers, a store in a real Redis, a sandbox for the gateway.

`ENGINE_TASKS` and `ENGINE_KILLS` set other sizes: `ENGINE_TASKS=5000 ENGINE_KILLS=50 pytest tests/integrations/test_engines.py`.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter

import pytest
from support.postgres_process import ABSENT, PostgresProcess, is_installed
from support.task_queues import ENGINES

from gateway360_async import PinRequest
from gateway360_async.integrations.worker import task_of
from gateway360_async.testing import sandbox_in_thread

TASKS = int(os.environ.get("ENGINE_TASKS", "40"))
KILLS = int(os.environ.get("ENGINE_KILLS", "1"))

# A worker's process takes seconds to start on a machine that is busy.
pytestmark = pytest.mark.timeout(180 + TASKS + 20 * KILLS)

FIRST = 34666000000


@pytest.fixture(scope="session")
def postgres():
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess() as process:
        yield process


@pytest.fixture(scope="module", params=ENGINES)
def application(request, tmp_path_factory):
    """An application, from which all workers of an engine are forked: its tests come one after the other."""
    with ENGINES[request.param].application(tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def engine(request, application, redis, restarting, tmp_path):
    """An application without workers; its gateway calls `on_message` for each SMS, its store is `restarting`."""
    broker = redis.url
    if application.kind.POSTGRES:
        broker = application.database(request.getfixturevalue("postgres"))
    with sandbox_in_thread(on_message=lambda message: made.on_message()) as gateway:
        made = application.engine(tmp_path, gateway, restarting.url, broker)
        made.on_message = lambda: None
        try:
            yield made
        finally:
            made.close()


def tasks(count=TASKS):
    return [
        task_of(PinRequest(str(FIRST + index), "GOOD PIZZA"), f"sign-up {index}") for index in range(count)
    ]


def after(count, act):
    """Act once when so many more SMS are out."""
    numbers = itertools.count(1)

    def on_message():
        if next(numbers) == count:
            act()

    return on_message


def dispositions(outcomes):
    return [outcome and outcome["disposition"] for outcome in outcomes]


def sms(engine):
    return Counter(message.msisdn for message in engine.gateway.messages)


def test_tasks_delivered_twice_across_a_stop_are_one_sms_each(engine):
    twice = [task for task in tasks() for _ in range(2)]
    engine.on_message = after(TASKS // 2, engine.stop)
    sent = engine.enqueue(twice)
    engine.start()
    engine.wait()
    engine.redeliver()
    engine.start()
    assert dispositions(engine.outcomes(sent)) == ["sent"] * len(twice)
    assert sms(engine) == Counter(str(FIRST + index) for index in range(TASKS))
    assert str(FIRST)[:8] not in engine.log()


def test_worker_killed_sends_no_task_twice_and_tells_outcomes(engine):
    sent = engine.enqueue(tasks())
    for _ in range(KILLS):
        engine.on_message = after(TASKS // (2 * KILLS + 2), engine.kill)
        engine.start()
        engine.wait()
        engine.redeliver()
    engine.start()
    became = dispositions(engine.outcomes(sent))
    assert became.count("maybe_sent") >= KILLS  # the SMS of one at least was out when its worker was killed
    assert became.count(None) <= engine.LOST * KILLS
    out = sms(engine)
    print(type(engine).__name__, Counter(became), "numbers with an SMS:", len(out))
    assert max(out.values()) == 1
    for index, disposition in enumerate(became):
        number = str(FIRST + index)
        assert disposition in ("maybe_sent", "sent" if number in out else None), number


def test_store_that_is_away_delays_tasks_and_loses_none(engine, restarting):
    engine.on_message = after(TASKS // 4, restarting.kill)
    sent = engine.enqueue(tasks())
    engine.start()
    while "no task is begun until the store can be asked" not in engine.log():
        assert engine.is_running()
    restarting.start()
    assert dispositions(engine.outcomes(sent)) == ["sent"] * TASKS
    assert sms(engine) == Counter(str(FIRST + index) for index in range(TASKS))


def test_worker_without_a_key_says_so_and_takes_no_task(engine):
    engine.enqueue(tasks(1))
    engine.start(GATEWAY360_API_KEY="")
    while "api_key: is empty" not in engine.log():
        engine.is_running()
    if engine.REFUSED is not None:
        assert engine.wait() == {engine.REFUSED}
    assert not engine.gateway.messages
