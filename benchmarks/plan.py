"""What is measured: the cases, their rows, and how much of each.

Rules of this module:

- Every bar of the issue has its two sides in one case, so they take turns within each round; where a bar
  compares two cases (two concurrencies), both are in each round.
- A row sends as many requests as it needs to run for a second or so; the ones that httpx's pool makes
  slow end when their time is over, and only those. What they had begun is finished, and counted.
- httpx has no warm-up at concurrency 500, where that alone would take 8 seconds. It is in its favour: its
  pool was measured to be faster while it has few connections than once it has them all.
- The flatness over the connections is measured at 0 ms: at 50 ms and concurrency 50 the loop is mostly idle,
  wakes up for a few answers at a time, and that makes the base of the ratio dearer.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["CASES", "GATHER", "LABELS", "OTHER_PARTS", "Case", "Row", "quick"]

LABELS: Final = {
    "httpx-gather": "httpx, bare gather",
    "httpx": "httpx + semaphore",
    "httpx-stamina": "httpx + semaphore + stamina",
    "httpx2": "httpx2 + semaphore",
    "httpx-aiohttp": "httpx over httpx-aiohttp + semaphore",
    "aiohttp": "aiohttp + semaphore + json=",
    "pyreqwest": "pyreqwest + semaphore",
    "ours": "ours, as it comes",
    "ours-httpx": "ours, over a ready httpx.AsyncClient",
    "ours-stored": "ours, with a SqliteStore",
    "floor": "floor: bare protocol, prepared bytes",
}

OTHER_PARTS: Final = ("gather", "memory", "profile", "own", "imports", "duplicates")


@attrs.frozen
class Row:
    """A contender in a case. `cap` is in seconds; `quick`: whether it runs with `--quick`."""

    contender: str
    requests: int
    loop: str = "asyncio"
    cap: float = 30.0
    warm: bool = True
    quick: bool = True


@attrs.frozen
class Case:
    """One server and one concurrency. `latency` is the server's, in seconds."""

    name: str
    title: str
    latency: float
    concurrency: int
    rows: tuple[Row, ...]
    tls: bool = False
    collector: bool = True


def _both_loops(row: Row) -> tuple[Row, Row]:
    return row, attrs.evolve(row, loop="uvloop", quick=False)


def _quiet(row: Row) -> Row:
    return attrs.evolve(row, quick=False)


CASES: Final = (
    Case(
        "c100-50ms",
        "50 ms server, concurrency 100, a batch of 2,000",
        0.05,
        100,
        (
            Row("httpx", 2000, cap=1.0),
            _quiet(Row("httpx-stamina", 2000, cap=1.0)),
            _quiet(Row("httpx2", 2000, cap=1.0)),
            _quiet(Row("httpx-aiohttp", 2000)),
            Row("aiohttp", 2000),
            Row("pyreqwest", 2000),
            Row("ours", 2000),
            _quiet(Row("ours-httpx", 2000, cap=1.0)),
            _quiet(Row("ours-stored", 2000)),
            Row("floor", 2000),
        ),
    ),
    Case(
        "c500-50ms",
        "50 ms server, concurrency 500",
        0.05,
        500,
        (
            Row("httpx", 2000, cap=1.0, warm=False),
            _quiet(Row("aiohttp", 4000)),
            _quiet(Row("pyreqwest", 4000)),
            Row("ours", 8000),
            Row("floor", 8000),
        ),
    ),
    Case(
        "c50-0ms",
        "0 ms server, concurrency 50",
        0.0,
        50,
        (
            *_both_loops(Row("aiohttp", 6000)),
            *_both_loops(Row("pyreqwest", 8000)),
            *_both_loops(Row("ours", 20000)),
            *_both_loops(Row("floor", 30000)),
        ),
    ),
    Case(
        "c1000-0ms",
        "0 ms server, concurrency 1,000",
        0.0,
        1000,
        (_quiet(Row("aiohttp", 6000)), Row("ours", 20000), _quiet(Row("floor", 30000))),
    ),
    *(
        Case(
            f"c{concurrency}-0ms-uncollected",
            f"0 ms server, concurrency {concurrency:,}, Python's garbage collector off: what it takes",
            0.0,
            concurrency,
            (_quiet(Row("ours", 20000)),),
            collector=False,
        )
        for concurrency in (50, 1000)
    ),
    Case(
        "c100-50ms-tls",
        "50 ms server over TLS, concurrency 100",
        0.05,
        100,
        (_quiet(Row("aiohttp", 2000)), _quiet(Row("pyreqwest", 2000)), _quiet(Row("ours", 2000))),
        tls=True,
    ),
    Case(
        "c1-0ms",
        "0 ms server, one request at a time",
        0.0,
        1,
        tuple(
            _quiet(Row(contender, requests))
            for contender, requests in (
                ("httpx", 200),
                ("aiohttp", 400),
                ("pyreqwest", 400),
                ("ours", 2000),
                ("ours-httpx", 200),
                ("floor", 4000),
            )
        ),
    ),
    Case("batch-20000", "0 ms server, concurrency 100, a batch of 20,000", 0.0, 100, (Row("ours", 20000),)),
    Case(
        "batch-20000-uncollected",
        "0 ms server, concurrency 100, a batch of 20,000, Python's garbage collector off: what it takes",
        0.0,
        100,
        (_quiet(Row("ours", 20000)),),
        collector=False,
    ),
    Case(
        "batch-2000-cold",
        "50 ms server, a batch of 2,000 from the first connection on (ours: concurrency 100)",
        0.05,
        100,
        (_quiet(Row("ours", 2000, warm=False)),),
    ),
)

GATHER: Final = Row("httpx-gather", 2000, cap=150.0, warm=False)
"""Runs once: it takes nearly two minutes. Belongs to the last of the cases, which has its other side.
Its `cap` ends its process: it does not let go of its event loop for half a minute at a time."""


def quick(case: Case) -> Case:
    """The part of a case that `--quick` runs: fewer rows, fewer requests, shorter times."""
    rows = (
        attrs.evolve(row, requests=min(row.requests // 2, 5000), cap=row.cap / 2)
        for row in case.rows
        if row.quick
    )
    return attrs.evolve(case, rows=tuple(rows))
