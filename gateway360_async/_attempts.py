"""The attempts of one call, one after the other, until a result is final.

Rules of this module:

- Another attempt is made only where the policy says so, which by default is where the one before
  certainly was not sent. Two attempts of one call are never under way at a time.
- What may have been sent is read from `Exchange.phase`, whatever ended the attempt. What one attempt left
  open, no later one closes but by an answer that the gateway took the request.
- An answer that was read whole is never lost, whatever is cancelled or passes after it.
- The number of exchanges at a time is bounded here, above the connections: an HTTP library's pool is not
  a queue. A place is held for an attempt, not for the pause between two.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import attrs

from ._bounds import Deadline, Places
from ._errors import StoreError
from ._lazy import httpx
from ._permits import HOLDS, Permits
from ._results import ApiError, Disposition, FailureKind, Ok, TransportFailure
from ._retry import BudgetAccount, RetryPolicy, parse_retry_after
from ._secret import Secret, SecretBytes, mask_msisdn, mask_msisdn_in
from ._verification import NotVerified, Verified, blanked
from ._version import __version__
from ._wire import MAX_ANSWER_BYTES, REQUEST_HEADERS
from .transports import Answer, Exchange, Phase, Transport, TransportError, chain, scrubbed

if TYPE_CHECKING:
    from ._claims._session import Lease
    from .observers import CallWatch

__all__ = ["Attempts", "Call", "Operation"]

_logger = logging.getLogger("gateway360_async")
_HEADERS: Final = {**REQUEST_HEADERS, "User-Agent": f"gateway360-async/{__version__}"}

_Taken = TypeVar("_Taken", bound=Ok | Verified | NotVerified)
"""What an operation gives where the gateway took the request."""


@attrs.frozen(eq=False)
class Operation(Generic[_Taken]):
    """What calls ask of the gateway.

    Args:
        name: What observers call it.
        url: Where it posts to.
        decode: Reads an answer, as the codec's `decode` does.
        once: Whether it is never repeated after its first byte, whatever the answer says.
    """

    name: Literal["request_pin", "verify_pin"]
    url: str
    decode: Callable[..., _Taken | ApiError | TransportFailure]
    once: bool = False


@attrs.define(eq=False)
class Call(Deadline, Generic[_Taken]):
    """The state of one call, from its first attempt to its result. Times are the event loop's."""

    operation: Operation[_Taken]
    number: str = attrs.field(repr=mask_msisdn)
    timeout: httpx.Timeout
    halted: Callable[[], bool] | None = None
    force: bool = False
    """Whether to send even within the cooldown."""
    pin: Secret | None = attrs.field(default=None, kw_only=True)
    """The PIN that is verified."""
    turn: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    """What becomes done when no other call for the number is under way; `None`: it is so already."""
    attempts: int = attrs.field(default=0, init=False)
    exchange: Exchange = attrs.field(factory=Exchange, init=False)
    maybe_sent: ApiError | TransportFailure | None = attrs.field(default=None, init=False)
    """The last attempt that may have been sent. Whatever follows it, the call may have been."""
    report_id: str | None = attrs.field(default=None, init=False)
    """What ties it to its delivery report."""
    lease: Lease | None = attrs.field(default=None, init=False)
    """The lease of its record in the client's store, which covers each attempt."""
    permit: float | None = attrs.field(default=None, init=False)
    """When it was granted a permit ahead of its first attempt, on the event loop's clock."""
    watch: CallWatch | None = attrs.field(default=None, init=False)
    """Who is told of it."""
    joined: bool = attrs.field(default=False, init=False)
    """Whether its result is that of another call, which it shares."""
    left: _Taken | ApiError | TransportFailure | None = attrs.field(default=None, init=False)
    """What was known of it when its caller was cancelled."""

    def elapsed(self) -> float:
        return self.loop.time() - self.started

    def secret_values(self) -> frozenset[int]:
        """The number, and a PIN of digits, as numbers."""
        typed = "" if self.pin is None else self.pin.reveal().strip()
        return frozenset(int(text) for text in (self.number, typed) if text.isascii() and text.isdigit())

    def settle(self, result: ApiError | TransportFailure) -> None:
        """Take an attempt's result down; none is under way any more."""
        self.exchange = Exchange()
        if result.disposition is Disposition.MAYBE_SENT:
            self.maybe_sent = result

    def final(self, result: _Taken | ApiError | TransportFailure) -> _Taken | ApiError | TransportFailure:
        """Make an attempt's result the call's: an SMS that may be out is not undone by a refusal after it."""
        if self.maybe_sent is None or result.disposition is not Disposition.NOT_SENT:
            return result
        return attrs.evolve(self.maybe_sent, attempts=self.attempts, elapsed=self.elapsed())


class Attempts:
    """Makes attempts, on the places and the budget that all calls share.

    Args:
        api_key: The account's key, which is blanked out of what comes from elsewhere.
        transport: The way to the network.
        policy: When a call is tried again.
        limiter: Entered around each attempt, or `None`.
        permits: Grants each attempt its permit; `None`: there is no rate.
        store_timeout: Seconds that an attempt waits for its permit while the store that shares the rate is away.
        concurrency: Exchanges at a time, at most.
    """

    def __init__(
        self,
        *,
        api_key: Secret,
        transport: Transport,
        policy: RetryPolicy,
        limiter: AbstractAsyncContextManager[Any] | None,
        permits: Permits | None,
        store_timeout: float,
        concurrency: int,
    ) -> None:
        self._api_key = api_key
        self._transport = transport
        self._policy = policy
        self._limiter = limiter
        self._permits = permits
        self._store_timeout = store_timeout
        self._places = Places(concurrency)
        self._budget: BudgetAccount | None = None

    async def make(self, call: Call[_Taken], body: SecretBytes) -> _Taken | ApiError | TransportFailure:
        """Make attempts until one is final, each on a place."""
        budget = self._budget or self._open_budget(call.started)
        if budget is not None:
            budget.deposit()
        while True:
            call.attempts += 1
            if call.watch is not None:
                call.watch.attempt_started(call.attempts)
            try:
                if self._places.take_now() or await self._take_place(call.timeout.pool):
                    try:
                        if self._limiter is None and self._permits is None:
                            result = await self._exchange(call, body)
                        else:
                            result = await self._limited(call, body)
                    finally:
                        self._places.give()
                else:
                    result = self.failed(
                        call, FailureKind.POOL, f"no place became free within {call.timeout.pool:g} s"
                    )
            except BaseException as exc:
                self._tell_broken_off(call, exc)
                raise
            if call.watch is not None:
                call.watch.attempt_finished(result)
            # The first alone would do for most: it is the quicker to ask.
            if isinstance(result, Ok) or not isinstance(result, (ApiError, TransportFailure)):
                return result
            delay = self._pause(call, result, budget)
            if delay is None:
                return call.final(result)
            await asyncio.sleep(delay)

    def _pause(
        self, call: Call[_Taken], result: ApiError | TransportFailure, budget: BudgetAccount | None
    ) -> float | None:
        """Take an attempt's result down, and decide how long to wait for the next one; `None`: it is final."""
        judged = call.operation.once and call.exchange.phase is not Phase.UNSENT
        call.settle(result)
        if judged:
            return None
        now = call.loop.time()
        delay = self._policy.decide(
            result, attempt=call.attempts, remaining=call.expires - now, random=random
        )
        if delay is None or not (budget is None or budget.withdraw(now)):
            return None
        if call.watch is not None:
            call.watch.retry_waiting(delay, result)
        return delay

    def _has_permit(self, call: Call[_Taken]) -> bool:
        """Whether a call has a permit from before its claim, for this attempt."""
        granted, call.permit = call.permit, None
        return granted is not None and call.loop.time() - granted <= HOLDS

    def _tell_broken_off(self, call: Call[_Taken], error: BaseException) -> None:
        if call.watch is not None:
            cancelled = isinstance(error, asyncio.CancelledError)
            call.watch.attempt_finished(
                self.broken_off(call, passed=call.passed) if cancelled else None, error
            )

    def broken_off(self, call: Call[_Taken], *, passed: bool) -> _Taken | ApiError | TransportFailure:
        """Say what is known of an attempt that was cancelled: by the call's deadline, or by somebody."""
        if passed:
            return self._interrupted(call, FailureKind.DEADLINE, f"the deadline of {call.seconds:g} s passed")
        return self._interrupted(call, FailureKind.CANCELLED, "cancelled before the answer came")

    def _open_budget(self, now: float) -> BudgetAccount | None:
        """Open the budget with the first call: before it there is no clock."""
        if self._policy.budget is not None:
            self._budget = self._policy.budget.open(now)
        return self._budget

    async def _take_place(self, pool: float | None) -> bool:
        """Wait for a place, for `pool` seconds at most; for `None`, the deadline bounds the wait."""
        try:
            async with asyncio.timeout(pool):
                await self._places.take()
        except TimeoutError:  # this one's: the deadline's comes as a cancellation
            return False
        return True

    async def _limited(self, call: Call[_Taken], body: SecretBytes) -> _Taken | ApiError | TransportFailure:
        """Make an exchange once the rate and the caller's limiter let it start."""
        if self._permits is not None and not self._has_permit(call):
            try:
                await self._permits.wait(self._store_timeout)
            except StoreError as exc:
                return self.failed(call, FailureKind.STORE, str(exc))
        if self._limiter is None:
            return await self._exchange(call, body)
        return await self._within(call, body, self._limiter)

    async def _within(
        self, call: Call[_Taken], body: SecretBytes, limiter: AbstractAsyncContextManager[Any]
    ) -> _Taken | ApiError | TransportFailure:
        results: list[_Taken | ApiError | TransportFailure] = []
        problem = "the limiter swallowed an exception"
        try:
            async with limiter:
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

    async def _exchange(self, call: Call[_Taken], body: SecretBytes) -> _Taken | ApiError | TransportFailure:
        if call.halted is not None and call.halted():
            return self.failed(call, FailureKind.CANCELLED, "the batch was halted before")
        lease = call.lease
        if lease is not None and not (lease.reaches(call.expires - call.loop.time()) or await lease.renew()):
            # A byte that leaves after the lease could be a second SMS beside a resend.
            return self.failed(call, FailureKind.STORE, "its lease has ended, or could not be renewed")
        handled = sys.exception()
        try:
            call.exchange.answer = await self._transport.post(
                call.operation.url,
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

    def _interrupted(
        self, call: Call[_Taken], kind: FailureKind, detail: str, cause: BaseException | None = None
    ) -> _Taken | ApiError | TransportFailure:
        """Say what is known of an attempt that was broken off: its answer, if it had come by then."""
        if call.exchange.answer is not None:
            return self._decoded(call, call.exchange.answer)
        return self.failed(call, kind, detail, cause)

    def _blanked(self, call: Call[_Taken], text: str) -> str:
        """Blank the key and the PIN out of a text that came from elsewhere, and mask the number."""
        # The number first: a PIN that is a part of it would leave a number that nobody knows for one.
        text = self._api_key.redact(mask_msisdn_in(text, call.number))
        return text if call.pin is None else call.pin.redact_typed(text)

    def failed(
        self, call: Call[_Taken], kind: FailureKind, detail: str, cause: BaseException | None = None
    ) -> TransportFailure:
        """Make the result of an attempt without an answer."""
        unsent = call.exchange.phase is Phase.UNSENT
        # An HTTP library quotes what it could not read, and a peer may have echoed the request.
        quoted = cause is not None and any(
            self._blanked(call, said) != said for said in (f"{link!r} {link}" for link in chain(cause))
        )
        return TransportFailure(
            kind=kind,
            disposition=Disposition.NOT_SENT if unsent else Disposition.MAYBE_SENT,
            http_status=call.exchange.http_status,
            detail=self._blanked(call, detail),
            attempts=call.attempts,
            elapsed=call.elapsed(),
            cause=None if quoted else cause,
        )

    def _decoded(self, call: Call[_Taken], answer: Answer) -> _Taken | ApiError | TransportFailure:
        headers = answer.headers
        retry_after = headers.get("retry-after")
        result = call.operation.decode(
            answer.http_status,
            headers,
            answer.body,
            attempts=call.attempts,
            elapsed=call.elapsed(),
            retry_after=None if retry_after is None else parse_retry_after(retry_after, now=time.time()),
        )
        if isinstance(result, Ok):
            return result
        return blanked(result, partial(self._blanked, call), call.secret_values())
