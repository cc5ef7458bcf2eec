"""The shared part of the conformance suite's tests: the hooks of a store under test, and how it is asked."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import wraps
from typing import Any, Final, NoReturn, TypeVar

import pytest

from ...stores import Answer, Claim, Completion, Count, Record, State, Store
from .._store_racer import hashed

__all__ = ["BRIEF", "GRAIN", "LONG", "Bench", "in_loops"]

BRIEF: Final = 0.02
"""Seconds that are over when `lapse` returns."""

LONG: Final = 3600.0
"""Seconds for longer than a test."""

GRAIN: Final = 0.002
"""Seconds to which a store's clock, and the times that it keeps, are exact."""

_T = TypeVar("_T")


def in_loops(cls: type[_T]) -> type[_T]:
    """Let each test of a class run in an event loop of its own, with any plugin for asyncio or none."""
    for name, test in list(vars(cls).items()):
        if name.startswith("test_") and inspect.iscoroutinefunction(test):
            setattr(cls, name, _in_a_loop(test))
    return cls


def _in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(self: Bench, **arguments: Any) -> None:
        async def body() -> None:
            async with AsyncExitStack() as self._opened:  # pyright: ignore[reportPrivateUsage]
                await test(self, **arguments)

        asyncio.run(body())

    return run


class Bench:
    """The hooks that a store's own test class fills in. Tests that need a missing one are skipped."""

    _opened: AsyncExitStack
    """Closed when the test ends."""

    _numbers = itertools.count(1)

    def make_store(self, *, namespace: str = "gateway360") -> Store:
        """Make a new store, not connected, of the same place. The place is new in each test."""
        raise NotImplementedError

    async def advance(self, store: Store, seconds: float) -> None:
        """Let seconds pass on a connected store's clock. Without this hook, they are waited for."""
        until = await store.now() + seconds
        while (left := until - await store.now()) > 0:  # noqa: ASYNC110  # no event tells the time of a store
            await asyncio.sleep(left)

    def factory(self) -> tuple[str, ...]:
        """Return `"module:function"` and its arguments: how another process makes a store of the same place."""
        self._skip("factory")

    async def restart(self, *, keep_data: bool) -> None:  # noqa: ARG002
        """End the service and start it again, or have the same effect. `keep_data`: it has its data again."""
        self._skip("restart")

    def lose_answers(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which steps are done, and their answers lost: calls raise `StoreError`."""
        self._skip("lose_answers")

    async def fill(self) -> None:
        """Use up the disk or the memory that the store needs, so that it can claim no more."""
        self._skip("fill")

    async def make_room(self) -> None:
        """Give back what `fill` used up."""
        self._skip("make_room")

    async def deny(self) -> Store:
        """Make a store of the same place that lacks the rights to use it."""
        self._skip("deny")

    def _skip(self, hook: str) -> NoReturn:
        pytest.skip(f"{type(self).__name__} has no hook {hook!r}")

    async def open(self, *, namespace: str = "gateway360") -> Store:
        """Make and connect a store, which is closed when the test ends."""
        store = self.make_store(namespace=namespace)
        await store.connect()
        self._opened.push_async_callback(store.aclose)
        return store

    def claim(self, name: str | None = None, **changes: Any) -> Claim:
        """Make a claim of a new token, with a record of this name where one is given.

        Args:
            name: The idempotency record's; `None`: it has none.
            changes: Fields of the claim, and `ttl` and `fingerprint` of its record. `cooldown` is a name or a record.
        """
        ttl, fingerprint = changes.pop("ttl", LONG), changes.pop("fingerprint", b"")
        fields: dict[str, Any] = {"token": f"token-{next(self._numbers)}", "lease": LONG} | changes
        if name is not None:
            fields["record"] = Record(hashed(name), ttl, fingerprint)
        if isinstance(fields.get("cooldown"), str):
            fields["cooldown"] = Record(hashed(fields["cooldown"]), ttl, forgets=True)
        return Claim(**fields)

    def count(self, name: str, most: int, window: float | None = None) -> Count:
        """Make a limit of this name."""
        return Count(hashed(name), most, window)

    async def ask(self, store: Store, claim: Claim) -> Answer:
        """Claim alone."""
        (answer,) = await store.claim([claim])
        return answer

    async def hold(self, store: Store, name: str | None = None, **changes: Any) -> Claim:
        """Claim, which has to be granted."""
        claim = self.claim(name, **changes)
        assert (await self.ask(store, claim)).state is State.CLAIMED
        return claim

    async def end(
        self, store: Store, claim: Claim, state: State, result: str = "result", **more: Any
    ) -> bool:
        """Complete alone."""
        completion = Completion(claim=claim, state=state, result=result, **more)
        (done,) = await store.complete([completion])
        return done

    async def look(self, store: Store, name: str) -> Answer:
        """Look at the record of this name."""
        (answer,) = await store.peek([Record(hashed(name), LONG)])
        return answer

    async def states(self, store: Store, *names: str) -> list[State]:
        """Look at the states of the records of these names."""
        answers = await store.peek([Record(hashed(name), LONG) for name in names])
        return [answer.state for answer in answers]

    async def lapse(self, store: Store) -> None:
        """Let all pass that is `BRIEF`, also a lease and then a ttl."""
        await self.advance(store, 2 * BRIEF + 2 * GRAIN)

    async def held(self, store: Store, name: str, state: State, **changes: Any) -> Claim:
        """Bring a record to this state: `IN_PROGRESS`, `COMPLETED`, or `IN_DOUBT` (with a result)."""
        claim = await self.hold(store, name, **changes)
        if state is not State.IN_PROGRESS:
            assert await self.end(store, claim, state, f"result of {name}")
        return claim

    async def lapsed(self, store: Store, name: str | None = None, **changes: Any) -> Claim:
        """Claim, and let the lease end without a result."""
        claim = await self.hold(store, name, lease=BRIEF, **changes)
        await self.lapse(store)
        return claim

    async def doubtful(self, store: Store, name: str, *, over: bool) -> Claim:
        """Bring a record in doubt: its lease is `over`, or it has a result."""
        return await (self.lapsed(store, name) if over else self.held(store, name, State.IN_DOUBT))

    async def ends_after(
        self,
        store: Store,
        seconds: float,
        begin: Callable[[], Awaitable[Any]],
        there: Callable[[], Awaitable[bool]],
    ) -> None:
        """Check that a thing that begins now is there for so many seconds by the store's clock, and then no more."""
        begun_after = await store.now()
        await begin()
        begun_before = await store.now()
        while True:
            asked_after = await store.now()
            is_there = await there()
            asked_before = await store.now()
            if not is_there:
                break
            assert asked_after <= begun_before + seconds + GRAIN, "it is there for too long"
            await self.advance(store, seconds / 4)
        assert asked_before >= begun_after + seconds - GRAIN, "it has ended too early"
