"""A batch with a name: each row is claimed in the client's store just before it is sent.

Machines that run the same file under the same name share the work. Rows that another holder has are set aside, and
looked at in blocks until they are completed, free or in doubt.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias, cast

import attrs

from .._errors import StoreError
from .._guard import Refusal
from .._payloads import PinRequest
from .._permits import Permits
from .._results import (
    BatchResult,
    Disposition,
    FailureKind,
    PinResult,
    Skipped,
    SkipReason,
)
from ..stores._base import Answer, Record, State
from ._keys import KeyBuilder, is_gone
from ._outcomes import in_doubt, not_sent, of_resend, result_of
from ._session import Lease, StoreSession

__all__ = ["AHEAD", "NamedBatch", "NamedRecords", "Row"]

AHEAD: Final = 20
"""Rows that are claimed ahead of the exchanges, at most, or wait for their results to be on record."""
_GAP: Final = 0.005
"""Seconds for which the questions of one row wait for others, to share a round trip."""
_SCHEME: Final = 1
"""How the keys of a batch's rows are made: the version that its header names."""
_BLOCK: Final = 200
"""Rows that are set aside before they are looked at."""
_MIXED: Final = 500
"""Rows that are read ahead and sent in any order once another process sends rows of the batch as well."""
_POLL: Final = 0.25
"""Seconds between two looks at rows that are set aside."""
_OVER: Final = "the batch ended before it was begun"

Outcome: TypeAlias = "tuple[BatchResult, asyncio.Future[Sequence[bool]]]"
"""A result, and what is done when it is on record."""


@attrs.define(eq=False)
class Row:
    """A row of the batch.

    Args:
        index: Its place in the input, from 0.
        entry: The entry as it came.
        request: Its request.
        record: Its record in the store.
        in_doubt: Whether an earlier run may have sent it, and this one is to send it again.
        report_id: What ties what the earlier run sent to its delivery report.
        resend: As of its claim.
        replace: As of its claim.
    """

    index: int
    entry: object
    request: PinRequest
    record: Record
    in_doubt: bool = False
    report_id: str | None = None
    resend: str | None = None
    replace: str | None = None


class NamedRecords:
    """The records of the rows of a batch with a name.

    Args:
        name: The batch's name.
        keys: Makes the keys.
        numbered: Whether a number may come several times.
    """

    def __init__(self, name: str, keys: KeyBuilder, *, numbered: bool) -> None:
        self._name = name
        self._keys = keys
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


class NamedBatch:
    """A batch's way to its store.

    Args:
        name: The batch's name.
        session: The client's part of the store.
        send: Sends a request on its lease. A cancellation becomes a result.
        permits: Grants a row its permit before it is claimed; `None`: there is no rate.
        deadline: Seconds that a request takes at most.
        numbered: Whether a number may come several times.
        force: Whether to send even within the cooldown.
        resend_maybe_sent: Whether to send again what may have been sent.
        new_report_id: Gives a row's claim the id that ties it to its delivery report; `None`: there are no reports.
    """

    def __init__(
        self,
        name: str,
        session: StoreSession,
        *,
        send: Callable[[PinRequest, Callable[[], bool], Lease], Awaitable[PinResult]],
        permits: Permits | None,
        deadline: float,
        numbered: bool,
        force: bool,
        resend_maybe_sent: bool,
        new_report_id: Callable[[PinRequest], str | None],
    ) -> None:
        self._name = name
        self._session = session
        self._send = send
        self._permits = permits
        self._deadline = deadline
        self._numbered = numbered
        self._records: NamedRecords | None = None
        self._force = force
        self._resend = resend_maybe_sent
        self._new_report_id = new_report_id
        self._keys: KeyBuilder | None = None
        self._kept_until = 0.0
        self._aside: deque[Row] = deque()
        self._freed: deque[Row] = deque()
        self._is_shared = False
        self._alive_until: dict[str, float] = {}
        self._block: list[Row] = []
        self._polling = asyncio.Lock()

    ahead = AHEAD

    @property
    def takes_blocks(self) -> bool:
        """Whether rows are claimed many at a time; at a rate, each as it gets its permit."""
        return self._permits is None

    async def open(self) -> None:
        """Connect the store, and read the batch's header.

        Raises:
            StoreError: The store cannot be used, or the batch began so long ago that rows of it are forgotten.
            InvalidConfiguration: The store is set up in a way that cannot keep the promise.
        """
        keys = self._keys = await self._session.keys()
        self._records = NamedRecords(self._name, keys, numbered=self._numbered)
        store = self._session.store
        now = await self._session.now()
        fresh = {"scheme": _SCHEME, "began": now, "ttl": store.ttl}
        header = json.loads(await self._session.header(keys.batch(self._name), json.dumps(fresh)))
        if header["scheme"] != _SCHEME:
            problem = f"holds the batch {self._name!r} of another version of this library"
            raise StoreError(problem, "the version that began it, or another name")
        ended = header["began"] + header["ttl"]
        if now > ended:
            problem = (
                f"kept the rows of the batch {self._name!r} for {header['ttl'] / 86_400:g} days, which are over: "
                "numbers that it was sent to are forgotten"
            )
            raise StoreError(problem, "another name, for a batch that begins anew")
        # Each row for as long again: a run that begins on the last day does not find its first rows forgotten.
        loop = asyncio.get_running_loop()
        self._kept_until = loop.time() + ended + header["ttl"] - now

    def row(self, index: int, entry: object, request: PinRequest) -> Row:
        """Make a row of an entry. Each entry once, in the input's order."""
        self._opened()
        ttl = self._kept_until - asyncio.get_running_loop().time()
        if ttl <= 0:
            problem = f"keeps the rows of the batch {self._name!r} no longer"
            raise StoreError(problem, "another name, for a batch that begins anew")
        return Row(index, entry, request, cast("NamedRecords", self._records).next(request, ttl))

    async def claim(
        self, rows: Sequence[Row], is_over: Callable[[], bool]
    ) -> list[Lease | BatchResult | None]:
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
                claimed = await self._claimed(rows, is_over)
            else:
                claimed = [await self._paced(row, is_over, self._permits) for row in rows]
        except asyncio.CancelledError:
            unsent = not_sent(FailureKind.CANCELLED, "cancelled before its claim was answered")
        except StoreError as exc:
            if not exc.passing:
                raise
            unsent = not_sent(FailureKind.STORE, str(exc))
        else:
            return claimed
        return [unsent] * len(rows)

    async def send(
        self, row: Row, lease: Lease, halted: Callable[[], bool], is_over: Callable[[], bool]
    ) -> Outcome:
        """Send a row that is claimed. A cancellation becomes a result.

        Args:
            row: The row.
            lease: Its lease.
            halted: Says whether the batch has halted: nothing is sent then.
            is_over: Says whether no more rows are to be begun.
        """
        if is_over():
            return self.release(lease, _OVER)
        try:
            result = await self._send(row.request, halted, lease)
        except Exception:
            # Raised rather than returned, so nothing was sent.
            if lease.recorded is None:
                self._session.complete(lease, not_sent(FailureKind.UNEXPECTED, ""))
            raise
        # A call that ended while it waited for its number's turn has nothing on record yet.
        return result, lease.recorded or self._session.complete(lease, result)

    def release(self, lease: Lease, why: str = "cancelled before it was sent") -> Outcome:
        """Release a row that was claimed and is not begun after all."""
        if lease.permit is not None and self._permits is not None:
            self._permits.give_back(lease.permit)
        unsent = not_sent(FailureKind.CANCELLED, why)
        return unsent, self._session.complete(lease, unsent)

    @staticmethod
    def of_row(row: Row, result: BatchResult) -> BatchResult:
        """Say of a row in doubt that was not sent this time that an earlier run may have sent it."""
        if not row.in_doubt or isinstance(result, Skipped) or result.disposition is not Disposition.NOT_SENT:
            return result
        return of_resend(result, row.report_id)

    async def left(self, rows: list[Row]) -> list[BatchResult | None]:
        """Say what an earlier run left of rows that this one is not to send; `None`: nothing that is known.

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

    def put_back(self, rows: Sequence[Row]) -> None:
        """Take rows back that were read and not claimed."""
        self._freed.extend(rows)

    def mixed(self, row: Row) -> Row | None:
        """Give the row, or where another process sends rows as well, any of the next ones: the two claim different ones.

        `None`: more are to be read first.
        """
        if not self._is_shared:
            return row
        self._block.append(row)
        return None if len(self._block) < _MIXED else self.next_mixed()

    def next_mixed(self) -> Row | None:
        """Give any of the rows that were read ahead; `None`: there are none."""
        random.shuffle(self._block)
        self._freed.extend(self._block)
        self._block.clear()
        return self.next_freed()

    def next_freed(self) -> Row | None:
        """Give a row that another holder did not send after all."""
        return self._freed.popleft() if self._freed else None

    def left_aside(self) -> Iterator[tuple[Row, PinResult]]:
        """Give the rows that are set aside once the batch is left, and what is known of them."""
        self._freed.extend(self._block)
        self._block.clear()
        while self._freed:
            unsent = not_sent(FailureKind.CANCELLED, "the batch was left before it was begun")
            yield self._freed.popleft(), unsent
        while self._aside:
            yield self._aside.popleft(), in_doubt("another process had it when the batch was left", None)

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
            settled: list[tuple[Row, BatchResult]] = []
            while self._aside and not (settled or self._freed):
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
                    return [(row, in_doubt(f"another process had it, and {exc}", None)) for row in rows]
                for row, answer in zip(rows, answers, strict=True):
                    seen = self._seen(row, answer)
                    if isinstance(seen, Row):
                        self._freed.append(row)
                    elif seen is not None:
                        settled.append((row, seen))
            return settled

    async def _peek(self, rows: list[Row]) -> Sequence[Answer]:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._session.store.timeout
        return await self._session.peek([row.record for row in rows], until=until, gap=_GAP)

    async def _paced(
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
        granted = await permits.wait_unless(is_over, timeout)
        try:
            (claimed,) = await self._claimed([row], is_over)
            if isinstance(claimed, Lease):
                claimed.permit, granted = granted, None
            return claimed
        finally:
            if granted is not None:
                permits.give_back(granted)

    async def _claimed(
        self, rows: Sequence[Row], is_over: Callable[[], bool]
    ) -> list[Lease | BatchResult | None]:
        if is_over():
            return [not_sent(FailureKind.CANCELLED, _OVER)] * len(rows)
        keys, session = self._opened(), self._session
        made = [
            session.claims.claim_of(
                keys,
                row.request,
                row.record,
                report_id=self._new_report_id(row.request),
                deadline=self._deadline,
                force=self._force,
                resend=row.resend,
                replace=row.replace,
            )
            for row in rows
        ]
        until = asyncio.get_running_loop().time() + session.store.timeout
        leased = await session.claim([claim for claim, _ in made], until=until, gap=_GAP)
        return [
            answer if isinstance(answer, Lease) else self._refused(row, answer, refusal)
            for row, answer, (_, refusal) in zip(rows, leased, made, strict=True)
        ]

    def _refused(self, row: Row, answer: Answer, refusal: Refusal | None) -> BatchResult | None:
        """Say what becomes of a row whose claim was not granted."""
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
        """Say what a row's record means for it.

        Returns:
            Its result; the row itself if it is to be claimed; `None`: it is in progress, and set aside.
        """
        state = answer.state
        row.resend = row.replace = None
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
            row.in_doubt, row.report_id, row.resend = True, answer.report_id, answer.token
            return row
        return _of_another_run(known, answer)

    def _is_gone(self, token: str) -> bool:
        """Whether a holder's process is gone. It is looked at once in a while, and not for each of its rows."""
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
