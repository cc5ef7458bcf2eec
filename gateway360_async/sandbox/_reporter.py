"""Delivery reports, POSTed as the vendor does: a JSON array, without a signature.

- Nothing leaves the machine: the URL's host has to be `localhost` or a loopback address, as the library reads it
  that opens the connection.
- httpx's transport is used without its client, which would follow redirects, keep cookies, ask proxies of the
  environment, and log the URL with the application's secret.
- Every exchange is bounded in time, and all of them in number. Closing cancels those that are still to come.
- A report's result is kept in its message; trouble raises nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import httpx

from .._aio import shield_until_done
from ._records import Message, PostedReport

__all__ = ["CLOSED", "Reporter", "report_fields"]

_T = TypeVar("_T")

_TIMEOUT: Final = 5.0  # seconds for one exchange, from connecting to the answer's headers
_AT_A_TIME: Final = 20
_MOST_WAITING: Final = 10_000
CLOSED: Final = "the sandbox is closed, or was not started: no report is posted"
_ELSEWHERE: Final = "not posted: the sandbox posts to localhost, 127.0.0.0/8 and ::1 only"
_TOO_MANY: Final = f"not posted: {_MOST_WAITING} SMS wait for their reports already"


class Reporter:
    """Posts delivery reports in the running loop, and calls `reported` after each.

    `clock` gives the reports' times, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float], reported: Callable[[], None]) -> None:
        self._clock = clock
        self._reported = reported
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._tasks: set[asyncio.Task[object]] = set()
        self.closed = False

    def schedule(self, message: Message, statuses: Sequence[str], delay: float) -> None:
        """Report an SMS, if reports were asked for, each status after a delay in seconds."""
        if message.report_url is None or not statuses or self.closed:
            return
        if len(self._tasks) < _MOST_WAITING:
            self._start(self._deliver(message, message.report_url, statuses, delay))
            return
        for status in statuses:
            self._keep(message, PostedReport(status=status, at=self._clock(), error=_TOO_MANY))

    async def post(self, message: Message, status: str) -> PostedReport:
        """Post one report, and return its result.

        Raises:
            ValueError: No reports were asked for.
            RuntimeError: The sandbox is closed, or was closed meanwhile.
        """
        if message.report_url is None:
            raise ValueError("message: expected one whose request had a report_url")
        if self.closed:
            raise RuntimeError(CLOSED)
        # A task of its own: closing the sandbox ends it, and does not cancel its caller.
        task = self._start(self._post(message, message.report_url, status))
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()  # if it is not done, its caller was cancelled
        if task.cancelled():
            raise RuntimeError(CLOSED)
        return task.result()

    async def aclose(self) -> None:
        """Post no more."""
        self.closed = True
        for task in self._tasks:
            task.cancel()
        # They end within moments, with their connections.
        if cancelled := await shield_until_done(asyncio.ensure_future(self._ended(*self._tasks))):
            raise cancelled

    async def _ended(self, *tasks: asyncio.Task[object]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            await self._transport.aclose()

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
                http_status = await self._exchange(address, report_fields(message, status, at))
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
            # No authority signs a certificate for localhost.
            self._transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False)
        async with self._slots, asyncio.timeout(_TIMEOUT):
            response = await self._transport.handle_async_request(httpx.Request("POST", url, json=[fields]))
            # Its body is not read, and so its connection is closed: the application might close one that is kept
            # just when the next report goes out.
            await response.aclose()
        return response.status_code


def report_fields(message: Message, status: str, at: float) -> dict[str, str]:
    """Return the fields of a report that is posted `at` so many seconds since 1970."""
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
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
