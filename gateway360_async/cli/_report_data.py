"""What a batch's page shows, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from ._notable import NotableEntry
from ._stats import Bar, Fate, Outcomes

__all__ = ["Report"]


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
        timeline_bars: Calls by when they ended.
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
