"""The port: what a client says of its work while it does it.

Rules of this module:

- An event is a value: it holds neither the key nor a PIN, its number is masked, and keeping it keeps no
  connection alive. Durations are in seconds.
- The events of one call have one `call_id`. The first is a `CallStarted`; a `CallFinished` comes whatever
  becomes of the call, a cancellation too, and so does an `AttemptFinished` for each `AttemptStarted`.
- Nothing of a call follows its `CallFinished`, but for one that was cancelled while others shared its exchange:
  that goes on for them, under the `call_id` that it began with.
- Attempts need not run in their caller's task: it is the `call_id` that says to whom they belong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import attrs

from .._results import Disposition, PinResult, VerifyResult

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "BatchProgress",
    "CallFinished",
    "CallResult",
    "CallStarted",
    "Event",
    "Observer",
    "Operation",
    "RetryWaiting",
]

Operation: TypeAlias = Literal["request_pin", "verify_pin"]
"""What a call asks of the gateway."""

CallResult: TypeAlias = PinResult | VerifyResult
"""What a call, or one of its attempts, can give."""


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _class(error: type[BaseException] | BaseException | None) -> type[BaseException] | None:
    # Not the error itself: its traceback has the frames of the call, and these the request's bytes.
    return type(error) if isinstance(error, BaseException) else error


def _class_name(error: type[BaseException] | None) -> str:
    return "None" if error is None else error.__name__


@attrs.frozen
class _CallEvent:
    call_id: int
    operation: Operation
    number: str


@attrs.frozen
class CallStarted(_CallEvent):
    """A call has begun. It comes in the caller's task and context.

    Args:
        call_id: What all events of the call share; unique in the process, from 1.
        operation: What the call asks of the gateway.
        number: The phone number, masked: `34*****111`.
        url: Where the call posts to, without a user and a query; `None` if that is not said.
    """

    url: str | None = None


@attrs.frozen
class AttemptStarted(_CallEvent):
    """An attempt has begun: it waits for a place, or is on its way.

    Args:
        call_id: The call's.
        operation: What the call asks of the gateway.
        number: The phone number, masked.
        attempt: Which one, from 1.
    """

    attempt: int


@attrs.frozen
class AttemptFinished(_CallEvent):
    """An attempt has ended.

    Args:
        call_id: The call's.
        operation: What the call asks of the gateway.
        number: The phone number, masked.
        attempt: Which one, from 1.
        result: What it gave; `None` if it raised, or if what is known of it is not said.
        elapsed: Seconds since the attempt began.
        error: The class of what it raised, of a cancellation say; `None` if it raised nothing.
    """

    attempt: int
    result: CallResult | None
    elapsed: float = attrs.field(repr=_seconds)
    error: type[BaseException] | None = attrs.field(default=None, converter=_class, repr=_class_name)


@attrs.frozen
class RetryWaiting(_CallEvent):
    """The call will be tried again, after a pause that begins now.

    Args:
        call_id: The call's.
        operation: What the call asks of the gateway.
        number: The phone number, masked.
        attempt: The attempt before the pause, from 1.
        delay: Seconds that the pause takes.
        result: What the attempt gave.
    """

    attempt: int
    delay: float = attrs.field(repr=_seconds)
    result: CallResult


@attrs.frozen
class CallFinished(_CallEvent):
    """A call has ended.

    Args:
        call_id: The call's.
        operation: What the call asked of the gateway.
        number: The phone number, masked.
        result: What it gave. Where it raised, what is known of it; `None` if that is not said.
        elapsed: Seconds since the call began.
        joined: Whether it shared the exchange of an identical call, and made no attempt of its own.
        error: The class of what the call raised, of a cancellation say; `None` if it gave its result.
    """

    result: CallResult | None
    elapsed: float = attrs.field(repr=_seconds)
    joined: bool = False
    error: type[BaseException] | None = attrs.field(default=None, converter=_class, repr=_class_name)


@attrs.frozen
class BatchProgress:
    """How far a batch has come: said after each entry, and once more when it has ended.

    Args:
        batch_id: What all events of the batch share; unique in the process, from 1.
        total: Entries that were read and settled so far, skipped ones too.
        by_disposition: These by what happened to the SMS.
        elapsed: Seconds since the batch began.
        finished: Whether the batch has ended, so that this is its last event.
    """

    batch_id: int
    total: int
    by_disposition: Mapping[Disposition, int]
    elapsed: float = attrs.field(repr=_seconds)
    finished: bool = False


Event: TypeAlias = (
    CallStarted | AttemptStarted | AttemptFinished | RetryWaiting | CallFinished | BatchProgress
)
"""What an observer is told. New kinds may come: pass over what you do not know."""


class Observer(Protocol):
    """Whoever wants to know what a client does."""

    def notify(self, event: Event) -> None:
        """Take an event. Called in the event loop, in the middle of the work: be quick, and never block.

        What is raised here is logged, and changes nothing for the call.

        Args:
            event: What happened.
        """
        ...
