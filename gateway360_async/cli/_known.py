"""What a store knows of a batch's rows, for a run that sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from gateway360_async import PinRequest
from gateway360_async._batch._records import BatchRecords
from gateway360_async._runner._keys import KeyBuilder, is_gone
from gateway360_async._runner._records import in_doubt, result_of
from gateway360_async.stores import Answer, Record, State, Store

from ._notable import Notable
from ._options import BatchOptions
from ._stats import Statistics, Timeline
from ._store import store_of

__all__ = ["Known", "known_of"]

_BLOCK: Final = 500
"""Rows that the store is asked about at a time."""
_KEPT: Final = 1.0
"""Seconds: a record that is only looked at is not kept."""


class Known:
    """Asks a store about rows in blocks, and counts what it knows of them.

    Args:
        store: The store, connected; `None`: there is none yet.
        records: Makes the rows' records; `None`: there are none yet.
    """

    def __init__(self, store: Store | None = None, records: BatchRecords | None = None) -> None:
        self.states: Counter[State] = Counter()
        self.statistics = Statistics()
        """What became of the rows that are not free."""
        self.notable = Notable()
        self._store = store
        self._records = records
        self._asked: list[tuple[int, PinRequest, Record]] = []

    async def add(self, line: int, request: PinRequest) -> None:
        """Take a row to be asked about. Raises `StoreError`."""
        if self._records is None:
            self.states[State.FREE] += 1
            return
        self._asked.append((line, request, self._records.next(request, _KEPT)))
        if len(self._asked) == _BLOCK:
            await self.ask()

    async def ask(self) -> None:
        """Ask about the rows that were taken since the last time. Raises `StoreError`."""
        if self._store is not None and self._asked:
            asked, self._asked = self._asked, []
            answers = await self._store.peek([record for _, _, record in asked])
            for (line, request, _), answer in zip(asked, answers, strict=True):
                self._count(line, request, answer)
        self.statistics.timeline = Timeline()  # when each was sent is not known

    def _count(self, line: int, request: PinRequest, answer: Answer) -> None:
        state = answer.state
        if state is State.IN_PROGRESS and is_gone(answer.token):
            state = State.IN_DOUBT
        self.states[state] += 1
        if state is State.FREE:
            return
        result = result_of(answer) or in_doubt("no result is on record", answer.report_id)
        self.statistics.add(result, 0.0)
        self.notable.add(line, request.msisdn, result)

    def counts(self) -> dict[str, int]:
        """Give the rows by their state."""
        states = (State.COMPLETED, State.IN_DOUBT, State.IN_PROGRESS, State.FREE)
        return {state.value: self.states[state] for state in states}


@asynccontextmanager
async def known_of(options: BatchOptions, url: str) -> AsyncGenerator[Known | None]:
    """Open a batch's store for looking; `None`: the batch has none.

    Args:
        options: The batch's.
        url: Where the batch would post to.

    Raises:
        UsageProblem: The store's URL is wrong.
        StoreError: The store cannot be used.
    """
    if options.store is None:
        yield None
        return
    store = store_of(options.store)
    if _is_missing(options.store_file):
        yield Known()  # opening it would make the file
        return
    identity = await store.connect()
    try:
        keys = KeyBuilder(identity.secret, store.namespace, url)
        numbered = options.on_duplicate == "send"
        yield Known(store, BatchRecords(options.name or "", keys, numbered=numbered))
    finally:
        await store.aclose()


def _is_missing(file: str | None) -> bool:
    return file is not None and not Path(file).exists()
