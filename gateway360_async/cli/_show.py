"""Results for programs: a JSON object each."""

from __future__ import annotations

from typing import Any, assert_never

from gateway360_async import ApiError, BatchResult, Ok, Skipped, TransportFailure

__all__ = ["as_json"]


def as_json(result: BatchResult) -> dict[str, Any]:
    """Make a result's JSON object: its class, what happened to the SMS, and its fields."""
    fields: dict[str, Any] = {"result": type(result).__name__, "disposition": str(result.disposition)}
    match result:
        case Ok():
            pass
        case ApiError():
            fields |= {
                "error_id": str(result.error_id),
                "error_msg": result.error_msg,
                "scope": str(result.scope),
                "http_status": result.http_status,
            }
        case TransportFailure():
            fields |= {"kind": str(result.kind), "http_status": result.http_status, "detail": result.detail}
        case Skipped():
            fields |= {"reason": str(result.reason), "detail": result.detail}
            return fields if result.result is None else fields | {"earlier": as_json(result.result)}
        case _:
            assert_never(result)
    return fields | {"attempts": result.attempts, "elapsed": round(result.elapsed, 6)}
