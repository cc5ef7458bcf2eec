"""Compare this library with what people write by hand, side by side, on this machine.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks

A run takes about seven minutes and writes benchmarks/results/: `latest.json` (every measurement of every
round, and the versions), `table.md`, `profile.txt`, and the duplicate table (`duplicates.md` and
`.json`, see benchmarks/duplicates/). `--quick` looks at the main rows in about 45 seconds; it and `--only`
print, and write nowhere unless `--out` says so. `--only c100` stands for all of c100-….

How it measures:

- A server process of its own on loopback answers after 0 or 50 ms and counts connections. Each measurement
  runs in a fresh process; in each round the rows of a case take turns, and the cases follow each other.
- In the time: everything from the first number to the last result. Not in it: the interpreter's start, the
  imports, the making of the client, and a warm-up of as many requests as the concurrency (rows without
  one say "connecting included"). CPU is the client process's, user and system.
- Peak memory is of the whole process. The lag is how late a 5 ms heartbeat in the same loop comes.
- Ours has everything on, in every row: validation, phases, cap, deadline, retries, budget, duplicates.
- The bare `gather` over httpx takes minutes, so it runs once, on one core, while the other core does what
  is not timed (memory, profiles).
- Other work on the machine shows in the brackets, and in how long a fixed piece of Python took ("spin").
- The bars are printed as measured, met or not. The exit code is 0 either way: timings fail no build.

Other benchmarks: `python -m benchmarks NAME… [OPTION…]`, where each NAME gets the options; see `NAME --help`. They are
blocking, duplicates, numbers, phone, soak, storm, stores, task_cpu.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from . import HOST
from .cases import CASES, GATHER, PARTS, Case, Row
from .duplicates import run as duplicates
from .process import Process, Server, environment, measure, spin, timed
from .report import RESULTS, options, write
from .tables import bars, markdown

_FIRST_CALL: Final = (
    "import asyncio, gateway360_async\nfrom benchmarks import own\nasyncio.run(own.first_call())"
)
_IMPORTS: Final = {
    "import httpx": "import httpx",
    "import gateway360_async": "import gateway360_async",
    "import attrs, cattrs, httpx": "import attrs, cattrs, httpx",
    "import asyncio, attrs, httpx": "import asyncio, attrs, httpx",
    # An import that comes later than the package's is put off, not saved: here it is in the time.
    "import gateway360_async, and its first call (null transport)": _FIRST_CALL,
}


def _order(server: Server, case: Case, row: Row) -> dict[str, Any]:
    """Set the gateway's latency and counts for a row, and return the arguments of its process."""
    server.ask(latency=case.latency)
    return {
        "function": "contenders:load",
        "loop": row.loop,
        "contender": row.contender,
        "requests": row.requests,
        "warm_up": case.concurrency if row.warm else 0,
        "collector": case.collector,
        "concurrency": case.concurrency,
        "cap": row.cap,
        "base_url": f"https://{HOST}:{server.hello['tls']}" if case.tls else server.url,
        "authority": server.hello["authority"] if case.tls else None,
    }


class _Comparison:
    """One run: what is asked for, and the results so far."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._quick: bool = asked.quick
        self._only: list[str] = asked.only
        self._rounds: int = asked.rounds or (1 if asked.quick else 3)
        self.profiles: list[str] = []
        self.duplicates: dict[str, Any] | None = None
        self.results: dict[str, Any] = {"quick": self._quick, "only": self._only, "rounds": self._rounds}
        self.results |= {"spin_ms": [], "load": [], "own": [], "memory": [], "imports": {}}

    def run(self) -> None:
        began = time.perf_counter()
        self.results["environment"] = environment()
        with Server() as server:
            for turn in range(self._rounds):
                self._round(server, turn)
        if self._wants("imports"):
            self._import()
        self._untimed()
        if self._wants("duplicates"):
            # By itself: its timeouts are short, and an answer that is late would be one that never comes.
            self.duplicates = duplicates.run(_say)
        self.results["seconds"] = time.perf_counter() - began

    def _wants(self, name: str) -> bool:
        if self._only:
            return any(name == only or name.startswith(f"{only}-") for only in self._only)
        return not (self._quick and name in {"gather", "profile", "duplicates"})

    def _round(self, server: Server, turn: int) -> None:
        self.results["spin_ms"].append(spin())
        for case in CASES:
            if self._wants(case.name):
                for row in (case.shortened() if self._quick else case).rows:
                    self._keep(server, case, row, turn, measure(**_order(server, case, row)))
        if self._wants("own"):
            _say(f"round {turn + 1}: own work")
            found = measure("own:own_work", requests=5_000 if self._quick else 20_000)
            self.results["own"].append({"round": turn, **found})

    def _keep(self, server: Server, case: Case, row: Row, turn: int, measured: dict[str, Any]) -> None:
        record = {
            "case": case.name,
            "contender": row.contender,
            "loop": row.loop,
            "round": turn,
            "asked": row.requests,
            "warm_up": case.concurrency if row.warm else 0,
            "connections": server.ask()["connections"] or None,
            **measured,
        }
        self.results["load"].append(record)
        shown = record.get("not_available") or record.get("failed") or f"{record['rate']:,.0f} requests/s"
        _say(f"round {turn + 1}: {case.name}: {row.contender} ({row.loop}): {shown}")

    def _import(self) -> None:
        """Time the imports, taking turns; the first turn fills caches, and does not count."""
        _say("imports")
        turns = [
            {name: timed(program) for name, program in _IMPORTS.items()}
            for _ in range(3 if self._quick else 8)
        ]
        self.results["imports"] = {name: [turn[name] for turn in turns[1:]] for name in _IMPORTS}

    def _untimed(self) -> None:
        """Measure what is not timed, and beside it the row that takes minutes of one core."""
        with ExitStack() as stack:
            server = stack.enter_context(Server())
            gather: Process | None = None
            if self._wants("gather"):
                _say("bare gather over httpx, in the background")
                order = _order(server, CASES[-1], GATHER)
                gather = stack.enter_context(Process(**order, limit=GATHER.cap))
            many = 100_000 if self._quick else 1_000_000
            for on_duplicate, count in (("send", 10_000), ("send", many), ("skip", many)):
                if self._wants("memory"):
                    _say(f"memory: {count:,} requests, {on_duplicate}")
                    found = measure("own:memory", requests=count, on_duplicate=on_duplicate)
                    self.results["memory"].append({"on_duplicate": on_duplicate, "asked": count, **found})
            if self._wants("profile"):
                self._profile()
            if gather is not None:
                self._keep(server, CASES[-1], GATHER, 0, gather.result())

    def _profile(self) -> None:
        _say("profiles")
        own = measure("own:own_work", requests=5_000, profile=True)
        case = next(case for case in CASES if case.name == "c50-0ms")
        with Server() as server:  # the other one is in use, with another latency
            loaded = measure(**_order(server, case, Row("ours", 2_000)), profile=True)
        for title, text in (
            ("request_pin, null transport, 5,000 calls", own.get("request_pin_us")),
            ("batch, null transport, 5,000 requests", own.get("batch_us")),
            (f"ours, batch, {case.title}, 2,000 requests", loaded.get("profile")),
        ):
            self.profiles.append(f"## {title}\n\n{text or 'failed'}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(words: Sequence[str]) -> int:
    names = [*(case.name for case in CASES), *PARTS]
    prefixes = sorted({name.split("-", maxsplit=1)[0] for name in names} - set(names))
    asked = options("benchmarks", __doc__, words, quick=False, only=(*names, *prefixes), rounds=0, out="")
    run = _Comparison(asked)
    run.run()
    files: dict[str, str | dict[str, Any]] = {
        "latest.json": {**run.results, "bars": bars(run.results)},
        "table.md": markdown(run.results),
    }
    print(files["table.md"])
    if run.profiles:
        head = "Where the time goes: cProfile's own times, its cost included."
        files["profile.txt"] = "\n\n".join((head, *run.profiles)) + "\n"
    if run.duplicates is not None:
        print(duplicates.markdown(run.duplicates))
        files |= duplicates.files(run.duplicates)
    if asked.out or not (asked.quick or asked.only):
        write(Path(asked.out or RESULTS), files)
    return 0
