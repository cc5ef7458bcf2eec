"""The table of the fault matrix, at the end of a run.

Whole where the run was asked for these tests (`pytest tests/faults`) or is verbose, and a line otherwise.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
from matrix import TRANSPORTS

_MARKS = {"passed": "ok", "failed": "FAIL", "skipped": "-"}


@attrs.define
class _Found:
    """What the tests have left in their reports."""

    rows: dict[str, tuple[str, str, str]] = attrs.field(factory=dict)
    """Group, phase and what the client says, by fault."""
    outcomes: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    """Attempts and POSTs, by fault."""
    marks: dict[str, dict[str, str]] = attrs.field(factory=dict)
    """By fault and transport."""
    figures: list[str] = attrs.field(factory=list)

    def add(self, properties: dict[str, Any], verdict: str) -> None:
        if "figures" in properties:
            self.figures.append(properties["figures"])
        if "row" not in properties:
            return
        group, fault, phase, says, mode = properties["row"]
        self.rows[fault] = (group, phase, says)
        self.marks.setdefault(fault, {})[mode] = _MARKS[verdict]
        if "outcome" in properties:
            self.outcomes[fault] = properties["outcome"]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = _Found()
    for verdict in _MARKS:
        for report in terminalreporter.stats.get(verdict, ()):
            found.add(dict(getattr(report, "user_properties", ())), verdict)
    if not found.rows and not found.figures:
        return
    terminalreporter.section("faults")
    lines = found.figures
    if found.rows:
        whole = config.option.verbose > 0 or any("faults" in argument for argument in config.args)
        lines = [*(_table(found) if whole else ()), *_totals(found), *found.figures]
    for line in lines:
        terminalreporter.write_line(line)


def _totals(found: _Found) -> list[str]:
    counts = Counter(
        (found.rows[fault][0], mode, mark)
        for fault, marks in found.marks.items()
        for mode, mark in marks.items()
    )
    groups = sorted({group for group, _, _ in found.rows.values()})
    lines = [f"{'rows that hold':40} {'  '.join(TRANSPORTS)}"]
    for group in groups:
        held = [
            f"{counts[group, mode, 'ok']}/{sum(counts[group, mode, mark] for mark in _MARKS.values())}"
            for mode in TRANSPORTS
        ]
        lines.append(
            f"{group:40} {'  '.join(f'{h:{len(mode)}}' for h, mode in zip(held, TRANSPORTS, strict=True))}"
        )
    return [line.rstrip() for line in lines]


def _table(found: _Found) -> list[str]:
    lines = [
        f"{'fault':40} {'phase':14} {'the client says':16} {'tries':>5} {'POSTs':>5}  {'  '.join(TRANSPORTS)}"
    ]
    last = ""
    for fault, (group, phase, said) in sorted(found.rows.items(), key=lambda item: (item[1][0], item[0])):
        if group != last:
            lines.append(f"-- {group}")
            last = group
        tries, posts = found.outcomes.get(fault, ("?", "?"))
        marks = "  ".join(f"{found.marks[fault].get(mode, ''):{len(mode)}}" for mode in TRANSPORTS)
        lines.append(f"{fault:40} {phase:14} {said:16} {tries:>5} {posts:>5}  {marks}".rstrip())
    return lines
