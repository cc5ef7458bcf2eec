"""One client's part of a store: claims before a request's first byte, completions after.

Invariants:

- A claim whose answer is lost, or is not used, is withdrawn.
- A completion is tried until the client closes, whatever becomes of its caller.
- A lease counts from before its claim was asked, on a clock that runs while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, cast

import attrs

from .._aio import shield_until_done
from .._exceptions import ClientClosed, StoreError
from .._guard import SpendGuard
from .._redaction import Secret
from .._results import PinResult
from ..stores._base import Answer, Claim, Completion, Record, State, Store
from ._claims import ClaimBuilder
from ._keys import KeyBuilder
from ._lanes import Lane, ask_store
from ._records import of_resend

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
        session: The session that claimed it.
        gap: Seconds for which its questions may wait for others, to share a round trip.
        permit: When a permit was granted ahead of its first attempt, on the event loop's clock.
        recorded: Done when its result is recorded; `None`: it has none yet.
        before: The id of the delivery report of the SMS before, of a resend.
    """

    claim: Claim
    until: float
    session: StoreSession = attrs.field(repr=False)
    gap: float = 0.0
    permit: float | None = None
    recorded: asyncio.Future[Sequence[bool]] | None = None
    before: str | None = None

    def of_resend(self, result: PinResult) -> PinResult:
        """Make the result of a resend that was not sent: the request may have been sent before."""
        return of_resend(result, self.before)

    def reaches(self, seconds: float) -> bool:
        """Say whether the lease lasts for so many seconds from now."""
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
        url: The URL that the client posts to.
        api_key: The account's key.
        deadline: The deadline of most calls in seconds.
        guard: Limits on where requests may go, and how many.
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
        self._url = url
        self._api_key = api_key
        self._settings = {
            "rate": rate,
            "cooldown": cooldown,
            "guard": None if guard is None else repr(guard),
        }
        self._keys: KeyBuilder | None = None
        self._connecting: asyncio.Task[KeyBuilder] | None = None
        self._closed = False
        self._longest = longest = store.timeout + _LAST_WORD
        self._claims: Lane[Claim, Answer] = Lane(store.claim, longest)
        self._completions: Lane[Completion, bool] = Lane(
            self._complete, longest, persistent=True, failed=self._not_recorded
        )
        self._renewals: Lane[Claim, bool] = Lane(store.renew, longest)
        self._peeks: Lane[Record, Answer] = Lane(store.peek, longest)
        self._is_away = False
        self._leases: set[Lease] = set()
        self._last_completed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<StoreSession {self.store!r}>"

    # --- Its life --------------------------------------------------------------------------------------------------------

    async def keys(self) -> KeyBuilder:
        """Connect the store unless it is connected, and return the builder of its keys.

        Raises:
            StoreError: It cannot be used.
            InvalidConfiguration: It is set up in a way that cannot keep the promise.
            ClientClosed: The client was closed.
        """
        if self._closed:
            raise ClientClosed
        if self._keys is not None:
            return self._keys
        task = self._connecting
        if task is None or task.done():
            # In an empty context: it outlives its first caller, and is no part of that one's trace.
            task = self._connecting = asyncio.Task(
                self._connect(), loop=asyncio.get_running_loop(), context=Context()
            )
        # A caller can be cancelled without taking the others' wait along.
        await asyncio.wait((task,))
        if task.cancelled():
            raise ClientClosed
        return task.result()

    async def _connect(self) -> KeyBuilder:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.store.timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                self._keys = await self._connect_once()
            except StoreError as exc:
                if not exc.passing or loop.time() >= until:
                    raise
            else:
                return self._keys
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _connect_once(self) -> KeyBuilder:
        identity = await ask_store(self._longest, self.store.connect)
        keys = KeyBuilder(identity.secret, self.store.namespace, self._url)
        try:
            await self._compare_settings(keys)
            for warning in await ask_store(self._longest, self.store.check):
                _logger.warning("%s", warning)
        except BaseException:
            await self.store.aclose()
            raise
        return keys

    async def _compare_settings(self, keys: KeyBuilder) -> None:
        """Log where this client contradicts the one that connected before it."""
        account = keys.account(self._api_key.reveal())
        ours = json.dumps({"account": account, **self._settings})
        header = await ask_store(self._longest, self.store.header, keys.settings(), ours, replace=True)
        before: dict[str, Any] = json.loads(header)
        if before["account"] != account:
            _logger.warning(
                "the client before this one used another API key with this store: its records count for both. If "
                "it is of another account, give each account's store a namespace of its own"
            )
        for name, value in self._settings.items():
            if before[name] != value:
                _logger.warning(
                    "the client before this one had %s=%s, and this one has %s: each keeps to its own",
                    name,
                    before[name],
                    value,
                )

    async def aclose(self) -> None:
        """Refuse claims, complete those that are not yet recorded, and close the store."""
        self._closed = True
        try:
            if self._connecting is not None:
                self._connecting.cancel()
                await shield_until_done(self._connecting)
                if not self._connecting.cancelled():
                    self._connecting.exception()  # marked as seen: each caller of it may have been cancelled
            await self._claims.aclose(self._longest)
            await asyncio.sleep(0)  # for callers that withdraw their claims now
            # No call is in flight, but a batch's rows may wait for their turn.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._longest):
                    while self._leases:
                        self._last_completed.clear()
                        await self._last_completed.wait()
            left = await self._completions.aclose(self._longest)
            if left:
                _logger.warning("closed before %d claims were ended: others take them for maybe sent", left)
        finally:
            for lane in (self._claims, self._completions, self._renewals, self._peeks):
                await lane.aclose(0.0)
            if self._keys is not None:
                self._keys = None
                await self.store.aclose()

    # --- Questions -------------------------------------------------------------------------------------------------------

    async def _complete(self, completions: Sequence[Completion]) -> list[bool]:
        confirmed = await self.store.complete(completions)
        self._is_away = False
        for completion, is_ours in zip(completions, confirmed, strict=True):
            if not is_ours and not completion.withdrawn:
                _logger.warning("a result came too late: another claim has taken its record")
        return confirmed

    def _not_recorded(self, error: StoreError, count: int) -> None:
        if not error.passing:
            _logger.warning("%d results are not on record: %s", count, error)
        elif not self._is_away:
            self._is_away = True  # said once, for all that follow
            _logger.warning("results are put on record later: %s", error)

    async def look(
        self, record: Record | None, cooldown: Record | None, *, until: float, gap: float = 0.0
    ) -> Answer:
        """Return the answer of the first of a claim's records that is not free. Raise `StoreError`."""
        records = [each for each in (record, cooldown) if each is not None]
        answers = await self.peek(records, until=until, gap=gap)
        for each, answer in zip(records, answers, strict=True):
            if answer.state is not State.FREE:
                return attrs.evolve(answer, cooldown=each is cooldown)
        return Answer(state=State.FREE)

    async def peek(self, records: Sequence[Record], *, until: float, gap: float = 0.0) -> Sequence[Answer]:
        """Look at records. Raise `StoreError`."""
        return await self._peeks.put(records, asyncio.get_running_loop(), until=until, gap=gap)

    async def renew(self, claim: Claim) -> bool:
        """Renew a claim's lease. Raise `StoreError`."""
        loop = asyncio.get_running_loop()
        (renewed,) = await self._renewals.put([claim], loop, until=loop.time() + self.store.timeout)
        return renewed

    async def permits(self, count: int, interval: float) -> tuple[int, float]:
        """Ask for permits of the shared rate. Raise `StoreError`."""
        keys = await self.keys()
        return await ask_store(self._longest, self.store.permits, keys.rate(), count, interval)

    async def header(self, key: bytes, value: str) -> str:
        """Return the header of this key, set to `value` where there was none. Raise `StoreError`."""
        return await ask_store(self._longest, self.store.header, key, value)

    async def now(self) -> float:
        """Return the time on the store's clock. Raise `StoreError`."""
        return await ask_store(self._longest, self.store.now)

    async def claim(self, claims: Sequence[Claim], *, until: float, gap: float = 0.0) -> list[Lease | Answer]:
        """Claim once. Cancelled, or without an answer in time, withdraw the claims.

        Args:
            claims: The claims.
            until: How long a store that is away is waited for, on the event loop's clock.
            gap: Seconds to wait for others that share the round trip.

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
                Completion(claim=claim, state=State.FREE, result="", give_back=claim.counts, withdrawn=True)
                for claim in claims
            ]
            self._completions.put(withdrawn, loop, until=loop.time())
            raise
        leased: list[Lease | Answer] = []
        for claim, answer in zip(claims, answers, strict=True):
            if answer.state is State.CLAIMED:
                lease = Lease(claim, asked + claim.lease, self, gap)
                self._leases.add(lease)
                leased.append(lease)
            else:
                leased.append(answer)
        return leased

    def complete(self, lease: Lease, result: PinResult) -> asyncio.Future[Sequence[bool]]:
        """Begin to record a claim's result, which goes on whatever becomes of the caller.

        Returns:
            A future that is done when the result is recorded, and fails with a `StoreError` after the store's `timeout`.
        """
        loop = asyncio.get_running_loop()
        completions = self.claims.completions_of(lease.claim, result)
        until = loop.time() + self.store.timeout
        lease.recorded = self._completions.put(completions, loop, until=until, gap=lease.gap)
        self._leases.discard(lease)
        self._last_completed.set()
        return lease.recorded
