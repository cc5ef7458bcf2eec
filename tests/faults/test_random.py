"""Thousands of calls to a gateway that fails at random, and that are cancelled at random.

`GATEWAY360_FAULT_EXCHANGES` says how many for each transport, half of them over TLS; 40,000 is the whole run
(`python -m benchmarks.storm`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest
from support.certificates import server_context
from support.faults.matrix import check_sms
from support.faults.scenes import KEY, TRANSPORTS, Scene, transport_of
from support.faults.storm import FAULTS, FAULTS_OF_TLS, Storm
from support.loopback import OPEN_FILES, Received, open_files

from gateway360_async import (
    Disposition,
    Gateway360Client,
    Ok,
    PinRequest,
    PinResult,
    RetryPolicy,
    TransportFailure,
)
from gateway360_async._redaction import SecretBytes
from gateway360_async.transports import Exchange, Transport

ASKED = int(os.environ.get("GATEWAY360_FAULT_EXCHANGES") or 0)
EXCHANGES = {mode: ASKED or (1000 if mode == "direct" else 300) for mode in TRANSPORTS}
"""The pools of httpx take ten times as long."""
AT_A_TIME = 50
SEED = 360
AFTERWARDS = 100
PASSES_A_SECOND = 10_000
NUMBER = re.compile(rb'"msisdn":"(\d+)"')


@contextlib.asynccontextmanager
async def clock_by_passes() -> AsyncIterator[None]:
    """Let the event loop's clock count its passes: what is in time does not depend on the machine."""
    loop = asyncio.get_running_loop()
    began, passes = loop.time(), 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    loop.time = lambda: began + passes / PASSES_A_SECOND  # type: ignore[method-assign]
    try:
        yield
    finally:
        counting.cancel()


class Checked:
    """A transport whose every answer has to be for the number that was asked for; some requests are made large."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.crossed: list[tuple[str, str]] = []

    async def post(self, url: str, *, body: bytes, exchange: Exchange, **arguments: Any) -> Any:
        found = NUMBER.search(body)
        assert found is not None
        number = found[1].decode()
        if number.endswith("77"):
            body = SecretBytes(body + b" " * 100_000)
        try:
            return await self._transport.post(url, body=body, exchange=exchange, **arguments)
        finally:
            if exchange.answer is not None:
                answered = exchange.answer.headers.get("x-for", "nobody")
                if answered != number:
                    self.crossed.append((number, answered))

    async def aclose(self) -> None:
        await self._transport.aclose()


def request(index: int) -> PinRequest:
    return PinRequest(f"346{index:08}", "GOOD PIZZA")


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
    return batch.report.unconsumed[0].result if batch.report.unconsumed else None


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
@pytest.mark.timeout(60 + ASKED // 20)
@pytest.mark.parametrize("layer", ["plain", "TLS 1.3"])
@pytest.mark.parametrize("mode", TRANSPORTS)
async def test_storm_of_faults_denies_crosses_and_leaks_nothing(mode, layer, record_property):
    count = EXCHANGES[mode] // 2
    storm = Storm(SEED)
    results: dict[str, PinResult | None] = {}
    indices = iter(range(count))
    began = time.perf_counter()

    async def work(client: Gateway360Client) -> None:
        for index in indices:
            wanted = request(index)
            results[wanted.msisdn] = await call(client, wanted, Random(f"{SEED} {index}"))

    async with storm.server(tls=server_context(layer)) as server:
        before = open_files()
        async with contextlib.AsyncExitStack() as stack:
            scene = Scene(server.url, server)
            transport = Checked(await stack.enter_async_context(transport_of(mode, scene)))
            client = Gateway360Client(
                KEY,
                base_url=server.url,
                transport=transport,
                retry=RetryPolicy(base_delay=0.0),
                timeout=httpx.Timeout(5, read=0.05),
                concurrency=AT_A_TIME,
            )
            async with client, clock_by_passes():
                await asyncio.gather(*(work(client) for _ in range(AT_A_TIME)))
                storm.over = True
                after = [request(count + extra) for extra in range(AFTERWARDS)]
                answers = await asyncio.gather(*(client.send(wanted, timeout=5) for wanted in after))
                assert [answer for answer in answers if not isinstance(answer, Ok)] == []
                await server.wait(lambda: len(server.open) <= AT_A_TIME)
        took = time.perf_counter() - began
        await server.wait(lambda: not server.open)
        await closed(before)
        assert open_files() == before
    gc.collect()  # what was forgotten would warn here, and a warning is an error

    assert transport.crossed == []
    seen: dict[str, list[Received]] = {}
    for post in server.requests:
        seen.setdefault(post.json["msisdn"], []).append(post)
    for number, result in results.items():
        check_sms(seen.get(number, []), RuntimeError("never begun") if result is None else result)
    said = Counter(map(kind_of, results.values()))
    assert len(results) == count
    if count >= 500:  # not one of them is left out
        assert storm.faults.keys() == {*FAULTS, *(() if layer == "plain" else FAULTS_OF_TLS)}
        assert {Disposition.SENT, Disposition.NOT_SENT} <= said.keys()
    record_property(
        "figures",
        f"{mode}, {layer}: {count} calls in {took:.1f} s; "
        f"{server.connections} connections, {sum(storm.faults.values())} faults, {len(server.requests)} POSTs; "
        "0 false dispositions, 0 crossed answers, 0 second SMS, 0 leaked connections; "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(said.items())),
    )
