"""Where idempotency records live: in a file, in Redis, in PostgreSQL.

| store | for | extra |
|---|---|---|
| `SqliteStore(path)` | any number of processes on one machine | none |
| `RedisStore(url)` | machines that share a Redis | `redis` |
| `PostgresStore(dsn)` | machines that share a PostgreSQL | `postgres` |

All keep one contract, `Store`; `gateway360_async.testing.stores` is its conformance suite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._errors import StoreError
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
]

_MODULES = {"PostgresStore": "_postgres", "RedisStore": "_redis", "SqliteStore": "_sqlite"}


def __getattr__(name: str) -> Any:
    # Each store imports its own driver, and only where it is asked for.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
