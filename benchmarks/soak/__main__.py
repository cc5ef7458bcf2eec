"""The command: soak, say how it goes every ten seconds, and end with one line that says what held."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from typing import Final

import httpx

from gateway360_async import Gateway360Client
from gateway360_async.transports import DirectTransport, HttpxTransport

from ..driver import API_KEY, SENDER
from . import __doc__ as about
from .account import Account, LogWatch, State
from .load import Soak
from .numbers import LIMIT
from .process import Held, Memory, ServerProcess, held
from .verdict import Bar, judge, last_line

_TRANSPORTS: Final = {"direct": DirectTransport, "httpx": HttpxTransport}
_TIMEOUT: Final = httpx.Timeout(1.0, read=0.5)
"""Short, so that what never comes does not fill the places."""
_DEADLINE: Final = 2.0
"""Seconds."""
_PROGRESS_EVERY: Final = 10.0
"""Seconds."""
_SETTLES_WITHIN: Final = 5.0
"""Seconds that the transports have to let go of their last sockets, once the client is closed."""
_MOST_PER_SECOND: Final = 5_000
"""Calls a second that there are numbers for."""


async def _soak(options: argparse.Namespace) -> list[Bar]:
    seconds: float = options.minutes * 60
    capacity = min(LIMIT, int(seconds * _MOST_PER_SECOND) + 10_000)
    account, log = Account(capacity), LogWatch()
    with log.watching(), ServerProcess(options.seed, capacity) as server:
        memory = Memory(min(60.0, seconds / 4), seconds)
        before = held()
        await _send(server.url, account, log, memory, options)
        after = await _settled(before)
        await asyncio.sleep(1.0)  # what was written just before the end is on its way
        seen = server.report()
    print(f"the server: {dict(sorted(seen.counts.items()))}")
    print(f"failures: {dict(account.kinds.most_common())}")
    logged = {state.name.lower(): account.counts[state] for state in State if state.cancelled}
    print(f"of cancelled calls the log says: {logged}; the longest call took {account.longest:.2f} s")
    return judge(account, log, seen, before=before, after=after, memory=memory.growth())


async def _send(
    url: str, account: Account, log: LogWatch, memory: Memory, options: argparse.Namespace
) -> None:
    concurrency: int = options.concurrency
    limits = httpx.Limits(keepalive_expiry=4.0)
    transport = _TRANSPORTS[options.transport](limits=limits)
    async with Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url=url,
        transport=transport,
        timeout=_TIMEOUT,
        deadline=_DEADLINE,
        concurrency=concurrency,
    ) as client:
        soak = Soak(
            client,
            account,
            log,
            seed=options.seed,
            concurrency=concurrency,
            seconds=options.minutes * 60,
        )
        watching = asyncio.create_task(_watch(account, memory))
        await soak.run()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(account: Account, memory: Memory) -> None:
    """Sample the memory every second, and say how it goes every ten."""
    began = said = time.monotonic()
    calls = 0
    while True:
        await asyncio.sleep(1.0)
        memory.sample()
        now = time.monotonic()
        if now - said < _PROGRESS_EVERY:
            continue
        rate = (account.calls - calls) / (now - said)
        said, calls = now, account.calls
        print(f"{now - began:5.0f} s: {_progress(account, rate, memory)}", flush=True)


def _progress(account: Account, rate: float, memory: Memory) -> str:
    counts, open_now = account.counts, held()
    cancelled = sum(count for state, count in counts.items() if state.cancelled)
    wrong = f", WRONG: {dict(account.wrong)}" if account.wrong else ""
    return (
        f"{account.calls:,} calls ({rate:,.0f}/s), {counts[State.OK]:,} ok, {counts[State.NOT_SENT]:,} not sent, "
        f"{counts[State.MAYBE_SENT]:,} maybe sent, {cancelled:,} cancelled, {counts[State.SKIPPED]:,} skipped; "
        f"{open_now.sockets} sockets, {open_now.tasks} tasks, {memory.latest / 2**20:.1f} MiB{wrong}"
    )


async def _settled(before: Held) -> Held:
    """Wait until all is as before, for a while, and give what there is."""
    ends = time.monotonic() + _SETTLES_WITHIN
    while (now := held()) != before and time.monotonic() < ends:  # noqa: ASYNC110  # a socket tells nobody
        await asyncio.sleep(0.05)
    return now


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to send (10)")
    parser.add_argument("--concurrency", type=int, default=200, help="the client's (200)")
    parser.add_argument(
        "--transport", choices=_TRANSPORTS, default="direct", help="the client's transport (direct)"
    )
    parser.add_argument("--seed", type=int, default=1, help="for the faults and the cuts (1)")
    options = parser.parse_args()
    if options.minutes <= 0 or options.concurrency < 1:
        parser.error("--minutes takes more than 0, --concurrency 1 or more")
    bars = asyncio.run(_soak(options))
    for bar in bars:
        if not bar.holds:
            print(f"NOT HELD: {bar.said}", *bar.details, sep="\n  ")
    print(f"soak, {options.transport}, {options.minutes:g} min, seed {options.seed}: {last_line(bars)}")
    sys.exit(not all(bar.holds for bar in bars))


if __name__ == "__main__":
    _main()
