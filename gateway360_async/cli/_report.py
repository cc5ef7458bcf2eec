"""The page that a batch leaves behind. Pure: numbers in, HTML out.

Rules of this module:

- Self-contained: style and drawings are in the page, no script is, and its own policy forbids whatever would be
  fetched.
- Whatever is put in is escaped (`_html`), and numbers come masked.
- Each drawing has a table with its numbers, and says in a sentence what it shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Final

import attrs

from ._charts import css_class, hatching, histogram_chart, part_chart, share_chart, timeline_chart
from ._html import Child, Markup, element
from ._meanings import meaning_of
from ._notable import NotableEntry
from ._stats import Bar, Fate, Outcomes
from ._words import a_second, count, duration, share

__all__ = ["Report", "page"]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_CALLS: Final = (Fate.SENT, Fate.NOT_SENT, Fate.MAYBE_SENT)
_QUANTILE_NAMES: Final = {
    "least": "fastest",
    "median": "median",
    "p95": "95 % within",
    "p99": "99 % within",
    "most": "slowest",
}


@attrs.frozen(kw_only=True)
class Report:
    """What a page shows.

    Args:
        file: The name of the input.
        fates: Entries by what happened to them.
        outcomes: The same, in detail.
        notes: How the batch ended, if not by itself, a sentence each.
        latency: Durations in seconds by their names: `least`, `median`, `p95`, `p99`, `most`; empty: no calls.
        latency_bars: Calls by how long they took.
        timeline_bars: Calls by when they were settled.
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

    @property
    def total(self) -> int:
        """All entries."""
        return self.fates.total()


def page(report: Report) -> str:
    """Make the page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{_verdict(report)} - {report.file}"),
        element("style", _style()),
    )
    sections = [
        *(_outcomes(report), _refused(report), _latency(report), _timeline(report)),
        *(_settings(report), _notable(report)),
    ]
    body = element(
        "body",
        hatching(),
        _header(report),
        element("main", _cards(report), [section for section in sections if section]),
        element(
            "footer",
            f"Made by gateway360-async {report.version}. No key and no whole number is in this page.",
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


@cache
def _style() -> Markup:
    # The one text that is markup as it stands: it is ours.
    return Markup("\n" + (files("gateway360_async.cli") / "report.css").read_text(encoding="utf-8"))


def _verdict(report: Report) -> str:
    sent, maybe = report.fates[Fate.SENT], report.fates[Fate.MAYBE_SENT]
    total = report.total
    if not total:
        return "Nothing was to be sent"
    if sent == total:
        return "The one SMS was sent" if total == 1 else f"All {count(total)} were sent"
    verdict = f"{count(sent)} of {count(total)} were sent"
    return f"{verdict}, {count(maybe)} may have been" if maybe else verdict


def _header(report: Report) -> Markup:
    rate = f", {a_second(report.total / report.elapsed)} a second" if report.total and report.elapsed else ""
    when = report.began.strftime("%d %B %Y, %H:%M:%S %Z").lstrip("0")
    lead = element(
        "p",
        element("code", report.file),
        " · ",
        element("time", when, datetime=report.began.isoformat(timespec="seconds")),
        f" · {count(report.total)} entries in {duration(report.elapsed)}{rate}",
        class_="lead",
    )
    notes: list[Markup] = []
    if report.notes:
        items = [element("li", note) for note in report.notes]
        notes = [element("ul", items, class_="notes grave" if report.fates[Fate.MAYBE_SENT] else "notes")]
    return element(
        "header", _p("Batch of PIN requests", "kind"), element("h1", _verdict(report)), lead, notes
    )


def _p(text: Child, class_: str | None = None) -> Markup:
    return element("p", text, class_=class_)


def _cards(report: Report) -> Markup:
    cards = [
        element(
            "li",
            element("span", fate.value),
            element("b", count(report.fates[fate])),
            element("span", share(report.fates[fate], report.total), class_="muted"),
            class_=css_class(fate) if report.fates[fate] else f"{css_class(fate)} none",
        )
        for fate in Fate
    ]
    return element("ul", cards, class_="cards", aria_label="Entries by what happened to them")


def _section(title: str, name: str, *children: Child) -> Markup:
    return element("section", element("h2", title, id=name), *children, aria_labelledby=name)


def _row(*cells: Child, tag: str = "td", numbers: int = 1) -> Markup:
    """Make a table's row: the first cell names it, and the last ones are numbers."""
    from_here = len(cells) - numbers
    made = [
        element(
            "th" if tag == "th" or not index else "td",
            cell,
            scope=("col" if tag == "th" else "row") if tag == "th" or not index else None,
            class_="n" if index >= from_here else None,
        )
        for index, cell in enumerate(cells)
    ]
    return element("tr", made)


def _table(head: Markup, rows: Sequence[Markup], foot: Markup | None = None) -> Markup:
    parts = [element("thead", head), element("tbody", rows)]
    return element("table", parts, [] if foot is None else element("tfoot", foot))


def _swatch(fate: Fate) -> Markup:
    box = element("rect", width=10, height=10, class_=css_class(fate))
    return element("svg", box, viewBox="0 0 10 10", class_="swatch", aria_hidden="true")


def _fate_of(result: str, disposition: str) -> Fate:
    return Fate.SKIPPED if result == "Skipped" else Fate[disposition.upper()]


def _outcomes(report: Report) -> Markup:
    if not report.total:
        return Markup("")
    told = ", ".join(f"{count(report.fates[fate])} {fate.value}" for fate in Fate)
    rows: list[Markup] = []
    ordered = sorted(report.outcomes.items(), key=lambda item: (-item[1], item[0]))
    for (result, why, disposition), number in ordered:
        fate = _fate_of(result, disposition)
        name = element("span", _swatch(fate), element("code", why or result), class_="nowrap")
        # What an earlier run has sent is skipped by this one, and sent all the same.
        happened = str(disposition).replace("_", " ")
        rows.append(
            _row(
                name,
                meaning_of(result, why),
                element("span", happened, class_="nowrap"),
                count(number),
                share(number, report.total),
                numbers=2,
            )
        )
    head = _row("outcome", "it means", "the SMS", "entries", "share", tag="th", numbers=2)
    foot = _row("all", "", "", count(report.total), "", numbers=2)
    table = element(
        "div",
        _table(head, rows, foot),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_labelledby="outcomes",
    )
    return _section("Outcomes", "outcomes", share_chart(report.fates, f"Of all entries: {told}"), table)


def _refused(report: Report) -> Markup:
    """The error ids, and the other reasons for which no call was accepted."""
    reasons = {
        (result, why, disposition): number
        for (result, why, disposition), number in report.outcomes.items()
        if result in ("ApiError", "TransportFailure")
    }
    if not reasons:
        return Markup("")
    most = max(reasons.values())
    rows = [
        _row(
            element("code", why),
            "the gateway's answer" if result == "ApiError" else "no answer",
            part_chart(number, most, _fate_of(result, disposition)),
            count(number),
        )
        for (result, why, disposition), number in sorted(
            reasons.items(), key=lambda item: (-item[1], item[0])
        )
    ]
    names = [element("th", name, scope="col") for name in ("error id, or kind", "from")]
    head = element("tr", names, element("th", "calls", scope="colgroup", colspan=2, class_="n"))
    return _section("Errors", "errors", element("div", _table(head, rows), class_="scroll"))


def _legend(bars: Sequence[Bar]) -> Markup:
    there = [fate for fate in _CALLS if any(bar.counts[fate] for bar in bars)]
    return element("ul", [element("li", _swatch(fate), fate.value) for fate in there], class_="legend")


def _bars_table(bars: Sequence[Bar]) -> Markup:
    head = _row("from", "to", *(fate.value for fate in _CALLS), tag="th", numbers=3)
    rows = [
        _row(
            duration(bar.start),
            duration(bar.end),
            *(count(bar.counts[fate]) for fate in _CALLS),
            numbers=3,
        )
        for bar in bars
        if bar.total
    ]
    return element("details", element("summary", "The same as a table"), _table(head, rows))


def _drawing(chart: Markup, name: str) -> Markup:
    return element("div", chart, class_="scroll", tabindex=0, role="region", aria_labelledby=name)


def _latency(report: Report) -> Markup:
    if not report.latency_bars:
        return Markup("")
    latency = report.latency
    label = (
        f"How long calls took, from {duration(latency['least'])} to {duration(latency['most'])}; "
        f"the median is {duration(latency['median'])}, and 95 % took {duration(latency['p95'])} at most"
    )
    marks = {"median": latency["median"], "95 %": latency["p95"]}
    head = element("tr", [element("th", _QUANTILE_NAMES[name], scope="col") for name in latency])
    row = element("tr", [element("td", duration(seconds)) for seconds in latency.values()])
    return _section(
        "Time to a result",
        "latency",
        _p("From the start of a call to its result, over all its attempts and waits.", "muted"),
        _legend(report.latency_bars),
        _drawing(histogram_chart(report.latency_bars, marks, label), "latency"),
        element("div", _table(head, [row]), class_="scroll"),
        _bars_table(report.latency_bars),
    )


def _timeline(report: Report) -> Markup:
    if not report.timeline_bars:
        return Markup("")
    most = max(report.timeline_bars, key=lambda bar: bar.total)
    label = (
        f"Calls settled over {duration(report.elapsed)}; the most, {count(most.total)}, "
        f"from {duration(most.start)} to {duration(most.end)}"
    )
    return _section(
        "Throughput",
        "timeline",
        _p("Calls settled a second, over the run. What was skipped is not counted.", "muted"),
        _legend(report.timeline_bars),
        _drawing(timeline_chart(report.timeline_bars, report.elapsed, report.limit, label), "timeline"),
        _bars_table(report.timeline_bars),
    )


def _notable(report: Report) -> Markup:
    if not report.notable:
        return Markup("")
    rows = [
        _row(
            str(entry.line),
            element("span", entry.number or "-", class_="nowrap"),
            element("span", _swatch(entry.fate), entry.fate.value, class_="nowrap"),
            [element("code", entry.why), f" {entry.detail}"],
            numbers=0,
        )
        for entry in report.notable
    ]
    head = _row("line", "number", "the SMS", "what happened", tag="th", numbers=0)
    kept = Counter(entry.fate for entry in report.notable)
    left_out = sum(report.fates[fate] - kept[fate] for fate in kept)
    more = [_p(f"And {count(left_out)} more, in the results.", "muted")] if left_out else []
    table = element(
        "div", _table(head, rows), class_="scroll", tabindex=0, role="region", aria_labelledby="notable"
    )
    return _section("Entries to look at", "notable", table, more)


def _settings(report: Report) -> Markup:
    pairs = [[element("dt", name), element("dd", value)] for name, value in report.settings]
    return _section("Settings of this run", "settings", element("dl", *pairs, class_="settings"))
