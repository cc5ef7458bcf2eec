"""A store in memory whose steps a test can hold, fail, or let lose their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway360_async import StoreError
from gateway360_async.stores import Identity
from gateway360_async.testing._memory_store import Memory, MemoryStore

Hook = Callable[[Any], Awaitable[None]]

AWAY = StoreError("is away", "one that is there", passing=True)
BROKEN = StoreError("is broken", "one that works")


class ScriptedStore(MemoryStore):
    """Takes every step down, and lets hooks act before it is applied and before its answer is given.

    Args:
        memory: The place that it shares; `None`: one of its own.
        settings: As for every store.
    """

    def __init__(self, memory: Memory | None = None, **settings: Any) -> None:
        super().__init__(memory, **{"timeout": 0.0} | settings)
        self.asked: list[tuple[str, Any]] = []
        self.before: dict[str, Hook] = {}
        self.after: dict[str, Hook] = {}
        self.opened = 0
        self._changed = asyncio.Condition()

    def __repr__(self) -> str:
        return "ScriptedStore()"

    def of(self, name: str) -> list[Any]:
        """The items of all steps of a name, in the order of asking."""
        return [item for step, items in self.asked if step == name for item in items]

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so that steps change."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def check(self) -> list[str]:
        return []

    async def _open(self, known: Identity | None) -> Identity:
        identity = await self._step("open", (), lambda: super(ScriptedStore, self)._open(known))
        self.opened += 1
        return identity

    async def _close(self) -> None:
        self.opened = 0

    async def _step(self, name: str, items: Sequence[Any], step: Callable[[], Awaitable[Any]]) -> Any:
        self.asked.append((name, items))
        async with self._changed:
            self._changed.notify_all()
        if name in self.before:
            await self.before[name](items)
        answer = await step()
        if name in self.after:
            await self.after[name](items)
        return answer

    async def claim(self, claims):
        return await self._step("claim", claims, lambda: super(ScriptedStore, self).claim(claims))

    async def complete(self, completions):
        return await self._step(
            "complete", completions, lambda: super(ScriptedStore, self).complete(completions)
        )

    async def renew(self, claims):
        return await self._step("renew", claims, lambda: super(ScriptedStore, self).renew(claims))

    async def peek(self, records):
        return await self._step("peek", records, lambda: super(ScriptedStore, self).peek(records))

    async def permits(self, key, count, interval):
        step = super().permits
        return await self._step("permits", (count,), lambda: step(key, count, interval))

    async def header(self, key, value, *, replace=False):
        step = super().header
        return await self._step("header", (value,), lambda: step(key, value, replace=replace))


def failing(*errors: BaseException | None) -> Hook:
    """Raise each of these once (`None`: nothing), and the last ever after."""
    left = list(errors)

    async def hook(_items: Any) -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return hook


class Gate:
    """Holds steps until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, _items: Any) -> None:
        self.reached.set()
        await self.opened.wait()
