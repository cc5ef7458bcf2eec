"""The spans of `OpenTelemetryObserver`.

Rules of this module:

- A call is a span, and each of its attempts a child of it. They are tied together by the call's id and never by
  the current context: an attempt may run in another task than its caller.
- A span of a call follows the conventions for messaging (`send`, a span of kind `CLIENT`, as a text message
  carries no context); the span of an attempt those for HTTP clients, which want one for each request and none
  around them. What neither has a name for is called `gateway360.…`.
- What was retried is no error of the call.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import attrs
from opentelemetry import context as otel_context
from opentelemetry import trace

from .._results import ApiError, NotVerified, TransportFailure
from ._events import AttemptFinished, AttemptStarted, CallFinished, CallResult, CallStarted, RetryWaiting
from ._labels import CANCELLED, OTHER, Kept, disposition_of, error_type_of, is_replayed, kind_of

__all__ = ["Spans"]

_MOST_OPEN: Final = 100_000
_MOST_CHARACTERS: Final = 200
"""Of a text of the gateway's or of an HTTP library's."""

_Attributes = dict[str, str | int]


@attrs.frozen
class _OpenCall:
    span: trace.Span
    context: otel_context.Context
    url: str | None


class Spans:
    """Begins and ends spans.

    Args:
        tracer: What makes them.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        # A call's last event always comes. Should it not, what is kept does not grow without bound.
        self._calls: Kept[_OpenCall] = Kept(_MOST_OPEN)
        self._attempts: Kept[trace.Span] = Kept(_MOST_OPEN)

    def call_started(self, event: CallStarted) -> None:
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

    def attempt_started(self, event: AttemptStarted) -> None:
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

    def attempt_finished(self, event: AttemptFinished) -> None:
        span = self._attempts.take(event.call_id)
        if span is None:
            return
        _settle(span, event.result, event.error)
        match event.result:
            case ApiError(http_status=status) | TransportFailure(http_status=int(status)):
                span.set_attribute("http.response.status_code", status)
            case _:
                pass
        span.end()

    def retry_waiting(self, event: RetryWaiting) -> None:
        call = self._calls.get(event.call_id)
        if call is None:
            return
        call.span.add_event(
            "gateway360.retry",
            {
                "gateway360.attempt": event.attempt,
                "gateway360.retry.delay": event.delay,
                "error.type": error_type_of(event.result, None) or OTHER,
            },
        )

    def call_finished(self, event: CallFinished) -> None:
        call = self._calls.take(event.call_id)
        if kind_of(event.result, event.error) != CANCELLED:
            # A call that was cancelled may leave its exchange to others who share it. Any other is over.
            attempt = self._attempts.take(event.call_id)
            if attempt is not None:
                attempt.end()
        if call is None:
            return
        _settle(call.span, event.result, event.error)
        call.span.set_attribute("gateway360.joined", event.joined)
        if event.result is not None:
            call.span.set_attribute("gateway360.attempts", event.result.attempts)
            call.span.set_attribute("gateway360.replayed", is_replayed(event.result))
        call.span.end()


def _settle(span: trace.Span, result: CallResult | None, error: type[BaseException] | None) -> None:
    """Say on a span what came of it."""
    span.set_attribute("gateway360.disposition", disposition_of(result))
    match result:
        case ApiError(error_id=error_id):
            span.set_attribute("gateway360.error_id", str(error_id)[:_MOST_CHARACTERS])
        case NotVerified(tries_remaining=int(tries)):
            span.set_attribute("gateway360.tries_remaining", tries)
        case _:
            pass
    error_type = error_type_of(result, error)
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
