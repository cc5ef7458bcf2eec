"""One call in flight: a plain record, which the runner, the single-flight and the admissions fill in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from .._config import httpx
from .._operations import AnyResult, Endpoint, Payload
from .._redaction import Secret
from .._results import ApiError, Disposition, TransportFailure
from ..transports import Exchange

if TYPE_CHECKING:
    from ..observers._events import CallEvents
    from ._admission import Admission
    from ._session import Lease

__all__ = ["InFlightCall", "Outcome"]

Outcome: TypeAlias = AnyResult | Exception
"""A result, or the exception that is raised for each call that waits for it: nothing was sent then."""


@attrs.define(eq=False)
class InFlightCall:
    """The state of one call, from its arguments to its outcome. Times are the event loop's, in seconds."""

    endpoint: Endpoint
    request: Payload
    loop: asyncio.AbstractEventLoop
    started: float
    seconds: float
    """The deadline, from the start on."""
    timeout: httpx.Timeout
    key: str | None = None
    """The idempotency key. Requests with two keys are two SMS, however alike."""
    force: bool = False
    """Whether to send even within the cooldown, and beside an identical request."""
    admission: Admission | None = None
    """Admits it before its first attempt."""
    is_halted: Callable[[], bool] | None = None
    """Says before each attempt whether the batch has halted."""
    lease: Lease | None = None
    """The lease of its record in the store, which covers each attempt."""
    permit: float | None = None
    """The time of a permit that was granted ahead of the first attempt."""
    events: CallEvents | None = None
    """Tells observers of it."""

    # The runner's.
    task: asyncio.Task[Any] | None = None
    """The task that runs it: its own, or that of a batch's worker."""
    cancelling: int = 0
    """How often the task's cancellation had been asked for before."""
    expired: bool = False
    timer: asyncio.TimerHandle | None = None
    attempts: int = 0
    exchange: Exchange = attrs.field(factory=Exchange)
    """The progress of the attempt under way."""
    maybe_sent: ApiError | TransportFailure | None = None
    """The last attempt that may have been sent: whatever follows it, the call may have been."""
    report_id: str | None = None
    """The id of its delivery report."""
    asked: bool = False
    """Whether the store was asked about its key, and has not answered."""
    result: Any = None
    """The result of its attempts, which the store records."""

    # The single-flight's.
    turn: asyncio.Future[None] | None = None
    """Done once no earlier call to the number is in flight; `None`: there was none."""
    registered: bool = False
    """Whether other calls to the number can find it."""
    in_batch: bool = False
    released: bool = False
    """Whether its batch would have cancelled it, had no other caller waited for it."""
    closed: bool = False
    """Whether it is being cancelled: no other call joins it any more."""
    coalesced: bool = False
    """Whether its result is that of another call."""
    waiters: dict[asyncio.Future[AnyResult], None] | None = None
    outcome: Outcome | None = None
    last_known: AnyResult | None = None
    """The result that was known when its caller was cancelled."""

    @property
    def number(self) -> str:
        return self.request.msisdn

    @property
    def expires(self) -> float:
        return self.started + self.seconds

    def elapsed(self) -> float:
        return self.loop.time() - self.started

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return self.endpoint.operation.secrets(self.request)

    def secret_values(self) -> frozenset[int]:
        """Return the number, and secrets of digits, as numbers."""
        texts = [self.number, *(secret.reveal().strip() for secret in self.secrets)]
        return frozenset(int(text) for text in texts if text.isascii() and text.isdigit())

    def record(self, result: ApiError | TransportFailure) -> None:
        """Record the result of an attempt that has ended."""
        self.exchange = Exchange()
        if result.disposition is Disposition.MAYBE_SENT:
            self.maybe_sent = result

    def final(self, result: Any) -> Any:
        """Make an attempt's result the call's: a refusal does not undo an SMS that may have been sent."""
        if self.maybe_sent is None or result.disposition is not Disposition.NOT_SENT:
            return result
        return attrs.evolve(self.maybe_sent, attempts=self.attempts, elapsed=self.elapsed())

    def of_lease(self, result: Any) -> Any:
        """Make the result on a lease the call's: a resend that was not sent may have been sent before."""
        lease = self.lease
        if lease is None or lease.claim.resend is None or result.disposition is not Disposition.NOT_SENT:
            return result
        result = lease.of_resend(result)
        self.report_id = result.report_id
        return result

    def attach_report(self, result: Any) -> Any:
        """Attach the id of the delivery report that may still come; a replayed result keeps that of its SMS."""
        if self.report_id is None or result.replayed or result.disposition is Disposition.NOT_SENT:
            return result
        return attrs.evolve(result, report_id=self.report_id)
