"""The durable memory of a batch: what it meant to send, and what became of it.

    async with client.batch(requests, ledger=SqliteLedger("welcome.ledger")) as batch:
        async for item in batch: ...

`SqliteLedger` keeps it in a file, `RedisLedger` (extra `redis`) in Redis, for several machines; `Ledger` is the port for
another store.
"""

from typing import TYPE_CHECKING, Any

from ._base import Ledger, LedgerScope, LedgerSession, Recorded
from ._recorder import Recorder
from ._sqlite import SqliteLedger

if TYPE_CHECKING:
    from ._redis import RedisLedger

__all__ = ["Ledger", "LedgerScope", "LedgerSession", "Recorded", "Recorder", "RedisLedger", "SqliteLedger"]


def __getattr__(name: str) -> Any:
    if name != "RedisLedger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ._redis import RedisLedger  # noqa: PLC0415  # an extra, which may be missing
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != "redis":
            raise
        raise ImportError(f"RedisLedger needs {exc.name}: install gateway360-async[redis]") from exc
    return RedisLedger
