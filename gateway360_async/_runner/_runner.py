"""One call: admission, retry loop, exchange.

Invariants:

- The deadline bounds all of a call: its turn, its admission, each attempt and each wait.
- The phase of the exchange decides whether an attempt may have been sent, whatever ended it. Only an answer that the
  gateway took the request closes what an attempt left open.
- Two attempts of a call never overlap. One that has begun to be sent is repeated only where the policy says so.
- An answer that was read whole is never lost, whatever is cancelled after it.
- Exchanges are bounded here, by a semaphore: nothing queues inside a connection pool.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from .._exceptions import StoreError
from .._models import PinRequest
from .._operations import MAX_ANSWER_BYTES, REQUEST_HEADERS, AnyResult, blanked
from .._redaction import Secret, SecretBytes, mask_msisdn_in
from .._results import ApiError, Disposition, FailureKind, Ok, TransportFailure
from .._retry import BudgetAccount, RetryPolicy, parse_retry_after
from .._version import __version__
from ..transports import Answer, Phase, Transport, TransportError, chain, scrubbed
from ._call import InFlightCall, Outcome
from ._deadlines import Deadlines
from ._permits import HOLDS, Permits

if TYPE_CHECKING:
    from ..delivery import DeliveryReports
    from ._session import StoreSession

__all__ = ["CallRunner"]

_logger = logging.getLogger("gateway360_async")
_HEADERS: Final = {**REQUEST_HEADERS, "User-Agent": f"gateway360-async/{__version__}"}


class CallRunner:
    """Runs calls, within the bounds that all calls of a client share.

    Args:
        api_key: The account's key, which is blanked out of texts that come from elsewhere.
        transport: The way to the network. Closed by `aclose`.
        policy: When a call is tried again.
        limiter: Entered around each attempt, or `None`.
        concurrency: Exchanges at a time, at most.
        deadline: The deadline of most calls in seconds.
        reports: Makes the report URLs of requests without one; `None`: there are none.
        permits: Grants each attempt its permit; `None`: there is no rate. Closed by `aclose`.
        store: The client's part of its store. Closed by `aclose`.
    """

    def __init__(
        self,
        *,
        api_key: Secret,
        transport: Transport,
        policy: RetryPolicy,
        limiter: AbstractAsyncContextManager[Any] | None,
        concurrency: int,
        deadline: float,
        reports: DeliveryReports | None,
        permits: Permits | None,
        store: StoreSession | None,
    ) -> None:
        self._api_key = api_key
        self._transport = transport
        self._policy = policy
        self._limiter = limiter
        self._slots = asyncio.Semaphore(concurrency)
        self._deadlines = Deadlines(deadline)
        self.reports = reports
        self._permits = permits
        self._store = store
        self._store_timeout = math.inf if store is None else store.store.timeout
        self._budget: BudgetAccount | None = None
        self.completed: Callable[[InFlightCall, Outcome], None]
        """Takes the outcome of each call; set by the single-flight."""

    async def aclose(self) -> None:
        """Close the store and the connections, once no call is in flight."""
        self._deadlines.close()
        try:
            if self._permits is not None:
                await self._permits.aclose()
            if self._store is not None:
                await self._store.aclose()
        finally:
            await self._transport.aclose()

    def new_report_id(self, request: PinRequest) -> str | None:
        """Make the id of a request's delivery report; `None`: it asks for reports elsewhere, or there are none."""
        if self.reports is None or request.report_url is not None:
            return None
        return self.reports.new_id()

    async def run(self, call: InFlightCall) -> Outcome:
        """Run a call in the current task. Raise a cancellation only, once `completed` was told the last known result."""
        outcome: Outcome
        try:
            self._deadlines.begin(call)
            body = call.endpoint.encode(call.request if call.report_id is None else self._with_report(call))
            if call.turn is not None:
                await call.turn
            if call.admission is None:
                outcome = await self.attempt(call, body)
            else:
                outcome = await call.admission.send(call, body, self)
            if call.report_id is not None:
                outcome = call.attach_report(outcome)
        except BaseException as exc:
            # A cancellation beside the deadline's is the caller's.
            call.expired = self._deadlines.end(call) and isinstance(exc, asyncio.CancelledError)
            outcome = exc if isinstance(exc, Exception) else self.known(call)
            if not (call.expired or isinstance(exc, Exception)):
                self.completed(call, outcome)
                raise
        else:
            self._deadlines.end(call)
        self.completed(call, outcome)
        return outcome

    def known(self, call: InFlightCall) -> Any:
        """Return the last known result of a call that was cancelled."""
        return call.attach_report(call.of_lease(call.final(self.broken_off(call))))

    def _with_report(self, call: InFlightCall) -> PinRequest:
        request, reports = cast("PinRequest", call.request), cast("DeliveryReports", self.reports)
        url = reports.url_for(cast("str", call.report_id), request.msisdn)
        return attrs.evolve(request, report_url=url)

    # --- The retry loop --------------------------------------------------------------------------------------------------

    async def attempt(self, call: InFlightCall, body: SecretBytes) -> Any:
        """Make a call's attempts until one is final, each in a slot."""
        budget = self._budget or self._open_budget(call.started)
        if budget is not None:
            budget.deposit()
        slots, events, pool = self._slots, call.events, call.timeout.pool
        while True:
            call.attempts += 1
            if events is not None:
                events.attempt_started(call.attempts)
            try:
                if await (slots.acquire() if pool is None else self._acquire(pool)):
                    try:
                        if self._limiter is None and self._permits is None:
                            result = await self._exchange(call, body)
                        else:
                            result = await self._limited(call, body)
                    finally:
                        slots.release()
                else:
                    detail = f"no place became free within {pool:g} s"
                    result = self.failed(call, FailureKind.POOL, detail)
            except BaseException as exc:
                self._tell_broken_off(call, exc)
                raise
            if events is not None:
                events.attempt_finished(result)
            # The first alone would do for most: it is the quicker to ask.
            if isinstance(result, Ok) or not isinstance(result, (ApiError, TransportFailure)):
                return result
            delay = self._retry_delay(call, result, budget)
            if delay is None:
                return call.final(result)
            await asyncio.sleep(delay)

    def _open_budget(self, now: float) -> BudgetAccount | None:
        """Open the budget with the first call: before it there is no clock."""
        if self._policy.budget is not None:
            self._budget = self._policy.budget.open(now)
        return self._budget

    def _tell_broken_off(self, call: InFlightCall, error: BaseException) -> None:
        if call.events is not None:
            cancelled = isinstance(error, asyncio.CancelledError)
            known = self.broken_off(call) if cancelled else None
            call.events.attempt_finished(known, error)

    def _retry_delay(
        self, call: InFlightCall, result: ApiError | TransportFailure, budget: BudgetAccount | None
    ) -> float | None:
        """Record an attempt's result, and return the seconds until the next attempt; `None`: it is final."""
        may_repeat = call.endpoint.operation.repeatable or call.exchange.phase is Phase.UNSENT
        call.record(result)
        if not may_repeat:
            return None
        now = call.loop.time()
        delay = self._policy.decide(
            result, attempt=call.attempts, remaining=call.expires - now, random=random
        )
        if delay is None or not (budget is None or budget.withdraw(now)):
            return None
        if call.events is not None:
            call.events.retry_waiting(delay, result)
        return delay

    async def _acquire(self, pool: float) -> bool:
        """Wait for a slot, for `pool` seconds at most."""
        try:
            async with asyncio.timeout(pool):
                return await self._slots.acquire()
        except TimeoutError:  # this one's: the deadline's comes as a cancellation
            return False

    # --- One exchange ----------------------------------------------------------------------------------------------------

    async def _limited(self, call: InFlightCall, body: SecretBytes) -> Any:
        """Make an exchange once the rate and the caller's limiter let it start."""
        if self._permits is not None:
            granted, call.permit = call.permit, None
            if granted is None or call.loop.time() - granted > HOLDS:
                try:
                    await self._permits.wait(self._store_timeout)
                except StoreError as exc:
                    return self.failed(call, FailureKind.STORE, str(exc))
        if self._limiter is None:
            return await self._exchange(call, body)
        results: list[Any] = []
        problem = "the limiter swallowed an exception"
        try:
            async with self._limiter:
                results.append(await self._exchange(call, body))
        except Exception as exc:
            if not results and call.exchange.phase is Phase.UNSENT and call.maybe_sent is None:
                raise
            # There may be an SMS by now, and that counts for more than the limiter's trouble.
            problem = f"the limiter raised {type(exc).__name__}"
            _logger.exception("the limiter failed after the exchange had begun; the call has a result")
        if results:
            return results[0]
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # the limiter swallowed it, and it was not the limiter's to swallow
        return self._interrupted(call, FailureKind.UNEXPECTED, problem)

    async def _exchange(self, call: InFlightCall, body: SecretBytes) -> Any:
        if call.is_halted is not None and call.is_halted():
            return self.failed(call, FailureKind.CANCELLED, "the batch was halted before")
        lease = call.lease
        if lease is not None and not (lease.reaches(call.expires - call.loop.time()) or await lease.renew()):
            # A byte that leaves after the lease could be a second SMS beside a resend.
            return self.failed(call, FailureKind.STORE, "its lease has ended, or could not be renewed")
        handled = sys.exception()
        try:
            call.exchange.answer = await self._transport.post(
                call.endpoint.url,
                headers=_HEADERS,
                body=body,
                timeout=call.timeout,
                max_bytes=MAX_ANSWER_BYTES,
                exchange=call.exchange,
            )
        except TransportError as exc:
            return self._interrupted(call, exc.kind, exc.detail, exc.cause)
        except Exception as exc:  # noqa: BLE001  # whatever a transport raises, the phase says what it means
            detail = f"{type(exc).__name__}: {exc}"
            return self._interrupted(call, FailureKind.UNEXPECTED, detail, scrubbed(exc, handled))
        except BaseException as exc:
            # A cancellation, mostly. Without the frames below, whose variables hold the request's bytes.
            scrubbed(exc, handled)
            raise
        return self._decoded(call, call.exchange.answer)

    def broken_off(self, call: InFlightCall) -> Any:
        """Return the result of a call that was cancelled, by the deadline or by a caller."""
        if call.result is not None:
            return call.result
        if call.asked:  # an earlier call with its key may have been sent
            return self.failed(call, FailureKind.STORE, "the call ended before the store answered")
        if call.expired:
            detail = f"the deadline of {call.seconds:g} s passed"
            return self._interrupted(call, FailureKind.DEADLINE, detail)
        return self._interrupted(call, FailureKind.CANCELLED, "cancelled before the answer came")

    def _interrupted(
        self, call: InFlightCall, kind: FailureKind, detail: str, cause: BaseException | None = None
    ) -> Any:
        """Return the result of an attempt that was broken off: its answer, if that had come by then."""
        if call.exchange.answer is not None:
            return self._decoded(call, call.exchange.answer)
        return self.failed(call, kind, detail, cause)

    def failed(
        self, call: InFlightCall, kind: FailureKind, detail: str, cause: BaseException | None = None
    ) -> TransportFailure:
        """Return the result of an attempt without an answer."""
        unsent = call.exchange.phase is Phase.UNSENT
        # An HTTP library quotes the bytes that it could not read, and a peer may have echoed the request.
        quoted = cause is not None and any(
            self._redact(call, text) != text for text in (f"{link!r} {link}" for link in chain(cause))
        )
        return TransportFailure(
            kind=kind,
            disposition=Disposition.NOT_SENT if unsent else Disposition.MAYBE_SENT,
            http_status=call.exchange.http_status,
            detail=self._redact(call, detail),
            attempts=call.attempts,
            elapsed=call.elapsed(),
            cause=None if quoted else cause,
        )

    def _decoded(self, call: InFlightCall, answer: Answer) -> AnyResult:
        headers = answer.headers
        retry_after = headers.get("retry-after")
        result = call.endpoint.operation.decode(
            answer.http_status,
            headers,
            answer.body,
            attempts=call.attempts,
            elapsed=call.elapsed(),
            retry_after=None if retry_after is None else parse_retry_after(retry_after, now=time.time()),
        )
        if isinstance(result, Ok):
            return result
        return blanked(result, partial(self._redact, call), call.secret_values())

    def _redact(self, call: InFlightCall, text: str) -> str:
        """Blank the key and the request's secrets out of a text that came from elsewhere, and mask the number."""
        # The number first: a PIN that is a part of it would leave a number that is not recognised as one.
        text = self._api_key.redact(mask_msisdn_in(text, call.number))
        for secret in call.secrets:
            text = secret.redact_typed(text)
        return text
