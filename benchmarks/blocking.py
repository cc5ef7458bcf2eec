"""The blocking client beside the async one: requests a second, 32 at a time, a server that answers after 50 ms.

    python -m benchmarks.blocking [--rounds N] [--each N]

Rounds alternate, each in a fresh process, with EACH requests one after the other in each of 32 tasks or threads; the ratio
is of the medians. The bar is 0.8.
"""

import asyncio
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from gateway360_async import Gateway360Client
from gateway360_async.blocking import Gateway360Client as BlockingClient

from . import API_KEY, SENDER, number
from .meter import Clock
from .process import Server, measure
from .report import bounded, options, print_bars

_AT_A_TIME: Final = 32


def _parts(each: int) -> list[list[str]]:
    return [[number(part * each + at) for at in range(each)] for part in range(_AT_A_TIME)]


async def awaited(base_url: str, each: int) -> dict[str, Any]:
    """Send with the async client."""
    async with Gateway360Client(API_KEY, sender=SENDER, base_url=base_url) as client:

        async def work(numbers: list[str]) -> None:
            for msisdn in numbers:
                (await client.request_pin(msisdn)).unwrap()

        with Clock() as clock:
            await asyncio.gather(*map(work, _parts(each)))
    return clock.per(_AT_A_TIME * each)


def blocked(base_url: str, each: int) -> dict[str, Any]:
    """Send with the blocking client."""
    with (
        BlockingClient(API_KEY, sender=SENDER, base_url=base_url) as client,
        ThreadPoolExecutor(_AT_A_TIME) as threads,
    ):

        def work(numbers: list[str]) -> None:
            for msisdn in numbers:
                client.request_pin(msisdn).unwrap()

        with Clock() as clock:
            list(threads.map(work, _parts(each)))
    return clock.per(_AT_A_TIME * each)


def main(words: Sequence[str]) -> int:
    asked = options("benchmarks.blocking", __doc__, words, rounds=5, each=100)
    runs: dict[str, list[dict[str, Any]]] = {"awaited": [], "blocked": []}
    with Server() as server:
        server.ask(latency=0.05)
        for _ in range(asked.rounds):
            for name, found in runs.items():
                found.append(measure(f"blocking:{name}", base_url=server.url, each=asked.each))
    rates: list[float] = []
    for name, found in runs.items():
        rate, cpu = (statistics.median(one[metric] for one in found) for metric in ("rate", "cpu_us"))
        rates.append(rate)
        print(f"{name}: {rate:.0f} requests/s, {cpu:.0f} µs of CPU a request")
    bar = bounded(f"blocking ÷ async, {_AT_A_TIME} threads, requests/s", 0.8, "×", [rates[1] / rates[0]])
    print_bars([bar])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
