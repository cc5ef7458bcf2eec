"""The command: run the parts, print them, and write them."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from gateway360_async.cli._fleet_processes import require_redis
from gateway360_async.cli._problems import UsageProblem

from ..machine import ROOT, environment
from . import __doc__ as about
from .chaos import Chaos, chaos
from .doubles import doubles
from .rate import rate
from .table import PARTS, markdown, write
from .throughput import throughput

_RESULTS: Final = ROOT / "benchmarks" / "results"
_RATE_SECONDS: Final = 20.0
_PACKAGES: Final = ("httptools", "hiredis", "redis", "taskiq", "taskiq-redis", "uvloop")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _environment() -> dict[str, Any]:
    found = environment()
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    said = subprocess.run([require_redis(), "--version"], capture_output=True, text=True, check=True)
    version = next(word for word in said.stdout.split() if word.startswith("v="))
    return {**found, "versions": versions, "redis": version.removeprefix("v=")}


async def _all(options: argparse.Namespace) -> dict[str, Any]:
    wanted: list[str] = options.only or [*PARTS]
    results: dict[str, Any] = {"environment": _environment()}
    began = time.monotonic()
    if "chaos" in wanted:
        plan = Chaos(workers=options.workers, requests=options.requests, rate=options.rate, seed=options.seed)
        results["chaos"] = await chaos(plan, _say)
    if "rate" in wanted:
        results["rate"] = await rate(options.workers, options.rate, _RATE_SECONDS, _say)
    if "doubles" in wanted:
        results["doubles"] = await doubles(options.doubles, _say)
    if "throughput" in wanted:
        results["throughput"] = await throughput(options.throughput, options.rounds, _say)
    results["seconds"] = time.monotonic() - began
    return results


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", metavar="PART", choices=PARTS, help=f"one part: {', '.join(PARTS)}"
    )
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="workers of chaos and rate (4)")
    parser.add_argument(
        "--requests", type=int, default=20_000, metavar="N", help="requests of chaos (20,000)"
    )
    parser.add_argument(
        "--rate", type=float, default=250.0, metavar="N", help="the rate a second of both (250)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="for who is killed (1)")
    parser.add_argument(
        "--doubles", type=int, default=1_000, metavar="N", help="tasks that are delivered twice (1,000)"
    )
    parser.add_argument(
        "--throughput", type=int, default=10_000, metavar="N", help="requests a row of throughput (10,000)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of throughput (3)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (a run of all parts: results/)"
    )
    options = parser.parse_args()
    try:
        results = asyncio.run(_all(options))
    except UsageProblem as exc:
        parser.error(str(exc))
    out: Path | None = options.out
    if out is None and not options.only:
        out = _RESULTS
    if out is not None:
        write(out, results)
    print(markdown(results))
    held = all(bar["holds"] for part in PARTS for bar in results.get(part, {}).get("bars", []))
    sys.exit(not held)


if __name__ == "__main__":
    _main()
