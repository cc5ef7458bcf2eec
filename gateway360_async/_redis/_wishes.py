"""What is claimed, and what is said about it: values, and no Redis.

Rules of this module:

- Keys are names that somebody else has made, and times are whole milliseconds, as Redis counts them.
"""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Final

import attrs

from .._results import PinResult

__all__ = [
    "GRACE",
    "Admission",
    "Answer",
    "Left",
    "Limits",
    "Verdict",
    "Wish",
    "milliseconds",
    "new_token",
]

GRACE: Final = 15.0
"""Seconds that a lease lasts beyond its call's deadline, for a process that was held up meanwhile."""
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_LONGEST: Final = 10**13
"""Milliseconds, three centuries: Redis refuses what ends beyond its calendar, in the midst of a script."""


class Verdict(StrEnum):
    """What is said to somebody who wants to send."""

    GRANTED = "granted"
    """It is theirs to send."""
    LOST = "lost"
    """This Redis is not the one that this process began with, or has forgotten what it knew."""
    OTHER = "other"
    """The idempotency key belongs to another request."""
    BUSY = "busy"
    """Somebody is sending it."""
    SETTLED = "settled"
    """It was sent."""
    UNSETTLED = "unsettled"
    """It may have been sent, and whoever knew is gone."""
    NUMBER = "number"
    """Somebody is sending to this number."""
    COOLING = "cooling"
    """Something was sent to this number a moment ago."""
    HOT = "hot"
    """Something may have been sent to this number a moment ago, and whoever knew is gone."""
    PREFIX = "prefix"
    CLIENT = "client"
    TOTAL = "total"


@attrs.frozen
class Limits:
    """What is counted, and how many there may be.

    Args:
        prefix: The key of the prefix's admissions, and their limit; `None`: no limit.
        everybody: The key of all admissions, and their limit.
        total: The key of the count for ever, and its limit.
        window: Milliseconds that the first two are about.
    """

    prefix: tuple[str, int] | None = None
    everybody: tuple[str, int] | None = None
    total: tuple[str, int] | None = None
    window: int = 0


@attrs.frozen
class Wish:
    """What somebody wants to send once.

    Args:
        record: The key of its record.
        fingerprint: What tells its request from others.
        keep: Milliseconds that the record stays once it is settled, or its lease is over; 0: it goes with that.
        lease: Milliseconds after which whoever claimed it has ended.
        report_id: What ties it to its delivery report.
        resend_unknown: Whether to claim even what may have been sent.
        number: The key of its number's record; `None`: there is no cooldown.
        cooldown: Milliseconds that the number's record stays.
        force: Whether to send whatever the number's record says.
        limits: What else bounds it.
    """

    record: str
    fingerprint: bytes
    keep: int
    lease: int
    report_id: str | None = None
    resend_unknown: bool = False
    number: str | None = None
    cooldown: int = 0
    force: bool = False
    limits: Limits = Limits()


@attrs.frozen
class Admission:
    """A wish that was claimed.

    Args:
        wish: The wish.
        token: What tells this claim from others.
        again: Whether an earlier one may have sent it.
    """

    wish: Wish
    token: str
    again: bool = False


@attrs.frozen
class Answer:
    """What is said to somebody who wants to send.

    Args:
        verdict: In one word.
        admission: The claim, if it was granted.
        result: What became of the earlier one, where that is known.
        report_id: The earlier one's, where that is known.
        left: Milliseconds that somebody else's lease lasts.
    """

    verdict: Verdict
    admission: Admission | None = None
    result: PinResult | None = None
    report_id: str | None = None
    left: int = 0

    def pause(self, looks: int) -> float:
        """Give the seconds to wait for somebody else's claim, after so many looks at it, until the next one."""
        backoff = _FIRST_PAUSE * 2.0 ** min(looks, 5)
        return min(_LONGEST_PAUSE, backoff, self.left / 1000 + 0.001)


@attrs.frozen
class Left:
    """How far a wish has come.

    Args:
        verdict: `GRANTED`: it is anybody's; `BUSY`, `SETTLED` or `UNSETTLED`.
        token: Who claimed it last.
        fingerprint: What its request is.
        result: The result that is on record; of one that was not sent as well.
        report_id: What ties it to its delivery report.
        left: Milliseconds that the lease lasts.
        again: Whether it may have been sent before it was claimed.
        before: The result from then, where that is known.
    """

    verdict: Verdict
    token: str
    fingerprint: bytes
    result: PinResult | None
    report_id: str | None
    left: int
    again: bool = False
    before: PinResult | None = None


def new_token() -> str:
    """Make what tells a claim from all others."""
    return secrets.token_urlsafe(12)


def milliseconds(seconds: float) -> int:
    """Give a length of time as Redis counts it, at least one, and at most what its calendar has."""
    return min(_LONGEST, max(1, round(seconds * 1000)))
