"""The rules of a `SqliteStore`: what each question changes and answers, within one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import attrs

from ._base import CATCH_UP, HORIZON, WITHDRAWN_TTL, Answer, Claim, Completion, Count, Record, State
from ._sqlite_transaction import Transaction

__all__ = ["Records"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")


class _Kept(NamedTuple):
    expires: float | None
    state: str  # `IN_PROGRESS` after the end of its lease as well
    token: str
    lease_end: float
    fingerprint: str = ""
    result: str | None = None
    report_id: str | None = None
    is_resend: bool = False
    before: str | None = None  # of a resend: the result from before

    def answer(self, now: float, fingerprint: bytes = b"", *, cooldown: bool = False) -> Answer:
        held = self.is_held(now)
        is_leased = self.state == State.IN_PROGRESS
        return Answer(
            state=State.IN_DOUBT if is_leased and not held else State(self.state),
            token=self.token,
            result=self.before if is_leased and not held else self.result,
            report_id=self.report_id,
            remaining=self.lease_end - now if held else 0.0,
            mismatch=bool(fingerprint and self.fingerprint) and fingerprint.hex() != self.fingerprint,
            cooldown=cooldown,
        )

    def is_held(self, now: float) -> bool:
        return self.state == State.IN_PROGRESS and self.lease_end > now


@attrs.frozen
class Records:
    """The records of one namespace.

    Args:
        namespace: What their keys begin with.
        ttl: Seconds for which a claim's token is known to a count that has no window.
    """

    namespace: str
    ttl: float

    # --- what has to be read

    def key(self, kind: str, key: bytes) -> str:
        """Name an entry: `r` record, `n` number of what counts, `p` rate, `h` header, `w` withdrawn."""
        return f"{self.namespace}/{kind}{key.hex()}"

    def keys(self, claims: Iterable[Claim]) -> Iterator[str]:
        """Give the keys that claims and completions look at."""
        for claim in claims:
            yield self._withdrawn(claim)
            for record in (claim.record, claim.cooldown):
                if record is not None:
                    yield self.key("r", record.key)
            for count in claim.counts:
                yield self.key("n", count.key)

    def ids(self, claims: Iterable[Claim]) -> Iterator[str]:
        """Give the ids of what they count."""
        return (self._id(count, claim) for claim in claims for count in claim.counts)

    def _id(self, count: Count, claim: Claim) -> str:
        return f"{self.key('n', count.key)}/{_plain(claim.token)}"

    def _withdrawn(self, claim: Claim) -> str:
        return f"{self.namespace}/w{_plain(claim.token)}"

    def _window(self, count: Count) -> float:
        return self.ttl if count.window is None else count.window

    def _kept(self, transaction: Transaction, record: Record | None) -> _Kept | None:
        row = None if record is None else transaction.get(self.key("r", record.key))
        return None if row is None else _Kept(*row)

    def _keep(self, transaction: Transaction, record: Record, kept: _Kept | None) -> None:
        transaction.put(self.key("r", record.key), kept)

    # --- the questions

    def claim(self, transaction: Transaction, claim: Claim) -> Answer:
        now = transaction.now
        if transaction.get(self._withdrawn(claim)) is not None:
            return Answer(state=State.FREE)
        record, cooldown = self._kept(transaction, claim.record), self._kept(transaction, claim.cooldown)
        own = cooldown if claim.record is None else record
        if own is not None and own.token == claim.token:
            remaining = max(0.0, own.lease_end - now)
            return attrs.evolve(own.answer(now), state=State.CLAIMED, result=own.before, remaining=remaining)
        if claim.record is not None and record is not None:
            if record.token != claim.resend or record.state == State.COMPLETED:
                return record.answer(now, claim.record.fingerprint)
        if cooldown is not None and not claim.force:
            return cooldown.answer(now, cooldown=True)
        counted = [self._id(count, claim) for count in claim.counts]
        for place, (count, id_) in enumerate(zip(claim.counts, counted, strict=True)):
            if not transaction.is_counted(id_, self._window(count)) and self._is_full(transaction, count):
                return Answer(state=State.LIMITED, limit=place)

        for count, id_ in zip(claim.counts, counted, strict=True):
            if not transaction.is_counted(id_, self._window(count)):
                transaction.count(self.key("n", count.key), id_)
        before = None
        if record is not None:
            before = record.before if record.result is None else record.result
        for wanted, is_resend in ((claim.record, record is not None), (claim.cooldown, False)):
            if wanted is not None and not (wanted is claim.cooldown and cooldown is not None):
                end = now + claim.lease
                self._keep(
                    transaction,
                    wanted,
                    _Kept(
                        expires=end + wanted.ttl if wanted.forgets else None,
                        state=State.IN_PROGRESS,
                        token=claim.token,
                        lease_end=end,
                        fingerprint=wanted.fingerprint.hex(),
                        report_id=claim.report_id,
                        is_resend=is_resend,
                        before=before if is_resend else None,
                    ),
                )
        return Answer(
            state=State.CLAIMED,
            token=claim.token,
            result=before,
            report_id=claim.report_id,
            remaining=claim.lease,
        )

    def _is_full(self, transaction: Transaction, count: Count) -> bool:
        key, window = self.key("n", count.key), self._window(count)
        return transaction.counted(key, count.most, window, forget=count.window is None) >= count.most

    def complete(self, transaction: Transaction, completion: Completion) -> bool:
        claim = completion.claim
        record, cooldown = self._kept(transaction, claim.record), self._kept(transaction, claim.cooldown)
        held = [kept for kept in (record, cooldown) if kept is not None and kept.token == claim.token]
        counted = [count for count in claim.counts if self._counts(transaction, count, claim)]
        if completion.withdrawn and not held and not counted:
            until = transaction.now + WITHDRAWN_TTL
            transaction.put(self._withdrawn(claim), (until,))
        for count in completion.give_back:
            if self._counts(transaction, count, claim):
                transaction.give_back(self.key("n", count.key), self._id(count, claim))
        if claim.record is not None and record is not None:
            if record.token != claim.token:
                return False
            self._end(transaction, claim.record, record, completion)
        elif claim.record is not None and completion.state != State.FREE:
            return False
        if claim.cooldown is not None:
            if cooldown is not None and cooldown.token == claim.token:
                self._end(transaction, claim.cooldown, cooldown, completion)
            elif claim.force and not (cooldown is not None and cooldown.is_held(transaction.now)):
                if completion.state != State.FREE:
                    new = _Kept(
                        None, State.IN_PROGRESS, claim.token, transaction.now, report_id=claim.report_id
                    )
                    self._end(transaction, claim.cooldown, new, completion)
        return True

    def _counts(self, transaction: Transaction, count: Count, claim: Claim) -> bool:
        return transaction.is_counted(self._id(count, claim), self._window(count))

    def _end(self, transaction: Transaction, record: Record, kept: _Kept, completion: Completion) -> None:
        state, result = completion.state, completion.result
        if state == State.FREE and kept.is_resend:
            state, result = State.IN_DOUBT, kept.before
        if kept.state == State.COMPLETED or (kept.state, kept.result) == (state, result):
            return
        if state == State.FREE:
            self._keep(transaction, record, None)
        else:
            expires = state == State.COMPLETED or record.forgets
            until = transaction.now + record.ttl if expires else None
            self._keep(transaction, record, kept._replace(expires=until, state=state, result=result))

    def renew(self, transaction: Transaction, claim: Claim) -> bool:
        now = transaction.now
        record, cooldown = self._kept(transaction, claim.record), self._kept(transaction, claim.cooldown)
        pairs = [(claim.record, record), (claim.cooldown, cooldown)]
        held = [
            (wanted, kept)
            for wanted, kept in pairs
            if wanted and kept and kept.token == claim.token and kept.is_held(now)
        ]
        if claim.record is not None:
            renewed = bool(held) and held[0][0] is claim.record
        else:
            # A claim that is forced may hold none.
            renewed = (
                bool(held)
                or claim.cooldown is None
                or (claim.force and not (cooldown and cooldown.token == claim.token))
            )
        if renewed:
            end = now + claim.lease
            for wanted, kept in held:
                expires = end + wanted.ttl if wanted.forgets else None
                self._keep(transaction, wanted, kept._replace(expires=expires, lease_end=end))
        return renewed

    def peek(self, transaction: Transaction, key: bytes) -> Answer:
        row = transaction.get(self.key("r", key))
        return Answer(state=State.FREE) if row is None else _Kept(*row).answer(transaction.now)

    def permits(self, transaction: Transaction, key: bytes, count: int, interval: float) -> tuple[int, float]:
        now, name = transaction.now, self.key("p", key)
        _, at = transaction.get(name) or (None, now)
        at = max(at, now - CATCH_UP)
        if at > now + HORIZON + interval + 1.0:
            at = now
        if at > now + HORIZON:
            return 0, at - now - HORIZON
        granted = min(count, int((now + HORIZON - at) / interval) + 1)
        transaction.put(name, (None, at + granted * interval))
        return granted, at - now

    def header(self, transaction: Transaction, key: bytes, value: str, *, replace: bool) -> str:
        name = self.key("h", key)
        row = transaction.get(name)
        if row is None or replace:
            transaction.put(name, (None, value))
        return value if row is None else str(row[1])


def _plain(token: str) -> str:
    # It stands within a text that SQLite puts together, and that is read as JSON.
    return token if _PLAIN.fullmatch(token) else f"~{token.encode('utf-8', 'surrogatepass').hex()}"
