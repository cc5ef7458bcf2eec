"""What became of a run, counted in bounded memory: outcomes, latencies, throughput.

Rules of this module:

- No list grows with the run. Durations go into fixed buckets; the timeline has a fixed number of them, and when
  they are used up, neighbours merge and each is twice as wide.
- It reads no clock: who adds a result says when.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final, TypeAlias, TypeGuard, assert_never

import attrs

from gateway360_async import (
    ApiError,
    BatchResult,
    Disposition,
    FailureKind,
    Ok,
    Skipped,
    SkipReason,
    TransportFailure,
)

__all__ = [
    "Bar",
    "Fate",
    "Histogram",
    "Outcomes",
    "Statistics",
    "Timeline",
    "bars_of",
    "fate_of",
    "fate_of_outcome",
    "why",
]

Outcomes: TypeAlias = Counter[tuple[str, str, Disposition]]
"""Entries by the result's class, why, and what happened to the SMS."""

_OTHERS: Final = "(others)"
_DISTINCT: Final = 100
"""Outcomes that are counted by name. The gateway's error ids are an open set, and nobody reads more."""

# Two digits of a duration are kept: 90 buckets to a decade, from 0.1 ms to 1,000 s.
_LEAST: Final = -4
_DECADES: Final = 7
_BUCKETS: Final = 90 * _DECADES
# Renard's series: steps of about equal width on a logarithmic axis, at edges that people can read.
_SERIES: Final[Sequence[Sequence[int]]] = (
    (10, 11, 12, 14, 16, 18, 20, 22, 25, 28, 32, 35, 40, 45, 50, 56, 63, 71, 80, 90),
    (10, 12, 16, 20, 25, 32, 40, 50, 63, 80),
    (10, 16, 25, 40, 63),
)


class Fate(StrEnum):
    """What happened to an entry, in the four words of the summary."""

    SENT = "sent"
    NOT_SENT = "not sent"
    MAYBE_SENT = "maybe sent"
    SKIPPED = "skipped"


_FATES: Final = {
    Disposition.SENT: Fate.SENT,
    Disposition.NOT_SENT: Fate.NOT_SENT,
    Disposition.MAYBE_SENT: Fate.MAYBE_SENT,
}


def fate_of(result: BatchResult) -> Fate:
    """Say which of the four things happened, now or in the earlier run that completed it."""
    return fate_of_outcome(type(result).__name__, why(result), result.disposition)


def fate_of_outcome(result: str, why: str, disposition: Disposition) -> Fate:
    """Say which of the four things an outcome of `Outcomes` is."""
    passed_over = result == Skipped.__name__ and why != SkipReason.ALREADY_COMPLETED
    return Fate.SKIPPED if passed_over else _FATES[disposition]


def why(result: BatchResult) -> str:
    """Say in one word why a result is what it is; nothing for `Ok`."""
    match result:
        case Ok():
            return ""
        case ApiError():
            return str(result.error_id)
        case TransportFailure():
            return str(result.kind)
        case Skipped():
            return str(result.reason)
        case _:
            assert_never(result)


class Histogram:
    """Durations in seconds, to two digits."""

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.total = 0
        self.least = math.inf
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[_bucket(seconds)] += 1
        self.total += 1
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)

    def quantile(self, fraction: float) -> float:
        """Give the duration that this fraction of all does not exceed, to two digits; 0.0 for none at all."""
        wanted = fraction * self.total
        below = 0
        for bucket, number in enumerate(self.counts):
            below += number
            if number and below >= wanted:
                return max(self.least, min(self.most, _start_of(bucket + 1)))
        return self.most


def _bucket(seconds: float) -> int:
    if seconds < 10**_LEAST:
        return 0
    decade = math.floor(math.log10(seconds))
    # `log10` may be off by a hair at the powers of ten; no digit is below 1.0 or above 9.9.
    digits = min(99, max(10, int(seconds / 10.0**decade * 10)))
    return min(_BUCKETS - 1, (decade - _LEAST) * 90 + digits - 10)


def _start_of(bucket: int) -> float:
    decade, digits = divmod(bucket, 90)
    return (digits + 10) * 10.0 ** (decade + _LEAST - 1)


@attrs.frozen
class Bar:
    """One bar of a chart: where it starts and ends, in seconds, and how many there are of each fate."""

    start: float
    end: float
    counts: Counter[Fate]

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()


def bars_of(histograms: Iterable[tuple[Fate, Histogram]], limit: int = 40) -> list[Bar]:
    """Merge buckets into the finest bars of which there are no more than `limit`; none if all are empty."""
    counts: dict[int, Counter[Fate]] = {}
    for fate, histogram in histograms:
        for bucket, number in enumerate(histogram.counts):
            if number:
                counts.setdefault(bucket, Counter())[fate] += number
    if not counts:
        return []
    bars: list[Bar] = []
    for series in _SERIES:
        bars = _merged(counts, series)
        if len(bars) <= limit:
            break
    return bars


def _merged(counts: dict[int, Counter[Fate]], series: Sequence[int]) -> list[Bar]:
    edges = [decade * 90 + digits - 10 for decade in range(_DECADES) for digits in series] + [_BUCKETS]
    first, last = min(counts), max(counts)
    bars: list[Bar] = []
    for start, end in pairwise(edges):
        if end > first and start <= last:
            inside: Counter[Fate] = Counter()
            for bucket in range(start, end):
                inside += counts.get(bucket, Counter())
            bars.append(Bar(_start_of(start), _start_of(end), inside))
    return bars


class Timeline:
    """Entries over time, in at most `size` buckets of equal width.

    Args:
        size: The most buckets that there are; an even number.
        width: Seconds that a bucket is wide at first. Neighbours merge when the time does not fit.
    """

    def __init__(self, size: int = 120, width: float = 0.05) -> None:
        self._size = size
        self._buckets: list[Counter[Fate]] = []
        self.width = width

    def add(self, at: float, fate: Fate) -> None:
        """Count one, at a moment in seconds since the beginning."""
        while at >= self._size * self.width:
            pairs = zip(self._buckets[::2], [*self._buckets[1::2], Counter[Fate]()], strict=False)
            self._buckets = [first + second for first, second in pairs]
            self.width *= 2
        index = int(at / self.width)
        while len(self._buckets) <= index:
            self._buckets.append(Counter())
        self._buckets[index][fate] += 1

    def bars(self) -> list[Bar]:
        """Give the buckets from the beginning to the last that has an entry."""
        return [
            Bar(index * self.width, (index + 1) * self.width, counts)
            for index, counts in enumerate(self._buckets)
        ]


class Statistics:
    """Counts results as they come."""

    def __init__(self) -> None:
        self.total = 0
        self.sent_before = 0
        """Entries whose SMS an earlier run sent, or another machine; they are `Fate.SENT`, too."""
        self.fates: Counter[Fate] = Counter()
        self.outcomes: Outcomes = Counter()
        self.repeated = 0
        """Calls of more than one attempt."""
        self.latencies: dict[Fate, Histogram] = {
            fate: Histogram() for fate in Fate if fate is not Fate.SKIPPED
        }
        self.all_latencies = Histogram()
        self.timeline = Timeline()

    def counts(self) -> Counter[str]:
        """Give the counts by the word for each fate, for whoever watches."""
        return Counter({fate.value: self.fates[fate] for fate in Fate})

    def add(self, result: BatchResult, at: float) -> None:
        """Count one result, at a moment in seconds since the beginning."""
        fate = fate_of(result)
        self.total += 1
        self.fates[fate] += 1
        self.sent_before += isinstance(result, Skipped) and fate is Fate.SENT
        outcome = (type(result).__name__, why(result), result.disposition)
        if outcome not in self.outcomes and len(self.outcomes) >= _DISTINCT:
            outcome = (outcome[0], _OTHERS, outcome[2])
        self.outcomes[outcome] += 1
        if is_call(result):
            self.repeated += result.attempts > 1
            self.latencies[fate].add(result.elapsed)
            self.all_latencies.add(result.elapsed)
            self.timeline.add(at, fate)


def is_call(result: BatchResult) -> TypeGuard[Ok | ApiError | TransportFailure]:
    """Whether this run has made a call for it, to its end.

    What was skipped, or left open by an earlier run, is none; and how long a call took that Ctrl-C cut off says
    nothing.
    """
    if isinstance(result, TransportFailure):
        return result.kind not in (FailureKind.INTERRUPTED, FailureKind.CANCELLED)
    return not isinstance(result, Skipped)
