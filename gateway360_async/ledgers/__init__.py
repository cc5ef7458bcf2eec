"""The durable memory of a batch: what it meant to send, and what became of it.

    async with client.batch(requests, ledger=SqliteLedger("welcome.ledger")) as batch:
        async for item in batch: ...

`SqliteLedger` keeps it in a file; `Ledger` is the port for another store.
"""

from ._base import Ledger, LedgerScope, LedgerSession, Recorded
from ._recorder import Recorder
from ._sqlite import SqliteLedger

__all__ = ["Ledger", "LedgerScope", "LedgerSession", "Recorded", "Recorder", "SqliteLedger"]
