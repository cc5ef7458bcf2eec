"""Batches at a rate: where rows wait, and what becomes of them when no more are to be begun."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support.loopback import Server, close, status

from gateway360_async import (
    ApiError,
    ClientClosed,
    Disposition,
    FailureKind,
    Gateway360Client,
    Ok,
    SkipReason,
    StoreError,
)
from gateway360_async._runner._permits import Permits
from gateway360_async.testing.stores import Memory, MemoryStore

AN_HOUR = 1 / 3600
"""Requests per second, as a rate."""


def numbers(count: int) -> list[str]:
    return [f"346{n:08}" for n in range(count)]


@pytest.fixture(params=["without a store", "with a store"])
def named(request):
    """The settings of a client, and the name of its batches."""
    if request.param == "without a store":
        return {}, None
    return {"store": MemoryStore(Memory())}, "welcome"


def client_of(server: Server, settings, **more) -> Gateway360Client:
    return Gateway360Client("key", sender="X", base_url=server.url, **settings, **more)


async def test_row_that_waits_for_the_rate_is_not_yet_a_call(named):
    settings, name = named
    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, settings, rate=20.0, deadline=0.3) as client:
            results = await client.send_all(numbers(12), name=name)
    assert [type(result) for result in results] == [Ok] * 12
    assert server.posts == 12


async def test_batch_stopped_ends_without_the_rows_that_wait(named):
    settings, name = named
    items = []
    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, settings, rate=AN_HOUR) as client:
            async with client.batch(numbers(300), name=name) as batch:
                async for item in batch:
                    items.append(item)
                    batch.stop()
            assert [type(item.result) for item in items] == [Ok]
            assert (batch.report.total, server.posts) == (1, 1)
            assert batch.report.unconsumed == ()


async def test_batch_that_is_stopped_before_it_begins_reads_nothing(named):
    settings, name = named
    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, settings, rate=AN_HOUR) as client:
            batch = client.batch(numbers(3), name=name)
            batch.stop()
            async with batch:
                assert [item async for item in batch] == []
    assert server.posts == 0


async def test_batch_without_a_rate_stopped_frees_its_claims():
    """Of 40 rows, one is on its way at a time, and up to 20 are claimed ahead."""
    held = asyncio.Event()

    async def gateway(received):
        await held.wait()
        await received.answer()

    memory = Memory()
    async with Server(gateway) as server:
        async with client_of(server, {"store": MemoryStore(memory)}, concurrency=1) as client:
            async with client.batch(numbers(40), name="welcome") as batch:
                await server.wait(lambda: server.posts == 1)
                batch.stop()
                held.set()
                assert [item.index async for item in batch] == [0]
            assert server.posts == 1
            results = await client.send_all(numbers(40), name="welcome")
    assert {result.disposition for result in results} == {Disposition.SENT}
    assert server.posts == 40


async def test_batch_halted_at_a_slow_rate_accounts_for_all_rows(named):
    settings, name = named
    refused = b'{"status": "error", "error_id": "UNAUTHORIZED"}'
    async with Server(status(401, refused)) as server:
        async with client_of(server, settings, rate=AN_HOUR) as client:
            results = await client.send_all(numbers(300), name=name)
    assert server.posts == 1
    assert [type(result) for result in results].count(ApiError) == 1
    assert [getattr(result, "reason", None) for result in results].count(SkipReason.HALTED) == 299


async def test_row_that_is_no_request_leaves_its_permit_to_the_next(named):
    settings, name = named
    rows = ["12", "34600000000", "34600000000", "13"]
    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, settings, rate=AN_HOUR) as client:
            results = await client.send_all(rows, name=name)
    assert [str(result.disposition) for result in results] == ["not_sent", "sent", "not_sent", "not_sent"]


async def test_store_without_permits_is_the_result_of_each_row():
    class Away(MemoryStore):
        async def permits(self, key, count, interval):
            raise StoreError("is away", "one that is there", passing=False)

    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, {"store": Away(Memory())}, rate=100.0) as client:
            results = await client.send_all(numbers(3))
    assert {(result.kind, result.disposition) for result in results} == {
        (FailureKind.STORE, Disposition.NOT_SENT)
    }
    assert server.posts == 0


async def test_with_a_cooldown_in_a_store_a_row_takes_one_permit():
    taken = 0

    class Counting(MemoryStore):
        async def permits(self, key, count, interval):
            nonlocal taken
            given, delay = await super().permits(key, count, interval)
            taken += given
            return given, delay

    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, {"store": Counting(Memory())}, rate=5.0, cooldown=60.0) as client:
            results = await client.send_all(numbers(3))
    assert [type(result) for result in results] == [Ok] * 3
    assert taken == 3


async def test_callers_let_go_leave_the_others_their_permits():
    over = False
    permits = Permits(1000.0)
    try:
        waiting = [asyncio.ensure_future(permits.wait(0.0, lambda: over)) for _ in range(3)]
        other = asyncio.ensure_future(permits.wait(0.0))
        gone = asyncio.ensure_future(permits.wait(0.0, lambda: over))
        await asyncio.sleep(0)
        gone.cancel()
        over = True
        permits.let_go()
        waiting[0].cancel()  # in the moment in which it is let go: it takes nothing from the others
        assert await waiting[1] is None
        assert await waiting[2] is None
        assert isinstance(await other, float)
        assert await permits.wait(0.0, lambda: over) is None
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        with pytest.raises(asyncio.CancelledError):
            await gone
    finally:
        await permits.aclose()


async def test_row_that_waits_when_the_block_is_left_is_not_lost(named):
    settings, name = named
    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, settings, rate=AN_HOUR, concurrency=1) as client:
            async with client.batch(numbers(2), name=name) as batch:
                assert isinstance((await anext(batch)).result, Ok)
                while not client._core.permits._waiting:
                    await asyncio.sleep(0)
            (left,) = batch.report.unconsumed
    assert (left.index, left.result.kind, left.result.disposition) == (1, "cancelled", "not_sent")
    assert server.posts == 1


async def test_client_that_is_closed_while_a_row_waits_says_so(named):
    settings, name = named
    items = []
    async with Server(status(200, b'{"status": "ok"}')) as server:
        client = client_of(server, settings, rate=AN_HOUR)
        async with client, client.batch(numbers(2), name=name) as batch:
            with pytest.raises(ClientClosed):
                async for item in batch:
                    items.append(item)
                    await client.aclose()
    assert [item.result.disposition for item in items] == ["sent", "not_sent"]


async def test_limiter_that_raises_is_a_row_that_was_not_sent(named):
    class Broken(contextlib.AbstractAsyncContextManager[None]):
        async def __aenter__(self):
            raise ValueError("broken")

        async def __aexit__(self, *_):
            raise AssertionError

    settings, name = named
    items = []
    async with Server(status(200, b'{"status": "ok"}')) as server:
        async with client_of(server, settings, rate=1000.0, limiter=Broken(), concurrency=1) as client:
            with pytest.raises(ValueError, match="broken"):
                async with client.batch(numbers(1), name=name) as batch:
                    async for item in batch:
                        items.append(item)
    assert [(item.result.kind, item.result.disposition) for item in items] == [("unexpected", "not_sent")]
    assert server.posts == 0


async def test_resend_waiting_in_a_stopped_batch_is_maybe_sent():
    memory = Memory()
    async with Server(close) as server:
        async with client_of(server, {"store": MemoryStore(memory)}) as client:
            results = await client.send_all(numbers(3), name="welcome")
    assert {result.disposition for result in results} == {Disposition.MAYBE_SENT}
    async with Server(close) as server:
        async with client_of(server, {"store": MemoryStore(memory)}, rate=AN_HOUR) as client:
            items = []
            async with client.batch(numbers(3), name="welcome", resend_maybe_sent=True) as batch:
                async for item in batch:
                    items.append(item)
                    batch.stop()
    assert {item.result.disposition for item in items} == {Disposition.MAYBE_SENT}
    assert server.posts <= 1
