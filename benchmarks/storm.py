"""Run the random storm of faults whole, and print its figures.

    python -m benchmarks.storm [EXCHANGES]

It is the test `tests/faults/test_random.py`, with 40,000 exchanges for each transport, half of them over TLS, where
the tests have a few seconds' worth. It takes up to an hour, most of it in httpx's connection pool, and fails as the
test does: at the first false disposition, crossed answer, second SMS or leaked connection.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from . import ROOT
from .report import options


def main(words: Sequence[str]) -> int:
    exchanges = options("benchmarks.storm", __doc__, words, EXCHANGES=40_000).EXCHANGES
    command = [sys.executable, "-m", "pytest", "-q", "tests/faults/test_random.py"]
    environment = {**os.environ, "GATEWAY360_FAULT_EXCHANGES": str(exchanges)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
