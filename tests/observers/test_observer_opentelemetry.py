"""Spans and metrics, as OpenTelemetry's own SDK records them."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from support.made_events import (
    LOST,
    NO_FUNDS,
    OK,
    REFUSED,
    RIGHT,
    STRANGE,
    THROTTLED,
    URL,
    WRONG,
    attempt,
    call,
    cancelled,
    finished,
    progress,
    retried,
    started,
    tell,
    waiting,
)

from gateway360_async import __version__
from gateway360_async.observers import opentelemetry
from gateway360_async.observers.opentelemetry import OpenTelemetryObserver


class Sdk:
    """The SDK, with what it has recorded."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.observer = OpenTelemetryObserver(self.tracers, self.meters)

    def spans(self):
        """Finished spans, in the order of their ends."""
        return list(self.exporter.get_finished_spans())

    def metrics(self):
        """By the metric's name, its points: attributes, as sorted pairs, to value, or to count and sum."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: {
                tuple(sorted(point.attributes.items())): (
                    point.value if hasattr(point, "value") else (point.count, point.sum)
                )
                for point in metric.data.data_points
            }
            for scope in data.resource_metrics[0].scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def sdk():
    sdk = Sdk()
    yield sdk
    sdk.tracers.shutdown()
    sdk.meters.shutdown()


def test_call_has_a_span_with_its_attempts_below(sdk):
    tell(sdk.observer, retried())
    first, second, whole = sdk.spans()
    assert [span.name for span in (first, second, whole)] == ["POST", "POST", "gateway360 request_pin"]
    assert {span.kind for span in (first, second, whole)} == {trace.SpanKind.CLIENT}
    assert whole.parent is None
    assert first.parent == second.parent == whole.context

    assert dict(whole.attributes) == {
        "messaging.system": "gateway360",
        "messaging.operation.name": "request_pin",
        "messaging.operation.type": "send",
        "server.address": "api.gateway360.com",
        "server.port": 443,
        "gateway360.operation": "request_pin",
        "gateway360.number": "34*****111",
        "gateway360.disposition": "sent",
        "gateway360.attempts": 2,
        "gateway360.coalesced": False,
        "gateway360.replayed": False,
    }
    assert whole.status.status_code is trace.StatusCode.UNSET
    (event,) = whole.events
    assert event.name == "gateway360.retry"
    assert dict(event.attributes) == {
        "gateway360.attempt": 1,
        "gateway360.retry.delay": 0.0625,
        "error.type": "connect",
    }

    http = {
        "http.request.method": "POST",
        "url.full": URL,
        "server.address": "api.gateway360.com",
        "server.port": 443,
    }
    assert dict(first.attributes) == http | {"gateway360.disposition": "not_sent", "error.type": "connect"}
    assert first.status.status_code is trace.StatusCode.ERROR
    assert first.status.description == "not sent, connect: connection refused (1 attempt, 0.125 s)"
    assert dict(second.attributes) == http | {
        "http.request.resend_count": 1,
        "gateway360.disposition": "sent",
    }
    assert second.status.status_code is trace.StatusCode.UNSET


@pytest.mark.parametrize(
    ("result", "error_type", "status", "described"),
    [
        (REFUSED, "connect", None, "not sent, connect"),
        (THROTTLED, "throttled", 429, "not sent, throttled"),
        (LOST, "disconnected", None, "may have been sent, disconnected"),
        (NO_FUNDS, "NOT_ENOUGH_BALANCE", 200, "not sent, the gateway answered NOT_ENOUGH_BALANCE: no funds"),
        (STRANGE, "_OTHER", 400, "not sent, the gateway answered SOMETHING_NEW"),
    ],
)
def test_failure_has_its_type_and_status(result, error_type, status, described, sdk):
    tell(sdk.observer, call(result=result))
    attempted, whole = sdk.spans()
    for span in (attempted, whole):
        assert span.attributes["error.type"] == error_type
        assert span.attributes["gateway360.disposition"] == result.disposition
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description.startswith(described)
        assert span.attributes.get("gateway360.error_id") == getattr(result, "error_id", None)
        assert not span.events
    assert attempted.attributes.get("http.response.status_code") == status
    assert "http.response.status_code" not in whole.attributes


@pytest.mark.parametrize(
    ("error", "result", "error_type", "disposition"),
    [
        (asyncio.CancelledError(), None, "cancelled", "unknown"),
        (asyncio.CancelledError(), OK, "cancelled", "sent"),
        (ValueError("my key is hunter2"), None, "ValueError", "unknown"),
        (asyncio.QueueFull("my key is hunter2"), None, "asyncio.queues.QueueFull", "unknown"),
    ],
)
def test_error_is_named_by_its_class_only(error, result, error_type, disposition, sdk):
    tell(sdk.observer, started(), attempt(1, 1, result, error=error), finished(result=result, error=error))
    for span in sdk.spans():
        assert span.attributes["error.type"] == error_type
        assert span.attributes["gateway360.disposition"] == disposition
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description == (None if result is None else str(result))
        assert "hunter2" not in span.to_json()
    assert len(sdk.spans()) == 2


def test_attempts_follow_the_id_and_not_the_context(sdk):
    tracer = sdk.tracers.get_tracer("the application")
    with tracer.start_as_current_span("one") as one:
        tell(sdk.observer, started(1))
    with tracer.start_as_current_span("two") as two:
        tell(sdk.observer, started(2))
        tell(sdk.observer, attempt(2, 1, REFUSED)[0], attempt(1, 1, OK)[0])
        tell(sdk.observer, attempt(2, 1, REFUSED)[1], waiting(2, 1, REFUSED), attempt(1, 1, OK)[1])
    tell(sdk.observer, finished(1), attempt(2, 2, OK), finished(2))
    for view, attempts in ((one, 1), (two, 2)):
        (call_span,) = [span for span in sdk.spans() if span.parent == view.context]
        assert call_span.name == "gateway360 request_pin"
        below = [span for span in sdk.spans() if span.parent == call_span.context]
        assert [span.name for span in below] == ["POST"] * attempts
        assert len(call_span.events) == attempts - 1
        assert {span.context.trace_id for span in below} == {view.context.trace_id}


def test_exchange_goes_on_after_its_call_was_cancelled(sdk):
    tracer = sdk.tracers.get_tracer("the application")
    begun, ended = attempt(1, 1, REFUSED)
    with tracer.start_as_current_span("sign-up") as view:
        tell(sdk.observer, started(1), started(2), begun)
        sdk.observer.notify(finished(1, None, error=asyncio.CancelledError()))
        assert [span.name for span in sdk.spans()] == ["gateway360 request_pin"]
        tell(sdk.observer, ended, waiting(1, 1, REFUSED), attempt(1, 2, OK), finished(2, coalesced=True))
    first_call, first, second, coalesced, _ = sdk.spans()
    assert first.parent == first_call.context
    assert second.parent == view.context
    assert second.attributes["gateway360.disposition"] == "sent"
    assert "url.full" not in second.attributes
    assert coalesced.attributes["gateway360.coalesced"] is True
    assert not sdk.observer._calls
    assert not sdk.observer._attempts


def test_nothing_is_kept_of_finished_calls(sdk):
    tell(sdk.observer, retried(1), cancelled(2), call(3, LOST))
    # An attempt without an end of its own ends with its call.
    tell(sdk.observer, started(4), attempt(4, 1)[0], finished(4))
    assert not sdk.observer._calls
    assert not sdk.observer._attempts
    assert len(sdk.spans()) == 3 + 2 + 2 + 2


def test_open_spans_are_bounded(sdk, monkeypatch):
    monkeypatch.setattr(opentelemetry, "_MOST_OPEN", 2)
    observer = OpenTelemetryObserver(sdk.tracers, sdk.meters)
    for call_id in range(1, 6):
        tell(observer, started(call_id), attempt(call_id, 1)[0])
    assert [*observer._calls] == [*observer._attempts] == [4, 5]
    assert len(sdk.spans()) == 6
    tell(observer, attempt(5, 2)[0])  # without an end of the one before
    assert len(sdk.spans()) == 7
    # Dropped ones may end after all.
    for call_id in range(1, 6):
        tell(observer, attempt(call_id, 1, OK)[1], finished(call_id))
    assert len(sdk.spans()) == 11
    assert set(sdk.metrics()["gateway360.client.call.active"].values()) == {0}


@pytest.mark.parametrize(
    ("result", "disposition", "tries"), [(RIGHT, "verified", None), (WRONG, "not_verified", 2)]
)
def test_judged_pin_is_no_error_and_no_sms(result, disposition, tries, sdk):
    tell(sdk.observer, call(result=result, operation="verify_pin"))
    attempted, whole = sdk.spans()
    assert whole.name == "gateway360 verify_pin"
    assert not [name for name in whole.attributes if name.startswith("messaging.")]
    for span in (attempted, whole):
        assert span.attributes["gateway360.disposition"] == disposition
        assert span.attributes.get("gateway360.tries_remaining") == tries
        assert span.status.status_code is trace.StatusCode.UNSET
        assert "error.type" not in span.attributes
        assert "hunter2" not in span.to_json()
    assert whole.attributes["gateway360.replayed"] is False
    metrics = sdk.metrics()
    assert "gateway360.client.sms" not in metrics
    (point,) = metrics["gateway360.client.call.duration"]
    assert dict(point)["gateway360.disposition"] == disposition


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://127.0.0.1:8080/api/2fa/request", ("127.0.0.1", 8080)),
        ("http://[::1]/api/2fa/request", ("::1", 80)),
        (None, (None, None)),
    ],
)
def test_server_is_that_of_the_url(url, server, sdk):
    tell(sdk.observer, started(url=url), attempt(1, 1, OK), finished())
    for span in sdk.spans():
        named = tuple(span.attributes.get(name) for name in ("server.address", "server.port"))
        assert named == server
    assert sdk.spans()[0].attributes.get("url.full") == url


def test_long_texts_of_the_gateway_are_cut(sdk):
    long = attrs.evolve(STRANGE, error_id="X" * 50_000, error_msg="Y" * 50_000)
    tell(sdk.observer, call(result=long))
    for span in sdk.spans():
        assert span.attributes["gateway360.error_id"] == "X" * 200
        assert len(span.status.description) == 200


def test_metrics_count_calls_and_attempts(sdk):
    tell(sdk.observer, retried(1), call(2, LOST), call(3, STRANGE), call(4, NO_FUNDS), cancelled(5))
    tell(sdk.observer, started(6), finished(6, coalesced=True, elapsed=2.0))
    tell(sdk.observer, started(7), finished(7, attrs.evolve(LOST, replayed=True)))
    tell(sdk.observer, started(8))

    def point(disposition, shared=None, error_type=None):
        attributes = {"gateway360.operation": "request_pin", "gateway360.disposition": disposition}
        attributes |= {} if shared is None else {"gateway360.shared": shared}
        attributes |= {} if error_type is None else {"error.type": error_type}
        return tuple(sorted(attributes.items()))

    assert sdk.metrics() == {
        "gateway360.client.call.duration": {
            point("sent", "no"): (1, 0.5),
            point("sent", "coalesced"): (1, 2.0),
            point("maybe_sent", "no", "disconnected"): (1, 0.25),
            point("maybe_sent", "replayed", "disconnected"): (1, 0.25),
            point("not_sent", "no", "_OTHER"): (1, 0.25),
            point("not_sent", "no", "NOT_ENOUGH_BALANCE"): (1, 0.25),
            point("unknown", "no", "cancelled"): (1, 0.25),
        },
        "gateway360.client.call.active": {(("gateway360.operation", "request_pin"),): 1},
        "gateway360.client.attempts": {
            point("not_sent", error_type="connect"): 1,
            point("sent"): 1,
            point("maybe_sent", error_type="disconnected"): 1,
            point("not_sent", error_type="_OTHER"): 1,
            point("not_sent", error_type="NOT_ENOUGH_BALANCE"): 1,
            point("unknown", error_type="cancelled"): 1,
        },
        "gateway360.client.retries": {
            (("error.type", "connect"), ("gateway360.operation", "request_pin")): 1
        },
        "gateway360.client.sms": {
            (("gateway360.disposition", "sent"),): 1,
            (("gateway360.disposition", "maybe_sent"),): 1,
        },
    }


def test_metrics_count_batch_entries_once(sdk):
    tell(sdk.observer, progress(1, 5), progress(2, 1, 1), progress(1, 7, 0, 1, finished=True))
    assert sdk.metrics() == {
        "gateway360.client.batch.entries": {
            (("gateway360.disposition", "sent"),): 8,
            (("gateway360.disposition", "not_sent"),): 1,
            (("gateway360.disposition", "maybe_sent"),): 1,
        },
        "gateway360.client.batch.duration": {(): (1, 1.5)},
    }
    assert not sdk.spans()


def test_duration_buckets_go_up_to_the_deadline(sdk):
    tell(sdk.observer, call())
    (scope,) = sdk.reader.get_metrics_data().resource_metrics[0].scope_metrics
    duration = next(one for one in scope.metrics if one.name == "gateway360.client.call.duration")
    (point,) = duration.data.data_points
    assert duration.unit == "s"
    assert point.explicit_bounds[0] == 0.005
    assert point.explicit_bounds[-1] == 30.0


def test_names_are_those_of_the_conventions(sdk):
    """The oracle is the conventions' own package."""
    modules = error_attributes, http_attributes, messaging_attributes, server_attributes, url_attributes
    named = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    tell(sdk.observer, retried(1), call(2, NO_FUNDS))
    used = {name for span in sdk.spans() for name in span.attributes}
    used |= {name for points in sdk.metrics().values() for point in points for name, _ in point}
    assert {name for name in used if not name.startswith("gateway360.")} <= named
    assert messaging_attributes.MessagingOperationTypeValues.SEND.value == "send"
    assert error_attributes.ErrorTypeValues.OTHER.value == "_OTHER"
    assert opentelemetry._SCHEMA in {schema.value for schema in schemas.Schemas}
    scopes = [span.instrumentation_scope for span in sdk.spans()]
    assert {scope.schema_url for scope in scopes} == {opentelemetry._SCHEMA}
    assert {(scope.name, scope.version) for scope in scopes} == {("gateway360_async", __version__)}


def test_without_an_sdk_nothing_fails():
    observer = OpenTelemetryObserver()
    tell(observer, retried(), cancelled(2), progress(1, 1, finished=True))
    assert not observer._calls
