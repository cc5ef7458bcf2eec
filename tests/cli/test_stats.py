"""Statistics that do not grow with the run."""

from __future__ import annotations

import pickle
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway360_async import ApiError, Disposition, FailureKind, Ok, Skipped, SkipReason, TransportFailure
from gateway360_async.cli._stats import Fate, Histogram, Statistics, Timeline, bars_of, fate_of, why

RESULTS = {
    "sent": Ok(attempts=2, elapsed=0.05),
    "INVALID_NUMBER": ApiError("INVALID_NUMBER", elapsed=0.07),
    "UNKNOWN_ERROR": ApiError("UNKNOWN_ERROR", elapsed=0.07),
    "connect": TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT, elapsed=1.5),
    "timeout": TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, elapsed=15.0),
    "cancelled": TransportFailure(FailureKind.CANCELLED, Disposition.MAYBE_SENT, elapsed=3.0),
    "interrupted": TransportFailure(FailureKind.INTERRUPTED, Disposition.MAYBE_SENT),
    "invalid": Skipped(SkipReason.INVALID),
    "already_completed": Skipped(SkipReason.ALREADY_COMPLETED, result=Ok()),
    "refused before": Skipped(SkipReason.ALREADY_COMPLETED, result=ApiError("INVALID_NUMBER")),
}


def test_each_result_is_counted_by_its_fate_and_why():
    statistics = Statistics()
    for result in RESULTS.values():
        statistics.add(result, 0.0)
    assert statistics.total == len(RESULTS)
    assert statistics.fates == {Fate.SENT: 2, Fate.NOT_SENT: 3, Fate.MAYBE_SENT: 4, Fate.SKIPPED: 1}
    assert statistics.counts() == {"sent": 2, "not sent": 3, "maybe sent": 4, "skipped": 1}
    assert statistics.outcomes[("ApiError", "INVALID_NUMBER", Disposition.NOT_SENT)] == 1
    assert statistics.outcomes[("Skipped", "already_completed", Disposition.SENT)] == 1
    assert statistics.sent_before == 1
    assert statistics.repeated == 1
    assert [fate_of(RESULTS[name]) for name in ("invalid", "already_completed", "refused before")] == [
        Fate.SKIPPED,
        Fate.SENT,
        Fate.NOT_SENT,
    ]


def test_how_long_it_took_is_known_of_calls_that_came_to_their_end():
    statistics = Statistics()
    for result in RESULTS.values():
        statistics.add(result, 0.0)
    assert statistics.all_latencies.total == 5
    assert statistics.all_latencies.most == 15.0
    assert statistics.timeline.bars()[0].counts == {Fate.SENT: 1, Fate.NOT_SENT: 2, Fate.MAYBE_SENT: 2}


@pytest.mark.parametrize(("name", "result"), RESULTS.items(), ids=RESULTS)
def test_why_is_one_word(name, result):
    assert why(result) == {"sent": "", "refused before": "already_completed"}.get(name, name)


def test_error_ids_without_end_are_counted_under_one_name():
    statistics = Statistics()
    for number in range(1000):
        statistics.add(ApiError(f"E{number}"), 0.0)
        statistics.add(ApiError("E0"), 0.0)
    assert statistics.outcomes.total() == 2000
    assert len(statistics.outcomes) == 101
    assert statistics.outcomes[("ApiError", "E0", Disposition.NOT_SENT)] == 1001
    assert statistics.outcomes[("ApiError", "(others)", Disposition.NOT_SENT)] == 900


def test_a_long_run_takes_no_more_memory_than_a_short_one():
    rng = random.Random(1)
    sizes = []
    statistics = Statistics()
    for number in range(60_000):
        statistics.add(Ok(elapsed=rng.lognormvariate(-3, 2)), number * 7.0)
        if number in (20_000, 59_999):
            sizes.append(len(pickle.dumps(statistics)))
    assert sizes[1] < sizes[0] * 1.2
    assert len(statistics.timeline.bars()) <= 120


# --- Durations -------------------------------------------------------------------------------------------


def test_a_histogram_of_nothing_says_nothing():
    assert Histogram().quantile(0.5) == 0.0
    assert bars_of([(Fate.SENT, Histogram())]) == []


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_right_to_two_digits(durations, fraction):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    ordered = sorted(durations)
    rank = max(0, -(-int(fraction * 1000) * len(ordered) // 1000) - 1)
    exact = ordered[rank]
    got = histogram.quantile(fraction)
    assert histogram.least <= got <= histogram.most
    if 1e-4 <= exact < 999:
        assert exact * (1 - 1e-9) <= got <= exact * 1.11


@given(st.lists(st.tuples(st.sampled_from(list(Fate)[:3]), st.floats(0.0, 5000.0)), min_size=1, max_size=100))
def test_bars_hold_all_and_lie_side_by_side(entries):
    histograms = {fate: Histogram() for fate in Fate}
    for fate, seconds in entries:
        histograms[fate].add(seconds)
    bars = bars_of(histograms.items())
    assert 1 <= len(bars) <= 40
    assert sum((bar.counts for bar in bars), Counter()) == Counter(fate for fate, _ in entries)
    assert bars[0].total
    assert bars[-1].total
    for before, after in zip(bars, bars[1:], strict=False):
        assert before.end == after.start
    for _, seconds in entries:
        assert bars[0].start <= max(seconds, 1e-4)
        assert min(seconds, 999) <= bars[-1].end


def test_bars_are_as_fine_as_there_is_room_for():
    histogram = Histogram()
    for seconds in (0.05, 0.0521, 0.9):
        histogram.add(seconds)
    bars = bars_of([(Fate.SENT, histogram)])
    assert (bars[0].start, bars[0].total) == (pytest.approx(0.05), 2)
    assert len(bars) == 26
    assert len(bars_of([(Fate.SENT, histogram)], limit=20)) == 13
    assert len(bars_of([(Fate.SENT, histogram)], limit=3)) == 7  # the coarsest there are


# --- Time ------------------------------------------------------------------------------------------------


def test_a_timeline_that_is_full_merges_neighbours():
    timeline = Timeline(size=4, width=1.0)
    for at in (0.0, 1.5, 2.0, 3.9):
        timeline.add(at, Fate.SENT)
    assert [(bar.start, bar.end, bar.total) for bar in timeline.bars()] == [
        (0, 1, 1),
        (1, 2, 1),
        (2, 3, 1),
        (3, 4, 1),
    ]
    timeline.add(4.0, Fate.NOT_SENT)
    assert [(bar.start, bar.end, bar.total) for bar in timeline.bars()] == [(0, 2, 2), (2, 4, 2), (4, 6, 1)]
    timeline.add(31.0, Fate.SENT)
    assert [(bar.end, bar.total) for bar in timeline.bars()] == [(8, 5), (16, 0), (24, 0), (32, 1)]
    assert timeline.bars()[0].counts == {Fate.SENT: 4, Fate.NOT_SENT: 1}


@given(st.lists(st.floats(0.0, 1e5), max_size=60))
def test_a_timeline_loses_nothing(moments):
    timeline = Timeline(size=8, width=0.5)
    for at in moments:
        timeline.add(at, Fate.SENT)
    bars = timeline.bars()
    assert len(bars) <= 8
    assert sum(bar.total for bar in bars) == len(moments)
    for bar in bars:
        assert bar.total == sum(bar.start <= at < bar.end for at in moments)
