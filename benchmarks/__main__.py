"""Compare this library with what people write by hand, side by side, on this machine.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks

A run takes about seven minutes and writes benchmarks/results/: `latest.json` (every measurement of every
round, and the versions), `table.md`, `chart.svg`, `profile.txt`, and the duplicate table (`duplicates.md` and
`.json`, see benchmarks/duplicates/). `--quick` looks at the main rows in about 45 seconds; it and `--only`
print, and write nowhere unless `--out` says so.

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
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from .bars import bars
from .chart import svg
from .duplicates import run as duplicates
from .duplicates import table as duplicate_table
from .machine import ROOT, Measurement, Server, environment, import_times, measure, spin
from .plan import CASES, GATHER, OTHER_PARTS, Case, Row, quick
from .report import markdown

_RESULTS: Final = ROOT / "benchmarks" / "results"
_IMPORTS: Final = {
    "import httpx": "import httpx",
    "import gateway360_async": "import gateway360_async",
    "import attrs, cattrs, httpx": "import attrs, cattrs, httpx",
    "import asyncio, attrs, httpx": "import asyncio, attrs, httpx",
    # What is imported later rather than with the package is put off, not saved: here it is in the time.
    "import gateway360_async, and its first call (null transport)": """
import asyncio, gateway360_async
from benchmarks import ours
async def call():
    async with ours.null_client() as client:
        (await client.request_pin("34600000000")).unwrap()
asyncio.run(call())
""",
}


class _Run:
    """One run: what is asked for, and the results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._quick: bool = options.quick
        self._only: list[str] = options.only or []
        self.rounds: int = options.rounds or (1 if options.quick else 3)
        self.profiles: list[str] = []
        self.duplicates: dict[str, Any] | None = None
        self.results: dict[str, Any] = {
            "quick": self._quick,
            "only": self._only,
            "rounds": self.rounds,
            "spin_ms": [],
            "load": [],
            "own": [],
            "memory": [],
            "imports": {},
        }

    def wants(self, name: str) -> bool:
        if self._only:
            return any(name == only or name.startswith(f"{only}-") for only in self._only)
        return not (self._quick and name in {"gather", "profile", "duplicates"})

    def all(self) -> None:
        began = time.perf_counter()
        self.results["environment"] = environment()
        with Server() as server:
            for turn in range(self.rounds):
                self._round(server, turn)
        if self.wants("imports"):
            _say("imports")
            self.results["imports"] = import_times(_IMPORTS, 2 if self._quick else 7)
        self._untimed()
        if self.wants("duplicates"):
            # By itself: its timeouts are short, and an answer that is late would be one that never comes.
            self.duplicates = duplicates.run(_say)
        self.results["seconds"] = time.perf_counter() - began

    def _round(self, server: Server, turn: int) -> None:
        self.results["spin_ms"].append(spin())
        for case in CASES:
            if self.wants(case.name):
                planned = quick(case) if self._quick else case
                for row in planned.rows:
                    self._load(server, planned, row, turn)
        if self.wants("own"):
            _say(f"round {turn + 1}: own work")
            count = 5_000 if self._quick else 20_000
            self.results["own"].append({"round": turn, **measure({"kind": "own", "requests": count})})

    def _load(self, server: Server, case: Case, row: Row, turn: int) -> None:
        server.control(f"/reset?latency={case.latency}")
        measured = measure(_order(server, case, row))
        self._keep(server, case, row, turn, measured)

    def _keep(self, server: Server, case: Case, row: Row, turn: int, measured: dict[str, Any]) -> None:
        connections = server.control("/stats")["connections"]
        record = {
            "case": case.name,
            "contender": row.contender,
            "loop": row.loop,
            "round": turn,
            "asked": row.requests,
            "warm_up": case.concurrency if row.warm else 0,
            "connections": connections or None,
            **measured,
        }
        self.results["load"].append(record)
        rate = record.get("rate")
        shown = record.get("not_available") or record.get("failed") or f"{rate:,.0f} requests/s"
        _say(f"round {turn + 1}: {case.name}: {row.contender} ({row.loop}): {shown}")

    def _untimed(self) -> None:
        """What is not timed, and beside it the row that takes minutes of one core."""
        with Server() as server:
            gather: Measurement | None = None
            if self.wants("gather"):
                _say("bare gather over httpx, in the background")
                server.control(f"/reset?latency={CASES[-1].latency}")
                gather = Measurement(_order(server, CASES[-1], GATHER))
            self._memory()
            if self.wants("profile"):
                self._profile()
            if gather is not None:
                self._keep(server, CASES[-1], GATHER, 0, gather.result(GATHER.cap))

    def _memory(self) -> None:
        if not self.wants("memory"):
            return
        many = 100_000 if self._quick else 1_000_000
        for on_duplicate, count in (("send", 10_000), ("send", many), ("skip", many)):
            _say(f"memory: {count:,} requests, {on_duplicate}")
            order = {"kind": "memory", "requests": count, "on_duplicate": on_duplicate}
            record = {"on_duplicate": on_duplicate, "asked": count, **measure(order)}
            self.results["memory"].append(record)

    def _profile(self) -> None:
        _say("profiles")
        own = measure({"kind": "own-profile", "requests": 5_000})
        self.profiles.append(own.get("profile") or str(own))
        # A server of its own: the other one is in use, and its latency is another.
        with Server() as server:
            case = next(case for case in CASES if case.name == "c50-0ms")
            server.control(f"/reset?latency={case.latency}")
            title = f"ours, batch, {case.title}, 2,000 requests"
            measured = measure({**_order(server, case, Row("ours", 2_000)), "profile": title})
            self.profiles.append(measured.get("profile") or f"## {title}\n\n{measured.get('failed')}")


def _order(server: Server, case: Case, row: Row) -> dict[str, Any]:
    job = {
        "contender": row.contender,
        "concurrency": case.concurrency,
        "requests": row.requests,
        "cap": row.cap,
        "warm_up": case.concurrency if row.warm else 0,
        "loop": row.loop,
        "collector": case.collector,
        **server.job(tls=case.tls),
    }
    return {"kind": "load", "job": job}


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _write(directory: Path, run: _Run) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    stored = {**run.results, "bars": [bar.as_json() for bar in bars(run.results)]}
    (directory / "latest.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    (directory / "table.md").write_text(markdown(run.results), encoding="utf-8")
    (directory / "chart.svg").write_text(svg(run.results), encoding="utf-8")
    if run.profiles:
        text = "Where the time goes: cProfile's own times, its cost included. See own_work.py.\n\n"
        (directory / "profile.txt").write_text(text + "\n\n".join(run.profiles) + "\n", encoding="utf-8")
    if run.duplicates is not None:
        duplicate_table.write(directory, run.duplicates)


def _main() -> None:
    names = [*(case.name for case in CASES), *OTHER_PARTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the main rows only, shorter, one round")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[*names, *sorted({name.split("-", maxsplit=1)[0] for name in names} - set(names))],
        help=f"one part, and may be given again: {', '.join(names)}; c100 stands for all of c100-…",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (3; with --quick 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (a whole run: results/)")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds takes 1 or more")
    run = _Run(options)
    run.all()
    print(markdown(run.results))
    if run.duplicates is not None:
        print(duplicate_table.markdown(run.duplicates))
    out: Path | None = options.out
    if out is None and not (options.quick or options.only):
        out = _RESULTS
    if out is not None:
        _write(out, run)


if __name__ == "__main__":
    _main()
