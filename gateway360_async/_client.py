"""The client: its settings, its lifetime, and the ways to send.

Rules of this module:

- A client belongs to the event loop, and the process, that use it first; any other is refused before a
  byte is sent.
- Wrong arguments raise, before anything is sent. The trouble of the gateway and of the network is a result.
- Cancelling a call re-raises, always; a batch, which owns its tasks, gets a result instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from ._attempts import Call, Operation
from ._batch import HALT_ON, Batch
from ._calls import Caller
from ._error_ids import ErrorId
from ._errors import ClientClosed, InvalidConfiguration, InvalidRequest, wrong_type
from ._guard import SpendGuard
from ._lazy import Lazy, httpx
from ._numbers import LineTypes, checked_line_types, checked_region, number_reader, read_number
from ._optional import named_batch, store_session, watch_of, watched
from ._owner import Owner
from ._payloads import (
    PinParams,
    PinRequest,
    checked_idempotency_key,
    request_from,
)
from ._permits import Permits
from ._results import ApiError, BatchResult, Disposition, Ok, PinResult, Skipped, TransportFailure
from ._retry import RetryPolicy
from ._settings import (
    checked_concurrency,
    checked_cooldown,
    checked_deadline,
    checked_instance,
    checked_rate,
    checked_sender,
    checked_timeout,
    default_timeout,
    endpoint,
    read_api_key,
)
from ._sharing import Flight, Sharing
from ._sms import SENDER_EXPECTED
from ._source import Source
from ._verification import (
    VERIFY_PATH,
    NotVerified,
    Verified,
    VerifyResult,
    checked_pin,
    decode_verification,
)
from ._wire import REQUEST_PATH, decode
from .transports import Transport
from .transports._default import adapted, default_transport

if TYPE_CHECKING:
    from . import delivery, observers, stores
    from ._claims._session import Lease
else:
    delivery, observers, stores = Lazy(".delivery"), Lazy(".observers"), Lazy(".stores")

__all__ = ["Gateway360Client"]

_logger = logging.getLogger("gateway360_async")


class Gateway360Client:
    """Sends PIN requests to Gateway360. Use it as an async context manager, and keep one for all calls.

    A client belongs to the event loop, and the process, that use it first.

    Args:
        api_key: The account's key; `None`: the environment's `GATEWAY360_API_KEY`.
        sender: The sender of requests that name none.
        region: The region whose national numbers are understood, as an ISO 3166 code such as `"ES"`; `None`: numbers
            have to be international.
        line_types: `"sms"` refuses numbers of lines that receive no SMS, such as fixed lines; `"any"` accepts them.
        base_url: The gateway's URL; `None`: the environment's `GATEWAY360_BASE_URL`, or the vendor's.
        path_prefix: The path before `/2fa/request`. One of the vendor's examples has `/api/3.0`.
        transport: The way to the network; `None`: a `DirectTransport`, or an `HttpxTransport` where the environment
            names a proxy for the URL, and while httpx is mocked or instrumented in this process. The client closes
            it. A ready `httpx.AsyncClient` or `httpx2.AsyncClient` of yours is used as it is, and stays open.
        timeout: Bounds in seconds on each step of an attempt, as httpx names them; a number bounds
            connecting, writing and reading alike. `pool` bounds the wait for a place among `concurrency`.
            `None`: 5 to connect, 5 to write, 15 to read; the wait for a place, only the deadline bounds.
        limits: Bounds on the connections of the default transport. `max_connections` bounds
            `concurrency` as well, for nothing queues inside the connection pool.
        retry: When a call is tried again.
        deadline: Seconds that a call takes at most, over all attempts and waits.
        concurrency: Exchanges at a time, at most.
        rate: Requests that start per second at most, retries included; with a `store`, of all its clients. `None`: no
            bound. In any stretch of time there are at most those of its length and a few hundredths of a second more.
        limiter: An async context manager that is entered around each attempt besides, such as an
            `aiolimiter.AsyncLimiter`. Waiting for it counts towards the deadline. What it raises before the
            request's first byte is raised by the call; later, the call has a result all the same.
        cooldown: Seconds within which a repeat to the same number sends nothing, and gets the earlier result
            marked as `replayed`; `None`: off. What certainly was not sent may be repeated at once.
        guard: Where requests may go, and how many. One that it refuses is a `TransportFailure` of a kind of
            its own, `NOT_SENT`.
        observer: Who is told what the client does: an `Observer` of `gateway360_async.observers`, or a
            sequence of them. `GATEWAY360_LOG=info` (or `debug`) in the environment adds one that logs.
        reports: A `DeliveryReports` of `gateway360_async.delivery`: each request that names no `report_url`
            gets one of its own, so that `resolve` can learn what became of a lost answer.
        store: Where idempotency records live: a `SqliteStore`, `RedisStore` or `PostgresStore` of
            `gateway360_async.stores`. The `cooldown`, the `guard` and the `rate` are kept there then, for all clients of
            the store; a call can have an `idempotency_key`, and a batch a `name`. The client connects and closes it.
            `None`: this process only.
        allow_insecure: Allow plain `http://` to another machine: everybody on the way can read the key.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        sender: str | None = None,
        region: str | None = None,
        line_types: LineTypes = "sms",
        base_url: str | httpx.URL | None = None,
        path_prefix: str = "/api",
        transport: Transport | httpx.AsyncClient | None = None,
        timeout: httpx.Timeout | float | None = None,
        limits: httpx.Limits | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen and without state
        deadline: float = 30.0,
        concurrency: int = 100,
        rate: float | None = None,
        limiter: AbstractAsyncContextManager[Any] | None = None,
        cooldown: float | None = None,
        guard: SpendGuard | None = None,
        observer: observers.Observer | Sequence[observers.Observer] | None = None,
        reports: delivery.DeliveryReports | None = None,
        store: stores.Store | None = None,
        allow_insecure: bool = False,
    ) -> None:
        # First, so that a client whose settings are refused below still has a `repr`, for the traceback.
        self._closed = False
        self._url = ""
        self._concurrency = 0
        self._transport: Transport | None = None
        self._owner = Owner("client")
        key = read_api_key(api_key)
        # Gone before anything can raise with this frame, and so with this variable, in its traceback.
        del api_key
        if isinstance(key, InvalidConfiguration):
            raise key
        self._api_key = key
        self._sender = checked_sender(sender)
        self._reader = number_reader(checked_region(region), checked_line_types(line_types))
        self._url = endpoint(base_url, path_prefix, REQUEST_PATH, allow_insecure=allow_insecure)
        verify_url = endpoint(base_url, path_prefix, VERIFY_PATH, allow_insecure=allow_insecure)
        self._timeout = default_timeout() if timeout is None else checked_timeout(timeout)
        self._deadline = checked_deadline(deadline)
        self._concurrency = checked_concurrency(concurrency)
        checked_instance("retry", retry, RetryPolicy, "a RetryPolicy")
        if limiter is not None:
            checked_instance("limiter", limiter, AbstractAsyncContextManager, "an async context manager")
        if guard is not None:
            checked_instance("guard", guard, SpendGuard, "a SpendGuard")
        if reports is not None and not callable(getattr(reports, "url_for", None)):
            problem = f"is of type {type(reports).__name__}"
            raise InvalidConfiguration("reports", problem, "a DeliveryReports of gateway360_async.delivery")
        watch = watch_of(observer)
        cooldown = None if cooldown is None else checked_cooldown(cooldown)
        rate = None if rate is None else checked_rate(rate)
        session = self._store = store_session(
            store,
            url=self._url,
            api_key=key,
            deadline=self._deadline,
            guard=guard,
            cooldown=cooldown,
            rate=rate,
        )
        if session is not None:
            guard, cooldown = None, None
        self._permits = None
        if rate is not None:
            self._permits = Permits(rate, None if session is None else session.permits)
        if transport is None:
            transport, self._concurrency = default_transport(self._url, limits, self._concurrency)
        else:
            transport = adapted(transport, limits)
        self._transport = transport
        caller = Caller(
            api_key=key,
            transport=transport,
            policy=retry,
            limiter=limiter,
            concurrency=self._concurrency,
            deadline=self._deadline,
            guard=guard,
            cooldown=cooldown,
            reports=reports,
            permits=self._permits,
            store=session,
        )
        self._reports = reports
        self._request_pin = Operation("request_pin", self._url, decode)
        self._verify_pin: Operation[Verified | NotVerified] = Operation(
            "verify_pin", verify_url, decode_verification, once=True
        )
        self._sharing = Sharing(caller)
        self._watched = None if watch is None else watched(self._sharing, watch)
        self._sending = self._watched or self._sharing

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Gateway360Client {self._url} concurrency={self._concurrency} transport={self._transport!r} {state}>"

    async def __aenter__(self) -> Self:
        self._require_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse new calls, wait for those in flight (each has its deadline), and close the connections.

        Raises:
            WrongEventLoop: This is not the event loop, or the process, that uses the client.
        """
        self._owner.require()
        self._closed = True
        await self._sharing.aclose()

    async def request_pin(
        self,
        msisdn: str,
        *,
        sender: str | None = None,
        hlr_lookup: bool | int = True,
        sms_text: str | None = None,
        report_url: str | None = None,
        pin_params: PinParams | Mapping[str, object] | None = None,
        timeout: httpx.Timeout | float | None = None,
        deadline: float | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> PinResult:
        """Send one SMS with a PIN to one number, at most once.

        Args:
            msisdn: The number as it was typed, in international format or as in the client's `region`.
            sender: The sender that the phone shows; `None`: the client's.
            hlr_lookup: Whether the number is looked up in the operator's register first.
            sms_text: The text, with `{PIN}` exactly once; `None`: the vendor's.
            report_url: Where the vendor POSTs delivery reports; `None`: to the client's `reports`, if it has
                any.
            pin_params: What the PIN is like; `None`: the gateway's defaults.
            timeout: Bounds in seconds on each step of an attempt; `None`: the client's.
            deadline: Seconds that this call takes at most; `None`: the client's.
            force: Send even within the client's `cooldown`, and beside an identical request on its way.
            idempotency_key: The name of this wish to send, in the client's `store`. A later call with it, in any process,
                gets the result of the first, marked as `replayed`, or learns that it may have been sent. A request that
                was not sent for a passing reason may be asked for again.

        Returns:
            What happened. The trouble of the gateway and of the network is returned, never raised.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            ClientClosed: The client was closed; nothing was sent.
            WrongEventLoop: The client belongs to another event loop or process; nothing was sent.
        """
        try:
            if sender is None and self._sender is None:
                problem = "is missing, and the client has no default"
                raise InvalidRequest("sender", problem, SENDER_EXPECTED)
            request = PinRequest(
                read_number(self._reader, msisdn),
                self._sender if sender is None else sender,  # type: ignore[arg-type]  # one of the two is there
                hlr_lookup=hlr_lookup,
                sms_text=sms_text,
                report_url=report_url,
                pin_params=pin_params,
                line_types=self._reader.line_types,
            )
        finally:
            del msisdn  # whatever is raised from here on, a traceback with local variables does not show it
        key = None if idempotency_key is None else self._checked_key(idempotency_key)
        return await self._sending.send(self._begin(request, timeout, deadline, force=force, key=key))

    async def send(
        self,
        request: PinRequest,
        *,
        timeout: httpx.Timeout | float | None = None,
        deadline: float | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> PinResult:
        """Send a ready request. See `request_pin`."""
        if not isinstance(request, PinRequest):  # pyright: ignore[reportUnnecessaryIsInstance]  # users without a type checker
            error = wrong_type("request", request, "a PinRequest; request_pin() takes its fields")
            del request  # a number, mostly: no traceback with local variables shows it
            raise error
        key = None if idempotency_key is None else self._checked_key(idempotency_key)
        return await self._sending.send(self._begin(request, timeout, deadline, force=force, key=key))

    @property
    def store(self) -> stores.Store | None:
        """The store that this client was given; `None`: it remembers for this process only."""
        return None if self._store is None else self._store.store

    async def connect(self) -> None:
        """Open the client's store eagerly and check it, as a worker does before it takes tasks. Otherwise a call does.

        Raises:
            StoreError: The store cannot be used; `.passing` says whether it may be in a moment.
            InvalidConfiguration: It is set up in a way that cannot keep the promise.
        """
        self._require_open()
        if self._store is not None:
            await self._store.keys()

    async def verify_pin(
        self,
        msisdn: str,
        pin: str,
        *,
        timeout: httpx.Timeout | float | None = None,
        deadline: float | None = None,
    ) -> VerifyResult:
        """Ask whether a PIN is the one that a number was sent. Each failed try counts towards `max_tries`.

        PROVISIONAL: the vendor publishes the request, and of the answer only what its fields are about. An
        answer that does not say clearly whether the PIN is right is a `TransportFailure` of the kind
        `UNREADABLE`, never a success; `.raw` has what came.

        Never repeated after its first byte. A result's `.disposition` is about the try here: whether the
        gateway judged it (`SENT`), did not (`NOT_SENT`), or may have (`MAYBE_SENT`).

        Args:
            msisdn: The number as it was typed, read as `request_pin` reads it.
            pin: The PIN as the person typed it.
            timeout: Bounds in seconds on each step of an attempt; `None`: the client's.
            deadline: Seconds that this call takes at most; `None`: the client's.

        Returns:
            `Verified`, `NotVerified`, or why nobody knows.

        Raises:
            InvalidRequest: An argument is wrong; nothing was sent.
            ClientClosed: The client was closed; nothing was sent.
            WrongEventLoop: The client belongs to another event loop or process; nothing was sent.
        """
        try:
            loop, seconds, bounds = self._bounds(timeout, deadline)
            call: Call[Verified | NotVerified] = Call(
                loop,
                loop.time(),
                seconds,
                self._verify_pin,
                read_number(self._reader, msisdn),
                bounds,
                pin=checked_pin(pin),
            )
        finally:
            del msisdn, pin  # whatever is raised, a traceback with local variables does not show them
        return await self._sending.verify(call)

    @overload
    async def resolve(self, result: PinResult, *, timeout: float) -> PinResult: ...

    @overload
    async def resolve(self, result: BatchResult, *, timeout: float) -> BatchResult: ...

    async def resolve(self, result: BatchResult, *, timeout: float) -> BatchResult:
        """Wait for the delivery report of what may have been sent: it says that it was.

        The client has to have `reports`, and the application a route that hands over what comes to it. An
        operator's report can take from seconds to 48 hours, so that one does not come says nothing.

        Args:
            result: A result that is `MAYBE_SENT`. Any other is known, and given back at once.
            timeout: Seconds to wait at most.

        Returns:
            An `Ok` with the `.sms_id`, if a report came; otherwise `result` itself. At once where it has no
            `.report_id`: its request named a `report_url`.

        Raises:
            InvalidRequest: That is no result, or no timeout.
            InvalidConfiguration: This client has no `reports`.
        """
        if not isinstance(result, (Ok, ApiError, TransportFailure, Skipped)):  # pyright: ignore[reportUnnecessaryIsInstance]
            error = wrong_type("result", result, "a result of this client; of a BatchItem, its .result")
            del result  # a number, perhaps
            raise error
        known = result.result if isinstance(result, Skipped) else result
        if known is None or isinstance(known, Ok) or known.disposition is not Disposition.MAYBE_SENT:
            return result
        if self._reports is None:
            expected = "a DeliveryReports of gateway360_async.delivery"
            raise InvalidConfiguration("reports", "is missing: without it, no report is asked for", expected)
        if known.report_id is None:
            return result
        report = await self._reports.wait(known.report_id, timeout)
        if report is None:
            return result
        return Ok(
            known.attempts,
            known.elapsed,
            replayed=known.replayed,
            report_id=known.report_id,
            sms_id=report.sms_id,
        )

    def batch(
        self,
        rows: Iterable[object] | AsyncIterable[object],
        *,
        name: str | None = None,
        concurrency: int | None = None,
        on_duplicate: Literal["skip", "send"] = "skip",
        halt_on: Collection[ErrorId | str] = HALT_ON,
        force: bool = False,
        resend_maybe_sent: bool = False,
    ) -> Batch:
        """Send many requests, and get each result as it comes. See `Batch`.

            async with client.batch(rows) as batch:
                async for item in batch:
                    print(item.index, item.result)
            print(batch.report)

        Args:
            rows: `PinRequest`s, numbers, or mappings of `PinRequest`'s fields, in any iterable or async iterable. It is
                read as workers become free, never ahead, and to its end: after a halt as well, when every row is skipped.
            name: The batch's name in the client's `store`: each number gets one SMS under it. After a crash the same
                rows go on where they stopped; several machines that send the same rows share the work.
            concurrency: Requests in flight at a time; `None`: the client's own bound, which holds anyhow.
            on_duplicate: `"skip"` sends to each number once; `"send"` lets a later PIN void an earlier.
            halt_on: The error ids after which nothing more is sent.
            force: Send even within the client's `cooldown`, and beside an identical request on its way.
            resend_maybe_sent: Send again what another run may have sent. Each can be a second SMS.

        Raises:
            InvalidConfiguration: An argument is wrong.
            StoreError: On entering the block, or while it runs: the store cannot be used.
        """
        try:
            source = rows if isinstance(rows, Source) else Source(rows)
        finally:
            del rows  # numbers, mostly: no traceback with local variables shows them
        bound = self._concurrency if concurrency is None else checked_concurrency(concurrency)
        # Otherwise the second of two would get the first one's SMS.
        share = on_duplicate == "skip" and not force and name is None

        def send(
            request: PinRequest, halted: Callable[[], bool], permit: float | None = None
        ) -> Awaitable[PinResult]:
            call = self._begin(request, None, None, halted, force=force)
            call.permit = permit
            return self._sending.settled(call, share=share)

        def send_leased(
            request: PinRequest, halted: Callable[[], bool], lease: Lease
        ) -> Awaitable[PinResult]:
            call = self._begin(request, None, None, halted, force=force, key=lease.claim.token)
            call.lease, call.permit = lease, lease.permit
            return self._sending.settled(call, share=False)

        named = None
        if name is not None:
            named = named_batch(
                name,
                self._store,
                send=send_leased,
                permits=self._permits,
                deadline=self._deadline,
                numbered=on_duplicate == "send",
                force=force,
                resend_maybe_sent=resend_maybe_sent,
                new_report_id=self._new_report_id,
            )
        elif resend_maybe_sent:
            problem = "is given to a batch without a name, which knows of no other run"
            raise InvalidConfiguration("resend_maybe_sent", problem, "a name, and a client with a store")
        return Batch(
            source,
            build=partial(request_from, sender=self._sender, reader=self._reader),
            send=send,
            cancel=self._sharing.cancel,
            named=named,
            progress=None if self._watched is None else self._watched.batch(),
            permits=self._permits,
            store_timeout=0.0 if self._store is None else self._store.store.timeout,
            on_duplicate=on_duplicate,
            halt_on=halt_on,
            concurrency=bound,
        )

    async def send_all(
        self,
        rows: Iterable[object] | AsyncIterable[object],
        *,
        name: str | None = None,
        concurrency: int | None = None,
        on_duplicate: Literal["skip", "send"] = "skip",
        halt_on: Collection[ErrorId | str] = HALT_ON,
        force: bool = False,
        resend_maybe_sent: bool = False,
    ) -> list[BatchResult]:
        """Send many requests, and get their results in the order of the rows. See `batch`.

        Where something is raised, an error of the input say, there is no list: use `batch` to have each
        result as it comes. The log then has the counts.
        """
        results: dict[int, BatchResult] = {}
        try:
            batch = self.batch(
                rows,
                name=name,
                concurrency=concurrency,
                on_duplicate=on_duplicate,
                halt_on=halt_on,
                force=force,
                resend_maybe_sent=resend_maybe_sent,
            )
        finally:
            del rows  # numbers, mostly: no traceback with local variables shows them
        try:
            async with batch:
                async for item in batch:
                    results[item.index] = item.result
        except BaseException:
            # The caller of an exception gets no list: what is known goes to the log.
            _logger.warning("send_all was broken off: %s", batch.report)
            raise
        return [results[index] for index in range(len(results))]

    def _new_report_id(self, request: PinRequest) -> str | None:
        """Make the id that ties a request to its delivery report, unless it asks for reports elsewhere."""
        return None if self._reports is None or request.report_url is not None else self._reports.new_id()

    def _checked_key(self, idempotency_key: str) -> str:
        if self._store is None:
            problem = "is given to a client without a store, which would forget it"
            raise InvalidRequest("idempotency_key", problem, "Gateway360Client(store=…), or no key")
        return checked_idempotency_key(idempotency_key)

    def _begin(
        self,
        request: PinRequest,
        timeout: httpx.Timeout | float | None,
        deadline: float | None,
        halted: Callable[[], bool] | None = None,
        *,
        force: bool = False,
        key: str | None = None,
    ) -> Flight:
        if timeout is None and deadline is None:  # as it mostly is
            loop, seconds, bounds = self._require_open(), self._deadline, self._timeout
        else:
            loop, seconds, bounds = self._bounds(timeout, deadline)
        return Flight(
            loop,
            loop.time(),
            seconds,
            self._request_pin,
            request.msisdn,
            bounds,
            halted,
            force,
            request=request,
            key=key,
        )

    def _bounds(
        self, timeout: httpx.Timeout | float | None, deadline: float | None
    ) -> tuple[asyncio.AbstractEventLoop, float, httpx.Timeout]:
        loop = self._require_open()
        try:
            seconds = self._deadline if deadline is None else checked_deadline(deadline)
            bounds = self._timeout if timeout is None else checked_timeout(timeout)
        except InvalidConfiguration as exc:  # one call's argument, not the client's setting
            raise InvalidRequest(exc.setting, exc.problem, exc.expected) from None
        return loop, seconds, bounds

    def _require_open(self) -> asyncio.AbstractEventLoop:
        loop = self._owner.require()
        if self._closed:
            raise ClientClosed
        return loop
