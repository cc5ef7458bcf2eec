"""An asyncio client for Gateway360's Request PIN.

One call, at most one SMS, and you always know which of three things happened: it was sent, it was not
sent, or it may have been sent.

    async with Gateway360Client(sender="GOOD PIZZA") as client:
        match await client.request_pin("34666666111"):
            case Ok():
                ...                                   # one SMS was sent
            case ApiError(error_id=error_id):
                ...                                   # the gateway said no
            case TransportFailure(disposition=disposition):
                ...                                   # NOT_SENT: try again; MAYBE_SENT: ask the person

| module | what is in it |
|---|---|
| `gateway360_async.blocking` | the same client for threads, WSGI, Django and Celery |
| `gateway360_async.stores` | stores of idempotency records: a file, Redis, PostgreSQL |
| `gateway360_async.delivery` | delivery reports |
| `gateway360_async.observers` | observers of a client: logging; `gateway360_async.observers.opentelemetry`, `gateway360_async.observers.prometheus` |
| `gateway360_async.integrations` | web frameworks and task queues: `gateway360_async.integrations.asgi`, `gateway360_async.integrations.worker`, `gateway360_async.integrations.celery`, `gateway360_async.integrations.taskiq`, `gateway360_async.integrations.arq`, `gateway360_async.integrations.procrastinate`, `gateway360_async.integrations.django_tasks` |
| `gateway360_async.transports` | the ways to the network: `DirectTransport`, `HttpxTransport` |
| `gateway360_async.sandbox` | the gateway, embedded, that sends no SMS |
| `gateway360_async.testing` | for the tests of applications: pytest fixtures, a clock, recorded answers (`gateway360_async.testing.answers`); the suite of a store of your own (`gateway360_async.testing.stores`) |

PYTEST_DONT_REWRITE: because of its plugin pytest would rewrite the assertions of this package, which has none, and
warn about an import of it before pytest.
"""

from ._batch import Batch, BatchItem, BatchReport
from ._client import Gateway360Client
from ._exceptions import (
    ClientClosed,
    Gateway360Error,
    InvalidConfiguration,
    InvalidRequest,
    StoreError,
    WrongEventLoop,
)
from ._guard import SpendGuard
from ._models import PinParams, PinRequest, PinType, autofill_text
from ._numbers import parse_msisdn
from ._operations import NotVerified, Verified, VerifyResult
from ._results import (
    ApiError,
    BatchResult,
    Disposition,
    ErrorId,
    ErrorScope,
    FailureKind,
    MaybeSentError,
    NotSentError,
    Ok,
    PinResult,
    RejectedError,
    ResultError,
    Skipped,
    SkipReason,
    TransportFailure,
)
from ._retry import RetryBudget, RetryPolicy
from ._version import __version__

__all__ = [
    "ApiError",
    "Batch",
    "BatchItem",
    "BatchReport",
    "BatchResult",
    "ClientClosed",
    "Disposition",
    "ErrorId",
    "ErrorScope",
    "FailureKind",
    "Gateway360Client",
    "Gateway360Error",
    "InvalidConfiguration",
    "InvalidRequest",
    "MaybeSentError",
    "NotSentError",
    "NotVerified",
    "Ok",
    "PinParams",
    "PinRequest",
    "PinResult",
    "PinType",
    "RejectedError",
    "ResultError",
    "RetryBudget",
    "RetryPolicy",
    "SkipReason",
    "Skipped",
    "SpendGuard",
    "StoreError",
    "TransportFailure",
    "Verified",
    "VerifyResult",
    "WrongEventLoop",
    "__version__",
    "autofill_text",
    "parse_msisdn",
]
