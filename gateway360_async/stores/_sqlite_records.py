"""The rules of a `SqliteStore`: what each question changes and answers, within one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import attrs

from .._retry import next_permits
from ._base import WITHDRAWN_TTL, Answer, Claim, Completion, Count, Record, State
from ._sqlite_transaction import Transaction, micros

__all__ = ["Records"]

_TICK: Final = 1e-6  # seconds: what a time since 1970 is exact to


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
        held = _is_held(self, now)
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


class _Known(NamedTuple):
    """What is known of a token."""

    expires: float = 0.0
    at: int = 0  # when it was counted, in microseconds
    is_withdrawn: bool = False
    given_back: Sequence[str] = ()

    def counts(self, count: Count, now: float) -> bool:
        since = 0 if count.window is None else micros(now - count.window)
        return self.at > since and count.key.hex() not in self.given_back


_UNKNOWN: Final = _Known()


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
        """Name an entry: `r` record, `n` number of what counts, `p` rate, `h` header, `t` token."""
        return f"{self.namespace}/{kind}{key.hex()}"

    def keys(self, claims: Iterable[Claim], *, is_new: bool = False) -> Iterator[str]:
        """Give the keys that claims look at; if they are new, also where it stands that one was withdrawn."""
        for claim in claims:
            if is_new or claim.counts:
                yield self._token(claim)
            if claim.record is not None:
                yield self.key("r", claim.record.key)
            if claim.cooldown is not None:
                yield self.key("r", claim.cooldown.key)
            for count in claim.counts:
                yield self.key("n", count.key)

    def _token(self, claim: Claim) -> str:
        return f"{self.namespace}/t{_plain(claim.token)}"

    def _known(self, transaction: Transaction, claim: Claim) -> _Known:
        row = transaction.get(self._token(claim))
        return _UNKNOWN if row is None else _Known(*row)

    def _kept(self, transaction: Transaction, record: Record | None) -> _Kept | None:
        row = None if record is None else transaction.get(self.key("r", record.key))
        return None if row is None else _Kept(*row)

    def _keep(self, transaction: Transaction, record: Record, kept: _Kept | None) -> None:
        transaction.put(self.key("r", record.key), kept)

    # --- the questions

    def claim(self, transaction: Transaction, claim: Claim) -> Answer:  # noqa: C901  # one rule after the other
        now = transaction.now
        known = self._known(transaction, claim)
        if known.is_withdrawn:
            return Answer(state=State.FREE)
        record, cooldown = self._kept(transaction, claim.record), self._kept(transaction, claim.cooldown)
        own = cooldown if claim.record is None else record
        if own is not None and own.token == claim.token and own.state == State.IN_PROGRESS:
            remaining = max(0.0, own.lease_end - now)
            return attrs.evolve(own.answer(now), state=State.CLAIMED, result=own.before, remaining=remaining)
        if record is not None and record.token == claim.replace and record.state == State.COMPLETED:
            record = None
        is_resend = record is not None and record.token == claim.resend and record.state != State.COMPLETED
        if record is not None and claim.record is not None and not is_resend:
            return record.answer(now, claim.record.fingerprint)
        if cooldown is not None and not claim.force:
            return cooldown.answer(now, cooldown=True)
        wanted = [count for count in claim.counts if not known.counts(count, now)]
        for place, count in enumerate(claim.counts):
            number = transaction.counted(self.key("n", count.key), count.most, count.window)
            if number >= count.most and count in wanted:
                return Answer(state=State.LIMITED, limit=place)

        if wanted:
            kept_for = max(self.ttl if count.window is None else count.window for count in claim.counts)
            transaction.put(self._token(claim), _Known(now + kept_for, micros(now)))
            for count in wanted:
                transaction.count(self.key("n", count.key), claim.token, count.window)
        before = None if record is None else record.before if record.result is None else record.result
        if claim.record is not None:
            self._lease(transaction, claim, claim.record, is_resend, before)
        if claim.cooldown is not None and cooldown is None:
            self._lease(transaction, claim, claim.cooldown)
        lease = float(claim.lease)
        return Answer(
            state=State.CLAIMED, token=claim.token, result=before, report_id=claim.report_id, remaining=lease
        )

    def _lease(self, transaction: Transaction, claim: Claim, record: Record, *resend: Any) -> None:
        end = transaction.now + claim.lease
        expires = end + record.ttl if record.forgets else None
        held = State.IN_PROGRESS, claim.token, end, record.fingerprint.hex(), None, claim.report_id
        self._keep(transaction, record, _Kept(expires, *held, *resend))

    def complete(self, transaction: Transaction, completion: Completion) -> bool:
        claim = completion.claim
        record, cooldown = self._kept(transaction, claim.record), self._kept(transaction, claim.cooldown)
        held = [kept for kept in (record, cooldown) if kept is not None and kept.token == claim.token]
        self._give_back(transaction, completion, is_known=bool(held))
        if claim.record is not None and record is not None:
            if record.token != claim.token:
                return False
            self._end(transaction, claim.record, record, completion)
        elif claim.record is not None and completion.state != State.FREE:
            return False
        if claim.cooldown is not None:
            if cooldown is not None and cooldown.token == claim.token:
                self._end(transaction, claim.cooldown, cooldown, completion)
            elif claim.force and completion.state != State.FREE and not _is_held(cooldown, transaction.now):
                # It was not free, and was left alone.
                new = _Kept(None, "", claim.token, transaction.now, report_id=claim.report_id)
                self._end(transaction, claim.cooldown, new, completion)
        return True

    def _give_back(self, transaction: Transaction, completion: Completion, *, is_known: bool) -> None:
        claim, now = completion.claim, transaction.now
        if not (claim.counts or completion.withdrawn):
            return
        known = self._known(transaction, claim)
        if completion.withdrawn and not (is_known or any(known.counts(count, now) for count in claim.counts)):
            transaction.put(self._token(claim), _Known(now + WITHDRAWN_TTL, is_withdrawn=True))
        back = [count for count in completion.give_back if known.counts(count, now)]
        for count in back:
            transaction.give_back(self.key("n", count.key), known.at, claim.token)
        if back:
            given_back = (*known.given_back, *(count.key.hex() for count in back))
            transaction.put(self._token(claim), known._replace(given_back=given_back))

    def _end(self, transaction: Transaction, record: Record, kept: _Kept, completion: Completion) -> None:
        state, result = completion.state, completion.result if completion.state != State.FREE else None
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
        held = [
            (wanted, kept)
            for wanted, kept in ((claim.record, record), (claim.cooldown, cooldown))
            if wanted is not None and kept is not None and kept.token == claim.token and _is_held(kept, now)
        ]
        main = claim.cooldown if claim.record is None else claim.record
        if main is not None and not (held and held[0][0] is main):
            # A claim that overrode another's cooldown, and has no record, holds nothing that could end.
            overrode = claim.record is None and claim.force
            return overrode and (cooldown is None or cooldown.token != claim.token)
        end = now + claim.lease
        for wanted, kept in held:
            expires = end + wanted.ttl if wanted.forgets else None
            self._keep(transaction, wanted, kept._replace(expires=expires, lease_end=end))
        return True

    def peek(self, transaction: Transaction, record: Record) -> Answer:
        kept = self._kept(transaction, record)
        if kept is None:
            return Answer(state=State.FREE)
        return kept.answer(transaction.now, record.fingerprint)

    def permits(self, transaction: Transaction, key: bytes, count: int, interval: float) -> tuple[int, float]:
        now, name = transaction.now, self.key("p", key)
        _, at = transaction.get(name) or (None, now)
        granted, seconds, following = next_permits(at, now, count, interval, tick=_TICK)
        if granted:
            transaction.put(name, (None, following))
        return granted, seconds

    def header(self, transaction: Transaction, key: bytes, value: str, *, replace: bool) -> str:
        name = self.key("h", key)
        row = transaction.get(name)
        if row is None or replace:
            transaction.put(name, (None, value))
        return value if row is None else str(row[1])


def _is_held(kept: _Kept | None, now: float) -> bool:
    return kept is not None and kept.state == State.IN_PROGRESS and kept.lease_end > now


def _plain(token: str) -> str:
    # It stands within a text that SQLite puts together, and that is read as JSON.
    return (
        token if token.isascii() and token.isalnum() else f"~{token.encode('utf-8', 'surrogatepass').hex()}"
    )
