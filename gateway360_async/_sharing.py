"""Identical requests that run at the same time are one request: one exchange, one SMS, the same result for all.

Why: a double click, or a form that two workers handle, would otherwise be two paid SMS, of which the second
voids the PIN of the first while its reader types it in.

Rules of this module:

- Whoever shares a flight can be cancelled without ending it for the others. So a flight is a task of its own,
  which is cancelled when nobody waits for it any more. A batch's flights run in the batch's own workers, and
  those that somebody else waits for are spared.
- The deadline and the timeouts of a flight are those of the call that began it; who joins it can only be
  done with it sooner.
- Requests for the same number that differ take turns, in the order of asking: the later PIN voids the earlier
  whatever the network makes of their order. So a number's flights are a queue, and its head is in the air.
- To join a queue, to find in it and to leave it takes as long however many are in it.
- What a flight's own cancellation or deadline kept from being sent, whoever else waits for it sends itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from ._attempts import Call
from ._calls import Caller
from ._payloads import PinRequest
from ._results import Disposition, FailureKind, Ok, PinResult, TransportFailure
from ._secret import mask_msisdn
from ._verification import NotVerified, Verified, VerifyResult
from ._waiting import uninterrupted

__all__ = ["Flight", "Sharing"]

_logger = logging.getLogger("gateway360_async")

# Where Python can, a flight begins in its caller's step: one that needs no wait then costs no switch of tasks.
_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


@attrs.define(eq=False)
class Flight(Call[Ok]):
    """A call that others can share, or that shares another's flight and flies not itself."""

    request: PinRequest = attrs.field(kw_only=True)
    key: str | None = attrs.field(default=None, kw_only=True)
    """The idempotency key. Two wishes are two SMS, however alike."""
    own: asyncio.Task[object] | None = attrs.field(default=None, init=False)
    """The task that was made for it, unless a batch's worker flies it."""
    in_batch: bool = attrs.field(default=False, init=False)
    left_by_batch: bool = attrs.field(default=False, init=False)
    """Whether its batch would have cancelled it, if nobody else had waited for it."""
    doomed: bool = attrs.field(default=False, init=False)
    """Whether it is being cancelled: nobody joins it any more."""
    waiters: dict[asyncio.Future[PinResult], None] | None = attrs.field(default=None, init=False)
    """One for each call that waits, in the order of asking, but for the batch's worker that flies it."""
    outcome: PinResult | Exception | None = attrs.field(default=None, init=False)
    """What became of it: a result, or what is to be raised where it is waited for."""


class _Queue:
    """The flights of one number in the order of asking, and those that can be joined by their request and key."""

    __slots__ = ("_joinable", "flights")

    def __init__(self) -> None:
        # A dict's first key would take ever longer to find as others are deleted.
        self.flights: OrderedDict[Flight, None] = OrderedDict()
        self._joinable: dict[tuple[PinRequest, str | None], OrderedDict[Flight, None]] = {}

    def add(self, flight: Flight) -> None:
        self.flights[flight] = None
        if not flight.doomed:
            self._joinable.setdefault((flight.request, flight.key), OrderedDict())[flight] = None

    def find(self, call: Flight) -> Flight | None:
        alike = self._joinable.get((call.request, call.key))
        return None if alike is None else next(iter(alike))

    def hide(self, flight: Flight) -> None:
        """Let no other call join a flight."""
        name = (flight.request, flight.key)
        alike = self._joinable.get(name)
        if alike is not None:
            alike.pop(flight, None)
            if not alike:
                del self._joinable[name]

    def remove(self, flight: Flight) -> Flight:
        """Take a flight out. Gives the head."""
        del self.flights[flight]
        self.hide(flight)
        return next(iter(self.flights))


class Sharing:
    """Sends requests, and lets identical ones share.

    Args:
        caller: Makes the calls.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        # By number, the head of its queue, which flies. Nearly always there is no other, and no queue.
        self._flights: dict[str, Flight] = {}
        self._queues: dict[str, _Queue] = {}
        self._tries = 0
        self._drained = asyncio.Event()

    async def aclose(self) -> None:
        """Wait for what is in flight, and close the connections."""
        while self._flights or self._tries:
            self._drained.clear()
            await self._drained.wait()
        await self._caller.aclose()

    async def send(self, call: Flight) -> PinResult:
        """Send for a caller whose cancellation is its own. Cancelled, it says in the log what is known."""
        while True:
            flight = None
            if call.number in self._flights and not call.force:
                flight = self._find(call)
            joins = flight is not None
            if flight is None:
                flight = self._register(call)
                flight.own = asyncio.Task(self._fly(flight), loop=call.loop, **_EAGER)
            try:
                result = await (self._joined(flight, call) if joins else self._awaited(flight, call.loop))
            except asyncio.CancelledError:
                self._log_cancelled(flight, call)
                raise
            if not (joins and _never_begun(result) and call.loop.time() < call.expires):
                return result

    async def settled(self, call: Flight, *, share: bool) -> PinResult:
        """Send in a batch's worker: a cancellation becomes a result that says how far it came."""
        number = call.number
        while share and number in self._flights and (flight := self._find(call)) is not None:
            try:
                result = await self._joined(flight, call)
            except asyncio.CancelledError:
                return self._left(flight, call, FailureKind.CANCELLED, "cancelled before the answer came")
            if not _never_begun(result) or call.loop.time() >= call.expires:
                return result
        call.in_batch = True
        self._register(call)
        try:
            result = await self._caller.run(call, call.request, call.key)
        except asyncio.CancelledError:
            result = self._caller.cancelled(call)
        except Exception as exc:
            self._land(call, exc)
            raise
        except BaseException:
            self._land(call, self._caller.cancelled(call))
            raise
        self._land(call, result)
        return result

    async def verify(self, call: Call[Verified | NotVerified]) -> VerifyResult:
        """Have a PIN judged. Nobody shares that: each try counts, and is its caller's own."""
        self._tries += 1
        try:
            return await self._caller.verify(call)
        except asyncio.CancelledError:
            known = call.left = self._caller.cancelled_try(call)
            if known.disposition is not Disposition.NOT_SENT:
                _logger.warning("a try for %s was cancelled: %s", mask_msisdn(call.number), known)
            raise
        finally:
            self._tries -= 1
            self._drained.set()

    def cancel(self, workers: Iterable[asyncio.Task[None]]) -> None:
        """Cancel a batch's workers, but for those whose flights somebody else waits for: these, when nobody does."""
        flights = {flight.task: flight for flight in self._all() if flight.in_batch}
        for worker in workers:
            flight = flights.get(worker)
            if flight is not None and flight.waiters:
                flight.left_by_batch = True
            else:
                if flight is not None:
                    self._doom(flight)
                worker.cancel()

    def _all(self) -> Iterator[Flight]:
        for number, head in self._flights.items():
            queue = self._queues.get(number)
            yield from (head,) if queue is None else queue.flights

    def _doom(self, flight: Flight) -> None:
        flight.doomed = True
        queue = self._queues.get(flight.number)
        if queue is not None:
            queue.hide(flight)

    def _find(self, call: Flight) -> Flight | None:
        queue = self._queues.get(call.number)
        if queue is not None:
            return queue.find(call)
        head = self._flights[call.number]
        same = head.request == call.request and head.key == call.key
        return head if same and not head.doomed else None

    def _register(self, flight: Flight) -> Flight:
        flight.joined = False  # it may have, before
        self._caller.tie(flight, flight.request)
        head = self._flights.setdefault(flight.number, flight)
        if head is not flight:
            queue = self._queues.get(flight.number)
            if queue is None:
                queue = self._queues[flight.number] = _Queue()
                queue.add(head)
            queue.add(flight)
            flight.turn = flight.loop.create_future()
        return flight

    def _leave_queue(self, flight: Flight) -> None:
        number = flight.number
        queue = self._queues.get(number)
        if queue is None:
            del self._flights[number]
            return
        head = queue.remove(flight)
        if len(queue.flights) == 1:
            del self._queues[number]
        if self._flights[number] is flight:
            self._flights[number] = head
            turn = head.turn
            if turn is not None and not turn.done():  # one that was cancelled will land in a moment
                turn.set_result(None)

    async def _fly(self, flight: Flight) -> None:
        try:
            result = await self._caller.run(flight, flight.request, flight.key)
        except Exception as exc:  # noqa: BLE001  # it is raised where it is waited for
            self._land(flight, exc)
        except BaseException:
            # A cancellation, mostly. An interruption ends the event loop, and its waiters with it.
            self._land(flight, self._caller.cancelled(flight))
            raise
        else:
            self._land(flight, result)

    def _land(self, flight: Flight, outcome: PinResult | Exception) -> None:
        if flight.outcome is not None:
            return
        flight.outcome = outcome
        self._leave_queue(flight)
        for waiter in flight.waiters or ():
            if waiter.done():
                continue
            if isinstance(outcome, Exception):
                waiter.set_exception(outcome)
            else:
                waiter.set_result(outcome)
        if not self._flights:
            self._drained.set()

    async def _awaited(self, flight: Flight, loop: asyncio.AbstractEventLoop) -> PinResult:
        """Wait for a flight's result. Cancelled, end the flight if nobody else waits for it."""
        if flight.outcome is not None:  # it began in its caller's step, and needed no other
            if isinstance(flight.outcome, Exception):
                raise flight.outcome
            return flight.outcome
        waiter: asyncio.Future[PinResult] = loop.create_future()
        waiters = flight.waiters = flight.waiters or {}
        waiters[waiter] = None
        try:
            return await waiter
        except asyncio.CancelledError:
            del waiters[waiter]
            if waiters:
                raise
            if flight.left_by_batch and flight.task is not None:
                self._doom(flight)
                flight.task.cancel()
            elif flight.own is not None:
                self._doom(flight)
                flight.own.cancel()
                # A second cancellation is kept until the flight has settled: it takes a few steps.
                await uninterrupted(flight.own)
                # Cancelled before its first step, it has not landed by itself.
                self._land(flight, self._caller.cancelled(flight))
            raise

    async def _joined(self, flight: Flight, call: Flight) -> PinResult:
        """Wait for a flight of somebody else's, until the deadline of one's own."""
        call.joined = True
        deadline = asyncio.timeout_at(call.expires)
        try:
            async with deadline:
                return await self._awaited(flight, call.loop)
        except TimeoutError:
            if not deadline.expired():
                raise  # a limiter's own, which the flight ran into
        return self._left(flight, call, FailureKind.DEADLINE, f"the deadline of {call.seconds:g} s passed")

    def _left(self, flight: Flight, call: Flight, kind: FailureKind, detail: str) -> PinResult:
        """Say what is known of a flight by one who does not wait for it any more."""
        result = self._known(flight, call)
        if isinstance(result, TransportFailure) and result.kind is FailureKind.CANCELLED:
            return attrs.evolve(result, kind=kind, detail=detail)
        return result

    def _known(self, flight: Flight, call: Flight) -> PinResult:
        if flight.outcome is None:
            detail = "an identical request, whose result this one shares, goes on"
            return TransportFailure(
                FailureKind.CANCELLED,
                Disposition.MAYBE_SENT,
                detail=detail,
                elapsed=call.elapsed(),
                report_id=flight.report_id,
            )
        if isinstance(flight.outcome, Exception):
            return self._caller.cancelled(flight)
        return flight.outcome

    def _log_cancelled(self, flight: Flight, call: Flight) -> None:
        result = call.left = self._known(flight, call)
        if result.disposition is not Disposition.NOT_SENT:
            # The exception cannot say it.
            number = mask_msisdn(flight.number)
            _logger.warning("a call for %s was cancelled: %s", number, result)


def _never_begun(result: PinResult) -> bool:
    """Whether a flight was given up before its first byte, for a reason of somebody else's."""
    return (
        isinstance(result, TransportFailure)
        and result.kind in (FailureKind.CANCELLED, FailureKind.DEADLINE)
        and result.disposition is Disposition.NOT_SENT
    )
