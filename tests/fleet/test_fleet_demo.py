"""`gateway360 demo --fleet`: real workers, a real Redis, and one worker that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway360_async.cli import _fleet_demo, _fleet_worker
from gateway360_async.cli._app import app
from gateway360_async.cli._examples import EXAMPLES

pytestmark = pytest.mark.timeout(120)  # workers' processes take seconds to start on a machine that is busy


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def short_leases(monkeypatch) -> None:
    """What the killed worker had on its way is known after seconds: see `fleet_worker`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(_fleet_demo, "_BROKER", "fleet_worker:broker")


@pytest.mark.usefixtures("make_redis")
def test_the_demo_accounts_for_every_sms_though_a_worker_is_killed(cli, short_leases):
    (example,) = (line for _, line in EXAMPLES["demo"] if "--fleet" in line)
    assert example == "gateway360 demo --fleet"
    result = cli.invoke(app, ["demo", "--fleet", "--count", "300"])
    assert result.exit_code == 0, result.output
    assert "worker 1 was killed (SIGKILL) when SMS 100 was out" in result.stderr
    assert "SMS to one number at most: 1; workers killed: 1" in result.stdout
    assert "every entry is accounted for, and nobody got two" in result.stdout


@pytest.mark.usefixtures("make_redis")
def test_the_demo_says_who_was_killed_even_if_the_others_are_faster_than_its_successor(
    cli, short_leases, monkeypatch
):
    all_done = asyncio.Event()
    follow, replace = _fleet_demo._Run._follow, _fleet_demo.Workers.replace

    async def followed(*args, **options):
        await follow(*args, **options)
        all_done.set()

    async def replaced(*args):
        await all_done.wait()
        await replace(*args)

    monkeypatch.setattr(_fleet_demo._Run, "_follow", followed)
    monkeypatch.setattr(_fleet_demo.Workers, "replace", replaced)
    result = cli.invoke(app, ["demo", "--fleet", "--count", "20"])
    assert result.exit_code == 0, result.output
    assert "worker 1 was killed (SIGKILL) when SMS 6 was out" in result.stderr


@pytest.mark.usefixtures("make_redis")
def test_a_demo_in_which_nobody_was_killed_ends_and_says_so(cli, short_leases, monkeypatch):
    monkeypatch.setattr(_fleet_demo._Kill, "__call__", lambda self, message: None)
    result = cli.invoke(app, ["demo", "--fleet", "--count", "20"])
    assert result.exit_code == 0, result.output
    assert "SMS to one number at most: 1; workers killed: 0" in result.stdout
    assert "was killed" not in result.stderr


@pytest.mark.usefixtures("make_redis")
def test_the_demo_of_a_fleet_says_it_to_programs_too(cli, short_leases):
    result = cli.invoke(app, ["demo", "--fleet", "--count", "40", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["entries"] == 40
    assert said["by_reason"] == {"duplicate": 2, "invalid": 2}
    assert said["messages"] == said["sent"] + said["maybe_sent_with_a_message"]
    assert (said["most_messages_to_a_number"], said["workers_killed"]) == (1, 1)
    assert (said["problems"], said["accounted_for"], said["exit_code"]) == ([], True, 0)


@pytest.mark.usefixtures("make_redis")
def test_the_demo_exits_with_1_if_its_claim_does_not_hold(cli, short_leases, monkeypatch):
    class Doubling(_fleet_demo.Sandbox):
        @property
        def messages(self):
            return [*super().messages, *super().messages[:1]]

    monkeypatch.setattr(_fleet_demo, "Sandbox", Doubling)
    result = cli.invoke(app, ["demo", "--fleet", "--count", "20"])
    assert result.exit_code == 1, result.output
    assert "1 numbers with more than one SMS: 34*****" in result.stdout
    assert "THIS MUST NOT BE" in result.stdout


@pytest.mark.usefixtures("make_redis")
def test_workers_that_do_not_work_are_not_waited_for_without_end(cli, monkeypatch):
    monkeypatch.setattr(_fleet_demo, "_BROKER", "nowhere:broker")
    monkeypatch.setattr(_fleet_demo, "_STALLED", 0.5)
    result = cli.invoke(app, ["demo", "--fleet", "--count", "20"])
    assert result.exit_code == 2, result.output
    assert "gateway360: nothing happened for 0 s; the workers said last: " in result.stderr


def test_without_redis_it_is_one_line(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = cli.invoke(app, ["demo", "--fleet"])
    assert result.exit_code == 2
    assert "gateway360: no redis-server on the path: install Redis" in result.stderr


async def test_the_workers_side_is_made_of_the_environment(monkeypatch):
    monkeypatch.setenv("GATEWAY360_FLEET", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("GATEWAY360_FLEET_RATE", "250")
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    monkeypatch.setenv("GATEWAY360_BASE_URL", "http://127.0.0.1:1")
    broker = _fleet_worker.broker()
    assert (broker.queue_name, broker.idle_timeout) == ("demo:queue", _fleet_worker.IDLE)
    assert _fleet_worker.fleet_of(os.environ).rate == 250
    broker.is_worker_process = True
    await broker.startup()  # which makes the client, and asks nobody
    await broker.shutdown()
