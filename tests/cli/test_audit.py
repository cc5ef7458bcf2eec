"""Counts that do not grow with the run."""

from __future__ import annotations

import pickle
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway360_async import ApiError, Disposition, FailureKind, Ok, Skipped, SkipReason, TransportFailure
from gateway360_async.cli._audit import Audit, Durations, Outcome, Timeline, why

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


def test_each_result_is_counted_by_outcome_and_why():
    audit = Audit()
    for result in RESULTS.values():
        audit.add(result, 0.0)
    assert audit.total == len(RESULTS)
    assert audit.outcomes == {Outcome.SENT: 2, Outcome.NOT_SENT: 3, Outcome.MAYBE_SENT: 4, Outcome.SKIPPED: 1}
    assert audit.counts() == {"sent": 2, "not sent": 3, "maybe sent": 4, "skipped": 1}
    assert audit.reasons[("ApiError", "INVALID_NUMBER", Disposition.NOT_SENT)] == 1
    assert audit.reasons[("Skipped", "already_completed", Disposition.SENT)] == 1
    assert audit.sent_before == 1
    assert audit.repeated == 1


def test_durations_of_calls_cut_off_are_not_counted():
    audit = Audit()
    for result in RESULTS.values():
        audit.add(result, 0.0)
    assert audit.durations.total == 5
    assert audit.durations.most == 15.0
    assert audit.timeline.bars()[0].counts == {Outcome.SENT: 1, Outcome.NOT_SENT: 2, Outcome.MAYBE_SENT: 2}


@pytest.mark.parametrize(("name", "result"), RESULTS.items(), ids=RESULTS)
def test_why_is_one_word(name, result):
    assert why(result) == {"sent": "", "refused before": "already_completed"}.get(name, name)


def test_error_ids_without_end_are_counted_under_one_name():
    audit = Audit()
    for number in range(1000):
        audit.add(ApiError(f"E{number}"), 0.0)
        audit.add(ApiError("E0"), 0.0)
    assert audit.reasons.total() == 2000
    assert len(audit.reasons) == 101
    assert audit.reasons[("ApiError", "E0", Disposition.NOT_SENT)] == 1001
    assert audit.reasons[("ApiError", "(others)", Disposition.NOT_SENT)] == 900


def test_long_run_takes_no_more_memory_than_a_short_one():
    rng = random.Random(1)
    sizes = []
    audit = Audit()
    for number in range(60_000):
        audit.add(Ok(elapsed=rng.lognormvariate(-3, 2)), number * 7.0)
        if number in (20_000, 59_999):
            sizes.append(len(pickle.dumps(audit)))
    assert sizes[1] < sizes[0] * 1.2
    assert len(audit.timeline.bars()) <= 120


# --- Durations -------------------------------------------------------------------------------------------


def test_histogram_of_nothing_says_nothing():
    assert Durations().quantile(0.5) == 0.0
    assert (Durations().named(), Durations().bars()) == ({}, [])


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_quantile_is_right_to_two_digits(durations, fraction):
    histogram = Durations()
    for seconds in durations:
        histogram.add(seconds, Outcome.SENT)
    ordered = sorted(durations)
    rank = max(0, -(-int(fraction * 1000) * len(ordered) // 1000) - 1)
    exact = ordered[rank]
    got = histogram.quantile(fraction)
    assert histogram.least <= got <= histogram.most
    if 1e-4 <= exact < 999:
        assert exact * (1 - 1e-9) <= got <= exact * 1.11


@given(
    st.lists(st.tuples(st.sampled_from(list(Outcome)[:3]), st.floats(0.0, 5000.0)), min_size=1, max_size=100)
)
def test_bars_hold_all_and_lie_side_by_side(entries):
    durations = Durations()
    for outcome, seconds in entries:
        durations.add(seconds, outcome)
    bars = durations.bars()
    assert 1 <= len(bars) <= 40
    assert sum((bar.counts for bar in bars), Counter()) == Counter(outcome for outcome, _ in entries)
    assert bars[0].total
    assert bars[-1].total
    for before, after in zip(bars, bars[1:], strict=False):
        assert before.end == after.start
    for _, seconds in entries:
        assert bars[0].start <= max(seconds, 1e-4)
        assert min(seconds, 999) <= bars[-1].end


def test_bars_are_as_fine_as_there_is_room_for():
    durations = Durations()
    for seconds in (0.05, 0.0521, 0.9):
        durations.add(seconds, Outcome.SENT)
    bars = durations.bars()
    assert (bars[0].start, bars[0].total) == (pytest.approx(0.05), 2)
    assert len(bars) == 26
    assert len(durations.bars(limit=20)) == 13
    assert len(durations.bars(limit=3)) == 7  # the coarsest there are


# --- Time ------------------------------------------------------------------------------------------------


def test_timeline_that_is_full_merges_neighbours():
    timeline = Timeline(size=4, width=1.0)
    for at in (0.0, 1.5, 2.0, 3.9):
        timeline.add(at, Outcome.SENT)
    assert [(bar.start, bar.end, bar.total) for bar in timeline.bars()] == [
        (0, 1, 1),
        (1, 2, 1),
        (2, 3, 1),
        (3, 4, 1),
    ]
    timeline.add(4.0, Outcome.NOT_SENT)
    assert [(bar.start, bar.end, bar.total) for bar in timeline.bars()] == [(0, 2, 2), (2, 4, 2), (4, 6, 1)]
    timeline.add(31.0, Outcome.SENT)
    assert [(bar.end, bar.total) for bar in timeline.bars()] == [(8, 5), (16, 0), (24, 0), (32, 1)]
    assert timeline.bars()[0].counts == {Outcome.SENT: 4, Outcome.NOT_SENT: 1}


@given(st.lists(st.floats(0.0, 1e5), max_size=60))
def test_timeline_loses_nothing(moments):
    timeline = Timeline(size=8, width=0.5)
    for at in moments:
        timeline.add(at, Outcome.SENT)
    bars = timeline.bars()
    assert len(bars) <= 8
    assert sum(bar.total for bar in bars) == len(moments)
    for bar in bars:
        assert bar.total == sum(bar.start <= at < bar.end for at in moments)
