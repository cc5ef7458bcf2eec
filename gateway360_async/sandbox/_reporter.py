"""Delivery reports, POSTed as the vendor does: a JSON array, without a signature.

Rules of this module:

- Nothing leaves the machine: only URLs whose host is `localhost` or a loopback address are posted to, and the
  host is read by the library that opens the connection, so that both mean the same one.
- httpx's transport is used without its client: redirects, cookies, proxies of the environment and a log line
  with the URL (which holds the application's secret) are not switched off, they are not there.
- Every exchange is bounded in time, and all of them in number. Closing cancels what is still to come.
- What became of a report is kept in its message, and raises nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import httpx

from .._waiting import uninterrupted
from ._records import Message, PostedReport

__all__ = ["CLOSED", "Reporter"]

_T = TypeVar("_T")

_TIMEOUT: Final = 5.0  # seconds for one exchange, from connecting to the answer's headers
_AT_A_TIME: Final = 20
_MOST_WAITING: Final = 10_000
CLOSED: Final = "the sandbox is closed, or was not started: no report is posted"
_ELSEWHERE: Final = "not posted: the sandbox posts to localhost, 127.0.0.0/8 and ::1 only"
_TOO_MANY: Final = f"not posted: {_MOST_WAITING} SMS wait for their reports already"


class Reporter:
    """Posts delivery reports, in the running event loop.

    Args:
        statuses: What is reported of each SMS, in turn.
        delay: Seconds before each of them. Both can be set; that counts from the next SMS.
        clock: Where the reports' times come from: seconds since 1970.
        reported: Called after each report.
    """

    def __init__(
        self,
        *,
        statuses: Sequence[str],
        delay: float,
        clock: Callable[[], float],
        reported: Callable[[], None],
    ) -> None:
        self.statuses = tuple(statuses)
        self.delay = delay
        self._clock = clock
        self._reported = reported
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._tasks: set[asyncio.Task[object]] = set()
        self.closed = False

    def schedule(self, message: Message) -> None:
        """Report what becomes of an SMS, from now on, if reports were asked for."""
        if message.report_url is None or not self.statuses or self.closed:
            return
        if len(self._tasks) < _MOST_WAITING:
            self._start(self._deliver(message, message.report_url, self.statuses, self.delay))
            return
        for status in self.statuses:
            self._keep(message, PostedReport(status=status, at=self._clock(), error=_TOO_MANY))

    async def post(self, message: Message, status: str) -> PostedReport:
        """Post one report, and return what became of it.

        Raises:
            ValueError: No reports were asked for.
            RuntimeError: The sandbox is closed, or was closed meanwhile.
        """
        if message.report_url is None:
            raise ValueError("message: expected one whose request had a report_url")
        if self.closed:
            raise RuntimeError(CLOSED)
        # A task of its own: closing the sandbox ends it, and does not cancel who waits for it.
        task = self._start(self._post(message, message.report_url, status))
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()  # if it is not done, its caller was cancelled
        if task.cancelled():
            raise RuntimeError(CLOSED)
        return task.result()

    def body(self, message: Message, status: str) -> list[dict[str, str]]:
        """Give what `post` would post now, without posting it."""
        return [_written(message, status, self._clock())]

    async def aclose(self) -> None:
        """Post no more."""
        self.closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        # They end within moments, with their connections.
        cancelled = [await uninterrupted(task) for task in tasks]
        if self._transport is not None:
            cancelled.append(await uninterrupted(asyncio.ensure_future(self._transport.aclose())))
        for error in filter(None, cancelled):
            raise error

    def _start(self, work: Coroutine[None, None, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deliver(self, message: Message, url: str, statuses: Sequence[str], delay: float) -> None:
        for status in statuses:
            if delay:
                await asyncio.sleep(delay)
            await self._post(message, url, status)

    async def _post(self, message: Message, url: str, status: str) -> PostedReport:
        at = self._clock()
        http_status, error = None, None
        try:
            address = httpx.URL(url)
            if _is_loopback(address.host):
                http_status = await self._exchange(address, _written(message, status, at))
            else:
                error = _ELSEWHERE
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, OverflowError) as exc:
            error = f"{type(exc).__name__}: {exc}"
        report = PostedReport(status=status, at=at, http_status=http_status, error=error)
        self._keep(message, report)
        return report

    def _keep(self, message: Message, report: PostedReport) -> None:
        message.reports.append(report)
        self._reported()

    async def _exchange(self, url: httpx.URL, fields: dict[str, str]) -> int:
        if self._transport is None:
            # A certificate for localhost is signed by nobody.
            self._transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False)
        async with self._slots, asyncio.timeout(_TIMEOUT):
            response = await self._transport.handle_async_request(httpx.Request("POST", url, json=[fields]))
            # What it says is not read, and so its connection is closed: the application might close one that
            # is kept just when the next report goes out.
            await response.aclose()
        return response.status_code


def _written(message: Message, status: str, at: float) -> dict[str, str]:
    return {
        "sms_id": message.sms_id,
        "from": message.sender,
        "to": message.msisdn,
        "custom": "",  # a PIN's request has no reference of the caller's
        "sms_date": _date(message.sent_at),
        "dlr_date": _date(at),
        "status": status,
    }


def _date(at: float) -> str:
    # The vendor gives no time zone. UTC is our choice: it is the same on every machine.
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
