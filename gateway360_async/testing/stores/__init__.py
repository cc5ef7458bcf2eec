"""The conformance suite of stores: the rules that keep one call at most one SMS.

A store of yours, a fourth beside `SqliteStore`, `RedisStore` and `PostgresStore`, keeps the promise where it passes:

    # test_my_store.py
    import pytest
    from my_store import MyStore

    from gateway360_async.testing.stores import StoreConformance


    class TestMyStore(StoreConformance):
        @pytest.fixture(autouse=True)
        def place(self, tmp_path):
            self.path = tmp_path / "records"

        def make_store(self, *, namespace="gateway360"):
            return MyStore(self.path, namespace=namespace)

        def factory(self):  # for the races of real processes
            return ("my_store:MyStore", str(self.path))

Needs pytest; any plugin for asyncio, or none. Tests that need a missing hook are skipped and say which:

| hook | for |
|---|---|
| `make_store` | all tests |
| `factory` | races of processes, and processes that are killed at any moment |
| `advance` | a clock that can be put forward: without it, the tests wait for leases of a fraction of a second |
| `restart` | a service that ends, and comes back with its data or without |
| `lose_answers` | steps that were done, and whose answers were lost |
| `fill`, `make_room` | a full disk or memory |
| `deny` | missing rights |

No test expects a moment: what ends has to end by the store's own clock, and races are decided by what was granted.

`MemoryStore` is the smallest store that passes, and the model that the others are compared with.
"""

from __future__ import annotations

import pytest

# An assert that fails shows what it compared, as those of a test module do.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in ("_bench", "_cooldowns", "_limits", "_model", "_places", "_races", "_records")
    )
)

from .._memory_store import Memory, MemoryStore  # noqa: E402
from ._cooldowns import CooldownRules  # noqa: E402
from ._limits import CountRules, PermitRules  # noqa: E402
from ._model import ModelRules  # noqa: E402
from ._places import FaultRules, PlaceRules  # noqa: E402
from ._races import RaceRules  # noqa: E402
from ._records import RecordRules  # noqa: E402

__all__ = ["Memory", "MemoryStore", "StoreConformance"]


class StoreConformance(
    RecordRules, CooldownRules, CountRules, PermitRules, PlaceRules, FaultRules, RaceRules, ModelRules
):
    """The rules of a store. Derive a test class from it, and fill in its hooks."""
