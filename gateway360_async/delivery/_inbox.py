"""The inbox: report URLs, the reports posted to them, and the waiting tasks.

- A report is taken only if the token in its URL was made here, for its number.
- Taking a report twice is the same as taking it once, and a late one undoes nothing: it is marked.
- Any event loop and any thread may use it. The lock is never held across an `await`.
- Every wait has a timeout, and leaves nothing behind.
"""

# Type checkers read the annotations; the checks serve everything else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import reduce
from typing import Final, Protocol

import attrs

from .._config import is_finite
from .._exceptions import Gateway360Error, InvalidConfiguration, InvalidRequest, kind_of, without_arguments
from ._reports import DeliveryReport, InvalidReports, digits_of, read_reports
from ._tokens import ID_BYTES, read_base, read_secrets

__all__ = ["DeliveryReports", "ForgedReport", "ReportStore"]

_logger = logging.getLogger("gateway360_async")

# A hundred thousand reports as they are published have about half of it.
_MAX_BYTES: Final = 128 * 1024 * 1024
# Enough for the largest report: a body has 1 MiB, and a character takes up to four bytes in memory.
_LEAST_BYTES: Final = 8 * 1024 * 1024
_OVERHEAD: Final = 512  # bytes of a report beside its texts: the object and its entry in the dictionary
_REPORT_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class ForgedReport(Gateway360Error):
    """A report was posted without a token of ours for its number; none was taken.

    Also if its request was made with a secret that is no longer among the inbox's.
    """

    def __init__(self, message: str = "the token is not one of ours, or not for this number") -> None:
        super().__init__(message)


class ReportStore(Protocol):
    """A place for reports that several processes share, such as a table or a Redis.

    A store bounds what it keeps, and how long its methods take, by itself. An error goes to the caller of
    `DeliveryReports.receive` (the route answers 500, and the gateway may post again) or `DeliveryReports.wait`.
    `dump_delivery_reports` and `parse_delivery_reports` turn a report into bytes and back.
    """

    async def put(self, report_id: str, report: DeliveryReport) -> None:
        """Keep a report, unless the kept one of its request is not superseded by it.

        `report.supersedes(kept)` says whether it is. Two processes may do this at the same time: compare and
        write in one step (a transaction, say), or a temporary status can take the place of a final one.

        Args:
            report_id: The request's report id.
            report: The report that came in.
        """
        ...

    async def get(self, report_id: str) -> DeliveryReport | None:
        """Return the report that is kept of a request; `None`: there is none."""
        ...


class _MemoryStore:
    """The default store: bounded by a count and by bytes; the oldest report leaves."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._reports: OrderedDict[str, DeliveryReport] = OrderedDict()
        self._lock = threading.Lock()

    async def put(self, report_id: str, report: DeliveryReport) -> None:
        with self._lock:
            kept = self._reports.get(report_id)
            if kept is None or report.supersedes(kept):
                self._bytes += _size(report) - (0 if kept is None else _size(kept))
                self._reports[report_id] = report
            while len(self._reports) > self._max_entries or self._bytes > self._max_bytes:
                _, oldest = self._reports.popitem(last=False)
                self._bytes -= _size(oldest)

    async def get(self, report_id: str) -> DeliveryReport | None:
        return self._reports.get(report_id)


def _size(report: DeliveryReport) -> int:
    return _OVERHEAD + sum(map(sys.getsizeof, attrs.astuple(report, recurse=False)))


@attrs.frozen(eq=False)
class _Waiter:
    future: asyncio.Future[DeliveryReport]
    final: bool

    def tell(self, report: DeliveryReport) -> None:
        if report.final or not self.final:
            with suppress(RuntimeError):  # the waiter's loop is closed
                self.future.get_loop().call_soon_threadsafe(self._set, report)

    def _set(self, report: DeliveryReport) -> None:
        if not self.future.done():
            self.future.set_result(report)


class DeliveryReports:
    """Makes report URLs, checks the reports posted to them, and tells the waiters.

    One for an application. The client and the web application's route share it:

        reports = DeliveryReports("https://example.com/hooks/sms", secret=os.environ["SMS_REPORT_SECRET"])
        client = Gateway360Client(reports=reports)
        app = Starlette(routes=[report_route(reports)])

    It may be used from any event loop and thread. Each process has its own memory: if the route and the
    client live in several processes, give all of them the same `url`, the same `secret` and a `store` that
    they share.

    With a report URL anything can be posted about its number: keep the paths below `url` out of access logs that
    others read, as you would with any webhook.

    Args:
        url: The URL of the route from outside, without the token: `https://`, or plain `http://` to
            this machine. No query and no fragment.
        secret: At least 16 random bytes that only your servers know, as a `str` or `bytes`. To change it,
            give a sequence: the first one signs, all of them verify. An operator's report can take 48 hours.
        max_entries: Requests whose reports are kept in memory, the oldest going first. Unused with a `store`.
        max_bytes: Bytes of memory that these reports may take, the oldest going first: 128 MiB, or at least 8 MiB.
            Unused with a `store`.
        store: The place where reports are kept; `None`: this process's memory.
        poll: Seconds between two looks into the `store` while `wait` waits, for reports that other processes took.
        allow_insecure: Whether plain `http://` to another machine is allowed. With a token that is read on the
            way, reports for its number can be forged.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        url: str,
        secret: str | bytes | Sequence[str | bytes],
        *,
        max_entries: int = 100_000,
        max_bytes: int = _MAX_BYTES,
        store: ReportStore | None = None,
        poll: float = 1.0,
        allow_insecure: bool = False,
    ) -> None:
        tokens = read_secrets(secret)
        del secret  # or it would be in the frame of whatever is raised below
        if isinstance(tokens, InvalidConfiguration):
            raise tokens
        self._tokens = tokens
        self._url, self._path = read_base(url, allow_insecure=allow_insecure)
        _require_at_least("max_entries", max_entries, 1, "requests")
        _require_at_least("max_bytes", max_bytes, _LEAST_BYTES, "bytes")
        _require_seconds(InvalidConfiguration, "poll", poll)
        self._poll = None if store is None else poll
        self._store: ReportStore = _MemoryStore(max_entries, max_bytes) if store is None else store
        self._waiters: dict[str, list[_Waiter]] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The part of a report URL before `/` and the token."""
        return self._url

    @property
    def path(self) -> str:
        """The path of `url`, with a leading slash and none at its end; `""` for the root."""
        return self._path

    def __repr__(self) -> str:
        # A crash reporter also shows an object whose settings were refused.
        return f"DeliveryReports({repr(self._url) if hasattr(self, '_url') else ''})"

    def new_id(self) -> str:
        """Make a report id for one request: 128 random bits, as 32 hexadecimal digits."""
        return secrets.token_hex(ID_BYTES)

    @without_arguments
    def url_for(self, report_id: str, msisdn: str) -> str:
        """Make a request's `report_url`.

        Args:
            report_id: The request's report id, from `new_id`.
            msisdn: The request's number, digits only. A leading `+` or `00` is removed.

        Raises:
            InvalidRequest: One of them is wrong; `.field` names it.
        """
        if not _is_report_id(report_id):
            raise _no_report_id()
        digits = digits_of(msisdn) if isinstance(msisdn, str) else None
        if digits is None:
            expected = "an international number with its country calling code, 7 to 15 digits"
            raise InvalidRequest("msisdn", "is not one", expected)
        return f"{self._url}/{self._tokens.make(report_id, digits)}"

    def knows(self, token: str) -> bool:
        """Tell whether a token was made here.

        A route asks before it reads the body; `receive` asks as well.

        Args:
            token: The last segment of the URL's path.
        """
        return self._tokens.report_id_of(token) is not None

    async def receive(self, token: str, body: bytes) -> list[DeliveryReport]:
        """Take a body that was posted to a report URL: check, keep, tell the waiters.

        Args:
            token: The last segment of the URL's path.
            body: The body as it was received.

        Returns:
            The reports that were taken, in the body's order, with their `report_id`. Those for other numbers
            than the token's were dropped. A report that came before is taken again, and changes nothing; one that
            is `superseded` by what is known changes nothing either.

        Raises:
            ForgedReport: The token is not one of ours, or not for any of these numbers. Nothing was taken.
            InvalidReports: Some are malformed. The others were taken, and are in `.reports`.
        """
        report_id = self._tokens.report_id_of(token)
        read, problems = ([], []) if report_id is None else read_reports(body)
        ours = [report for report in read if self._tokens.is_for(token, report.msisdn)]
        del token, body  # or they would be in the frame of what is raised
        if report_id is None or (read and not ours):
            raise ForgedReport
        if len(ours) < len(read):
            dropped = len(read) - len(ours)
            _logger.warning(
                "%d of the %d reports of a body are not for the number of its URL: dropped",
                dropped,
                len(read),
            )
        taken = await self._keep(report_id, ours) if ours else []
        if problems:
            raise InvalidReports(taken, problems)
        return taken

    async def _keep(self, report_id: str, reports: list[DeliveryReport]) -> list[DeliveryReport]:
        """Tell the waiters, keep the report that says most, and mark the superseded."""
        taken = [attrs.evolve(report, report_id=report_id) for report in reports]
        best = reduce(lambda best, report: report if report.supersedes(best) else best, taken)
        # The waiters here come first: that the report came is true even if the store then fails.
        with self._lock:
            waiters = list(self._waiters.get(report_id, ()))
        for waiter in waiters:
            waiter.tell(best)
        await self._store.put(report_id, best)
        # A final report without a date supersedes any other: no need to look.
        kept = best if best.final and best.dlr_date is None else await self.get(report_id)
        known = None if kept in taken else kept  # one of the body's own was not known before its turn
        marked: list[DeliveryReport] = []
        for report in taken:
            superseded = known is not None and not report.supersedes(known)
            marked.append(attrs.evolve(report, superseded=superseded))
            known = known if superseded else report
        return marked

    async def get(self, report_id: str) -> DeliveryReport | None:
        """Return the report that is known of a request by now; `None`: there is none.

        Raises:
            InvalidRequest: That is no report id.
        """
        if not _is_report_id(report_id):
            del report_id  # a number, perhaps: no traceback with local variables shows it
            raise _no_report_id()
        known = await self._store.get(report_id)
        # A store need not keep what it is asked by.
        return None if known is None else attrs.evolve(known, report_id=report_id)

    async def wait(self, report_id: str, timeout: float, *, final: bool = False) -> DeliveryReport | None:
        """Wait for a request's report; one that is known already is given at once.

        Args:
            report_id: The request's report id.
            timeout: Seconds to wait at most. `get` looks without waiting.
            final: Whether to wait on while the status is temporary.

        Returns:
            The report; `None`: none came in that time. Any report says that the gateway took the request.

        Raises:
            InvalidRequest: That is no report id, or no timeout.
        """
        if not _is_report_id(report_id):
            del report_id  # a number, perhaps: no traceback with local variables shows it
            raise _no_report_id()
        _require_seconds(InvalidRequest, "timeout", timeout)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), final)
        with self._lock:  # before the first look, or a report could come between the two
            self._waiters.setdefault(report_id, []).append(waiter)
        bound = asyncio.timeout(timeout)
        try:
            async with bound:
                while not waiter.future.done():
                    known = await self.get(report_id)
                    if known is not None and (known.final or not final):
                        return known
                    await asyncio.wait((waiter.future,), timeout=self._poll)
        except TimeoutError:
            if not bound.expired():
                raise  # the store's own
        finally:
            with self._lock:
                waiters = self._waiters[report_id]
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[report_id]
        # It may have come in the very moment of the timeout, or while a slow store was asked.
        return waiter.future.result() if waiter.future.done() else None


def _is_report_id(value: object) -> bool:
    return isinstance(value, str) and _REPORT_ID.fullmatch(value) is not None


def _no_report_id() -> InvalidRequest:
    expected = "32 hexadecimal digits in lower case, as new_id() makes them"
    return InvalidRequest("report_id", "is not one", expected)


def _require_at_least(setting: str, value: object, least: int, unit: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidConfiguration(setting, f"is {value!r}", f"a whole number of {unit}, {least:,} or more")


def _require_seconds(error: type[InvalidConfiguration | InvalidRequest], name: str, value: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not is_finite(value) or value <= 0:
        problem = f"is {value!r}" if is_number else f"is {kind_of(value)}"
        raise error(name, problem, "a finite number of seconds above 0")
