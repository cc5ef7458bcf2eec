"""A request as a queue carries it, and its result as a queue gives it back."""

from __future__ import annotations

import json
import math

import pytest

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    InvalidRequest,
    Ok,
    PinParams,
    PinRequest,
    TransportFailure,
)
from gateway360_async.integrations.worker import outcome_of, request_of, result_of, task_of

PLAIN = PinRequest("34666666111", "PIZZA")
WHOLE = PinRequest(
    "34666666111",
    "PIZZA",
    hlr_lookup=False,
    sms_text="{PIN} is it: ñ€",
    report_url="https://shop.example/r",
    pin_params=PinParams(length=8, expires_in=60, max_tries=1),
    line_types="any",
)
OUTCOMES = [
    Ok(attempts=2, elapsed=0.5, replayed=True, report_id="r1", sms_id="s1"),
    ApiError(ErrorId.INVALID_NUMBER, "no", 200, attempts=1, elapsed=0.25),
    ApiError("BRAND_NEW", None, 503, attempts=1, retry_after=3.0),
    TransportFailure(
        FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer", attempts=1, elapsed=15.0
    ),
    TransportFailure(FailureKind.STORE, Disposition.NOT_SENT, detail="away", attempts=0),
    TransportFailure(FailureKind.THROTTLED, Disposition.NOT_SENT, 429, retry_after=math.inf),
]


@pytest.mark.parametrize("request_", [PLAIN, WHOLE], ids=["plain", "whole"])
def test_task_is_plain_json_and_comes_back_as_it_was(request_):
    task = task_of(request_, "sign-up 4711")
    carried = json.loads(json.dumps(task))
    assert carried == task
    assert request_of(carried) == (request_, "sign-up 4711")


def test_task_holds_the_key_and_the_fields():
    request = {"msisdn": "34666666111", "sender": "PIZZA", "hlr_lookup": 1}
    assert task_of(PLAIN, "k") == {"v": 1, "key": "k", "request": request}


@pytest.mark.parametrize(
    ("request_", "key", "field"),
    [
        *((request_, "k", "request") for request_ in ("34666666111", None, {"msisdn": "34666666111"})),
        *((PLAIN, key, "idempotency_key") for key in ("", "x" * 201, "sign-up\n4711")),
    ],
)
def test_task_of_wrong_arguments_is_refused(request_, key, field):
    with pytest.raises(InvalidRequest) as caught:
        task_of(request_, key)
    assert caught.value.field == field
    assert "34666666111" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (None, "task"),
        ([1], "task"),
        ({}, "task"),
        ({"v": 1, "key": "k"}, "task"),
        ({"key": "k", "request": {}}, "task"),
        ({"v": 2, "key": "k", "request": {}}, "task"),
        ({"v": "34666666111", "key": "k", "request": {}}, "task"),
        ({"v": 1, "key": "k", "request": None}, "task"),
        ({"v": 1, "key": "k", "request": "34666666111"}, "task"),
        ({"v": 1, "request": {"msisdn": "34666666111", "sender": "P"}}, "idempotency_key"),
        ({"v": 1, "key": 4711, "request": {"msisdn": "34666666111", "sender": "P"}}, "idempotency_key"),
        ({"v": 1, "key": "k", "request": {"sender": "P"}}, "msisdn"),
        ({"v": 1, "key": "k", "request": {"msisdn": "34666666111"}}, "sender"),
        ({"v": 1, "key": "k", "request": {"msisdn": "34666666111x", "sender": "P"}}, "msisdn"),
        ({"v": 1, "key": "k", "request": {"msisdn": "34666666111", "api_key": "s3cret"}}, "api_key"),
    ],
)
def test_task_from_a_queue_is_checked(task, field):
    with pytest.raises(InvalidRequest) as caught:
        request_of(task)
    assert caught.value.field == field
    assert "34666666111" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("result", OUTCOMES, ids=lambda result: type(result).__name__)
def test_outcome_is_plain_json_and_comes_back_as_it_was(result):
    outcome = outcome_of(result)
    carried = json.loads(json.dumps(outcome, allow_nan=False))
    assert carried == outcome
    assert (outcome["result"], outcome["disposition"]) == (type(result).__name__, result.disposition.value)
    assert {type(value) for value in outcome.values()} <= {str, int, float, bool, type(None)}  # no enums
    assert result_of(carried) == result


@pytest.mark.parametrize(
    "outcome", [None, {}, "sent", {"disposition": "sent"}, {"result": "Party", "disposition": "sent"}]
)
def test_outcome_that_is_none_is_refused(outcome):
    with pytest.raises(ValueError, match="no outcome of a task"):
        result_of(outcome)


def test_task_or_outcome_of_another_version_is_refused():
    with pytest.raises(InvalidRequest, match="is of version 2; expected version 1: update the worker"):
        request_of({**task_of(PLAIN, "k"), "v": 2})
    with pytest.raises(ValueError, match="an outcome of another version than 1: update this side"):
        result_of({**outcome_of(OUTCOMES[0]), "v": 2})
