"""Gathers what a batch's page shows, and writes it."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import datetime
from typing import TextIO
from urllib.parse import urlsplit

from gateway360_async import __version__
from gateway360_async._config import endpoint
from gateway360_async._operations import REQUEST_PIN

from ._gate import seconds_apart
from ._notable import Notable, masked, masked_digits
from ._options import BatchOptions
from ._problems import INTERRUPTED
from ._report import Report, page
from ._stats import Outcomes, Statistics, bars_of
from ._summary import Ending, latencies
from ._words import count

__all__ = ["write_page"]


def write_page(
    out: TextIO,
    options: BatchOptions,
    statistics: Statistics,
    notable: Notable,
    ending: Ending,
    began: datetime,
) -> None:
    """Write the page of a run. Raises `OSError`."""
    apart = seconds_apart(options.rate)
    out.write(
        page(
            Report(
                file=masked(options.input),
                fates=statistics.fates,
                outcomes=_masked(statistics.outcomes),
                notes=_notes(ending),
                latency=latencies(statistics.all_latencies),
                latency_bars=bars_of(statistics.latencies.items()),
                timeline_bars=statistics.timeline.bars(),
                limit=None if apart is None else 1 / apart,
                notable=notable.entries,
                settings=_settings(options),
                began=began,
                elapsed=ending.elapsed,
                version=__version__,
            )
        )
    )


def _masked(outcomes: Outcomes) -> Outcomes:
    """Mask the error ids, which the gateway makes as it likes; those that are the same then are counted as one."""
    shown: Outcomes = Counter()
    for (result, why, disposition), number in outcomes.items():
        shown[result, masked(why), disposition] += number
    return shown


def _notes(ending: Ending) -> list[str]:
    notes: list[str] = []
    if ending.interrupted:
        by = "interrupted" if ending.code == INTERRUPTED else "terminated"
        notes.append(
            f"The run was {by}: line {count(ending.completed_to)} of the input was the last that was begun."
        )
    if ending.halted_by is not None:
        notes.append(f"The run was halted: {masked(str(ending.halted_by))}.")
    return [*notes, *(masked(problem) for problem in ending.problems)]


def _settings(options: BatchOptions) -> list[tuple[str, str]]:
    gateway = endpoint(options.base_url, options.path_prefix, REQUEST_PIN.path, allow_insecure=False)
    return [
        ("input", masked(options.input)),
        ("results", {None: "not kept", "-": "stdout"}.get(options.out) or masked(options.out or "")),
        ("gateway", masked_digits(gateway)),
        ("sender", masked(options.sender or "each row's own")),
        *_pace(options),
        (
            "numbers that are there twice",
            "skipped" if options.on_duplicate == "skip" else "sent a second PIN",
        ),
        (
            "software",
            f"gateway360-async {__version__}, Python {platform.python_version()}, {platform.system()}",
        ),
    ]


def _pace(options: BatchOptions) -> list[tuple[str, str]]:
    """Say how fast it is sent, and what keeps its records; a store's URL may hold a password."""
    pace = [
        ("rate", options.rate or "as fast as the gateway answers"),
        ("requests at a time", str(options.concurrency)),
    ]
    if options.store is None:
        return [*pace, ("store", "none")]
    place = options.store_file or f"{urlsplit(options.store).scheme}://…"
    unknown = "sent again" if options.resend_maybe_sent else "left alone"
    return [
        *pace,
        ("store", f"{masked(place)}; what may have been sent is {unknown}"),
        ("name in the store", masked(options.name or "")),
    ]
