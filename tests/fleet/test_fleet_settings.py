"""A fleet's settings: what is refused, by which name, and that no password is shown."""

from __future__ import annotations

import importlib
import math
import sys

import pytest
from aiolimiter import AsyncLimiter
from leaks import reachable, reported

import gateway360_async
from gateway360_async import Gateway360Client, InvalidConfiguration, ledgers
from gateway360_async.fleet import Fleet, FleetQueue
from gateway360_async.ledgers import RedisLedger, SqliteLedger

URL = "redis://127.0.0.1:1/0"
PASSWORD = "hunter2"  # noqa: S105  # of nothing
WRONG_SECONDS = [-1, math.nan, math.inf, True, "60", None, 10**400]


async def enqueue(task):
    raise AssertionError(task)


def refused(make, setting):
    with pytest.raises(InvalidConfiguration) as caught:
        make()
    assert caught.value.setting == setting
    return str(caught.value)


@pytest.mark.parametrize(
    "url", [URL, "rediss://:pw@h:6380/1", "unix:///tmp/redis.sock", "redis://h?socket_timeout=9"]
)
def test_a_url_of_redis_is_taken(url):
    Fleet(url)
    RedisLedger(url, "welcome")


@pytest.mark.parametrize(
    "url",
    [
        None,
        4711,
        "",
        "localhost:6379",
        f"http://:{PASSWORD}@h",
        f"redis://:{PASSWORD}@h:port",
        f"redis://:{PASSWORD}@h?socket_timeout=soon",
        f"redis://:{PASSWORD}@h?no_such_option=1",
        f"redis://:{PASSWORD}@h?retry=1",
        f"redis://:{PASSWORD}@h?protocol=9",
    ],
)
@pytest.mark.parametrize("make", [Fleet, lambda url: RedisLedger(url, "welcome")], ids=["fleet", "ledger"])
def test_any_other_is_refused_and_its_password_shown_nowhere(url, make):
    with pytest.raises(InvalidConfiguration, match="a URL of Redis") as caught:
        make(url)
    assert caught.value.setting == "url"
    assert not [text for text in reported(caught.value) if PASSWORD in text]


def test_no_password_is_shown_by_what_has_the_url():
    url = f"redis://:{PASSWORD}@127.0.0.1:1"
    for value in (Fleet(url, rate=5), RedisLedger(url, "welcome")):
        assert PASSWORD not in repr(value)
        assert not [path for path, text in reachable(value) if PASSWORD in text]
    for make in (lambda: Fleet(url, rate=-1), lambda: RedisLedger(url, "")):
        with pytest.raises(InvalidConfiguration) as caught:
            make()
        assert not [text for text in reported(caught.value) if PASSWORD in text]
    client = Gateway360Client("k3y", fleet=Fleet(url))
    assert PASSWORD not in repr(client) + repr(client._fleet) + repr(client._fleet._link)


def test_a_fleet_says_what_it_is():
    assert repr(Fleet(URL, name="shop", rate=4)) == "Fleet(name='shop', rate=4.0, keep=86400, patience=2)"
    assert repr(Fleet(URL)) == "Fleet(name='gateway360', rate=None, keep=86400, patience=2)"
    assert repr(RedisLedger(URL, "welcome")) == "RedisLedger(batch='welcome', name='gateway360')"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a{b}", "x" * 65, "é", None, 7])
def test_a_name_is_a_word(name):
    for make in (lambda: Fleet(URL, name=name), lambda: RedisLedger(URL, "welcome", name=name)):
        assert "letters, digits" in refused(make, "name")


@pytest.mark.parametrize("rate", [0, -1, 1e-6, 2e6, math.nan, math.inf, True, "250/s", [250]])
def test_a_rate_is_a_number_of_requests_a_second(rate):
    assert "requests a second" in refused(lambda: Fleet(URL, rate=rate), "rate")


@pytest.mark.parametrize("seconds", [*WRONG_SECONDS, 0, 0.5])
def test_records_are_kept_for_a_second_or_more(seconds):
    refused(lambda: Fleet(URL, keep=seconds), "keep")
    refused(lambda: RedisLedger(URL, "welcome", keep=seconds), "keep")
    refused(lambda: RedisLedger(URL, "welcome", patience=seconds), "patience")
    refused(lambda: FleetQueue("welcome", enqueue, again=seconds), "again")


@pytest.mark.parametrize("seconds", WRONG_SECONDS)
def test_patience_is_a_number_of_seconds(seconds):
    refused(lambda: Fleet(URL, patience=seconds), "patience")


def test_what_is_right_is_taken():
    fleet = Fleet(URL, name="a-b_c.1", rate=250, keep=1, patience=0)
    assert (fleet.rate, fleet.keep, fleet.patience) == (250.0, 1.0, 0.0)
    queue = FleetQueue("welcome", enqueue, waiting=1, again=1)
    assert (queue.batch, queue.waiting, queue.again) == ("welcome", 1, 1.0)


@pytest.mark.parametrize("batch", ["", "x" * 201, "a\nb", None, 7])
def test_a_batch_has_a_name(batch):
    assert "1 to 200 printable" in refused(lambda: FleetQueue(batch, enqueue), "batch")
    assert "1 to 200 printable" in refused(lambda: RedisLedger(URL, batch), "batch")


@pytest.mark.parametrize("wrong", [None, "send_pin", 7])
def test_a_queue_needs_a_way_in(wrong):
    assert "async function" in refused(lambda: FleetQueue("welcome", wrong), "enqueue")


@pytest.mark.parametrize("waiting", [0, -1, True, 2.5, "10", None])
def test_a_queue_holds_at_least_one(waiting):
    refused(lambda: FleetQueue("welcome", enqueue, waiting=waiting), "waiting")


@pytest.mark.parametrize("wrong", [URL, 7, object()])
def test_a_clients_fleet_is_a_fleet(wrong):
    assert "a Fleet of gateway360_async.fleet" in refused(
        lambda: Gateway360Client("k3y", fleet=wrong), "fleet"
    )


def test_a_rate_and_a_limiter_are_one_too_many():
    limiter = AsyncLimiter(1)
    refused(lambda: Gateway360Client("k3y", fleet=Fleet(URL, rate=1), limiter=limiter), "limiter")
    Gateway360Client("k3y", fleet=Fleet(URL), limiter=limiter)


async def test_a_queue_goes_with_a_fleet_and_without_a_ledger(tmp_path):
    queue = FleetQueue("welcome", enqueue)
    async with Gateway360Client("k3y") as client:
        refused(lambda: client.batch([], queue=queue), "queue")
    async with Gateway360Client("k3y", fleet=Fleet(URL)) as client:
        refused(lambda: client.batch([], queue=enqueue), "queue")
        refused(lambda: client.batch([], queue=queue, ledger=SqliteLedger(tmp_path / "x")), "ledger")
        refused(lambda: client.batch([], queue=queue, resend_unknown=True), "resend_unknown")
        refused(lambda: client.batch([], queue=queue, on_duplicate="drop"), "on_duplicate")


@pytest.fixture
def forgotten(monkeypatch):
    """Have the fleet's modules imported anew, and put back what was there."""
    for name in [*sys.modules]:
        if name.startswith(
            ("gateway360_async.fleet", "gateway360_async._redis", "gateway360_async.ledgers._redis")
        ):
            monkeypatch.delitem(sys.modules, name)
    for package in (gateway360_async, ledgers):
        for name in ("fleet", "_redis"):
            monkeypatch.delattr(package, name, raising=False)


@pytest.mark.parametrize("missing", ["redis", "redis.exceptions"])
def test_without_redis_it_is_said_what_to_install(forgotten, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"install gateway360-async\[redis\]"):
        importlib.import_module("gateway360_async.fleet")
    with pytest.raises(ImportError, match=r"install gateway360-async\[redis\]"):
        _ = ledgers.RedisLedger


def test_what_else_is_missing_is_no_matter_of_the_extra(forgotten, monkeypatch):
    monkeypatch.setitem(sys.modules, "gateway360_async._waiting", None)
    with pytest.raises(ModuleNotFoundError, match="_waiting"):
        importlib.import_module("gateway360_async.fleet")
    with pytest.raises(ModuleNotFoundError, match="_waiting"):
        _ = ledgers.RedisLedger


def test_a_ledgers_package_has_nothing_else():
    with pytest.raises(AttributeError, match="PostgresLedger"):
        _ = ledgers.PostgresLedger
