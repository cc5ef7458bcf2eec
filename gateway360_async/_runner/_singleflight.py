"""Coalesce identical requests that run at the same time: one exchange, one SMS, one result for all callers.

A double click, or a form that two workers handle, would otherwise be two paid SMS, and the second voids the first PIN.

Invariants:

- A waiter can be cancelled without ending the call for the others. So a leader runs in a task of its own, which is
  cancelled once no caller waits for it. A batch's calls run in its workers, and go on while another caller waits for them.
- A leader has the deadline and timeouts of its own caller. A waiter's deadline only ends its waiting.
- Different requests to one number are sent one after the other, in the order of asking: a later PIN voids an earlier one.
- To join, to find and to leave the calls of a number takes as long however many they are.
- A waiter sends by itself if its leader was cancelled, or expired, before the first byte.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs

from .._aio import shield_until_done
from .._models import PinRequest
from .._operations import AnyResult
from .._redaction import mask_msisdn
from .._results import Disposition, FailureKind, PinResult, TransportFailure
from ._call import InFlightCall, Outcome
from ._runner import CallRunner

if TYPE_CHECKING:
    from ..observers._events import Notifier

__all__ = ["SingleFlight"]

_Send = TypeVar("_Send", bound=Callable[..., Awaitable[Any]])

_logger = logging.getLogger("gateway360_async")

# A call begins in its caller's step, from Python 3.12 on: one that needs no wait then costs no switch of tasks.
_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class _Queue:
    """The calls of one number in the order of asking, and those of them that can be coalesced."""

    __slots__ = ("_joinable", "calls")

    def __init__(self) -> None:
        # A dict's first key would take ever longer to find as others are deleted.
        self.calls: OrderedDict[InFlightCall, None] = OrderedDict()
        self._joinable: dict[tuple[object, str | None], OrderedDict[InFlightCall, None]] = {}

    def add(self, call: InFlightCall) -> None:
        self.calls[call] = None
        if not call.closed:
            self._joinable.setdefault((call.request, call.key), OrderedDict())[call] = None

    def find(self, call: InFlightCall) -> InFlightCall | None:
        identical = self._joinable.get((call.request, call.key))
        return None if identical is None else next(iter(identical))

    def hide(self, call: InFlightCall) -> None:
        """Let no other call join this one."""
        name = (call.request, call.key)
        identical = self._joinable.get(name)
        if identical is not None:
            identical.pop(call, None)
            if not identical:
                del self._joinable[name]

    def remove(self, call: InFlightCall) -> InFlightCall:
        """Remove a call, and return the head."""
        del self.calls[call]
        self.hide(call)
        return next(iter(self.calls))


class SingleFlight:
    """Runs calls, and lets identical ones share an exchange.

    Args:
        runner: Runs the calls.
        notifier: Tells observers of each call; `None`: there are none.
    """

    def __init__(self, runner: CallRunner, notifier: Notifier | None) -> None:
        self._runner = runner
        runner.completed = self._complete
        # By number, the head of its queue, which is sent. Nearly always there is no other, and no queue.
        self._heads: dict[str, InFlightCall] = {}
        self._queues: dict[str, _Queue] = {}
        self._alone = 0
        self._drained = asyncio.Event()
        self.send = _observed(notifier, self._send)
        self.send_in_batch = _observed(notifier, self._send_in_batch)
        self.send_alone = _observed(notifier, self._send_alone)

    async def aclose(self) -> None:
        """Wait for the calls in flight, and close the connections."""
        while self._heads or self._alone:
            self._drained.clear()
            await self._drained.wait()
        await self._runner.aclose()

    async def _send(self, call: InFlightCall) -> PinResult:
        """Send for a caller. Cancelled, log its last known result."""
        leader = call
        try:
            while (leader := self._leader(call)) is not call:
                result: PinResult = await self._join(leader, call)
                if not _never_begun(result) or call.loop.time() >= call.expires:
                    return result
            self._register(call)
            call.task = asyncio.Task(self._runner.run(call), loop=call.loop, **_EAGER)
            if call.outcome is not None:  # it began in its caller's step, and needed no other
                return cast("PinResult", _result(call.outcome))
            waiter = self._waiter(call)
            try:
                result = await waiter
            except asyncio.CancelledError:
                await self._leave(call, waiter)
                raise
        except asyncio.CancelledError:
            self._log_cancelled(call, self._known(leader, call))
            raise
        return result

    @staticmethod
    def _log_cancelled(call: InFlightCall, known: AnyResult) -> None:
        """Log the last known result of a call that was cancelled: the exception cannot say it."""
        call.last_known = known
        if known.disposition is not Disposition.NOT_SENT:
            _logger.warning("a call for %s was cancelled: %s", mask_msisdn(call.number), known)

    async def _send_in_batch(self, call: InFlightCall, *, share: bool) -> PinResult:
        """Send in a batch's worker. Return the last known result where it is cancelled."""
        while share and (leader := self._leader(call)) is not call:
            try:
                result: PinResult = await self._join(leader, call)
            except asyncio.CancelledError:
                detail = "cancelled before the answer came"
                return cast("PinResult", self._left(leader, call, FailureKind.CANCELLED, detail))
            if not _never_begun(result) or call.loop.time() >= call.expires:
                return result
        call.in_batch = True
        self._register(call)
        outcome: Outcome | None
        try:
            outcome = await self._runner.run(call)
        except asyncio.CancelledError:
            outcome = call.outcome
        return cast("PinResult", _result(outcome))

    async def _send_alone(self, call: InFlightCall) -> Any:
        """Send a call that is coalesced with no other, such as the check of a PIN: each counts for its own caller."""
        self._alone += 1
        try:
            return _result(await self._runner.run(call))
        except asyncio.CancelledError:
            self._log_cancelled(call, self._runner.known(call))
            raise
        finally:
            self._alone -= 1
            self._drained.set()

    def cancel(self, workers: Iterable[asyncio.Task[None]]) -> None:
        """Cancel a batch's workers. Those whose call another caller waits for are cancelled once none does."""
        calls = {call.task: call for call in self._all() if call.in_batch}
        for worker in workers:
            call = calls.get(worker)
            if call is not None and call.waiters:
                call.released = True
            else:
                if call is not None:
                    self._close(call)
                worker.cancel()

    def _all(self) -> Iterable[InFlightCall]:
        for number, head in self._heads.items():
            queue = self._queues.get(number)
            yield from (head,) if queue is None else queue.calls

    def _close(self, call: InFlightCall) -> None:
        call.closed = True
        queue = self._queues.get(call.number)
        if queue is not None:
            queue.hide(call)

    def _leader(self, call: InFlightCall) -> InFlightCall:
        """Find the call that this one can join; itself, if there is none."""
        number = call.request.msisdn
        if call.force or number not in self._heads:
            return call
        head = self._heads[number]
        queue = self._queues.get(number)
        if queue is not None:
            return queue.find(call) or call
        identical = head.request == call.request and head.key == call.key
        return head if identical and not head.closed else call

    def _register(self, call: InFlightCall) -> None:
        call.coalesced = False  # it may have been, before
        call.registered = True
        number = call.request.msisdn
        if call.lease is not None:
            call.report_id = call.lease.claim.report_id  # which its record has
        elif self._runner.reports is not None:
            call.report_id = self._runner.new_report_id(cast("PinRequest", call.request))
        head = self._heads.setdefault(number, call)
        if head is not call:
            queue = self._queues.get(number)
            if queue is None:
                queue = self._queues[number] = _Queue()
                queue.add(head)
            queue.add(call)
            call.turn = call.loop.create_future()

    def _complete(self, call: InFlightCall, outcome: Outcome) -> None:
        """Give an outcome to the callers that wait for it, and let the number's next call go."""
        if call.outcome is not None:
            return
        call.outcome = outcome
        if not call.registered:
            return
        self._leave_queue(call)
        for waiter in call.waiters or ():
            if not waiter.done():
                if isinstance(outcome, Exception):
                    waiter.set_exception(outcome)
                else:
                    waiter.set_result(outcome)
        if not self._heads:
            self._drained.set()

    def _leave_queue(self, call: InFlightCall) -> None:
        number = call.request.msisdn
        queue = self._queues.get(number)
        if queue is None:
            del self._heads[number]
            return
        head = queue.remove(call)
        if len(queue.calls) == 1:
            del self._queues[number]
        if self._heads[number] is call:
            self._heads[number] = head
            if head.turn is not None and not head.turn.done():  # one that was cancelled completes in a moment
                head.turn.set_result(None)

    @staticmethod
    def _waiter(leader: InFlightCall) -> asyncio.Future[Any]:
        waiter: asyncio.Future[Any] = leader.loop.create_future()
        if leader.waiters is None:
            leader.waiters = {}
        leader.waiters[waiter] = None
        return waiter

    async def _leave(self, leader: InFlightCall, waiter: asyncio.Future[Any]) -> None:
        """Wait no more, and end the call if no other caller waits for it."""
        waiters = leader.waiters or {}
        del waiters[waiter]
        if waiters or leader.task is None or (leader.in_batch and not leader.released):
            return
        self._close(leader)
        leader.task.cancel()
        if not leader.in_batch:
            # A second cancellation is kept until the call is completed: it takes a few steps.
            await shield_until_done(leader.task)
            # Cancelled before its first step, it has not completed by itself.
            self._complete(leader, self._runner.known(leader))

    async def _join(self, leader: InFlightCall, call: InFlightCall) -> Any:
        """Wait for a leader's outcome, until the call's own deadline."""
        call.coalesced = True
        deadline = asyncio.timeout_at(call.expires)
        waiter = self._waiter(leader)
        try:
            async with deadline:
                return await waiter
        except asyncio.CancelledError:
            await self._leave(leader, waiter)
            raise
        except TimeoutError:
            if not deadline.expired():
                raise  # a limiter's own, which the leader ran into
            await self._leave(leader, waiter)
        return self._left(leader, call, FailureKind.DEADLINE, f"the deadline of {call.seconds:g} s passed")

    def _left(self, leader: InFlightCall, call: InFlightCall, kind: FailureKind, detail: str) -> Any:
        """Return the last known result of a leader that a call waits for no more."""
        result = self._known(leader, call)
        if isinstance(result, TransportFailure) and result.kind is FailureKind.CANCELLED:
            return attrs.evolve(result, kind=kind, detail=detail)
        return result

    def _known(self, leader: InFlightCall, call: InFlightCall) -> Any:
        if leader.outcome is None:
            detail = "an identical request, whose result this one shares, goes on"
            return TransportFailure(
                FailureKind.CANCELLED,
                Disposition.MAYBE_SENT,
                detail=detail,
                attempts=leader.attempts,
                elapsed=call.elapsed(),
                report_id=leader.report_id,
            )
        return self._runner.known(leader) if isinstance(leader.outcome, Exception) else leader.outcome


def _result(outcome: Outcome | None) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _never_begun(result: AnyResult) -> bool:
    """Say whether a leader was cancelled, or expired, before its first byte."""
    return (
        isinstance(result, TransportFailure)
        and result.kind in (FailureKind.CANCELLED, FailureKind.DEADLINE)
        and result.disposition is Disposition.NOT_SENT
    )


def _observed(notifier: Notifier | None, send: _Send) -> _Send:
    """Make `send` tell observers when a call begins and how it ends; where there are none, leave it as it is."""
    if notifier is None:
        return send
    from ..observers._events import CallEvents  # noqa: PLC0415  # imported for clients that have observers

    async def observed(call: InFlightCall, **settings: Any) -> Any:
        endpoint = call.endpoint
        events = call.events = CallEvents(
            notifier, endpoint.operation.name, call.number, endpoint.url, call.loop.time
        )
        try:
            result = await send(call, **settings)
        except BaseException as exc:
            events.finished(call.last_known, coalesced=call.coalesced, error=exc)
            raise
        events.finished(result, coalesced=call.coalesced)
        return result

    return cast("_Send", observed)
