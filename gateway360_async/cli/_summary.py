"""Say how a batch ended, by a table or an object, and how to go on.

Invariants:

- The gateway's texts are printed as they are: never as markup, and never as a terminal's command.
- How to go on is a command that can be pasted, and true: it leaves out nothing that has no result. If no
  command is certain to be right, none is given: a wrong one sends a second SMS, or none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway360_async import ApiError, TransportFailure
from gateway360_async._config import STORE_VARIABLE
from gateway360_async._redaction import printable

from ._audit import Audit, Outcome, outcome_of
from ._batch_options import BatchOptions, argument, free_name, quoted
from ._problems import FAILED, HALTED, INTERRUPTED, TERMINATED
from ._progress import STYLES
from ._results import as_json
from ._words import a_second, count, duration, share

__all__ = ["Summary", "advice", "counts_object", "show_summary", "summary_object"]

_WITH_STORE = "With --store FILE, the same command goes on by itself."


@attrs.frozen
class Summary:
    """How a batch ended.

    Args:
        code: The exit code.
        elapsed: Seconds that it took.
        halted_by: The error that halted it, or `None`.
        problems: The reasons why it broke off, and the results that could not be written, a line each.
        completed_to: The last line of the input that has its result, with all before it; 0: none.
        headed_by: The lines at the top of the input that are no entries.
        can_be_cut: Whether `head` and `tail` count the input's lines as they were counted here, and find them again.
        report: The page that was written, or `None`.
    """

    code: int
    elapsed: float
    halted_by: ApiError | TransportFailure | None = None
    problems: list[str] = attrs.field(factory=list)
    completed_to: int = 0
    headed_by: int = 0
    can_be_cut: bool = False
    report: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it."""
        return self.code in (INTERRUPTED, TERMINATED)

    def with_problem(self, problem: str) -> Summary:
        """Add a problem; it is not all well then."""
        return attrs.evolve(self, code=self.code or FAILED, problems=[*self.problems, problem])


def show_summary(console: Console, audit: Audit, elapsed: float) -> None:
    """Print a table with a row for each reason, and the times below it."""
    # The rate is of this run's calls; of less than a second it says nothing.
    calls = audit.durations.total
    rate = f" ({a_second(calls / elapsed)} calls a second)" if calls and elapsed >= 1 else ""
    table = Table(
        title=f"{count(audit.total)} entries in {duration(elapsed)}{rate}",
        title_justify="left",
        title_style="bold" if console.is_terminal else "",
        show_footer=True,
        box=box.ROUNDED if console.is_terminal else None,
        padding=(0, 1) if console.is_terminal else (0, 2, 0, 0),
    )
    table.add_column("result", footer="total", no_wrap=True)
    table.add_column("why")
    table.add_column("the SMS", no_wrap=True)
    table.add_column("entries", justify="right", footer=count(audit.total), no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for reason, number in sorted(audit.reasons.items()):
        name, why, disposition = reason
        happened = disposition.replace("_", " ")
        cells = (name, printable(why), happened, count(number), share(number, audit.total))
        table.add_row(*map(Text, cells), style=STYLES[outcome_of(*reason)])
    console.print(table)
    if audit.sent_before:
        console.print(f"{count(audit.sent_before)} of these SMS were sent before this run")
    if named := audit.durations.named():
        times = (
            f"time to a result: median {duration(named['median'])}, 95 % within {duration(named['p95'])}, "
            f"the slowest {duration(named['most'])}"
        )
        repeated = f"; {count(audit.repeated)} were tried more than once" if audit.repeated else ""
        console.print(f"{times}{repeated}", highlight=False, soft_wrap=True)


def counts_object(audit: Audit, elapsed: float) -> dict[str, Any]:
    """Make an object of the counts, for a program; durations in seconds."""
    by: dict[str, Counter[str]] = {"ApiError": Counter(), "TransportFailure": Counter(), "Skipped": Counter()}
    for (name, why, _), number in audit.reasons.items():
        if name in by:
            by[name][why] += number
    return {
        "entries": audit.total,
        **{outcome.name.lower(): audit.outcomes[outcome] for outcome in Outcome},
        "sent_before": audit.sent_before,
        "by_error_id": by["ApiError"],
        "by_kind": by["TransportFailure"],
        "by_reason": by["Skipped"],
        "elapsed": round(elapsed, 6),
        "per_second": round(audit.total / elapsed, 3) if elapsed > 0 else None,
        "latency": {name: round(value, 6) for name, value in audit.durations.named().items()},
        "tried_more_than_once": audit.repeated,
    }


def summary_object(audit: Audit, summary: Summary, options: BatchOptions) -> dict[str, Any]:
    """Make the summary of a batch, for a program."""
    goes_on = options.store is not None and (summary.interrupted or summary.code == HALTED)
    return counts_object(audit, summary.elapsed) | {
        "interrupted": summary.interrupted,
        "halted_by": None if summary.halted_by is None else as_json(summary.halted_by),
        "problems": summary.problems,
        "completed_to_line": summary.completed_to,
        "go_on_with": options.command() if goes_on else None,
        "results": None if options.out == "-" else options.out,
        "report": summary.report,
        "exit_code": summary.code,
    }


def advice(options: BatchOptions, audit: Audit, summary: Summary) -> list[str]:
    """Say how to go on, in lines; none for a batch that was finished."""
    halted, maybe = summary.code == HALTED, audit.outcomes[Outcome.MAYBE_SENT]
    if not halted and not summary.interrupted:
        return []
    if options.store is not None:
        lines: list[str] = []
        if maybe:
            lines.append(
                f"{count(maybe)} may have been sent. Going on leaves them alone; with --resend-maybe-sent it sends "
                "them again, a second SMS each."
            )
        same = ", with the same input" if options.file == "-" else ""
        after = "When that is put right, go on with:" if halted else f"To go on where it stopped{same}:"
        lines += [after, f"  {options.command()}"]
        if options.store_is_secret:
            lines.append(f"{STORE_VARIABLE} stands for the store's URL, which is not shown.")
        return lines
    if halted and not audit.outcomes[Outcome.SENT] and not maybe:
        return ["Nothing was sent. When that is put right, give the same command again."]
    if not audit.total:
        return ["Nothing was begun: the same command begins anew."]
    return _without_store(options, maybe, summary)


def _without_store(options: BatchOptions, maybe: int, summary: Summary) -> list[str]:
    last = summary.completed_to
    place = " in the output" if options.out == "-" else f" in {printable(options.out or '')}"
    kept = ", which only --out FILE keeps" if options.out is None else place
    lines = [
        (
            f"No store was given, so the same command would send to every number again. Every line up to {last} has its "
            f"result{kept}; nothing after it was begun."
        )
    ]
    if maybe:
        lines.append(
            f"{count(maybe)} of them may have been sent (maybe_sent): another PIN would void the first."
        )
    if options.file == "-":
        return [*lines, _WITH_STORE]
    if not summary.can_be_cut:
        lines.append(
            f"Line {last} is the last one with a result, where each line break counts, a carriage return alone, too: "
            "head and tail may count otherwise. Take what comes after it from the file by hand. "
            "With --store FILE from the start, the same command goes on by itself."
        )
        return lines
    rest = free_name("rest.csv" if summary.headed_by else "rest.txt")
    name = quoted(argument(options.file))
    tail = f"tail -n +{last + 1} {name}"
    if summary.headed_by:
        tail = f"{{ head -n {summary.headed_by} {name}; {tail}; }}"
    command = attrs.evolve(options, file=rest, store=free_name("rest.db")).command()
    lines += ["To go on with the rest:", f"  {tail} > {quoted(rest)}", f"  {command}"]
    if options.on_duplicate == "skip":
        lines.append(f"A number of the rest that is in the lines up to {last}, too, would get a second SMS.")
    return [*lines, _WITH_STORE]
