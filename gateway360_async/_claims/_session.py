"""A client's part of its store: claims before a request's first byte, completions after.

Invariants:

- Nothing is sent that was not claimed. A store that cannot be asked within its `timeout` means `NOT_SENT`.
- A claim whose answer is lost, or is not used, is withdrawn.
- A completion is tried until the client closes, whatever becomes of its caller.
- A lease counts from before its claim was asked, on a clock that runs while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, cast

import attrs

from .._errors import ClientClosed, InvalidConfiguration, InvalidRequest, StoreError
from .._guard import Refusal, SpendGuard
from .._payloads import PinRequest
from .._permits import Permits
from .._results import FailureKind, PinResult, TransportFailure
from .._secret import Secret
from ..stores._base import Answer, Claim, Completion, Record, State, Store
from ._keys import KeyBuilder, is_gone
from ._lanes import Lane, answered
from ._making import ClaimBuilder
from ._opening import Opening
from ._outcomes import in_doubt, not_sent, of_resend, result_of

__all__ = ["Lease", "StoreSession"]

_logger = logging.getLogger("gateway360_async")

_LAST_WORD: Final = 2.0
"""Seconds beyond its `timeout` in which a store that is there answers, when the client closes."""
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

# On Linux the one, on macOS the other counts the time that the machine sleeps; Python's own on macOS does not.
_CLOCK: Final = cast("int | None", getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None)))


def _clock() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@attrs.define(eq=False)
class Lease:
    """A claim that was granted.

    Args:
        claim: The claim.
        until: When its lease ends, on the session's clock.
        before: The result from before, of a resend.
        session: The session that claimed it.
        gap: Seconds for which its questions may wait for others, to share a round trip.
        permit: When it was granted a permit ahead of its first attempt, on the event loop's clock.
        recorded: What is done when its result is on record; `None`: it has none yet.
    """

    claim: Claim
    until: float
    before: PinResult | None
    session: StoreSession = attrs.field(repr=False)
    gap: float = 0.0
    permit: float | None = None
    recorded: asyncio.Future[Sequence[bool]] | None = None

    def of_resend(self, result: PinResult) -> PinResult:
        """Say of a resend that was not sent that the request may have been sent before."""
        return of_resend(result, None if self.before is None else self.before.report_id)

    def reaches(self, seconds: float) -> bool:
        """Whether the lease lasts for so many seconds from now."""
        return self.claim.record is None or self.until - _clock() >= seconds

    async def renew(self) -> bool:
        """Let the lease begin anew. `False`: it has ended, or the store cannot be asked."""
        asked = _clock()
        try:
            renewed = await self.session.renew(self.claim)
        except StoreError:
            return False
        if renewed:
            self.until = asked + self.claim.lease
        return renewed


class StoreSession:
    """One client's part of a store.

    Args:
        store: The store. It is connected with the first question, and closed by `aclose`.
        url: Where the client posts to.
        api_key: The account's key.
        deadline: Seconds that most calls take at most.
        guard: Where requests may go, and how many.
        cooldown: Seconds for which a result stands for its number.
        rate: Requests that start per second.
    """

    def __init__(
        self,
        store: Store,
        *,
        url: str,
        api_key: Secret,
        deadline: float,
        guard: SpendGuard | None,
        cooldown: float | None,
        rate: float | None,
    ) -> None:
        self.store = store
        self.claims = ClaimBuilder(guard=guard, cooldown=cooldown, deadline=deadline)
        self.claims_all = guard is not None or cooldown is not None
        """Whether a call without an idempotency key is claimed as well."""
        self._longest = longest = store.timeout + _LAST_WORD
        settings = {"rate": rate, "cooldown": cooldown, "guard": None if guard is None else repr(guard)}
        self._opening = Opening(store, url=url, api_key=api_key, settings=settings, longest=longest)
        self._closed = False
        self._claims: Lane[Claim, Answer] = Lane(store.claim, longest)
        self._completions: Lane[Completion, bool] = Lane(
            self._ask_completions, longest, persistent=True, failed=self._not_on_record
        )
        self._renewals: Lane[Claim, bool] = Lane(store.renew, longest)
        self._peeks: Lane[Record, Answer] = Lane(store.peek, longest)
        self._is_away = False
        self._leases: set[Lease] = set()
        self._last_completed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<StoreSession {self.store!r}>"

    async def keys(self) -> KeyBuilder:
        """Connect the store unless it is connected, and give what makes its keys. Raises as `Opening.keys`."""
        return await self._opening.keys()

    async def aclose(self) -> None:
        """Refuse claims, complete what is not yet on record, and close the store."""
        self._closed = True
        try:
            await self._opening.stop()
            await self._claims.aclose(self._longest)
            await asyncio.sleep(0)  # for callers that withdraw their claims now
            await self._completed()
            left = await self._completions.aclose(self._longest)
            if left:
                _logger.warning("closed before %d claims were ended: others take them for maybe sent", left)
        finally:
            for lane in (self._claims, self._completions, self._renewals, self._peeks):
                await lane.aclose(0.0)
            await self._opening.aclose()

    async def _completed(self) -> None:
        """Wait until no lease is held: no call is under way, but a batch's rows may wait for their turn."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._longest):
                while self._leases:
                    self._last_completed.clear()
                    await self._last_completed.wait()

    # --- Questions -------------------------------------------------------------------------------------------------------

    async def _ask_completions(self, completions: Sequence[Completion]) -> list[bool]:
        confirmed = await self.store.complete(completions)
        self._is_away = False
        for completion, is_ours in zip(completions, confirmed, strict=True):
            if not is_ours and not completion.withdrawn:
                _logger.warning("a result came too late: another claim has taken its record")
        return confirmed

    def _not_on_record(self, error: StoreError, count: int) -> None:
        if not error.passing:
            _logger.warning("%d results are not on record: %s", count, error)
        elif not self._is_away:
            self._is_away = True  # said once, for all that follow
            _logger.warning("results are put on record later: %s", error)

    async def look(
        self, record: Record | None, cooldown: Record | None, *, until: float, gap: float = 0.0
    ) -> Answer:
        """Say which of a claim's records stands in its way; `FREE`: none does. Raises `StoreError`."""
        records = [each for each in (record, cooldown) if each is not None]
        answers = await self.peek(records, until=until, gap=gap)
        for each, answer in zip(records, answers, strict=True):
            if answer.state is not State.FREE:
                return attrs.evolve(answer, cooldown=each is cooldown)
        return Answer(state=State.FREE)

    async def peek(self, records: Sequence[Record], *, until: float, gap: float = 0.0) -> Sequence[Answer]:
        """Look at records. Raises `StoreError`."""
        return await self._peeks.put(records, asyncio.get_running_loop(), until=until, gap=gap)

    async def renew(self, claim: Claim) -> bool:
        """Renew a claim's lease. Raises `StoreError`."""
        loop = asyncio.get_running_loop()
        (renewed,) = await self._renewals.put([claim], loop, until=loop.time() + self.store.timeout)
        return renewed

    async def permits(self, count: int, interval: float) -> tuple[int, float]:
        """Ask for permits of the shared rate. Raises `StoreError`."""
        keys = await self.keys()
        return await answered(self._longest, self.store.permits, keys.rate(), count, interval)

    async def header(self, key: bytes, value: str) -> str:
        """Give the header of this key; where there is none, set it. Raises `StoreError`."""
        return await answered(self._longest, self.store.header, key, value)

    async def now(self) -> float:
        """Give the time on the store's clock. Raises `StoreError`."""
        return await answered(self._longest, self.store.now)

    async def claim(self, claims: Sequence[Claim], *, until: float, gap: float = 0.0) -> list[Lease | Answer]:
        """Claim once. Cancelled, or without an answer in time, the claims are withdrawn.

        Args:
            claims: The claims.
            until: When a store that is away is waited for no longer, on the event loop's clock.
            gap: Seconds for which others are waited for, to share the round trip.

        Raises:
            StoreError: The store cannot be asked.
            ClientClosed: The client was closed.
        """
        if self._closed:
            raise ClientClosed
        loop = asyncio.get_running_loop()
        asked = _clock()
        try:
            # A block is a round trip of its own, and waits for no others.
            answers = await self._claims.put(claims, loop, until=until, gap=gap if len(claims) == 1 else 0.0)
        except (StoreError, asyncio.CancelledError):
            # Nothing is sent on them.
            withdrawn = [
                Completion(claim=one, state=State.FREE, result="", give_back=one.counts, withdrawn=True)
                for one in claims
            ]
            self._completions.put(withdrawn, loop, until=loop.time())
            raise
        leased: list[Lease | Answer] = []
        for claim, answer in zip(claims, answers, strict=True):
            if answer.state is State.CLAIMED:
                lease = Lease(claim, asked + claim.lease, result_of(answer), self, gap)
                self._leases.add(lease)
                leased.append(lease)
            else:
                leased.append(answer)
        return leased

    def complete(self, lease: Lease, result: PinResult) -> asyncio.Future[Sequence[bool]]:
        """Begin to record a claim's result, which goes on whatever becomes of the caller.

        Returns:
            What is done when the result is on record, and fails with a `StoreError` when a store that is away was waited
            for long enough.
        """
        loop = asyncio.get_running_loop()
        completions = self.claims.completions_of(lease.claim, result)
        until = loop.time() + self.store.timeout
        lease.recorded = self._completions.put(completions, loop, until=until, gap=lease.gap)
        self._leases.discard(lease)
        self._last_completed.set()
        return lease.recorded

    # --- One call --------------------------------------------------------------------------------------------------------

    async def admit(
        self,
        request: PinRequest,
        *,
        idempotency_key: str | None,
        report_id: str | None,
        expires: float,
        force: bool,
        meanwhile: Callable[[TransportFailure | None], None],
        permits: Permits | None,
    ) -> Lease | PinResult:
        """Claim a request, and wait for the result of another holder's claim where there is one.

        Args:
            request: The request.
            idempotency_key: The caller's key; `None`: the request has none.
            report_id: What ties it to its delivery report.
            expires: When its call ends at the latest, on the event loop's clock.
            force: Whether to send even within the cooldown.
            meanwhile: Is told the result of a call that ends while it waits for another holder.
            permits: Grants the request its permit before it is claimed; `None`: there is no rate.

        Returns:
            The lease, or the call's result instead.

        Raises:
            InvalidRequest: The idempotency key belongs to another request.
        """
        loop = asyncio.get_running_loop()
        try:
            keys = await self.keys()
        except (StoreError, InvalidConfiguration) as exc:
            return not_sent(FailureKind.STORE, str(exc))
        record = None
        if idempotency_key is not None:
            record = Record(keys.record(idempotency_key), self.store.ttl, keys.fingerprint(request))
        claim, refusal = self.claims.claim_of(
            keys, request, record, report_id=report_id, deadline=expires - loop.time(), force=force
        )
        if refusal is not None:
            permits = None  # it is sent in no case
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await self._claimed(claim, permits, expires, loop)
            except StoreError as exc:
                if refusal is not None:
                    return not_sent(refusal.kind, refusal.detail)
                return not_sent(FailureKind.STORE, str(exc))
            if isinstance(answer, Lease):
                meanwhile(None)
                return answer
            if answer.mismatch:
                problem = "belongs to another request, with another payload"
                raise InvalidRequest("idempotency_key", problem, "one of its own for each request")
            if answer.state is not State.IN_PROGRESS or is_gone(answer.token):
                meanwhile(None)
                return self._replayed(request, answer, refusal)
            meanwhile(None if answer.cooldown else in_doubt("another process sends it", answer.report_id))
            await asyncio.sleep(min(pause, answer.remaining + 0.001))
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _claimed(
        self, claim: Claim, permits: Permits | None, expires: float, loop: asyncio.AbstractEventLoop
    ) -> Lease | Answer:
        timeout = self.store.timeout
        granted = None
        if permits is not None:
            # A key that is not claimed takes no permit, nor waits for one.
            cooldown = None if claim.force else claim.cooldown
            answer = await self.look(claim.record, cooldown, until=min(expires, loop.time() + timeout))
            if answer.state is not State.FREE:
                return answer
            granted = await permits.wait(timeout)
        try:
            (leased,) = await self.claim([claim], until=min(expires, loop.time() + timeout))
            if isinstance(leased, Lease):
                leased.permit, granted = granted, None
            return leased
        finally:
            if permits is not None and granted is not None:
                permits.give_back(granted)

    def _replayed(self, request: PinRequest, answer: Answer, refusal: Refusal | None) -> PinResult:
        if answer.state is State.LIMITED:
            return self.claims.refused(request, answer, refusal)
        if (known := result_of(answer)) is not None:
            return attrs.evolve(known, replayed=True)
        if answer.state is State.FREE:
            return not_sent(FailureKind.STORE, "the claim was withdrawn")
        which = "an earlier call to this number" if answer.cooldown else "the process that began to send it"
        return attrs.evolve(in_doubt(f"{which} left no result", answer.report_id), replayed=True)
