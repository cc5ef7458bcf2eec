"""The duplicate table as markdown, from the raw results alone.

Rules of this module:

- A number is the POSTs that the server read whole for one logical call. A number in bold is a request that was
  sent again although the first may have been taken. Calls of one cell that differ show as the lowest and the
  highest.
- Where ours stands, the cell also says what it reports; what the others tell is in the JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from .contenders import CONTENDERS
from .faults import FAULTS, Fault

__all__ = ["markdown", "write"]

_WORDS: Final = {"sent": "sent", "not_sent": "not sent", "maybe_sent": "maybe sent"}


def markdown(results: dict[str, Any]) -> str:
    """The table, and what has to be known to read it."""
    head = ["", *(fault.title for fault in FAULTS)]
    lines = [_row(head), _row(["---", *("---:" for _ in FAULTS)])]
    lines += [_row(_cells(row)) for row in results["rows"]]
    return "\n\n".join((_before(results), "\n".join(lines), _after(results)))


def write(directory: Path, results: dict[str, Any]) -> None:
    """Write `duplicates.md`, and what it was made of as `duplicates.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "duplicates.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (directory / "duplicates.md").write_text(markdown(results), encoding="utf-8")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _before(results: dict[str, Any]) -> str:
    return (
        "### Duplicates\n\n"
        "How many POSTs a server on loopback read whole for one logical call, "
        f"{results['calls']} calls a cell, a fresh client each. "
        f"A timeout of {results['timeout']:g} s for all; where the user sets it, {results['tries']} tries and a "
        f"pause of about {results['pause']:g} s; an SDK's own retries as delivered. "
        "**Bold: sent again although the first may have been taken, so up to that many paid SMS.** "
        "After a 429 a second POST is right, and after a refused connection the first: 0 there means that "
        "nothing was sent, and the call failed. What an SDK's vendor makes of a repeated request is not in the "
        "table; Gateway360 has nothing to know it by. Ours also says what it reports."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    contender = CONTENDERS[row["contender"]]
    missing = row.get("not_available") or row.get("failed")
    if missing:
        word = "not available" if "not_available" in row else "failed"
        return [contender.label, f"{word}: {missing}", *("–" for _ in FAULTS[1:])]
    ours = row["contender"].startswith("ours-")
    return [contender.label, *(_cell(fault, row["cells"][fault.name], told=ours) for fault in FAULTS)]


def _cell(fault: Fault, cell: dict[str, Any], *, told: bool) -> str:
    low, high = min(cell["posts"]), max(cell["posts"])
    text = f"{low}" if low == high else f"{low}–{high}"
    if high > 1 and not fault.repeatable:
        text = f"**{text}**"
    if told:
        words: list[str] = cell["told"]
        text += ", " + " or ".join(dict.fromkeys(_WORDS.get(word, word) for word in words))
    return text


def _after(results: dict[str, Any]) -> str:
    notes = [
        f"{contender.label.strip('*')}: {contender.note}"
        for row in results["rows"]
        if (contender := CONTENDERS[row["contender"]]).note
    ]
    versions = {name: found for row in results["rows"] for name, found in row["versions"].items()}
    named = ", ".join(f"{name} {found}" for name, found in sorted(versions.items()))
    return f"{'; '.join(notes)}.\n\n{named}.\n"
