"""The parts of a client that it has only where its caller asks for them: made, and imported, then.

Why: a store and observers bring what they need, and most clients have none of them.

Rules of this module:

- What is handed in is checked before anything is made of it: an error names the argument, and says what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._errors import InvalidConfiguration, InvalidRequest
from ._guard import SpendGuard
from ._payloads import checked_idempotency_key
from ._secret import Secret
from ._settings import checked_instance, read_log_level
from ._sharing import Sharing

if TYPE_CHECKING:
    from ._claims._named import NamedBatch
    from ._claims._session import StoreSession
    from ._watched import Watched
    from .observers import Observer, Watch
    from .stores import Store

__all__ = ["named_batch", "store_session", "watch_of", "watched"]


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


def store_session(
    store: Store | None,
    *,
    url: str,
    api_key: Secret,
    deadline: float,
    guard: SpendGuard | None,
    cooldown: float | None,
    rate: float | None,
) -> StoreSession | None:
    """Make a client's part of its store, if it has one. Raises `InvalidConfiguration`."""
    if store is None:
        return None
    from ._claims._session import StoreSession  # noqa: PLC0415
    from .stores import Store as StoreClass  # noqa: PLC0415

    expected = "a SqliteStore, RedisStore or PostgresStore of gateway360_async.stores"
    checked_instance("store", store, StoreClass, expected)
    return StoreSession(
        store, url=url, api_key=api_key, deadline=deadline, guard=guard, cooldown=cooldown, rate=rate
    )


def named_batch(name: str, session: StoreSession | None, **settings: Any) -> NamedBatch:
    """Make a batch's way to its store. Raises `InvalidConfiguration`."""
    try:
        checked = checked_idempotency_key(name)
    except InvalidRequest as exc:
        raise InvalidConfiguration("name", exc.problem, exc.expected) from None
    if session is None:
        problem = "is given to a client without a store, which would forget the batch"
        raise InvalidConfiguration("name", problem, "Gateway360Client(store=…), or no name")
    from ._claims._named import NamedBatch  # noqa: PLC0415

    return NamedBatch(checked, session, **settings)
