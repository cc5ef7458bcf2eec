"""The parts of a client that it has only where its caller asks for them: made, and imported, then.

Why: a ledger brings sqlite3 or redis, observers and a fleet what they need, and most clients have none of them.

Rules of this module:

- What is handed in is checked before anything is made of it: an error names the argument, and says what is right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from ._errors import InvalidConfiguration
from ._guard import SpendGuard
from ._payloads import PinRequest
from ._results import PinResult
from ._secret import Secret
from ._settings import checked_instance, read_log_level
from ._sharing import Sharing

if TYPE_CHECKING:
    from ._watched import Watched
    from .fleet import Dispatcher, Fleet, FleetQueue, FleetSession
    from .ledgers import Ledger, Recorder
    from .observers import Observer, Watch

__all__ = ["dispatcher", "fleet_session", "recorder", "watch_of", "watched"]


def watch_of(observer: Observer | Sequence[Observer] | None) -> Watch | None:
    """Make what tells observers; `None`: there are none, here or in the environment."""
    if observer is None and read_log_level() is None:
        return None
    from .observers import observer_from_environment, watch  # noqa: PLC0415

    return watch(observer, observer_from_environment())


def watched(sharing: Sharing, watch: Watch) -> Watched:
    """Make what sends for those who watch."""
    from ._watched import Watched  # noqa: PLC0415

    return Watched(sharing, watch)


def fleet_session(
    fleet: Fleet | None,
    *,
    gateway_url: str,
    api_key: Secret,
    deadline: float,
    limiter: AbstractAsyncContextManager[Any] | None,
    guard: SpendGuard | None,
    cooldown: float | None,
) -> FleetSession | None:
    """Make a client's part of its fleet, if it has one. Raises `InvalidConfiguration`."""
    if fleet is None:
        return None
    if not callable(getattr(fleet, "session", None)):
        problem = f"is of type {type(fleet).__name__}"
        raise InvalidConfiguration("fleet", problem, "a Fleet of gateway360_async.fleet")
    alone = () if guard is None else ("per_number", "attempts_per_number", "attempts")
    for name in alone:
        if getattr(guard, name) is not None:
            problem = f"has {name}, which a fleet does not count: each of its processes would allow as many"
            raise InvalidConfiguration(
                "guard", problem, f"a SpendGuard without {name}, or a client without a fleet"
            )
    if fleet.rate is not None and limiter is not None:
        raise InvalidConfiguration("limiter", "is given beside a fleet with a rate", "one of the two")
    return fleet.session(
        gateway_url=gateway_url, api_key=api_key, deadline=deadline, guard=guard, cooldown=cooldown
    )


def dispatcher(
    queue: FleetQueue, session: FleetSession | None, ledger: Ledger | None, *, resend_unknown: bool
) -> Dispatcher:
    """Make what hands a batch's entries to a queue. Raises `InvalidConfiguration`."""
    from .fleet import Dispatcher, FleetQueue  # noqa: PLC0415

    checked_instance("queue", queue, FleetQueue, "a FleetQueue of gateway360_async.fleet")
    if session is None:
        raise InvalidConfiguration(
            "queue", "is given to a client without a fleet", "Gateway360Client(fleet=…)"
        )
    if ledger is not None:
        raise InvalidConfiguration("ledger", "is given beside a queue", "none: the fleet's records are one")
    if resend_unknown:
        problem = "is given beside a queue, whose workers send each entry once"
        raise InvalidConfiguration(
            "resend_unknown", problem, "a batch of another name for what is to be sent again"
        )
    return Dispatcher(queue, session)


def recorder(
    ledger: Ledger,
    gateway_url: str,
    api_key: Secret,
    deadline: float,
    send: Callable[[PinRequest, Callable[[], bool]], Awaitable[PinResult]],
    *,
    resend_unknown: bool,
) -> Recorder:
    """Make a batch's way to its ledger. Raises `InvalidConfiguration`."""
    from .ledgers import LedgerScope, Recorder  # noqa: PLC0415

    if not callable(getattr(ledger, "open", None)):
        problem = f"is of type {type(ledger).__name__}"
        raise InvalidConfiguration("ledger", problem, "a Ledger, such as a SqliteLedger")
    scope = LedgerScope(gateway_url, api_key, deadline)
    return Recorder(ledger, scope, send, resend_unknown=resend_unknown)
