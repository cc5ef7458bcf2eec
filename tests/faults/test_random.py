"""Thousands of calls to a gateway that fails at random, and that are cancelled at random.

600 for each of our own transports, a fifth of it for a ready client, and a tenth of either over TLS. In the place
of 600 stands what `GATEWAY360_FAULT_EXCHANGES` says in the environment; 10,000 is the whole run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections import Counter
from random import Random

import httpx
import pytest
from certificates import client_context, server_context
from loopback import OPEN_FILES, Received, open_files
from matrix import KEY, TRANSPORTS, Scene, check_sms, transport_of
from storm import Storm

from gateway360_async import (
    Disposition,
    Gateway360Client,
    Ok,
    PinRequest,
    PinResult,
    RetryPolicy,
    TransportFailure,
)

EXCHANGES = int(os.environ.get("GATEWAY360_FAULT_EXCHANGES") or 600)
SHARES = {"httpx": 1, "aiohttp": 1, "ready client": 5}
"""A ready client's pool takes five times as long as the connections of our own."""
AT_A_TIME = 50
SEED = 360
AFTERWARDS = 100


def request(index: int, size: int = 0) -> PinRequest:
    report_url = f"https://reports.test/{'x' * size}" if size else None
    return PinRequest(f"346{index:08}", "GOOD PIZZA", report_url=report_url)


async def call(client: Gateway360Client, wanted: PinRequest, draw: Random) -> PinResult | None:
    """Make a call, and maybe leave it, or bound it tightly. `None`: it was left before it began."""
    chance = draw.random()
    if chance < 0.7:
        return await client.send(wanted)
    if chance < 0.75:
        return await client.send(wanted, deadline=draw.uniform(0.001, 0.02))
    # In a batch, which says what became of a call that it cancelled.
    async with client.batch([wanted]) as batch:
        for _ in range(draw.randrange(40)):
            await asyncio.sleep(0)
    return batch.report.unread[0].result if batch.report.unread else None


async def closed(files: int) -> None:
    """Give the last callbacks of closed sockets their turn."""
    for _ in range(1000):
        if open_files() <= files:
            break
        await asyncio.sleep(0)


def kind_of(result: PinResult | None) -> str:
    if result is None:
        return "never begun"
    kind = f": {result.kind}" if isinstance(result, TransportFailure) else ""
    return f"{result.disposition}{kind}"


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="open sockets cannot be counted here")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("mode", TRANSPORTS)
async def test_whatever_happens_no_sms_is_denied_and_no_connection_lost(mode, tls, record_property):
    count = EXCHANGES // SHARES[mode] // (10 if tls else 1)
    storm = Storm(SEED)
    results: dict[str, PinResult | None] = {}
    indices = iter(range(count))
    began = asyncio.get_running_loop().time()

    async def work(client: Gateway360Client) -> None:
        for index in indices:
            draw = Random(f"{SEED} {index}")
            wanted = request(index, 100_000 if draw.random() < 0.02 else 0)
            results[wanted.msisdn] = await call(client, wanted, draw)

    async with storm.server(tls=server_context() if tls else None) as server:
        verify = client_context() if tls else None
        before = open_files()
        async with contextlib.AsyncExitStack() as stack:
            transport = await stack.enter_async_context(transport_of(mode, Scene(server.url, verify=verify)))
            client = Gateway360Client(
                KEY,
                base_url=server.url,
                transport=transport,
                retry=RetryPolicy(base_delay=0.0),
                timeout=httpx.Timeout(5, read=0.05),
                concurrency=AT_A_TIME,
            )
            async with client:
                await asyncio.gather(*(work(client) for _ in range(AT_A_TIME)))
                storm.over = True
                after = [request(count + extra) for extra in range(AFTERWARDS)]
                answers = await asyncio.gather(*(client.send(wanted, timeout=5) for wanted in after))
                assert [answer for answer in answers if not isinstance(answer, Ok)] == []
                await server.wait(lambda: len(server.open) <= AT_A_TIME)
        took = asyncio.get_running_loop().time() - began
        await server.wait(lambda: not server.open)
        await closed(before)
        assert open_files() == before
    gc.collect()  # what was forgotten would warn here, and a warning is an error

    seen: dict[str, list[Received]] = {}
    for post in server.requests:
        seen.setdefault(post.json["msisdn"], []).append(post)
    for number, result in results.items():
        check_sms(seen.get(number, []), RuntimeError("never begun") if result is None else result)
    said = Counter(map(kind_of, results.values()))
    assert len(results) == count
    if count >= 400:  # not one of them is left out
        assert len(storm.faults) == 15
        assert {Disposition.SENT, Disposition.NOT_SENT} <= said.keys()
    record_property(
        "figures",
        f"{mode}, {'TLS' if tls else 'plain'}: {count} calls in {took:.1f} s; "
        f"{server.connections} connections, {sum(storm.faults.values())} faults, {len(server.requests)} POSTs; "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(said.items())),
    )
