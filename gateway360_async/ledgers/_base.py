"""The port: what a batch asks of its durable memory.

Rules of this module:

- Before a request's first byte may leave, its intent is durable; its outcome is made durable after. So after
  a crash there are three kinds of entries: settled, never begun, and those in between, of which nobody
  knows whether they were sent.
- An entry is known by its place in the input and by a fingerprint of its request. The same input in the same
  order is the same batch; anything else is another, and is refused rather than mixed up with it.
- A ledger serves one batch at a time, in one process at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import attrs

from .._payloads import PinRequest
from .._results import PinResult
from .._secret import Secret

__all__ = ["Ledger", "LedgerScope", "LedgerSession", "Recorded"]


@attrs.frozen
class LedgerScope:
    """What a batch's entries have in common, whatever they are.

    Args:
        url: Where the batch posts to. Another gateway's outcomes would mean nothing.
        api_key: The account's key: the fingerprints are made with it, so that who has the file alone cannot
            find out its numbers by trying them all.
        deadline: Seconds that a request takes at most, from its intent to its outcome.
    """

    url: str
    api_key: Secret
    deadline: float = 30.0


@attrs.frozen
class Recorded:
    """What an earlier run left of an entry.

    Args:
        result: Its result; `None` if that run ended before it was known, so that it may have been sent.
        begun_again: Whether it is to be sent again all the same.
    """

    result: PinResult | None
    begun_again: bool = False


class LedgerSession(Protocol):
    """A ledger in use by one batch. What its methods return may raise `LedgerError`; no more is recorded then.

    What is asked for is asked for by the call, and not undone by a cancellation. Of two things that are asked
    for, the first is durable first.
    """

    def begin(self, index: int, request: PinRequest, *, resend_unknown: bool) -> Awaitable[Recorded | None]:
        """Make durable that an entry is about to be sent, unless an earlier run has settled it.

        Args:
            index: The entry's place in the input, from 0.
            request: The entry's request.
            resend_unknown: Whether to begin again what may have been sent.

        Returns:
            What an earlier run left of it; send it only where that is `None` or `begun_again`.
        """
        ...

    def recorded(self, index: int, request: PinRequest) -> Awaitable[Recorded | None]:
        """What an earlier run left of an entry, whatever this one has begun; `None`: nothing."""
        ...

    def settle(self, index: int, result: PinResult) -> Awaitable[None]:
        """Make an entry's outcome durable. What was not sent, and may be sent another time, is as if never begun."""
        ...

    async def aclose(self) -> None:
        """Make durable what is not yet, and let go of the ledger."""
        ...


class Ledger(Protocol):
    """The durable memory of one batch."""

    async def open(self, scope: LedgerScope) -> LedgerSession:
        """Take hold of the ledger.

        Raises:
            LedgerError: It cannot be used: in use, not writable, damaged, or of another batch.
        """
        ...
