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
from gateway360_async.cli._meanings import meaning_of
from gateway360_async.cli._notable import Notable, masked
from gateway360_async.cli._options import BatchOptions
from gateway360_async.cli._page import write_page
from gateway360_async.cli._report import Report, _axis, _histogram, _timeline, page
from gateway360_async.cli._stats import Bar, Fate, Statistics, bars_of
from gateway360_async.cli._summary import Ending, latencies

EVIL = "<script>alert('x')</script>\x1b[2J\ud800&\""


def report_of(statistics: Statistics, notable: Notable | None = None, **changes) -> Report:
    report = Report(
        file="customers.csv",
        fates=statistics.fates,
        outcomes=statistics.outcomes,
        notes=[],
        latency=latencies(statistics.all_latencies),
        latency_bars=bars_of(statistics.latencies.items()),
        timeline_bars=statistics.timeline.bars(),
        limit=None,
        notable=[] if notable is None else notable.entries,
        settings=[("sender", "GOOD PIZZA")],
        began=datetime(2026, 11, 23, 13, 7, 22, tzinfo=UTC),
        elapsed=10.0,
        version="1.2.3",
    )
    return attrs.evolve(report, **changes)


def mixed() -> tuple[Statistics, Notable]:
    statistics, notable = Statistics(), Notable()
    results = [Ok(elapsed=0.05 + n / 1000) for n in range(90)]
    results += [ApiError("INVALID_NUMBER", "HLR query returned error.", elapsed=0.02)] * 5
    results += [
        TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer", elapsed=5.0)
    ] * 3
    results += [
        Skipped(SkipReason.DUPLICATE, "an earlier entry"),
        Skipped(SkipReason.INVALID, "msisdn: has 2"),
    ]
    for index, result in enumerate(results):
        statistics.add(result, index / 10 + 0.05)
        notable.add(index + 2, f"346{index:08}", result)
    return statistics, notable


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


def read(report: Report) -> Page:
    return Page(page(report))


def test_a_page_is_well_formed_and_says_it_all():
    statistics, notable = mixed()
    seen = read(report_of(statistics, notable, limit=12.0))
    assert "90 of 100 were sent, 3 may have been" in seen.text
    for text in ("INVALID_NUMBER", "timeout", "duplicate", "invalid", "GOOD PIZZA", "gateway360-async 1.2.3"):
        assert text in seen.text
    assert "23 November 2026, 13:07:22 UTC" in seen.text
    assert "asked for: 12 a second" in seen.text
    assert len(seen.ids) == len(set(seen.ids))


def test_a_page_fetches_nothing_and_runs_nothing():
    statistics, notable = mixed()
    text = page(report_of(statistics, notable))
    seen = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & set(seen.tags)
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name in ("src", "href")]
    styles = [value for _, name, value in seen.attributes if name == "style"]
    assert all(
        re.fullmatch(r"((left|width|height|bottom|top|flex-grow):[-\d.]+(%|px|);?)+", value)
        for value in styles
    )
    assert "url(" not in text
    assert "@import" not in text
    assert ("meta", "http-equiv", "Content-Security-Policy") in seen.attributes
    assert any(
        value and value.startswith("default-src 'none'")
        for _, name, value in seen.attributes
        if name == "content"
    )


def test_whatever_is_put_in_is_escaped():
    statistics, notable = Statistics(), Notable()
    result = ApiError(EVIL, EVIL, elapsed=0.1)
    statistics.add(result, 0.0)
    notable.add(1, EVIL, result)
    report = report_of(statistics, notable, file=EVIL, notes=[EVIL], settings=[(EVIL, EVIL)], version=EVIL)
    text = page(report)
    text.encode("utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    assert Page(text).text.count("<script>alert('x')</script>\\x1b[2J\\ud800&\"") >= 6


def test_each_drawing_says_what_it_shows_and_has_its_numbers_in_a_table():
    statistics, notable = mixed()
    seen = read(report_of(statistics, notable))
    drawings = [tag for tag, name, value in seen.attributes if (name, value) == ("role", "img")]
    labels = [value for tag, name, value in seen.attributes if (tag, name) == ("div", "aria-label")]
    assert labels == [
        "Of all entries: 90 sent, 5 not sent, 3 maybe sent, 2 skipped",
        "How long calls took, from 20 ms to 5.00 s; the median is 93 ms, and 95 % took 140 ms at most",
        "Calls that ended over 10.0 s; the most, 1, from 0 s to 100 ms",
    ]
    assert len(drawings) == len(labels)
    assert seen.tags["details"] == 2
    assert seen.tags["table"] == 4
    for tag, name, value in seen.attributes:
        if name == "aria-labelledby":
            assert value in seen.ids


def test_few_calls_have_their_times_and_no_drawing():
    statistics = Statistics()
    for elapsed in (0.05, 0.15):
        statistics.add(Ok(elapsed=elapsed), 1.0)
    seen = read(report_of(statistics))
    assert "Throughput" not in seen.text
    assert seen.tags["details"] == 0
    assert "50 ms" in seen.text


def test_drawing_of_one_bar_or_of_a_dry_run_which_knows_no_times_is_left_out():
    statistics = Statistics()
    for elapsed in range(1, 11):
        statistics.add(Ok(elapsed=elapsed), 0.0)
    for timeline in (statistics.timeline.bars(), []):
        seen = read(report_of(statistics, timeline_bars=timeline))
        assert "Throughput" not in seen.text
        assert seen.tags["details"] == 1


def test_row_that_an_earlier_run_completed_is_counted_as_its_result():
    statistics = Statistics()
    for result in (Ok(), Skipped(SkipReason.ALREADY_COMPLETED, result=Ok())):
        statistics.add(result, 0.0)
    seen = read(report_of(statistics))
    row = seen.text[seen.text.index("already_completed") :]
    assert "another run has its result" in row
    assert "swatch skipped" not in page(report_of(statistics))


def test_row_that_an_earlier_run_had_refused_has_the_mark_of_its_card():
    statistics = Statistics()
    refused = ApiError("INVALID_NUMBER")
    statistics.add(Skipped(SkipReason.ALREADY_COMPLETED, result=refused), 0.0)
    assert statistics.fates == {Fate.NOT_SENT: 1}
    text = page(report_of(statistics))
    assert "swatch not-sent" in text
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
def test_the_verdict_says_no_more_than_is_known(results, verdict):
    statistics = Statistics()
    for result in results:
        statistics.add(result, 0.0)
    seen = read(report_of(statistics, elapsed=0.0 if not results else 1.0))
    assert seen.texts[seen.texts.index("Batch of PIN requests") + 1] == verdict


def test_how_it_ended_is_said_at_the_top():
    statistics, _ = mixed()
    assert 'class="notes grave"' in page(report_of(statistics, notes=["The run was interrupted."]))
    sent = Statistics()
    sent.add(Ok(), 0.0)
    assert 'class="notes"' in page(report_of(sent, notes=["The run was halted."]))
    assert '<ul class="notes' not in page(report_of(sent))


def test_of_many_entries_the_first_are_kept_with_their_numbers_masked():
    statistics, notable = Statistics(), Notable()
    for line in range(1, 101):
        result = ApiError("INVALID_NUMBER", f"no such number 34600000{line:03}")
        statistics.add(result, 0.0)
        notable.add(line, f"34600000{line:03}", result)
    assert [entry.line for entry in notable.entries] == list(range(1, 21))
    text = read(report_of(statistics, notable)).text
    assert "And 80 more, in the results." in text
    assert "34*****001" in text
    assert not re.search(r"34600000\d", text)


def test_of_an_entry_without_a_number_none_is_shown():
    notable = Notable()
    for number in (None, 34600000001, "12", "not a number"):
        notable.add(1, number, Skipped(SkipReason.INVALID, "msisdn: is wrong"))
    assert [entry.number for entry in notable.entries] == [""] * 4


def test_what_may_be_a_number_is_masked_in_any_text():
    assert masked("to 34600000001 at 12:30, 123456") == "to 34*****001 at 12:30, 123456"


@pytest.mark.parametrize(
    "number",
    [
        "34 666 666 005",
        "+34-666-666-005",
        "(+34)666.666.005",
        "34\u00a0666\u00a0666\u00a0005",
        "34 - 666 - 666 - 005",
        "34_666_666_005",
        "٣٤٦٦٦٦٦٦٠٠٥",
    ],
)
def test_a_number_is_masked_however_it_is_written(number):
    text = masked(f"to {number}.")
    assert number not in text
    assert re.search(r"\*{5}\w{3}\.$", text)


def test_what_came_from_outside_is_masked_and_what_the_page_says_is_not():
    number = "34 666 666 005"
    statistics, notable = Statistics(), Notable()
    refused = ApiError(f"id {number}", f"no {number}", elapsed=0.1)
    for line, result in enumerate([refused, ApiError("id 34-666-666-005", elapsed=0.1)]):
        statistics.add(result, 0.0)
        notable.add(line, number, result)
    name = f"{number}.csv"
    options = BatchOptions(
        name,
        out=name,
        sender=number,
        store=name,
        name=number,
        report=name,
        rate="1000000/s",
        base_url="http://127.0.0.1:34666",
        path_prefix="/34666666005",
    )
    ending = Ending(code=130, elapsed=1.0, halted_by=refused, problems=[name], completed_to=1_234_567)
    out = io.StringIO()
    write_page(out, options, statistics, notable, ending, datetime(2026, 11, 23, 13, 7, 22, tzinfo=UTC))
    text = out.getvalue()
    for digits in ("666 666", "666-666", "34666666005"):
        assert digits not in text
    assert Page(text).text.count("id 34*****005") == 4  # one outcome, two entries, and the halt
    unshown = BatchOptions("x", store="rediss://:secret@example.com/0", resend_maybe_sent=True)
    write_page(out, unshown, statistics, notable, ending, datetime(2026, 11, 23, tzinfo=UTC))
    assert "secret" not in out.getvalue()
    assert "rediss://…; what may have been sent is sent again" in out.getvalue()
    for said in ("2026-11-23T13:07:22", "1,234,567", "1000000/s", "http://127.0.0.1:34666/34*****005/"):
        assert said in text


def test_every_word_has_a_meaning():
    for word in (*ErrorId, *FailureKind, *SkipReason):
        if not word.endswith(("not_allowed", "limit")):  # a guard's, and a batch of the command has none
            assert "not published" not in meaning_of("TransportFailure", word)
    assert meaning_of("ApiError", "NEW") == "an error of the gateway's that is not published"


# --- Drawings --------------------------------------------------------------------------------------------


def bar(start: float, end: float, **counts: int) -> Bar:
    return Bar(start, end, Counter({Fate[name.upper()]: number for name, number in counts.items()}))


def histogram(*bars: Bar, median: float = 0.1, p95: float = 0.1):
    return _histogram(bars, {"least": 0.1, "median": median, "p95": p95, "p99": 0.4, "most": 0.4})


def test_a_share_too_small_to_see_is_seen():
    statistics = Statistics()
    statistics.fates.update({Fate.SENT: 999_999, Fate.MAYBE_SENT: 1})
    text = page(report_of(statistics))
    assert '<i class="maybe-sent" style="flex-grow:1"' in text
    assert re.search(r"\.share i \{ min-width: \dpx; \}", text)


def test_bars_are_as_high_as_their_numbers():
    one, other = histogram(bar(0.1, 0.2, sent=30, not_sent=10), bar(0.2, 0.4, sent=20)).columns
    assert one.parts == [(Fate.SENT, 75.0), (Fate.NOT_SENT, 25.0)]
    assert other.parts == [(Fate.SENT, 50.0)]
    assert (other.left, other.width) == (50.0, 50.0)


def test_a_bar_says_its_counts_when_it_is_pointed_at():
    one, other = histogram(bar(0.1, 0.2, sent=1234), bar(0.2, 0.25)).columns
    assert (one.told, other.told) == ("100 ms to 200 ms: 1,234 sent", "200 ms to 250 ms: none")


def test_marks_stand_where_their_durations_are_on_the_logarithmic_axis():
    bars = [bar(0.1, 0.2, sent=1), bar(0.2, 0.4, sent=1), bar(0.4, 0.8, sent=1)]
    drawn = histogram(*bars, median=0.1 * 2**1.5, p95=99.0)
    assert [round(at, 6) for at, _ in drawn.marks] == [50.0, 100.0]


def test_the_name_of_a_mark_at_the_right_edge_stays_inside():
    statistics = Statistics()
    for elapsed in [0.01] * 2 + [5.0] * 18:
        statistics.add(Ok(elapsed=elapsed), 1.0)
    assert 'class="mark left"' in page(report_of(statistics))


def test_a_last_bucket_that_has_hardly_begun_is_measured_by_the_time_that_it_had():
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
def test_the_axis_upwards_ends_at_a_round_number_not_far_above(highest):
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
    text = page(report_of(Statistics()))
    blocks = re.findall(r":root \{(.*?)\}", text, flags=re.S)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[scheme]))
    for ground in (colours["page"], colours["panel"]):
        for name in ("text", "muted"):
            assert contrast(colours[name], ground) >= 4.5, name
    for name in ("sent", "not-sent", "maybe-sent", "skipped", "mark"):
        assert contrast(colours[name], colours["panel"]) >= 3, name
