"""Measurements of events, for the metrics of every adapter alike.

A label's value comes from a closed set: never a number, a text, or an error id that the gateway made up.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, TypeVar

from .._results import ApiError, Disposition, ErrorId, TransportFailure
from ._events import (
    AttemptFinished,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Event,
    RetryWaiting,
)

__all__ = ["BUCKETS", "Bounded", "Measurements", "disposition_of", "error_type_of", "kind_of"]

_MILLISECONDS: Final = "5 10 25 50 75 100 250 500 750 1000 2500 5000 7500 10000 15000 30000"
BUCKETS: Final = tuple(int(bound) / 1000 for bound in _MILLISECONDS.split())
"""Seconds: first the bounds of OpenTelemetry's conventions for durations, then up to the client's usual deadline."""

_MOST_BATCHES: Final = 1_000

_Value = TypeVar("_Value")
_Reason: TypeAlias = Callable[[CallResult | None, type[BaseException] | None], str]


def disposition_of(result: CallResult | None) -> str:
    """Return a `Disposition`, `verified` or `not_verified` of a PIN, or `unknown`."""
    if result is None:
        return "unknown"
    label: str | None = getattr(
        result, "label", None
    )  # of a result that says more than that the gateway answered
    return result.disposition.value if label is None else label


def kind_of(result: CallResult | None, error: type[BaseException] | None) -> str:
    """Return why a call or an attempt failed.

    Returns:
        `""` if it did not; `"cancelled"` or `"exception"` if it raised; otherwise an `ErrorId`, `"other"` for an id
        that is not published, or a `FailureKind`.
    """
    if error is not None:
        return "cancelled" if issubclass(error, asyncio.CancelledError) else "exception"
    if isinstance(result, ApiError):
        return result.error_id.value if isinstance(result.error_id, ErrorId) else "other"
    return result.kind.value if isinstance(result, TransportFailure) else ""


def error_type_of(result: CallResult | None, error: type[BaseException] | None) -> str:
    """Return why a call or an attempt failed, as OpenTelemetry's `error.type`.

    Returns:
        As `kind_of`, but the error's class in place of `"exception"`, and `"_OTHER"` in place of `"other"`.
    """
    kind = kind_of(result, error)
    if error is None or kind != "exception":
        return "_OTHER" if kind == "other" else kind
    return (
        error.__qualname__ if error.__module__ == "builtins" else f"{error.__module__}.{error.__qualname__}"
    )


class Bounded(OrderedDict[int, _Value]):
    """Values by the id of a call or a batch; for one too many, the oldest leaves.

    Each value is taken out when its call or batch ends. Should an end be missing, memory still has a bound.
    Clients in several threads may share an observer, and so this: it is used by operations that are atomic.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: int, value: _Value) -> _Value | None:
        """Keep a value as the newest. Return the one that left for it."""
        left = self.pop(key, None)
        self[key] = value
        return self.popitem(last=False)[1] if len(self) > self._most else left


class Measurements:
    """Turns events into measurements.

    Args:
        reason: Why a call or an attempt failed, for the label `kind`: `kind_of` or `error_type_of`.
    """

    def __init__(self, reason: _Reason) -> None:
        self._reason = reason
        self._batches: Bounded[Counter[Disposition]] = Bounded(_MOST_BATCHES)

    def of(self, event: Event) -> Iterator[tuple[str, float, dict[str, str]]]:
        """Yield a metric's name, a number to add to it, and its labels in order.

        Of `calls` the number is the seconds that one call took, of every other metric a count.
        """
        match event:
            case CallStarted(operation=operation):
                yield "calls_in_flight", 1, {"operation": operation}
            case AttemptFinished(operation=operation):
                labels = self._labels(event)
                yield "attempts", 1, labels
                if operation == "request_pin" and labels["disposition"] in ("sent", "maybe_sent"):
                    yield "sms", 1, {"disposition": labels["disposition"]}
            case RetryWaiting(operation=operation, result=result):
                yield "retries", 1, {"operation": operation, "kind": self._reason(result, None)}
            case CallFinished(operation=operation, result=result, coalesced=coalesced):
                replayed = getattr(result, "replayed", False)
                shared = "coalesced" if coalesced else "replayed" if replayed else "no"
                yield "calls", event.elapsed, self._labels(event) | {"shared": shared}
                yield "calls_in_flight", -1, {"operation": operation}
            case BatchProgress(batch_id=batch_id):
                # An event has the counts since the batch began; a counter wants those since its last event.
                counts = Counter(event.by_disposition)
                before = self._batches.pop(batch_id, Counter())
                if not event.finished:
                    self._batches.put(batch_id, counts)
                for disposition, new in (counts - before).items():
                    yield "batch_entries", new, {"disposition": disposition.value}
            case _:
                pass

    def batches(self) -> tuple[int, Counter[Disposition]]:
        """Count the batches in progress, and their entries that have a result."""
        counts = list(self._batches.values())
        return len(counts), sum(counts, Counter[Disposition]())

    def _labels(self, event: AttemptFinished | CallFinished) -> dict[str, str]:
        return {
            "operation": event.operation,
            "disposition": disposition_of(event.result),
            "kind": self._reason(event.result, event.error),
        }
