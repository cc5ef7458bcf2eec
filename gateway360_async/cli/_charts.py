"""The charts of a batch's page, as SVG. Pure: numbers in, markup out.

Rules of this module:

- A colour never says a thing alone: what may have been sent is hatched, each bar names its counts when pointed at,
  and each chart has a table beside it with the same numbers.
- Colours are names of classes; which they are, the page's style says, for a light and a dark screen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from ._html import Markup, element
from ._stats import Bar, Fate
from ._words import a_second, count, duration, share

__all__ = ["css_class", "hatching", "histogram_chart", "part_chart", "share_chart", "timeline_chart"]

_WIDTH: Final = 760.0
_HEIGHT: Final = 226.0
_LEFT: Final = 52.0
_RIGHT: Final = 22.0
_TOP: Final = 22.0
_BOTTOM: Final = 26.0
_INNER: Final = _WIDTH - _LEFT - _RIGHT
_BASE: Final = _HEIGHT - _BOTTOM
_TALL: Final = _BASE - _TOP
# Seconds between two ticks of a timeline.
_TICKS: Final = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400),
)


def css_class(fate: Fate) -> str:
    """Name the class of a fate's colour."""
    return fate.name.lower().replace("_", "-")


def hatching() -> Markup:
    """Make the pattern of what may have been sent; once a page."""
    lines = element("path", d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", class_="hatch")
    ground = element("rect", width=8, height=8, class_="maybe-sent-ground")
    pattern = element(
        "pattern", ground, lines, id="hatched", width=8, height=8, patternUnits="userSpaceOnUse"
    )
    return element(
        "svg",
        element("defs", pattern),
        width=0,
        height=0,
        class_="defs",
        aria_hidden="true",
        focusable="false",
    )


def share_chart(fates: Counter[Fate], label: str) -> Markup:
    """Draw one bar of which each fate has its share; none is too small to be seen."""
    total = fates.total()
    there = [fate for fate in Fate if fates[fate]]
    widths = {fate: max(6.0, 1000 * fates[fate] / total) for fate in there}
    scale = 1000 / sum(widths.values()) if widths else 1.0
    parts: list[Markup] = []
    at = 0.0
    for fate in there:
        width = widths[fate] * scale
        told = element("title", f"{fate.value}: {count(fates[fate])} ({share(fates[fate], total)})")
        parts.append(
            element("rect", told, x=at, y=0, width=max(1.0, width - 2), height=28, class_=css_class(fate))
        )
        at += width
    return element(
        "svg",
        parts,
        viewBox="0 0 1000 28",
        preserveAspectRatio="none",
        class_="share",
        role="img",
        aria_label=label,
    )


def part_chart(part: int, most: int, fate: Fate) -> Markup:
    """Draw a bar in a cell of a table, which says the number itself."""
    bar = element("rect", width=max(1.0, 100 * part / most), height=10, class_=css_class(fate))
    return element(
        "svg", bar, viewBox="0 0 100 10", preserveAspectRatio="none", class_="part", aria_hidden="true"
    )


def histogram_chart(bars: Sequence[Bar], marks: Mapping[str, float], label: str) -> Markup:
    """Draw how many calls took how long: time to the right, on a logarithmic axis.

    Args:
        bars: The bars, each as wide as the next.
        marks: Durations in seconds to mark, by their names.
        label: What the chart says, in a sentence.
    """
    width = min(_INNER / len(bars), 64.0)
    scale = _Scale.over(max(bar.total for bar in bars))
    drawn = [
        _stack(_LEFT + index * width, width, bar.counts, scale, 1.0, _told(bar))
        for index, bar in enumerate(bars)
    ]
    every = math.ceil(len(bars) / 11)
    edges = [(index, bar.start) for index, bar in enumerate(bars)] + [(len(bars), bars[-1].end)]
    ticks = [_x_tick(_LEFT + index * width, _short(edge)) for index, edge in edges if not index % every]
    lines: list[Markup] = []
    for row, (name, seconds) in enumerate(marks.items()):
        x = _LEFT + width * _place(bars, seconds)
        text = f"{name} {duration(seconds)}"
        # The names stand above each other, or they would run into one another.
        near = x > _WIDTH - 110
        at = {
            "x": x - 4 if near else x + 4,
            "y": _TOP - 10 + 11 * row,
            "text_anchor": "end" if near else None,
        }
        lines += [
            element("line", x1=x, x2=x, y1=_TOP - 12, y2=_BASE, class_="mark"),
            element("text", text, class_="mark-name", **at),
        ]
    return _chart([*_y_axis(scale, "calls", count), *drawn, *ticks, *lines], label)


def timeline_chart(bars: Sequence[Bar], elapsed: float, limit: float | None, label: str) -> Markup:
    """Draw how many calls ended a second, over the time of the run.

    Args:
        bars: The bars, from the beginning.
        elapsed: Seconds that the run took.
        limit: Calls a second that were asked for, to be marked; `None`: no limit.
        label: What the chart says, in a sentence.
    """
    end = max(elapsed, bars[-1].start + (bars[-1].end - bars[-1].start) / 2)
    # The last bucket may have hardly begun: as a rate, it is measured by the time that it had.
    spans = [min(bar.end, end) - bar.start for bar in bars]
    rates = [bar.total / span for bar, span in zip(bars, spans, strict=True)]
    scale = _Scale.over(max([*rates, limit or 0.0]))
    drawn = [
        _stack(
            _LEFT + _INNER * bar.start / end,
            _INNER * span / end,
            bar.counts,
            scale,
            1 / span,
            f"{duration(bar.start)} to {duration(bar.start + span)}: {a_second(rate)} a second, {_fates(bar)}",
        )
        for bar, span, rate in zip(bars, spans, rates, strict=True)
    ]
    step = next((step for step in _TICKS if end / step <= 10), _TICKS[-1])
    ticks = [
        _x_tick(_LEFT + _INNER * index * step / end, _short(index * step) if index else "0")
        for index in range(int(end / step) + 1)
    ]
    lines: list[Markup] = []
    if limit is not None:
        y = scale.y(limit)
        lines = [
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="mark"),
            element(
                "text",
                f"asked for: {a_second(limit)} a second",
                x=_WIDTH - _RIGHT,
                y=_TOP - 10,
                text_anchor="end",
                class_="mark-name",
            ),
        ]
    return _chart([*_y_axis(scale, "a second", a_second), *drawn, *ticks, *lines], label)


@attrs.frozen
class _Scale:
    """The axis upwards: to `most`, in steps."""

    most: float
    step: float

    @classmethod
    def over(cls, highest: float) -> _Scale:
        """Make one that ends at a round number, not far above the highest bar."""
        rough = highest / 4 or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= rough * 0.999)
        return cls(step * math.ceil(highest / step * 0.999) or step, step)

    def y(self, value: float) -> float:
        return _BASE - _TALL * value / self.most


def _y_axis(scale: _Scale, unit: str, write: Callable[[int], str] | Callable[[float], str]) -> list[Markup]:
    drawn: list[Markup] = [element("text", unit, x=0, y=_TOP - 10, class_="unit")]
    for index in range(round(scale.most / scale.step) + 1):
        value = index * scale.step
        if write is count and value % 1:
            continue  # there is no half a call
        y = scale.y(value)
        drawn.append(
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid" if index else "axis")
        )
        text = f"{value:,.0f}" if write is count or not value else write(value)  # type: ignore[arg-type]
        drawn.append(element("text", text, x=_LEFT - 7, y=y + 3.5, text_anchor="end", class_="tick"))
    return drawn


def _x_tick(x: float, text: str) -> Markup:
    mark = element("line", x1=x, x2=x, y1=_BASE, y2=_BASE + 4, class_="axis")
    name = element("text", text, x=x, y=_BASE + 17, text_anchor="middle", class_="tick")
    return element("g", mark, name)


def _stack(x: float, width: float, counts: Counter[Fate], scale: _Scale, factor: float, told: str) -> Markup:
    gap = 1.0 if width > 4 else 0.0
    parts: list[Markup] = [element("title", told)]
    below = 0.0
    for fate in (Fate.SENT, Fate.NOT_SENT, Fate.MAYBE_SENT):
        value = counts[fate] * factor
        if value:
            top, bottom = scale.y(below + value), scale.y(below)
            # A single one among thousands is still seen.
            height = max(bottom - top, 1.5)
            parts.append(
                element(
                    "rect",
                    x=x + gap / 2,
                    y=bottom - height,
                    width=width - gap,
                    height=height,
                    class_=css_class(fate),
                )
            )
            below += value
    return element("g", parts)


def _told(bar: Bar) -> str:
    return f"{duration(bar.start)} to {duration(bar.end)}: {_fates(bar)}"


def _fates(bar: Bar) -> str:
    return ", ".join(f"{count(number)} {fate.value}" for fate, number in sorted(bar.counts.items())) or "none"


def _place(bars: Sequence[Bar], seconds: float) -> float:
    """Where a duration lies, in widths of a bar."""
    for index, bar in enumerate(bars):
        if seconds <= bar.end:
            inside = (math.log(max(seconds, bar.start)) - math.log(bar.start)) / math.log(bar.end / bar.start)
            return index + inside
    return float(len(bars))


def _short(seconds: float) -> str:
    """Write a round duration: `50 ms`, `1.2 s`, `15 min`, `2 h`."""
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size * 0.999:
            return f"{round(seconds / size, 2):g} {unit}"
    return f"{round(seconds * 1000, 2):g} ms"


def _chart(drawn: Sequence[Markup], label: str) -> Markup:
    return element(
        "svg",
        drawn,
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        class_="chart",
        role="img",
        aria_label=label,
    )
