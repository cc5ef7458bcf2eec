"""What the tests of the fleet have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loopback import Server
from redis_process import RedisProcess

from gateway360_async import Gateway360Client, RetryPolicy
from gateway360_async._redis._link import Link
from gateway360_async._redis._names import Names
from gateway360_async._secret import Secret
from gateway360_async.fleet import Fleet

NUMBERS = [str(34600000000 + n) for n in range(20)]
NUMBER = NUMBERS[0]
ONCE = RetryPolicy(max_attempts=1)
NAMES = Names("fleet", "https://x/api/2fa/request", Secret("k3y"))


@asynccontextmanager
async def linked(redis: RedisProcess) -> AsyncIterator[Link]:
    link = Link(Secret(redis.url), NAMES.memory)
    try:
        yield link
    finally:
        await link.aclose()


def fleet_on(redis: RedisProcess, **settings) -> Fleet:
    return Fleet(redis.url, **settings)


def client_on(redis: RedisProcess, server: Server, *, fleet=None, **settings) -> Gateway360Client:
    """Another client stands for another process: they have nothing in common but what Redis knows."""
    given = {"base_url": server.url, "sender": "PIZZA", "retry": ONCE} | settings
    return Gateway360Client("k3y", fleet=fleet or fleet_on(redis), **given)


def only(redis: RedisProcess, what: str) -> str:
    """The key of the only record of its kind."""
    (key,) = redis.client.keys(f"*:{what}:*")
    return key


def end_lease(redis: RedisProcess, what: str = "wish") -> None:
    """As if whoever claimed it had been killed long ago."""
    redis.client.hset(only(redis, what), "l", 1)
