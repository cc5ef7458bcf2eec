"""The table of the fault matrix, at the end of a run.

Whole where the run was asked for these tests (`pytest tests/faults`) or is verbose, and a line otherwise.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
from support.faults.scenes import LAYERS, TRANSPORTS

_VERDICTS = ("passed", "failed", "error")
_LEFT_OUT = "-"


@attrs.define
class _Line:
    """A row of the table: what the tests of a fault have left in their reports."""

    group: str
    phase: str
    said: str
    outcome: tuple[int, int] | None = None
    marks: dict[tuple[str, str], str] = attrs.field(factory=dict)
    """By transport and layer."""

    def note(self, mode: str, layer: str, outcome: tuple[int, int] | None) -> None:
        self.marks[mode, layer] = "F" if outcome is None else "+"
        if outcome is not None and (self.outcome is None or mode == TRANSPORTS[0]):
            self.outcome = outcome

    def marks_of(self, mode: str) -> str:
        return "".join(self.marks.get((mode, layer), _LEFT_OUT) for layer in LAYERS)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines: dict[str, _Line] = {}
    figures: list[str] = []
    for report in (report for verdict in _VERDICTS for report in terminalreporter.stats.get(verdict, ())):
        properties = getattr(report, "user_properties", ())
        figures += [value for name, value in properties if name == "figures"]
        if properties and properties[0][0] == "row":
            group, fault, phase, said = properties[0][1]
            lines[fault] = _Line(group, phase, said)
            for _, run in properties[1:]:
                lines[fault].note(*run)
    if not lines and not figures:
        return
    terminalreporter.section("faults")
    if lines:
        whole = config.option.verbose > 0 or any("faults" in argument for argument in config.args)
        for text in (*(_table(lines) if whole else ()), *_totals(lines)):
            terminalreporter.write_line(text)
    for text in figures:
        terminalreporter.write_line(text)


def _columns(cells: Any) -> str:
    return "  ".join(f"{cell:{len(mode)}}" for mode, cell in zip(TRANSPORTS, cells, strict=True)).rstrip()


def _totals(lines: dict[str, _Line]) -> list[str]:
    counts = Counter(
        (line.group, mode, mark) for line in lines.values() for (mode, _), mark in line.marks.items()
    )
    shown = [f"{'runs that hold':40} {_columns(TRANSPORTS)}"]
    for group in dict.fromkeys(line.group for line in lines.values()):
        both = [(counts[group, mode, "+"], counts[group, mode, "F"]) for mode in TRANSPORTS]
        shown.append(f"{group:40} {_columns(f'{held}/{held + failed}' for held, failed in both)}")
    return shown


def _table(lines: dict[str, _Line]) -> list[str]:
    shown = [
        f"each transport: {', '.join(LAYERS)}; + held, F failed, {_LEFT_OUT} left out",
        f"{'fault':56} {'phase':14} {'the client says':16} {'tries':>5} {'POSTs':>5}  {_columns(TRANSPORTS)}",
    ]
    for group in dict.fromkeys(line.group for line in lines.values()):
        shown.append(f"-- {group}")
        for fault, line in ((fault, line) for fault, line in lines.items() if line.group == group):
            tries, posts = line.outcome or ("?", "?")
            marks = _columns(map(line.marks_of, TRANSPORTS))
            shown.append(f"{fault:56} {line.phase:14} {line.said:16} {tries:>5} {posts:>5}  {marks}")
    return shown
