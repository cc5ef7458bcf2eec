"""Events as values, and the notifier that hands them to observers."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys

import pytest
from support.cases import each
from support.made_events import LOST, OK, attempt, finished, progress, started, waiting

from gateway360_async import InvalidConfiguration
from gateway360_async.observers import LoggingObserver
from gateway360_async.observers._events import Notifier, notifier_of


class Seen:
    def __init__(self):
        self.events = []

    def notify(self, event):
        self.events.append(event)


class Failing:
    def __init__(self, error=None):
        self.error = error or ValueError("no")

    def notify(self, event):
        raise self.error


EVENTS = [started(), *attempt(1, 1, LOST), waiting(1, 1, LOST), finished(1, OK), progress(1, 5)]


@each("event", EVENTS)
def test_event_is_a_frozen_value_that_pickles(event):
    assert pickle.loads(pickle.dumps(event)) == event
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError):
        event.elapsed = 1.0


@each("event_with", [lambda error: finished(error=error), lambda error: attempt(1, 1, error=error)[1]])
def test_event_keeps_the_class_of_an_error_only(event_with):
    event = event_with(ValueError("the whole number is 34666666111"))
    assert "error=ValueError)" in repr(event)
    assert "34666666111" not in repr(event)
    assert event == event_with(ValueError("another"))


def test_notifier_tells_every_observer_in_order():
    one, two, also, own = Seen(), Seen(), LoggingObserver(), LoggingObserver()
    for event in EVENTS:
        notifier_of([one, two]).notify(event)
        notifier_of(one).notify(event)
    assert one.events == [event for event in EVENTS for _ in range(2)]
    assert two.events == EVENTS
    assert notifier_of(one, also)._observers == (one, also)
    assert notifier_of(None, also)._observers == (also,)
    assert notifier_of([own, one], also)._observers == (own, one)
    assert [notifier_of(none) for none in (None, [], ())] == [None] * 3


class Asynchronous:
    async def notify(self, event):
        raise AssertionError


@each(
    ("observer", "problem"),
    [
        ("debug", "is of type str"),
        (b"debug", "is of type bytes"),
        (object(), "is of type object"),
        ([Seen(), 5], "is of type int"),
        ([None], "is of type NoneType"),
        (Seen, "is the class Seen"),
        (Asynchronous(), "has a `notify` that is asynchronous"),
    ],
)
def test_notifier_refuses_what_cannot_observe(observer, problem):
    with pytest.raises(InvalidConfiguration, match=problem) as caught:
        notifier_of(observer)
    assert caught.value.setting == "observer"
    assert "notify(event)" in caught.value.expected


def test_notifier_logs_a_failing_class_once(caplog):
    class Other(Failing):
        pass

    failing, seen = Failing(), Seen()
    told = Notifier([failing, Failing(), seen, Other(asyncio.CancelledError())])
    for event in EVENTS:
        told.notify(event)
    assert seen.events == EVENTS
    first, second = caplog.records
    assert (first.name, first.levelname, first.args) == ("gateway360_async", "ERROR", ("Failing",))
    assert first.exc_info[1] is failing.error
    assert second.args[0].endswith("Other")
    assert "34*****111" not in caplog.text


@each("error", [KeyboardInterrupt(), SystemExit()])
def test_notifier_lets_through_what_ends_the_program(error):
    with pytest.raises(type(error)):
        Notifier([Failing(error)]).notify(EVENTS[0])


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("opentelemetry", "opentelemetry", "opentelemetry"),
        ("prometheus", "prometheus_client", "prometheus"),
    ],
)
def test_missing_extra_says_what_to_install(module, missing, extra, monkeypatch):
    name = f"gateway360_async.observers.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"install gateway360-async\[{extra}\]"):
        __import__(name)


def test_package_needs_no_extra():
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = sys.modules['prometheus_client'] = None\n"
        "from gateway360_async.observers import LoggingObserver\nfrom gateway360_async.observers._events import notifier_of\n"
        "print(notifier_of(LoggingObserver()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Notifier" in shown.stdout
