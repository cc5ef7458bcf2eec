"""A request as a queue carries it, and its result as a queue gives it back: plain JSON, both ways.

Invariants:

- A task holds all that a worker needs but the account's key, and the whole number: a reader of the queue can read it.
- A task that comes from a queue is checked like any other input.
- `v` is the version of both. A reader refuses a version that it does not know.
"""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from .._exceptions import InvalidRequest, without_arguments, wrong_type
from .._models import PinRequest, checked_idempotency_key, request_from
from .._operations import canonical
from .._results import PinResult
from .._runner._records import read_result, write_result

__all__ = ["outcome_of", "request_of", "result_of", "task_of"]

_EXPECTED = "what task_of() made"
_VERSION = 1


@without_arguments
def task_of(request: PinRequest, idempotency_key: str) -> dict[str, Any]:
    """Make the task of a request.

    Args:
        request: The request.
        idempotency_key: The name of this wish to send: tasks with the same key are one SMS.

    Raises:
        InvalidRequest: An argument is wrong.
    """
    if not isinstance(request, PinRequest):
        raise wrong_type("request", request, "a PinRequest")
    fields: dict[str, Any] = json.loads(canonical(request))
    if request.line_types != "sms":
        fields["line_types"] = request.line_types
    return {"v": _VERSION, "key": checked_idempotency_key(idempotency_key), "request": fields}


@without_arguments
def request_of(task: Mapping[str, Any]) -> tuple[PinRequest, str]:
    """Read a task: its request, and its idempotency key. Raises `InvalidRequest`."""
    if not isinstance(task, Mapping) or not {"v", "key", "request"} <= task.keys():
        raise InvalidRequest("task", "is no task of a PIN request", _EXPECTED)
    if task["v"] != _VERSION:
        problem = f"is of version {task['v']!r}" if isinstance(task["v"], int) else "is of no known version"
        raise InvalidRequest(
            "task", problem, f"version {_VERSION}: update the worker before the web application"
        )
    fields: object = task["request"]
    if not isinstance(fields, Mapping):
        raise InvalidRequest("task", f"has a request of type {type(fields).__name__}", _EXPECTED)
    request = request_from(cast("Mapping[object, object]", fields), checked=True)
    return request, checked_idempotency_key(task["key"])


def outcome_of(result: PinResult) -> dict[str, Any]:
    """Make what a task gives back: the result's fields, its class in `result`, and its `disposition`."""
    fields: dict[str, Any] = json.loads(write_result(result, whole=True))
    return {"v": _VERSION, "disposition": result.disposition.value, **fields}


def result_of(outcome: Mapping[str, Any]) -> PinResult:
    """Read what a task gave back.

    Raises:
        ValueError: That is no outcome.
    """
    try:
        # What is derived of a result is no field of it, but for a failure's.
        derived = {"v"} if outcome["result"] == "TransportFailure" else {"v", "disposition"}
        fields = {name: value for name, value in outcome.items() if name not in derived}
        result = read_result(json.dumps(fields)) if outcome["v"] == _VERSION else None
    except Exception as exc:
        # Whatever cattrs or json makes of it.
        raise ValueError("that is no outcome of a task: outcome_of() makes them") from exc
    if result is None:
        raise ValueError(f"that is an outcome of another version than {_VERSION}: update this side as well")
    return result
