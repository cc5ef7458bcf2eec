"""What the client says of one call, in events.

Rules of this module:

- Whoever makes the call says what happens, once; the ids, the mask and the clock are seen to here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Final

from .._redaction import mask_msisdn
from .._results import Disposition
from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Operation,
    RetryWaiting,
)
from ._watch import Watch

__all__ = ["BatchWatch", "CallWatch"]

_call_ids: Final = count(1)
_batch_ids: Final = count(1)


class CallWatch:
    """Tells observers of one call, from its beginning on.

    Args:
        watch: Who is told.
        operation: What the call asks of the gateway.
        number: The number.
        url: Where the call posts to.
        clock: The event loop's clock, in seconds.
    """

    __slots__ = ("_attempt", "_attempt_began", "_began", "_clock", "_id", "_number", "_operation", "_watch")

    def __init__(
        self, watch: Watch, operation: Operation, number: str, url: str, clock: Callable[[], float]
    ) -> None:
        self._watch = watch
        self._operation: Operation = operation
        self._number = mask_msisdn(number)
        del number  # an observer may raise what ends the program, with this frame
        self._clock = clock
        self._id = next(_call_ids)
        self._began = self._attempt_began = clock()
        self._attempt = 0
        watch.notify(CallStarted(self._id, operation, self._number, url))

    def attempt_started(self, attempt: int) -> None:
        """An attempt begins, the first being 1."""
        self._attempt = attempt
        self._attempt_began = self._clock()
        self._watch.notify(AttemptStarted(self._id, self._operation, self._number, attempt))

    def attempt_finished(self, result: CallResult | None, error: BaseException | None = None) -> None:
        """The attempt has ended with a result, or with what is known of it and what it raised."""
        elapsed = self._clock() - self._attempt_began
        self._watch.notify(
            AttemptFinished(self._id, self._operation, self._number, self._attempt, result, elapsed, error)
        )

    def retry_waiting(self, delay: float, result: CallResult) -> None:
        """Another attempt follows in `delay` seconds."""
        self._watch.notify(
            RetryWaiting(self._id, self._operation, self._number, self._attempt, delay, result)
        )

    def finished(
        self, result: CallResult | None, *, joined: bool = False, error: BaseException | None = None
    ) -> None:
        """The call has ended with a result, or with what is known of it and what it raised."""
        elapsed = self._clock() - self._began
        self._watch.notify(
            CallFinished(self._id, self._operation, self._number, result, elapsed, joined, error)
        )


class BatchWatch:
    """Tells observers of one batch.

    Args:
        watch: Who is told.
    """

    __slots__ = ("_id", "_watch")

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._id = next(_batch_ids)

    def __call__(
        self, total: int, by_disposition: Mapping[Disposition, int], elapsed: float, *, finished: bool
    ) -> None:
        """So many entries are settled, `elapsed` seconds after the batch began."""
        self._watch.notify(BatchProgress(self._id, total, by_disposition, elapsed, finished))
