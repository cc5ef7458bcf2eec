"""Events of a client's calls and batches, and the observers that take them.

    from gateway360_async.observers import LoggingObserver
    from gateway360_async.observers.opentelemetry import OpenTelemetryObserver
    from gateway360_async.observers.prometheus import PrometheusObserver

    Gateway360Client(observer=LoggingObserver())
    Gateway360Client(observer=[OpenTelemetryObserver(), PrometheusObserver()])

`Observer` is the protocol: one method, `notify(event)`. A client without an observer does not import this package.
"""

from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Event,
    Observer,
    Operation,
    RetryWaiting,
)
from ._logging import LoggingObserver

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "BatchProgress",
    "CallFinished",
    "CallResult",
    "CallStarted",
    "Event",
    "LoggingObserver",
    "Observer",
    "Operation",
    "RetryWaiting",
]
