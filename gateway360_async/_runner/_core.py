"""The parts of a client, made of its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from .._aio import LoopAffinity
from .._config import (
    Lazy,
    checked_concurrency,
    checked_cooldown,
    checked_deadline,
    checked_instance,
    checked_rate,
    checked_timeout,
    default_timeout,
    endpoint,
    httpx,
    read_log_level,
)
from .._exceptions import ClientClosed, InvalidConfiguration, InvalidRequest, wrong_setting, wrong_type
from .._guard import SpendGuard
from .._models import checked_idempotency_key
from .._operations import OPERATIONS, REQUEST_PIN, Operation, Payload
from .._redaction import Secret
from .._results import ApiError, BatchResult, Disposition, Ok, Skipped, TransportFailure
from .._retry import RetryPolicy
from ..transports import Transport
from ..transports._default import adapted, default_transport
from ._admission import Admission, LocalAdmission
from ._call import InFlightCall
from ._permits import Permits
from ._runner import CallRunner
from ._singleflight import SingleFlight

if TYPE_CHECKING:
    from .. import delivery, observers, stores
    from ..observers._events import Notifier
    from ._session import StoreSession
else:
    delivery, observers, stores = Lazy(".delivery"), Lazy(".observers"), Lazy(".stores")

__all__ = ["ClientCore"]

_Request = TypeVar("_Request", bound=Payload)


class ClientCore:
    """The parts of a client. The arguments are those of `Gateway360Client`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        api_key: Secret,
        *,
        base_url: str | httpx.URL | None,
        path_prefix: str,
        transport: Transport | httpx.AsyncClient | None,
        timeout: httpx.Timeout | float | None,
        limits: httpx.Limits | None,
        retry: RetryPolicy,
        deadline: float,
        concurrency: int,
        rate: float | None,
        limiter: AbstractAsyncContextManager[Any] | None,
        cooldown: float | None,
        guard: SpendGuard | None,
        observer: observers.Observer | Sequence[observers.Observer] | None,
        reports: delivery.DeliveryReports | None,
        store: stores.Store | None,
        allow_insecure: bool,
    ) -> None:
        self._affinity = LoopAffinity("client")
        self.closed = False
        self._endpoints = {
            operation: operation.at(
                endpoint(base_url, path_prefix, operation.path, allow_insecure=allow_insecure), api_key
            )
            for operation in OPERATIONS
        }
        self.url = self._endpoints[REQUEST_PIN].url
        self._timeout = default_timeout() if timeout is None else checked_timeout(timeout)
        self.deadline = checked_deadline(deadline)
        self.concurrency = checked_concurrency(concurrency)
        checked_instance("retry", retry, RetryPolicy, "a RetryPolicy")
        if limiter is not None:
            checked_instance("limiter", limiter, AbstractAsyncContextManager, "an async context manager")
        if guard is not None:
            checked_instance("guard", guard, SpendGuard, "a SpendGuard")
        if reports is not None and not callable(getattr(reports, "url_for", None)):
            raise wrong_setting("reports", reports, "a DeliveryReports of gateway360_async.delivery")
        self.reports = reports
        self.notifier = _notifier_of(observer)
        cooldown = None if cooldown is None else checked_cooldown(cooldown)
        rate = None if rate is None else checked_rate(rate)
        self.session: StoreSession | None = None
        if store is not None:
            self.session = _session_of(
                store,
                url=self.url,
                api_key=api_key,
                deadline=self.deadline,
                guard=guard,
                cooldown=cooldown,
                rate=rate,
            )
        self.permits: Permits | None = None
        if rate is not None:
            self.permits = Permits(rate, None if self.session is None else self.session.permits)
        self._admission = self._admission_of(cooldown, guard)
        if transport is None:
            transport, self.concurrency = default_transport(self.url, limits, self.concurrency)
        else:
            transport = adapted(transport, limits)
        self.transport = transport
        self.runner = CallRunner(
            api_key=api_key,
            transport=transport,
            policy=retry,
            limiter=limiter,
            concurrency=self.concurrency,
            deadline=self.deadline,
            reports=reports,
            permits=self.permits,
            store=self.session,
        )
        self.single_flight = SingleFlight(self.runner, self.notifier)

    def _admission_of(self, cooldown: float | None, guard: SpendGuard | None) -> Admission | None:
        if self.session is not None:
            from ._store_admission import StoreAdmission  # noqa: PLC0415

            return StoreAdmission(self.session, self.permits)
        return None if cooldown is None and guard is None else LocalAdmission(cooldown, guard)

    def require_open(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop. Raise `WrongEventLoop` and `ClientClosed`."""
        loop = self._affinity.require()
        if self.closed:
            raise ClientClosed
        return loop

    async def aclose(self) -> None:
        """Refuse new calls, wait for those in flight, and close the connections. Raise `WrongEventLoop`."""
        self._affinity.require()
        self.closed = True
        await self.single_flight.aclose()

    def begin(
        self,
        operation: Operation[_Request],
        request: _Request,
        timeout: httpx.Timeout | float | None = None,
        deadline: float | None = None,
        *,
        force: bool = False,
        key: str | None = None,
    ) -> InFlightCall:
        """Begin a call.

        Args:
            operation: The operation.
            request: Its payload.
            timeout: Bounds each step of an attempt; `None`: the client's.
            deadline: Seconds that the call takes at most; `None`: the client's.
            force: Whether to send even within the cooldown, and beside an identical request.
            key: The idempotency key.

        Raises:
            InvalidRequest: An argument is wrong.
            ClientClosed: The client was closed.
            WrongEventLoop: The client belongs to another event loop or process.
        """
        loop = self.require_open()
        try:
            seconds = self.deadline if deadline is None else checked_deadline(deadline)
            bounds = self._timeout if timeout is None else checked_timeout(timeout)
        except InvalidConfiguration as exc:  # one call's argument, not the client's setting
            raise InvalidRequest(exc.setting, exc.problem, exc.expected) from None
        return InFlightCall(
            self._endpoints[operation],
            request,
            loop,
            loop.time(),
            seconds,
            bounds,
            key=key,
            force=force,
            admission=self._admission if operation.sends_sms else None,
        )

    async def resolve(self, result: BatchResult, timeout: float) -> BatchResult:
        """See `Gateway360Client.resolve`."""
        if not isinstance(result, (Ok, ApiError, TransportFailure, Skipped)):  # pyright: ignore[reportUnnecessaryIsInstance]
            error = wrong_type("result", result, "a result of this client; of a BatchItem, its .result")
            del result  # a number, perhaps
            raise error
        known = result.result if isinstance(result, Skipped) else result
        if known is None or isinstance(known, Ok) or known.disposition is not Disposition.MAYBE_SENT:
            return result
        reports = self.reports
        if reports is None:
            expected = "a DeliveryReports of gateway360_async.delivery"
            raise InvalidConfiguration("reports", "is missing: without it, no report is asked for", expected)
        if known.report_id is None:
            return result
        report = await reports.wait(known.report_id, timeout)
        if report is None:
            return result
        return Ok(
            known.attempts,
            known.elapsed,
            replayed=known.replayed or known is not result,  # of another run's row
            report_id=known.report_id,
            sms_id=report.sms_id,
        )

    def checked_key(self, idempotency_key: str | None) -> str | None:
        """Check a call's idempotency key. Raise `InvalidRequest`, also where there is no store to keep it."""
        if idempotency_key is None:
            return None
        if self.session is None:
            problem = "is given to a client without a store, which would forget it"
            raise InvalidRequest("idempotency_key", problem, "Gateway360Client(store=…), or no key")
        return checked_idempotency_key(idempotency_key)


def _notifier_of(
    observer: observers.Observer | Sequence[observers.Observer] | None,
) -> Notifier | None:
    """Make the notifier of observers; `None`: there are none, here or in the environment."""
    if observer is None and read_log_level() is None:
        return None  # the package is imported for clients that have observers
    from ..observers._events import notifier_of  # noqa: PLC0415
    from ..observers._logging import observer_from_environment  # noqa: PLC0415

    return notifier_of(observer, observer_from_environment())


def _session_of(store: object, **settings: Any) -> StoreSession:
    """Make a client's part of its store, whose modules are imported for clients that have one."""
    from ._session import StoreSession  # noqa: PLC0415

    expected = "a SqliteStore, RedisStore or PostgresStore of gateway360_async.stores"
    checked_instance("store", store, stores.Store, expected)
    return StoreSession(store, **settings)  # type: ignore[arg-type]  # it was checked
