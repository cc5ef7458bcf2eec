"""Run the stores' figures; see the package's docstring."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from ..machine import ROOT, environment
from .chaos import chaos
from .measures import keyed, throughput, two
from .processes import site

_KINDS: Final = ("sqlite", "redis", "postgres")
_PARTS: Final = ("throughput", "keyed", "two", "chaos")
_RESULTS: Final = ROOT / "benchmarks" / "results"


def _say(text: str) -> None:
    print(text, flush=True)


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in arguments.store or _KINDS:
        parts = found[kind] = {}
        for part in arguments.only or _PARTS:
            async with site(kind) as here:  # each with an empty store
                if part == "throughput":
                    parts[part] = await throughput(kind, here, arguments.rounds, arguments.rows, _say)
                elif part == "keyed":
                    parts[part] = await keyed(kind, here, 3, arguments.rows, _say)
                elif part == "two":
                    parts[part] = await two(kind, here, 3, arguments.rows, _say)
                else:
                    parts[part] = await chaos(kind, here, arguments.chaos_rows, arguments.rate, _say)
    return found


def _bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for parts in found.values() for part in parts.values() for one in part["bars"]]


def _table(found: dict[str, Any]) -> str:
    lines = [
        "| store | requests/s without | with | CPU µs/request without | added | of the server | two processes ÷ one | with a key: CPU µs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, parts in found.items():
        speed, both, key = parts["throughput"], parts["two"], parts["keyed"]
        lines.append(
            f"| {kind} | {speed['rate_without']:,.0f} | {speed['rate_with']:,.0f} | {speed['cpu_without']:.0f} | "
            f"{speed['cpu_added']:.0f} | {speed['server_cpu']:.0f} | {both['ratio']:.2f} | {key['cpu']:.0f} |"
        )
    lines += ["", "| bar | measured | |", "|---|---|---|"]
    lines += [
        f"| {one['what']} | {one['found']} | {'met' if one['holds'] else 'NOT MET'} |" for one in _bars(found)
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is asked for. Gives 0 where all bars are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores")
    parser.add_argument("--store", action="append", choices=_KINDS)
    parser.add_argument("--only", action="append", choices=_PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--chaos-rows", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=500.0, help="of the chaos, per second")
    arguments = parser.parse_args()
    found = asyncio.run(_run(arguments))
    for one in _bars(found):
        _say(f"{'met    ' if one['holds'] else 'NOT MET'}  {one['what']}: {one['found']}")
    if not (arguments.store or arguments.only):
        document = {"machine": environment(), "stores": found}
        Path(_RESULTS, "stores.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        Path(_RESULTS, "stores.md").write_text(_table(found), encoding="utf-8")
    return 0 if all(one["holds"] for one in _bars(found)) else 1


if __name__ == "__main__":
    sys.exit(main())
