"""The client: its settings, its lifetime, and the ways to send.

Invariants:

- A client belongs to the event loop, and the process, that use it first; any other is refused before a byte is sent.
- Wrong arguments raise, before anything is sent. The trouble of the gateway and of the network is a result.
- Cancelling a call re-raises, always; a batch, which owns its tasks, gets a result instead.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from ._batch import HALT_ON, Batch, InputReader
from ._batch._open import make_batch
from ._config import Lazy, checked_sender, httpx, read_api_key
from ._exceptions import InvalidConfiguration, InvalidRequest, wrong_type
from ._guard import SpendGuard
from ._models import SENDER_EXPECTED, PinParams, PinRequest, request_from
from ._numbers import LineTypes, checked_line_types, checked_region, number_reader, read_number
from ._operations import REQUEST_PIN, VERIFY_PIN, PinCheck, VerifyResult, checked_pin
from ._results import BatchResult, ErrorId, PinResult
from ._retry import RetryPolicy
from ._runner._core import ClientCore
from .transports import Transport

if TYPE_CHECKING:
    from . import delivery, observers, stores
else:
    delivery, observers, stores = Lazy(".delivery"), Lazy(".observers"), Lazy(".stores")

__all__ = ["Gateway360Client"]

_logger = logging.getLogger("gateway360_async")


class Gateway360Client:
    """A client of Gateway360's Request PIN. Use it as an async context manager, one for all calls.

    Args:
        api_key: The account's key; `None`: the environment's `GATEWAY360_API_KEY`.
        sender: The sender of requests that name none.
        region: The region whose national numbers are understood, as an ISO 3166 code such as `"ES"`; `None`: no region.
        line_types: `"sms"` refuses numbers of lines that receive no SMS, such as fixed lines; `"any"` accepts them.
        base_url: The gateway's URL; `None`: the environment's `GATEWAY360_BASE_URL`, or the vendor's.
        path_prefix: The path before `/2fa/request`. One of the vendor's examples has `/api/3.0`.
        transport: The way to the network; `None`: a `DirectTransport`, or an `HttpxTransport` where the environment
            names a proxy for the URL, and while httpx is mocked or instrumented in this process. The client closes
            it. A ready `httpx.AsyncClient` or `httpx2.AsyncClient` of yours is used as it is, and stays open.
        timeout: Bounds in seconds on each step of an attempt, as httpx names them; a number bounds connecting, writing
            and reading alike. `pool` bounds the wait for one of `concurrency`. `None`: 5 to connect, 5 to write, 15 to
            read; only the deadline bounds the wait.
        limits: Bounds on the connections of the default transport. `max_connections` bounds `concurrency` as well, for
            nothing queues inside the connection pool.
        retry: When a call is tried again.
        deadline: Seconds that a call takes at most, over all attempts and waits.
        concurrency: Exchanges at a time, at most.
        rate: Requests that start per second at most, retries included; with a `store`, of all its clients. `None`: no
            bound. In any stretch of time there are at most those of its length and a few hundredths of a second more.
        limiter: An async context manager that is entered around each attempt besides, such as an
            `aiolimiter.AsyncLimiter`. Waiting for it counts towards the deadline. An exception that it raises before
            the request's first byte is raised by the call; later, the call has a result all the same.
        cooldown: Seconds within which a repeat to the same number sends nothing, and gets the earlier result
            marked as `replayed`; `None`: off. A request that certainly was not sent may be repeated at once.
        guard: Limits on where requests may go, and how many. One that it refuses is `NOT_SENT`, of a kind of its own.
        observer: Is told of each call and batch: an `Observer` of `gateway360_async.observers`, or a sequence of
            them. `GATEWAY360_LOG=info` (or `debug`) in the environment adds one that logs.
        reports: A `DeliveryReports` of `gateway360_async.delivery`: each request that names no `report_url`
            gets one of its own, so that `resolve` can learn what became of a lost answer.
        store: Keeps idempotency records, and the `cooldown`, `guard` and `rate` of all its clients: a `SqliteStore`,
            `RedisStore` or `PostgresStore` of `gateway360_async.stores`. A call can have an `idempotency_key` then, and
            a batch a `name`. The client connects and closes it. `None`: this process only.
        allow_insecure: Allow plain `http://` to another machine: each machine on the way can read the key.

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
        key = read_api_key(api_key)
        # Gone before anything can raise with this frame, and so with this variable, in its traceback.
        del api_key
        if isinstance(key, InvalidConfiguration):
            raise key
        self._sender = checked_sender(sender)
        self._reader = number_reader(checked_region(region), checked_line_types(line_types))
        self._core = ClientCore(
            key,
            base_url=base_url,
            path_prefix=path_prefix,
            transport=transport,
            timeout=timeout,
            limits=limits,
            retry=retry,
            deadline=deadline,
            concurrency=concurrency,
            rate=rate,
            limiter=limiter,
            cooldown=cooldown,
            guard=guard,
            observer=observer,
            reports=reports,
            store=store,
            allow_insecure=allow_insecure,
        )

    def __repr__(self) -> str:
        core: ClientCore | None = getattr(self, "_core", None)
        if core is None:  # a setting was refused, and a traceback shows this
            return "<Gateway360Client>"
        state = "closed" if core.closed else "open"
        return f"<Gateway360Client {core.url} concurrency={core.concurrency} transport={core.transport!r} {state}>"

    async def __aenter__(self) -> Self:
        self._core.require_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Refuse new calls, wait for those in flight (each has its deadline), and close the connections.

        Raises:
            WrongEventLoop: Another event loop, or process, uses the client.
        """
        await self._core.aclose()

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
            report_url: The URL that the vendor POSTs delivery reports to; `None`: the client's `reports`, if any.
            pin_params: The PIN's kind, length and life; `None`: the gateway's defaults.
            timeout: Bounds in seconds on each step of an attempt; `None`: the client's.
            deadline: Seconds that this call takes at most; `None`: the client's.
            force: Send even within the client's `cooldown`, and beside an identical request on its way.
            idempotency_key: The name of this one request in the client's `store`. A later call with it, in any process,
                gets the result of the first, marked as `replayed`, or learns that it may have been sent. A request that
                was not sent for a passing reason may be asked for again.

        Returns:
            The result. The trouble of the gateway and of the network is returned, never raised.

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
        core = self._core
        key = core.checked_key(idempotency_key)
        return await core.single_flight.send(
            core.begin(REQUEST_PIN, request, timeout, deadline, force=force, key=key)
        )

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
        core = self._core
        key = core.checked_key(idempotency_key)
        return await core.single_flight.send(
            core.begin(REQUEST_PIN, request, timeout, deadline, force=force, key=key)
        )

    @property
    def store(self) -> stores.Store | None:
        """The store that this client was given; `None`: it remembers for this process only."""
        return None if self._core.session is None else self._core.session.store

    async def connect(self) -> None:
        """Open the client's store eagerly and check it, as a worker does before it takes tasks. Otherwise a call does.

        Raises:
            StoreError: The store cannot be used; `.passing` says whether it may be in a moment.
            InvalidConfiguration: It is set up in a way that cannot keep the promise.
        """
        self._core.require_open()
        if self._core.session is not None:
            await self._core.session.keys()

    async def verify_pin(
        self,
        msisdn: str,
        pin: str,
        *,
        timeout: httpx.Timeout | float | None = None,
        deadline: float | None = None,
    ) -> VerifyResult:
        """Ask whether a PIN is the one that a number was sent. Each failed try counts towards `max_tries`.

        PROVISIONAL: the vendor publishes the request, and only the meaning of the answer's fields. An answer that does
        not say clearly whether the PIN is right is a `TransportFailure` of the kind `UNREADABLE`, never a success;
        `.raw` has the answer. Never repeated after its first byte. A result's `.disposition` is about the try here:
        whether the gateway judged it (`SENT`), did not (`NOT_SENT`), or may have (`MAYBE_SENT`).

        Args:
            msisdn: The number as it was typed, read as `request_pin` reads it.
            pin: The PIN as the person typed it.
            timeout: Bounds in seconds on each step of an attempt; `None`: the client's.
            deadline: Seconds that this call takes at most; `None`: the client's.

        Returns:
            `Verified`, `NotVerified`, or the reason why neither is known.

        Raises:
            InvalidRequest, ClientClosed, WrongEventLoop: As of `request_pin`; nothing was sent.
        """
        try:
            check = PinCheck(read_number(self._reader, msisdn), checked_pin(pin))
        finally:
            del msisdn, pin  # whatever is raised, a traceback with local variables does not show them
        call = self._core.begin(VERIFY_PIN, check, timeout, deadline)
        return cast("VerifyResult", await self._core.single_flight.send_alone(call))

    @overload
    async def resolve(self, result: PinResult, *, timeout: float) -> PinResult: ...

    @overload
    async def resolve(self, result: BatchResult, *, timeout: float) -> BatchResult: ...

    async def resolve(self, result: BatchResult, *, timeout: float) -> BatchResult:
        """Wait for the delivery report of an SMS that may have been sent: it says that it was.

        The client has to have `reports`, and the application a route that hands each report to it. An operator's report
        can take from seconds to 48 hours: its absence says nothing.

        Args:
            result: A result that is `MAYBE_SENT`. Any other is known, and given back at once.
            timeout: Seconds to wait at most.

        Returns:
            An `Ok` with the `.sms_id`, if a report came; otherwise `result` itself. At once where it has no
            `.report_id`: its request named a `report_url`.

        Raises:
            InvalidRequest, InvalidConfiguration: An argument is wrong; this client has no `reports`.
        """
        try:
            return await self._core.resolve(result, timeout)
        finally:
            del result  # a number, perhaps: no traceback with local variables shows it

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
            resend_maybe_sent: Send the rows again that another run may have sent. Each can be a second SMS.

        Raises:
            InvalidConfiguration: An argument is wrong.
            StoreError: On entering the block, or while it runs: the store cannot be used.
        """
        try:
            reader = rows if isinstance(rows, InputReader) else InputReader(rows)
        finally:
            del rows  # numbers, mostly: no traceback with local variables shows them
        return make_batch(
            self._core,
            reader,
            name=name,
            concurrency=concurrency,
            force=force,
            resend_maybe_sent=resend_maybe_sent,
            build=partial(request_from, sender=self._sender, reader=self._reader),
            on_duplicate=on_duplicate,
            halt_on=halt_on,
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
        """Send many requests, and return their results in the order of the rows. See `batch`.

        After an exception, such as an error of the input, there is no list, and the counts go to the log.
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
            _logger.warning("send_all was broken off: %s", batch.report)
            raise
        return [results[index] for index in range(len(results))]
