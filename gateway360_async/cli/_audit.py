"""Count a run's results in bounded memory, and keep the first entries to look at.

Invariants:

- No list grows with the run. Durations go into fixed buckets; the timeline has a fixed number of them, and when
  they are used up, neighbours merge and each is twice as wide.
- No clock is read: the caller says when a result came.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
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
from gateway360_async._redaction import mask_msisdn

__all__ = [
    "Audit",
    "Bar",
    "Durations",
    "Entry",
    "Outcome",
    "Reason",
    "Timeline",
    "masked",
    "outcome_of",
    "why",
]

Reason: TypeAlias = tuple[str, str, Disposition]
"""A result's class, why, and what happened to the SMS."""

_OTHERS: Final = "(others)"
_DISTINCT: Final = 100
"""Reasons that are counted by name: the gateway's error ids are an open set."""
_KEPT: Final = 20
"""Entries to look at, of each outcome."""
_NUMBER: Final = re.compile(r"\+?\d(?:[\s.()/_\-\u2010-\u2015\u2212]{0,3}\d){6,}")
"""A number as people write it: `34 666 666 005`, `34-666-666-005`, `(+34)666.666.005`."""

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
_MOST_BARS: Final = 40
_QUANTILES: Final = {"median": 0.5, "p95": 0.95, "p99": 0.99}


class Outcome(StrEnum):
    """An entry's outcome, in the four words of the summary."""

    SENT = "sent"
    NOT_SENT = "not sent"
    MAYBE_SENT = "maybe sent"
    SKIPPED = "skipped"


def outcome_of(result: str, why: str, disposition: Disposition) -> Outcome:
    """Classify an entry by its `Reason`, of this run or of the one that completed it."""
    passed_over = result == Skipped.__name__ and why != SkipReason.ALREADY_COMPLETED
    return Outcome.SKIPPED if passed_over else Outcome[disposition.name]


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


def masked(text: str, number: re.Pattern[str] = _NUMBER) -> str:
    """Mask all that may be a phone number: seven digits and more, with separators.

    For what came from outside. A date or an address is masked as well, so what we say ourselves stays out of it.
    """
    return number.sub(lambda match: mask_msisdn(re.sub(r"\D", "", match[0])), text)


@attrs.frozen
class Bar:
    """One bar of a chart: its start and end in seconds, and its entries by outcome."""

    start: float
    end: float
    counts: Counter[Outcome]

    @property
    def total(self) -> int:
        return self.counts.total()


class Durations:
    """How long calls took, in seconds to two digits."""

    def __init__(self) -> None:
        self.least = math.inf
        self.most = 0.0
        self._buckets: defaultdict[int, Counter[Outcome]] = defaultdict(Counter)

    @property
    def total(self) -> int:
        return sum(counts.total() for counts in self._buckets.values())

    def add(self, seconds: float, outcome: Outcome) -> None:
        self._buckets[_bucket(seconds)][outcome] += 1
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)

    def quantile(self, fraction: float) -> float:
        """Give the duration that this fraction of all does not exceed; 0.0 without calls."""
        wanted, below = fraction * self.total, 0
        for bucket, counts in sorted(self._buckets.items()):
            below += counts.total()
            if below >= wanted:
                return max(self.least, min(self.most, _start_of(bucket + 1)))
        return self.most

    def named(self) -> dict[str, float]:
        """Name the durations that say most; none where there was no call."""
        if not self._buckets:
            return {}
        quantiles = {name: self.quantile(fraction) for name, fraction in _QUANTILES.items()}
        return {"least": self.least, **quantiles, "most": self.most}

    def bars(self, limit: int = _MOST_BARS) -> list[Bar]:
        """Merge buckets into the finest bars of which there are at most `limit`."""
        if not self._buckets:
            return []
        edges: list[int] = []
        first = last = 0
        for series in _SERIES:
            edges = [decade * 90 + digits - 10 for decade in range(_DECADES) for digits in series]
            first, last = (bisect_right(edges, end(self._buckets)) - 1 for end in (min, max))
            if last - first < limit:
                break
        ends = [*edges[first : last + 1], edges[last + 1] if last + 1 < len(edges) else _BUCKETS]
        bars = [Bar(_start_of(start), _start_of(end), Counter()) for start, end in pairwise(ends)]
        for bucket, counts in self._buckets.items():
            bars[bisect_right(edges, bucket) - 1 - first].counts.update(counts)
        return bars


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


class Timeline:
    """Entries over time, in at most `size` buckets of equal width.

    Args:
        size: The most buckets that there are; an even number.
        width: Seconds that a bucket is wide at first. Neighbours merge when the time does not fit.
    """

    def __init__(self, size: int = 120, width: float = 0.05) -> None:
        self._size = size
        self._width = width
        self._buckets: defaultdict[int, Counter[Outcome]] = defaultdict(Counter)

    def add(self, at: float, outcome: Outcome) -> None:
        """Count one, at a moment in seconds since the beginning."""
        while at >= self._size * self._width:
            self._width *= 2
            before, self._buckets = self._buckets, defaultdict(Counter)
            for index, counts in before.items():
                self._buckets[index // 2].update(counts)
        self._buckets[int(at / self._width)][outcome] += 1

    def bars(self) -> list[Bar]:
        """Give the buckets from the beginning to the last that has an entry."""
        return [
            Bar(index * self._width, (index + 1) * self._width, self._buckets.get(index, Counter()))
            for index in range(max(self._buckets, default=-1) + 1)
        ]


@attrs.frozen
class Entry:
    """An entry to look at: its number masked, and why in a word and in a sentence."""

    line: int
    number: str
    outcome: Outcome
    why: str
    detail: str


class Audit:
    """Counts results as they come, and keeps the first of those that are not `SENT`."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.sent_before = 0
        """Entries whose SMS an earlier run sent, or another machine; they are `Outcome.SENT`, too."""
        self.repeated = 0
        """Calls of more than one attempt."""
        self.durations = Durations()
        self.timeline = Timeline()
        kept = (Outcome.MAYBE_SENT, Outcome.NOT_SENT, Outcome.SKIPPED)
        self._entries: dict[Outcome, list[Entry]] = {outcome: [] for outcome in kept}

    @property
    def total(self) -> int:
        return self.outcomes.total()

    @property
    def entries(self) -> list[Entry]:
        """The entries to look at, those that may have been sent first."""
        return [entry for entries in self._entries.values() for entry in entries]

    def counts(self) -> Counter[str]:
        """Give the counts by the word for each outcome."""
        return Counter({outcome.value: self.outcomes[outcome] for outcome in Outcome})

    def count(self, result: str, why: str, disposition: Disposition) -> Outcome:
        """Count an entry by its `Reason`. Gives what happened to it."""
        reason = (result, why, disposition)
        outcome = outcome_of(*reason)
        self.outcomes[outcome] += 1
        if reason not in self.reasons and len(self.reasons) >= _DISTINCT:
            reason = (result, _OTHERS, disposition)
        self.reasons[reason] += 1
        return outcome

    def add(self, result: BatchResult, at: float, line: int = 0, number: object = None) -> None:
        """Count a result.

        Args:
            result: The result.
            at: Seconds since the beginning.
            line: The entry's line in the input.
            number: Its number, as it is there.
        """
        outcome = self.count(type(result).__name__, why(result), result.disposition)
        if _is_call(result):
            self.repeated += result.attempts > 1
            self.durations.add(result.elapsed, outcome)
            self.timeline.add(at, outcome)
        if outcome is Outcome.SENT:
            self.sent_before += isinstance(result, Skipped)
            return
        if isinstance(result, Skipped) and result.result is not None:
            result = result.result
        if len(self._entries[outcome]) < _KEPT and not isinstance(result, Ok):
            digits = re.sub(r"\D", "", number) if isinstance(number, str) else ""
            shown = mask_msisdn(digits) if len(digits) >= 7 else ""
            detail = (result.error_msg or "") if isinstance(result, ApiError) else result.detail
            self._entries[outcome].append(Entry(line, shown, outcome, masked(why(result)), masked(detail)))


def _is_call(result: BatchResult) -> TypeGuard[Ok | ApiError | TransportFailure]:
    """Whether this run has made a call for it, to its end.

    A row that was skipped, or left open by an earlier run, has none; and how long a call took that Ctrl-C cut off says
    nothing.
    """
    if isinstance(result, TransportFailure):
        return result.kind not in (FailureKind.INTERRUPTED, FailureKind.CANCELLED)
    return not isinstance(result, Skipped)
