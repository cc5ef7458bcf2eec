"""The inbox: report URLs for what is sent, and the reports that come back to them.

Rules of this module:

- A report is taken only where the token that it was posted to was made here, for its number. Whatever else was
  posted is dropped before anybody hears of it.
- Taking the same report twice is the same as taking it once, and a late one undoes nothing: it is marked.
- Any event loop and any thread may use it: the application's route, the client and a test each run where they
  run. What they share is behind a lock, which is never held across an `await`.
- Everything that waits is bounded by a timeout, and leaves nothing behind.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress

import attrs

from .._config import is_finite
from .._exceptions import Gateway360Error, InvalidConfiguration, InvalidRequest, kind_of, without_arguments
from ._reading import read_reports
from ._reports import DeliveryReport, InvalidReports
from ._store import LEAST_BYTES, MAX_BYTES, MemoryStore, ReportStore
from ._urls import Claim, is_report_id, make_token, new_id, normalised, read_base, read_secrets, read_token

__all__ = ["DeliveryReports", "ForgedReport"]

_logger = logging.getLogger("gateway360_async")

_SECONDS_EXPECTED = "a finite number of seconds above 0"


class ForgedReport(Gateway360Error):
    """What was posted has no token of ours, or none for its number. Nothing was taken.

    Also where a request was made with a secret that is not among the inbox's any more.
    """

    def __init__(self, message: str = "the token is not one of ours, or not for this number") -> None:
        super().__init__(message)


@attrs.frozen(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[DeliveryReport]
    final: bool

    def tell(self, report: DeliveryReport) -> None:
        if not self.final or report.final:
            with suppress(RuntimeError):  # its loop was closed: nobody waits any more
                self.loop.call_soon_threadsafe(self._settle, report)

    def _settle(self, report: DeliveryReport) -> None:
        if not self.future.done():
            self.future.set_result(report)


class DeliveryReports:
    """Makes report URLs, checks what is posted to them, and tells who waits. One for an application.

    The client and the web application's route share it:

        reports = DeliveryReports("https://example.com/hooks/sms", secret=os.environ["SMS_REPORT_SECRET"])
        client = Gateway360Client(reports=reports)
        app = Starlette(routes=[report_route(reports)])

    It may be used from any event loop and thread. Each process has its own memory: where the route and the
    client live in several processes, give all of them the same `url`, the same `secret` and a `store` that
    they share.

    Who knows a report URL can post to it what they like about its number: keep the paths below `url` out of
    access logs that others read, as you would with any webhook.

    Args:
        url: Where the route is reached from outside, without the token: `https://`, or plain `http://` to
            this machine. No query and no fragment.
        secret: At least 16 random bytes that only your servers know, as a `str` or `bytes`. To change it,
            give a sequence: the first one signs, all of them verify. An operator's report can take 48 hours.
        max_entries: Requests whose reports are kept in memory, the oldest going first. Of no matter with a `store`.
        max_bytes: Bytes of memory that these reports may take, the oldest going first: 128 MiB, or at least 8 MiB.
            Of no matter with a `store`.
        store: Where reports are kept; `None`: in this process's memory.
        poll: Seconds between two looks into the `store` while `wait` waits, for what other processes took.
        allow_insecure: Whether plain `http://` to another machine is allowed. Whoever reads a token on the
            way can forge reports for its number.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        url: str,
        secret: str | bytes | Sequence[str | bytes],
        *,
        max_entries: int = 100_000,
        max_bytes: int = MAX_BYTES,
        store: ReportStore | None = None,
        poll: float = 1.0,
        allow_insecure: bool = False,
    ) -> None:
        keys = read_secrets(secret)
        del secret  # or it would be in the frame of whatever is raised below
        if isinstance(keys, InvalidConfiguration):
            raise keys
        self._keys = keys
        self._base = read_base(url, allow_insecure=allow_insecure)
        _require_at_least("max_entries", max_entries, 1, "requests")
        _require_at_least("max_bytes", max_bytes, LEAST_BYTES, "bytes")
        problem = _seconds_problem(poll)
        if problem is not None:
            raise InvalidConfiguration("poll", problem, _SECONDS_EXPECTED)
        self._shared = store is not None
        self._store: ReportStore = MemoryStore(max_entries, max_bytes) if store is None else store
        self._poll = poll
        self._waiters: dict[str, list[_Waiter]] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What comes before `/` and the token."""
        return self._base.url

    @property
    def path(self) -> str:
        """The path of `url`, with a leading slash and none at its end; `""` for the root."""
        return self._base.path

    def __repr__(self) -> str:
        base = getattr(self, "_base", None)  # a crash reporter also shows one whose settings were refused
        return f"DeliveryReports({'' if base is None else repr(base.url)})"

    def new_id(self) -> str:
        """Make a report id for one request: 128 random bits, as 32 hexadecimal digits."""
        return new_id()

    @without_arguments
    def url_for(self, report_id: str, msisdn: str) -> str:
        """Make a request's `report_url`.

        Args:
            report_id: The request's report id, from `new_id`.
            msisdn: The request's number, digits only. A leading `+` or `00` is removed.

        Raises:
            InvalidRequest: One of them is wrong; `.field` names it.
        """
        if not is_report_id(report_id):
            raise _no_report_id()
        digits = normalised(msisdn) if isinstance(msisdn, str) else None
        if digits is None:
            expected = "an international number with its country calling code, 7 to 15 digits"
            raise InvalidRequest("msisdn", "is not one", expected)
        return f"{self._base.url}/{make_token(self._keys, report_id, digits)}"

    def knows(self, token: str) -> bool:
        """Whether a token was made here. A route asks before it reads the body; `receive` asks as well.

        Args:
            token: The last segment of the URL's path.
        """
        return self._claimed(token) is not None

    def _claimed(self, token: str) -> Claim | None:
        claim = read_token(token)
        return claim if claim is not None and claim.is_ours(self._keys) else None

    async def receive(self, token: str, body: bytes) -> list[DeliveryReport]:
        """Take what was posted to a report URL: check it, keep it, and tell who waits.

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
        claim = self._claimed(token)
        del token
        if claim is None:
            del body
            raise ForgedReport
        read, problems = read_reports(body)
        del body
        report_id = claim.report_id
        taken = [
            attrs.evolve(report, report_id=report_id)
            for report in read
            if claim.holds(self._keys, report.msisdn)
        ]
        if read and not taken:
            raise ForgedReport
        if len(taken) < len(read):
            _logger.warning(
                "%d of the %d reports of a body are not for the number of its URL: dropped",
                len(read) - len(taken),
                len(read),
            )
        if taken:
            taken = await self._keep(report_id, taken)
        if problems:
            raise InvalidReports(taken, problems)
        return taken

    async def _keep(self, report_id: str, taken: list[DeliveryReport]) -> list[DeliveryReport]:
        """Tell the waiters, and keep the report that says most. Gives the reports, those superseded marked."""
        best = taken[0]
        for report in taken[1:]:
            best = report if report.supersedes(best) else best
        # Who waits here is told first: that the report came is true even if the store then fails.
        with self._lock:
            waiters = list(self._waiters.get(report_id, ()))
        for waiter in waiters:
            waiter.tell(best)
        await self._store.put(report_id, best)
        # A final report without a date supersedes whatever there was: no need to look.
        kept = best if best.final and best.dlr_date is None else await self.get(report_id)
        return _marked(kept, taken)

    async def get(self, report_id: str) -> DeliveryReport | None:
        """Give the report that is known of a request by now; `None`: there is none.

        Raises:
            InvalidRequest: That is no report id.
        """
        if not is_report_id(report_id):
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
        if not is_report_id(report_id):
            del report_id  # a number, perhaps: no traceback with local variables shows it
            raise _no_report_id()
        problem = _seconds_problem(timeout)
        if problem is not None:
            raise InvalidRequest("timeout", problem, _SECONDS_EXPECTED)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop, loop.create_future(), final)
        # Before the first look, or a report could come between the two.
        with self._lock:
            self._waiters.setdefault(report_id, []).append(waiter)
        bound = asyncio.timeout(timeout)
        try:
            async with bound:
                return await self._awaited(report_id, waiter)
        except TimeoutError:
            if not bound.expired():
                raise  # the store's own
            # It may have come in this very moment, or while a slow store was asked.
            return waiter.future.result() if waiter.future.done() else None
        finally:
            self._forget(report_id, waiter)

    async def _awaited(self, report_id: str, waiter: _Waiter) -> DeliveryReport:
        while True:
            known = await self.get(report_id)
            if known is not None and (known.final or not waiter.final):
                return known
            done, _ = await asyncio.wait((waiter.future,), timeout=self._poll if self._shared else None)
            if done:
                return waiter.future.result()

    def _forget(self, report_id: str, waiter: _Waiter) -> None:
        with self._lock:
            waiters = self._waiters[report_id]
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[report_id]


def _marked(kept: DeliveryReport | None, taken: list[DeliveryReport]) -> list[DeliveryReport]:
    """Mark the reports of a body that said less than what was known when their turn came.

    Args:
        kept: The report that is kept now. One of the body's own was not known before its turn.
        taken: The body's.
    """
    known = None if kept in taken else kept
    marked: list[DeliveryReport] = []
    for report in taken:
        news = known is None or report.supersedes(known)
        known = report if news else known
        marked.append(report if news else attrs.evolve(report, superseded=True))
    return marked


def _require_at_least(setting: str, value: object, least: int, unit: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidConfiguration(setting, f"is {value!r}", f"a whole number of {unit}, {least:,} or more")


def _no_report_id() -> InvalidRequest:
    expected = "32 hexadecimal digits in lower case, as new_id() makes them"
    return InvalidRequest("report_id", "is not one", expected)


def _seconds_problem(value: float) -> str | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"is {kind_of(value)}"
    return None if is_finite(value) and value > 0 else f"is {value!r}"
