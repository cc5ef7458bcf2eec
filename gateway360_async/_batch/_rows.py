"""The rows of a batch with a name, in the client's store: each is claimed just before it is sent.

Machines that run the same file under the same name share the work. Rows that another holder has are set aside, and
looked at in blocks until they are completed, free or in doubt.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import attrs

from .._exceptions import StoreError
from .._guard import Refusal
from .._models import PinRequest
from .._results import BatchResult, Disposition, FailureKind, PinResult, Skipped, SkipReason
from .._runner._keys import KeyBuilder, is_gone
from .._runner._permits import Permits
from .._runner._records import in_doubt, not_sent, of_resend, result_of
from .._runner._session import Lease, StoreSession
from ..stores._base import Answer, State
from ._records import BatchRecords, Row

__all__ = ["AHEAD", "OVER", "RowClaims"]

AHEAD: Final = 20
"""Rows that are claimed ahead of the exchanges, at most, or wait for their results to be recorded."""
_GAP: Final = 0.005
"""Seconds for which the questions of one row wait for others, to share a round trip."""
_BLOCK: Final = 200
"""Rows that are set aside before they are looked at."""
_MIXED: Final = 500
"""Rows that are read ahead and sent in any order once another process sends rows of the batch as well."""
_POLL: Final = 0.25
"""Seconds between two looks at rows that are set aside."""
OVER: Final = "the batch ended before it was begun"
_LEFT: Final = "the batch was left before it was begun"


class RowClaims:
    """Claims the rows of one batch.

    Args:
        name: The batch's name.
        session: The client's part of the store.
        permits: Grants a row its permit before it is claimed; `None`: there is no rate.
        deadline: The deadline of a request in seconds.
        numbered: Whether a number may come several times.
        force: Whether to send even within the cooldown.
        resend_maybe_sent: Whether to send again the rows that may have been sent.
        new_report_id: Makes the id of a row's delivery report; `None`: there is none.
    """

    def __init__(
        self,
        name: str,
        session: StoreSession,
        *,
        permits: Permits | None,
        deadline: float,
        numbered: bool,
        force: bool,
        resend_maybe_sent: bool,
        new_report_id: Callable[[PinRequest], str | None],
    ) -> None:
        self._name = name
        self._session = session
        self._permits = permits
        self._deadline = deadline
        self._numbered = numbered
        self._force = force
        self._resend = resend_maybe_sent
        self._new_report_id = new_report_id
        self._keys: KeyBuilder | None = None
        self._records: BatchRecords | None = None
        self._aside: deque[Row] = deque()
        self._freed: deque[Row] = deque()
        self._is_shared = False
        self._alive_until: dict[str, float] = {}
        self._block: list[Row] = []
        self._polling = asyncio.Lock()

    async def open(self) -> None:
        """Connect the store, and read the batch's header. Raise as `BatchRecords.open`."""
        self._keys = await self._session.keys()
        self._records = await BatchRecords.open(
            self._name, self._keys, self._session, numbered=self._numbered
        )

    def row(self, index: int, source: object, request: PinRequest) -> Row:
        """Make a row of the input, each once, in the input's order. Raise `StoreError`."""
        self._opened()
        return cast("BatchRecords", self._records).row(index, source, request)

    async def claim(
        self, rows: Sequence[Row], is_over: Callable[[], bool]
    ) -> Sequence[Lease | BatchResult | None]:
        """Claim rows: at a rate one, otherwise any number. A cancellation becomes their results.

        Args:
            rows: The rows.
            is_over: Says whether no more rows are to be begun.

        Returns:
            For each its lease, on which it is to be sent, or its result; `None`: it is set aside, or to be claimed anew.

        Raises:
            StoreError: The store cannot be used any more.
        """
        try:
            if self._permits is None:
                return await self._claim(rows, is_over)
            return [await self._claim_paced(row, is_over, self._permits) for row in rows]
        except asyncio.CancelledError:
            # An earlier run may have sent it: only the store knows.
            result = not_sent(FailureKind.STORE, "cancelled before the store answered its claim")
        except StoreError as exc:
            if not exc.passing:
                raise
            result = not_sent(FailureKind.STORE, str(exc))
        return [result] * len(rows)

    def recorded(self, lease: Lease, result: PinResult) -> asyncio.Future[Sequence[bool]]:
        """Return the future of a result that is being recorded; a call that never got its turn begins that here."""
        if lease.recorded is not None:
            return lease.recorded
        if lease.claim.resend is not None and result.attempts == 0:
            result = not_sent(FailureKind.CANCELLED, _LEFT)  # the earlier run's stays on record
        return self._session.complete(lease, result)

    def release(self, lease: Lease, why: str) -> tuple[PinResult, asyncio.Future[Sequence[bool]]]:
        """Release a row that was claimed and is not begun after all."""
        if lease.permit is not None and self._permits is not None:
            self._permits.give_back(lease.permit)
        result = not_sent(FailureKind.CANCELLED, why)
        return result, self._session.complete(lease, result)

    @staticmethod
    def of_row(row: Row, result: BatchResult) -> BatchResult:
        """Make a row's result: one in doubt that was not sent this time may have been sent by an earlier run."""
        if not row.in_doubt or isinstance(result, Skipped):
            return result
        return of_resend(result, row.report_id)

    async def left(self, rows: list[Row]) -> Sequence[BatchResult | None]:
        """Look up the results of rows that are not to be sent; `None`: no earlier run left one.

        Raises:
            StoreError: The store cannot be used any more.
        """
        try:
            answers = await self._peek(rows)
        except asyncio.CancelledError:
            return [None] * len(rows)
        except StoreError as exc:
            if not exc.passing:
                raise
            return [not_sent(FailureKind.STORE, str(exc))] * len(rows)
        return [self._left(row, answer) for row, answer in zip(rows, answers, strict=True)]

    def _left(self, row: Row, answer: Answer) -> BatchResult | None:
        if answer.state is State.IN_PROGRESS:
            return in_doubt("another process sends it", answer.report_id)
        seen = self._seen(row, answer)
        if row.resend is not None:
            return result_of(answer) or in_doubt("an earlier run may have sent it", answer.report_id)
        return None if isinstance(seen, Row) else seen

    # --- Rows to be claimed later ----------------------------------------------------------------------------------------

    def put_back(self, rows: Sequence[Row]) -> None:
        """Take rows back that were read and not claimed."""
        self._freed.extend(rows)

    def mixed(self, row: Row) -> Row | None:
        """Return the row; or any of the next ones where another process sends rows as well: the two claim different ones.

        `None`: more are to be read first.
        """
        if not self._is_shared:
            return row
        self._block.append(row)
        return None if len(self._block) < _MIXED else self.next_mixed()

    def next_mixed(self) -> Row | None:
        """Return any of the rows that were read ahead; `None`: there are none."""
        random.shuffle(self._block)
        self._freed.extend(self._block)
        self._block.clear()
        return self.next_freed()

    def next_freed(self) -> Row | None:
        """Return a row that another holder did not send after all."""
        return self._freed.popleft() if self._freed else None

    def left_aside(self) -> Iterator[tuple[Row, BatchResult]]:
        """Return the rows that are set aside once the batch is left, and their last known results."""
        self._freed.extend(self._block)
        self._block.clear()
        while self._freed:
            row, result = self._freed.popleft(), not_sent(FailureKind.CANCELLED, _LEFT)
            yield row, self.of_row(row, result)
        while self._aside:
            row = self._aside.popleft()
            yield row, in_doubt("another process had it when the batch was left", row.report_id)

    @property
    def freed(self) -> int:
        """How many rows `next_freed` has."""
        return len(self._freed)

    @property
    def is_due(self) -> bool:
        """Whether so many rows are set aside that they are to be looked at before more of the input is read."""
        return len(self._aside) >= _BLOCK and not (self._freed or self._polling.locked())

    async def look_aside(self) -> list[tuple[Row, BatchResult]]:
        """Look at the rows that are set aside until one of them is known or free; none where there are none.

        Another worker that looks at them already is left to it.
        """
        if self._polling.locked():
            return []
        async with self._polling:
            known: list[tuple[Row, BatchResult]] = []
            while self._aside and not (known or self._freed):
                await asyncio.sleep(_POLL)
                rows = [self._aside.popleft() for _ in range(len(self._aside))]
                try:
                    answers = await self._peek(rows)
                except BaseException as exc:
                    self._aside.extendleft(reversed(rows))
                    if not isinstance(exc, StoreError) or not exc.passing:
                        raise
                    # Everything ends: they are in doubt for this run.
                    rows = list(self._aside)
                    self._aside.clear()
                    detail = f"another process had it, and {exc}"
                    return [(row, in_doubt(detail, row.report_id)) for row in rows]
                for row, answer in zip(rows, answers, strict=True):
                    seen = self._seen(row, answer)
                    if isinstance(seen, Row):
                        self._freed.append(row)
                    elif seen is not None:
                        known.append((row, seen))
            return known

    async def _peek(self, rows: list[Row]) -> Sequence[Answer]:
        until = asyncio.get_running_loop().time() + self._session.store.timeout
        return await self._session.peek([row.record for row in rows], until=until, gap=_GAP)

    # --- Claims ----------------------------------------------------------------------------------------------------------

    async def _claim_paced(
        self, row: Row, is_over: Callable[[], bool], permits: Permits
    ) -> Lease | BatchResult | None:
        """Claim a row once it has its permit. It is looked at before: one that is not claimed takes none."""
        session = self._session
        timeout = session.store.timeout
        cooldown = None if self._force else session.claims.cooldown_of(self._opened(), row.request)
        until = asyncio.get_running_loop().time() + timeout
        answer = await session.look(row.record, cooldown, until=until, gap=_GAP)
        seen = self._seen(row, answer)
        if not isinstance(seen, Row):
            return seen
        try:
            granted = await permits.wait(timeout, is_over)
        except asyncio.CancelledError:
            return not_sent(FailureKind.CANCELLED, _LEFT)  # no earlier run has a record of it
        try:
            (claimed,) = await self._claim([row], is_over)
            if isinstance(claimed, Lease):
                claimed.permit, granted = granted, None
            return claimed
        finally:
            if granted is not None:
                permits.give_back(granted)

    async def _claim(
        self, rows: Sequence[Row], is_over: Callable[[], bool]
    ) -> list[Lease | BatchResult | None]:
        if is_over():
            return [not_sent(FailureKind.CANCELLED, OVER)] * len(rows)
        keys, session = self._opened(), self._session
        made = [
            session.claims.claim_of(
                keys,
                row.request,
                row.record,
                report_id=self._report_id_of(row),
                deadline=self._deadline,
                force=self._force,
                resend=row.resend,
                replace=row.replace,
            )
            for row in rows
        ]
        until = asyncio.get_running_loop().time() + session.store.timeout
        leased = await session.claim([claim for claim, _ in made], until=until, gap=_GAP)
        for row, answer in zip(rows, leased, strict=True):
            if isinstance(answer, Lease):
                answer.before = row.report_id
        return [
            answer if isinstance(answer, Lease) else self._refused(row, answer, refusal)
            for row, answer, (_, refusal) in zip(rows, leased, made, strict=True)
        ]

    def _report_id_of(self, row: Row) -> str | None:
        """Return the id of a row's delivery report. A resend keeps the one from before: either SMS's report tells."""
        before = None if row.resend is None else row.report_id
        new = self._new_report_id(row.request)
        return new if new is None or before is None else before

    def _refused(self, row: Row, answer: Answer, refusal: Refusal | None) -> BatchResult | None:
        """Make the result of a row whose claim was not granted; `None`: it is set aside, or to be claimed anew."""
        if answer.state is State.LIMITED:
            return self._session.claims.refused(row.request, answer, refusal)
        if answer.state is State.FREE:
            return not_sent(FailureKind.STORE, "the claim was withdrawn")
        seen = self._seen(row, answer)
        if isinstance(seen, Row):
            self._freed.append(row)
            return None
        return seen

    def _seen(self, row: Row, answer: Answer) -> BatchResult | Row | None:
        """Read the record of a row.

        Returns:
            Its result; the row itself if it is to be claimed; `None`: it is in progress, and set aside.
        """
        state = answer.state
        row.resend = row.replace = None
        row.report_id = answer.report_id
        if state is State.FREE:
            return row
        if state is State.IN_PROGRESS:
            if not self._is_gone(answer.token):
                self._is_shared = True
                self._aside.append(row)
                return None
            state = State.IN_DOUBT
        known = result_of(answer)
        if answer.cooldown:
            replayed = in_doubt("an earlier call to this number left no result", answer.report_id)
            return attrs.evolve(known or replayed, replayed=True)
        refused = known is not None and known.disposition is Disposition.NOT_SENT
        if state is State.COMPLETED and answer.mismatch and refused:
            row.replace = answer.token  # the gateway refused it, and the row was corrected
            return row
        if state is State.IN_DOUBT and self._resend:
            row.in_doubt, row.resend = True, answer.token
            return row
        return _of_another_run(known, answer)

    def _is_gone(self, token: str) -> bool:
        """Say whether a holder's process is gone. It is looked at once in a while, and not for each of its rows."""
        now, process = asyncio.get_running_loop().time(), token.partition(".")[2]
        if self._alive_until.get(process, now) > now:
            return False
        gone = is_gone(token)
        if not gone:
            self._alive_until[process] = now + _POLL
        return gone

    def _opened(self) -> KeyBuilder:
        if self._keys is None:
            raise StoreError("is not connected", "a batch inside its `async with` block")
        return self._keys


def _of_another_run(known: PinResult | None, answer: Answer) -> BatchResult:
    if known is None:
        return in_doubt("another run of this batch ended before its result was known", answer.report_id)
    detail = "another run of this batch has its result"
    if answer.mismatch:
        detail += (
            ", of a row that was another one then: a correction is not sent after an SMS that may be out"
        )
    return Skipped(SkipReason.ALREADY_COMPLETED, detail, known)
