"""One call: attempts one after the other, until a result is final.

Rules of this module:

- Another attempt is made only where the policy says so, which by default is where the one before
  certainly was not sent. Two attempts of one call are never under way at a time.
- The deadline bounds all of a call: waiting for a place, the limiter, every attempt, every pause.
- What may have been sent is read from `Exchange.phase`, whatever ended the attempt.
- The number of exchanges at a time is bounded here, above the connections: an HTTP library's pool is not
  a queue. A place is held for an attempt, not for the pause between two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import random
from typing import Any

import attrs
import httpx

from ._payloads import PinRequest
from ._results import ApiError, Disposition, FailureKind, PinResult, TransportFailure
from ._retry import BudgetAccount, RetryPolicy, parse_retry_after
from ._secret import Secret, SecretBytes
from ._version import __version__
from ._wire import MAX_ANSWER_BYTES, REQUEST_HEADERS, decode, encode
from .transports import Exchange, Phase, Transport, TransportError, scrubbed

__all__ = ["Call", "Caller"]

_logger = logging.getLogger("gateway360_async")
_HEADERS = {**REQUEST_HEADERS, "User-Agent": f"gateway360-async/{__version__}"}


@attrs.define(eq=False)
class Call:
    """The state of one call, from its first attempt to its result. Times are the event loop's."""

    now: Callable[[], float]
    started: float
    expires: float
    timeout: httpx.Timeout
    halted: Callable[[], bool] | None
    attempts: int = 0
    exchange: Exchange = attrs.field(factory=Exchange)

    def failed(self, kind: FailureKind, detail: str, cause: BaseException | None = None) -> TransportFailure:
        unsent = self.exchange.phase is Phase.UNSENT
        return TransportFailure(
            kind=kind,
            disposition=Disposition.NOT_SENT if unsent else Disposition.MAYBE_SENT,
            http_status=self.exchange.http_status,
            detail=detail,
            attempts=self.attempts,
            elapsed=self.now() - self.started,
            cause=cause,
        )

    def cancelled(self) -> TransportFailure:
        return self.failed(FailureKind.CANCELLED, "the batch stopped before the answer came")

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the attempt under way has come to its request's first byte."""
        return self.exchange.phase is not Phase.UNSENT


class Caller:
    """Makes calls, on the places and the budget that they share.

    Args:
        url: Where to post.
        api_key: The account's key.
        transport: The way to the network. Closed by `aclose`.
        policy: When a call is tried again.
        limiter: Entered around each attempt, or `None`.
        concurrency: Exchanges at a time, at most.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: Secret,
        transport: Transport,
        policy: RetryPolicy,
        limiter: AbstractAsyncContextManager[Any] | None,
        concurrency: int,
    ) -> None:
        self._url = url
        self._api_key = api_key
        self._transport = transport
        self._policy = policy
        self._limiter = limiter
        self._places = asyncio.Semaphore(concurrency)
        self._budget: BudgetAccount | None = None
        self._in_flight = 0
        self._drained = asyncio.Event()

    async def aclose(self) -> None:
        """Wait for the calls in flight, and close the connections."""
        while self._in_flight:
            self._drained.clear()
            await self._drained.wait()
        await self._transport.aclose()

    async def run(self, call: Call, request: PinRequest) -> PinResult:
        """Make attempts until one is final."""
        self._in_flight += 1
        try:
            body = encode(request, self._api_key)
            budget = self._open_budget(call.started)
            while True:
                result = await self._attempt(call, body)
                now = call.now()
                delay = self._policy.decide(
                    result, attempt=call.attempts, remaining=call.expires - now, random=random
                )
                if delay is None or not (budget is None or budget.withdraw(now)):
                    return result
                await asyncio.sleep(delay)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._drained.set()

    def _open_budget(self, now: float) -> BudgetAccount | None:
        """Count a call on the budget, which is opened by the first: before it there is no clock."""
        if self._budget is None and self._policy.budget is not None:
            self._budget = self._policy.budget.open(now)
        if self._budget is not None:
            self._budget.deposit()
        return self._budget

    async def _attempt(self, call: Call, body: SecretBytes) -> PinResult:
        """Make one attempt, within the deadline and the bounds."""
        call.attempts += 1
        call.exchange = Exchange()
        whole = asyncio.timeout_at(call.expires)
        try:
            async with whole:
                return await self._placed(call, body)
        except TimeoutError:
            if not whole.expired():
                raise  # the limiter's own
            return call.failed(
                FailureKind.DEADLINE, f"the deadline of {call.expires - call.started:g} s passed"
            )

    async def _placed(self, call: Call, body: SecretBytes) -> PinResult:
        if not await self._take_place(call.timeout.pool):
            return call.failed(FailureKind.POOL, f"no place became free within {call.timeout.pool:g} s")
        try:
            return await self._limited(call, body)
        finally:
            self._places.release()

    async def _take_place(self, pool: float | None) -> bool:
        """Wait for a place, for `pool` seconds at most (`None`: the deadline bounds it)."""
        if pool is None:
            await self._places.acquire()
            return True
        try:
            async with asyncio.timeout(pool):
                await self._places.acquire()
        except TimeoutError:  # this one's: the deadline's comes as a cancellation
            return False
        return True

    async def _limited(self, call: Call, body: SecretBytes) -> PinResult:
        if self._limiter is None:
            return await self._exchange(call, body)
        results: list[PinResult] = []
        try:
            async with self._limiter:
                results.append(await self._exchange(call, body))
        except Exception:
            if not results:
                raise
            # The SMS is a fact by now: the result counts for more than the limiter's trouble.
            _logger.exception("the limiter failed after the exchange; the result stands")
        if not results:
            return call.failed(FailureKind.UNEXPECTED, "the limiter swallowed an exception")
        return results[0]

    async def _exchange(self, call: Call, body: SecretBytes) -> PinResult:
        if call.halted is not None and call.halted():
            return call.cancelled()
        try:
            answer = await self._transport.post(
                self._url,
                headers=_HEADERS,
                body=body,
                timeout=call.timeout,
                max_bytes=MAX_ANSWER_BYTES,
                exchange=call.exchange,
            )
        except TransportError as exc:
            return call.failed(exc.kind, exc.detail, exc.cause)
        except Exception as exc:  # noqa: BLE001  # whatever a transport raises, the phase says what it means for the SMS
            return call.failed(FailureKind.UNEXPECTED, f"{type(exc).__name__}: {exc}", scrubbed(exc))
        result = decode(
            answer.http_status,
            answer.headers,
            answer.body,
            attempts=call.attempts,
            elapsed=call.now() - call.started,
            retry_after=parse_retry_after(answer.headers.get("retry-after"), now=time.time()),
        )
        return self._redacted(result) if isinstance(result, ApiError) else result

    def _redacted(self, error: ApiError) -> ApiError:
        """Blank the key out of the gateway's words, should it quote what it was sent."""
        said = None if error.error_msg is None else self._api_key.redact(error.error_msg)
        return attrs.evolve(error, error_msg=said)
