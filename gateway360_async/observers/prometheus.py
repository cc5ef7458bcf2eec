"""Metrics in a registry of Prometheus's client library (extra `prometheus`).

    from gateway360_async.observers.prometheus import PrometheusObserver

    client = Gateway360Client(observer=PrometheusObserver())

Showing the registry is the application's matter (`prometheus_client.start_http_server`, say).

Rules of this module:

- A label has few values: never a number, never anybody's text; an error id that is not published is `other`.
- A registry has these metrics once, whoever watches how many clients with it.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, assert_never
from weakref import WeakKeyDictionary

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ModuleNotFoundError as exc:
    raise ImportError(f"PrometheusObserver needs {exc.name}: install gateway360-async[prometheus]") from exc

from .._exceptions import InvalidConfiguration
from .._results import Disposition
from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallStarted,
    Event,
    RetryWaiting,
)
from ._labels import BUCKETS, MAY_BE_OUT, OTHER, Batches, disposition_of, kind_of, shared_by

__all__ = ["PrometheusObserver"]


class _Metrics:
    """The metrics of one registry."""

    def __init__(self) -> None:
        self.calls = Counter(
            "gateway360_calls",
            "Calls that ended.",
            ["operation", "disposition", "kind", "shared"],
            registry=None,
        )
        self.in_flight = Gauge(
            "gateway360_calls_in_flight",
            "Calls under way.",
            ["operation"],
            registry=None,
            multiprocess_mode="livesum",
        )
        self.duration = Histogram(
            "gateway360_call_duration_seconds",
            "How long calls took, over all attempts and waits.",
            ["operation", "disposition"],
            registry=None,
            buckets=BUCKETS,
        )
        self.attempts = Counter(
            "gateway360_attempts",
            "Attempts that ended.",
            ["operation", "disposition", "kind"],
            registry=None,
        )
        self.retries = Counter(
            "gateway360_retries",
            "Attempts that others follow, by why they failed.",
            ["operation", "kind"],
            registry=None,
        )
        self.sms = Counter(
            "gateway360_sms", "SMS that were sent, or may have been.", ["disposition"], registry=None
        )
        self.entries = Counter(
            "gateway360_batch_entries", "Entries that batches settled.", ["disposition"], registry=None
        )
        self.batches = Gauge(
            "gateway360_batches_in_progress", "Batches under way.", registry=None, multiprocess_mode="livesum"
        )
        self.settled = Gauge(
            "gateway360_batch_progress_entries",
            "Entries that the batches under way have settled.",
            ["disposition"],
            registry=None,
            multiprocess_mode="livesum",
        )
        self.progress = Batches()

    def register(self, registry: CollectorRegistry) -> None:
        """Enter all of them, or none."""
        entered: list[Counter | Gauge | Histogram] = []
        try:
            for metric in (
                self.calls,
                self.in_flight,
                self.duration,
                self.attempts,
                self.retries,
                self.sms,
                self.entries,
                self.batches,
                self.settled,
            ):
                registry.register(metric)
                entered.append(metric)
        except ValueError:
            for metric in entered:
                registry.unregister(metric)
            problem = "holds metrics of these names already, and they are somebody else's"
            raise InvalidConfiguration("registry", problem, "a registry of its own") from None


_lock: Final = Lock()
_metrics: Final[WeakKeyDictionary[CollectorRegistry, _Metrics]] = WeakKeyDictionary()


def _metrics_of(registry: CollectorRegistry) -> _Metrics:
    with _lock:
        known = _metrics.get(registry)
        if known is None:
            known = _Metrics()
            known.register(registry)
            _metrics[registry] = known
        return known


class PrometheusObserver:
    """Counts in a registry. Observers with the same registry share its metrics.

    | metric | kind | labels |
    |---|---|---|
    | `gateway360_calls_total` | counter | `operation`, `disposition`, `kind`, `shared` |
    | `gateway360_calls_in_flight` | gauge | `operation` |
    | `gateway360_call_duration_seconds` | histogram | `operation`, `disposition` |
    | `gateway360_attempts_total` | counter | `operation`, `disposition`, `kind` |
    | `gateway360_retries_total` | counter | `operation`, `kind` |
    | `gateway360_sms_total` | counter | `disposition`: `sent` or `maybe_sent` |
    | `gateway360_batch_entries_total` | counter | `disposition` |
    | `gateway360_batches_in_progress` | gauge | |
    | `gateway360_batch_progress_entries` | gauge | `disposition`: of the batches under way |

    `operation` is `request_pin` or `verify_pin`; `disposition` is `sent`, `not_sent`, `maybe_sent`, `verified` or
    `not_verified` where a PIN was judged, `unknown` where no result says; `kind` is empty where all went well, an error id (`other`: one that is not published),
    a kind of failure, `cancelled` or `exception`; `shared` is `no`, `joined` or `replayed`.

    Args:
        registry: Where to count; `None`: the library's global `REGISTRY`.

    Raises:
        InvalidConfiguration: The registry holds other metrics of these names.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._metrics = _metrics_of(REGISTRY if registry is None else registry)

    def notify(self, event: Event) -> None:
        """Count an event."""
        metrics = self._metrics
        match event:
            case CallStarted():
                metrics.in_flight.labels(event.operation).inc()
            case AttemptStarted():
                pass
            case AttemptFinished():
                self._attempt_finished(event)
            case RetryWaiting():
                metrics.retries.labels(event.operation, kind_of(event.result, None) or OTHER).inc()
            case CallFinished():
                disposition = disposition_of(event.result)
                kind = kind_of(event.result, event.error) or ""
                metrics.calls.labels(event.operation, disposition, kind, shared_by(event)).inc()
                metrics.duration.labels(event.operation, disposition).observe(event.elapsed)
                metrics.in_flight.labels(event.operation).dec()
            case BatchProgress():
                self._batch_progress(event)
            case _:
                assert_never(event)

    def _attempt_finished(self, event: AttemptFinished) -> None:
        disposition = disposition_of(event.result)
        kind = kind_of(event.result, event.error) or ""
        self._metrics.attempts.labels(event.operation, disposition, kind).inc()
        if event.operation == "request_pin" and disposition in MAY_BE_OUT:
            self._metrics.sms.labels(disposition).inc()

    def _batch_progress(self, event: BatchProgress) -> None:
        metrics = self._metrics
        for disposition, count in metrics.progress.advance(event).items():
            metrics.entries.labels(disposition.value).inc(count)
        batches, settled = metrics.progress.under_way()
        metrics.batches.set(batches)
        for disposition in Disposition:
            metrics.settled.labels(disposition.value).set(settled[disposition])
