"""The command: make the table, print it, and write it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from ..machine import ROOT
from . import __doc__ as about
from .run import run
from .table import markdown, write

_RESULTS: Final = ROOT / "benchmarks" / "results"


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.duplicates",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, metavar="DIR", default=_RESULTS, help="where to write (results/)")
    options = parser.parse_args()
    results = run(lambda what: print(what, file=sys.stderr, flush=True))
    write(options.out, results)
    print(markdown(results))


if __name__ == "__main__":
    _main()
