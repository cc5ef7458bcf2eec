"""The page that a batch leaves behind. Pure: numbers in, HTML out.

Invariants:

- Self-contained: `report.html` has its style in it and no script, and its own policy forbids every fetch.
- Jinja2 escapes all that is put in; control characters and lone surrogates are made visible first. Numbers come masked.
- A drawing never says a thing by colour alone: it has a label, a table with its numbers, and a hatching.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from gateway360_async._redaction import printable

from ._meanings import meaning_of
from ._notable import NotableEntry
from ._stats import Bar, Fate, Outcomes, fate_of_outcome
from ._words import a_second, count, duration, share

__all__ = ["Report", "page"]

_CALLS: Final = (Fate.SENT, Fate.NOT_SENT, Fate.MAYBE_SENT)
_FEWEST_DRAWN: Final = 10
"""Calls from which on there is a drawing: fewer say more as a table."""
_FEWEST_BARS: Final = 3
"""The same for its bars: one or two look like an empty drawing, or a full one."""
_QUANTILES: Final = {
    "least": "fastest",
    "median": "median",
    "p95": "95 % within",
    "p99": "99 % within",
    "most": "slowest",
}
_TICKS: Final = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400),
)
"""Seconds between two ticks of a timeline."""


@attrs.frozen(kw_only=True)
class Report:
    """The content of a page.

    Args:
        file: The name of the input.
        fates: Entries by what happened to them.
        outcomes: The same, in detail.
        notes: How the batch ended, if not by itself, a sentence each.
        latency: Durations in seconds by their names: `least`, `median`, `p95`, `p99`, `most`; empty: no calls.
        latency_bars: Calls by how long they took.
        timeline_bars: Calls by when they ended.
        limit: Calls a second that were asked for, or `None`.
        notable: Entries to look at.
        settings: The run's settings: names and values.
        began: When it began, with its time zone.
        elapsed: Seconds that it took.
        version: The library's version.
    """

    file: str
    fates: Counter[Fate]
    outcomes: Outcomes
    notes: Sequence[str]
    latency: Mapping[str, float]
    latency_bars: Sequence[Bar]
    timeline_bars: Sequence[Bar]
    limit: float | None
    notable: Sequence[NotableEntry]
    settings: Sequence[tuple[str, str]]
    began: datetime
    elapsed: float
    version: str


@attrs.frozen
class Column:
    """One bar of a drawing: its place and size in percent of the drawing's, and its text."""

    left: float
    width: float
    parts: Sequence[tuple[Fate, float]]
    told: str


@attrs.frozen
class Drawing:
    """Bars above an axis. Places are in percent; an axis and the marks are places with their texts."""

    label: str
    unit: str
    columns: Sequence[Column]
    across: Sequence[tuple[float, str]]
    upwards: Sequence[tuple[float, str]]
    marks: Sequence[tuple[float, str]] = ()
    limit: tuple[float, str] | None = None


def page(report: Report) -> str:
    """Make the page."""
    total = report.fates.total()
    kept = Counter(entry.fate for entry in report.notable)
    return _template().render(
        report=report,
        total=total,
        calls=sum(bar.total for bar in report.latency_bars),
        verdict=_verdict(report.fates, total),
        outcomes=sorted(report.outcomes.items(), key=lambda item: (-item[1], item[0])),
        latency={_QUANTILES[name]: duration(seconds) for name, seconds in report.latency.items()},
        histogram=(
            _histogram(report.latency_bars, report.latency) if _says_more(report.latency_bars) else None
        ),
        timeline=(
            _timeline(report.timeline_bars, report.elapsed, report.limit)
            if _says_more(report.timeline_bars)
            else None
        ),
        left_out=sum(report.fates[fate] - kept[fate] for fate in kept),
    )


def _says_more(bars: Sequence[Bar]) -> bool:
    """Say whether a drawing of these bars says more than their sum; a dry run knows no times."""
    return len(bars) >= _FEWEST_BARS and sum(bar.total for bar in bars) >= _FEWEST_DRAWN


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        finalize=_shown,
        loader=PackageLoader("gateway360_async.cli", ""),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"count": count, "duration": duration, "a_second": a_second, "kind": _css_class}
    shared: Any = environment.globals
    shared |= {"share": share, "meaning_of": meaning_of, "fate_of": fate_of_outcome}
    shared |= {"Fate": Fate, "CALLS": _CALLS}
    return environment.get_template("report.html")


def _shown(value: object) -> object:
    """Make control characters of a text visible; markup, which is no plain text, stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _css_class(fate: Fate) -> str:
    return fate.name.lower().replace("_", "-")


def _verdict(fates: Counter[Fate], total: int) -> str:
    sent, maybe = fates[Fate.SENT], fates[Fate.MAYBE_SENT]
    if not total:
        return "Nothing was to be sent"
    if sent == total:
        return "The one SMS was sent" if total == 1 else f"All {count(total)} were sent"
    verdict = f"{count(sent)} of {count(total)} were sent"
    return f"{verdict}, {count(maybe)} may have been" if maybe else verdict


def _histogram(bars: Sequence[Bar], latency: Mapping[str, float]) -> Drawing:
    """Draw how many calls took how long: time to the right, on a logarithmic axis."""
    width = 100 / len(bars)
    most, upwards = _axis(max(bar.total for bar in bars), whole=True)
    every = math.ceil(len(bars) / 9)
    edges = [*(bar.start for bar in bars), bars[-1].end]
    return Drawing(
        f"How long calls took, from {duration(latency['least'])} to {duration(latency['most'])}; the median is "
        f"{duration(latency['median'])}, and 95 % took {duration(latency['p95'])} at most",
        "calls",
        [
            Column(
                index * width,
                width,
                _parts(bar.counts, 100 / most),
                f"{duration(bar.start)} to {duration(bar.end)}: {_told(bar)}",
            )
            for index, bar in enumerate(bars)
        ],
        [(index * width, _short(edge)) for index, edge in enumerate(edges) if not index % every],
        upwards,
        [
            (width * _place(bars, latency[name]), f"{_QUANTILES[name]} {duration(latency[name])}")
            for name in ("median", "p95")
        ],
    )


def _timeline(bars: Sequence[Bar], elapsed: float, limit: float | None) -> Drawing:
    """Draw how many calls ended a second, over the time of the run."""
    end = max(elapsed, bars[-1].start + (bars[-1].end - bars[-1].start) / 2)
    # The last bucket may have hardly begun: as a rate, it is measured by the time that it had.
    spans = [min(bar.end, end) - bar.start for bar in bars]
    rates = [bar.total / span for bar, span in zip(bars, spans, strict=True)]
    most, upwards = _axis(max(*rates, limit or 0.0), whole=False)
    step = next((step for step in _TICKS if end / step <= 8), _TICKS[-1])
    busiest = max(bars, key=lambda bar: bar.total)
    return Drawing(
        f"Calls that ended over {duration(elapsed)}; the most, {count(busiest.total)}, from {duration(busiest.start)} "
        f"to {duration(busiest.end)}",
        "a second",
        [
            Column(
                100 * bar.start / end,
                100 * span / end,
                _parts(bar.counts, 100 / (span * most)),
                f"{duration(bar.start)} to {duration(bar.start + span)}: {a_second(rate)} a second, {_told(bar)}",
            )
            for bar, span, rate in zip(bars, spans, rates, strict=True)
        ],
        [
            (100 * index * step / end, _short(index * step) if index else "0")
            for index in range(int(end / step) + 1)
        ],
        upwards,
        limit=None if limit is None else (100 * limit / most, f"asked for: {a_second(limit)} a second"),
    )


def _parts(counts: Counter[Fate], percent: float) -> list[tuple[Fate, float]]:
    return [(fate, counts[fate] * percent) for fate in _CALLS if counts[fate]]


def _told(bar: Bar) -> str:
    return ", ".join(f"{count(number)} {fate.value}" for fate, number in sorted(bar.counts.items())) or "none"


def _axis(highest: float, *, whole: bool) -> tuple[float, list[tuple[float, str]]]:
    """Make the axis upwards: to a round number not far above the highest bar, in steps."""
    rough = highest / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= rough * 0.999)
    most = step * math.ceil(highest / step * 0.999) or step
    values = [index * step for index in range(round(most / step) + 1)]
    return most, [
        (100 * value / most, f"{value:,.0f}" if whole or not value else a_second(value))
        for value in values
        if not (whole and value % 1)  # there is no half a call
    ]


def _place(bars: Sequence[Bar], seconds: float) -> float:
    """Find where a duration lies, in widths of a bar."""
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
