"""Chaos: senders are killed all the time, the server restarts once, and in the end every row is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

from gateway360_async import Disposition

from .measures import LATENCY, bar
from .processes import Gateway, Seen, Sender, Site
from .rates import WINDOW, rate_of
from .worker import Job, number

__all__ = ["chaos"]

_DEADLINE: Final = 10.0
_CONCURRENCY: Final = 25
_KILL_EVERY: Final = 1.0
_OVER: Final = 0.05
"""The share by which a window may be over the rate."""
_LIMIT: Final = 120.0
"""Seconds that a run may take beyond thrice the time that its rate asks for: it is given up then."""


class _Senders:
    """The senders: one that is killed is replaced, until the first one has ended by itself."""

    def __init__(self, job: Job, count: int) -> None:
        self._job = job
        self._count = count
        self._random = Random("chaos")  # noqa: S311  # no secret
        self._running: list[Sender] = []
        self._ended = asyncio.Event()
        self.figures: list[dict[str, Any]] = []
        self.killed = 0

    async def run(self) -> None:
        """Start the senders, kill one a second, and wait for the others' accounts."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._one())
            killing = group.create_task(self._kill())
            await self._ended.wait()
            killing.cancel()

    async def _one(self) -> None:
        while not self.figures:
            async with Sender(self._job) as sender:
                await sender.ready()
                sender.write()
                self._running.append(sender)
                figures = await sender.figures()
                self._running.remove(sender)
            if figures is not None:
                self.figures.append(figures)
                self._ended.set()

    async def _kill(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                due += _KILL_EVERY
                await asyncio.sleep(due - loop.time())
                if self._running:
                    self._random.choice(self._running).kill()
                    self.killed += 1


async def chaos(
    kind: str, here: Site, rows: int, per_second: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run it. Gives the figures and the bars."""
    began = time.monotonic()
    restarted = None
    async with Gateway(LATENCY) as gateway, asyncio.timeout(3 * rows / per_second + _LIMIT):
        job = Job(
            gateway=gateway.url,
            store=here.store,
            name="chaos",
            rows=rows,
            rate=per_second,
            concurrency=_CONCURRENCY,
            deadline=_DEADLINE,
            timeout=30.0,
            told=True,
        )
        senders = _Senders(job, 4)
        running = asyncio.create_task(senders.run())
        if here.restart is not None:
            await asyncio.wait((running,), timeout=rows / per_second / 2)
            since = time.monotonic()
            await asyncio.to_thread(here.restart)
            restarted = time.monotonic() - since
        await running
        seen = await gateway.report()
    say(f"{kind}, chaos: {time.monotonic() - began:.0f} s, {senders.killed} killed")
    return _judge(kind, rows, per_second, seen, senders, restarted)


def _judge(  # noqa: PLR0917
    kind: str, rows: int, per_second: float, seen: Seen, senders: _Senders, restarted: float | None
) -> dict[str, Any]:
    sms = seen.by_number()
    wrong = 0
    by_disposition: Counter[str] = Counter()
    for figures in senders.figures:
        told = dict(figures["told"])
        by_disposition = Counter(told.values())
        for row in range(rows):
            happened, count = told.get(row), sms[number(row)]
            right = happened == Disposition.MAYBE_SENT or (happened == Disposition.SENT) == bool(count)
            wrong += happened is None or not right
    most = max(sms.values(), default=0)
    rate = rate_of(seen.stamps)
    fullest = 0.0 if rate is None else rate.most
    return {
        "rows": rows,
        "rate": per_second,
        "killed": senders.killed,
        "accounts": len(senders.figures),
        "server_restart_seconds": restarted,
        "sms": sms.total(),
        "by_disposition": by_disposition,
        "most_sms_to_a_number": most,
        "most_per_second_in_5_s": fullest,
        "bars": [
            bar(f"{kind}: SMS per number at most 1", holds=most == 1, found=f"{most}"),
            bar(
                f"{kind}: every row accounted for, in each account",
                holds=not wrong,
                found=f"{rows:,} rows, {len(senders.figures)} accounts, {senders.killed} killed, "
                f"{by_disposition['maybe_sent']} in doubt" + (f", {wrong} wrong" if wrong else ""),
            ),
            bar(
                f"{kind}: no {WINDOW:g} s with more than 5 % over {per_second:g}/s",
                holds=fullest <= per_second * (1 + _OVER),
                found=f"{fullest:.1f}/s ({fullest / per_second - 1:+.1%})",
            ),
        ],
    }
