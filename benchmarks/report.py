"""The command line and the results of every benchmark: options in; bars, tables in markdown and files out."""

import argparse
import json
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from . import ROOT

RESULTS: Final = ROOT / "benchmarks" / "results"


def options(name: str, doc: str | None, words: Sequence[str], **defaults: Any) -> argparse.Namespace:
    """Parse a command line: an option is of its default's type, a tuple holds words to choose from, any number of them.

    A name in capitals is a positional argument.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=doc, formatter_class=form)
    for option, default in defaults.items():
        flag = f"--{option.replace('_', '-')}"
        if option.isupper():
            parser.add_argument(option, nargs="?", type=type(default), default=default)
        elif isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, tuple):
            parser.add_argument(flag, action="append", default=[], choices=default, help="may be given again")
        else:
            parser.add_argument(flag, type=type(default), default=default, help=f"default: {default}")
    return parser.parse_args(words)


@attrs.frozen
class Bar:
    """One bar that we set ourselves: `met` is `None` where it was not measured, `found` has one value per round."""

    what: str
    met: bool | None
    measured: str
    bound: str = ""
    note: str = ""
    found: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """The word for a table."""
        return {True: "MET", False: "NOT MET", None: "not measured"}[self.met]


def bounded(
    what: str, bound: float, unit: str, found: Iterable[float], *, at_most: bool = False, note: str = ""
) -> Bar:
    """Hold the median of the values, one per round and unrounded, against a bound; at least, or at most."""
    values = tuple(found)
    limit = f"{'≤' if at_most else '≥'} {bound:g} {unit}"
    if not values:
        return Bar(what, None, "–", limit, note or "not measured in this run")
    median = statistics.median(values)
    measured = f"{_short(median)} {unit}"
    if len(values) > 1:
        measured += f" ({_short(min(values))}–{_short(max(values))})"
    return Bar(what, median <= bound if at_most else median >= bound, measured, limit, note, values)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)) -> str:
    """Return a table whose columns `words` hold words, and the others numbers."""
    rule = ["---" if at in words else "---:" for at in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def bar_table(bars: Iterable[Bar]) -> str:
    """Return the bars as a table."""
    rows = [[bar.what, bar.bound, bar.measured, f"**{bar.verdict}**", bar.note] for bar in bars]
    return table(["what", "bound", "measured", "", "note"], rows, words=(0, 3, 4))


def print_bars(bars: Iterable[Bar]) -> int:
    """Print a line per bar. Return the exit status: 1 where one is missed."""
    missed = 0
    for bar in bars:
        print(
            f"{bar.verdict:8} {bar.what}{bar.bound and f', {bar.bound}'}: {bar.measured}{bar.note and f' ({bar.note})'}"
        )
        missed |= bar.met is False
    return missed


def write(directory: Path, files: Mapping[str, str | dict[str, Any]]) -> None:
    """Write files by their names: text as it is, all else as JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = (
            content
            if isinstance(content, str)
            else json.dumps(content, indent=1, default=attrs.asdict) + "\n"
        )
        (directory / name).write_text(text, encoding="utf-8")
