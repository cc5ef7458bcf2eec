"""The stores' figures, on real servers and a gateway that counts what comes.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks.stores

A run takes about twenty minutes and writes `stores.json` and `stores.md` to benchmarks/results/. `--only throughput`,
`keyed`, `two` or `chaos` runs one part, and `--store sqlite` (`redis`, `postgres`) one store; these print only. The exit code
is 0 where all bars are met. `--rounds`, `--rows`, `--chaos-rows` and `--rate` (of the chaos, per second) change the size.

- throughput: a batch of 100 at a time against a gateway that answers after 50 ms, without and with a store, in five
  alternating rounds. CPU is the client's process; the server's stands apart.
- keyed: `request_pin` with an idempotency key through Redis, 100 at a time.
- two: two processes that send one file through one store, and one process.
- chaos: 4 processes send 20,000 rows at a shared rate; a random one is killed by SIGKILL every second and replaced at
  once, and the server, where there is one, is restarted once. At the gateway, no number may have two SMS, and each row
  has to be accounted for.

Redis has `appendonly yes` and `appendfsync always`; PostgreSQL its defaults, with `synchronous_commit`; SQLite this
machine's disk.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

from ..process import environment
from ..report import RESULTS, Bar, bar_table, options, print_bars, table, write
from .chaos import chaos
from .measures import keyed, site, throughput, two

_KINDS: Final = ("sqlite", "redis", "postgres")
_PARTS: Final = {"throughput": throughput, "keyed": keyed, "two": two}
_FIGURES: Final = {
    "rate_without": "requests/s without",
    "rate_with": "with",
    "cpu_without": "CPU µs/request without",
    "cpu_added": "added",
    "server_cpu": "of the server",
}


def _markdown(found: dict[str, Any], bars: list[Bar]) -> str:
    head = ["store", *_FIGURES.values(), "two processes ÷ one", "with a key: CPU µs"]
    rows = [
        [
            kind,
            *(f"{parts['throughput'][name]:,.0f}" for name in _FIGURES),
            f"{parts['two']['ratio']:.2f}",
            f"{parts['keyed']['cpu']:.0f}",
        ]
        for kind, parts in found.items()
    ]
    return f"{table(head, rows)}\n\n{bar_table(bars)}\n"


def main(words: Sequence[str]) -> int:
    asked = options(
        *("benchmarks.stores", __doc__, words),
        store=_KINDS,
        only=(*_PARTS, "chaos"),
        rounds=5,
        rows=8000,
        chaos_rows=20_000,
        rate=500.0,
    )
    found: dict[str, Any] = {}
    for kind in asked.store or _KINDS:
        found[kind] = {}
        for part in asked.only or (*_PARTS, "chaos"):
            with site(kind) as here:  # each with an empty store
                if part == "chaos":
                    found[kind][part] = chaos(kind, here, asked.chaos_rows, asked.rate)
                else:
                    rounds = asked.rounds if part == "throughput" else min(3, asked.rounds)
                    found[kind][part] = _PARTS[part](kind, here, rounds, asked.rows)
    bars = [bar for parts in found.values() for part in parts.values() for bar in part["bars"]]
    status = print_bars(bars)
    if not (asked.store or asked.only):
        document = {"machine": environment(), "stores": found}
        write(RESULTS, {"stores.json": document, "stores.md": _markdown(found, bars)})
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
