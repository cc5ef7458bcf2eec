"""The results of requests that this client does not send, or not this time: pure."""

from __future__ import annotations

from .._records import read_result
from .._results import Disposition, FailureKind, PinResult, TransportFailure
from ..stores._base import Answer

__all__ = ["in_doubt", "not_sent", "of_resend", "result_of"]


def in_doubt(detail: str, report_id: str | None) -> TransportFailure:
    """Say of a request that another holder began that it may have been sent."""
    return TransportFailure(
        FailureKind.INTERRUPTED, Disposition.MAYBE_SENT, detail=detail, attempts=0, report_id=report_id
    )


def not_sent(kind: FailureKind, detail: str) -> TransportFailure:
    """Say of a request that it certainly was not sent."""
    return TransportFailure(kind, Disposition.NOT_SENT, detail=detail, attempts=0)


def result_of(answer: Answer) -> PinResult | None:
    """Read the result of a record; `None`: it has none. One that cannot be read leaves open what was sent."""
    if answer.result is None:
        return None
    try:
        return read_result(answer.result)
    except Exception:  # noqa: BLE001  # whatever cattrs or json makes of it: another version may have written it
        return in_doubt("its record cannot be read", answer.report_id)


def of_resend(result: PinResult, report_id: str | None) -> TransportFailure:
    """Say of a resend that was not sent that the request may have been sent before.

    Args:
        result: What became of the resend: `NOT_SENT`.
        report_id: What ties the request from before to its delivery report.
    """
    return TransportFailure(
        FailureKind.INTERRUPTED,
        Disposition.MAYBE_SENT,
        detail=f"an earlier run may have sent it; this time: {result}",
        attempts=result.attempts,
        elapsed=result.elapsed,
        report_id=report_id,
    )
