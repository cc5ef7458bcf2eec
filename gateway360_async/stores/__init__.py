"""Stores of idempotency records: in a file, in Redis, in PostgreSQL.

| store | for | extra |
|---|---|---|
| `SqliteStore(path)` | any number of processes on one machine | none |
| `RedisStore(url)` | machines that share a Redis | `redis` |
| `PostgresStore(dsn)` | machines that share a PostgreSQL | `postgres` |

All keep one contract, `Store`; `gateway360_async.testing.stores` is its conformance suite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .._exceptions import InvalidConfiguration, StoreError
from .._redaction import Secret
from ._base import Answer, Claim, Completion, Count, Identity, Record, State, Store

if TYPE_CHECKING:
    from ._postgres import PostgresStore
    from ._redis import RedisStore
    from ._sqlite import SqliteStore

__all__ = [
    "Answer",
    "Claim",
    "Completion",
    "Count",
    "Identity",
    "PostgresStore",
    "Record",
    "RedisStore",
    "SqliteStore",
    "State",
    "Store",
    "StoreError",
    "store_at",
]

_SCHEMES = {
    "sqlite": "SqliteStore",
    "redis": "RedisStore",
    "rediss": "RedisStore",
    "unix": "RedisStore",
    "postgres": "PostgresStore",
    "postgresql": "PostgresStore",
}
_MODULES = {"PostgresStore": "_postgres", "RedisStore": "_redis", "SqliteStore": "_sqlite"}


def __getattr__(name: str) -> Any:
    # Each store imports its own driver, and only where it is asked for.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def store_at(url: str, **settings: Any) -> Store:
    """Make the store of a URL or a file, as `gateway360 batch --store` does.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…` for a `RedisStore`; `postgres://…` or `postgresql://…` for a
            `PostgresStore`; any other text is the path of a `SqliteStore`'s file, with or without `sqlite://` before it.
        settings: Settings of the store.

    Raises:
        InvalidConfiguration: The URL or a setting is wrong.
        ImportError: The store's extra is not installed.
    """
    scheme, separator, rest = url.partition("://")
    name = _SCHEMES.get(scheme if separator else "sqlite")
    where = Secret(rest if separator and name == "SqliteStore" else url)
    del url, rest  # no traceback with local variables shows a password
    if name is None:
        problem = f"begins with {scheme}://"
        raise InvalidConfiguration(
            "store", problem, "a file, or redis://…, rediss://…, unix://… or postgresql://…"
        )
    store: Store = __getattr__(name)(where.reveal(), **settings)
    return store
