"""The soak: mixed faults and cancellations for minutes on end, and at the end every SMS accounted for.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks.soak --minutes 10
        [--concurrency 200] [--transport direct] [--seed 1]

A fault server in a process of its own keeps, for each number, how often it read a request to that number
whole and how many SMS it "sent". The client's process sends to each number once (single calls, double clicks
and batches, cancelled at random moments, with short deadlines, left early) and keeps what each call reported.
At the end the two are laid side by side. The bars, all of which have to hold for exit code 0:

- calls = results: every call ended with a result or with its cancellation, every entry that a batch had read
  came out as an item or in `report.unconsumed`.
- SMS = Ok + at most those that may have been sent: an `Ok` has exactly one SMS, a call that may have been
  sent at most one, and all others none. A cancelled call counts as one that may have been sent.
- No call is "not sent" whose request the server accepted. The log's word on a cancelled call is held to
  the same, though not in the balance: a cancellation whose log says nothing has to have sent nothing.
- Every request that the server read whole is one that a client of ours would send.
- Open sockets and tasks are back at what they were before the client was made.
- Memory is flat: the resident memory at the end, against what it was after the warm-up.
- Nothing was logged as an error, by the library, by asyncio or by the HTTP library.

It does not hold this against a client: a surplus answer that comes after the next request has left on the
same connection. HTTP/1.1 has nothing to tell it from that request's answer. Here a surplus answer comes
together with the one that it follows.
"""

import argparse
import asyncio
import contextlib
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import httpx

from gateway360_async import Gateway360Client
from gateway360_async.transports import DirectTransport, HttpxTransport

from .. import API_KEY, SENDER
from ..meter import memory
from ..process import Server
from ..report import Bar, options, print_bars
from .client import CANCELLED, Account, LogWatch, Soak

_TRANSPORTS: Final = {"direct": DirectTransport, "httpx": HttpxTransport}
_TIMEOUT: Final = httpx.Timeout(1.0, read=0.5)
"""Short, so that answers that never come do not fill the slots."""
_MOST_PER_SECOND: Final = 5_000
"""Calls a second that there are numbers for."""
_MOST_GROWTH: Final = 0.05
"""The share by which the resident memory may have grown."""


def _memory_bar(samples: list[int]) -> Bar:
    """Compare the medians of a tenth of the time at the begin and at the end: a sample swings with the calls in flight."""
    tenth = max(1, len(samples) // 10)
    begin, end = (statistics.median(part) for part in (samples[:tenth], samples[-tenth:]))
    growth = end / begin - 1
    said = f"RSS {begin / 2**20:.1f} → {end / 2**20:.1f} MiB ({growth:+.1%})"
    return Bar("memory", growth <= _MOST_GROWTH, said)


def _held() -> dict[str, int]:
    """Count the tasks, and where the platform tells the sockets."""
    held = {"tasks": len(asyncio.all_tasks())}
    descriptors = Path("/proc/self/fd")
    if descriptors.exists():
        held["sockets"] = 0
        for entry in descriptors.iterdir():
            with contextlib.suppress(OSError):  # the one that the listing itself had open
                held["sockets"] += str(entry.readlink()).startswith("socket:")
    return held


async def _soak(asked: argparse.Namespace, transport: str) -> list[Bar]:
    seconds: float = asked.minutes * 60
    capacity = min(100_000_000, int(seconds * _MOST_PER_SECOND) + 10_000)
    account, log = Account(capacity), LogWatch()
    samples: list[int] = []
    logging.getLogger().addHandler(log)
    with Server("soak.gateway:serve", seed=asked.seed, capacity=capacity) as server:
        before = _held()
        async with Gateway360Client(
            API_KEY,
            sender=SENDER,
            base_url=server.url,
            transport=_TRANSPORTS[transport](limits=httpx.Limits(keepalive_expiry=4.0)),
            timeout=_TIMEOUT,
            deadline=2.0,
            concurrency=asked.concurrency,
        ) as client:
            watching = asyncio.create_task(_watch(account, samples))
            random = Random(f"load {asked.seed}")  # noqa: S311  # cuts, not secrets
            await Soak(client, account, log, random, asked.concurrency, time.monotonic() + seconds).run()
            watching.cancel()
            await asyncio.wait((watching,))
        ends = time.monotonic() + 5.0  # for the transports to let go of their last sockets
        while (after := _held()) != before and time.monotonic() < ends:  # noqa: ASYNC110  # no notice of a socket
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)  # bytes that were written just before the end are on their way
        seen = server.ask()
    logging.getLogger().removeHandler(log)
    print(f"the server: {dict(sorted(seen['counts'].items()))}")
    print(f"failures: {dict(account.kinds.most_common())}")
    logged = {state.name.lower(): account.counts[state] for state in CANCELLED}
    print(f"of cancelled calls the log says: {logged}; the longest call took {account.longest:.2f} s")
    held = (Bar(name, count == after[name], f"{count} → {after[name]}") for name, count in before.items())
    return [*account.bars(seen), *held, _memory_bar(samples[min(60, int(seconds / 4)) :]), log.bar()]


async def _watch(account: Account, samples: list[int]) -> None:
    """Sample the memory every second, and say how it goes every ten."""
    calls = seconds = 0
    while True:
        await asyncio.sleep(1.0)
        seconds += 1
        samples.append(memory("VmRSS"))
        if seconds % 10:
            continue
        rate, calls = (account.calls - calls) / 10, account.calls
        counts = {state.name.lower(): count for state, count in account.counts.items()}
        held = {**_held(), "MiB": samples[-1] >> 20}
        print(
            f"{seconds:5} s: {calls:,} calls ({rate:,.0f}/s), {counts}; {held}, wrong: {dict(account.wrong)}",
            flush=True,
        )


def main(words: Sequence[str]) -> int:
    asked = options(
        *("benchmarks.soak", __doc__, words),
        minutes=10.0,
        concurrency=200,
        transport=tuple(_TRANSPORTS),
        seed=1,
    )
    status = 0
    for transport in asked.transport or ["direct"]:
        missed = print_bars(asyncio.run(_soak(asked, transport)))
        verdict = "NOT HELD" if missed else "ALL HOLD"
        print(f"soak, {transport}, {asked.minutes:g} min, seed {asked.seed}: {verdict}")
        status |= missed
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
