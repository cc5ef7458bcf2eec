"""Events as lines of a log."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import attrs
import pytest
from made_events import (
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

from gateway360_async import InvalidConfiguration
from gateway360_async.observers import LoggingObserver, observer_from_environment


def fields_of(record):
    return {
        name.removeprefix("gateway360_"): value
        for name, value in vars(record).items()
        if name.startswith("gateway360_")
    }


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, "gateway360_async")
    return caplog


def test_a_call_that_was_tried_twice(log):
    tell(LoggingObserver(), retried(3))
    assert {record.name for record in log.records} == {"gateway360_async.calls"}
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        ("DEBUG", "request_pin 34*****111: began [call 3]"),
        ("DEBUG", "request_pin 34*****111: attempt 1 began [call 3]"),
        (
            "DEBUG",
            (
                "request_pin 34*****111: attempt 1 ended after 0.125 s: "
                "not sent, connect: connection refused (1 attempt, 0.125 s) [call 3]"
            ),
        ),
        (
            "INFO",
            (
                "request_pin 34*****111: waits 0.062 s after attempt 1: "
                "not sent, connect: connection refused (1 attempt, 0.125 s) [call 3]"
            ),
        ),
        ("DEBUG", "request_pin 34*****111: attempt 2 began [call 3]"),
        (
            "DEBUG",
            "request_pin 34*****111: attempt 2 ended after 0.125 s: sent (2 attempts, 0.500 s) [call 3]",
        ),
        ("INFO", "request_pin 34*****111: sent (2 attempts, 0.500 s) [call 3]"),
    ]


@pytest.mark.parametrize(
    ("event", "level", "said", "fields"),
    [
        (started(), "DEBUG", "began", {"event": "CallStarted", "url": URL}),
        (
            attempt(1, 2)[0],
            "DEBUG",
            "attempt 2 began",
            {"event": "AttemptStarted", "attempt": 2},
        ),
        (
            attempt(1, 2, THROTTLED)[1],
            "DEBUG",
            "attempt 2 ended after 0.125 s: not sent, throttled (1 attempt, 0.125 s)",
            {
                "event": "AttemptFinished",
                "attempt": 2,
                "elapsed": 0.125,
                "disposition": "not_sent",
                "kind": "throttled",
                "http_status": 429,
                "attempts": 1,
                "replayed": False,
            },
        ),
        (
            waiting(1, 2, NO_FUNDS, 0.5),
            "INFO",
            "waits 0.500 s after attempt 2: not sent, the gateway answered NOT_ENOUGH_BALANCE: no funds (1 attempt)",
            {
                "event": "RetryWaiting",
                "attempt": 2,
                "delay": 0.5,
                "disposition": "not_sent",
                "kind": "NOT_ENOUGH_BALANCE",
                "error_id": "NOT_ENOUGH_BALANCE",
                "http_status": 200,
                "attempts": 1,
                "replayed": False,
            },
        ),
        (
            finished(joined=True),
            "INFO",
            "sent (1 attempt, 0.250 s), shared with an identical call",
            {
                "event": "CallFinished",
                "elapsed": 0.25,
                "joined": True,
                "disposition": "sent",
                "attempts": 1,
                "replayed": False,
            },
        ),
        (
            finished(result=LOST),
            "WARNING",
            "may have been sent, disconnected: the connection broke (1 attempt, 0.500 s)",
            {
                "event": "CallFinished",
                "elapsed": 0.25,
                "joined": False,
                "disposition": "maybe_sent",
                "kind": "disconnected",
                "attempts": 1,
                "replayed": False,
            },
        ),
        (
            finished(result=STRANGE),
            "WARNING",
            "not sent, the gateway answered SOMETHING_NEW_FOR_34666666111: what is it? (1 attempt)",
            {
                "event": "CallFinished",
                "elapsed": 0.25,
                "joined": False,
                "disposition": "not_sent",
                "kind": "other",
                "error_id": "SOMETHING_NEW_FOR_34666666111",
                "http_status": 400,
                "attempts": 1,
                "replayed": False,
            },
        ),
        (
            finished(result=None, error=ValueError("my key is hunter2")),
            "WARNING",
            "raised ValueError",
            {
                "event": "CallFinished",
                "elapsed": 0.25,
                "joined": False,
                "disposition": "unknown",
                "kind": "exception",
                "error": "ValueError",
            },
        ),
        (
            cancelled(1, OK)[-1],
            "WARNING",
            "raised CancelledError; sent (1 attempt, 0.250 s)",
            {
                "event": "CallFinished",
                "elapsed": 0.25,
                "joined": False,
                "disposition": "sent",
                "kind": "cancelled",
                "error": "CancelledError",
                "attempts": 1,
                "replayed": False,
            },
        ),
        (
            finished(result=None),
            "WARNING",
            "no result",
            {"event": "CallFinished", "elapsed": 0.25, "joined": False, "disposition": "unknown"},
        ),
    ],
)
def test_what_a_line_and_its_record_say(event, level, said, fields, log):
    LoggingObserver().notify(event)
    (record,) = log.records
    assert record.levelname == level
    assert record.getMessage() == f"request_pin 34*****111: {said} [call 1]"
    assert fields_of(record) == fields | {
        "call_id": 1,
        "operation": "request_pin",
        "number": "34*****111",
    }


@pytest.mark.parametrize(
    ("result", "said", "fields"),
    [
        (RIGHT, "verified (0.250 s)", {"disposition": "verified"}),
        (
            WRONG,
            "not verified, tries remaining: 2 (0.250 s)",
            {"disposition": "not_verified", "tries_remaining": 2},
        ),
        (
            attrs.evolve(WRONG, tries_remaining=None),
            "not verified (0.250 s)",
            {"disposition": "not_verified"},
        ),
    ],
)
def test_a_pin_that_is_judged(result, said, fields, log):
    LoggingObserver().notify(finished(result=result, operation="verify_pin"))
    (record,) = log.records
    assert record.levelname == "INFO"
    assert record.getMessage() == f"verify_pin 34*****111: {said} [call 1]"
    assert fields_of(record) == fields | {
        "event": "CallFinished",
        "call_id": 1,
        "operation": "verify_pin",
        "number": "34*****111",
        "elapsed": 0.25,
        "joined": False,
        "attempts": 1,
        "replayed": False,
    }


@pytest.mark.parametrize(("ended", "level", "state"), [(False, "DEBUG", "goes on"), (True, "INFO", "ended")])
def test_a_batch(ended, level, state, log):
    LoggingObserver().notify(progress(4, 5, 1, finished=ended))
    (record,) = log.records
    assert record.levelname == level
    assert record.getMessage() == (
        f"batch 4 {state}: 6 entries in 1.500 s (5 sent, 1 not_sent, 0 maybe_sent)"
    )
    assert fields_of(record) == {
        "event": "BatchProgress",
        "batch_id": 4,
        "total": 6,
        "elapsed": 1.5,
        "sent": 5,
        "not_sent": 1,
        "maybe_sent": 0,
        "finished": ended,
    }


def test_the_level_is_that_of_what_goes_well(log):
    tell(LoggingObserver(level=logging.ERROR), call(), call(2, REFUSED), progress(1, 1, finished=True))
    assert [record.levelname for record in log.records if record.levelno > logging.DEBUG] == [
        "ERROR",
        "WARNING",
        "ERROR",
    ]


def test_a_logger_of_ones_own():
    shown = io.StringIO()
    logger = logging.getLogger("tests.mine")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(shown)
    logger.addHandler(handler)
    tell(LoggingObserver(logger), call())
    logger.removeHandler(handler)
    assert shown.getvalue() == "request_pin 34*****111: sent (1 attempt, 0.250 s) [call 1]\n"


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [({"logger": "mine"}, "logger"), ({"level": "info"}, "level"), ({"level": True}, "level")],
)
def test_a_wrong_argument_is_refused(arguments, setting):
    with pytest.raises(InvalidConfiguration) as caught:
        LoggingObserver(**arguments)
    assert caught.value.setting == setting


@pytest.fixture
def bare(monkeypatch):
    """The package's logger as in a program that has set up no logging: to be called in the test, as pytest's
    own handlers come after its fixtures."""
    logger = logging.getLogger("gateway360_async")
    level = logger.level

    def strip():
        for one in (logger, logging.getLogger("gateway360_async.calls"), logging.getLogger()):
            monkeypatch.setattr(one, "handlers", [])
        return logger

    yield strip
    logger.setLevel(level)


@pytest.mark.parametrize("value", [None, ""])
def test_an_environment_without_a_wish(value, monkeypatch, bare):
    if value is None:
        monkeypatch.delenv("GATEWAY360_LOG", raising=False)
    else:
        monkeypatch.setenv("GATEWAY360_LOG", value)
    logger = bare()
    level = logger.level
    assert observer_from_environment() is None
    assert (logger.handlers, logger.level) == ([], level)


@pytest.mark.parametrize(
    ("value", "lines"), [("debug", 4), ("INFO", 1), ("warning", 0)], ids=["debug", "info", "warning"]
)
def test_the_environments_wish(value, lines, monkeypatch, bare, capsys):
    monkeypatch.setenv("GATEWAY360_LOG", value)
    logger = bare()
    tell(observer_from_environment(), call())
    assert len(capsys.readouterr().err.splitlines()) == lines
    assert logger.level == getattr(logging, value.upper())


def test_each_line_is_shown_once_however_often_it_is_asked_for(monkeypatch, bare, capsys):
    monkeypatch.setenv("GATEWAY360_LOG", "info")
    bare()
    observer_from_environment()
    tell(observer_from_environment(), call())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "INFO gateway360_async.calls: request_pin 34*****111: sent (1 attempt, 0.250 s) [call 1]"
    )


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("where", ["gateway360_async", None])
def test_an_applications_own_handler_has_the_lines_to_itself(when, where, monkeypatch, bare, capsys):
    monkeypatch.setenv("GATEWAY360_LOG", "info")
    bare()
    shown = io.StringIO()
    if when == "before":
        logging.getLogger(where).addHandler(logging.StreamHandler(shown))
    observer = observer_from_environment()
    if when == "after":
        logging.getLogger(where).addHandler(logging.StreamHandler(shown))
    tell(observer, call())
    assert len(shown.getvalue().splitlines()) == 1
    assert capsys.readouterr().err == ""


def test_a_wrong_wish_is_an_error(monkeypatch, bare):
    monkeypatch.setenv("GATEWAY360_LOG", "verbose")
    logger = bare()
    with pytest.raises(
        InvalidConfiguration, match="GATEWAY360_LOG: is 'verbose'; expected debug, info or warning"
    ):
        observer_from_environment()
    assert logger.handlers == []


def test_in_a_program_of_its_own():
    code = (
        "from made_events import call, tell\n"
        "from gateway360_async.observers import observer_from_environment\n"
        "tell(observer_from_environment(), call())"
    )
    here = __file__.rsplit("/", 1)[0]
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"GATEWAY360_LOG": "info", "PYTHONPATH": here},
        cwd=here.rsplit("/", 2)[0],
    )
    assert shown.stderr.count("sent (1 attempt") == 1
