"""What a fleet says of a Redis that could forget."""

from __future__ import annotations

import logging

import pytest
from fleet_parts import linked
from redis.exceptions import ResponseError

from gateway360_async import FleetError, InvalidConfiguration
from gateway360_async._redis._health import troubles_of
from gateway360_async.fleet import Fleet

SOUND = {"redis_mode": "standalone", "aof_enabled": 1, "maxmemory": 0, "maxmemory_policy": "noeviction"}


class Said:
    """A Redis that says what it is told to say of itself."""

    def __init__(self, info=SOUND, fsync=None):
        self._info = info
        self._fsync = {b"appendfsync": b"always"} if fsync is None else fsync

    async def info(self, section):
        assert section == "everything"
        return self._info

    async def config_get(self, name):
        assert name == "appendfsync"
        if isinstance(self._fsync, Exception):
            raise self._fsync
        return self._fsync


async def test_a_redis_that_keeps_what_it_is_told_is_sound(restarting, caplog):
    assert await Fleet(restarting.url).check() == []
    assert caplog.records == []


async def test_one_that_keeps_nothing_is_warned_of(redis, caplog):
    (trouble,) = await Fleet(redis.url).check()
    assert "appendonly yes" in trouble
    assert "a second SMS" in trouble
    (record,) = caplog.records
    assert (record.levelno, record.message, record.name) == (logging.WARNING, trouble, "gateway360_async")


async def test_one_that_keeps_it_late_and_gives_keys_up_is_warned_of_twice(make_redis):
    options = {"appendfsync": "everysec", "maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}
    with make_redis(durable=True, **options) as process:
        late, evicts = await Fleet(process.url).check()
    assert "appendfsync always" in late
    assert "allkeys-lru" in evicts
    assert "maxmemory-policy noeviction" in evicts


async def test_a_client_warns_once_however_many_ask(redis, caplog):
    async with linked(redis) as link:
        memories = {await link.memory(patience=1.0) for _ in range(3)}
    assert len(memories) == 1
    assert len(caplog.records) == 1


async def test_a_cluster_is_refused(make_redis):
    options = {"cluster_enabled": "yes"}
    with make_redis(**options) as process:
        with pytest.raises(InvalidConfiguration, match="is a Redis Cluster") as caught:
            await Fleet(process.url).check()
    assert caught.value.setting == "url"


@pytest.mark.parametrize("info", [{"redis_mode": "cluster"}, {"cluster_enabled": 1}])
async def test_a_cluster_is_known_by_its_mode_or_its_setting(info):
    with pytest.raises(InvalidConfiguration):
        await troubles_of(Said(SOUND | info))


@pytest.mark.parametrize(
    ("fsync", "troubles"),
    [
        ({b"appendfsync": b"always"}, 0),
        ({"appendfsync": "always"}, 0),
        ({"appendfsync": "everysec"}, 1),
        ({}, 0),
        (ResponseError("unknown command 'CONFIG'"), 0),
    ],
)
async def test_what_a_hosted_redis_does_not_tell_is_not_guessed(fsync, troubles):
    assert len(await troubles_of(Said(fsync=fsync))) == troubles


@pytest.mark.parametrize("info", [{"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, {"maxmemory": 100}])
async def test_what_cannot_be_full_gives_nothing_up(info):
    assert await troubles_of(Said({"aof_enabled": 1} | info)) == []


async def test_a_redis_that_is_away_cannot_be_checked(restarting):
    restarting.kill()
    with pytest.raises(FleetError, match="cannot be asked") as caught:
        await Fleet(restarting.url).check()
    assert caught.value.passing
