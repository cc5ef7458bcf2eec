"""One call: what comes before its attempts and after them.

Rules of this module:

- The deadline bounds all of a call: waiting for its number's turn, for a place, the limiter, every attempt,
  every pause.
- What the cooldown or the guard refuses makes no attempt.
- A cancellation goes on, always; `cancelled` says what is known of the call by then.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, cast

import attrs

from ._attempts import Attempts, Call
from ._bounds import Deadlines
from ._cooldown import Cooldown
from ._guard import GuardAccount, Refusal, SpendGuard, may_be_an_sms, reached_gateway
from ._payloads import PinRequest
from ._permits import Permits
from ._results import ApiError, Disposition, FailureKind, Ok, PinResult, TransportFailure
from ._retry import RetryPolicy
from ._secret import Secret, SecretBytes
from ._verification import NotVerified, Verified, VerifyResult, encode_verification
from ._waiting import uninterrupted
from ._wire import encoder
from .transports import Transport

if TYPE_CHECKING:
    from ._claims._session import Lease, StoreSession
    from .delivery import DeliveryReports

__all__ = ["Caller"]


class Caller:
    """Makes calls, on the places and the budget that they share.

    Args:
        api_key: The account's key.
        transport: The way to the network. Closed by `aclose`.
        policy: When a call is tried again.
        limiter: Entered around each attempt, or `None`.
        concurrency: Exchanges at a time, at most.
        deadline: Seconds that most calls take at most.
        cooldown: Seconds for which a result stands for its number; `None`: none does.
        guard: Where calls may go, and how many; `None`: anywhere, and any number.
        reports: Where the delivery reports of requests go that name no other place; `None`: nowhere.
        permits: Grants each attempt its permit; `None`: there is no rate. Closed by `aclose`.
        store: The client's part of its store: the cooldown and the guard are kept there then. Closed by `aclose`.
    """

    def __init__(
        self,
        *,
        api_key: Secret,
        transport: Transport,
        policy: RetryPolicy,
        limiter: AbstractAsyncContextManager[Any] | None,
        concurrency: int,
        deadline: float,
        cooldown: float | None,
        guard: SpendGuard | None,
        reports: DeliveryReports | None,
        permits: Permits | None = None,
        store: StoreSession | None = None,
    ) -> None:
        self._api_key = api_key
        self._encode = encoder(api_key)
        self._transport = transport
        self._attempts = Attempts(
            api_key=api_key,
            transport=transport,
            policy=policy,
            limiter=limiter,
            permits=permits,
            store_timeout=math.inf if store is None else store.store.timeout,
            concurrency=concurrency,
        )
        self._deadlines = Deadlines(deadline)
        self._cooldown = None if cooldown is None else Cooldown(cooldown)
        self._guard = None if guard is None else guard.open()
        self._reports = reports
        self._permits = permits
        self._store = store

    async def aclose(self) -> None:
        """Close the connections, once no call is under way."""
        self._deadlines.close()
        try:
            if self._permits is not None:
                await self._permits.aclose()
            if self._store is not None:
                await self._store.aclose()
        finally:
            await self._transport.aclose()

    async def run(self, call: Call[Ok], request: PinRequest, key: str | None = None) -> PinResult:
        """Wait for the number's turn, and make attempts until one is final or the deadline passes."""
        body = self._encode(request if call.report_id is None else self._reported(call, request))
        self._deadlines.begin(call)
        passed: bool | None = None
        try:
            if call.turn is not None:
                await call.turn
            if self._cooldown is not None and not call.force:
                earlier = self._cooldown.earlier(call.number, call.loop.time())
                if earlier is not None:
                    return earlier
            if self._store is not None:
                result = await self._stored(call, body, request, key, self._store)
            elif self._guard is None:
                result = await self._attempts.make(call, body)
            else:
                result = await self._guarded(call, body, self._guard)
        except asyncio.CancelledError:
            passed = self._deadlines.end(call)
            result = _of_resend(call, call.final(self._attempts.broken_off(call, passed=passed)))
            if not passed:
                self._ended(call, result)  # the number's next call is to know
                raise
        finally:
            if passed is None:
                self._deadlines.end(call)
        if call.report_id is None and self._cooldown is None:
            return result
        return self._ended(call, result)

    def _ended(self, call: Call[Ok], result: PinResult) -> PinResult:
        """Tie a result to its report, and let it stand for its number."""
        result = _tied(call, result)
        if self._cooldown is not None:
            self._cooldown.note(call.number, result, call.loop.time())
        return result

    async def verify(self, call: Call[Verified | NotVerified]) -> VerifyResult:
        """Have the call's PIN judged: one try at most, for each counts."""
        body = encode_verification(call.number, cast("Secret", call.pin), self._api_key)
        self._deadlines.begin(call)
        passed: bool | None = None
        try:
            return await self._attempts.make(call, body)
        except asyncio.CancelledError:
            passed = self._deadlines.end(call)
            if not passed:
                raise
            return call.final(self._attempts.broken_off(call, passed=True))
        finally:
            if passed is None:
                self._deadlines.end(call)

    def cancelled(self, call: Call[Ok]) -> PinResult:
        """Say what is known of a call that was cancelled."""
        return _tied(call, _of_resend(call, call.final(self._attempts.broken_off(call, passed=False))))

    def cancelled_try(self, call: Call[Verified | NotVerified]) -> VerifyResult:
        """Say what is known of a try that was cancelled. Nobody reports on it."""
        return call.final(self._attempts.broken_off(call, passed=False))

    def tie(self, call: Call[Ok], request: PinRequest) -> None:
        """Give a call a report of its own, unless its sender has asked for one elsewhere."""
        if call.lease is not None:
            call.report_id = call.lease.claim.report_id  # which its record has
        elif self._reports is not None and request.report_url is None:
            call.report_id = self._reports.new_id()

    def _reported(self, call: Call[Ok], request: PinRequest) -> PinRequest:
        """Give a request the report URL of its call."""
        report_id, reports = cast("str", call.report_id), cast("DeliveryReports", self._reports)
        return attrs.evolve(request, report_url=reports.url_for(report_id, request.msisdn))

    async def _guarded(self, call: Call[Ok], body: SecretBytes, guard: GuardAccount) -> PinResult:
        """Count a call on the guard, which may refuse it. What became no SMS is given back."""
        admission = guard.admit(call.number, call.loop.time())
        if isinstance(admission, Refusal):
            return self._attempts.failed(call, admission.kind, admission.detail)
        known: PinResult | None = None
        try:
            known = await self._attempts.make(call, body)
            return known
        except asyncio.CancelledError:
            known = self.cancelled(call)
            raise
        finally:
            if known is None or not may_be_an_sms(known):
                guard.give_back(admission, attempted=known is not None and reached_gateway(known))

    async def _stored(
        self, call: Call[Ok], body: SecretBytes, request: PinRequest, key: str | None, store: StoreSession
    ) -> PinResult:
        """Make a call's attempts, on a claim in the store where the call has anything to claim."""
        try:
            if call.lease is not None:
                return await self._leased(call, body, call.lease)
            if key is not None or store.claims_all:
                return await self._admitted(call, body, request, key, store)
            return await self._attempts.make(call, body)
        finally:
            if self._permits is not None and call.permit is not None:
                self._permits.give_back(call.permit)  # no attempt was made

    async def _admitted(
        self, call: Call[Ok], body: SecretBytes, request: PinRequest, key: str | None, store: StoreSession
    ) -> PinResult:
        """Claim a call's records in the store, make its attempts, and complete the claim."""
        own = call.report_id

        def meanwhile(result: TransportFailure | None) -> None:
            call.maybe_sent = result
            call.report_id = own if result is None else result.report_id

        admission = await store.admit(
            request,
            idempotency_key=key,
            report_id=call.report_id,
            expires=call.expires,
            force=call.force,
            meanwhile=meanwhile,
            permits=self._permits if call.permit is None else None,
        )
        if isinstance(admission, (Ok, ApiError, TransportFailure)):
            known = admission if admission.replayed else _timed(call, call.final(admission))
            call.report_id = known.report_id  # of the call that sent it, if one did
            return known
        call.lease = admission
        if call.permit is None:
            call.permit = admission.permit
        return await self._leased(call, body, admission)

    async def _leased(self, call: Call[Ok], body: SecretBytes, lease: Lease) -> PinResult:
        """Make the attempts of a call that has its lease, and complete the claim."""
        store = cast("StoreSession", self._store)
        try:
            result = await self._attempts.make(call, body)
        except asyncio.CancelledError:
            known = call.final(self._attempts.broken_off(call, passed=call.passed))
            recorded = store.complete(lease, _tied(call, known))
            if call.passed:  # the call has a result, which is given out when it is on record
                await _until_recorded(recorded)
            raise
        except BaseException as exc:
            # Raised rather than returned, so nothing was sent.
            failed = self._attempts.failed(call, FailureKind.UNEXPECTED, type(exc).__name__)
            store.complete(lease, call.final(failed))
            raise
        recorded = store.complete(lease, _tied(call, result))
        if not lease.gap:  # otherwise a batch waits for it
            try:
                await _until_recorded(recorded)
            except asyncio.CancelledError:
                # The deadline's alone takes nothing from a call that has its result.
                if not call.passed or call.task is None or call.task.cancelling() > call.cancelling + 1:
                    raise
        return _of_resend(call, result)


async def _until_recorded(recorded: asyncio.Future[Sequence[bool]]) -> None:
    """Wait until a result is on record, or the store was waited for long enough; a cancellation waits, too."""
    cancelled = await uninterrupted(recorded)
    if cancelled is not None:
        raise cancelled


def _of_resend(call: Call[Ok], result: PinResult) -> PinResult:
    """Say of a resend that was not sent that the request may have been sent before."""
    lease = call.lease
    if lease is None or lease.claim.resend is None or result.disposition is not Disposition.NOT_SENT:
        return result
    call.report_id = None if lease.before is None else lease.before.report_id
    return lease.of_resend(result)


def _timed(call: Call[Ok], result: PinResult) -> PinResult:
    """Say of a result that needed no attempt how long it took."""
    return attrs.evolve(result, elapsed=call.elapsed())


def _tied(call: Call[Ok], result: PinResult) -> PinResult:
    """Tie a result to the delivery report that may still come."""
    if call.report_id is None or result.disposition is Disposition.NOT_SENT:
        return result
    return attrs.evolve(result, report_id=call.report_id)
