"""Events as a client would make them, in the order in which it would."""

from __future__ import annotations

import asyncio

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    NotVerified,
    Ok,
    TransportFailure,
    Verified,
)
from gateway360_async.observers import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallStarted,
    RetryWaiting,
)

NUMBER = "34*****111"
URL = "https://api.gateway360.com/api/2fa/request"

OK = Ok(attempts=1, elapsed=0.25)
REFUSED = TransportFailure(
    FailureKind.CONNECT, Disposition.NOT_SENT, detail="connection refused", attempts=1, elapsed=0.125
)
THROTTLED = TransportFailure(FailureKind.THROTTLED, Disposition.NOT_SENT, http_status=429, elapsed=0.125)
LOST = TransportFailure(
    FailureKind.DISCONNECTED, Disposition.MAYBE_SENT, detail="the connection broke", attempts=1, elapsed=0.5
)
NO_FUNDS = ApiError(ErrorId.NOT_ENOUGH_BALANCE, "no funds", elapsed=0.25)
STRANGE = ApiError("SOMETHING_NEW_FOR_34666666111", "what is it?", 400, elapsed=0.25)
RIGHT = Verified(elapsed=0.25)
WRONG = NotVerified(tries_remaining=2, message="hunter2 is wrong", elapsed=0.25)


def started(call_id=1, operation="request_pin", url=URL):
    return CallStarted(call_id, operation, NUMBER, url)


def attempt(call_id, number, result=None, elapsed=0.125, error=None, operation="request_pin"):
    """One attempt: its two events."""
    return [
        AttemptStarted(call_id, operation, NUMBER, number),
        AttemptFinished(call_id, operation, NUMBER, number, result, elapsed, error),
    ]


def waiting(call_id, number, result, delay=0.0625, operation="request_pin"):
    return RetryWaiting(call_id, operation, NUMBER, number, delay, result)


def finished(call_id=1, result=OK, elapsed=0.25, coalesced=False, error=None, operation="request_pin"):
    return CallFinished(call_id, operation, NUMBER, result, elapsed, coalesced, error)


def call(call_id=1, result=OK, operation="request_pin"):
    """A call of one attempt."""
    return [
        started(call_id, operation),
        *attempt(call_id, 1, result, operation=operation),
        finished(call_id, result, operation=operation),
    ]


def retried(call_id=1):
    """A call that was refused a connection, and was sent then."""
    return [
        started(call_id),
        *attempt(call_id, 1, REFUSED),
        waiting(call_id, 1, REFUSED),
        *attempt(call_id, 2, Ok(attempts=2, elapsed=0.5)),
        finished(call_id, Ok(attempts=2, elapsed=0.5), 0.5),
    ]


def cancelled(call_id=1, result=None):
    """A call that was cancelled in the middle of its attempt."""
    error = asyncio.CancelledError()
    return [
        started(call_id),
        *attempt(call_id, 1, result, error=error),
        finished(call_id, result, error=error),
    ]


def progress(batch_id, sent, not_sent=0, maybe_sent=0, finished=False):
    counts = {
        Disposition.SENT: sent,
        Disposition.NOT_SENT: not_sent,
        Disposition.MAYBE_SENT: maybe_sent,
    }
    counts = {one: count for one, count in counts.items() if count}
    return BatchProgress(batch_id, sum(counts.values()), counts, 1.5, finished)


def tell(observer, *events):
    for event in events:
        for one in event if isinstance(event, list) else [event]:
            observer.notify(one)
