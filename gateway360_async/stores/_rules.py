"""The rules of records, for stores that keep them in Python: what each question changes and answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import attrs

from ._base import Answer, Claim, Completion, Count, Record, State

__all__ = ["Kept", "Rules"]


@attrs.define
class Kept:
    """A record as it is kept.

    Args:
        expires: When it is free again; `None`: never.
        state: `IN_PROGRESS` after the end of its lease as well.
        token: The holder's token.
        lease_end: When its lease ends.
        fingerprint: As of `Record`, in hexadecimal digits.
        result: Its result; while a resend is leased, the one from before.
        report_id: As of `Claim`.
        is_resend: Whether its holder sends it again.
    """

    expires: float | None
    state: str
    token: str
    lease_end: float
    fingerprint: str = ""
    result: str | None = None
    report_id: str | None = None
    is_resend: bool = False

    def is_held(self, now: float) -> bool:
        """Return whether its lease runs."""
        return self.state == State.IN_PROGRESS and self.lease_end > now

    def answer(self, now: float, record: Record | None = None) -> Answer:
        """Return the answer to a peek; without a record, to a claim that wants it as its cooldown."""
        held = self.is_held(now)
        fingerprint = "" if record is None else record.fingerprint.hex()
        return Answer(
            state=State.IN_DOUBT if self.state == State.IN_PROGRESS and not held else State(self.state),
            token=self.token,
            result=self.result,
            report_id=self.report_id,
            remaining=self.lease_end - now if held else 0.0,
            mismatch=bool(fingerprint) and fingerprint != self.fingerprint,
            cooldown=record is None,
        )


class Rules(ABC):
    """One step's view of the records and the counts, at the time `now` on the store's clock."""

    now: float

    @abstractmethod
    def find(self, record: Record | None) -> Kept | None:
        """Return what is kept under a record's key, unless it has expired."""

    @abstractmethod
    def keep(self, record: Record, kept: Kept | None) -> None:
        """Set what is kept under a record's key; `None`: delete it."""

    @abstractmethod
    def is_withdrawn(self, token: str) -> bool:
        """Return whether a claim of this token is refused."""

    @abstractmethod
    def withdraw(self, token: str) -> None:
        """Refuse claims of this token for `WITHDRAWN_TTL` seconds."""

    @abstractmethod
    def counted(self, count: Count, token: str) -> tuple[int, bool]:
        """Return how many claims count now, and whether this token's does."""

    @abstractmethod
    def count(self, counts: Sequence[Count], token: str) -> None:
        """Count a token's claim, now."""

    @abstractmethod
    def give_back(self, counts: Sequence[Count], token: str) -> None:
        """Count a token's claim no longer, where it does."""

    def claim(self, claim: Claim) -> Answer:
        """Answer `Store.claim` for one claim."""
        if self.is_withdrawn(claim.token):
            return Answer(state=State.FREE)
        record, cooldown = self.find(claim.record), self.find(claim.cooldown)
        own = cooldown if claim.record is None else record
        if own is not None and own.token == claim.token and own.state == State.IN_PROGRESS:
            return _granted(claim, own.result)
        if record is not None and record.token == claim.replace and record.state == State.COMPLETED:
            record = None
        if record is not None and (record.token != claim.resend or record.state == State.COMPLETED):
            return record.answer(self.now, claim.record)
        if cooldown is not None and not claim.force:
            return cooldown.answer(self.now)
        if (limit := self._take(claim)) is not None:
            return Answer(state=State.LIMITED, limit=limit)
        result = None if record is None else record.result
        if claim.record is not None:
            self._lease(claim, claim.record, result, is_resend=record is not None)
        if claim.cooldown is not None and cooldown is None:
            self._lease(claim, claim.cooldown)
        return _granted(claim, result)

    def _take(self, claim: Claim) -> int | None:
        """Count a claim, or return which of its counts is at its limit."""
        wanted: list[Count] = []
        for place, count in enumerate(claim.counts):
            number, is_counted = self.counted(count, claim.token)
            if not is_counted:
                if number >= count.most:
                    return place
                wanted.append(count)
        self.count(wanted, claim.token)
        return None

    def _lease(
        self, claim: Claim, record: Record, result: str | None = None, *, is_resend: bool = False
    ) -> None:
        end = self.now + claim.lease
        expires = end + record.ttl if record.forgets else None
        held = State.IN_PROGRESS, claim.token, end, record.fingerprint.hex(), result, claim.report_id
        self.keep(record, Kept(expires, *held, is_resend))

    def complete(self, completion: Completion) -> bool:
        """Answer `Store.complete` for one completion."""
        claim, is_free = completion.claim, completion.state is State.FREE
        self.give_back(completion.give_back, claim.token)
        if completion.withdrawn:
            self.withdraw(claim.token)
        if claim.record is not None:
            record = self.find(claim.record)
            if record is not None and record.token == claim.token:
                self._end(claim.record, record, completion)
            elif record is not None or not is_free:
                return False
        if claim.cooldown is not None:
            cooldown = self.find(claim.cooldown)
            forced = cooldown is not None and claim.force and not cooldown.is_held(self.now)
            if not is_free and (cooldown is None or (forced and cooldown.token != claim.token)):
                cooldown = Kept(None, "", claim.token, self.now, report_id=claim.report_id)
            if cooldown is not None and cooldown.token == claim.token:
                self._end(claim.cooldown, cooldown, completion)
        return True

    def _end(self, record: Record, kept: Kept, completion: Completion) -> None:
        if kept.state == State.COMPLETED:
            return
        if completion.state is not State.FREE:
            kept.state, kept.result = completion.state, completion.result
            expires = kept.state == State.COMPLETED or record.forgets
            kept.expires = self.now + record.ttl if expires else None
        elif kept.is_resend:
            kept.state = State.IN_DOUBT
        self.keep(record, None if completion.state is State.FREE and not kept.is_resend else kept)

    def renew(self, claim: Claim) -> bool:
        """Answer `Store.renew` for one claim."""
        main = claim.cooldown if claim.record is None else claim.record
        for record in (claim.record, claim.cooldown):
            kept = self.find(record)
            if (
                record is not None
                and kept is not None
                and kept.token == claim.token
                and kept.is_held(self.now)
            ):
                kept.lease_end = self.now + claim.lease
                kept.expires = kept.lease_end + record.ttl if record.forgets else None
                self.keep(record, kept)
            elif record is not None and record is main:
                return False
        return True

    def peek(self, record: Record) -> Answer:
        """Answer `Store.peek` for one record."""
        kept = self.find(record)
        return Answer(state=State.FREE) if kept is None else kept.answer(self.now, record)


def _granted(claim: Claim, result: str | None) -> Answer:
    return Answer(state=State.CLAIMED, token=claim.token, result=result, report_id=claim.report_id)
