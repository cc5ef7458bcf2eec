"""Spans and metrics by OpenTelemetry's API (extra `opentelemetry`).

    from gateway360_async.observers.opentelemetry import OpenTelemetryObserver

    client = Gateway360Client(observer=OpenTelemetryObserver())

Where they go is the application's matter: it sets up an SDK, and without one nothing is recorded.
"""

from __future__ import annotations

from typing import Final, assert_never

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as exc:
    raise ImportError(
        f"OpenTelemetryObserver needs {exc.name}: install gateway360-async[opentelemetry]"
    ) from exc

from .._version import __version__
from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallStarted,
    Event,
    RetryWaiting,
)
from ._instruments import Instruments
from ._spans import Spans

__all__ = ["OpenTelemetryObserver"]

_SCOPE: Final = "gateway360_async"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.30.0"


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
    | `gateway360.attempts`, `gateway360.joined`, `gateway360.replayed` | call | as the result and the event have them |
    | `gateway360.tries_remaining` | call, attempt | as a `NotVerified` has it |
    | `gateway360.error_id` | call, attempt | the gateway's error id, whatever it is |

    | metric | kind | attributes |
    |---|---|---|
    | `gateway360.client.call.duration` (s) | histogram | `gateway360.operation`, `gateway360.disposition`, `gateway360.shared` (`no`, `joined`, `replayed`), `error.type` |
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
        self._spans = Spans(
            trace.get_tracer(_SCOPE, __version__, tracer_provider=tracer_provider, schema_url=_SCHEMA)
        )
        self._instruments = Instruments(
            metrics.get_meter(_SCOPE, __version__, meter_provider=meter_provider, schema_url=_SCHEMA)
        )

    def notify(self, event: Event) -> None:
        """Begin or end a span, and count."""
        match event:
            case CallStarted():
                self._spans.call_started(event)
                self._instruments.call_started(event)
            case AttemptStarted():
                self._spans.attempt_started(event)
            case AttemptFinished():
                self._spans.attempt_finished(event)
                self._instruments.attempt_finished(event)
            case RetryWaiting():
                self._spans.retry_waiting(event)
                self._instruments.retry_waiting(event)
            case CallFinished():
                self._spans.call_finished(event)
                self._instruments.call_finished(event)
            case BatchProgress():
                self._instruments.batch_progress(event)
            case _:
                assert_never(event)
