"""The sections of a batch's page. Pure: values in, markup out.

Rules of this module:

- Each drawing has a table with its numbers, and says in a sentence what it shows.
- A section that has nothing to show is empty markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from ._charts import css_class, histogram_chart, part_chart, share_chart, timeline_chart
from ._html import Child, Markup, element
from ._meanings import meaning_of
from ._report_data import Report
from ._stats import Bar, Fate
from ._words import count, duration, share

__all__ = ["errors", "latency", "notable", "outcomes", "paragraph", "section", "timeline"]

_CALLS: Final = (Fate.SENT, Fate.NOT_SENT, Fate.MAYBE_SENT)
_QUANTILE_NAMES: Final = {
    "least": "fastest",
    "median": "median",
    "p95": "95 % within",
    "p99": "99 % within",
    "most": "slowest",
}


def paragraph(text: Child, class_: str | None = None) -> Markup:
    """Make a paragraph."""
    return element("p", text, class_=class_)


def section(title: str, name: str, *children: Child) -> Markup:
    """Make a section with its heading, which names it."""
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


def outcomes(report: Report) -> Markup:
    """Show the shares of the fates, and each outcome."""
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
    return section("Outcomes", "outcomes", share_chart(report.fates, f"Of all entries: {told}"), table)


def errors(report: Report) -> Markup:
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
            "the gateway" if result == "ApiError" else "the way to it",
            part_chart(number, most, _fate_of(result, disposition)),
            count(number),
        )
        for (result, why, disposition), number in sorted(
            reasons.items(), key=lambda item: (-item[1], item[0])
        )
    ]
    names = [element("th", name, scope="col") for name in ("error id, or kind", "from")]
    head = element("tr", names, element("th", "calls", scope="colgroup", colspan=2, class_="n"))
    return section("Errors", "errors", element("div", _table(head, rows), class_="scroll"))


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


def latency(report: Report) -> Markup:
    """Show how long calls took."""
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
    return section(
        "Time to a result",
        "latency",
        paragraph("From the start of a call to its result, over all its attempts and waits.", "muted"),
        _legend(report.latency_bars),
        _drawing(histogram_chart(report.latency_bars, marks, label), "latency"),
        element("div", _table(head, [row]), class_="scroll"),
        _bars_table(report.latency_bars),
    )


def timeline(report: Report) -> Markup:
    """Show how many calls ended when."""
    if not report.timeline_bars:
        return Markup("")
    most = max(report.timeline_bars, key=lambda bar: bar.total)
    label = (
        f"Calls that ended over {duration(report.elapsed)}; the most, {count(most.total)}, "
        f"from {duration(most.start)} to {duration(most.end)}"
    )
    return section(
        "Throughput",
        "timeline",
        paragraph("Calls that ended a second, over the run. What was skipped is not counted.", "muted"),
        _legend(report.timeline_bars),
        _drawing(timeline_chart(report.timeline_bars, report.elapsed, report.limit, label), "timeline"),
        _bars_table(report.timeline_bars),
    )


def notable(report: Report) -> Markup:
    """Show the entries that somebody should look at."""
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
    more = [paragraph(f"And {count(left_out)} more, in the results.", "muted")] if left_out else []
    table = element(
        "div", _table(head, rows), class_="scroll", tabindex=0, role="region", aria_labelledby="notable"
    )
    return section("Entries to look at", "notable", table, more)
