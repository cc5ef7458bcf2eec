"""The chart: requests a second behind a 50 ms server, as horizontal bars in an SVG.

Rules of this module:

- Plain SVG with a style sheet of its own, readable on white and on black: the colours follow the reader's
  setting, and nothing is drawn behind the bars.
- The number stands at each bar's end, the spread over the rounds is a thin line on it, and the scale
  begins at 0.
"""

from __future__ import annotations

import statistics
from html import escape
from typing import Any, Final

from .bars import values
from .plan import CASES, LABELS

__all__ = ["svg"]

_CASES: Final = ("c100-50ms", "c500-50ms")
_WIDTH: Final = 860
_LEFT: Final = 270
_RIGHT: Final = 90
_STEP: Final = 26
_BAR: Final = 16
_STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .axis { stroke: #8c959f }
  .spread { stroke: #1f2328; stroke-width: 1.5 }
  .others { fill: #9aa4b0 } .ours { fill: #2f81f7 } .floor { fill: #d4a72c }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .spread { stroke: #e6edf3 } .others { fill: #6e7681 }
  }
"""


def svg(results: dict[str, Any]) -> str:
    """The chart of one run."""
    parts: list[str] = []
    top = 10
    for case in CASES:
        if case.name not in _CASES:
            continue
        found = _found(results, case.name)
        if not found:
            continue
        parts.append(
            f'<text class="title" x="10" y="{top + 16}">requests a second, {escape(case.title)}</text>'
        )
        top += 28
        parts += _panel(found, top)
        top += len(found) * _STEP + 22
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
        'role="img" aria-label="requests a second behind a 50 ms server">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


def _found(results: dict[str, Any], case: str) -> list[tuple[str, str, list[float]]]:
    """Label, class and rates of each row, slowest first."""
    found: list[tuple[str, str, list[float]]] = []
    for contender, label in LABELS.items():
        for loop, suffix in (("asyncio", ""), ("uvloop", ", uvloop")):
            rates = list(values(results, case, contender, loop).values())
            if rates:
                kind = (
                    "floor" if contender == "floor" else "ours" if contender.startswith("ours") else "others"
                )
                found.append((label + suffix, kind, rates))
    return sorted(found, key=lambda row: statistics.median(row[2]))


def _panel(found: list[tuple[str, str, list[float]]], top: int) -> list[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / max(max(rates) for _, _, rates in found)
    parts: list[str] = []
    for at, (label, kind, rates) in enumerate(found):
        y = top + at * _STEP
        middle = y + _BAR / 2
        median = statistics.median(rates)
        low, high = (_LEFT + bound * scale for bound in (min(rates), max(rates)))
        parts += [
            f'<text x="{_LEFT - 8}" y="{middle + 4.5:g}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{median * scale:.1f}" height="{_BAR}" rx="2"/>',
            f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>',
            f'<text x="{high + 6:.1f}" y="{middle + 4.5:g}">{median:,.0f}</text>',
        ]
    bottom = top + len(found) * _STEP - (_STEP - _BAR) + 4
    return [*parts, f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{top - 4}" y2="{bottom}"/>']
