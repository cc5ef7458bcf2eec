"""The admission of calls with a store: a claim there, which the result completes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs

from .._aio import shield_until_done
from .._exceptions import InvalidConfiguration, InvalidRequest, StoreError
from .._guard import Refusal
from .._models import PinRequest
from .._redaction import SecretBytes
from .._results import FailureKind, PinResult
from ..stores._base import Answer, Claim, Record, State
from ._call import InFlightCall
from ._keys import is_gone
from ._permits import Permits
from ._records import in_doubt, not_sent, result_of
from ._session import Lease, StoreSession

if TYPE_CHECKING:
    from ._runner import CallRunner

__all__ = ["StoreAdmission"]

_T = TypeVar("_T")
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


class StoreAdmission:
    """Claims calls in a client's store.

    Args:
        session: The client's part of the store.
        permits: Grants a call its permit before it is claimed; `None`: there is no rate.
    """

    def __init__(self, session: StoreSession, permits: Permits | None) -> None:
        self._session = session
        self._permits = permits

    async def send(self, call: InFlightCall, body: SecretBytes, runner: CallRunner) -> Any:
        """See `Admission`. A batch has claimed its rows before."""
        try:
            if call.lease is None and (call.key is not None or self._session.claims_all):
                result = await self._admit(call)
                if result is not None:
                    return result
            if call.lease is None:
                return await runner.attempt(call, body)
            return await self._send_leased(call, body, runner, call.lease)
        finally:
            if self._permits is not None and call.permit is not None:
                self._permits.give_back(call.permit)  # no attempt was made

    async def _send_leased(
        self, call: InFlightCall, body: SecretBytes, runner: CallRunner, lease: Lease
    ) -> Any:
        try:
            result = await runner.attempt(call, body)
        except asyncio.CancelledError:
            # As it is recorded: the store knows itself that a resend may have been sent before.
            known = call.attach_report(call.final(runner.broken_off(call)))
            recorded = self._session.complete(lease, known)
            if call.expired:  # the call has a result, which is given out when it is recorded
                await _wait_for(recorded)
            raise
        except BaseException as exc:
            # Raised rather than returned, so nothing was sent.
            failed = runner.failed(call, FailureKind.UNEXPECTED, type(exc).__name__)
            self._session.complete(lease, call.final(failed))
            raise
        call.result = result
        recorded = self._session.complete(lease, call.attach_report(result))
        if not lease.gap:  # otherwise a batch waits for it
            try:
                await _wait_for(recorded)
            except asyncio.CancelledError:
                # The deadline's alone takes nothing from a call that has its result.
                if not call.expired or call.task is None or call.task.cancelling() > call.cancelling + 1:
                    raise
        return call.of_lease(result)

    async def _admit(self, call: InFlightCall) -> PinResult | None:
        """Claim a call; or return the result of another holder's claim, once that is known.

        Raises:
            InvalidRequest: The idempotency key belongs to another request.
        """
        request = cast("PinRequest", call.request)
        session, report_id = self._session, call.report_id
        try:
            keys = await _answered(call, session.keys())
        except (StoreError, InvalidConfiguration) as exc:
            return self._ended(call, not_sent(FailureKind.STORE, str(exc)))
        record = None
        if call.key is not None:
            record = Record(keys.record(call.key), session.store.ttl, keys.fingerprint(request))
        claim, refusal = session.claims.claim_of(
            keys,
            request,
            record,
            report_id=report_id,
            deadline=call.expires - call.loop.time(),
            force=call.force,
        )
        # The guard's refusal is sent in no case, and needs no permit.
        permits = self._permits if call.permit is None and refusal is None else None
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await self._claim(call, claim, permits)
            except StoreError as exc:
                kind, detail = FailureKind.STORE, str(exc)
                if refusal is not None:
                    kind, detail = refusal.kind, refusal.detail
                return self._ended(call, not_sent(kind, detail))
            if isinstance(answer, Lease):
                call.maybe_sent, call.report_id, call.lease = None, report_id, answer
                if call.permit is None:
                    call.permit = answer.permit
                return None
            if answer.mismatch:
                problem = "belongs to another request, with another payload"
                raise InvalidRequest("idempotency_key", problem, "one of its own for each request")
            if answer.state is not State.IN_PROGRESS or is_gone(answer.token):
                call.maybe_sent, call.report_id = None, report_id
                return self._ended(call, self._replayed(request, answer, refusal))
            # The result of a call that ends while it waits for another holder.
            call.maybe_sent = (
                None if answer.cooldown else in_doubt("another process sends it", answer.report_id)
            )
            call.report_id = report_id if call.maybe_sent is None else answer.report_id
            await asyncio.sleep(min(pause, answer.remaining + 0.001))
            pause = min(_LONGEST_PAUSE, pause * 2)

    @staticmethod
    def _ended(call: InFlightCall, result: PinResult) -> PinResult:
        if not result.replayed:
            result = attrs.evolve(call.final(result), elapsed=call.elapsed())
        call.report_id = result.report_id  # of the call that sent it, if one did
        return result

    async def _claim(self, call: InFlightCall, claim: Claim, permits: Permits | None) -> Lease | Answer:
        session = self._session
        timeout = session.store.timeout
        granted = None
        if permits is not None:
            # A key that is not claimed takes no permit, nor waits for one.
            cooldown = None if claim.force else claim.cooldown
            until = min(call.expires, call.loop.time() + timeout)
            answer = await _answered(call, session.look(claim.record, cooldown, until=until))
            if answer.state is not State.FREE:
                return answer
            granted = await permits.wait(timeout)
        try:
            until = min(call.expires, call.loop.time() + timeout)
            (leased,) = await _answered(call, session.claim([claim], until=until))
            if isinstance(leased, Lease):
                leased.permit, granted = granted, None
            return leased
        finally:
            if permits is not None and granted is not None:
                permits.give_back(granted)

    def _replayed(self, request: PinRequest, answer: Answer, refusal: Refusal | None) -> PinResult:
        if answer.state is State.LIMITED:
            return self._session.claims.refused(request, answer, refusal)
        if (known := result_of(answer)) is not None:
            return attrs.evolve(known, replayed=True)
        if answer.state is State.FREE:
            return not_sent(FailureKind.STORE, "the claim was withdrawn")
        which = "an earlier call to this number" if answer.cooldown else "the process that began to send it"
        return attrs.evolve(in_doubt(f"{which} left no result", answer.report_id), replayed=True)


async def _answered(call: InFlightCall, question: Awaitable[_T]) -> _T:
    """Wait for an answer of the store. A call with a key that ends meanwhile may have been sent by an earlier one."""
    call.asked = call.key is not None
    answer = await question
    call.asked = False
    return answer


async def _wait_for(recorded: asyncio.Future[Any]) -> None:
    """Wait until a result is recorded, or the store was waited for long enough; a cancellation waits, too."""
    cancelled = await shield_until_done(recorded)
    if cancelled is not None:
        raise cancelled
