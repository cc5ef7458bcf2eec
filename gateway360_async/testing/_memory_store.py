"""A store in the memory of one process: the model of the conformance suite, and an example of another store."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import attrs

from .._exceptions import StoreError
from .._retry import next_permits
from ..stores._base import (
    WITHDRAWN_TTL,
    Answer,
    Claim,
    Completion,
    Count,
    Identity,
    Record,
    State,
    Store,
)

__all__ = ["Memory", "MemoryStore"]


@attrs.define
class _Kept:
    """A record as it is kept: leased while its state is `CLAIMED`."""

    token: str
    fingerprint: bytes
    report_id: str | None
    lease_end: float
    expires: float
    state: State = State.CLAIMED
    result: str | None = None
    resent: bool = False


@attrs.define
class _Space:
    """The data of one namespace."""

    epoch: str = attrs.field(factory=lambda: os.urandom(8).hex())
    secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)
    records: dict[bytes, _Kept] = attrs.field(factory=dict[bytes, _Kept])
    counts: defaultdict[bytes, dict[str, float]] = attrs.field(factory=lambda: defaultdict(dict[str, float]))
    permits: dict[bytes, float] = attrs.field(factory=dict[bytes, float])
    headers: dict[bytes, str] = attrs.field(factory=dict[bytes, str])
    withdrawn: dict[str, float] = attrs.field(factory=dict[str, float])


class Memory:
    """The place that `MemoryStore`s of one process share.

    Args:
        clock: Gives the seconds since the epoch of Unix; a `FakeClock`, for example.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._latest = -math.inf
        self._spaces: defaultdict[str, _Space] = defaultdict(_Space)

    def now(self) -> float:
        """Give the time, which never goes back: that would make leases and cooldowns longer, and guards shorter."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def space(self, namespace: str) -> _Space:
        """Give the data of a namespace, which are made where there are none."""
        return self._spaces[namespace]

    def clear(self) -> None:
        """Lose all data."""
        self._spaces.clear()


class MemoryStore(Store):
    """A store in the memory of this process: what it knows ends with the process.

    No step waits for anything, so each is atomic. Nothing is removed but what is looked at: it is for tests.

    Args:
        memory: The place, which other stores of this process may share; `None`: one of its own.
        namespace: As for every `Store`.
        ttl: As for every `Store`.
        timeout: As for every `Store`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        namespace: str = "gateway360",
        ttl: float = 604_800.0,
        timeout: float = 2.0,
    ) -> None:
        super().__init__(namespace=namespace, ttl=ttl, timeout=timeout)
        self._memory = Memory() if memory is None else memory

    def __repr__(self) -> str:
        return f"MemoryStore(namespace={self.namespace!r})"

    async def _open(self, known: Identity | None) -> Identity:
        self._identity = self._identity or known
        space = self._memory.space(self.namespace) if known is None else self._space()
        return Identity(space.epoch, space.secret)

    async def _close(self) -> None:
        pass

    def _space(self) -> _Space:
        self._require_owner()
        space = self._memory.space(self.namespace)
        if self._identity is None or space.epoch != self._identity.epoch:
            raise StoreError(
                "has lost its data, or was never connected",
                "a store that keeps them: restart the application",
            )
        return space

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Claim many, in their order."""
        space, now = self._space(), self._memory.now()
        return [_claim(space, claim, now) for claim in claims]

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        """End many claims, in their order."""
        space, now = self._space(), self._memory.now()
        return [_complete(space, completion, now) for completion in completions]

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Let leases begin anew."""
        space, now = self._space(), self._memory.now()
        return [_renew(space, claim, now) for claim in claims]

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        """Look at records."""
        space, now = self._space(), self._memory.now()
        found = [(_find(space, record.key, now), record) for record in records]
        return [
            Answer(state=State.FREE) if kept is None else _look(kept, now, record) for kept, record in found
        ]

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        """Grant permits by the generic cell rate algorithm (ITU-T I.371)."""
        space, now = self._space(), self._memory.now()
        at = space.permits.get(key, now)
        granted, seconds, space.permits[key] = next_permits(at, now, count, interval)
        return granted, seconds

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        """Give the header, or set it."""
        headers = self._space().headers
        before = headers.setdefault(key, value)
        if replace:
            headers[key] = value
        return before

    async def now(self) -> float:
        """Give the time on the memory's clock."""
        self._space()
        return self._memory.now()

    async def check(self) -> list[str]:
        """Say that it forgets."""
        self._space()
        return [
            "the records are in the memory of this process: they end with it, and no other process sees them"
        ]

    async def new_epoch(self) -> str:
        """Set a new epoch."""
        space = self._space()
        space.epoch = os.urandom(8).hex()
        return space.epoch


def _find(space: _Space, key: bytes, now: float) -> _Kept | None:
    kept = space.records.get(key)
    if kept is not None and kept.expires <= now:
        del space.records[key]
        return None
    return kept


def _look(kept: _Kept, now: float, record: Record | None = None, *, cooldown: bool = False) -> Answer:
    state, remaining = kept.state, 0.0
    if state is State.CLAIMED:
        remaining = max(0.0, kept.lease_end - now)
        state = State.IN_PROGRESS if remaining else State.IN_DOUBT
    return Answer(
        state=state,
        token=kept.token,
        result=kept.result,
        report_id=kept.report_id,
        remaining=remaining,
        mismatch=bool(record and record.fingerprint and record.fingerprint != kept.fingerprint),
        cooldown=cooldown,
    )


def _claim(space: _Space, claim: Claim, now: float) -> Answer:
    if space.withdrawn.get(claim.token, now) > now:
        return Answer(state=State.FREE)
    record = None if claim.record is None else _find(space, claim.record.key, now)
    cooldown = None if claim.cooldown is None else _find(space, claim.cooldown.key, now)
    own = cooldown if claim.record is None else record
    if own is not None and own.token == claim.token and own.state is State.CLAIMED:
        return Answer(state=State.CLAIMED, token=claim.token, result=own.result, report_id=own.report_id)
    if record is not None and record.token == claim.replace and record.state is State.COMPLETED:
        record = None
    obstacle = _obstacle(space, claim, record, cooldown, now)
    if obstacle is not None:
        return obstacle
    result = record.result if record is not None else None
    if claim.record is not None:
        kept = _leased(claim, claim.record, now, result=result, resent=record is not None)
        space.records[claim.record.key] = kept
    if claim.cooldown is not None and cooldown is None:
        space.records[claim.cooldown.key] = _leased(claim, claim.cooldown, now)
    for count in claim.counts:
        space.counts[count.key].setdefault(claim.token, now)
    return Answer(state=State.CLAIMED, token=claim.token, result=result, report_id=claim.report_id)


def _obstacle(
    space: _Space, claim: Claim, record: _Kept | None, cooldown: _Kept | None, now: float
) -> Answer | None:
    """Give the first thing that stands in the way of a claim."""
    if record is not None and (record.token != claim.resend or record.state is State.COMPLETED):
        return _look(record, now, claim.record)
    if cooldown is not None and not claim.force:
        return _look(cooldown, now, cooldown=True)
    for index, count in enumerate(claim.counts):
        entries = _counted(space, count, now)
        if len(entries) >= count.most and claim.token not in entries:
            return Answer(state=State.LIMITED, limit=index)
    return None


def _leased(
    claim: Claim, record: Record, now: float, *, result: str | None = None, resent: bool = False
) -> _Kept:
    end = now + claim.lease
    expires = end + record.ttl if record.forgets else math.inf
    return _Kept(claim.token, record.fingerprint, claim.report_id, end, expires, result=result, resent=resent)


def _counted(space: _Space, count: Count, now: float) -> dict[str, float]:
    """Give the tokens that count, the earliest first, with their times. What has left the window is removed."""
    entries = space.counts[count.key]
    while count.window is not None and entries:
        token, since = next(iter(entries.items()))
        if since + count.window > now:
            break
        del entries[token]
    return entries


def _complete(space: _Space, completion: Completion, now: float) -> bool:
    claim = completion.claim
    if completion.withdrawn:
        space.withdrawn[claim.token] = now + WITHDRAWN_TTL
    for count in completion.give_back:
        space.counts[count.key].pop(claim.token, None)
    if claim.record is not None:
        kept = _find(space, claim.record.key, now)
        if kept is None and completion.state is not State.FREE:
            return False
        if kept is not None and kept.token != claim.token:
            return False
        if kept is not None:
            _end(space, claim.record, kept, completion, now)
    if claim.cooldown is not None:
        _complete_cooldown(space, claim.cooldown, completion, now)
    return True


def _complete_cooldown(space: _Space, cooldown: Record, completion: Completion, now: float) -> None:
    claim = completion.claim
    kept = _find(space, cooldown.key, now)
    forced = kept is not None and claim.force and not _look(kept, now).remaining
    if kept is not None and kept.token == claim.token:
        _end(space, cooldown, kept, completion, now)
    elif completion.state is not State.FREE and (kept is None or forced):
        space.records[cooldown.key] = kept = _leased(claim, cooldown, now)
        _end(space, cooldown, kept, completion, now)


def _end(space: _Space, record: Record, kept: _Kept, completion: Completion, now: float) -> None:
    if kept.state is State.COMPLETED:
        return
    if completion.state is not State.FREE:
        kept.state, kept.result = completion.state, completion.result
        kept.expires = now + record.ttl if record.forgets or kept.state is State.COMPLETED else math.inf
    elif kept.resent:
        kept.state = State.IN_DOUBT
    else:
        del space.records[record.key]


def _renew(space: _Space, claim: Claim, now: float) -> bool:
    renewed: list[bool] = []
    for record in (claim.record, claim.cooldown):
        kept = None if record is None else _find(space, record.key, now)
        leased = kept is not None and kept.token == claim.token and bool(_look(kept, now).remaining)
        if record is not None and kept is not None and leased:
            kept.lease_end = now + claim.lease
            kept.expires = kept.lease_end + record.ttl if record.forgets else math.inf
        if record is not None:
            renewed.append(leased)
    return not renewed or renewed[0]
