"""The contract of a store: idempotency records with leases, and its operations.

Invariants:

- Each method is one atomic step, on the store's own clock. It applies all of its items or raises `StoreError`.
- Asking twice changes nothing the second time: a claim is known by its token.
- A record that is leased or in doubt does not expire, and only `Claim.resend` takes it from its holder.
- A store knows neither numbers nor requests: its keys are hashes, its results are opaque text.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import attrs

from .._aio import LoopAffinity
from .._config import checked_seconds
from .._exceptions import InvalidConfiguration, StoreError

__all__ = [
    "WITHDRAWN_TTL",
    "Answer",
    "Claim",
    "Completion",
    "Count",
    "Identity",
    "Record",
    "State",
    "Store",
    "lost",
]

WITHDRAWN_TTL: Final = 600.0
"""Seconds for which a claim that was withdrawn before it came is remembered: a packet may be that late."""

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class State(StrEnum):
    """The state of a record, as the answer to a claim or a peek, or as a completion sets it."""

    FREE = "free"
    """There is no record, or it was released. In a completion: release the record."""

    CLAIMED = "claimed"
    """The caller holds the lease: it may send."""

    IN_PROGRESS = "in_progress"
    """Another holder's lease runs."""

    COMPLETED = "completed"
    """It has a result."""

    IN_DOUBT = "in_doubt"
    """It may have been sent: a lease ended without a result, or with one that leaves it open."""

    LIMITED = "limited"
    """A count is at its limit; nothing was claimed and nothing counted."""


@attrs.frozen
class Record:
    """A record that a claim wants.

    Args:
        key: 16 bytes, made by a `KeyBuilder`.
        ttl: Seconds that it is kept once it is completed.
        fingerprint: Tells its payload from another; `b""`: any payload is the same.
        forgets: Whether it expires `ttl` seconds after its lease too, as a cooldown does; else it stays in doubt.
    """

    key: bytes
    ttl: float
    fingerprint: bytes = b""
    forgets: bool = False


@attrs.frozen
class Count:
    """A limit that a claim counts on.

    Args:
        key: 16 bytes, made by a `KeyBuilder`.
        most: Claims at most.
        window: Any so many seconds, without their end; `None`: ever.
    """

    key: bytes
    most: int
    window: float | None


@attrs.frozen(kw_only=True)
class Claim:
    """A request for the right to send.

    The records are looked at in their order, then the counts; the first that stands in the way is the answer. Only
    where none does, all are taken.

    Args:
        token: Tells this claim from all others. Asking again with it changes nothing.
        lease: Seconds for which the records are the caller's.
        record: The idempotency record; `None`: the request has no key.
        cooldown: The number's record of the cooldown; `None`: there is none.
        counts: The limits that it counts on.
        report_id: Correlates it with its delivery report.
        resend: The token of the idempotency record in doubt that is to be sent again (compare and set).
        force: Whether to go on without the cooldown's record where that one is not free. Its result overwrites that
            record then, unless another holder's lease runs.
        replace: The token of a completed record that a corrected request replaces (compare and set): its result says
            that the gateway refused it.
    """

    token: str
    lease: float
    record: Record | None = None
    cooldown: Record | None = None
    counts: tuple[Count, ...] = ()
    report_id: str | None = None
    resend: str | None = None
    replace: str | None = None
    force: bool = False


@attrs.frozen(kw_only=True)
class Answer:
    """The answer to a claim, or to a peek at a record.

    Args:
        state: The state. `CLAIMED` only for a claim, whether it was granted now or to the same token before.
        token: The holder's token, as long as there is a record.
        result: The text that completed it; of a claim with `resend`, the one from before.
        report_id: Correlates the holder's request with its delivery report.
        remaining: Seconds that another holder's lease lasts.
        mismatch: Whether the record has another fingerprint than the claim. A record that is free never has.
        cooldown: Whether this is about the number's record of the cooldown.
        limit: The index of the claim's count that is at its limit.
    """

    state: State
    token: str = ""
    result: str | None = None
    report_id: str | None = None
    remaining: float = 0.0
    mismatch: bool = False
    cooldown: bool = False
    limit: int | None = None


@attrs.frozen(kw_only=True)
class Completion:
    """The end of a claim.

    The idempotency record changes while its token is the claim's, whatever its lease, and unless it is completed:

    - `COMPLETED`: it has the result, for its `ttl`.
    - `IN_DOUBT`: it has the result, and stays in doubt.
    - `FREE`: it is deleted; but where the claim was a resend, it is in doubt again, with the result from before.

    The cooldown's record gets the result of the first two, for its `ttl`, and is deleted by the third.

    Args:
        claim: The claim, as it was asked.
        state: `COMPLETED`, `IN_DOUBT` or `FREE`.
        result: The result as text.
        give_back: Those of the claim's counts that do not count after all.
        withdrawn: Whether the claim's answer was lost: if it has not arrived yet, it is refused when it does.
    """

    claim: Claim
    state: State
    result: str
    give_back: tuple[Count, ...] = ()
    withdrawn: bool = False


@attrs.frozen
class Identity:
    """A store's identity.

    Args:
        epoch: Changes when the store loses its data.
        secret: 32 random bytes that the store keeps: its keys are hashed with them.
    """

    epoch: str
    secret: bytes = attrs.field(repr=False)


class Store(ABC):
    """A place for idempotency records. Hand one to `Gateway360Client(store=…)`; the client connects and closes it.

    From its first `connect` to its last `aclose`, it belongs to one event loop of one process, and to any number of
    clients there.

    Args:
        namespace: Tells this store's records from others in the same place: letters, digits, `_`, `.` and `-`. Give
            each account of the gateway its own.
        ttl: Seconds that a result is kept, and within which a batch of a name can be gone on with.
        timeout: Seconds that a call waits for a store that is away, before it is refused: `NOT_SENT`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self, *, namespace: str = "gateway360", ttl: float = 604_800.0, timeout: float = 2.0
    ) -> None:
        if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = f"is {namespace!r}"
            raise InvalidConfiguration("namespace", problem, "1 to 64 letters, digits, '_', '.' or '-'")
        self.namespace = namespace
        self.ttl = checked_seconds("ttl", ttl, "a finite number of seconds, 1 or more", least=1.0)
        self.timeout = checked_seconds("timeout", timeout, "a finite number of seconds, 0 or more")
        self._affinity = LoopAffinity("store")
        self._users = 0
        self._identity: Identity | None = None

    def __repr__(self) -> str:
        # A traceback may show half a store.
        return f"{type(self).__name__}(namespace={getattr(self, 'namespace', None)!r})"

    async def connect(self) -> Identity:
        """Open the store and check it, unless it is open. Each call wants one of `aclose`.

        Returns:
            The store's identity, which stays the same for as long as this object lives.

        Raises:
            StoreError: It cannot be used; `.passing` says whether it may be in a moment.
            InvalidConfiguration: It is set up in a way that cannot keep the promise.
            WrongEventLoop: Another event loop uses it, or it was connected before a fork.
        """
        if not self._users:
            self._affinity = LoopAffinity("store")
        self._affinity.require()
        self._users += 1
        try:
            self._identity = await self._open(self._identity)
        except BaseException:
            self._users -= 1
            if not self._users:
                await self._close()
            raise
        return self._identity

    async def aclose(self) -> None:
        """Close the store, once each user has. It can be connected again. Raises `WrongEventLoop`."""
        self._require_affinity()
        if self._users:
            self._users -= 1
            if not self._users:
                await self._close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _known(self) -> Identity:
        """Return the identity of the store, which has to be connected. Raises `StoreError` and `WrongEventLoop`."""
        self._require_affinity()
        if not self._users or self._identity is None:
            raise StoreError("is not connected", "`await store.connect()` first")
        return self._identity

    def _require_affinity(self) -> None:
        """Refuse another event loop or process than the one that has connected the store. Raises `WrongEventLoop`."""
        if self._users:
            self._affinity.require()

    @abstractmethod
    async def _open(self, known: Identity | None) -> Identity:
        """Open what is not open, and return the store's identity. Several calls may be under way.

        Args:
            known: The identity from before. With another epoch now, the store has lost its data: raise `StoreError`.
        """

    @abstractmethod
    async def _close(self) -> None:
        """Close what is open."""

    @abstractmethod
    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Claim many in one round trip, each for itself. Their order is the answers'.

        Raises `StoreError`, as each method: the store is away, refuses, or has another epoch than `connect` returned.
        """

    @abstractmethod
    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        """End many claims. Return for each whether it changed or confirmed its record; a claim without one: `True`.

        `False`: another claim has taken the record, or the store has never had this one.
        """

    @abstractmethod
    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Let leases begin anew, each with its claim's `lease`. `False`: it has ended, or is another's."""

    @abstractmethod
    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        """Look at records without claiming: `FREE`, or as a claim with their fingerprints would be answered."""

    @abstractmethod
    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        """Grant permits of a shared rate (GCRA: the next permit is one interval after the one before).

        No permit is granted more than `HORIZON` seconds ahead, and none older than `CATCH_UP` is made up for. A next
        permit further ahead than this can have put it (the clock was set back, or the rate was much lower) is reset.

        Args:
            key: The rate's.
            count: Permits wanted, 1 or more.
            interval: Seconds between two.

        Returns:
            How many, and in how many seconds the first one is (negative: it is past); or 0, and in how many seconds to
            ask again.
        """

    @abstractmethod
    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        """Return the header of this key, which never expires; where there is none, set it to `value` and return that.

        With `replace` it is set in any case, and the one from before returned.
        """

    @abstractmethod
    async def now(self) -> float:
        """Return the time on the store's clock, in seconds since the epoch of Unix."""

    @abstractmethod
    async def check(self) -> list[str]:
        """Return a sentence for each part of the promise that the store's setup breaks."""

    @abstractmethod
    async def new_epoch(self) -> str:
        """Set a new epoch, as has to be done after a backup was restored: clients from before are refused."""


def lost() -> StoreError:
    """Return the error of a store that has another epoch than when it was connected."""
    return StoreError(
        "has lost its data since this program connected, was given a new epoch, or is another store",
        "the one from before; or a restart of the program, once it is known what may be forgotten",
    )
