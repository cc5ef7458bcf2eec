"""A client's claims and their completions."""

from __future__ import annotations

from typing import Final, cast

import attrs

from .._guard import GuardRules, Refusal, SpendGuard, may_be_an_sms, reached_gateway
from .._models import PinRequest
from .._results import Disposition, FailureKind, PinResult
from ..stores._base import Answer, Claim, Completion, Count, Record, State
from ._keys import KeyBuilder, new_token
from ._records import is_final, not_sent, write_result

__all__ = ["ClaimBuilder"]

_GRACE: Final = 15.0
"""Seconds that a lease lasts beyond its call's deadline: for the time before the call, and for its completion."""


class ClaimBuilder:
    """Makes the claims of one client, and their completions.

    Args:
        guard: Limits on where requests may go, and how many; `None`: there are none.
        cooldown: Seconds for which a result stands for its number; `None`: none does.
        deadline: The deadline of most calls in seconds.
    """

    def __init__(self, *, guard: SpendGuard | None, cooldown: float | None, deadline: float) -> None:
        self._rules = None if guard is None else GuardRules(guard)
        self._cooldown = cooldown
        self._deadline = deadline

    def claim_of(
        self,
        keys: KeyBuilder,
        request: PinRequest,
        record: Record | None,
        *,
        report_id: str | None,
        deadline: float,
        force: bool,
        resend: str | None = None,
        replace: str | None = None,
    ) -> tuple[Claim, Refusal | None]:
        """Make the claim of a request, and the refusal of the guard that no count can change."""
        counts: tuple[Count, ...] = ()
        refusal: Refusal | None = None
        if self._rules is not None:
            prefix = self._rules.prefix_of(request.msisdn)
            if isinstance(prefix, Refusal):
                # A limit of none: it is not sent, but the result of an earlier client is known all the same.
                refusal, counts = prefix, (Count(keys.count("refused", "", None), 0, None),)
            else:
                counts = tuple(
                    Count(
                        keys.count(limit.kind, limit.scope(request.msisdn, prefix), limit.window),
                        limit.most,
                        limit.window,
                    )
                    for limit in self._rules.limits
                )
        claim = Claim(
            token=new_token(),
            lease=max(deadline, self._deadline) + _GRACE,
            record=record,
            cooldown=self.cooldown_of(keys, request),
            counts=counts,
            report_id=report_id,
            force=force,
            resend=resend,
            replace=replace,
        )
        return claim, refusal

    def cooldown_of(self, keys: KeyBuilder, request: PinRequest) -> Record | None:
        """Make the number's record of the cooldown; `None`: there is none."""
        if self._cooldown is None:
            return None
        return Record(keys.cooldown(request.msisdn), self._cooldown, forgets=True)

    def refused(self, request: PinRequest, answer: Answer, refusal: Refusal | None) -> PinResult:
        """Make the result of a claim whose answer is `LIMITED`."""
        rules = cast("GuardRules", self._rules)
        if refusal is None:
            kind = rules.limits[cast("int", answer.limit)].kind
            refusal = rules.refusal(kind, cast("str", rules.prefix_of(request.msisdn)))
        return not_sent(refusal.kind, refusal.detail)

    def completions_of(self, claim: Claim, result: PinResult) -> list[Completion]:
        """Make the one completion, or two, that end a claim in this order."""
        unsent = result.disposition is Disposition.NOT_SENT
        state = State.FREE
        # A resend that was not sent returns to in doubt, whatever the gateway refused it for.
        if is_final(result) and not (unsent and (claim.resend is not None or claim.record is None)):
            state = State.IN_DOUBT if result.disposition is Disposition.MAYBE_SENT else State.COMPLETED
        before: list[Completion] = []
        text, give_back = write_result(result), self._give_back(claim, result)
        if state is State.COMPLETED and unsent and claim.cooldown is not None:
            # A refusal stands for its key, and not for its number.
            before.append(Completion(claim=attrs.evolve(claim, record=None), state=State.FREE, result=""))
            claim = attrs.evolve(claim, cooldown=None)
        return [*before, Completion(claim=claim, state=state, result=text, give_back=give_back)]

    def _give_back(self, claim: Claim, result: PinResult) -> tuple[Count, ...]:
        if self._rules is None or may_be_an_sms(result):
            return ()
        attempted = reached_gateway(result)
        return tuple(
            count
            for count, limit in zip(claim.counts, self._rules.limits, strict=True)
            if not (attempted and limit.kind is FailureKind.ATTEMPT_LIMIT)
        )
