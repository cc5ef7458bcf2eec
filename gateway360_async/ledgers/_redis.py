"""A ledger in Redis: a batch's durable memory for several machines.

Rules of this module:

- An entry is known by the batch's name, its number and its payload, not by its place: the input may come in another order,
  and two processes may send the same batch at the same time. Each entry is sent by one of them.
- Whoever finds an entry under way waits for its outcome, or for the end of its lease.
- What Redis must be like for that to hold: see `gateway360_async.fleet`.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from .._errors import FleetError, InvalidConfiguration, LedgerError
from .._guard import may_be_an_sms
from .._payloads import PinRequest
from .._records import is_settled
from .._redis._claims import Claims
from .._redis._link import Link, checked_url
from .._redis._names import Names, checked_batch, checked_name
from .._redis._wishes import GRACE, Admission, Verdict, Wish, milliseconds, new_token
from .._results import Disposition, FailureKind, PinResult, TransportFailure
from .._settings import checked_seconds
from ._base import LedgerScope, Recorded

__all__ = ["RedisLedger"]

_SECONDS_EXPECTED: Final = "a finite number of seconds, 1 or more"


class RedisLedger:
    """A batch's durable memory in Redis. Hand it to `client.batch(…, ledger=…)`, in every run of the batch.

    Identical requests in one batch are one SMS, whatever `on_duplicate` says.

    Args:
        url: The Redis: `redis://…`, `rediss://…` (TLS) or `unix://…`.
        batch: The batch's name, 1 to 200 characters. The same name, number and payload are one SMS.
        name: The fleet's name, which its keys in Redis begin with.
        keep: Seconds that a record stays after its outcome.
        patience: Seconds to wait for a Redis that is away, before the batch ends with a `LedgerError`.

    Raises:
        InvalidConfiguration: A value is wrong; `.setting` names it.
    """

    def __init__(
        self,
        url: str,
        batch: str,
        *,
        name: str = "gateway360",
        keep: float = 86_400.0,
        patience: float = 30.0,
    ) -> None:
        # First, so that a ledger whose settings are refused below still has a `repr`, for the traceback.
        self._batch = self._name = ""
        checked = checked_url(url)
        # Gone before anything can raise with this frame, and so with this variable, in its traceback.
        del url
        if isinstance(checked, InvalidConfiguration):
            raise checked
        self._url = checked
        self._batch = checked_batch(batch)
        self._name = checked_name(name)
        self._keep = checked_seconds("keep", keep, _SECONDS_EXPECTED, least=1.0)
        self._patience = checked_seconds("patience", patience, _SECONDS_EXPECTED, least=1.0)

    def __repr__(self) -> str:
        return f"RedisLedger(batch={self._batch!r}, name={self._name!r})"

    async def open(self, scope: LedgerScope) -> _Session:
        """Find Redis, and look whether it keeps what it is told; see `Ledger.open`."""
        names = Names(self._name, scope.url, scope.api_key)
        link = Link(self._url, names.memory, names.account)
        try:
            await link.memory(patience=self._patience)
        except FleetError as exc:
            await link.aclose()
            raise _failed(exc) from None
        except BaseException:
            await link.aclose()
            raise
        lease = scope.deadline + GRACE
        return _Session(self._batch, names, link, keep=self._keep, lease=lease, patience=self._patience)


class _Session:
    def __init__(
        self, batch: str, names: Names, link: Link, *, keep: float, lease: float, patience: float
    ) -> None:
        self._batch = batch
        self._names = names
        self._link = link
        self._claims = Claims(link, names)
        self._keep = milliseconds(keep)
        self._lease = milliseconds(lease)
        self._patience = patience
        self._claimed: dict[int, Admission] = {}
        self._settling: set[asyncio.Task[None]] = set()

    async def begin(self, index: int, request: PinRequest, *, resend_unknown: bool) -> Recorded | None:
        wish = Wish(
            record=self._record_of(request),
            fingerprint=self._names.fingerprint(request),
            keep=self._keep,
            lease=self._lease,
            resend_unknown=resend_unknown,
        )
        token = new_token()
        # Before it is asked for: whoever is cancelled meanwhile gives it up.
        self._claimed[index] = Admission(wish, token)
        looks = 0
        while True:
            try:
                answer = await self._claims.admit(wish, token, patience=self._patience)
                closed = answer.result is not None and not is_settled(answer.result)
                if closed and answer.verdict is Verdict.SETTLED:
                    # A batch on a queue was told that it is not sent. Here is somebody who wants it sent.
                    await self._claims.reopen(wish.record, patience=self._patience)
                    continue
            except FleetError as exc:
                raise _failed(exc) from None
            if answer.admission is not None:
                return Recorded(answer.result, begun_again=True) if answer.admission.again else None
            if answer.verdict is not Verdict.BUSY:
                del self._claimed[index]
                return Recorded(answer.result)
            await asyncio.sleep(answer.pause(looks))
            looks += 1

    async def recorded(self, index: int, request: PinRequest) -> Recorded | None:
        try:
            (left,) = await self._claims.look([self._record_of(request)], patience=self._patience)
        except FleetError as exc:
            raise _failed(exc) from None
        if left is None or left.verdict is Verdict.GRANTED:
            return None
        mine = self._claimed.get(index)
        if mine is not None and mine.token == left.token:
            return Recorded(left.before) if left.again else None
        return Recorded(left.result)

    def settle(self, index: int, result: PinResult) -> asyncio.Task[None]:
        task = asyncio.Task(self._settle(index, result), loop=asyncio.get_running_loop())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    async def _settle(self, index: int, result: PinResult) -> None:
        counts = may_be_an_sms(result)
        try:
            await self._claims.settle(
                self._claimed.pop(index), result, counts=counts, patience=self._patience
            )
        except FleetError as exc:
            raise _failed(exc) from None

    async def aclose(self) -> None:
        if self._settling:
            await asyncio.wait(self._settling)
        # What was asked for and not sent: a claim may have been made all the same, and the next run is not to wait for it.
        unsent = TransportFailure(FailureKind.CANCELLED, Disposition.NOT_SENT, detail="never begun")
        with suppress(FleetError):
            for admission in self._claimed.values():
                await self._claims.settle(admission, unsent, counts=False, patience=0.0)
        await self._link.aclose()

    def _record_of(self, request: PinRequest) -> str:
        return self._names.record(self._names.derived(self._batch, request))


def _failed(error: FleetError) -> LedgerError:
    return LedgerError(f"in Redis {error.problem}", error.expected)
