"""A store in the memory of one process: the model of the conformance suite, and an example of another store."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import attrs

from .._retry import next_permits
from ..stores._base import (
    WITHDRAWN_TTL,
    Answer,
    Claim,
    Completion,
    Count,
    Identity,
    Record,
    Store,
    lost,
)
from ..stores._rules import Kept, Rules

__all__ = ["Memory", "MemoryStore"]


@attrs.define
class _Space:
    """The data of one namespace."""

    epoch: str = attrs.field(factory=lambda: os.urandom(8).hex())
    secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)
    records: dict[bytes, Kept] = attrs.field(factory=dict[bytes, Kept])
    counts: defaultdict[bytes, dict[str, float]] = attrs.field(factory=lambda: defaultdict(dict[str, float]))
    permits: dict[bytes, float] = attrs.field(factory=dict[bytes, float])
    headers: dict[bytes, str] = attrs.field(factory=dict[bytes, str])
    withdrawn: dict[str, float] = attrs.field(factory=dict[str, float])


class Memory:
    """The place that `MemoryStore`s of one process share.

    Args:
        clock: Returns the seconds since the epoch of Unix; a `FakeClock`, for example.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._latest = -math.inf
        self._spaces: defaultdict[str, _Space] = defaultdict(_Space)

    def now(self) -> float:
        """Return the time, which never goes back: that would make leases and cooldowns longer, and guards shorter."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def space(self, namespace: str) -> _Space:
        """Return the data of a namespace, which are made where there are none."""
        return self._spaces[namespace]

    def clear(self) -> None:
        """Lose all data."""
        self._spaces.clear()


@attrs.define
class _Step(Rules):
    """A step, which is atomic, for it waits for nothing."""

    space: _Space
    now: float

    def find(self, record: Record | None) -> Kept | None:
        kept = None if record is None else self.space.records.get(record.key)
        return None if kept is None or (kept.expires is not None and kept.expires <= self.now) else kept

    def keep(self, record: Record, kept: Kept | None) -> None:
        self.space.records.pop(record.key, None)
        if kept is not None:
            self.space.records[record.key] = kept

    def is_withdrawn(self, token: str) -> bool:
        return self.space.withdrawn.get(token, self.now) > self.now

    def withdraw(self, token: str) -> None:
        self.space.withdrawn[token] = self.now + WITHDRAWN_TTL

    def counted(self, count: Count, token: str) -> tuple[int, bool]:
        entries = self.space.counts[count.key]
        if count.window is not None:
            since = self.now - count.window
            entries = self.space.counts[count.key] = {one: at for one, at in entries.items() if at > since}
        return len(entries), token in entries

    def count(self, counts: Sequence[Count], token: str) -> None:
        for count in counts:
            self.space.counts[count.key][token] = self.now

    def give_back(self, counts: Sequence[Count], token: str) -> None:
        for count in counts:
            self.space.counts[count.key].pop(token, None)


class MemoryStore(Store):
    """A store in the memory of this process: what it knows ends with the process.

    Nothing is removed but what is looked at: it is for tests.

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

    async def _open(self, known: Identity | None) -> Identity:
        space = self._memory.space(self.namespace)
        if known is not None and known.epoch != space.epoch:
            raise lost()
        return Identity(space.epoch, space.secret)

    async def _close(self) -> None:
        pass

    def _space(self) -> _Space:
        space = self._memory.space(self.namespace)
        if self._known().epoch != space.epoch:
            raise lost()
        return space

    def _rules(self) -> _Step:
        return _Step(self._space(), self._memory.now())

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Claim many, in their order."""
        step = self._rules()
        return [step.claim(claim) for claim in claims]

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        """End many claims, in their order."""
        step = self._rules()
        return [step.complete(completion) for completion in completions]

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Let leases begin anew."""
        step = self._rules()
        return [step.renew(claim) for claim in claims]

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        """Look at records."""
        step = self._rules()
        return [step.peek(record) for record in records]

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        """Grant permits by the generic cell rate algorithm (ITU-T I.371)."""
        space, now = self._space(), self._memory.now()
        at = space.permits.get(key, now)
        granted, seconds, space.permits[key] = next_permits(at, now, count, interval)
        return granted, seconds

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        """Return the header, or set it."""
        headers = self._space().headers
        before = headers.setdefault(key, value)
        if replace:
            headers[key] = value
        return before

    async def now(self) -> float:
        """Return the time on the memory's clock."""
        return self._rules().now

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
