"""What adapters say of an outcome in few words, so that a metric has few series.

Rules of this module:

- Every value comes from a closed set: never a number, never a text, never an id that the gateway made up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from threading import Lock
from typing import Final, Generic, TypeVar

from .._results import ApiError, Disposition, ErrorId, NotVerified, Ok, TransportFailure, Verified
from ._events import BatchProgress, CallFinished, CallResult

__all__ = [
    "BUCKETS",
    "CANCELLED",
    "EXCEPTION",
    "MAY_BE_OUT",
    "OTHER",
    "Batches",
    "Kept",
    "disposition_of",
    "error_type_of",
    "is_replayed",
    "kind_of",
    "shared_by",
]

OTHER: Final = "other"
"""Stands for every error id that is not published."""

CANCELLED: Final = "cancelled"
EXCEPTION: Final = "exception"

MAY_BE_OUT: Final = (Disposition.SENT.value, Disposition.MAYBE_SENT.value)
"""Of an attempt to send: each of these is an SMS, or may be."""

_MILLISECONDS: Final = (
    5,
    10,
    25,
    50,
    75,
    100,
    250,
    500,
    750,
    1_000,
    2_500,
    5_000,
    7_500,
    10_000,
    15_000,
    30_000,
)
BUCKETS: Final = tuple(bound / 1_000 for bound in _MILLISECONDS)
"""Seconds: those that OpenTelemetry's conventions want for durations, and on to the client's usual deadline."""

_Value = TypeVar("_Value")


def disposition_of(result: CallResult | None) -> str:
    """Say what happened: a `Disposition`, or for a PIN that the gateway judged `"verified"` or `"not_verified"`.

    Returns:
        One of these, or `"unknown"` where no result says.
    """
    match result:
        case None:
            return "unknown"
        case Verified():
            return "verified"
        case NotVerified():
            return "not_verified"
        case _:
            return result.disposition.value


def kind_of(result: CallResult | None, error: type[BaseException] | None) -> str | None:
    """Say why something did not go well; `None` if it did.

    Returns:
        `"cancelled"` or `"exception"` where it raised, an `ErrorId` or `"other"`, or a `FailureKind`.
    """
    if error is not None:
        return CANCELLED if issubclass(error, asyncio.CancelledError) else EXCEPTION
    match result:
        case ApiError(error_id=error_id):
            return error_id.value if isinstance(error_id, ErrorId) else OTHER
        case TransportFailure(kind=kind):
            return kind.value
        case _:
            return None


def error_type_of(result: CallResult | None, error: type[BaseException] | None) -> str | None:
    """Say why something did not go well as OpenTelemetry's conventions want it (`error.type`).

    Returns:
        As `kind_of`, but the class of what was raised, and `"_OTHER"` for an id that is not published.
    """
    kind = kind_of(result, error)
    if kind != EXCEPTION or error is None:
        return "_OTHER" if kind == OTHER else kind
    name = error.__qualname__
    return name if error.__module__ == "builtins" else f"{error.__module__}.{name}"


def shared_by(event: CallFinished) -> str:
    """Say whose exchange a call's result comes from: `"no"` (its own), `"joined"` or `"replayed"`."""
    if event.joined:
        return "joined"
    return "replayed" if is_replayed(event.result) else "no"


def is_replayed(result: CallResult | None) -> bool:
    """Say whether it is the result of an earlier call, within the cooldown. No other is, of `verify_pin`."""
    return isinstance(result, (Ok, ApiError, TransportFailure)) and result.replayed


class Kept(Generic[_Value]):
    """Values by the id of a call or a batch, so many at most: whatever is not taken out, the oldest goes.

    Clients on several event loops, each in its thread, may share an observer, and so this.

    Args:
        most: How many are kept.
    """

    __slots__ = ("_lock", "_most", "_values")

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[int, _Value] = {}
        self._lock = Lock()

    def put(self, key: int, value: _Value) -> _Value | None:
        """Keep a value, as the newest. Returns the one that had to go for it."""
        with self._lock:
            gone = self._values.pop(key, None)
            if gone is None and len(self._values) >= self._most:
                gone = self._values.pop(next(iter(self._values)))
            self._values[key] = value
            return gone

    def get(self, key: int) -> _Value | None:
        """Give a value, and keep it."""
        return self._values.get(key)

    def take(self, key: int) -> _Value | None:
        """Give a value, and keep it no longer."""
        with self._lock:
            return self._values.pop(key, None)

    def values(self) -> list[_Value]:
        """List what is kept, the oldest first."""
        with self._lock:
            return list(self._values.values())


class Batches:
    """The batches under way. A batch says how far it has come; a counter needs to know how far since then."""

    __slots__ = ("_kept",)

    def __init__(self, most: int = 1_000) -> None:
        self._kept: Kept[Counter[Disposition]] = Kept(most)

    def advance(self, event: BatchProgress) -> Counter[Disposition]:
        """Take a batch's progress down. Returns the entries that were settled since its last."""
        counts = Counter(event.by_disposition)
        before = self._kept.get(event.batch_id) or Counter()
        if event.finished:
            self._kept.take(event.batch_id)
        else:
            self._kept.put(event.batch_id, counts)
        return counts - before

    def under_way(self) -> tuple[int, Counter[Disposition]]:
        """Count the batches under way, and the entries that they have settled."""
        kept = self._kept.values()
        return len(kept), sum(kept, Counter[Disposition]())
