"""The results as tables, for the terminal and for the README.

Rules of this module:

- Medians over the rounds, and for the rate the lowest and the highest as well. Nothing is left out: a row
  that failed, had errors, or was cut short says so.
- Text is made from the raw results alone, so that a stored run can be shown again.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection
from typing import Any, Final

from .bars import bars, values
from .plan import CASES, LABELS

__all__ = ["markdown"]

_COLUMNS: Final = (
    ("rate", "requests/s", "{:,.0f}"),
    ("cpu_us", "CPU µs/request", "{:,.0f}"),
    ("p50_ms", "p50 ms", "{:,.1f}"),
    ("p99_ms", "p99 ms", "{:,.1f}"),
    ("lag_p99_ms", "p99 lag ms", "{:,.1f}"),
    ("peak_bytes", "peak MiB", "{:,.0f}"),
    ("connections", "connections", "{:,.0f}"),
)


def markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    cases = [text for case in CASES if (text := _case(results, case.name, case.title))]
    parts = [_heading(results), _bars(results), *cases, _own(results), _memory(results), _imports(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(results: dict[str, Any]) -> str:
    env = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items() if version)
    kind = " A shortened run (`--quick`): look, do not quote." if results["quick"] else ""
    return (
        f"{env['python']} on {env['system']}, {env['cores']} cores, loopback; {_rounds(results)}, "
        f"{results['seconds']:,.0f} s in all.{kind} {versions}. "
        "Medians; in brackets the lowest and the highest round. "
        f"Spin: {min(results['spin_ms']):.0f}–{max(results['spin_ms']):.0f} ms."
    )


def _rounds(results: dict[str, Any]) -> str:
    return "1 round" if results["rounds"] == 1 else f"{results['rounds']} rounds"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(head: list[str], rows: list[list[str]], words: Collection[int] = (0,)) -> str:
    """A table whose columns `words` hold words, and the others numbers."""
    rule = ["---" if at in words else "---:" for at in range(len(head))]
    return "\n".join(_row(cells) for cells in (head, rule, *rows))


def _bars(results: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    for bar in bars(results):
        bound = f"{'≤' if bar.at_most else '≥'} {bar.bound:g} {bar.unit}"
        measured = "–"
        if bar.median is not None:
            measured = f"{_short(bar.median)} {bar.unit}"
            if len(bar.found) > 1:
                measured += f" ({_short(min(bar.found))}–{_short(max(bar.found))})"
        rows.append([bar.what, bound, measured, f"**{bar.verdict}**", bar.note])
    return "### The bars\n\n" + _table(["what", "bound", "measured", "", "note"], rows, words=(0, 3, 4))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _case(results: dict[str, Any], name: str, title: str) -> str:
    keys = dict.fromkeys(
        (record["contender"], record["loop"]) for record in results["load"] if record["case"] == name
    )
    if not keys:
        return ""
    head = ["", "loop", *(column for _, column, _ in _COLUMNS), ""]
    rows = [_cells(results, name, contender, loop) for contender, loop in keys]
    return f"### {title}\n\n{_table(head, rows, words=(0, 1, 9))}"


def _cells(results: dict[str, Any], case: str, contender: str, loop: str) -> list[str]:
    label = [LABELS[contender], "stock" if loop == "asyncio" else loop]
    records = [
        record
        for record in results["load"]
        if (record["case"], record["contender"], record["loop"]) == (case, contender, loop)
    ]
    cells: list[str] = []
    for metric, _, form in _COLUMNS:
        found = list(values(results, case, contender, loop, metric).values())
        if metric == "peak_bytes":
            found = [value / 2**20 for value in found]
        if not found:
            cells.append("–")
            continue
        cell = form.format(statistics.median(found))
        if metric == "rate" and len(found) > 1:
            cell += f" ({form.format(min(found))}–{form.format(max(found))})"
        cells.append(cell)
    return [*label, *cells, _remarks(records)]


def _remarks(records: list[dict[str, Any]]) -> str:
    """What is to be known of a row besides its numbers."""
    said: dict[str, None] = {}
    for record in records:
        for word, name in (("not_available", "not available"), ("failed", "failed")):
            if word in record:
                said[f"{name}: {record[word]}"] = None
        for error, count in record.get("errors", {}).items():
            said[f"{count} × {error}"] = None
        if record.get("capped"):
            said["cut short"] = None
        if record.get("warm_up") == 0:
            said["connecting included"] = None
    return "; ".join(said)


def _own(results: dict[str, Any]) -> str:
    found = [record for record in results["own"] if "batch_us" in record]
    if not found:
        return ""
    rows: list[list[str]] = []
    for metric, name in (("request_pin_us", "`request_pin`, one after the other"), ("batch_us", "`batch`")):
        cpu = [record[metric] for record in found]
        rows.append([name, f"{statistics.median(cpu):.1f} ({min(cpu):.1f}–{max(cpu):.1f})"])
    return "### Our own work, null transport\n\n" + _table(["", "CPU µs/request"], rows)


def _memory(results: dict[str, Any]) -> str:
    rows = [
        [
            f"`{record['on_duplicate']}`",
            f"{record['asked']:,}",
            f"{record['peak_bytes'] / 2**20:,.1f}",
            f"{record['growth_bytes'] / 2**20:,.2f}",
        ]
        for record in results["memory"]
        if "peak_bytes" in record
    ]
    if not rows:
        return ""
    head = ["`on_duplicate`", "requests", "peak MiB", "of which the batch"]
    return "### Memory of a batch, null transport\n\n" + _table(head, rows)


def _imports(results: dict[str, Any]) -> str:
    if not results["imports"]:
        return ""
    rows = [
        [f"`{statement}`", f"{statistics.median(times) * 1e3:,.0f}", f"{min(times) * 1e3:,.0f}–{max(times) * 1e3:,.0f}"]
        for statement, times in results["imports"].items()
    ]  # fmt: skip
    return "### Imports, in fresh interpreters\n\n" + _table(["", "median ms", "lowest–highest"], rows)
