"""`gateway360 demo`: a batch through the real client, over real HTTP, against the sandbox."""

from __future__ import annotations

import random
import time
from json import dumps

import typer

from gateway360_async import Gateway360Client
from gateway360_async.sandbox import HLR_FAIL_PREFIX, Sandbox
from gateway360_async.transports import DirectTransport

from ._console import console_on
from ._problems import FAILED, OK
from ._progress import Live
from ._stats import Statistics
from ._summary import Ending, counts_object, show_summary

__all__ = ["demo", "demo_numbers"]

_SEED = 360
_BAD = ("34666ABC111", "0666666111", "123456", "+", "34666666111;ext=2")


def demo_numbers(count: int) -> list[str]:
    """Make the entries: of each twenty, one is malformed, one fails the HLR lookup, one is there twice."""
    entries: list[str] = []
    for index in range(count):
        match index % 20:
            case 5:
                entries.append(_BAD[index // 20 % len(_BAD)])
            case 10:
                entries.append(f"{HLR_FAIL_PREFIX}{index:06}")
            case 15:
                entries.append(
                    f"+34 {entries[index - 1].removeprefix('34')}"
                )  # the one before, written otherwise
            case _:
                entries.append(f"346{index:08}")
    random.Random(_SEED).shuffle(entries)  # noqa: S311  # a mix that is the same every time
    return entries


async def demo(count: int, concurrency: int, *, json: bool = False) -> int:
    """Run the demo. Gives the exit code: 0 if the SMS that were sent are the `Ok` results."""
    console = console_on(stderr=False)
    results = Statistics()
    async with Sandbox() as gateway:
        if not json:
            console.print(f"A gateway of our own listens on {gateway.base_url}", highlight=False)
        async with (
            Gateway360Client(
                gateway.api_key,
                sender="GOOD PIZZA",
                base_url=gateway.base_url,
                transport=DirectTransport(),  # this is about this machine, not about its proxy
                concurrency=concurrency,
            ) as client,
            client.batch(demo_numbers(count)) as batch,
        ):
            with Live(console_on(stderr=True), "sending", count, results.counts, shown=not json) as live:
                began = time.monotonic()
                async for item in batch:
                    results.add(item.result, time.monotonic() - began)
                    live.tick()
                live.end()
        messages, posts = len(gateway.messages), len(gateway.requests)
        report = batch.report
    accounted = 0 < messages == report.by_result["Ok"] and report.total == count
    code = OK if accounted else FAILED
    ending = Ending(code=code, elapsed=report.elapsed)
    if json:
        checked = {"requests": posts, "messages": messages, "accounted_for": accounted}
        typer.echo(dumps(counts_object(results, ending) | checked | {"exit_code": code}))
        return code
    show_summary(console, results, ending)
    console.print(f"requests that reached the gateway: {posts}", highlight=False)
    sign, word = ("=", "every SMS is accounted for") if accounted else ("≠", "THIS MUST NOT BE")
    console.print(
        f"SMS that it sent: {messages} {sign} Ok results: {report.by_result['Ok']}: {word}", highlight=False
    )
    return code
