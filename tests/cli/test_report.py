"""The page: well-formed, self-contained, escaped, readable, and right."""

from __future__ import annotations

import io
import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser

import attrs
import pytest

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    Ok,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async.cli._audit import Audit, Bar, Outcome, Timeline, masked
from gateway360_async.cli._batch_options import BatchOptions
from gateway360_async.cli._report import _axis, _histogram, _timeline, meaning_of, write_page
from gateway360_async.cli._summary import Summary

EVIL = "<script>alert('x')</script>\x1b[2J\ud800&\""
BEGAN = datetime(2026, 11, 23, 13, 7, 22, tzinfo=UTC)
OPTIONS = BatchOptions("customers.csv", sender="GOOD PIZZA", out="-")


def page(audit: Audit, options: BatchOptions = OPTIONS, **summary) -> str:
    out = io.StringIO()
    write_page(out, options, audit, Summary(**{"code": 0, "elapsed": 10.0, **summary}), BEGAN)
    return out.getvalue()


def audit_of(*results) -> Audit:
    audit = Audit()
    for index, result in enumerate(results):
        audit.add(result, index / 10 + 0.05, index + 2, f"346{index:08}")
    return audit


def mixed() -> Audit:
    timeout = TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer", elapsed=5.0)
    return audit_of(
        *[Ok(elapsed=0.05 + n / 1000) for n in range(90)],
        *[ApiError("INVALID_NUMBER", "HLR query returned error.", elapsed=0.02)] * 5,
        *[timeout] * 3,
        Skipped(SkipReason.DUPLICATE, "an earlier entry"),
        Skipped(SkipReason.INVALID, "msisdn: has 2"),
    )


VOID = {"meta"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def read(audit: Audit, *more, **summary) -> Page:
    return Page(page(audit, *more, **summary))


def test_page_is_well_formed_and_says_it_all():
    seen = read(mixed(), attrs.evolve(OPTIONS, rate="12/s"))
    assert "90 of 100 were sent, 3 may have been" in seen.text
    for text in ("INVALID_NUMBER", "timeout", "duplicate", "invalid", "GOOD PIZZA", "gateway360-async 0."):
        assert text in seen.text
    assert "23 November 2026, 13:07:22 UTC" in seen.text
    assert "asked for: 12 a second" in seen.text
    assert len(seen.ids) == len(set(seen.ids))


def test_page_fetches_nothing_and_runs_nothing():
    text = page(mixed())
    seen = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & set(seen.tags)
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name in ("src", "href")]
    allowed = re.compile(r"((left|width|height|bottom|top|flex-grow):[-\d.]+(%|px|);?)+")
    assert all(allowed.fullmatch(value) for _, name, value in seen.attributes if name == "style")
    assert "url(" not in text
    assert "@import" not in text
    assert ("meta", "http-equiv", "Content-Security-Policy") in seen.attributes
    (policy,) = (value for _, name, value in seen.attributes if name == "content" and "-src" in value)
    assert policy.startswith("default-src 'none'")


def test_page_with_markup_in_its_values_escapes_it():
    audit = Audit()
    audit.add(ApiError(EVIL, EVIL, elapsed=0.1), 0.0, 1, EVIL)
    options = BatchOptions(EVIL, out=EVIL, sender=EVIL, store=EVIL, name=EVIL, rate="1/s")
    text = page(audit, options, problems=[EVIL])
    text.encode("utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    assert Page(text).text.count("<script>alert('x')</script>\\x1b[2J\\ud800&\"") >= 8


def test_drawing_has_a_label_and_its_numbers_in_a_table():
    seen = read(mixed())
    drawings = [tag for tag, name, value in seen.attributes if (name, value) == ("role", "img")]
    labels = [value for tag, name, value in seen.attributes if (tag, name) == ("div", "aria-label")]
    assert labels == [
        "Of all entries: 90 sent, 5 not sent, 3 maybe sent, 2 skipped",
        "How long calls took, from 20 ms to 5.00 s; the median is 93 ms, and 95 % took 140 ms at most",
        "Calls that ended over 10.0 s; the most, 1, from 0 s to 100 ms",
    ]
    assert len(drawings) == len(labels)
    assert (seen.tags["details"], seen.tags["table"]) == (2, 4)
    assert {value for _, name, value in seen.attributes if name == "aria-labelledby"} <= set(seen.ids)


def test_page_of_few_calls_has_their_times_and_no_drawing():
    seen = read(audit_of(Ok(elapsed=0.05), Ok(elapsed=0.15)))
    assert "Throughput" not in seen.text
    assert seen.tags["details"] == 0
    assert "50 ms" in seen.text


@pytest.mark.parametrize("timeline", [True, False], ids=["one bar", "a dry run"])
def test_timeline_that_says_nothing_is_left_out(timeline):
    audit = Audit()
    for elapsed in range(1, 11):
        audit.add(Ok(elapsed=elapsed), 0.0)
    if not timeline:
        audit.timeline = Timeline()
    seen = read(audit)
    assert "Throughput" not in seen.text
    assert seen.tags["details"] == 1


@pytest.mark.parametrize(
    ("before", "mark"), [(Ok(), "sent"), (ApiError("INVALID_NUMBER"), "not-sent")], ids=["sent", "refused"]
)
def test_row_completed_before_is_counted_as_its_result(before, mark):
    audit = audit_of(Skipped(SkipReason.ALREADY_COMPLETED, result=before))
    text = page(audit)
    assert "another run has its result" in Page(text).text
    assert f"swatch {mark}" in text
    assert "swatch skipped" not in text


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([], "Nothing was to be sent"),
        ([Ok()], "The one SMS was sent"),
        ([Ok(), Ok()], "All 2 were sent"),
        ([Ok(), Skipped(SkipReason.INVALID)], "1 of 2 were sent"),
        (
            [TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT)],
            "0 of 1 were sent, 1 may have been",
        ),
    ],
)
def test_verdict_says_no_more_than_is_known(results, verdict):
    seen = read(audit_of(*results), elapsed=float(bool(results)))
    assert seen.texts[seen.texts.index("Batch of PIN requests") + 1] == verdict


def test_notes_at_the_top_are_grave_where_sms_may_have_been_sent():
    assert 'class="notes grave"' in page(mixed(), code=130)
    assert 'class="notes"' in page(audit_of(Ok()), code=143)
    assert '<ul class="notes' not in page(audit_of(Ok()))


def test_entries_beyond_the_first_are_counted_and_numbers_masked():
    audit = Audit()
    for line in range(1, 101):
        number = f"34600000{line:03}"
        audit.add(ApiError("INVALID_NUMBER", f"no such number {number}"), 0.0, line, number)
    assert [entry.line for entry in audit.entries] == list(range(1, 21))
    text = read(audit).text
    assert "And 80 more, in the results." in text
    assert "34*****001" in text
    assert not re.search(r"34600000\d", text)


def test_entry_without_a_number_shows_none():
    audit = Audit()
    for number in (None, 34600000001, "12", "not a number"):
        audit.add(Skipped(SkipReason.INVALID, "msisdn: is wrong"), 0.0, 1, number)
    assert [entry.number for entry in audit.entries] == [""] * 4


@pytest.mark.parametrize(
    "number",
    [
        "34600000005",
        "34 666 666 005",
        "+34-666-666-005",
        "(+34)666.666.005",
        "34\u00a0666\u00a0666\u00a0005",
        "34 - 666 - 666 - 005",
        "34_666_666_005",
        "٣٤٦٦٦٦٦٦٠٠٥",
    ],
)
def test_number_is_masked_however_it_is_written(number):
    text = masked(f"to {number}.")
    assert number not in text
    assert re.search(r"\*{5}\w{3}\.$", text)


def test_page_masks_all_that_came_from_outside():
    assert masked("at 12:30, 123456") == "at 12:30, 123456"
    number = "34 666 666 005"
    refused = ApiError(f"id {number}", f"no {number}", elapsed=0.1)
    audit = Audit()
    for line, result in enumerate([refused, ApiError("id 34-666-666-005", elapsed=0.1)]):
        audit.add(result, 0.0, line, number)
    name = f"{number}.csv"
    url = {"base_url": "http://127.0.0.1:34666", "path_prefix": "/34666666005", "rate": "1000000/s"}
    options = BatchOptions(name, out=name, sender=number, store=name, name=number, report=name, **url)
    ended = {"code": 130, "halted_by": refused, "problems": [name], "completed_to": 1_234_567}
    text = page(audit, options, **ended)
    for digits in ("666 666", "666-666", "34666666005"):
        assert digits not in text
    assert Page(text).text.count("id 34*****005") == 4  # one outcome, two entries, and the halt
    for said in ("2026-11-23T13:07:22", "1,234,567", "1000000/s", "http://127.0.0.1:34666/34*****005/"):
        assert said in text


def test_page_shows_no_password_of_a_store():
    text = page(Audit(), BatchOptions("x", store="rediss://:secret@example.com/0", resend_maybe_sent=True))
    assert "secret" not in text
    assert "rediss://…; what may have been sent is sent again" in text


def test_meaning_of_every_reason_is_known():
    for word in (*ErrorId, *FailureKind, *SkipReason):
        if not word.endswith(("not_allowed", "limit")):  # a guard's, and a batch of the command has none
            assert "not published" not in meaning_of("TransportFailure", word)
    assert meaning_of("ApiError", "NEW") == "an error of the gateway's that is not published"


# --- Drawings --------------------------------------------------------------------------------------------


def bar(start: float, end: float, **counts: int) -> Bar:
    return Bar(start, end, Counter({Outcome[name.upper()]: number for name, number in counts.items()}))


def histogram(*bars: Bar, median: float = 0.1, p95: float = 0.1):
    return _histogram(bars, {"least": 0.1, "median": median, "p95": p95, "p99": 0.4, "most": 0.4})


def test_share_too_small_to_see_is_seen():
    audit = Audit()
    audit.outcomes.update({Outcome.SENT: 999_999, Outcome.MAYBE_SENT: 1})
    text = page(audit)
    assert '<i class="maybe-sent" style="flex-grow:1"' in text
    assert re.search(r"\.share i \{ min-width: \dpx; \}", text)


def test_bars_are_as_high_as_their_numbers():
    one, other = histogram(bar(0.1, 0.2, sent=30, not_sent=10), bar(0.2, 0.4, sent=20)).columns
    assert one.parts == [(Outcome.SENT, 75.0), (Outcome.NOT_SENT, 25.0)]
    assert other.parts == [(Outcome.SENT, 50.0)]
    assert (other.left, other.width) == (50.0, 50.0)


def test_bar_says_its_counts_when_it_is_pointed_at():
    one, other = histogram(bar(0.1, 0.2, sent=1234), bar(0.2, 0.25)).columns
    assert (one.told, other.told) == ("100 ms to 200 ms: 1,234 sent", "200 ms to 250 ms: none")


def test_marks_stand_at_their_place_on_the_log_axis():
    bars = [bar(0.1, 0.2, sent=1), bar(0.2, 0.4, sent=1), bar(0.4, 0.8, sent=1)]
    drawn = histogram(*bars, median=0.1 * 2**1.5, p95=99.0)
    assert [round(at, 6) for at, _ in drawn.marks] == [50.0, 100.0]


def test_mark_at_the_right_edge_has_its_name_inside():
    audit = audit_of(*[Ok(elapsed=0.01)] * 2, *[Ok(elapsed=5.0)] * 18)
    assert 'class="mark left"' in page(audit)


def test_last_bucket_is_measured_by_the_time_that_it_had():
    bars = [bar(0.0, 1.0, sent=10), bar(1.0, 2.0, sent=6)]
    assert _timeline(bars, 1.6, None).columns[1].told == "1.00 s to 1.60 s: 10 a second, 6 sent"
    # But by half its width at least: one call in a moment is no rate.
    assert _timeline(bars, 1.01, None).columns[1].told == "1.00 s to 1.50 s: 12 a second, 6 sent"


@pytest.mark.parametrize(
    ("elapsed", "ticks"),
    [
        (0.05, ["0", "10 ms", "20 ms", "30 ms", "40 ms", "50 ms"]),
        (14.0, ["0", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s", "14 s"]),
        (3000.0, ["0", "10 min", "20 min", "30 min", "40 min", "50 min"]),
        (9e6, ["0", "24 h"]),
    ],
    ids=["short", "seconds", "minutes", "months"],
)
def test_ticks_of_the_time_are_round(elapsed, ticks):
    drawn = _timeline([bar(0.0, elapsed, sent=5)], elapsed, None)
    assert [text for _, text in drawn.across][: len(ticks)] == ticks


@pytest.mark.parametrize("highest", [1, 2, 3, 7, 10, 99, 101, 1000, 123_456])
def test_axis_upwards_ends_at_a_round_number_not_far_above(highest):
    most, ticks = _axis(highest, whole=True)
    values = [int(text.replace(",", "")) for _, text in ticks]
    assert values[0] == 0
    assert highest <= values[-1] <= max(2, highest * 1.7)
    assert most >= highest
    assert 2 <= len(values) <= 7


# --- Colours ---------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_and_drawings_stand_out_from_what_is_behind_them(scheme):
    """As WCAG 2.1 asks: 4.5 for texts (1.4.3), 3 for what a drawing consists of (1.4.11)."""
    text = page(Audit())
    blocks = re.findall(r":root \{(.*?)\}", text, flags=re.S)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[scheme]))
    for ground in (colours["page"], colours["panel"]):
        for name in ("text", "muted"):
            assert contrast(colours[name], ground) >= 4.5, name
    for name in ("sent", "not-sent", "maybe-sent", "skipped", "mark"):
        assert contrast(colours[name], colours["panel"]) >= 3, name
