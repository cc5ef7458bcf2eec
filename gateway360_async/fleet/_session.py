"""A client's part of its fleet: admission before a request's first byte, its outcome after.

Rules of this module:

- Nothing is sent that was not admitted: where Redis cannot be asked, the answer is no.
- Whoever gets a wish that somebody else is sending waits for its outcome: there is no better answer.
- An outcome is recorded whatever becomes of its caller, and tried for as long as the claim's lease lasts: after that,
  it may have been sent, as far as anybody else knows.
- A claim that may have been made, and is not used, is given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Final

import attrs

from .._errors import FleetError, InvalidRequest
from .._guard import GuardRules, Refusal, RefusalKind, SpendGuard, may_be_an_sms
from .._payloads import PinRequest
from .._redis._claims import Claims
from .._redis._link import Link
from .._redis._names import Names
from .._redis._turns import Turns
from .._redis._wishes import GRACE, Admission, Answer, Left, Limits, Verdict, Wish, milliseconds, new_token
from .._results import Disposition, FailureKind, PinResult, TransportFailure

__all__ = ["FleetSession", "abandoned", "interrupted"]

_logger = logging.getLogger("gateway360_async")

_LAST_WORD: Final = 2.0
"""Seconds beyond that in which a Redis that is there answers."""
_REFUSALS: Final[dict[Verdict, RefusalKind]] = {
    Verdict.PREFIX: FailureKind.PREFIX_LIMIT,
    Verdict.CLIENT: FailureKind.CLIENT_LIMIT,
    Verdict.TOTAL: FailureKind.TOTAL_LIMIT,
}


class FleetSession:
    """One client's part of a fleet.

    Args:
        names: What things are called in Redis.
        link: The way there.
        keep: Seconds that a record stays.
        rate: Requests that start in a second, or `None`.
        patience: Seconds that a call waits for a Redis that is away.
        deadline: Seconds that most calls take at most.
        guard: Where requests may go, and how many.
        cooldown: Seconds for which a result stands for its number.
    """

    def __init__(
        self,
        names: Names,
        link: Link,
        *,
        keep: float,
        rate: float | None,
        patience: float,
        deadline: float,
        guard: SpendGuard | None,
        cooldown: float | None,
    ) -> None:
        self._names = names
        self._link = link
        self._claims = Claims(link, names)
        self._keep = milliseconds(keep)
        self._patience = patience
        self._deadline = deadline
        self._rules = None if guard is None else GuardRules(guard)
        self._cooldown = None if cooldown is None else milliseconds(cooldown)
        self.turns = None if rate is None else Turns(link, names.turns, rate, patience=patience)
        """Entered around each attempt; `None`: no rate."""
        self._recording: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return "<FleetSession>"

    async def aclose(self) -> None:
        """Record what is not yet on record, and close the connections.

        It waits for a Redis that is away as long as a call does, and not for the length of all those leases.
        """
        if self._recording:
            await asyncio.wait(self._recording, timeout=self._patience + _LAST_WORD)
        if self._recording:
            left = len(self._recording)
            _logger.warning("closed before %d outcomes were on record: others take them for maybe sent", left)
            for recording in self._recording:
                recording.cancel()
            await asyncio.wait(self._recording)
        if self.turns is not None:
            await self.turns.aclose()
        await self._link.aclose()

    async def join(self) -> None:
        """Ask Redis whether it takes this client. Raises `FleetError`."""
        await self._link.memory(patience=self._patience)

    def ahead(self) -> AbstractAsyncContextManager[None]:
        """Take a turn of the fleet's rate before a call begins, so that the wait is none of the call's time."""
        return nullcontext() if self.turns is None else self.turns.ahead()

    def key_of(self, batch: str, request: PinRequest) -> str:
        """The idempotency key of a batch's entry."""
        return self._names.derived(batch, request)

    async def look(self, keys: Sequence[str], *, patience: float) -> list[Left | None]:
        """Say how far the wishes with these idempotency keys have come. Raises `FleetError`."""
        return await self._claims.look([self._names.record(key) for key in keys], patience=patience)

    async def close(self, claims: Sequence[tuple[str, str]], *, patience: float) -> list[bool]:
        """Let nobody send wishes any more that were not sent; see `Claims.close`. Raises `FleetError`."""
        named = [(self._names.record(key), token) for key, token in claims]
        return await self._claims.close(named, patience=patience)

    async def reopen(self, key: str, *, patience: float) -> None:
        """Let a wish be sent after all that was closed. Raises `FleetError`."""
        await self._claims.reopen(self._names.record(key), patience=patience)

    async def admit(
        self,
        request: PinRequest,
        *,
        idempotency_key: str | None,
        report_id: str | None,
        expires: float,
        force: bool,
        meanwhile: Callable[[TransportFailure | None], None],
    ) -> Admission | PinResult:
        """Claim a request for this process, and count it.

        Args:
            request: The request.
            idempotency_key: What its wish is called; `None`: it is one of its own.
            report_id: What ties it to its delivery report.
            expires: When its call ends at the latest, on the event loop's clock.
            force: Whether to send even within the cooldown.
            meanwhile: Is told what is true of the call for as long as it waits for somebody else's claim.

        Returns:
            The claim, or what the call's result is instead.

        Raises:
            InvalidRequest: The idempotency key belongs to another request.
        """
        loop = asyncio.get_running_loop()
        token = new_token()
        prefix = "" if self._rules is None else self._rules.prefix_of(request.msisdn)
        if isinstance(prefix, Refusal) and idempotency_key is None:
            return _failed(prefix.kind, prefix.detail)
        wish = self._wish(
            request,
            idempotency_key,
            report_id,
            expires - loop.time(),
            force=force,
            limits=self._limits(prefix),
        )
        looks = 0
        while True:
            patience = max(0.0, min(self._patience, expires - loop.time()))
            try:
                answer = await self._claims.admit(wish, token, patience=patience)
            except FleetError as exc:
                if isinstance(prefix, Refusal):
                    return _failed(prefix.kind, prefix.detail)
                self.record(Admission(wish, token), _failed(FailureKind.FLEET, str(exc)))
                return _failed(FailureKind.FLEET, str(exc))
            except asyncio.CancelledError:
                # It may have got there all the same.
                passed = loop.time() >= expires
                kind = FailureKind.DEADLINE if passed else FailureKind.CANCELLED
                self.record(Admission(wish, token), _failed(kind, "ended before it was admitted"))
                raise
            if answer.admission is not None:
                meanwhile(None)
                return answer.admission
            if answer.verdict not in (Verdict.BUSY, Verdict.NUMBER):
                meanwhile(None)
                result = self._refused(answer, prefix)
                own = answer.verdict in (Verdict.SETTLED, Verdict.UNSETTLED)
                return result if own else await self._told(wish, token, result)
            busy = answer.verdict is Verdict.BUSY
            meanwhile(interrupted("somebody else is sending it", answer.report_id) if busy else None)
            await asyncio.sleep(answer.pause(looks))
            looks += 1

    async def _told(self, wish: Wish, token: str, result: PinResult) -> PinResult:
        """Let whoever waits for a wish's outcome know why it is not sent."""
        if wish.keep:
            with suppress(FleetError):  # they will learn nothing, and ask again
                await self._claims.refuse(wish, token, result, patience=self._patience)
        return result

    def record(self, admission: Admission, result: PinResult) -> asyncio.Task[None]:
        """Begin to record what became of a claim, which goes on whatever becomes of the caller."""
        task = asyncio.Task(self._record(admission, result), loop=asyncio.get_running_loop())
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        return task

    async def recorded(self, recording: asyncio.Task[None]) -> None:
        """Wait until that is on record, but not for longer than a call waits for a Redis that is away.

        A cancellation is kept until then.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        cancelled: asyncio.CancelledError | None = None
        while not recording.done() and (left := until - loop.time()) > 0:
            try:
                await asyncio.wait((recording,), timeout=left)
            except asyncio.CancelledError as exc:
                cancelled = exc
        if cancelled is not None:
            raise cancelled

    async def _record(self, admission: Admission, result: PinResult) -> None:
        counts = may_be_an_sms(result)
        try:
            patience = admission.wish.lease / 1000
            await self._claims.settle(admission, result, counts=counts, patience=patience)
        except FleetError as exc:
            _logger.warning("an outcome could not be recorded, others will take it for maybe sent: %s", exc)

    def _wish(
        self,
        request: PinRequest,
        idempotency_key: str | None,
        report_id: str | None,
        remaining: float,
        *,
        force: bool,
        limits: Limits,
    ) -> Wish:
        names = self._names
        return Wish(
            # A wish without a key has a record for as long as it is under way: who counts it knows it by that.
            record=names.unnamed(new_token()) if idempotency_key is None else names.record(idempotency_key),
            fingerprint=names.fingerprint(request),
            keep=0 if idempotency_key is None else self._keep,
            lease=milliseconds(max(remaining, self._deadline) + GRACE),
            report_id=report_id,
            number=None if self._cooldown is None else names.number(request.msisdn),
            cooldown=self._cooldown or 0,
            force=force,
            limits=limits,
        )

    def _limits(self, prefix: str | Refusal) -> Limits:
        if self._rules is None:
            return Limits()
        guard, names = self._rules.guard, self._names
        window = milliseconds(guard.window)
        if isinstance(prefix, Refusal):
            # None at all: a wish is not sent, but what a client that may send it made of it is known all the same.
            return Limits(prefix=(names.prefix("", window), 0), window=window)
        return Limits(
            prefix=None if guard.per_prefix is None else (names.prefix(prefix, window), guard.per_prefix),
            everybody=None if guard.per_client is None else (names.everybody(window), guard.per_client),
            total=None if guard.total is None else (names.total, guard.total),
            window=window,
        )

    def _refused(self, answer: Answer, prefix: str | Refusal) -> PinResult:
        if answer.verdict is Verdict.OTHER:
            problem = "belongs to another request, with another payload"
            raise InvalidRequest("idempotency_key", problem, "one of its own for each request")
        if answer.result is not None:
            return attrs.evolve(answer.result, repeated=True)
        if answer.verdict is Verdict.HOT:
            detail = "an earlier call to this number, whose outcome nobody knows"
            return attrs.evolve(interrupted(detail, answer.report_id), repeated=True)
        kind = _REFUSALS.get(answer.verdict)
        if kind is None or self._rules is None:
            return abandoned(answer.report_id)
        refusal = prefix if isinstance(prefix, Refusal) else self._rules.refusal(kind, prefix)
        return _failed(refusal.kind, refusal.detail)


def interrupted(detail: str, report_id: str | None) -> TransportFailure:
    """Say of a wish that somebody else has begun that it may have been sent."""
    return TransportFailure(
        FailureKind.INTERRUPTED, Disposition.MAYBE_SENT, detail=detail, attempts=0, report_id=report_id
    )


def abandoned(report_id: str | None) -> TransportFailure:
    """Say of a wish whose claim's lease is over that it may have been sent, and nobody will know."""
    return interrupted("whoever began to send it is gone", report_id)


def _failed(kind: FailureKind, detail: str) -> TransportFailure:
    return TransportFailure(kind, Disposition.NOT_SENT, detail=detail, attempts=0)
