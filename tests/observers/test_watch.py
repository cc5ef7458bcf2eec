"""The events as values, and who hands them out."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys

import pytest
from made_events import LOST, OK, attempt, call, cancelled, finished, progress, started, waiting

from gateway360_async import InvalidConfiguration
from gateway360_async.observers import CallFinished, LoggingObserver, Watch, watch


class Seen:
    def __init__(self):
        self.events = []

    def notify(self, event):
        self.events.append(event)


class Failing:
    def __init__(self, error=None):
        self.error = error or ValueError("no")
        self.called = 0

    def notify(self, event):
        self.called += 1
        raise self.error


EVENTS = [started(), *attempt(1, 1, LOST), waiting(1, 1, LOST), finished(1, OK), progress(1, 5)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_a_value(event):
    assert pickle.loads(pickle.dumps(event)) == event
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError):
        event.elapsed = 1.0


@pytest.mark.parametrize(
    "event_with", [lambda error: finished(error=error), lambda error: attempt(1, 1, error=error)[1]]
)
def test_an_events_repr_says_no_more_of_an_error_than_its_class(event_with):
    event = event_with(ValueError("the whole number is 34666666111"))
    assert "error=ValueError)" in repr(event)
    assert "34666666111" not in repr(event)
    assert event == event_with(ValueError("another"))


def test_every_observer_is_told_in_order():
    one, two = Seen(), Seen()
    told = watch([one, two])
    for event in EVENTS:
        told.notify(event)
    assert one.events == two.events == EVENTS


def test_a_single_observer_needs_no_list():
    one = Seen()
    watch(one).notify(EVENTS[0])
    assert one.events == EVENTS[:1]


def test_who_is_told_besides_is_told_last_and_once():
    seen, also = Seen(), LoggingObserver()
    assert watch(seen, also)._observers == (seen, also)
    assert watch(None, also)._observers == (also,)
    own = LoggingObserver()
    assert watch([own, seen], also)._observers == (own, seen)


@pytest.mark.parametrize("nobody", [None, [], ()])
def test_where_nobody_watches_there_is_no_watch(nobody):
    assert watch(nobody) is None


class Asynchronous:
    async def notify(self, event):
        raise AssertionError


@pytest.mark.parametrize(
    ("observer", "problem"),
    [
        ("debug", "is of type str"),
        (b"debug", "is of type bytes"),
        (object(), "is of type object"),
        ([Seen(), 5], "is of type int"),
        (Seen, "is the class Seen"),
        (Asynchronous(), "has a `notify` that is asynchronous"),
    ],
)
def test_what_cannot_watch_is_refused(observer, problem):
    with pytest.raises(InvalidConfiguration, match=problem) as caught:
        watch(observer)
    assert caught.value.setting == "observer"
    assert "notify(event)" in caught.value.expected


def test_what_an_observer_raises_goes_to_the_log_once_and_no_further(caplog):
    failing, seen = Failing(), Seen()
    told = Watch([failing, seen])
    with caplog.at_level(logging.WARNING, "gateway360_async"):
        for event in EVENTS:
            told.notify(event)
    assert seen.events == EVENTS
    assert failing.called == len(EVENTS)
    (record,) = caplog.records
    assert record.levelno >= logging.WARNING
    assert record.name == "gateway360_async"
    assert "Failing" in record.getMessage()
    assert record.exc_info[1] is failing.error
    assert "34*****111" not in caplog.text


def test_observers_of_two_classes_that_fail_are_both_named(caplog):
    class Other(Failing):
        pass

    told = Watch([Failing(), Failing(), Other()])
    told.notify(EVENTS[0])
    assert [record.args[0].rsplit(".", 1)[-1] for record in caplog.records] == ["Failing", "Other"]


def test_a_cancellation_that_an_observer_raises_is_not_the_tasks(caplog):
    one, two = Failing(asyncio.CancelledError()), Seen()
    Watch([one, two]).notify(EVENTS[0])
    assert two.events == [EVENTS[0]]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_what_is_to_end_the_program_is_let_through(error):
    with pytest.raises(type(error)):
        Watch([Failing(error)]).notify(EVENTS[0])


def test_who_does_not_watch_does_not_pay():
    code = (
        "import sys, gateway360_async, gateway360_async.cli\n"
        "print([name for name in sys.modules if 'observers' in name or 'opentelemetry' in name])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("opentelemetry", "opentelemetry", "opentelemetry"),
        ("prometheus", "prometheus_client", "prometheus"),
    ],
)
def test_a_missing_extra_says_what_to_install(module, missing, extra, monkeypatch):
    name = f"gateway360_async.observers.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"install gateway360-async\[{extra}\]"):
        __import__(name)


def test_the_package_needs_no_extra():
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = sys.modules['prometheus_client'] = None\n"
        "from gateway360_async.observers import LoggingObserver, watch\n"
        "print(watch(LoggingObserver()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Watch" in shown.stdout


def test_the_events_of_a_call_have_one_id():
    for events in (call(7), cancelled(7)):
        assert {event.call_id for event in events} == {7}
        assert isinstance(events[-1], CallFinished)
    assert LoggingObserver().notify(events[0]) is None
