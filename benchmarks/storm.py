"""Run the random storm of faults whole, and print its figures.

    python -m benchmarks.storm [EXCHANGES]

It is the test `tests/faults/test_random.py`, with 40,000 exchanges for each transport, half of them over TLS, where
the tests have a few seconds' worth. It takes up to an hour, most of it in httpx's connection pool, and fails as the
test does: at the first false disposition, crossed answer, second SMS or leaked connection.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Run the test in a process of its own, and give its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm")
    parser.add_argument("exchanges", nargs="?", type=int, default=40_000, help="for each transport")
    exchanges = parser.parse_args().exchanges
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/faults/test_random.py"],
        cwd=ROOT,
        env={**os.environ, "GATEWAY360_FAULT_EXCHANGES": str(exchanges)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
