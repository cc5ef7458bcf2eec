"""The making of a batch: with a name or without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .._config import checked_concurrency
from .._exceptions import InvalidConfiguration, InvalidRequest
from .._models import PinRequest, checked_idempotency_key
from .._operations import REQUEST_PIN
from .._results import PinResult
from .._runner._core import ClientCore
from ._batch import Batch
from ._input import InputReader

if TYPE_CHECKING:
    from .._runner._session import Lease

__all__ = ["make_batch"]


def make_batch(
    core: ClientCore,
    reader: InputReader,
    *,
    name: str | None,
    concurrency: int | None,
    force: bool,
    resend_maybe_sent: bool,
    **settings: Any,
) -> Batch:
    """Make a batch of a client. The arguments are those of `Gateway360Client.batch` and of `Batch`.

    Raises:
        InvalidConfiguration: An argument is wrong.
    """
    flight = core.single_flight
    settings |= {
        "cancel": flight.cancel,
        "permits": core.permits,
        "store_timeout": 0.0 if core.session is None else core.session.store.timeout,
        "concurrency": core.concurrency if concurrency is None else checked_concurrency(concurrency),
    }
    numbered = settings["on_duplicate"] == "send"
    if core.notifier is not None:
        from ..observers._events import BatchEvents  # noqa: PLC0415  # for clients that have observers

        settings["progress"] = BatchEvents(core.notifier)
    if name is None:
        if resend_maybe_sent:
            problem = "is given to a batch without a name, which knows of no other run"
            raise InvalidConfiguration("resend_maybe_sent", problem, "a name, and a client with a store")
        # Otherwise the second of two would get the first one's SMS.
        share = not (numbered or force)

        def send(
            request: PinRequest, is_halted: Callable[[], bool], permit: float | None
        ) -> Awaitable[PinResult]:
            call = core.begin(REQUEST_PIN, request, force=force)
            call.is_halted, call.permit = is_halted, permit
            return flight.send_in_batch(call, share=share)

        return Batch(reader, send=send, **settings)
    try:
        name = checked_idempotency_key(name)
    except InvalidRequest as exc:
        raise InvalidConfiguration("name", exc.problem, exc.expected) from None
    if core.session is None:
        problem = "is given to a client without a store, which would forget the batch"
        raise InvalidConfiguration("name", problem, "Gateway360Client(store=…), or no name")
    from ._named import NamedBatch  # noqa: PLC0415  # for clients with a store
    from ._rows import RowClaims  # noqa: PLC0415

    def send_leased(request: PinRequest, is_halted: Callable[[], bool], lease: Lease) -> Awaitable[PinResult]:
        call = core.begin(REQUEST_PIN, request, force=force, key=lease.claim.token)
        call.is_halted, call.lease, call.permit = is_halted, lease, lease.permit
        return flight.send_in_batch(call, share=False)

    rows = RowClaims(
        name,
        core.session,
        permits=core.permits,
        deadline=core.deadline,
        numbered=numbered,
        force=force,
        resend_maybe_sent=resend_maybe_sent,
        new_report_id=core.runner.new_report_id,
    )
    return NamedBatch(reader, rows=rows, send=send_leased, **settings)
