"""What the sandbox keeps for its user: the SMS that it "sent", and the requests that it answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

__all__ = ["FaultKind", "Message", "Operation", "PostedReport", "ReceivedRequest", "VoidReason"]

VoidReason: TypeAlias = Literal["replaced", "expired", "tries", "verified"]
"""Why a PIN is not valid any more: a newer one was sent to the number, its time is over, `max_tries` failed
tries were made, or it was used."""

Operation: TypeAlias = Literal["request", "verify"]
"""What was asked: `POST …/2fa/request` or `POST …/2fa/verify`."""

FaultKind: TypeAlias = Literal["lose", "throttle", "fail", "answer", "delay"]
"""What was made to go wrong. `"lose"`: carried out, and the answer lost. `"throttle"`: 429. `"fail"`: a bare
5xx. `"answer"`: the answer of `answer_next`. `"delay"`: carried out and answered, later."""


@attrs.frozen(kw_only=True)
class PostedReport:
    """One delivery report, and what became of it.

    Args:
        status: What it said of the SMS: `"DELIVRD"`, for example.
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
        sms_id: What the delivery reports call it: 32 hexadecimal digits.
        msisdn: The number that it went to.
        sender: The sender that the phone shows.
        text: The text, with the PIN in place.
        pin: The PIN.
        pin_type: `"numeric"`, `"alpha"` or `"alphanumeric"`.
        sent_at: When it was sent, in seconds of the sandbox's clock.
        expires_at: When the PIN expires, in seconds of the same clock; `None`: never.
        max_tries: Failed tries before the PIN is void; 0 means unlimited.
        report_url: Where delivery reports were asked for, or `None`.
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
        """Why the PIN is void, or `None` while it is valid. Of several reasons, the first stays."""
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
        operation: What was asked.
        path: The URL's path.
        content_type: The header, or `None`.
        body: The JSON object, with `*****` for the key and for a PIN; `None` where the body was not read as
            one. What is nested very deeply is left out, too.
        size: Bytes of the body.
        http_status: The answer's HTTP status. Of a lost answer, the one that it would have had.
        envelope: The answer's JSON object; empty where the answer is none.
        fault: What was made to go wrong, or `None`.
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
