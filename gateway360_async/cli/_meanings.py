"""What an outcome's word means, in half a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway360_async import ErrorId, FailureKind, SkipReason

__all__ = ["meaning_of"]

_MEANINGS: Final[Mapping[str, str]] = {
    ErrorId.INVALID_CONTENT_TYPE: "a fault of this library: please report it",
    ErrorId.JSON_PARSE_ERROR: "a fault of this library: please report it",
    ErrorId.MISSING_PARAMS: "the gateway misses a field of the request",
    ErrorId.BAD_PARAMS: "the gateway does not accept a field of the request",
    ErrorId.INVALID_HLR_LOOKUP_PARAM: "the gateway does not accept hlr_lookup",
    ErrorId.INVALID_PIN_PARAMS: "the gateway does not accept pin_params",
    ErrorId.INVALID_SMS_TEXT: "the text is too long, or {PIN} is missing",
    ErrorId.INVALID_SENDER: "this sender is not allowed",
    ErrorId.INVALID_NUMBER: "the operator's register does not know the number",
    ErrorId.UNAUTHORIZED: "the key is wrong, or this address is blocked in the account's settings",
    ErrorId.NOT_ENOUGH_BALANCE: "the account has no funds",
    ErrorId.UNKNOWN_ERROR: "the gateway does not say whether an SMS went out",
    FailureKind.CONNECT: "no connection to the gateway",
    FailureKind.TLS: "the TLS handshake broke off",
    FailureKind.TLS_REFUSED: "the certificate is not trusted, or there is no TLS",
    FailureKind.PROXY: "the proxy refused to connect",
    FailureKind.POOL: "no connection became free in time",
    FailureKind.TIMEOUT: "the gateway did not answer in time",
    FailureKind.DISCONNECTED: "the connection broke on the way",
    FailureKind.PROTOCOL: "what came back is not HTTP",
    FailureKind.THROTTLED: "too many requests: HTTP 429",
    FailureKind.HTTP_STATUS: "an HTTP error without the gateway's envelope",
    FailureKind.UNREADABLE: "an answer that says nothing",
    FailureKind.DEADLINE: "the call's time was over",
    FailureKind.CANCELLED: "cut off when the batch was left",
    FailureKind.INTERRUPTED: "the run that began it was gone before its answer came, or has it yet",
    FailureKind.STORE: "the store could not be asked, so nothing was sent",
    FailureKind.UNEXPECTED: "an error that nobody expected",
    SkipReason.DUPLICATE: "the number is there twice: a second PIN would void the first",
    SkipReason.INVALID: "the row makes no valid request",
    SkipReason.HALTED: "not begun: the whole account was refused before",
    SkipReason.ALREADY_COMPLETED: "another run has its result",
}


def meaning_of(result: str, why: str) -> str:
    """Say what an outcome means; an error id that is not published is the gateway's own word."""
    if result == "Ok":
        return "accepted: one SMS"
    return _MEANINGS.get(why, "an error of the gateway's that is not published")
