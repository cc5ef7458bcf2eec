"""Results for people and for programs: JSON lines, a progress bar, a table."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias, assert_never

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway360_async import ApiError, BatchResult, Disposition, Ok, Skipped, TransportFailure

__all__ = ["Outcomes", "as_json", "progress_on", "table_of", "why"]

Outcomes: TypeAlias = Counter[tuple[str, str, Disposition]]
"""Entries by the result's class, why, and what happened to the SMS."""

_STYLES = {Disposition.SENT: "green", Disposition.NOT_SENT: "yellow", Disposition.MAYBE_SENT: "red"}


def why(result: BatchResult) -> str:
    """Say in one word why a result is what it is; nothing for `Ok`."""
    match result:
        case Ok():
            return ""
        case ApiError():
            return str(result.error_id)
        case TransportFailure():
            return str(result.kind)
        case Skipped():
            return str(result.reason)
        case _:
            assert_never(result)


def as_json(result: BatchResult) -> dict[str, Any]:
    """Make a result's JSON object: its class, what happened to the SMS, and its fields."""
    fields: dict[str, Any] = {"result": type(result).__name__, "disposition": str(result.disposition)}
    match result:
        case Ok():
            pass
        case ApiError():
            fields |= {
                "error_id": str(result.error_id),
                "error_msg": result.error_msg,
                "scope": str(result.scope),
                "http_status": result.http_status,
            }
        case TransportFailure():
            fields |= {"kind": str(result.kind), "http_status": result.http_status, "detail": result.detail}
        case Skipped():
            fields |= {"reason": str(result.reason), "detail": result.detail}
            return fields if result.result is None else fields | {"earlier": as_json(result.result)}
        case _:
            assert_never(result)
    return fields | {"attempts": result.attempts, "elapsed": round(result.elapsed, 6)}


def progress_on(console: Console) -> Progress:
    """Make a progress bar; it stays away where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def table_of(outcomes: Outcomes, title: str) -> Table:
    """Make the summary: one row an outcome, the sum below."""
    table = Table(title=title, show_footer=True)
    table.add_column("result", footer="total")
    table.add_column("why")
    table.add_column("the SMS")
    table.add_column("entries", justify="right", footer=str(outcomes.total()))
    for (name, reason, disposition), count in sorted(outcomes.items()):
        happened = str(disposition).replace("_", " ")
        table.add_row(name, reason, happened, str(count), style=_STYLES[disposition])
    return table
