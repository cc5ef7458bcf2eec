"""A real client against the sandbox with every observer: events in order, and what the adapters make of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from gateway360_async import Disposition, Gateway360Client, InvalidConfiguration, Ok, RetryPolicy, SpendGuard
from gateway360_async.observers import (
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallStarted,
    LoggingObserver,
)
from gateway360_async.observers.opentelemetry import OpenTelemetryObserver
from gateway360_async.observers.prometheus import PrometheusObserver
from gateway360_async.sandbox import Sandbox

NUMBER = "34666666111"
MASKED = "34*****111"
KEY = "k3y-that-nobody-sees"
SENT = ["CallStarted", "AttemptStarted 1", "AttemptFinished 1 sent", "CallFinished sent"]
SENT_SPANS = ("sent", None, [("sent", None)])


def told(event):
    """An event's class, its attempt, and what it says of the outcome."""
    result, error = getattr(event, "result", None), getattr(event, "error", None)
    words = [type(event).__name__, getattr(event, "attempt", None)]
    words += [getattr(result, name, None) for name in ("disposition", "kind", "error_id")]
    words += [
        None if error is None else error.__name__,
        "coalesced" if getattr(event, "coalesced", False) else None,
    ]
    return " ".join(str(word) for word in words if word is not None)


class Seen:
    """Keeps events, and sets an `asyncio.Event` when an attempt starts."""

    def __init__(self):
        self.events = []
        self.attempted = asyncio.Event()

    def notify(self, event):
        self.events.append(event)
        if isinstance(event, AttemptStarted):
            self.attempted.set()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def calls(self):
        """The events of each call, in the order of their beginnings."""
        ids = [event.call_id for event in self.of(CallStarted)]
        return [[event for event in self.events if getattr(event, "call_id", None) == one] for one in ids]

    def stories(self):
        return [[told(event) for event in events] for events in self.calls()]


class Observed:
    """A sandbox, and clients with every observer."""

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
        settings = {"base_url": self.gateway.base_url, "observer": self.observers} | settings
        return Gateway360Client(KEY, sender="PIZZA", retry=RetryPolicy(base_delay=0.0), **settings)

    def spans(self):
        return {span.context.span_id: span for span in self.exporter.get_finished_spans()}

    def tree(self):
        """Disposition and error of each call's span, and of each of its attempts."""

        def said(span):
            return span.attributes["gateway360.disposition"], span.attributes.get("error.type")

        spans = sorted(self.spans().values(), key=lambda span: span.start_time)
        return [
            (*said(whole), [said(span) for span in spans if span.parent == whole.context])
            for whole in spans
            if whole.name.startswith("gateway360 ")
        ]

    def counted(self, name, **labels):
        return self.registry.get_sample_value(f"gateway360_{name}", labels)


@pytest.fixture
async def observed(caplog):
    caplog.set_level(logging.DEBUG, "gateway360_async")
    observed = Observed()
    async with observed.gateway:
        yield observed
    observed.tracers.shutdown()
    observed.meters.shutdown()
    # After each test: no secret anywhere, nothing kept, nothing left in flight.
    records = [record for record in caplog.get_records("call") if "gateway360" in record.name]
    texts = [f"{record.getMessage()} {vars(record)}" for record in records]
    texts += map(repr, observed.seen.events)
    texts += [span.to_json() for span in observed.spans().values()]
    text = " ".join(texts)
    assert "*****" in text
    for secret in (KEY, NUMBER, *(message.msisdn for message in observed.gateway.messages)):
        assert secret not in text
    assert not observed.open_telemetry._calls
    assert not observed.open_telemetry._attempts
    assert not observed.counted("calls_in_flight", operation="request_pin")
    assert not re.search(r"(Logging|OpenTelemetry|Prometheus)Observer failed", text)


async def test_call_events_have_its_id_number_and_times(observed, caplog):
    async with observed.client() as client:
        result = await client.request_pin(NUMBER)
    (events,) = observed.seen.calls()
    assert {(event.operation, event.number) for event in events} == {("request_pin", MASKED)}
    started, _, ended, finished = events
    assert started.url == f"{observed.gateway.base_url}/api/2fa/request"
    assert ended.result == finished.result == result
    assert 0 < ended.elapsed <= finished.elapsed
    lines = [(record.name, record.levelname) for record in caplog.records if record.levelno >= logging.INFO]
    assert lines[-1] == ("gateway360_async.calls", "INFO")


def failed(outcome):
    return [*SENT[:2], f"AttemptFinished 1 {outcome}", f"CallFinished {outcome}"]


def outcome(disposition, why):
    """The story and the spans of a call that failed at its first attempt."""
    return failed(f"{disposition} {why}"), (disposition, why, [(disposition, why)])


THROTTLED = "1 not_sent throttled"
RETRIED = [
    *("CallStarted", "AttemptStarted 1", f"AttemptFinished {THROTTLED}", f"RetryWaiting {THROTTLED}"),
    *("AttemptStarted 2", "AttemptFinished 2 sent", "CallFinished sent"),
]
RETRIED_SPANS = ("sent", None, [("not_sent", "throttled"), ("sent", None)])
GUARDED = {"guard": SpendGuard(allowed_prefixes={"44"})}
GUARDED_STORY = ["CallStarted", "CallFinished not_sent prefix_not_allowed"]


def empty_account(gateway):
    gateway.balance = 0


@pytest.mark.parametrize(
    ("prepare", "settings", "story", "tree", "sms"),
    [
        (lambda gateway: None, {}, SENT, SENT_SPANS, (1, None)),
        (Sandbox.throttle_next, {}, RETRIED, RETRIED_SPANS, (1, None)),
        (Sandbox.lose_next_answer, {}, *outcome("maybe_sent", "disconnected"), (None, 1)),
        (empty_account, {}, *outcome("not_sent", "NOT_ENOUGH_BALANCE"), (None, None)),
        (empty_account, GUARDED, GUARDED_STORY, ("not_sent", "prefix_not_allowed", []), (None, None)),
    ],
    ids=["sent", "retried", "lost", "refused", "guarded"],
)
async def test_call_outcome_is_told_alike_by_all(prepare, settings, story, tree, sms, observed):
    prepare(observed.gateway)
    async with observed.client(**settings) as client:
        await client.request_pin(NUMBER)
    assert observed.seen.stories() == [story]
    assert observed.tree() == [tree]
    assert tuple(observed.counted("sms_total", disposition=one) for one in ("sent", "maybe_sent")) == sms


async def test_retry_tells_its_pause_and_status(observed):
    observed.gateway.throttle_next()
    async with observed.client() as client:
        await client.request_pin(NUMBER)
    (events,) = observed.seen.calls()
    assert events[3].delay == 0.0
    assert observed.counted("retries_total", operation="request_pin", kind="throttled") == 1
    first, second, whole = observed.spans().values()
    assert first.attributes["http.response.status_code"] == 429
    assert second.attributes["http.request.resend_count"] == 1
    assert [event.name for event in whole.events] == ["gateway360.retry"]


async def test_call_within_cooldown_is_told_as_replayed(observed):
    async with observed.client(cooldown=60.0) as client:
        await client.request_pin(NUMBER)
        assert (await client.request_pin(NUMBER)).replayed
    assert observed.seen.stories() == [SENT, ["CallStarted", "CallFinished sent"]]
    assert observed.tree() == [SENT_SPANS, ("sent", None, [])]
    calls = {"operation": "request_pin", "disposition": "sent", "kind": ""}
    assert observed.counted("calls_total", **calls, shared="no") == 1
    assert observed.counted("calls_total", **calls, shared="replayed") == 1
    assert observed.counted("sms_total", disposition="sent") == 1


async def test_identical_call_is_told_as_coalesced(observed):
    async with observed.client() as client:
        one, two = await asyncio.gather(client.request_pin(NUMBER), client.request_pin(NUMBER))
    assert observed.seen.stories() == [SENT, ["CallStarted", "CallFinished sent coalesced"]]
    assert [event.result for event in observed.seen.of(CallFinished)] == [one, two]
    assert observed.tree() == [SENT_SPANS, ("sent", None, [])]
    assert observed.counted("sms_total", disposition="sent") == len(observed.gateway.messages) == 1


async def test_call_that_waited_in_vain_is_not_told_as_coalesced(observed, later):
    """The first gives up before its first byte; the second, which had waited for it, sends itself."""
    observed.gateway.delay_next(600.0)
    async with observed.client(concurrency=1) as client:
        busy = asyncio.create_task(client.request_pin("34666666999", deadline=20))
        while observed.gateway.pending_faults:
            await asyncio.sleep(0)
        first = asyncio.create_task(client.request_pin(NUMBER, deadline=10))
        await asyncio.sleep(0)
        second = asyncio.create_task(client.request_pin(NUMBER, deadline=60))
        await asyncio.sleep(0)
        later(10)
        assert (await first).kind == "deadline"
        later(10)
        await busy
        assert isinstance(await second, Ok)
    assert [event.coalesced for event in observed.seen.of(CallFinished)] == [False, False, False]


async def cancel(call):
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert call.cancelled()


@pytest.mark.parametrize("disposition", ["maybe_sent", "not_sent"])
async def test_cancelled_call_tells_what_is_known(disposition, observed):
    """On its way, or before its first byte."""
    observed.gateway.delay_next(600.0)
    async with observed.client() as client:
        call = asyncio.create_task(client.request_pin(NUMBER))
        await observed.seen.attempted.wait()
        while disposition == "maybe_sent" and observed.gateway.pending_faults:
            await asyncio.sleep(0)
        await cancel(call)
    outcome = f"{disposition} cancelled CancelledError"
    assert observed.seen.stories() == [failed(outcome)]
    assert observed.tree() == [(disposition, "cancelled", [(disposition, "cancelled")])]
    assert observed.counted("sms_total", disposition="maybe_sent") == (
        1 if disposition == "maybe_sent" else None
    )


async def test_call_past_its_deadline_ends_with_its_result(observed, later):
    observed.gateway.delay_next(600.0)
    async with observed.client() as client:
        call = asyncio.create_task(client.request_pin(NUMBER, deadline=10))
        await observed.seen.attempted.wait()
        later(10)
        result = await call
    (events,) = observed.seen.calls()
    assert [told(event) for event in events[3:]] == [f"CallFinished {result.disposition} deadline"]
    assert events[2].result.kind == "deadline"
    assert observed.tree()[0][:2] == (result.disposition, "deadline")


@pytest.mark.parametrize(
    ("cancelled", "stories", "tree"),
    [
        (
            0,
            [
                # The exchange goes on under the id that it began with.
                [*SENT[:2], "CallFinished maybe_sent cancelled CancelledError", SENT[2]],
                ["CallStarted", "CallFinished sent coalesced"],
            ],
            [("maybe_sent", "cancelled", [("sent", None)]), ("sent", None, [])],
        ),
        (
            1,
            [SENT, ["CallStarted", "CallFinished maybe_sent cancelled CancelledError coalesced"]],
            [SENT_SPANS, ("maybe_sent", "cancelled", [])],
        ),
    ],
    ids=["leader", "waiter"],
)
async def test_cancelled_call_leaves_its_exchange_to_another(cancelled, stories, tree, observed):
    async with observed.client() as client:
        calls = [asyncio.create_task(client.request_pin(NUMBER)) for _ in range(2)]
        await observed.seen.attempted.wait()
        await cancel(calls[cancelled])
        assert isinstance(await calls[1 - cancelled], Ok)
    assert observed.seen.stories() == stories
    assert observed.tree() == tree
    assert observed.counted("sms_total", disposition="sent") == len(observed.gateway.messages) == 1
    assert observed.counted("sms_total", disposition="maybe_sent") is None


async def test_call_that_raises_ends_with_the_errors_class(observed):
    class Limiter(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self):
            raise RuntimeError(f"no place for {NUMBER}")

        async def __aexit__(self, *exc_info):
            raise AssertionError

    async with observed.client(limiter=Limiter()) as client:
        with pytest.raises(RuntimeError):
            await client.request_pin(NUMBER)
    (story,) = observed.seen.stories()
    assert story[:3] == [*SENT[:2], "AttemptFinished 1 RuntimeError"]
    assert story[3].endswith(" RuntimeError")
    assert [one[1:] for one in observed.tree()] == [("RuntimeError", [("unknown", "RuntimeError")])]


async def test_verified_pins_are_told_and_never_shown(observed):
    async with observed.client() as client:
        await client.request_pin(NUMBER, pin_params={"type": "alphanumeric", "length": 16})
        pin = observed.gateway.messages[-1].pin
        await client.verify_pin(NUMBER, "N0TTHISPINATALL0")
        await client.verify_pin(NUMBER, pin)
        observed.gateway.delay_next(600.0)
        call = asyncio.create_task(client.verify_pin(NUMBER, pin))
        while observed.gateway.pending_faults:
            await asyncio.sleep(0)
        await cancel(call)
    _, *calls = observed.seen.calls()
    for events in calls:
        assert {event.operation for event in events} == {"verify_pin"}
        assert events[0].url == f"{observed.gateway.base_url}/api/2fa/verify"
    assert observed.seen.stories()[1:] == [SENT, SENT, failed("maybe_sent cancelled CancelledError")]
    assert observed.tree()[1:] == [
        ("not_verified", None, [("not_verified", None)]),
        ("verified", None, [("verified", None)]),
        ("maybe_sent", "cancelled", [("maybe_sent", "cancelled")]),
    ]
    text = f"{observed.seen.events} {[span.to_json() for span in observed.spans().values()]}"
    assert pin not in text
    assert "N0TTHISPINATALL0" not in text


async def test_batch_tells_its_progress(observed):
    async with observed.client() as client:
        await client.send_all([NUMBER, NUMBER, "not a number", "34666666112"])
        await client.send_all([])
    progress = observed.seen.of(BatchProgress)
    totals = [(event.total, event.finished) for event in progress]
    assert totals == [(1, False), (2, False), (3, False), (4, False), (4, True), (0, True)]
    assert {one: n for one, n in progress[4].by_disposition.items() if n} == {"sent": 2, "not_sent": 2}
    assert len({event.batch_id for event in progress}) == 2
    assert observed.seen.stories() == [SENT, SENT]
    assert observed.counted("batch_entries_total", disposition="sent") == 2
    assert observed.counted("batch_entries_total", disposition="not_sent") == 2
    assert observed.counted("batches_in_progress") == 0


async def test_batch_that_is_left_early_ends(observed):
    observed.gateway.latency = 600.0
    numbers = [str(34600000000 + n) for n in range(10)]
    async with observed.client() as client:
        async with client.batch(numbers, concurrency=3) as batch:
            while len(observed.seen.of(AttemptStarted)) < 3:
                await asyncio.sleep(0)
    progress = observed.seen.of(BatchProgress)
    assert [event.finished for event in progress] == [False] * (len(progress) - 1) + [True]
    assert progress[-1].total == batch.report.total == 3
    assert observed.counted("batches_in_progress") == 0
    assert [event.result.kind for event in observed.seen.of(CallFinished)] == ["cancelled"] * 3


async def test_spans_have_the_callers_span_as_parent(observed):
    """Through the task that the exchange runs in, and the workers of a batch."""
    tracer = observed.tracers.get_tracer("the application")
    observed.gateway.throttle_next()
    async with observed.client() as client:

        async def view(name, number):
            with tracer.start_as_current_span(name):
                await client.request_pin(number)

        await asyncio.gather(view("one", "34666666111"), view("two", "34666666222"))
        with tracer.start_as_current_span("three"):
            await client.send_all(["34666666333", "34666666444"])
    spans = observed.spans()

    def path(span):
        above = () if span.parent is None else path(spans[span.parent.span_id])
        return (*above, span.name)

    calls = [path(span)[0] for span in spans.values() if span.name == "gateway360 request_pin"]
    assert sorted(calls) == ["one", "three", "three", "two"]
    attempts = [path(span) for span in spans.values() if span.name == "POST"]
    assert [len(one) for one in attempts] == [3] * 5  # the application's span, the call's and its own


async def test_failing_observer_changes_nothing_for_calls(observed, caplog):
    class Failing:
        def notify(self, event):
            raise RuntimeError("I am broken")

    observed.observers = [Failing(), observed.seen]
    async with observed.client() as client:
        results = await asyncio.gather(*(client.request_pin(str(34600000000 + n)) for n in range(5)))
    assert {type(result) for result in results} == {Ok}
    assert observed.seen.stories() == [SENT] * 5
    assert caplog.text.count("Failing failed, and the calls go on") == 1


async def test_environment_asks_for_each_line_once(observed, monkeypatch, caplog):
    monkeypatch.setenv("GATEWAY360_LOG", "info")
    for observer in (None, LoggingObserver()):
        async with observed.client(observer=observer) as client:
            assert (await client.request_pin(NUMBER)).disposition is Disposition.SENT
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway360_async.calls"]
    assert len(lines) == 2
    assert all(line.startswith(f"request_pin {MASKED}: sent (1 attempt") for line in lines)


def test_wrong_observer_or_level_is_refused_by_the_client(monkeypatch):
    with pytest.raises(InvalidConfiguration, match="observer"):
        Gateway360Client(KEY, observer=print)
    monkeypatch.setenv("GATEWAY360_LOG", "loud")
    with pytest.raises(InvalidConfiguration, match="GATEWAY360_LOG"):
        Gateway360Client(KEY)


def test_client_without_observer_imports_none():
    code = (
        "import sys, gateway360_async, gateway360_async.cli; gateway360_async.Gateway360Client('k')\n"
        "print([name for name in sys.modules if 'observers' in name or 'opentelemetry' in name or 'delivery' in name])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
