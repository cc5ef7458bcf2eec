"""Deadlines, cancellations and ends where calls share, and a batch under eager tasks."""

from __future__ import annotations

import asyncio
import sys

import pytest
from support.loopback import Server, ok, silence

from gateway360_async import FailureKind, Gateway360Client

NUMBERS = [str(34600000000 + n) for n in range(100)]


def client_for(server: Server, **settings) -> Gateway360Client:
    return Gateway360Client("k3y", **{"base_url": server.url, "sender": "PIZZA"} | settings)


async def test_waiter_that_sends_itself_keeps_its_deadline(later):
    async with Server(silence) as server, client_for(server, concurrency=1, deadline=10) as client:
        busy = asyncio.create_task(client.request_pin(NUMBERS[0], deadline=1000))
        await server.wait(lambda: server.posts == 1)
        first = asyncio.create_task(client.request_pin(NUMBERS[1], deadline=5))  # no place becomes free
        await asyncio.sleep(0)
        second = asyncio.create_task(client.request_pin(NUMBERS[1]))  # shares, and at 5 s flies itself
        await asyncio.sleep(0)
        later(4)
        third = asyncio.create_task(client.request_pin(NUMBERS[2]))  # its deadline is later, and comes first
        await asyncio.sleep(0)
        later(2)
        await first
        assert not second.done()
        later(5)
        await second
        assert not third.done()
        for call in (busy, third):
            call.cancel()
        await asyncio.wait((busy, third))


async def test_call_beside_one_being_cancelled_is_not_cancelled():
    async with Server(silence) as server, client_for(server) as client:
        first = asyncio.create_task(client.request_pin(NUMBERS[0]))
        await server.wait(lambda: server.posts == 1)
        server.behaviour = ok
        first.cancel()
        await asyncio.sleep(0)
        second = await client.request_pin(NUMBERS[0])
        await asyncio.wait((first,))
    assert getattr(second, "kind", None) is not FailureKind.CANCELLED


async def test_batch_left_ends_its_exchange_with_the_last_waiter():
    async with Server(silence) as server, client_for(server, deadline=1000) as client:
        async with client.batch(NUMBERS[:1]):
            await server.wait(lambda: server.posts == 1)
            call = asyncio.create_task(client.request_pin(NUMBERS[0]))
            await asyncio.sleep(0)
            # Once the batch waits for its calls in flight, and this call alone is left.
            asyncio.get_running_loop().call_later(0.05, call.cancel)
        await asyncio.wait((call,))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
async def test_batch_under_the_eager_task_factory_reads_not_ahead():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    read = 0

    def numbers():
        nonlocal read
        for n in range(1000):
            read += 1
            yield str(34600000000 + n)

    async with Server() as server, client_for(server, concurrency=5) as client:
        async with client.batch(numbers()) as batch:
            at_first = read
            items = [item async for item in batch]
    assert (at_first <= 6, len(items)) == (True, 1000)
