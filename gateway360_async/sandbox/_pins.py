"""PINs: how one is made, and what a try of one says.

Rules of this module:

- No I/O, no clock: a message knows its own time.
- A failed try counts, and a PIN confirms once. Only the number's last PIN is asked, which the caller sees to.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from random import Random
from typing import Final

import attrs

from ._records import Message, VoidReason

__all__ = ["Trial", "make_pin", "try_pin"]

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


def make_pin(rng: Random, pin_type: str, length: int) -> str:
    """Draw a PIN."""
    return "".join(rng.choice(_ALPHABETS[pin_type]) for _ in range(length))


@attrs.frozen
class Trial:
    """What a try of a PIN says.

    Args:
        verified: Whether it confirms the number.
        verified_before: Whether it is the right PIN, and confirmed the number before.
        remaining_tries: How many more failed tries the PIN would bear; 0 if there was none that is valid;
            `None`: any number.
        message: The same for a person.
        counted: Whether there was a valid PIN, which was used, or lost a try.
    """

    verified: bool
    verified_before: bool
    remaining_tries: int | None
    message: str
    counted: bool


def try_pin(sms: Message | None, pin: str) -> Trial:
    """Try a PIN.

    Args:
        sms: The newest SMS to the number, or `None`.
        pin: What the user typed.
    """
    if sms is None:
        return _no("No PIN was sent to this number.")
    right = pin == sms.pin
    if (reason := sms.void_reason) is not None:
        before = right and reason == "verified"
        return _no("The PIN was verified before." if before else _VOID[reason], verified_before=before)
    if right:
        sms.make_void("verified")
    else:
        sms.tries += 1
        if sms.tries == sms.max_tries:
            sms.make_void("tries")
    return Trial(
        verified=right,
        verified_before=False,
        remaining_tries=sms.max_tries - sms.tries if sms.max_tries else None,
        message="The PIN is right." if right else "The PIN is wrong.",
        counted=True,
    )


def _no(message: str, *, verified_before: bool = False) -> Trial:
    return Trial(
        verified=False, verified_before=verified_before, remaining_tries=0, message=message, counted=False
    )
