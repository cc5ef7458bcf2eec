"""Write the page that a batch leaves behind.

Invariants:

- Self-contained: `report.html` has its style in it and no script, and its own policy forbids every fetch.
- Jinja2 escapes all that is put in; control characters and lone surrogates are made visible first.
- Texts from outside are masked, for they may hold a number.
- A drawing never says a thing by colour alone: it has a label, a table with its numbers, and a hatching.
"""

from __future__ import annotations

import math
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from gateway360_async import ErrorId, FailureKind, SkipReason, __version__
from gateway360_async._config import endpoint
from gateway360_async._operations import REQUEST_PIN
from gateway360_async._redaction import printable

from ._audit import Audit, Bar, Outcome, Reason, masked, outcome_of
from ._batch_options import BatchOptions
from ._problems import INTERRUPTED
from ._summary import Summary
from ._words import a_second, count, duration, share

__all__ = ["meaning_of", "write_page"]

_MEANINGS: Final[Mapping[str, str]] = {
    ErrorId.INVALID_CONTENT_TYPE: "a fault of this library: please report it",
    ErrorId.JSON_PARSE_ERROR: "a fault of this library: please report it",
    ErrorId.MISSING_PARAMS: "the gateway misses a field of the request",
    ErrorId.BAD_PARAMS: "the gateway does not accept a field of the request",
    ErrorId.INVALID_HLR_LOOKUP_PARAM: "the gateway does not accept hlr_lookup",
    ErrorId.INVALID_PIN_PARAMS: "the gateway does not accept pin_params",
    ErrorId.INVALID_SMS_TEXT: "the text is too long, or {PIN} is missing",
    ErrorId.INVALID_SENDER: "this sender is not allowed",
    ErrorId.INVALID_NUMBER: "the operator's register does not know the number",
    ErrorId.UNAUTHORIZED: "the key is wrong, or this address is blocked in the account's settings",
    ErrorId.NOT_ENOUGH_BALANCE: "the account has no funds",
    ErrorId.UNKNOWN_ERROR: "the gateway does not say whether an SMS went out",
    FailureKind.CONNECT: "no connection to the gateway",
    FailureKind.TLS: "the TLS handshake broke off",
    FailureKind.TLS_REFUSED: "the certificate is not trusted, or there is no TLS",
    FailureKind.PROXY: "the proxy refused to connect",
    FailureKind.POOL: "no connection became free in time",
    FailureKind.TIMEOUT: "the gateway did not answer in time",
    FailureKind.DISCONNECTED: "the connection broke on the way",
    FailureKind.PROTOCOL: "what came back is not HTTP",
    FailureKind.THROTTLED: "too many requests: HTTP 429",
    FailureKind.HTTP_STATUS: "an HTTP error without the gateway's envelope",
    FailureKind.UNREADABLE: "an answer that says nothing",
    FailureKind.DEADLINE: "the call's time was over",
    FailureKind.CANCELLED: "cut off when the batch was left",
    FailureKind.INTERRUPTED: "the run that began it was gone before its answer came, or has it yet",
    FailureKind.STORE: "the store could not be asked, so nothing was sent",
    FailureKind.UNEXPECTED: "an unexpected error",
    SkipReason.DUPLICATE: "the number is there twice: a second PIN would void the first",
    SkipReason.INVALID: "the row makes no valid request",
    SkipReason.HALTED: "not begun: the whole account was refused before",
    SkipReason.ALREADY_COMPLETED: "another run has its result",
}
_CALLS: Final = (Outcome.SENT, Outcome.NOT_SENT, Outcome.MAYBE_SENT)
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
_DIGITS: Final = re.compile(r"\d{7,}")
"""A number in a URL, whose address is none."""


@attrs.frozen
class Column:
    """One bar of a drawing: its place and size in percent, and its text."""

    left: float
    width: float
    parts: Sequence[tuple[Outcome, float]]
    told: str


@attrs.frozen
class Drawing:
    """Bars above an axis; axes and marks are places in percent with their texts."""

    label: str
    unit: str
    columns: Sequence[Column]
    across: Sequence[tuple[float, str]]
    upwards: Sequence[tuple[float, str]]
    marks: Sequence[tuple[float, str]] = ()
    limit: tuple[float, str] | None = None


def write_page(out: TextIO, options: BatchOptions, audit: Audit, summary: Summary, began: datetime) -> None:
    """Write the page of a run that began at an aware time. Raises `OSError`."""
    reasons: Counter[Reason] = Counter()
    for (result, why, disposition), number in audit.reasons.items():
        reasons[result, masked(why), disposition] += number  # the gateway makes error ids as it likes
    latency, interval = audit.durations.named(), options.interval
    bars, timeline_bars = audit.durations.bars(), audit.timeline.bars()
    limit = None if interval is None else 1 / interval
    page = _template().render(
        file=masked(options.input),
        audit=audit,
        entries=audit.entries,
        began=began,
        elapsed=summary.elapsed,
        notes=_notes(summary),
        settings=_settings(options),
        verdict=_verdict(audit),
        reasons=sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        latency={_QUANTILES[name]: duration(seconds) for name, seconds in latency.items()},
        bars=bars,
        histogram=_histogram(bars, latency) if _says_more(bars) else None,
        timeline_bars=timeline_bars,
        timeline=_timeline(timeline_bars, summary.elapsed, limit) if _says_more(timeline_bars) else None,
    )
    out.write(page)


@cache
def _template() -> Template:
    def shown(value: object) -> object:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True,
        finalize=shown,
        loader=PackageLoader("gateway360_async.cli", ""),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"count": count, "duration": duration, "a_second": a_second, "kind": _css_class}
    shared: Any = environment.globals
    shared |= {"share": share, "meaning_of": meaning_of, "outcome_of": outcome_of, "version": __version__}
    shared |= {"Outcome": Outcome, "CALLS": _CALLS}
    return environment.get_template("report.html")


def _css_class(outcome: Outcome) -> str:
    return outcome.name.lower().replace("_", "-")


def meaning_of(result: str, why: str) -> str:
    """Say what a reason means, in half a sentence."""
    if result == "Ok":
        return "accepted: one SMS"
    return _MEANINGS.get(why, "an error of the gateway's that is not published")


def _verdict(audit: Audit) -> str:
    total, sent, maybe = audit.total, audit.outcomes[Outcome.SENT], audit.outcomes[Outcome.MAYBE_SENT]
    if not total:
        return "Nothing was to be sent"
    if sent == total:
        return "The one SMS was sent" if total == 1 else f"All {count(total)} were sent"
    verdict = f"{count(sent)} of {count(total)} were sent"
    return f"{verdict}, {count(maybe)} may have been" if maybe else verdict


def _notes(summary: Summary) -> list[str]:
    notes: list[str] = []
    if summary.interrupted:
        by = "interrupted" if summary.code == INTERRUPTED else "terminated"
        last = count(summary.completed_to)
        notes.append(f"The run was {by}: line {last} of the input was the last that was begun.")
    if summary.halted_by is not None:
        notes.append(f"The run was halted: {masked(str(summary.halted_by))}.")
    return [*notes, *map(masked, summary.problems)]


def _settings(options: BatchOptions) -> dict[str, str]:
    gateway = endpoint(options.base_url, options.path_prefix, REQUEST_PIN.path, allow_insecure=False)
    settings = {
        "input": masked(options.input),
        "results": {None: "not kept", "-": "stdout"}.get(options.out) or masked(options.out or ""),
        "gateway": masked(gateway, _DIGITS),
        "sender": masked(options.sender or "each row's own"),
        "rate": options.rate or "as fast as the gateway answers",
        "requests at a time": str(options.concurrency),
        "store": "none",
    }
    if options.store is not None:  # its URL may hold a password
        place = options.store_file or f"{urlsplit(options.store).scheme}://…"
        unknown = "sent again" if options.resend_maybe_sent else "left alone"
        settings["store"] = f"{masked(place)}; what may have been sent is {unknown}"
        settings["name in the store"] = masked(options.name or "")
    twice = "skipped" if options.on_duplicate == "skip" else "sent a second PIN"
    software = f"gateway360-async {__version__}, Python {platform.python_version()}, {platform.system()}"
    return settings | {"numbers that are there twice": twice, "software": software}


def _says_more(bars: Sequence[Bar]) -> bool:
    """Whether a drawing says more than the sum; a dry run knows no times."""
    return len(bars) >= _FEWEST_BARS and sum(bar.total for bar in bars) >= _FEWEST_DRAWN


def _histogram(bars: Sequence[Bar], latency: Mapping[str, float]) -> Drawing:
    """Draw how many calls took how long: time to the right, on a logarithmic axis."""
    width = 100 / len(bars)
    most, upwards = _axis(max(bar.total for bar in bars), whole=True)
    edges = [*(bar.start for bar in bars), bars[-1].end]
    every = math.ceil(len(bars) / 9)
    columns = [
        Column(
            index * width, width, _parts(bar, 100 / most), f"{_times(bar.start, bar.end)}: {_described(bar)}"
        )
        for index, bar in enumerate(bars)
    ]
    marks = [
        (width * _place(bars, latency[name]), f"{_QUANTILES[name]} {duration(latency[name])}")
        for name in ("median", "p95")
    ]
    label = (
        f"How long calls took, from {_times(latency['least'], latency['most'])}; the median is "
        f"{duration(latency['median'])}, and 95 % took {duration(latency['p95'])} at most"
    )
    across = [(index * width, _short(edge)) for index, edge in enumerate(edges) if not index % every]
    return Drawing(label, "calls", columns, across, upwards, marks)


def _timeline(bars: Sequence[Bar], elapsed: float, limit: float | None) -> Drawing:
    """Draw how many calls ended a second, over the time of the run."""
    end = max(elapsed, bars[-1].start + (bars[-1].end - bars[-1].start) / 2)
    # The last bucket may have hardly begun: as a rate, it is measured by the time that it had.
    spans = [min(bar.end, end) - bar.start for bar in bars]
    most, upwards = _axis(
        max(limit or 0.0, *(bar.total / span for bar, span in zip(bars, spans, strict=True))), whole=False
    )
    columns = [
        Column(
            100 * bar.start / end,
            100 * span / end,
            _parts(bar, 100 / (span * most)),
            f"{_times(bar.start, bar.start + span)}: {a_second(bar.total / span)} a second, {_described(bar)}",
        )
        for bar, span in zip(bars, spans, strict=True)
    ]
    busiest = max(bars, key=lambda bar: bar.total)
    label = (
        f"Calls that ended over {duration(elapsed)}; the most, {count(busiest.total)}, from "
        f"{_times(busiest.start, busiest.end)}"
    )
    step = next((step for step in _TICKS if end / step <= 8), _TICKS[-1])
    across = [(100 * at * step / end, _short(at * step) if at else "0") for at in range(int(end / step) + 1)]
    asked = None if limit is None else (100 * limit / most, f"asked for: {a_second(limit)} a second")
    return Drawing(label, "a second", columns, across, upwards, limit=asked)


def _times(start: float, end: float) -> str:
    return f"{duration(start)} to {duration(end)}"


def _parts(bar: Bar, percent: float) -> list[tuple[Outcome, float]]:
    return [(outcome, bar.counts[outcome] * percent) for outcome in _CALLS if bar.counts[outcome]]


def _described(bar: Bar) -> str:
    return ", ".join(f"{count(number)} {outcome}" for outcome, number in sorted(bar.counts.items())) or "none"


def _axis(highest: float, *, whole: bool) -> tuple[float, list[tuple[float, str]]]:
    """Make the axis upwards, in steps to a round number just above the highest bar."""
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
