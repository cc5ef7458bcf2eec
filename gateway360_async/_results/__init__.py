"""The results of calls, the gateway's error ids, and the errors that `unwrap()` raises."""

from ._error_ids import ErrorId, ErrorScope, known_error_id
from ._outcomes import (
    ApiError,
    BatchResult,
    Disposition,
    FailureKind,
    MaybeSentError,
    NotSentError,
    Ok,
    PinResult,
    RejectedError,
    ResultError,
    Skipped,
    SkipReason,
    TransportFailure,
)

__all__ = [
    "ApiError",
    "BatchResult",
    "Disposition",
    "ErrorId",
    "ErrorScope",
    "FailureKind",
    "MaybeSentError",
    "NotSentError",
    "Ok",
    "PinResult",
    "RejectedError",
    "ResultError",
    "SkipReason",
    "Skipped",
    "TransportFailure",
    "known_error_id",
]
