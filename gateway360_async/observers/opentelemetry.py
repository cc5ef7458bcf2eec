"""Spans and metrics by OpenTelemetry's API (extra `opentelemetry`).

    from gateway360_async.observers.opentelemetry import OpenTelemetryObserver

    client = Gateway360Client(observer=OpenTelemetryObserver())

Where they go is the application's matter: it sets up an SDK, and without one nothing is recorded.

Rules of this module:

- A call is a span, and each of its attempts a child of it. They are tied together by the call's id and never by
  the current context: an attempt may run in another task than its caller.
- A span of a call follows the conventions for messaging (`send`, a span of kind `CLIENT`, as a text message
  carries no context); the span of an attempt those for HTTP clients, which want one for each request and none
  around them. What neither has a name for is called `gateway360.…`.
- `error.type` says the same on spans and on metrics, in few values. What was retried is no error of the call.
- A metric has neither a number nor anybody's text among its attributes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, assert_never
from urllib.parse import urlsplit

import attrs

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
except ModuleNotFoundError as exc:
    raise ImportError(
        f"OpenTelemetryObserver needs {exc.name}: install gateway360-async[opentelemetry]"
    ) from exc

from .._results import ApiError, Disposition, TransportFailure
from .._verification import NotVerified
from .._version import __version__
from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Event,
    Operation,
    RetryWaiting,
)
from ._labels import (
    CANCELLED,
    EXCEPTION,
    OTHER,
    Batches,
    Kept,
    disposition_of,
    is_repeated,
    kind_of,
    shared_by,
)

__all__ = ["OpenTelemetryObserver"]

_SCOPE: Final = "gateway360_async"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
_BUCKETS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    15.0,
    30.0,
)
"""Seconds: those of the conventions, and on to the client's usual deadline."""

_MAY_BE_OUT: Final = (Disposition.SENT.value, Disposition.MAYBE_SENT.value)
_MOST_OPEN: Final = 100_000
_MOST_CHARACTERS: Final = 200
"""Of a text of the gateway's or of an HTTP library's, in a span."""

_Attributes = dict[str, str | int | float | bool]


@attrs.frozen
class _OpenCall:
    span: trace.Span
    context: otel_context.Context
    url: str | None


class OpenTelemetryObserver:
    """Makes spans and metrics.

    Spans: `gateway360 request_pin` (kind `CLIENT`) for a call, a child of the caller's current span; below it
    `POST` (kind `CLIENT`) for each attempt; a pause before another attempt is an event `gateway360.retry` of
    the call's span. A call that shares another's exchange has no attempts.

    | attribute | on | what it is |
    |---|---|---|
    | `messaging.system`, `messaging.operation.name`, `messaging.operation.type` | call (`request_pin`) | `gateway360`, `request_pin`, `send` |
    | `server.address`, `server.port` | call, attempt | where it posts to |
    | `http.request.method`, `url.full`, `http.request.resend_count` | attempt | `POST`, the URL, how many attempts were before it |
    | `http.response.status_code` | attempt | the answer's status, where the result has it |
    | `error.type` | call, attempt | an error id (`_OTHER`: one that is not published), a kind of failure, `cancelled`, or the class of what was raised |
    | `gateway360.number` | call | the number, masked |
    | `gateway360.disposition` | call, attempt | `sent`, `not_sent`, `maybe_sent`; `verified` or `not_verified` where a PIN was judged; `unknown` where no result says |
    | `gateway360.attempts`, `gateway360.joined`, `gateway360.repeated` | call | as the result and the event have them |
    | `gateway360.tries_remaining` | call, attempt | as a `NotVerified` has it |
    | `gateway360.error_id` | call, attempt | the gateway's error id, whatever it is |

    | metric | kind | attributes |
    |---|---|---|
    | `gateway360.client.call.duration` (s) | histogram | `gateway360.operation`, `gateway360.disposition`, `gateway360.shared` (`no`, `joined`, `repeated`), `error.type` |
    | `gateway360.client.call.active` ({call}) | up-down counter | `gateway360.operation` |
    | `gateway360.client.attempts` ({attempt}) | counter | `gateway360.operation`, `gateway360.disposition`, `error.type` |
    | `gateway360.client.retries` ({retry}) | counter | `gateway360.operation`, `error.type` |
    | `gateway360.client.sms` ({sms}) | counter | `gateway360.disposition`: `sent`, or `maybe_sent` |
    | `gateway360.client.batch.entries` ({entry}) | counter | `gateway360.disposition` |
    | `gateway360.client.batch.duration` (s) | histogram | |

    Args:
        tracer_provider: Whose spans they are; `None`: the application's global one.
        meter_provider: Whose metrics they are; `None`: the application's global one.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(
            _SCOPE, __version__, tracer_provider=tracer_provider, schema_url=_SCHEMA
        )
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider=meter_provider, schema_url=_SCHEMA)
        # A call's last event always comes. Should it not, what is kept does not grow without bound.
        self._calls: Kept[_OpenCall] = Kept(_MOST_OPEN)
        self._attempts: Kept[trace.Span] = Kept(_MOST_OPEN)
        self._batches = Batches()
        self._duration = meter.create_histogram(
            "gateway360.client.call.duration",
            unit="s",
            description="How long calls took, over all attempts and waits.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
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

    def notify(self, event: Event) -> None:
        """Begin or end a span, and count."""
        match event:
            case CallStarted():
                self._call_started(event)
            case AttemptStarted():
                self._attempt_started(event)
            case AttemptFinished():
                self._attempt_finished(event)
            case RetryWaiting():
                self._retry_waiting(event)
            case CallFinished():
                self._call_finished(event)
            case BatchProgress():
                self._batch_progress(event)
            case _:
                assert_never(event)

    def _call_started(self, event: CallStarted) -> None:
        parent = otel_context.get_current()
        attributes: _Attributes = {
            "gateway360.operation": event.operation,
            "gateway360.number": event.number,
            **_server(event.url),
        }
        if event.operation == "request_pin":
            attributes["messaging.system"] = "gateway360"
            attributes["messaging.operation.name"] = event.operation
            attributes["messaging.operation.type"] = "send"
        span = self._tracer.start_span(
            f"gateway360 {event.operation}", parent, kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        gone = self._calls.put(
            event.call_id, _OpenCall(span, trace.set_span_in_context(span, parent), event.url)
        )
        if gone is not None:
            gone.span.end()
        self._active.add(1, {"gateway360.operation": event.operation})

    def _attempt_started(self, event: AttemptStarted) -> None:
        call = self._calls.get(event.call_id)
        attributes: _Attributes = {"http.request.method": "POST"}
        if call is not None and call.url is not None:
            attributes |= {"url.full": call.url, **_server(call.url)}
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        # Without its call, which may have left others to share the exchange, it belongs where that began.
        span = self._tracer.start_span(
            "POST", None if call is None else call.context, kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        gone = self._attempts.put(event.call_id, span)
        if gone is not None:
            gone.end()

    def _attempt_finished(self, event: AttemptFinished) -> None:
        span = self._attempts.take(event.call_id)
        if span is not None:
            _settle(span, event.result, event.error)
            match event.result:
                case ApiError(http_status=status) | TransportFailure(http_status=int(status)):
                    span.set_attribute("http.response.status_code", status)
                case _:
                    pass
            span.end()
        self._attempted.add(1, _outcome(event.operation, event.result, event.error))
        disposition = disposition_of(event.result)
        if event.operation == "request_pin" and disposition in _MAY_BE_OUT:
            self._sms.add(1, {"gateway360.disposition": disposition})

    def _retry_waiting(self, event: RetryWaiting) -> None:
        reason = _error_type(event.result, None) or OTHER
        call = self._calls.get(event.call_id)
        if call is not None:
            call.span.add_event(
                "gateway360.retry",
                {
                    "gateway360.attempt": event.attempt,
                    "gateway360.retry.delay": event.delay,
                    "error.type": reason,
                },
            )
        self._retries.add(1, {"gateway360.operation": event.operation, "error.type": reason})

    def _call_finished(self, event: CallFinished) -> None:
        call = self._calls.take(event.call_id)
        if kind_of(event.result, event.error) != CANCELLED:
            # A call that was cancelled may leave its exchange to others who share it. Any other is over.
            attempt = self._attempts.take(event.call_id)
            if attempt is not None:
                attempt.end()
        if call is not None:
            _settle(call.span, event.result, event.error)
            call.span.set_attribute("gateway360.joined", event.joined)
            if event.result is not None:
                call.span.set_attribute("gateway360.attempts", event.result.attempts)
                call.span.set_attribute("gateway360.repeated", is_repeated(event.result))
            call.span.end()
        attributes = _outcome(event.operation, event.result, event.error)
        attributes["gateway360.shared"] = shared_by(event)
        self._duration.record(event.elapsed, attributes)
        self._active.add(-1, {"gateway360.operation": event.operation})

    def _batch_progress(self, event: BatchProgress) -> None:
        for disposition, count in self._batches.advance(event).items():
            self._entries.add(count, {"gateway360.disposition": disposition.value})
        if event.finished:
            self._batch_duration.record(event.elapsed)


def _outcome(operation: Operation, result: CallResult | None, error: BaseException | None) -> _Attributes:
    attributes: _Attributes = {
        "gateway360.operation": operation,
        "gateway360.disposition": disposition_of(result),
    }
    error_type = _error_type(result, error)
    if error_type is not None:
        attributes["error.type"] = error_type
    return attributes


def _error_type(result: CallResult | None, error: BaseException | None) -> str | None:
    """Say why it failed as the conventions want it: `None` if it did not."""
    kind = kind_of(result, error)
    if kind == EXCEPTION:
        class_ = type(error)
        return (
            class_.__qualname__
            if class_.__module__ == "builtins"
            else f"{class_.__module__}.{class_.__qualname__}"
        )
    return "_OTHER" if kind == OTHER else kind


def _settle(span: trace.Span, result: CallResult | None, error: BaseException | None) -> None:
    """Say on a span what came of it."""
    span.set_attribute("gateway360.disposition", disposition_of(result))
    match result:
        case ApiError(error_id=error_id):
            span.set_attribute("gateway360.error_id", str(error_id)[:_MOST_CHARACTERS])
        case NotVerified(tries_remaining=int(tries)):
            span.set_attribute("gateway360.tries_remaining", tries)
        case _:
            pass
    error_type = _error_type(result, error)
    if error_type is not None:
        span.set_attribute("error.type", error_type)
        # What was raised has a text of somebody else's; a result has one of ours, without secrets.
        said = None if result is None else str(result)[:_MOST_CHARACTERS]
        span.set_status(trace.StatusCode.ERROR, said)


@lru_cache(maxsize=64)
def _server(url: str | None) -> _Attributes:
    """Name the server by the conventions; shared, so not to be changed."""
    if url is None:
        return {}
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}
