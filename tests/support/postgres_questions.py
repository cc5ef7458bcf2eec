"""The questions that the tests ask a `PostgresStore`."""

from __future__ import annotations

import asyncio

import pytest

from gateway360_async import StoreError
from gateway360_async.stores import Claim, Completion, PostgresStore, Record, State

LONG = 3600.0


def patient(where):
    """Make a store that a busy machine does not refuse."""
    return PostgresStore(where, timeout=30.0)


def key(name):
    return f"{name}".encode().ljust(16, b".")


def claim(name, token=None, **changes):
    return Claim(token=token or f"token of {name}", lease=LONG, record=Record(key(name), LONG), **changes)


def ended(claim, state=State.COMPLETED, result="sent", **more):
    return Completion(claim=claim, state=state, result=result, **more)


async def states(store, *claims):
    return [answer.state for answer in await store.claim(claims)]


async def refused(asked):
    with pytest.raises(StoreError) as caught:
        await asked
    return caught.value


def as_app(dsn):
    return dsn.replace("postgres@", "app@")


def name_of(dsn):
    return dsn.partition("@/")[2].partition("?")[0]


async def blocked(server, dsn):
    """Wait until a statement waits for a lock; give its connection's process."""
    waiting = (
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{name_of(dsn)}' AND wait_event_type = 'Lock'"
    )
    while not (found := await asyncio.to_thread(server.execute, waiting)):
        await asyncio.sleep(0.01)
    return found[0][0]
