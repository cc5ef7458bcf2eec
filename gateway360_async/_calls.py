"""One call: attempts one after the other, until a result is final.

Rules of this module:

- Another attempt is made only where the policy says so, which by default is where the one before
  certainly was not sent. Two attempts of one call are never under way at a time.
- The deadline bounds all of a call: waiting for a place, the limiter, every attempt, every pause.
- What may have been sent is read from `Exchange.phase`, whatever ended the attempt. What one attempt left
  open, no later one closes but by an `Ok`.
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
from random import random
from typing import Any

import attrs
import httpx

from ._bounds import Deadline, Deadlines, Places
from ._cooldown import Cooldown
from ._guard import GuardAccount, Refusal, SpendGuard
from ._payloads import PinRequest
from ._results import ApiError, Disposition, FailureKind, Ok, PinResult, TransportFailure
from ._retry import BudgetAccount, RetryPolicy, parse_retry_after
from ._secret import Secret, SecretBytes, mask_msisdn
from ._version import __version__
from ._wire import MAX_ANSWER_BYTES, REQUEST_HEADERS, Encoder, decode
from .transports import Answer, Exchange, Phase, Transport, TransportError, chain, scrubbed

__all__ = ["Call", "Caller"]

_logger = logging.getLogger("gateway360_async")
_HEADERS = {**REQUEST_HEADERS, "User-Agent": f"gateway360-async/{__version__}"}


@attrs.define(eq=False)
class Call(Deadline):
    """The state of one call, from its first attempt to its result. Times are the event loop's."""

    request: PinRequest
    """What is sent; its `repr` masks the number."""
    timeout: httpx.Timeout
    halted: Callable[[], bool] | None = None
    force: bool = False
    """Whether to send even within the cooldown."""
    turn: asyncio.Future[None] | None = None
    """What becomes done when no other call for the number is under way; `None`: it is so already."""
    attempts: int = 0
    exchange: Exchange = attrs.field(factory=Exchange)
    maybe_sent: ApiError | TransportFailure | None = None
    """The last attempt that may have been sent. Whatever follows it, the call may have been."""

    def elapsed(self) -> float:
        return self.loop.time() - self.started

    def settle(self, result: ApiError | TransportFailure) -> None:
        """Take an attempt's result down; none is under way any more."""
        self.exchange = Exchange()
        if result.disposition is Disposition.MAYBE_SENT:
            self.maybe_sent = result

    def final(self, result: PinResult) -> PinResult:
        """Make an attempt's result the call's: an SMS that may be out is not undone by a refusal after it."""
        if self.maybe_sent is None or result.disposition is not Disposition.NOT_SENT:
            return result
        return attrs.evolve(self.maybe_sent, attempts=self.attempts, elapsed=self.elapsed())


class Caller:
    """Makes calls, on the places and the budget that they share.

    Args:
        url: Where to post.
        api_key: The account's key.
        transport: The way to the network. Closed by `aclose`.
        policy: When a call is tried again.
        limiter: Entered around each attempt, or `None`.
        concurrency: Exchanges at a time, at most.
        deadline: Seconds that most calls take at most.
        cooldown: Seconds for which a result stands for its number; `None`: none does.
        guard: Where calls may go, and how many; `None`: anywhere, and any number.
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
        deadline: float,
        cooldown: float | None,
        guard: SpendGuard | None,
    ) -> None:
        self._url = url
        self._api_key = api_key
        self._encode = Encoder(api_key)
        self._transport = transport
        self._policy = policy
        self._limiter = limiter
        self._places = Places(concurrency)
        self._deadlines = Deadlines(deadline)
        self._cooldown = None if cooldown is None else Cooldown(cooldown)
        self._guard = None if guard is None else guard.open()
        self._budget: BudgetAccount | None = None

    async def aclose(self) -> None:
        """Close the connections, once no call is under way."""
        self._deadlines.close()
        await self._transport.aclose()

    async def run(self, call: Call) -> PinResult:
        """Wait for the number's turn, and make attempts until one is final or the deadline passes."""
        request = call.request
        body = self._encode(request)
        self._deadlines.begin(call)
        passed: bool | None = None
        try:
            if call.turn is not None:
                await call.turn
            if self._cooldown is not None and not call.force:
                earlier = self._cooldown.earlier(request.msisdn, call.loop.time())
                if earlier is not None:
                    return earlier
            if self._guard is None:
                result = await self._attempts(call, body)
            else:
                result = await self._guarded(call, request, body, self._guard)
        except asyncio.CancelledError:
            passed = self._deadlines.end(call)
            result = self._deadline_passed(call) if passed else self.cancelled(call)
            if not passed:
                self._note(call, request.msisdn, result)
                raise
        finally:
            if passed is None:
                self._deadlines.end(call)
        if self._cooldown is not None:
            self._note(call, request.msisdn, result)
        return result

    async def _guarded(
        self, call: Call, request: PinRequest, body: SecretBytes, guard: GuardAccount
    ) -> PinResult:
        """Count a call on the guard, which may refuse it. What never reached the gateway is given back."""
        admission = guard.admit(request.msisdn, call.loop.time())
        if isinstance(admission, Refusal):
            return self._failed(call, admission.kind, admission.detail)
        reached = False
        try:
            result = await self._attempts(call, body)
            # A refusal of the gateway's is a request that it had.
            reached = not isinstance(result, TransportFailure) or result.disposition is Disposition.MAYBE_SENT
            return result
        except asyncio.CancelledError:
            reached = self.cancelled(call).disposition is not Disposition.NOT_SENT
            raise
        finally:
            if not reached:
                guard.give_back(admission)

    def _note(self, call: Call, number: str, result: PinResult) -> None:
        if self._cooldown is not None:
            self._cooldown.note(number, result, call.loop.time())

    async def _attempts(self, call: Call, body: SecretBytes) -> PinResult:
        """Make attempts until one is final, each on a place."""
        budget = self._open_budget(call.started)
        while True:
            call.attempts += 1
            if self._places.take_now() or await self._take_place(call.timeout.pool):
                try:
                    if self._limiter is None:
                        result = await self._exchange(call, body)
                    else:
                        result = await self._limited(call, body, self._limiter)
                finally:
                    self._places.give()
            else:
                result = self._failed(
                    call, FailureKind.POOL, f"no place became free within {call.timeout.pool:g} s"
                )
            if isinstance(result, Ok):
                return result
            call.settle(result)
            now = call.loop.time()
            delay = self._policy.decide(
                result, attempt=call.attempts, remaining=call.expires - now, random=random
            )
            if delay is None or not (budget is None or budget.withdraw(now)):
                return call.final(result)
            await asyncio.sleep(delay)

    def _deadline_passed(self, call: Call) -> PinResult:
        detail = f"the deadline of {call.seconds:g} s passed"
        return call.final(self._interrupted(call, FailureKind.DEADLINE, detail))

    def cancelled(self, call: Call) -> PinResult:
        """Say what is known of a call that was cancelled."""
        return call.final(self._interrupted(call, FailureKind.CANCELLED, "cancelled before the answer came"))

    def _open_budget(self, now: float) -> BudgetAccount | None:
        """Count a call on the budget, which is opened by the first: before it there is no clock."""
        if self._budget is None and self._policy.budget is not None:
            self._budget = self._policy.budget.open(now)
        if self._budget is not None:
            self._budget.deposit()
        return self._budget

    async def _take_place(self, pool: float | None) -> bool:
        """Wait for a place, for `pool` seconds at most; for `None`, the deadline bounds the wait."""
        try:
            async with asyncio.timeout(pool):
                await self._places.take()
        except TimeoutError:  # this one's: the deadline's comes as a cancellation
            return False
        return True

    async def _limited(
        self, call: Call, body: SecretBytes, limiter: AbstractAsyncContextManager[Any]
    ) -> PinResult:
        results: list[PinResult] = []
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

    async def _exchange(self, call: Call, body: SecretBytes) -> PinResult:
        if call.halted is not None and call.halted():
            return self._failed(call, FailureKind.CANCELLED, "the batch was halted before")
        handled = sys.exception()
        try:
            call.exchange.answer = await self._transport.post(
                self._url,
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
        self, call: Call, kind: FailureKind, detail: str, cause: BaseException | None = None
    ) -> PinResult:
        """Say what is known of an attempt that was broken off: its answer, if it had come by then."""
        if call.exchange.answer is not None:
            return self._decoded(call, call.exchange.answer)
        return self._failed(call, kind, detail, cause)

    def _blanked(self, call: Call, text: str) -> str:
        """Blank the key out of a text that came from elsewhere, and mask the number."""
        text = self._api_key.redact(text)
        number = call.request.msisdn
        return text.replace(number, mask_msisdn(number))

    def _failed(
        self, call: Call, kind: FailureKind, detail: str, cause: BaseException | None = None
    ) -> TransportFailure:
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

    def _decoded(self, call: Call, answer: Answer) -> PinResult:
        retry_after = answer.headers.get("retry-after")
        result = decode(
            answer.http_status,
            answer.headers,
            answer.body,
            attempts=call.attempts,
            elapsed=call.elapsed(),
            retry_after=None if retry_after is None else parse_retry_after(retry_after, now=time.time()),
        )
        if not isinstance(result, ApiError):
            return result
        # The gateway may quote what it was sent.
        said = None if result.error_msg is None else self._blanked(call, result.error_msg)
        return attrs.evolve(result, error_id=self._blanked(call, result.error_id), error_msg=said)
