"""The metrics of `OpenTelemetryObserver`.

Rules of this module:

- A metric has neither a number nor anybody's text among its attributes.
- `error.type` is there where something went wrong, and not where it went well.
"""

from __future__ import annotations

from opentelemetry import metrics

from ._events import (
    AttemptFinished,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Operation,
    RetryWaiting,
)
from ._labels import BUCKETS, MAY_BE_OUT, OTHER, Batches, disposition_of, error_type_of, shared_by

__all__ = ["Instruments"]


class Instruments:
    """Counts and measures.

    Args:
        meter: What makes the instruments.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._batches = Batches()
        self._duration = meter.create_histogram(
            "gateway360.client.call.duration",
            unit="s",
            description="How long calls took, over all attempts and waits.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._active = meter.create_up_down_counter(
            "gateway360.client.call.active", unit="{call}", description="Calls under way."
        )
        self._attempted = meter.create_counter(
            "gateway360.client.attempts", unit="{attempt}", description="Attempts that ended."
        )
        self._retries = meter.create_counter(
            "gateway360.client.retries", unit="{retry}", description="Attempts that others follow."
        )
        self._sms = meter.create_counter(
            "gateway360.client.sms", unit="{sms}", description="SMS that were sent, or may have been."
        )
        self._entries = meter.create_counter(
            "gateway360.client.batch.entries", unit="{entry}", description="Entries that batches settled."
        )
        self._batch_duration = meter.create_histogram(
            "gateway360.client.batch.duration", unit="s", description="How long batches took."
        )

    def call_started(self, event: CallStarted) -> None:
        self._active.add(1, {"gateway360.operation": event.operation})

    def attempt_finished(self, event: AttemptFinished) -> None:
        self._attempted.add(1, _outcome(event.operation, event.result, event.error))
        disposition = disposition_of(event.result)
        if event.operation == "request_pin" and disposition in MAY_BE_OUT:
            self._sms.add(1, {"gateway360.disposition": disposition})

    def retry_waiting(self, event: RetryWaiting) -> None:
        reason = error_type_of(event.result, None) or OTHER
        self._retries.add(1, {"gateway360.operation": event.operation, "error.type": reason})

    def call_finished(self, event: CallFinished) -> None:
        attributes = _outcome(event.operation, event.result, event.error)
        attributes["gateway360.shared"] = shared_by(event)
        self._duration.record(event.elapsed, attributes)
        self._active.add(-1, {"gateway360.operation": event.operation})

    def batch_progress(self, event: BatchProgress) -> None:
        for disposition, count in self._batches.advance(event).items():
            self._entries.add(count, {"gateway360.disposition": disposition.value})
        if event.finished:
            self._batch_duration.record(event.elapsed)


def _outcome(
    operation: Operation, result: CallResult | None, error: type[BaseException] | None
) -> dict[str, str]:
    attributes = {"gateway360.operation": operation, "gateway360.disposition": disposition_of(result)}
    error_type = error_type_of(result, error)
    if error_type is not None:
        attributes["error.type"] = error_type
    return attributes
