"""Spans and metrics by OpenTelemetry's API (extra `opentelemetry`).

    from gateway360_async.observers.opentelemetry import OpenTelemetryObserver

    client = Gateway360Client(observer=OpenTelemetryObserver())

The application sets up an SDK that exports them; without one nothing is recorded.

- A call's id connects it with its attempts, never the current context: an attempt may run in another task.
- The span of a call follows the conventions for messaging, the span of an attempt those for HTTP clients. Names
  that neither has begin with `gateway360.`.
- A failed attempt that was tried again is no error of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
except ModuleNotFoundError as exc:
    raise ImportError(
        f"OpenTelemetryObserver needs {exc.name}: install gateway360-async[opentelemetry]"
    ) from exc

from .._results import ApiError
from .._version import __version__
from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Event,
    RetryWaiting,
)
from ._measurements import BUCKETS, Bounded, Measurements, disposition_of, error_type_of, kind_of

__all__ = ["OpenTelemetryObserver"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.30.0"
_MOST_OPEN: Final = 100_000
_MOST_CHARACTERS: Final = 200  # of a text of the gateway's or of an HTTP library's
_ATTRIBUTES: Final = {
    "operation": "gateway360.operation",
    "disposition": "gateway360.disposition",
    "shared": "gateway360.shared",
    "kind": "error.type",
}
"""The metrics' attributes by the label of a measurement."""


class _OpenCall(NamedTuple):
    span: trace.Span
    context: otel_context.Context | None
    url: str | None


_NO_CALL: Final = _OpenCall(trace.INVALID_SPAN, None, None)


class OpenTelemetryObserver:
    """Makes spans and metrics.

    Spans: `gateway360 request_pin` (kind `CLIENT`) for a call, a child of the caller's current span; below it
    `POST` (kind `CLIENT`) for each attempt; a pause before another attempt is an event `gateway360.retry` of
    the call's span. A call that shares another's exchange has no attempts.

    | attribute | on | value |
    |---|---|---|
    | `messaging.system`, `messaging.operation.name`, `messaging.operation.type` | call (`request_pin`) | `gateway360`, `request_pin`, `send` |
    | `server.address`, `server.port` | call, attempt | of the URL that is posted to |
    | `http.request.method`, `url.full`, `http.request.resend_count` | attempt | `POST`, the URL, how many attempts were before it |
    | `http.response.status_code` | attempt | the answer's status, if the result has it |
    | `error.type` | call, attempt | an error id (`_OTHER`: one that is not published), a kind of failure, `cancelled`, or the class of the error that was raised |
    | `gateway360.number` | call | the number, masked |
    | `gateway360.disposition` | call, attempt | `sent`, `not_sent`, `maybe_sent`; `verified` or `not_verified` of a PIN that was judged; `unknown` if no result says |
    | `gateway360.attempts`, `gateway360.coalesced`, `gateway360.replayed` | call | as the result and the event have them |
    | `gateway360.tries_remaining` | call, attempt | as a `NotVerified` has it |
    | `gateway360.error_id` | call, attempt | the gateway's error id, whatever it is |

    | metric | kind | attributes |
    |---|---|---|
    | `gateway360.client.call.duration` (s) | histogram | `gateway360.operation`, `gateway360.disposition`, `gateway360.shared` (`no`, `coalesced`, `replayed`), `error.type` |
    | `gateway360.client.call.active` ({call}) | up-down counter | `gateway360.operation` |
    | `gateway360.client.attempts` ({attempt}) | counter | `gateway360.operation`, `gateway360.disposition`, `error.type` |
    | `gateway360.client.retries` ({retry}) | counter | `gateway360.operation`, `error.type` |
    | `gateway360.client.sms` ({sms}) | counter | `gateway360.disposition`: `sent`, or `maybe_sent` |
    | `gateway360.client.batch.entries` ({entry}) | counter | `gateway360.disposition` |
    | `gateway360.client.batch.duration` (s) | histogram | |

    Args:
        tracer_provider: The provider of the spans; `None`: the application's global one.
        meter_provider: The provider of the metrics; `None`: the application's global one.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        scope = "gateway360_async", __version__
        self._tracer = trace.get_tracer(*scope, tracer_provider=tracer_provider, schema_url=_SCHEMA)
        self._calls: Bounded[_OpenCall] = Bounded(_MOST_OPEN)
        self._attempts: Bounded[trace.Span] = Bounded(_MOST_OPEN)

        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            CallStarted: self._call_started,
            AttemptStarted: self._attempt_started,
            AttemptFinished: self._attempt_finished,
            RetryWaiting: self._retry_waiting,
            CallFinished: self._call_finished,
            BatchProgress: self._batch_progress,
        }
        meter = metrics.get_meter(*scope, meter_provider=meter_provider, schema_url=_SCHEMA)
        self._measurements = Measurements(error_type_of)
        self._batch_duration = meter.create_histogram(
            "gateway360.client.batch.duration", "s", "How long batches took."
        )
        self._record = {
            "calls": meter.create_histogram(
                "gateway360.client.call.duration",
                "s",
                "How long calls took, over all attempts and waits.",
                explicit_bucket_boundaries_advisory=BUCKETS,
            ).record,
            "calls_in_flight": meter.create_up_down_counter(
                "gateway360.client.call.active", "{call}", "Calls in flight."
            ).add,
            "attempts": meter.create_counter(
                "gateway360.client.attempts", "{attempt}", "Attempts that ended."
            ).add,
            "retries": meter.create_counter(
                "gateway360.client.retries", "{retry}", "Attempts that others follow."
            ).add,
            "sms": meter.create_counter(
                "gateway360.client.sms", "{sms}", "SMS that were sent, or may have been."
            ).add,
            "batch_entries": meter.create_counter(
                "gateway360.client.batch.entries", "{entry}", "Entries of batches that have a result."
            ).add,
        }

    def notify(self, event: Event) -> None:
        """Begin or end a span, and count."""
        for metric, value, labels in self._measurements.of(event):
            self._record[metric](value, {_ATTRIBUTES[name]: label for name, label in labels.items() if label})
        self._handlers[type(event)](event)

    def _call_started(self, event: CallStarted) -> None:
        attributes = _server(event.url) | {
            "gateway360.operation": event.operation,
            "gateway360.number": event.number,
        }
        if event.operation == "request_pin":
            attributes["messaging.system"] = "gateway360"
            attributes["messaging.operation.name"] = event.operation
            attributes["messaging.operation.type"] = "send"
        parent = otel_context.get_current()
        span = self._tracer.start_span(
            f"gateway360 {event.operation}", parent, trace.SpanKind.CLIENT, attributes
        )
        left = self._calls.put(
            event.call_id, _OpenCall(span, trace.set_span_in_context(span, parent), event.url)
        )
        if left is not None:
            left.span.end()

    def _attempt_started(self, event: AttemptStarted) -> None:
        # A call that was cancelled may leave its exchange to others: then the parent is the current span.
        call = self._calls.get(event.call_id, _NO_CALL)
        attributes = _server(call.url) | {"http.request.method": "POST"}
        if call.url is not None:
            attributes["url.full"] = call.url
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        span = self._tracer.start_span("POST", call.context, trace.SpanKind.CLIENT, attributes)
        left = self._attempts.put(event.call_id, span)
        if left is not None:
            left.end()

    def _attempt_finished(self, event: AttemptFinished) -> None:
        span = self._attempts.pop(event.call_id, trace.INVALID_SPAN)
        _set_outcome(span, event.result, event.error)
        status = getattr(event.result, "http_status", None)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        span.end()

    def _retry_waiting(self, event: RetryWaiting) -> None:
        attributes: dict[str, str | float] = {
            "gateway360.attempt": event.attempt,
            "gateway360.retry.delay": event.delay,
            "error.type": error_type_of(event.result, None),
        }
        self._calls.get(event.call_id, _NO_CALL).span.add_event("gateway360.retry", attributes)

    def _call_finished(self, event: CallFinished) -> None:
        if kind_of(event.result, event.error) != "cancelled":  # which may leave its exchange to others
            self._attempts.pop(event.call_id, trace.INVALID_SPAN).end()
        span = self._calls.pop(event.call_id, _NO_CALL).span
        _set_outcome(span, event.result, event.error)
        span.set_attribute("gateway360.coalesced", event.coalesced)
        if event.result is not None:
            span.set_attribute("gateway360.attempts", event.result.attempts)
            span.set_attribute("gateway360.replayed", getattr(event.result, "replayed", False))
        span.end()

    def _batch_progress(self, event: BatchProgress) -> None:
        if event.finished:
            self._batch_duration.record(event.elapsed)


def _set_outcome(span: trace.Span, result: CallResult | None, error: type[BaseException] | None) -> None:
    span.set_attribute("gateway360.disposition", disposition_of(result))
    if isinstance(result, ApiError):
        span.set_attribute("gateway360.error_id", str(result.error_id)[:_MOST_CHARACTERS])
    tries = getattr(result, "tries_remaining", None)
    if tries is not None:
        span.set_attribute("gateway360.tries_remaining", tries)
    error_type = error_type_of(result, error)
    if error_type:
        span.set_attribute("error.type", error_type)
        # An error's text is not ours, and may hold a secret; a result's is, and holds none.
        described = None if result is None else str(result)[:_MOST_CHARACTERS]
        span.set_status(trace.StatusCode.ERROR, described)


@lru_cache(maxsize=64)
def _server(url: str | None) -> dict[str, str | int]:
    if url is None:
        return {}
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}
