"""The records of a sandbox: SMS, the tries of their PINs, and requests."""

from __future__ import annotations

import string
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Literal, TypeAlias

import attrs

__all__ = [
    "VERIFY_ANSWERS",
    "FaultKind",
    "Message",
    "Operation",
    "PostedReport",
    "ReceivedRequest",
    "VerifyAnswer",
    "VoidReason",
    "make_pin",
    "try_pin",
]

VoidReason: TypeAlias = Literal["replaced", "expired", "tries", "verified"]
"""Why a PIN is not valid any more: a newer one was sent to the number, its time is over, `max_tries` failed
tries were made, or it was used."""

Operation: TypeAlias = Literal["request", "verify"]
"""The endpoint: `POST …/2fa/request` or `POST …/2fa/verify`."""

FaultKind: TypeAlias = Literal["lose", "throttle", "fail", "answer", "delay"]
"""The kind of a fault. `"lose"`: carried out, and the answer lost. `"throttle"`: 429. `"fail"`: a bare 5xx.
`"answer"`: the answer of `answer_next`. `"delay"`: carried out and answered, later."""

VerifyAnswer: TypeAlias = Literal["nested", "flat", "camel", "list"]
"""How a verification is answered, which the vendor does not publish to us: `"nested"`, the likeliest, has the
fields in `result`; `"flat"` beside `status`; `"camel"` has them in `result`, in camel case; `"list"` has `result`
as a list of one."""


@attrs.frozen(kw_only=True)
class PostedReport:
    """One delivery report, and its result.

    Args:
        status: The SMS's state that it told: `"DELIVRD"`, for example.
        at: When it was posted, in seconds of the sandbox's clock.
        http_status: The application's answer, whose body is not read; `None`: there was none.
        error: Why there was no answer, or `None`.
    """

    status: str
    at: float
    http_status: int | None = None
    error: str | None = None


@attrs.define(eq=False, kw_only=True)
class Message:
    """One SMS that the gateway "sent".

    Args:
        id: Its number in this sandbox: 1, 2, 3, …
        sms_id: Its name in delivery reports: 32 hexadecimal digits.
        msisdn: The number that it went to.
        sender: The sender that the phone shows.
        text: The text, with the PIN in place.
        pin: The PIN.
        pin_type: `"numeric"`, `"alpha"` or `"alphanumeric"`.
        sent_at: When it was sent, in seconds of the sandbox's clock.
        expires_at: When the PIN expires, in seconds of the same clock; `None`: never.
        max_tries: Failed tries before the PIN is void; 0 means unlimited.
        report_url: The URL for delivery reports, or `None`.
        tries: Failed tries so far.
        reports: The delivery reports that were posted, the oldest first.
    """

    id: int
    sms_id: str
    msisdn: str
    sender: str
    text: str
    pin: str
    pin_type: str
    sent_at: float
    expires_at: float | None
    max_tries: int
    report_url: str | None
    tries: int = 0
    reports: list[PostedReport] = attrs.field(factory=list[PostedReport], init=False)
    _clock: Callable[[], float] = attrs.field(default=time.time, repr=False, alias="clock")
    _void_reason: VoidReason | None = attrs.field(default=None, init=False, repr=False)

    @property
    def void_reason(self) -> VoidReason | None:
        """The first reason why the PIN is void, or `None` while it is valid."""
        if self._void_reason is None and self.expires_at is not None and self._clock() >= self.expires_at:
            return "expired"
        return self._void_reason

    def make_void(self, reason: VoidReason) -> None:
        """Void the PIN, if it is still valid."""
        self._void_reason = self.void_reason or reason


@attrs.frozen(kw_only=True)
class ReceivedRequest:
    """One request that the gateway answered, or lost the answer of.

    Args:
        id: Its number in this sandbox: 1, 2, 3, …
        at: When it was answered, in seconds of the sandbox's clock.
        operation: The endpoint.
        path: The URL's path.
        content_type: The header, or `None`.
        body: The JSON object, with `*****` for the key and for a PIN; `None` where the body was not read as
            one. A value that is nested very deeply is left out, too.
        size: Bytes of the body.
        http_status: The answer's HTTP status. Of a lost answer, the one that it would have had.
        envelope: The answer's JSON object; empty where the answer is none.
        fault: The kind of its fault, or `None`.
        message_id: The `Message.id` of the SMS that it sent, or `None`.
        verified: Whether the PIN was right; `None` where no PIN was tried.
    """

    id: int
    at: float
    operation: Operation
    path: str
    content_type: str | None
    body: dict[str, object] | None
    size: int
    http_status: int
    envelope: dict[str, Any]
    fault: FaultKind | None = None
    message_id: int | None = None
    verified: bool | None = None


_ALPHABETS: Final[Mapping[str, str]] = {
    "numeric": string.digits,
    "alpha": string.ascii_uppercase,
    "alphanumeric": string.ascii_uppercase + string.digits,
}
_VOID: Final[Mapping[VoidReason, str]] = {
    "replaced": "A newer PIN was sent to this number.",
    "expired": "The PIN has expired.",
    "tries": "All tries are used up.",
    "verified": "The PIN was used.",
}
_CAMEL: Final = {"previously_verified": "previouslyVerified", "tries_remaining": "triesRemaining"}

VERIFY_ANSWERS: Final[Mapping[VerifyAnswer, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "nested": lambda fields: {"result": fields},
    "flat": lambda fields: fields,
    "camel": lambda fields: {"result": {_CAMEL.get(name, name): value for name, value in fields.items()}},
    "list": lambda fields: {"result": [fields]},
}
"""Makes the rest of the envelope, beside `status`, of the fields of `try_pin`."""


def make_pin(rng: Random, pin_type: str, length: int) -> str:
    """Draw a PIN."""
    return "".join(rng.choice(_ALPHABETS[pin_type]) for _ in range(length))


def try_pin(sms: Message | None, pin: str) -> tuple[dict[str, Any], bool]:
    """Try a PIN. A failed try counts, and a PIN confirms once.

    Args:
        sms: The newest SMS to the number, or `None`.
        pin: The PIN as a user typed it.

    Returns:
        The fields of the answer, and whether there was a valid PIN, which was used, or lost a try.
    """
    if sms is None:
        return _fields("No PIN was sent to this number."), False
    right = pin == sms.pin
    if (reason := sms.void_reason) is not None:
        before = right and reason == "verified"
        text = "The PIN was verified before." if before else _VOID[reason]
        return _fields(text, previously_verified=before), False
    if right:
        sms.make_void("verified")
    else:
        sms.tries += 1
        if sms.tries == sms.max_tries:
            sms.make_void("tries")
    left = sms.max_tries - sms.tries if sms.max_tries else None
    text = "The PIN is right." if right else "The PIN is wrong."
    return _fields(text, verified=right, tries_remaining=left), True


def _fields(
    message: str,
    *,
    verified: bool = False,
    previously_verified: bool = False,
    tries_remaining: int | None = 0,
) -> dict[str, Any]:
    return {
        "verified": verified,
        "previously_verified": previously_verified,
        "tries_remaining": tries_remaining,
        "message": message,
    }
