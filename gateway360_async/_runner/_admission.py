"""The admission of calls without a store: the cooldown and the guard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from .._guard import Cooldown, Refusal, SpendGuard, may_be_an_sms, reached_gateway
from .._redaction import SecretBytes
from ._call import InFlightCall

if TYPE_CHECKING:
    from ._runner import CallRunner

__all__ = ["Admission", "LocalAdmission"]


class Admission(Protocol):
    """Decides whether a call is sent, and keeps what became of it."""

    async def send(self, call: InFlightCall, body: SecretBytes, runner: CallRunner) -> Any:
        """Have the runner make the call's attempts, or return another result instead."""


class LocalAdmission:
    """The cooldown and the guard of one client.

    Args:
        cooldown: Seconds for which a result stands for its number; `None`: none does.
        guard: Limits on where calls may go, and how many; `None`: there are none.
    """

    def __init__(self, cooldown: float | None, guard: SpendGuard | None) -> None:
        self._cooldown = None if cooldown is None else Cooldown(cooldown)
        self._guard = None if guard is None else guard.open()

    async def send(self, call: InFlightCall, body: SecretBytes, runner: CallRunner) -> Any:
        """See `Admission`. A call that became no SMS is given back to the guard."""
        now = call.loop.time()
        if self._cooldown is not None and not call.force:
            earlier = self._cooldown.earlier(call.number, now)
            if earlier is not None:
                return earlier
        counted = None if self._guard is None else self._guard.admit(call.number, now)
        if isinstance(counted, Refusal):
            return runner.failed(call, counted.kind, counted.detail)
        known = None
        try:
            known = await runner.attempt(call, body)
        except asyncio.CancelledError:
            known = runner.known(call)
            raise
        finally:
            # Raised rather than returned, nothing was sent.
            if (
                self._guard is not None
                and counted is not None
                and (known is None or not may_be_an_sms(known))
            ):
                self._guard.give_back(counted, attempted=known is not None and reached_gateway(known))
            if self._cooldown is not None and known is not None:
                known = call.attach_report(known)
                self._cooldown.note(call.number, known, call.loop.time())
        return known
