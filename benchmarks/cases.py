"""The cases of the comparison: their rows, and how much each sends.

- Each bar has its two sides in one case, so that they take turns within a round; where a bar compares two cases, both are
  in each round.
- A row sends for a second or so. Those that httpx's pool makes slow end when their time is over; the requests that they
  had started are finished and counted.
- httpx has no warm-up at concurrency 500, where that would take 8 seconds: its pool is faster while it has few connections.
- The flatness over the connections is measured at 0 ms: at 50 ms and concurrency 50 the loop is mostly idle and wakes up
  for a few answers at a time, which makes the base of the ratio dearer.
"""

from typing import Final, Self

import attrs

PARTS: Final = ("gather", "memory", "profile", "own", "imports", "duplicates")
"""Parts of the comparison besides the cases."""
_QUICK: Final = {"httpx", "aiohttp", "pyreqwest", "ours", "floor"}


@attrs.frozen
class Row:
    """A contender in a case. `cap` is in seconds."""

    contender: str
    requests: int
    cap: float = 30.0
    warm: bool = True
    loop: str = "asyncio"


@attrs.frozen
class Case:
    """One gateway, which answers after `latency` seconds, and one concurrency; `quick`: it runs with `--quick`."""

    name: str
    concurrency: int
    latency: float
    rows: tuple[Row, ...]
    more: str = ""
    tls: bool = False
    collector: bool = True
    quick: bool = False

    @property
    def title(self) -> str:
        tls = " over TLS" if self.tls else ""
        collector = "" if self.collector else ", Python's garbage collector off: what it takes"
        server = f"{self.latency * 1e3:g} ms server{tls}"
        return f"{server}, concurrency {self.concurrency:,}{self.more}{collector}"

    def shortened(self) -> Self:
        """Return the part that `--quick` runs: fewer rows, fewer requests, shorter times."""
        rows = (
            attrs.evolve(row, requests=min(row.requests // 2, 5000), cap=row.cap / 2)
            for row in self.rows
            if self.quick and row.contender in _QUICK and row.loop == "asyncio"
        )
        return attrs.evolve(self, rows=tuple(rows))


def _rows(cap: float = 30.0, **requests: int) -> tuple[Row, ...]:
    return tuple(Row(contender.replace("_", "-"), count, cap) for contender, count in requests.items())


_SLOW: Final = _rows(cap=1.0, httpx=2000, httpx_stamina=2000, httpx2=2000, ours_httpx=2000)
_FAST: Final = _rows(
    httpx_aiohttp=2000, aiohttp=2000, pyreqwest=2000, ours=2000, ours_stored=2000, floor=2000
)
_ONE: Final = _rows(httpx=200, aiohttp=400, pyreqwest=400, ours=2000, ours_httpx=200, floor=4000)
_OURS: Final = _rows(ours=20000)
_COLD: Final = (Row("httpx", 2000, cap=1.0, warm=False),)
_MANY: Final = _rows(aiohttp=4000, pyreqwest=4000, ours=8000, floor=8000)
_BOTH_LOOPS: Final = tuple(
    attrs.evolve(row, loop=loop)
    for row in _rows(aiohttp=6000, pyreqwest=8000, ours=20000, floor=30000)
    for loop in ("asyncio", "uvloop")
)
_CROWD: Final = _rows(aiohttp=6000, ours=20000, floor=30000)

CASES: Final = (
    Case("c100-50ms", 100, 0.05, _SLOW + _FAST, ", a batch of 2,000", quick=True),
    Case("c500-50ms", 500, 0.05, _COLD + _MANY, quick=True),
    Case("c50-0ms", 50, 0.0, _BOTH_LOOPS, quick=True),
    Case("c1000-0ms", 1000, 0.0, _CROWD, quick=True),
    Case("c50-0ms-uncollected", 50, 0.0, _OURS, collector=False),
    Case("c1000-0ms-uncollected", 1000, 0.0, _OURS, collector=False),
    Case("c100-50ms-tls", 100, 0.05, _rows(aiohttp=2000, pyreqwest=2000, ours=2000), tls=True),
    Case("c1-0ms", 1, 0.0, _ONE),
    Case("batch-20000", 100, 0.0, _OURS, ", a batch of 20,000", quick=True),
    Case("batch-20000-uncollected", 100, 0.0, _OURS, ", a batch of 20,000", collector=False),
    Case(
        *("batch-2000-cold", 100, 0.05, (Row("ours", 2000, warm=False),)),
        more=" (bare gather: all), a batch of 2,000 from the first connection on",
    ),
)

GATHER: Final = Row("httpx-gather", 2000, cap=150.0, warm=False)
"""Runs once, for nearly two minutes, as a row of the last case. Its `cap` ends its process, for it does not let go of its
event loop for half a minute at a time."""
