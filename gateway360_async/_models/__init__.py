"""The values that go in: a request for a PIN, its sender and its text."""

from ._pin_request import PinParams, PinRequest, PinType, checked_idempotency_key, request_from
from ._sms import PIN_PLACEHOLDER, SENDER_EXPECTED, autofill_text, checked_sender

__all__ = [
    "PIN_PLACEHOLDER",
    "SENDER_EXPECTED",
    "PinParams",
    "PinRequest",
    "PinType",
    "autofill_text",
    "checked_idempotency_key",
    "checked_sender",
    "request_from",
]
