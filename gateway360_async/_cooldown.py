"""What was sent to a number a moment ago: pure memory.

Rules of this module:

- No clock: the caller hands in the time, in seconds on a clock that never goes back.
- Only what was sent, or may have been, is remembered. What certainly was not sent keeps nobody from trying
  again at once.
- It holds a result a number for the length of the cooldown, and nothing longer.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from ._results import Disposition, PinResult

__all__ = ["Cooldown"]


class Cooldown:
    """The results of the last `seconds`, by number.

    Args:
        seconds: How long a result stands for its number.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their ends. A dict's first key would take ever longer to find as others are deleted.
        self._recent: OrderedDict[str, tuple[float, PinResult]] = OrderedDict()

    def earlier(self, msisdn: str, now: float) -> PinResult | None:
        """The result that still stands for a number, marked as `replayed`."""
        if not self._recent:
            return None
        self._forget(now)
        _, result = self._recent.get(msisdn, (now, None))
        return None if result is None else attrs.evolve(result, replayed=True)

    def note(self, msisdn: str, result: PinResult, now: float) -> None:
        """Remember a call's result."""
        if result.disposition is Disposition.NOT_SENT or result.replayed:
            return
        self._forget(now)
        self._recent.pop(msisdn, None)  # so that it stands at the end
        self._recent[msisdn] = (now + self._seconds, result)

    def _forget(self, now: float) -> None:
        while self._recent:
            msisdn = next(iter(self._recent))
            if self._recent[msisdn][0] > now:
                return
            del self._recent[msisdn]
