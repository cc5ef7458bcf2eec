"""The records of a batch's rows in a store."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from typing import Final, Self

import attrs

from .._exceptions import StoreError
from .._models import PinRequest
from .._runner._keys import KeyBuilder
from .._runner._session import StoreSession
from ..stores._base import Record

__all__ = ["BatchRecords", "Row"]

_SCHEME: Final = 1
"""How the keys of a batch's rows are made: the version that its header names."""


@attrs.define(eq=False)
class Row:
    """A row of the batch.

    Args:
        index: Its place in the input, from 0.
        source: The row as it came.
        request: Its request.
        record: Its record in the store.
        in_doubt: Whether an earlier run may have sent it, and this one is to send it again.
        report_id: The id of the delivery report of the earlier run's SMS.
        resend: As of its claim.
        replace: As of its claim.
    """

    index: int
    source: object
    request: PinRequest
    record: Record
    in_doubt: bool = False
    report_id: str | None = None
    resend: str | None = None
    replace: str | None = None


class BatchRecords:
    """Makes the records of the rows of a batch with a name.

    Args:
        name: The batch's name.
        keys: Makes the keys.
        numbered: Whether a number may come several times.
        kept_until: How long rows are kept, on the event loop's clock.
    """

    def __init__(self, name: str, keys: KeyBuilder, *, numbered: bool, kept_until: float = math.inf) -> None:
        self._name = name
        self._keys = keys
        self._kept_until = kept_until
        self._occurrences: Counter[int] | None = Counter() if numbered else None

    def next(self, request: PinRequest, ttl: float) -> Record:
        """Make the record of the next row of the input."""
        occurrence = 0
        if self._occurrences is not None:
            number = int(request.msisdn)
            occurrence = self._occurrences[number]
            self._occurrences[number] += 1
        key = self._keys.row(self._name, request.msisdn, occurrence)
        return Record(key, ttl, self._keys.fingerprint(request))

    @classmethod
    async def open(cls, name: str, keys: KeyBuilder, session: StoreSession, *, numbered: bool) -> Self:
        """Read the batch's header, and make its records.

        Raises:
            StoreError: The store cannot be used, or the batch began so long ago that rows of it are forgotten.
        """
        now = await session.now()
        fresh = {"scheme": _SCHEME, "began": now, "ttl": session.store.ttl}
        header = json.loads(await session.header(keys.batch(name), json.dumps(fresh)))
        if header["scheme"] != _SCHEME:
            problem = f"holds the batch {name!r} of another version of this library"
            raise StoreError(problem, "the version that began it, or another name")
        ended = header["began"] + header["ttl"]
        if now > ended:
            problem = (
                f"kept the rows of the batch {name!r} for {header['ttl'] / 86_400:g} days, which are over: "
                "numbers that it was sent to are forgotten"
            )
            raise StoreError(problem, "another name, for a batch that begins anew")
        # Each row for as long again: a run that begins on the last day does not find its first rows forgotten.
        kept_until = asyncio.get_running_loop().time() + ended + header["ttl"] - now
        return cls(name, keys, numbered=numbered, kept_until=kept_until)

    def row(self, index: int, source: object, request: PinRequest) -> Row:
        """Make a row of the input, each once, in the input's order. Raise `StoreError`."""
        ttl = self._kept_until - asyncio.get_running_loop().time()
        if ttl <= 0:
            problem = f"keeps the rows of the batch {self._name!r} no longer"
            raise StoreError(problem, "another name, for a batch that begins anew")
        return Row(index, source, request, self.next(request, ttl))
