"""What a batch ends with: a table for people, an object for programs, and how to go on.

Rules of this module:

- What the gateway said is printed as it is: never as markup, and never as a terminal's command.
- How to go on is a command that can be pasted, and true: it leaves out nothing that has no result. Where
  none is certain to be right, none is given: a wrong one sends a second SMS, or none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway360_async import ApiError, Disposition, TransportFailure
from gateway360_async._config import STORE_VARIABLE
from gateway360_async._redaction import printable

from ._options import BatchOptions, argument, free_name, quoted
from ._problems import FAILED, HALTED, INTERRUPTED, TERMINATED
from ._show import as_json
from ._stats import Fate, Histogram, Outcomes, Statistics
from ._words import a_second, count, duration, share

__all__ = ["Ending", "advice", "counts_object", "latencies", "show_summary", "summary_object", "table_of"]

_STYLES: Final = {
    Disposition.SENT: "green",
    Disposition.NOT_SENT: "yellow",
    Disposition.MAYBE_SENT: "red",
}
_QUANTILES: Final = (("median", 0.5), ("p95", 0.95), ("p99", 0.99))


@attrs.frozen
class Ending:
    """How a batch ended.

    Args:
        code: The exit code.
        elapsed: Seconds that it took.
        halted_by: The error that halted it, or `None`.
        problems: What broke it off, the input or the store say, and what could not be written, a line each.
        completed_to: The last line of the input that has its result, with all before it; 0: none.
        headed_by: The lines at the top of the input that are no entries.
        can_be_cut: Whether `head` and `tail` count the input's lines as they were counted here, and find them again.
    """

    code: int
    elapsed: float
    halted_by: ApiError | TransportFailure | None = None
    problems: list[str] = attrs.field(factory=list)
    completed_to: int = 0
    headed_by: int = 0
    can_be_cut: bool = False

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it."""
        return self.code in (INTERRUPTED, TERMINATED)

    def with_problem(self, problem: str) -> Ending:
        """The same, with one more problem; it is not all well then."""
        return attrs.evolve(self, code=self.code or FAILED, problems=[*self.problems, problem])


def latencies(histogram: Histogram) -> dict[str, float]:
    """Name the durations that say most, in seconds; nothing where there was no call."""
    if not histogram.total:
        return {}
    named = {"least": histogram.least}
    named |= {name: histogram.quantile(fraction) for name, fraction in _QUANTILES}
    return named | {"most": histogram.most}


def show_summary(console: Console, statistics: Statistics, ending: Ending) -> None:
    """Print the table, and the times below it."""
    console.print(table_of(statistics.outcomes, title(statistics, ending.elapsed), console))
    if statistics.sent_before:
        console.print(f"{count(statistics.sent_before)} of these SMS were sent before this run")
    named = latencies(statistics.all_latencies)
    if named:
        times = (
            f"time to a result: median {duration(named['median'])}, 95 % within {duration(named['p95'])}, "
            f"the slowest {duration(named['most'])}"
        )
        repeated = f"; {count(statistics.repeated)} were tried more than once" if statistics.repeated else ""
        console.print(f"{times}{repeated}", highlight=False, soft_wrap=True)


def title(statistics: Statistics, elapsed: float) -> str:
    """Say how many there were, how long it took, and the rate of this run's calls, which says nothing of a second."""
    calls = statistics.all_latencies.total
    rate = f" ({a_second(calls / elapsed)} calls a second)" if calls and elapsed >= 1 else ""
    return f"{count(statistics.total)} entries in {duration(elapsed)}{rate}"


def table_of(outcomes: Outcomes, title: str, console: Console) -> Table:
    """Make the summary: one row an outcome, the sum below; without a frame where no terminal is."""
    total = outcomes.total()
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold" if console.is_terminal else "",
        show_footer=True,
        box=box.ROUNDED if console.is_terminal else None,
        padding=(0, 1) if console.is_terminal else (0, 2, 0, 0),
    )
    table.add_column("result", footer="total", no_wrap=True)
    table.add_column("why")
    table.add_column("the SMS", no_wrap=True)
    table.add_column("entries", justify="right", footer=count(total), no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for (name, reason, disposition), number in sorted(outcomes.items()):
        happened = str(disposition).replace("_", " ")
        cells = (name, printable(reason), happened, count(number), share(number, total))
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES[disposition])
    return table


def counts_object(statistics: Statistics, ending: Ending) -> dict[str, Any]:
    """Make an object of the counts, for a program; durations in seconds."""
    by: dict[str, Counter[str]] = {"ApiError": Counter(), "TransportFailure": Counter(), "Skipped": Counter()}
    for (name, reason, _), number in statistics.outcomes.items():
        if name in by:
            by[name][reason] += number
    elapsed = ending.elapsed
    return {
        "entries": statistics.total,
        **{fate.name.lower(): statistics.fates[fate] for fate in Fate},
        "sent_before": statistics.sent_before,
        "by_error_id": by["ApiError"],
        "by_kind": by["TransportFailure"],
        "by_reason": by["Skipped"],
        "elapsed": round(elapsed, 6),
        "per_second": round(statistics.total / elapsed, 3) if elapsed > 0 else None,
        "latency": {name: round(value, 6) for name, value in latencies(statistics.all_latencies).items()},
        "tried_more_than_once": statistics.repeated,
    }


def summary_object(statistics: Statistics, ending: Ending, options: BatchOptions) -> dict[str, Any]:
    """Make the summary of a batch, for a program."""
    return counts_object(statistics, ending) | {
        "interrupted": ending.interrupted,
        "halted_by": None if ending.halted_by is None else as_json(ending.halted_by),
        "problems": ending.problems,
        "completed_to_line": ending.completed_to,
        "go_on_with": _goes_on(options, ending),
        "results": None if options.out == "-" else options.out,
        "report": options.report,
        "exit_code": ending.code,
    }


def _goes_on(options: BatchOptions, ending: Ending) -> str | None:
    """The command that goes on with a batch that was not finished, if a store makes one possible."""
    unfinished = ending.interrupted or ending.code == HALTED
    return options.command() if unfinished and options.store is not None else None


def advice(options: BatchOptions, statistics: Statistics, ending: Ending) -> list[str]:
    """Say how to go on, in lines; none for a batch that was finished."""
    command = _goes_on(options, ending)
    if ending.code == HALTED:
        return _after_halt(options, statistics, ending, command)
    if not ending.interrupted:
        return []
    if command is None:
        return _without_store(options, statistics, ending)
    same = ", with the same input" if options.file == "-" else ""
    return [
        *_maybe_sent(statistics),
        f"To go on where it stopped{same}:",
        f"  {command}",
        *_of_store(options),
    ]


def _of_store(options: BatchOptions) -> list[str]:
    """Say what the command leaves out."""
    return (
        [f"{STORE_VARIABLE} stands for the store's URL, which is not shown."]
        if options.store_is_secret
        else []
    )


def _maybe_sent(statistics: Statistics) -> list[str]:
    number = statistics.fates[Fate.MAYBE_SENT]
    if not number:
        return []
    return [
        (
            f"{count(number)} may have been sent. Going on leaves them alone; with --resend-maybe-sent it sends them "
            "again, a second SMS each."
        )
    ]


def _after_halt(
    options: BatchOptions, statistics: Statistics, ending: Ending, command: str | None
) -> list[str]:
    if command is None and not (statistics.fates[Fate.SENT] or statistics.fates[Fate.MAYBE_SENT]):
        return ["Nothing was sent. When that is put right, give the same command again."]
    if command is None:
        return _without_store(options, statistics, ending)
    return [
        *_maybe_sent(statistics),
        "When that is put right, go on with:",
        f"  {command}",
        *_of_store(options),
    ]


def _without_store(options: BatchOptions, statistics: Statistics, ending: Ending) -> list[str]:
    if not statistics.total:
        return ["Nothing was begun: the same command begins anew."]
    last = ending.completed_to
    lines = [
        (
            f"No store was given, so the same command would send to everybody again. Every line up to {last} has its "
            f"result{_place(options)}; nothing after it was begun."
        )
    ]
    if statistics.fates[Fate.MAYBE_SENT]:
        lines.append(
            f"{count(statistics.fates[Fate.MAYBE_SENT])} of them may have been sent (maybe_sent): another PIN "
            "would void the first."
        )
    if options.file == "-":
        lines.append("With --store FILE, the same command goes on by itself.")
    elif ending.can_be_cut:
        name = free_name("rest.csv" if ending.headed_by else "rest.txt")
        rest = attrs.evolve(options, file=name, store=free_name("rest.db"))
        lines += ["To go on with the rest:", f"  {_tail(options.file, name, ending)}", f"  {rest.command()}"]
        if options.on_duplicate == "skip":
            lines.append(
                f"A number of the rest that is in the lines up to {last}, too, would get a second SMS."
            )
        lines.append("With --store FILE, the same command goes on by itself.")
    else:
        lines.append(
            f"Line {last} is the last one with a result, where each line break counts, a carriage return alone, too: "
            "head and tail may count otherwise. Take what comes after it from the file by hand. "
            "With --store FILE from the start, the same command goes on by itself."
        )
    return lines


def _place(options: BatchOptions) -> str:
    if options.out is None:
        return ", which only --out FILE keeps"
    return " in the output" if options.out == "-" else f" in {printable(options.out)}"


def _tail(file: str, rest: str, ending: Ending) -> str:
    """The shell's way to leave out the lines that have their results."""
    name = quoted(argument(file))
    after = f"tail -n +{ending.completed_to + 1} {name}"
    if ending.headed_by:
        after = f"{{ head -n {ending.headed_by} {name}; {after}; }}"
    return f"{after} > {quoted(rest)}"
