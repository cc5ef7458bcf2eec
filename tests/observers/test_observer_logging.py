"""Events as lines of a log."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
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

from gateway360_async import InvalidConfiguration
from gateway360_async.observers import LoggingObserver
from gateway360_async.observers._logging import observer_from_environment


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


def test_retried_call_has_a_line_an_event(log):
    tell(LoggingObserver(), retried(3))
    assert {record.name for record in log.records} == {"gateway360_async.calls"}
    refused = "not sent, connect: connection refused (1 attempt, 0.125 s)"
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        (level, f"request_pin 34*****111: {said} [call 3]")
        for level, said in (
            ("DEBUG", "began"),
            ("DEBUG", "attempt 1 began"),
            ("DEBUG", f"attempt 1 ended after 0.125 s: {refused}"),
            ("INFO", f"waits 0.062 s after attempt 1: {refused}"),
            ("DEBUG", "attempt 2 began"),
            ("DEBUG", "attempt 2 ended after 0.125 s: sent (2 attempts, 0.500 s)"),
            ("INFO", "sent (2 attempts, 0.500 s)"),
        )
    ]


RESULT = {"attempts": 1, "replayed": False}
ENDED = {"event": "CallFinished", "elapsed": 0.25, "coalesced": False}


@pytest.mark.parametrize(
    ("event", "level", "said", "fields"),
    [
        (started(), "DEBUG", "began", {"event": "CallStarted", "url": URL}),
        (attempt(1, 2)[0], "DEBUG", "attempt 2 began", {"event": "AttemptStarted", "attempt": 2}),
        (
            attempt(1, 2, THROTTLED)[1],
            "DEBUG",
            "attempt 2 ended after 0.125 s: not sent, throttled (1 attempt, 0.125 s)",
            {"event": "AttemptFinished", "attempt": 2, "elapsed": 0.125}
            | {"disposition": "not_sent", "kind": "throttled", "http_status": 429}
            | RESULT,
        ),
        (
            waiting(1, 2, NO_FUNDS, 0.5),
            "INFO",
            "waits 0.500 s after attempt 2: not sent, the gateway answered NOT_ENOUGH_BALANCE: no funds (1 attempt)",
            {"event": "RetryWaiting", "attempt": 2, "delay": 0.5, "http_status": 200}
            | {"disposition": "not_sent", "kind": "NOT_ENOUGH_BALANCE", "error_id": "NOT_ENOUGH_BALANCE"}
            | RESULT,
        ),
        (
            finished(coalesced=True),
            "INFO",
            "sent (1 attempt, 0.250 s), shared with an identical call",
            ENDED | {"coalesced": True, "disposition": "sent"} | RESULT,
        ),
        (
            finished(result=attrs.evolve(OK, replayed=True)),
            "INFO",
            "sent (1 attempt, 0.250 s, by an earlier call)",
            ENDED | {"disposition": "sent", "attempts": 1, "replayed": True},
        ),
        (
            finished(result=LOST),
            "WARNING",
            "may have been sent, disconnected: the connection broke (1 attempt, 0.500 s)",
            ENDED | {"disposition": "maybe_sent", "kind": "disconnected"} | RESULT,
        ),
        (
            finished(result=STRANGE),
            "WARNING",
            "not sent, the gateway answered SOMETHING_NEW_FOR_34666666111: what is it? (1 attempt)",
            ENDED
            | {"disposition": "not_sent", "kind": "other", "http_status": 400}
            | {"error_id": "SOMETHING_NEW_FOR_34666666111"}
            | RESULT,
        ),
        (
            finished(result=None, error=ValueError("my key is hunter2")),
            "WARNING",
            "raised ValueError",
            ENDED | {"disposition": "unknown", "kind": "exception", "error": "ValueError"},
        ),
        (
            cancelled(1, OK)[-1],
            "WARNING",
            "raised CancelledError; sent (1 attempt, 0.250 s)",
            ENDED | {"disposition": "sent", "kind": "cancelled", "error": "CancelledError"} | RESULT,
        ),
        (finished(result=None), "WARNING", "no result", ENDED | {"disposition": "unknown"}),
        (
            finished(result=RIGHT, operation="verify_pin"),
            "INFO",
            "verified (0.250 s)",
            ENDED | {"disposition": "verified"} | RESULT,
        ),
        (
            finished(result=WRONG, operation="verify_pin"),
            "INFO",
            "not verified, tries remaining: 2 (0.250 s)",
            ENDED | {"disposition": "not_verified", "tries_remaining": 2} | RESULT,
        ),
        (
            finished(result=attrs.evolve(WRONG, tries_remaining=None), operation="verify_pin"),
            "INFO",
            "not verified (0.250 s)",
            ENDED | {"disposition": "not_verified"} | RESULT,
        ),
    ],
)
def test_line_and_record_say_what_happened(event, level, said, fields, log):
    LoggingObserver().notify(event)
    (record,) = log.records
    assert record.levelname == level
    assert record.getMessage() == f"{event.operation} 34*****111: {said} [call 1]"
    assert fields_of(record) == fields | {
        "call_id": 1,
        "operation": event.operation,
        "number": "34*****111",
    }


@pytest.mark.parametrize(("ended", "level", "state"), [(False, "DEBUG", "goes on"), (True, "INFO", "ended")])
def test_batch_line_has_its_counts(ended, level, state, log):
    LoggingObserver().notify(progress(4, 5, 1, finished=ended))
    (record,) = log.records
    assert record.levelname == level
    assert record.getMessage() == f"batch 4 {state}: 6 entries in 1.500 s (5 sent, 1 not_sent, 0 maybe_sent)"
    counts = {"total": 6, "sent": 5, "not_sent": 1, "maybe_sent": 0}
    assert fields_of(record) == counts | {
        "event": "BatchProgress",
        "batch_id": 4,
        "elapsed": 1.5,
        "finished": ended,
    }


def test_level_is_that_of_good_news(log):
    tell(LoggingObserver(level=logging.ERROR), call(), call(2, REFUSED), progress(1, 1, finished=True))
    levels = [record.levelname for record in log.records if record.levelno > logging.DEBUG]
    assert levels == ["ERROR", "WARNING", "ERROR"]


def test_given_logger_gets_the_lines():
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
def test_wrong_argument_is_refused(arguments, setting):
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
def test_environment_without_a_level_changes_nothing(value, monkeypatch, bare):
    if value is None:
        monkeypatch.delenv("GATEWAY360_LOG", raising=False)
    else:
        monkeypatch.setenv("GATEWAY360_LOG", value)
    logger = bare()
    level = logger.level
    assert observer_from_environment() is None
    assert (logger.handlers, logger.level) == ([], level)


@pytest.mark.parametrize(("value", "lines"), [("debug", 4), ("INFO", 1), ("warning", 0)])
def test_environment_level_shows_its_lines_once(value, lines, monkeypatch, bare, capsys):
    monkeypatch.setenv("GATEWAY360_LOG", value)
    logger = bare()
    observer_from_environment()
    tell(observer_from_environment(), call())
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == lines
    last = "INFO gateway360_async.calls: request_pin 34*****111: sent (1 attempt, 0.250 s) [call 1]"
    assert not shown or shown[-1].endswith(last)
    assert logger.level == getattr(logging, value.upper())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("where", ["gateway360_async", None])
def test_application_handler_alone_gets_the_lines(when, where, monkeypatch, bare, capsys):
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


def test_wrong_environment_level_is_refused(monkeypatch, bare):
    monkeypatch.setenv("GATEWAY360_LOG", "verbose")
    logger = bare()
    said = "GATEWAY360_LOG: is 'verbose'; expected debug, info or warning"
    with pytest.raises(InvalidConfiguration, match=said):
        observer_from_environment()
    assert logger.handlers == []


def test_environment_shows_lines_in_a_real_program():
    code = (
        "from support.made_events import call, tell\n"
        "from gateway360_async.observers._logging import observer_from_environment\n"
        "tell(observer_from_environment(), call())"
    )
    here = Path(__file__).parents[1]
    env = {"GATEWAY360_LOG": "info", "PYTHONPATH": str(here)}
    program = [sys.executable, "-c", code]
    shown = subprocess.run(program, capture_output=True, text=True, check=True, env=env, cwd=here.parent)
    assert shown.stderr.count("sent (1 attempt") == 1
