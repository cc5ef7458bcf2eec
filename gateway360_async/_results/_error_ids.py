"""The error ids that the gateway publishes, and the scope of each.

The set is open: an id that is not listed stays a plain `str` in a result.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ErrorScope(StrEnum):
    """The part of the work that an error concerns."""

    REQUEST = "request"
    """This request: one of its fields is not acceptable."""
    NUMBER = "number"
    """This number: it is not reachable, or not an MSISDN."""
    ACCOUNT = "account"
    """The whole account: every other request would fail as well. A batch halts on it."""
    CLIENT = "client"
    """A fault of this library: please report it."""
    GATEWAY = "gateway"
    """The gateway's own trouble, or an id that is not published."""


class ErrorId(StrEnum):
    """An error id that the gateway publishes (its page on Request PIN, "Errors")."""

    INVALID_CONTENT_TYPE = "INVALID_CONTENT_TYPE"
    """The content type is not `application/json`."""
    JSON_PARSE_ERROR = "JSON_PARSE_ERROR"
    """The JSON is malformed, improper or incomplete."""
    MISSING_PARAMS = "MISSING_PARAMS"
    """A mandatory field is missing."""
    BAD_PARAMS = "BAD_PARAMS"
    """A field has a wrong format or value."""
    INVALID_HLR_LOOKUP_PARAM = "INVALID_HLR_LOOKUP_PARAM"
    """`hlr_lookup` is wrong."""
    INVALID_PIN_PARAMS = "INVALID_PIN_PARAMS"
    """`pin_params` is wrong."""
    INVALID_SMS_TEXT = "INVALID_SMS_TEXT"
    """The text is too long, or its placeholder is missing."""
    INVALID_SENDER = "INVALID_SENDER"
    """The sender is not allowed for this message."""
    INVALID_NUMBER = "INVALID_NUMBER"
    """The HLR query failed, or the number is not an MSISDN."""
    UNAUTHORIZED = "UNAUTHORIZED"
    """The key is wrong, or the caller's IP address is blocked in the account's settings."""
    NOT_ENOUGH_BALANCE = "NOT_ENOUGH_BALANCE"
    """The account has no funds."""
    UNKNOWN_ERROR = "UNKNOWN_ERROR"
    """The system threw an unknown error. Whether an SMS went out is not said."""


_SCOPES: Final = dict.fromkeys(ErrorId, ErrorScope.REQUEST) | {
    ErrorId.INVALID_CONTENT_TYPE: ErrorScope.CLIENT,
    ErrorId.JSON_PARSE_ERROR: ErrorScope.CLIENT,
    ErrorId.INVALID_NUMBER: ErrorScope.NUMBER,
    ErrorId.UNAUTHORIZED: ErrorScope.ACCOUNT,
    ErrorId.NOT_ENOUGH_BALANCE: ErrorScope.ACCOUNT,
    ErrorId.UNKNOWN_ERROR: ErrorScope.GATEWAY,
}


def known_error_id(value: str) -> ErrorId | str:
    """Return the member of `ErrorId` for a published id, and any other id as it came."""
    return ErrorId.__members__.get(value, value)  # each member's name is its value


def scope_of(error_id: ErrorId | str) -> ErrorScope:
    return _SCOPES[error_id] if isinstance(error_id, ErrorId) else ErrorScope.GATEWAY
