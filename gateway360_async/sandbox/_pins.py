"""PINs: how one is made, and what a try of one says.

Rules of this module:

- No I/O, no clock: a message knows its own time.
- A failed try counts, and a PIN confirms once. Only the number's last PIN is asked, which the caller sees to.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Literal, TypeAlias

import attrs

from ._records import Message, VoidReason

__all__ = ["VERIFY_ANSWERS", "Trial", "VerifyAnswer", "make_pin", "try_pin"]

VerifyAnswer: TypeAlias = Literal["nested", "flat", "camel", "list"]
"""How a verification is answered, which the vendor does not publish to us: `"nested"`, the likeliest, has the
fields in `result`; `"flat"` beside `status`; `"camel"` has them in `result`, in camel case; `"list"` has `result`
as a list of one."""

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
        previously_verified: Whether it is the right PIN, and confirmed the number before.
        tries_remaining: How many more failed tries the PIN would bear; 0 if there was none that is valid;
            `None`: any number.
        message: The same for a person.
        counted: Whether there was a valid PIN, which was used, or lost a try.
    """

    verified: bool
    previously_verified: bool
    tries_remaining: int | None
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
        return _no("The PIN was verified before." if before else _VOID[reason], previously_verified=before)
    if right:
        sms.make_void("verified")
    else:
        sms.tries += 1
        if sms.tries == sms.max_tries:
            sms.make_void("tries")
    return Trial(
        verified=right,
        previously_verified=False,
        tries_remaining=sms.max_tries - sms.tries if sms.max_tries else None,
        message="The PIN is right." if right else "The PIN is wrong.",
        counted=True,
    )


def _no(message: str, *, previously_verified: bool = False) -> Trial:
    return Trial(
        verified=False,
        previously_verified=previously_verified,
        tries_remaining=0,
        message=message,
        counted=False,
    )


def _fields(trial: Trial) -> dict[str, Any]:
    return {
        "verified": trial.verified,
        "previously_verified": trial.previously_verified,
        "tries_remaining": trial.tries_remaining,
        "message": trial.message,
    }


def _camel(trial: Trial) -> dict[str, Any]:
    names = {"previously_verified": "previouslyVerified", "tries_remaining": "triesRemaining"}
    return {names.get(name, name): value for name, value in _fields(trial).items()}


VERIFY_ANSWERS: Final[Mapping[VerifyAnswer, Callable[[Trial], dict[str, Any]]]] = {
    "nested": lambda trial: {"result": _fields(trial)},
    "flat": _fields,
    "camel": lambda trial: {"result": _camel(trial)},
    "list": lambda trial: {"result": [_fields(trial)]},
}
"""What each of them adds to the envelope's `status`."""
