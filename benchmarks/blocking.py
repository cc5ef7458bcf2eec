"""The blocking client beside the async one: requests a second, 32 at a time, a server that answers after 50 ms.

    python -m benchmarks.blocking [--rounds N]

Rounds alternate in one process each; the ratio is of the medians. The bar is 0.8.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Final

from gateway360_async import Gateway360Client
from gateway360_async.blocking import Gateway360Client as BlockingClient

from .driver import API_KEY, SENDER
from .machine import Server

__all__: list[str] = []

_AT_A_TIME: Final = 32
_EACH: Final = 100
_numbers = (f"346{index:08d}" for index in count())


def _batches() -> list[list[str]]:
    return [[next(_numbers) for _ in range(_EACH)] for _ in range(_AT_A_TIME)]


async def _awaited(base_url: str) -> float:
    async with Gateway360Client(API_KEY, sender=SENDER, base_url=base_url) as client:

        async def work(numbers: list[str]) -> None:
            for number in numbers:
                (await client.request_pin(number)).unwrap()

        began = time.perf_counter()
        await asyncio.gather(*map(work, _batches()))
        return time.perf_counter() - began


def _blocked(base_url: str) -> float:
    with (
        BlockingClient(API_KEY, sender=SENDER, base_url=base_url) as client,
        ThreadPoolExecutor(_AT_A_TIME) as threads,
    ):

        def work(numbers: list[str]) -> None:
            for number in numbers:
                client.request_pin(number).unwrap()

        began = time.perf_counter()
        list(threads.map(work, _batches()))
        return time.perf_counter() - began


def _main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rates: dict[str, list[float]] = {"async": [], "blocking": []}
    cpu: dict[str, list[float]] = {"async": [], "blocking": []}
    requests = _AT_A_TIME * _EACH
    with Server() as server:
        server.control("/reset?latency=0.05")
        base_url = str(server.job(tls=False)["base_url"])
        for _ in range(rounds):
            for name, measured in rates.items():
                began = time.process_time()
                seconds = asyncio.run(_awaited(base_url)) if name == "async" else _blocked(base_url)
                measured.append(requests / seconds)
                cpu[name].append((time.process_time() - began) / requests * 1e6)
    for name, measured in rates.items():
        used = statistics.median(cpu[name])
        print(f"{name}: {statistics.median(measured):.0f} requests/s, {used:.0f} µs of CPU a request")
    ratio = statistics.median(rates["blocking"]) / statistics.median(rates["async"])
    print(
        f"{'met     ' if ratio >= 0.8 else 'NOT MET '} blocking ÷ async, {_AT_A_TIME} threads, at least 0.8: {ratio:.3f}"
    )


if __name__ == "__main__":
    _main()
