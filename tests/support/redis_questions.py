"""The questions that the tests ask a `RedisStore`."""

from __future__ import annotations

import socket
import time
from contextlib import asynccontextmanager

from redis import exceptions

from gateway360_async.stores._base import Claim, Completion, Count, Record, State

PASSWORD = "hunter2"
PREFIX = "gateway360:{gateway360}:"


def key(n):
    return n.to_bytes(16, "big")


def at(n):
    return Record(key(n), 60.0)


def wish(token="t1", record=1, **settings):
    return Claim(
        token=token, lease=settings.pop("lease", 30.0), record=Record(key(record), 60.0, b"f"), **settings
    )


def sent(claim, result="sent"):
    return Completion(claim=claim, state=State.COMPLETED, result=result)


def free(claim, **settings):
    return Completion(claim=claim, state=State.FREE, result="", **settings)


def full(token, record=1, most=5):
    """A claim that uses all that there is."""
    counts = (Count(key(901), most, 60.0), Count(key(902), most, None))
    return wish(
        token, record, cooldown=Record(key(900 + record), 60.0, forgets=True), counts=counts, report_id="é"
    )


def full_memory(client):
    client.config_set("maxmemory", "1")


def room(client):
    client.config_set("maxmemory", "0")


async def states(store, *claims):
    return [answer.state for answer in await store.claim(claims)]


@asynccontextmanager
async def ready_client(kind, url, **settings):
    client = kind.from_url(url, **settings)
    try:
        yield client
    finally:
        await client.aclose()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


async def all_of_it(store):
    """Ask each question once, as a client would."""
    one, two = full("one"), full("two", 2)
    assert await states(store, one, two, full("three")) == [State.CLAIMED, State.CLAIMED, State.IN_PROGRESS]
    assert await store.renew([one, full("three")]) == [True, False]
    assert await store.complete([sent(one, "ré"), free(two, give_back=two.counts)]) == [True, True]
    assert await store.complete([free(wish("gone", 3), withdrawn=True)]) == [True]
    completed, none = await store.peek([at(1), at(2)])
    assert (completed.state, completed.result, completed.report_id) == (State.COMPLETED, "ré", "é")
    assert none.state is State.FREE
    assert await states(store, wish("gone", 3)) == [State.FREE]
    assert (await store.permits(key(5), 3, 0.001))[0] == 3
    assert await store.header(key(6), "é") == "é"
    assert await store.header(key(6), "b", replace=True) == "é"
    assert await store.header(key(6), "c") == "b"
    assert await store.now() > 1_700_000_000
    return await store.check()


def serves(client):
    try:
        return client.ping()
    except exceptions.ResponseError:
        return False


def wait_until(done):
    """For what a server comes to by itself; a test that waits in vain is ended by pytest-timeout."""
    while not done():
        time.sleep(0.01)  # a cluster takes two seconds, and the server needs the processor as well
