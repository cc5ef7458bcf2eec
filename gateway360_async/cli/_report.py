"""The page that a batch leaves behind. Pure: numbers in, HTML out.

Rules of this module:

- Self-contained: style and drawings are in the page, no script is, and its own policy forbids whatever would be
  fetched.
- Whatever is put in is escaped (`_html`), and numbers come masked.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from ._charts import css_class, hatching
from ._html import Markup, element
from ._report_data import Report
from ._sections import errors, latency, notable, outcomes, paragraph, section, timeline
from ._stats import Fate
from ._words import a_second, count, duration, share

__all__ = ["page"]

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


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
    parts = [
        *(outcomes(report), errors(report), latency(report), timeline(report)),
        *(_settings(report), notable(report)),
    ]
    body = element(
        "body",
        hatching(),
        _header(report),
        element("main", _cards(report), [part for part in parts if part]),
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
        "header", paragraph("Batch of PIN requests", "kind"), element("h1", _verdict(report)), lead, notes
    )


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


def _settings(report: Report) -> Markup:
    pairs = [[element("dt", name), element("dd", value)] for name, value in report.settings]
    return section("Settings of this run", "settings", element("dl", *pairs, class_="settings"))
