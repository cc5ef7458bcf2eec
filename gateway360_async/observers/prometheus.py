"""Metrics in a registry of Prometheus's client library (extra `prometheus`).

    from gateway360_async.observers.prometheus import PrometheusObserver

    client = Gateway360Client(observer=PrometheusObserver())

The application exposes the registry, for instance by `prometheus_client.start_http_server`. A registry has these
metrics once, for all its observers.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ModuleNotFoundError as exc:
    raise ImportError(f"PrometheusObserver needs {exc.name}: install gateway360-async[prometheus]") from exc

from .._exceptions import InvalidConfiguration
from .._results import Disposition
from ._events import BatchProgress, Event
from ._measurements import BUCKETS, Measurements, kind_of

__all__ = ["PrometheusObserver"]

_lock: Final = Lock()


class _Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=None)
        gauge = partial(Gauge, registry=None, multiprocess_mode="livesum")
        self.measurements = Measurements(kind_of)
        self.counts: dict[str, Counter | Gauge] = {
            "calls": counter(
                "gateway360_calls", "Calls that ended.", ["operation", "disposition", "kind", "shared"]
            ),
            "calls_in_flight": gauge("gateway360_calls_in_flight", "Calls in flight.", ["operation"]),
            "attempts": counter(
                "gateway360_attempts", "Attempts that ended.", ["operation", "disposition", "kind"]
            ),
            "retries": counter(
                "gateway360_retries",
                "Attempts that others follow, by why they failed.",
                ["operation", "kind"],
            ),
            "sms": counter("gateway360_sms", "SMS that were sent, or may have been.", ["disposition"]),
            "batch_entries": counter(
                "gateway360_batch_entries", "Entries of batches that have a result.", ["disposition"]
            ),
        }
        self.duration = Histogram(
            "gateway360_call_duration_seconds",
            "How long calls took, over all attempts and waits.",
            ["operation", "disposition"],
            registry=None,
            buckets=BUCKETS,
        )
        self.batches = gauge("gateway360_batches_in_progress", "Batches in progress.")
        self.batch_progress = gauge(
            "gateway360_batch_progress_entries",
            "Entries of the batches in progress that have a result.",
            ["disposition"],
        )
        gauges = self.batches, self.batch_progress
        metrics: list[Counter | Gauge | Histogram] = [self.duration, *gauges, *self.counts.values()]
        entered: list[Counter | Gauge | Histogram] = []
        try:
            for metric in metrics:
                registry.register(metric)
                entered.append(metric)
        except ValueError:
            for metric in entered:
                registry.unregister(metric)
            problem = "holds metrics of these names already, of another origin"
            raise InvalidConfiguration("registry", problem, "a registry of its own") from None


# The metrics do not refer to their registry, so that it can be garbage collected.
_metrics: Final[WeakKeyDictionary[CollectorRegistry, _Metrics]] = WeakKeyDictionary()


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
    | `gateway360_batch_progress_entries` | gauge | `disposition`: of the batches in progress |

    `operation` is `request_pin` or `verify_pin`; `disposition` is `sent`, `not_sent`, `maybe_sent`, `verified` or
    `not_verified` of a PIN that was judged, `unknown` if no result says; `kind` is empty after a success, otherwise an
    error id (`other`: one that is not published), a kind of failure, `cancelled` or `exception`; `shared` is `no`,
    `coalesced` or `replayed`.

    Args:
        registry: The registry to count in; `None`: the library's global `REGISTRY`.

    Raises:
        InvalidConfiguration: The registry holds other metrics of these names.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = REGISTRY if registry is None else registry
        with _lock:
            metrics = _metrics.get(registry)
            if metrics is None:
                metrics = _metrics[registry] = _Metrics(registry)
        self._metrics = metrics

    def notify(self, event: Event) -> None:
        """Count an event."""
        metrics = self._metrics
        for metric, value, labels in metrics.measurements.of(event):
            if metric == "calls":
                metrics.duration.labels(labels["operation"], labels["disposition"]).observe(value)
            metrics.counts[metric].labels(*labels.values()).inc(1 if metric == "calls" else value)
        if isinstance(event, BatchProgress):
            batches, entries = metrics.measurements.batches()
            metrics.batches.set(batches)
            for disposition in Disposition:
                metrics.batch_progress.labels(disposition.value).set(entries[disposition])
