"""Events, and the notifier that hands them to observers.

- An event is a value without the key and without a PIN; its number is masked. Durations are in seconds.
- The events of one call share a `call_id`. Each `CallStarted` has its `CallFinished`, and each `AttemptStarted`
  its `AttemptFinished`, even if the call is cancelled.
- Nothing of a call follows its `CallFinished`, unless it was cancelled while others shared its exchange: that goes
  on under the same `call_id`, and attempts may run in another task than their caller's.
"""

# Type checkers read the annotations; the checks serve everything else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Final, Protocol, TypeAlias, cast

import attrs

from .._exceptions import InvalidConfiguration, wrong_setting
from .._operations import AnyResult, OperationName
from .._redaction import mask_msisdn
from .._results import Disposition

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "BatchEvents",
    "BatchProgress",
    "CallEvents",
    "CallFinished",
    "CallResult",
    "CallStarted",
    "Event",
    "Notifier",
    "Observer",
    "Operation",
    "RetryWaiting",
    "notifier_of",
]

Operation: TypeAlias = OperationName
"""The name of a call's operation."""

CallResult: TypeAlias = AnyResult
"""The result of a call, or of one of its attempts."""

_EXPECTED: Final = (
    "an Observer (an object with a plain, not asynchronous, method `notify(event)`), or a sequence of them"
)

_logger = logging.getLogger("gateway360_async")
_call_ids: Final = count(1)
_batch_ids: Final = count(1)


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
    """The start of a call. It comes in the caller's task and context.

    Args:
        call_id: The id that all events of the call share; unique in the process, from 1.
        operation: The question to the gateway.
        number: The phone number, masked: `34*****111`.
        url: The URL that the call posts to, without a user and a query; `None`: unknown.
    """

    url: str | None = None


@attrs.frozen
class AttemptStarted(_CallEvent):
    """The start of an attempt: it waits for a place, or is on its way.

    Args:
        call_id: The call's id.
        operation: The question to the gateway.
        number: The phone number, masked.
        attempt: The attempt's number, from 1.
    """

    attempt: int


@attrs.frozen
class AttemptFinished(_CallEvent):
    """The end of an attempt.

    Args:
        call_id: The call's id.
        operation: The question to the gateway.
        number: The phone number, masked.
        attempt: The attempt's number, from 1.
        result: Its result, or after an error its last known result; `None`: unknown.
        elapsed: Seconds since the attempt began.
        error: The class of the error that it raised, such as a cancellation; `None`: it raised none.
    """

    attempt: int
    result: CallResult | None
    elapsed: float = attrs.field(repr="{:.3f}s".format)
    error: type[BaseException] | None = attrs.field(default=None, converter=_class, repr=_class_name)


@attrs.frozen
class RetryWaiting(_CallEvent):
    """The start of a pause before another attempt.

    Args:
        call_id: The call's id.
        operation: The question to the gateway.
        number: The phone number, masked.
        attempt: The number of the attempt before the pause, from 1.
        delay: Seconds that the pause takes.
        result: The result of the attempt before the pause.
    """

    attempt: int
    delay: float = attrs.field(repr="{:.3f}s".format)
    result: CallResult


@attrs.frozen
class CallFinished(_CallEvent):
    """The end of a call.

    Args:
        call_id: The call's id.
        operation: The question to the gateway.
        number: The phone number, masked.
        result: Its result, or after an error its last known result; `None`: unknown.
        elapsed: Seconds since the call began.
        coalesced: Whether it shared the exchange of an identical call, and made no attempt of its own.
        error: The class of the error that it raised, such as a cancellation; `None`: it gave its result.
    """

    result: CallResult | None
    elapsed: float = attrs.field(repr="{:.3f}s".format)
    coalesced: bool = False
    error: type[BaseException] | None = attrs.field(default=None, converter=_class, repr=_class_name)


@attrs.frozen
class BatchProgress:
    """The progress of a batch, after each entry and once more at its end.

    Args:
        batch_id: The id that all events of the batch share; unique in the process, from 1.
        total: Entries that were read and have a result, skipped ones included.
        by_disposition: The same entries by what happened to the SMS.
        elapsed: Seconds since the batch began.
        finished: Whether the batch has ended: this is its last event.
    """

    batch_id: int
    total: int
    by_disposition: Mapping[Disposition, int]
    elapsed: float = attrs.field(repr="{:.3f}s".format)
    finished: bool = False


Event: TypeAlias = (
    CallStarted | AttemptStarted | AttemptFinished | RetryWaiting | CallFinished | BatchProgress
)
"""An event of a client. New kinds may come: ignore those that you do not know."""


class Observer(Protocol):
    """An object that is told what a client does."""

    def notify(self, event: Event) -> None:
        """Take an event: be quick, and never block.

        Called in the event loop, in the middle of the work. An exception raised here is logged, and changes nothing for the call.

        Args:
            event: The event.
        """
        ...


class Notifier:
    """Hands each event to every observer, in the given order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._failed: set[type] = set()

    def notify(self, event: Event) -> None:
        """Tell every observer. Only an error that ends the program gets out."""
        for observer in self._observers:
            try:
                observer.notify(event)
            except (Exception, asyncio.CancelledError):
                # A cancellation too: nothing is awaited here, so it is not the task's.
                class_ = type(observer)
                if class_ not in self._failed:  # once a class, so that it does not fill a disk
                    self._failed.add(class_)
                    _logger.exception(
                        "the observer %s failed, and the calls go on; this is said once", class_.__qualname__
                    )


def notifier_of(
    observer: Observer | Sequence[Observer] | None, also: Observer | None = None
) -> Notifier | None:
    """Check the client's `observer`, and make its notifier.

    Args:
        observer: The observers that the caller gave.
        also: One more, told last, unless one of its class is among them.

    Returns:
        `None`: there is no observer.

    Raises:
        InvalidConfiguration: `observer` is neither an observer nor a sequence of them.
    """
    given: Sequence[object] = () if observer is None else (observer,)
    if isinstance(observer, Sequence) and not isinstance(observer, (str, bytes)):
        given = observer
    for one in given:
        name, notify = type(one).__name__, getattr(one, "notify", None)
        if isinstance(one, type):
            raise InvalidConfiguration(
                "observer", f"is the class {one.__name__}, not an object of it", _EXPECTED
            )
        if not callable(notify):
            raise wrong_setting("observer", one, _EXPECTED)
        if inspect.iscoroutinefunction(notify):
            problem = f"has a `notify` that is asynchronous ({name})"
            raise InvalidConfiguration("observer", problem, _EXPECTED)
    observers = [*cast("Sequence[Observer]", given)]
    if also is not None and not any(type(one) is type(also) for one in observers):
        observers.append(also)
    return Notifier(observers) if observers else None


class CallEvents:
    """Makes the events of one call. `clock` is the event loop's, in seconds."""

    def __init__(
        self, notifier: Notifier, operation: Operation, number: str, url: str, clock: Callable[[], float]
    ) -> None:
        self._notify = notifier.notify
        self._call: tuple[int, Operation, str] = next(_call_ids), operation, mask_msisdn(number)
        del number  # an observer may raise an error that ends the program, with this frame
        self._clock = clock
        self._began = self._attempt_began = clock()
        self._attempt = 0
        self._notify(CallStarted(*self._call, url))

    def attempt_started(self, attempt: int) -> None:
        self._attempt = attempt
        self._attempt_began = self._clock()
        self._notify(AttemptStarted(*self._call, attempt))

    def attempt_finished(self, result: CallResult | None, error: BaseException | None = None) -> None:
        elapsed = self._clock() - self._attempt_began
        self._notify(AttemptFinished(*self._call, self._attempt, result, elapsed, error))

    def retry_waiting(self, delay: float, result: CallResult) -> None:
        self._notify(RetryWaiting(*self._call, self._attempt, delay, result))

    def finished(
        self, result: CallResult | None, *, coalesced: bool = False, error: BaseException | None = None
    ) -> None:
        self._notify(CallFinished(*self._call, result, self._clock() - self._began, coalesced, error))


class BatchEvents:
    """Makes the events of one batch."""

    def __init__(self, notifier: Notifier) -> None:
        self._notify = notifier.notify
        self._id = next(_batch_ids)

    def __call__(
        self, total: int, by_disposition: Mapping[Disposition, int], elapsed: float, *, finished: bool
    ) -> None:
        self._notify(BatchProgress(self._id, total, by_disposition, elapsed, finished))
