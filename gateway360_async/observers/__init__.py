"""The port for those who watch a client, and its adapters.

    from gateway360_async.observers import LoggingObserver
    from gateway360_async.observers.opentelemetry import OpenTelemetryObserver
    from gateway360_async.observers.prometheus import PrometheusObserver

    Gateway360Client(observer=LoggingObserver())
    Gateway360Client(observer=[OpenTelemetryObserver(), PrometheusObserver()])

`Observer` is the protocol: one method, `notify(event)`. The client imports this package only where it is
watched.
"""

from ._calls import BatchWatch, CallWatch
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
from ._logging import LoggingObserver, observer_from_environment
from ._watch import Watch, watch

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "BatchProgress",
    "BatchWatch",
    "CallFinished",
    "CallResult",
    "CallStarted",
    "CallWatch",
    "Event",
    "LoggingObserver",
    "Observer",
    "Operation",
    "RetryWaiting",
    "Watch",
    "observer_from_environment",
    "watch",
]
