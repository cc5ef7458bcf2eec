"""A real client, watched, against the sandbox: what happens, in order, and what the adapters make of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from gateway360_async import ApiError, Disposition, Gateway360Client, Ok, RetryPolicy, SpendGuard
from gateway360_async.observers import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallStarted,
    LoggingObserver,
    RetryWaiting,
)
from gateway360_async.observers.opentelemetry import OpenTelemetryObserver
from gateway360_async.observers.prometheus import PrometheusObserver
from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"
MASKED = "34*****111"
KEY = "k3y-that-nobody-sees"
RETRY = RetryPolicy(base_delay=0.0)


class Seen:
    """Keeps events, and wakes who waits for one."""

    def __init__(self):
        self.events = []
        self._waits = []

    def notify(self, event):
        self.events.append(event)
        for kind, future in self._waits:
            if isinstance(event, kind) and not future.done():
                future.set_result(event)

    async def next(self, kind):
        future = asyncio.get_running_loop().create_future()
        self._waits.append((kind, future))
        return await future

    def of(self, call_id):
        return [event for event in self.events if getattr(event, "call_id", None) == call_id]

    def calls(self):
        """The events of each call, in the order of their beginnings."""
        return [self.of(event.call_id) for event in self.events if isinstance(event, CallStarted)]


class Watched:
    """A sandbox, and the settings of a client that everything watches."""

    def __init__(self):
        self.gateway = Sandbox(KEY)
        self.seen = Seen()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider()
        self.registry = CollectorRegistry()
        self.open_telemetry = OpenTelemetryObserver(self.tracers, self.meters)
        self.observers = [
            self.seen,
            LoggingObserver(),
            self.open_telemetry,
            PrometheusObserver(self.registry),
        ]

    def client(self, **settings):
        return Gateway360Client(
            KEY,
            sender="PIZZA",
            base_url=self.gateway.base_url,
            observer=self.observers,
            retry=RETRY,
            **settings,
        )

    def spans(self):
        return {span.context.span_id: span for span in self.exporter.get_finished_spans()}

    def tree(self):
        """What each call's span says, and each of its attempts."""
        spans = self.spans().values()
        return [
            (
                whole.attributes["gateway360.disposition"],
                whole.attributes.get("error.type"),
                [
                    (span.attributes["gateway360.disposition"], span.attributes.get("error.type"))
                    for span in spans
                    if span.parent is not None and span.parent.span_id == whole.context.span_id
                ],
            )
            for whole in sorted(spans, key=lambda span: span.start_time)
            if whole.name.startswith("gateway360 ")
        ]

    def counted(self, name, **labels):
        return self.registry.get_sample_value(f"gateway360_{name}", labels)


@pytest.fixture
async def watched(caplog):
    caplog.set_level(logging.DEBUG, "gateway360_async")
    watched = Watched()
    async with watched.gateway:
        yield watched
    watched.tracers.shutdown()
    watched.meters.shutdown()
    # Whatever the test was: no secret anywhere, nothing kept, nothing left in flight.
    told = " ".join(
        [
            *map(repr, watched.seen.events),
            caplog.text,
            *(str(vars(record)) for record in caplog.records if "gateway360" in record.name),
            *(span.to_json() for span in watched.spans().values()),
        ]
    )
    assert "*****" in told
    for secret in (KEY, NUMBER, *(message.msisdn for message in watched.gateway.messages)):
        assert secret not in told
    assert (
        watched.open_telemetry._spans._calls.values()
        == watched.open_telemetry._spans._attempts.values()
        == []
    )
    assert not watched.counted("calls_in_flight", operation="request_pin")
    assert not re.search(r"(Logging|OpenTelemetry|Prometheus)Observer failed", caplog.text)


def kinds(events):
    return [type(event) for event in events]


ONE_ATTEMPT = [CallStarted, AttemptStarted, AttemptFinished, CallFinished]


async def test_a_call(watched, caplog):
    async with watched.client() as client:
        result = await client.request_pin(NUMBER)
    (events,) = watched.seen.calls()
    assert kinds(events) == ONE_ATTEMPT
    assert {(event.operation, event.number) for event in events} == {("request_pin", MASKED)}
    started, begun, ended, finished = events
    assert started.url == f"{watched.gateway.base_url}/api/2fa/request"
    assert begun.attempt == ended.attempt == 1
    assert ended.result == finished.result == result
    assert (finished.joined, ended.error, finished.error) == (False, None, None)
    assert 0 <= ended.elapsed <= finished.elapsed
    assert watched.tree() == [("sent", None, [("sent", None)])]
    assert watched.counted("sms_total", disposition="sent") == 1
    assert [(record.name, record.levelname) for record in caplog.records if record.levelno >= logging.INFO][
        -1
    ] == ("gateway360_async.calls", "INFO")


async def test_a_call_that_is_tried_again(watched):
    watched.gateway.throttle_next()
    async with watched.client() as client:
        result = await client.request_pin(NUMBER)
    (events,) = watched.seen.calls()
    assert kinds(events) == [
        CallStarted,
        AttemptStarted,
        AttemptFinished,
        RetryWaiting,
        AttemptStarted,
        AttemptFinished,
        CallFinished,
    ]
    _, first, refused, waits, second, sent, finished = events
    assert [event.attempt for event in (first, refused, waits, second, sent)] == [1, 1, 1, 2, 2]
    assert refused.result == waits.result
    assert waits.delay == 0.0
    assert finished.result == sent.result == result == Ok(2, result.elapsed)
    assert watched.tree() == [("sent", None, [("not_sent", "throttled"), ("sent", None)])]
    assert watched.counted("retries_total", operation="request_pin", kind="throttled") == 1
    first_span, second_span, whole = watched.spans().values()
    assert first_span.attributes["http.response.status_code"] == 429
    assert second_span.attributes["http.request.resend_count"] == 1
    assert [event.name for event in whole.events] == ["gateway360.retry"]


async def test_a_lost_answer(watched):
    watched.gateway.lose_next_answer()
    async with watched.client() as client:
        result = await client.request_pin(NUMBER)
    assert result.disposition is Disposition.MAYBE_SENT
    (events,) = watched.seen.calls()
    assert kinds(events) == ONE_ATTEMPT
    assert events[2].result == events[3].result == result
    assert watched.tree() == [("maybe_sent", "disconnected", [("maybe_sent", "disconnected")])]
    assert watched.counted("sms_total", disposition="maybe_sent") == 1
    assert len(watched.gateway.messages) == 1


async def test_an_error_of_the_gateway(watched):
    watched.gateway.balance = 0
    async with watched.client() as client:
        result = await client.request_pin(NUMBER)
    assert isinstance(result, ApiError)
    assert watched.tree() == [
        ("not_sent", "NOT_ENOUGH_BALANCE", [("not_sent", "NOT_ENOUGH_BALANCE")]),
    ]
    assert watched.counted("sms_total", disposition="sent") is None


async def test_what_is_refused_before_an_attempt_has_none(watched):
    async with watched.client(guard=SpendGuard(allowed_prefixes={"44"})) as client:
        await client.request_pin(NUMBER)
    (events,) = watched.seen.calls()
    assert kinds(events) == [CallStarted, CallFinished]
    assert watched.tree() == [("not_sent", "prefix_not_allowed", [])]


async def test_a_repeat_within_the_cooldown(watched):
    async with watched.client(cooldown=60.0) as client:
        await client.request_pin(NUMBER)
        replayed = await client.request_pin(NUMBER)
    assert replayed.replayed
    _, events = watched.seen.calls()
    assert kinds(events) == [CallStarted, CallFinished]
    assert not events[-1].joined
    assert watched.tree() == [("sent", None, [("sent", None)]), ("sent", None, [])]
    calls = {"operation": "request_pin", "disposition": "sent", "kind": ""}
    assert watched.counted("calls_total", **calls, shared="no") == 1
    assert watched.counted("calls_total", **calls, shared="replayed") == 1
    assert watched.counted("sms_total", disposition="sent") == 1


async def test_a_call_that_joins_another(watched):
    async with watched.client() as client:
        one, two = await asyncio.gather(client.request_pin(NUMBER), client.request_pin(NUMBER))
    assert one == two
    first, second = watched.seen.calls()
    assert kinds(first) == ONE_ATTEMPT
    assert kinds(second) == [CallStarted, CallFinished]
    assert [events[-1].joined for events in (first, second)] == [False, True]
    assert [events[-1].result for events in (first, second)] == [one, two]
    assert watched.tree() == [("sent", None, [("sent", None)]), ("sent", None, [])]
    assert watched.counted("sms_total", disposition="sent") == len(watched.gateway.messages) == 1


async def cancel(call):
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert call.cancelled()


async def test_a_call_that_is_cancelled_on_its_way(watched):
    """The gateway has the request, and its answer has not come."""
    watched.gateway.delay_next(600.0)
    async with watched.client() as client:
        call = asyncio.create_task(client.request_pin(NUMBER))
        while watched.gateway.pending_faults:
            await asyncio.sleep(0)
        await cancel(call)
    (events,) = watched.seen.calls()
    assert kinds(events) == ONE_ATTEMPT
    for event in events[2:]:
        assert event.error is asyncio.CancelledError
        assert event.result.disposition is Disposition.MAYBE_SENT
    assert watched.tree() == [("maybe_sent", "cancelled", [("maybe_sent", "cancelled")])]
    assert watched.counted("sms_total", disposition="maybe_sent") == 1


async def test_a_call_that_is_cancelled_before_its_first_byte(watched):
    async with watched.client() as client:
        attempt = asyncio.create_task(watched.seen.next(AttemptStarted))
        call = asyncio.create_task(client.request_pin(NUMBER))
        await attempt
        await cancel(call)
    (events,) = watched.seen.calls()
    assert kinds(events) == ONE_ATTEMPT
    assert watched.tree() == [("not_sent", "cancelled", [("not_sent", "cancelled")])]
    assert not watched.gateway.requests


async def test_a_call_whose_deadline_passes(watched, later):
    watched.gateway.delay_next(600.0)
    async with watched.client() as client:
        attempt = asyncio.create_task(watched.seen.next(AttemptStarted))
        call = asyncio.create_task(client.request_pin(NUMBER, deadline=10))
        await attempt
        later(10)
        result = await call
    (events,) = watched.seen.calls()
    assert kinds(events) == ONE_ATTEMPT
    assert events[2].result.kind == events[3].result.kind == result.kind == "deadline"
    assert events[3].error is None
    ((disposition, kind, _),) = watched.tree()
    assert (disposition, kind) == (result.disposition, "deadline")


async def both_on_their_way(watched, client):
    """Two calls for the same, of which the second shares the exchange that the first began."""
    attempt = asyncio.create_task(watched.seen.next(AttemptStarted))
    calls = [asyncio.create_task(client.request_pin(NUMBER)) for _ in range(2)]
    await attempt
    return calls


async def test_whoever_began_an_exchange_leaves_it_to_another(watched):
    async with watched.client() as client:
        first, second = await both_on_their_way(watched, client)
        await cancel(first)
        result = await second
    assert isinstance(result, Ok)
    began, joined = watched.seen.calls()
    # The exchange goes on under the id that it began with.
    assert kinds(began) == [CallStarted, AttemptStarted, CallFinished, AttemptFinished]
    assert began[2].error is asyncio.CancelledError
    assert began[2].result.disposition is Disposition.MAYBE_SENT
    assert began[3].error is None
    assert isinstance(began[3].result, Ok)
    assert kinds(joined) == [CallStarted, CallFinished]
    assert joined[1].joined
    assert joined[1].result == result
    assert watched.tree() == [("maybe_sent", "cancelled", [("sent", None)]), ("sent", None, [])]
    assert watched.counted("sms_total", disposition="sent") == len(watched.gateway.messages) == 1
    assert watched.counted("sms_total", disposition="maybe_sent") is None


async def test_whoever_joined_an_exchange_leaves_it(watched):
    async with watched.client() as client:
        first, second = await both_on_their_way(watched, client)
        await cancel(second)
        result = await first
    began, joined = watched.seen.calls()
    assert kinds(began) == ONE_ATTEMPT
    assert began[-1].result == result
    assert kinds(joined) == [CallStarted, CallFinished]
    assert joined[1].joined
    assert joined[1].error is asyncio.CancelledError
    assert watched.tree() == [("sent", None, [("sent", None)]), ("maybe_sent", "cancelled", [])]


async def test_a_limiter_that_raises(watched):
    class Limiter(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self):
            raise RuntimeError(f"no place for {NUMBER}")

        async def __aexit__(self, *exc_info):
            raise AssertionError

    async with watched.client(limiter=Limiter()) as client:
        with pytest.raises(RuntimeError):
            await client.request_pin(NUMBER)
    (events,) = watched.seen.calls()
    assert kinds(events) == ONE_ATTEMPT
    assert [event.error for event in events[2:]] == [RuntimeError, RuntimeError]
    assert [one[1:] for one in watched.tree()] == [("RuntimeError", [("unknown", "RuntimeError")])]


async def test_pins_that_are_verified(watched):
    pin_params = {"type": "alphanumeric", "length": 16}
    async with watched.client() as client:
        await client.request_pin(NUMBER, pin_params=pin_params)
        pin = watched.gateway.messages[-1].pin
        await client.verify_pin(NUMBER, "N0TTHISPINATALL0")
        await client.verify_pin(NUMBER, pin)
    _, wrong, right = watched.seen.calls()
    for events in (wrong, right):
        assert kinds(events) == ONE_ATTEMPT
        assert {event.operation for event in events} == {"verify_pin"}
        assert events[0].url == f"{watched.gateway.base_url}/api/2fa/verify"
    assert watched.tree()[1:] == [
        ("not_verified", None, [("not_verified", None)]),
        ("verified", None, [("verified", None)]),
    ]
    told = f"{watched.seen.events} {[span.to_json() for span in watched.spans().values()]}"
    assert pin not in told
    assert "N0TTHISPINATALL0" not in told


async def test_a_batch(watched):
    numbers = [str(34600000000 + n) for n in range(10)]
    watched.gateway.hlr_fail_prefix = numbers[3]
    async with watched.client() as client:
        results = await client.send_all([*numbers, numbers[0], "not a number"])
    assert len(results) == 12
    progress = [event for event in watched.seen.events if isinstance(event, BatchProgress)]
    assert len({event.batch_id for event in progress}) == 1
    assert [event.finished for event in progress] == [False] * (len(progress) - 1) + [True]
    totals = [event.total for event in progress]
    assert totals == sorted(totals)
    assert progress[-1].total == 12
    assert {one: count for one, count in progress[-1].by_disposition.items() if count} == {
        Disposition.SENT: 9,
        Disposition.NOT_SENT: 3,
    }
    assert len(watched.seen.calls()) == 10
    assert watched.counted("batch_entries_total", disposition="sent") == 9
    assert watched.counted("batch_entries_total", disposition="not_sent") == 3
    assert watched.counted("batches_in_progress") == 0


async def test_a_batch_that_is_left_early(watched):
    watched.gateway.latency = 600.0
    numbers = [str(34600000000 + n) for n in range(10)]
    async with watched.client() as client:
        async with client.batch(numbers, concurrency=3) as batch:
            while kinds(watched.seen.events).count(AttemptStarted) < 3:
                await asyncio.sleep(0)
    progress = [event for event in watched.seen.events if isinstance(event, BatchProgress)]
    assert [event.finished for event in progress] == [False] * (len(progress) - 1) + [True]
    assert progress[-1].total == batch.report.total == 3
    assert watched.counted("batches_in_progress") == 0
    for events in watched.seen.calls():
        assert kinds(events) == ONE_ATTEMPT
        assert events[-1].result.kind == "cancelled"


async def test_spans_hang_below_the_callers(watched):
    """Through the task that the exchange runs in, and the workers of a batch."""
    tracer = watched.tracers.get_tracer("the application")
    watched.gateway.throttle_next()
    async with watched.client() as client:

        async def view(name, number):
            with tracer.start_as_current_span(name):
                await client.request_pin(number)

        await asyncio.gather(view("one", "34666666111"), view("two", "34666666222"))
        with tracer.start_as_current_span("three"):
            await client.send_all(["34666666333", "34666666444"])
    spans = watched.spans()

    def path(span):
        above = None if span.parent is None else spans[span.parent.span_id]
        return [*([] if above is None else path(above)), span.name]

    calls = [path(span)[0] for span in spans.values() if span.name == "gateway360 request_pin"]
    assert sorted(calls) == ["one", "three", "three", "two"]
    attempts = [path(span) for span in spans.values() if span.name == "POST"]
    assert len(attempts) == 5
    assert {tuple(one[1:]) for one in attempts} == {("gateway360 request_pin", "POST")}
    # Nothing of a call becomes current where it was made.
    assert {
        spans[span.context.span_id].parent for span in spans.values() if span.name in ("one", "three")
    } == {None}


async def test_an_observer_that_fails_changes_nothing(watched, caplog):
    class Failing:
        def notify(self, event):
            raise RuntimeError("I am broken")

    watched.observers = [Failing(), watched.seen]
    async with watched.client() as client:
        results = await asyncio.gather(*(client.request_pin(str(34600000000 + n)) for n in range(5)))
    assert {type(result) for result in results} == {Ok}
    assert len(watched.seen.calls()) == 5
    assert caplog.text.count("Failing failed, and the calls go on") == 1


async def test_the_environments_wish_is_heard_without_an_observer(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "gateway360_async")
    monkeypatch.setenv("GATEWAY360_LOG", "info")
    async with Sandbox(KEY) as gateway:
        async with Gateway360Client(KEY, sender="PIZZA", base_url=gateway.base_url) as client:
            await client.request_pin(NUMBER)
        both = Gateway360Client(KEY, sender="PIZZA", base_url=gateway.base_url, observer=LoggingObserver())
        async with both as client:
            await client.request_pin(NUMBER)
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway360_async.calls"]
    assert len(lines) == 2
    assert all(line.startswith(f"request_pin {MASKED}: sent (1 attempt") for line in lines)
