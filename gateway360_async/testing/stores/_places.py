"""The rules of a store's place: its identity, its namespaces, its headers, its troubles."""

from __future__ import annotations

import asyncio
import os
import re
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from itertools import pairwise
from operator import methodcaller
from typing import Any

import pytest

from ..._exceptions import InvalidConfiguration, StoreError, WrongEventLoop
from ...stores import Answer, Claim, Completion, Record, State, Store
from .._store_racer import hashed, until_there
from ._bench import GRAIN, LONG, Bench, in_loops

__all__ = ["FaultRules", "PlaceRules"]


def each_method(claim: Claim) -> list[Callable[[Store], Awaitable[Any]]]:
    """Return a call of each method that has to check the epoch."""
    completion = Completion(claim=claim, state=State.COMPLETED, result="other")
    return [
        lambda store: store.claim([claim]),
        lambda store: store.complete([completion]),
        lambda store: store.renew([claim]),
        lambda store: store.peek([Record(hashed("a"), LONG)]),
        lambda store: store.permits(hashed("a"), 1, 1.0),
        lambda store: store.header(hashed("a"), "x", replace=True),
        methodcaller("now"),
        methodcaller("check"),
    ]


@in_loops
class PlaceRules(Bench):
    """The rules of identities, namespaces and headers."""

    async def test_identity_is_kept_and_shared(self) -> None:
        stores = [self.make_store() for _ in range(5)]
        first, *others = await asyncio.gather(*(until_there(store.connect) for store in stores))
        for store in stores:
            await store.aclose()
        assert re.fullmatch("[0-9a-f]{16}", first.epoch)
        assert len(first.secret) == 32
        assert others == [first] * 4
        async with self.make_store() as later:
            assert await later.connect() == first
            await later.aclose()

    async def test_store_is_closed_by_its_last_user_and_opened_again(self) -> None:
        store = self.make_store()
        identity = await store.connect()
        assert await store.connect() == identity
        await self.held(store, "a", State.COMPLETED)
        await store.aclose()
        assert await self.states(store, "a") == [State.COMPLETED]
        await store.aclose()
        async with store:
            assert await self.states(store, "a") == [State.COMPLETED]

    async def test_namespaces_never_mix(self) -> None:
        one, two = await self.open(namespace="one"), await self.open(namespace="one.2")
        limit = self.count("n", 1)
        same, gone = self.claim("a", cooldown="c", counts=(limit,)), self.claim("b")
        for store in (one, two):
            assert await self.states(store, "a") == [State.FREE]
            await self.ask(store, same)
            assert await self.states(store, "c") == [State.IN_PROGRESS]
            assert (await self.ask(store, self.claim(counts=(limit,)))).state is State.LIMITED
            assert (await store.permits(hashed("rate"), 1, LONG))[0] == 1
            assert await store.header(hashed("h"), store.namespace) == store.namespace
        await self.end(one, gone, State.FREE, withdrawn=True)
        assert (await self.ask(two, gone)).state is State.CLAIMED

    async def test_header_is_set_once_and_replaced_where_that_is_asked_for(self) -> None:
        store, other = await self.open(), await self.open()
        key = hashed("h")
        first, second = "one ñ 🚀 '\"\n\0" * 1000, ""
        assert await store.header(key, first) == first
        assert await other.header(key, second) == first
        assert await other.header(key, second, replace=True) == first
        assert await store.header(key, "three") == second
        assert await store.header(hashed("other"), "four") == "four"
        assert await self.states(store, "h") == [State.FREE]

    async def test_headers_asked_for_at_once_are_one(self) -> None:
        stores = [await self.open() for _ in range(4)]
        asked = (store.header(hashed("h"), f"{number}") for number, store in enumerate(stores * 2))
        assert len(set(await asyncio.gather(*asked))) == 1

    async def test_clock_and_check_answer(self) -> None:
        store, other = await self.open(), await self.open()
        times = [await store.now(), await other.now(), await store.now()]
        assert all(earlier <= later + GRAIN for earlier, later in pairwise(times))
        before = await store.now()
        await self.advance(other, 5 * GRAIN)
        assert await store.now() >= before + 4 * GRAIN
        assert all(len(sentence) > 10 for sentence in await store.check())

    async def test_new_epoch_refuses_clients_from_before(self) -> None:
        old, other = await self.open(), await self.open()
        before = await old.connect()
        self._opened.push_async_callback(old.aclose)
        claim = await self.hold(old, "a")
        epoch = await other.new_epoch()
        assert re.fullmatch("[0-9a-f]{16}", epoch)
        await self._refused(old, claim)
        new = await self.open()
        identity = await new.connect()
        await new.aclose()
        assert (identity.epoch, identity.secret) == (epoch, before.secret)
        assert epoch != before.epoch
        seen = await self.look(new, "a")
        assert (seen.state, seen.token) == (State.IN_PROGRESS, claim.token)
        assert await new.header(hashed("a"), "mine") == "mine"

    async def test_epoch_that_changed_while_it_was_closed_is_refused(self) -> None:
        old, other = self.make_store(), await self.open()
        async with old:
            await self.hold(old, "a")
        await other.new_epoch()
        with pytest.raises(StoreError) as caught:
            await old.connect()
        assert not caught.value.passing

    async def test_lost_data_is_refused_by_the_same_object(self) -> None:
        old = await self.open()
        before = await old.connect()
        self._opened.push_async_callback(old.aclose)
        claim = await self.held(old, "a", State.COMPLETED)
        await self.restart(keep_data=False)
        await self._refused(old, claim)
        new: Store = await until_there(self.open)
        assert (await new.connect()).epoch != before.epoch
        await new.aclose()
        assert await self.states(new, "a") == [State.FREE]
        await self._refused(old, claim)

    async def _refused(self, store: Store, claim: Claim) -> None:
        for ask in each_method(claim):
            with pytest.raises(StoreError) as caught:
                await until_there(lambda ask=ask: ask(store))  # type: ignore[misc]
            assert not caught.value.passing
            assert caught.value.problem
            assert caught.value.expected


@in_loops
class FaultRules(Bench):
    """The rules of faults."""

    async def test_calls_at_once_are_each_answered(self) -> None:
        stores = [await self.open(), await self.open()]
        claims = [self.claim(f"{number}") for number in range(10) for _ in range(4)]
        asked = [store.claim([claim]) for store in stores for claim in claims]
        answers = [answer.state for (answer,) in await asyncio.gather(*asked)]
        # Each token asks twice: the same two are granted.
        assert answers.count(State.CLAIMED) == 20
        assert answers.count(State.IN_PROGRESS) == 60

    async def test_cancelled_call_leaves_the_store_usable(self) -> None:
        store = await self.open()
        for turns in range(12):
            limit = self.count(f"n{turns}", 1)
            claim = self.claim(f"{turns}", cooldown=f"c{turns}", counts=(limit,))
            await _cancelled(store.claim([claim]), turns)
            answer: Answer = await until_there(lambda claim=claim: self.ask(store, claim))  # type: ignore[misc]
            assert answer.state is State.CLAIMED
            assert (await self.ask(store, self.claim(counts=(limit,)))).state is State.LIMITED
            await _cancelled(self.end(store, claim, State.COMPLETED), turns)
            assert await self.end(store, claim, State.COMPLETED)
            assert await self.states(store, f"{turns}", f"c{turns}") == [State.COMPLETED] * 2

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    async def test_object_connected_before_a_fork_is_refused(self) -> None:
        store = await self.open()
        claim = await self.hold(store, "a")
        calls = each_method(claim) + [methodcaller(name) for name in ("connect", "new_epoch", "aclose")]
        assert await _in_child(lambda: _refuses(store, calls)), "no WrongEventLoop after a fork"
        assert (await self.look(store, "a")).token == claim.token

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    async def test_object_made_before_a_fork_works_on_both_sides(self) -> None:
        store = self.make_store()

        async def use(name: str) -> None:
            async with store:
                await self.hold(store, name)

        assert await _in_child(lambda: asyncio.run(use("a"))), "no use after a fork"
        await use("b")

    async def test_restart_with_its_data_is_survived(self) -> None:
        store = await self.open()
        one = self.count("n", 1)
        await self.held(store, "a", State.COMPLETED)
        claim = await self.hold(store, "b", counts=(one,))
        await store.header(hashed("h"), "kept")
        await self.restart(keep_data=True)
        seen: Answer = await until_there(lambda: self.look(store, "a"))
        assert (seen.state, seen.result) == (State.COMPLETED, "result of a")
        assert (await self.ask(store, self.claim(counts=(one,)))).state is State.LIMITED
        assert await store.header(hashed("h"), "new") == "kept"
        assert await self.end(store, claim, State.COMPLETED)

    async def test_lost_answers_are_asked_for_again(self) -> None:
        store = await self.open()
        await self.held(store, "warm", State.COMPLETED)  # a service may have to be told first what to do
        two = self.count("n", 2)
        claim, other = self.claim("a", counts=(two,)), self.claim("b", counts=(two,))
        async with self.lose_answers():
            await self._lost(store.claim([claim]))
        assert (await until_there(lambda: self.ask(store, claim))).state is State.CLAIMED
        async with self.lose_answers():
            await self._lost(store.complete([Completion(claim=claim, state=State.COMPLETED, result="sent")]))
        assert (await until_there(lambda: self.look(store, "a"))).result == "sent"
        assert await self.end(store, claim, State.COMPLETED, "sent")
        async with self.lose_answers():
            await self._lost(store.claim([other]))
        withdrawal = Completion(claim=other, state=State.FREE, result="", give_back=(two,), withdrawn=True)
        assert await until_there(lambda: store.complete([withdrawal])) == [True]
        assert await self.states(store, "b") == [State.FREE]
        await self.hold(store, counts=(two,))
        assert (await self.ask(store, self.claim(counts=(two,)))).state is State.LIMITED

    async def _lost(self, call: Awaitable[Any]) -> None:
        with pytest.raises(StoreError) as caught:
            await call
        assert caught.value.passing

    async def test_full_place_refuses_and_is_usable_again(self) -> None:
        store = await self.open()
        one = self.count("n", 1)
        held = await self.hold(store, "a")
        claim = self.claim("b", report_id="r" * 100, counts=(one,))
        await self.fill()
        with pytest.raises(StoreError):
            await store.claim([claim])
        await self.make_room()
        seen: Answer = await until_there(lambda: self.look(store, "b"))
        counted = (await self.ask(store, self.claim(counts=(one,)))).state is State.LIMITED
        assert counted is (seen.state is State.IN_PROGRESS)
        assert await self.end(store, held, State.COMPLETED)
        await self.hold(store, "c")

    async def test_missing_rights_are_told_and_do_not_pass(self) -> None:
        await self.open()
        store = await self.deny()
        with pytest.raises((StoreError, InvalidConfiguration)) as caught:
            async with store:
                await self.hold(store, "a")
        assert not getattr(caught.value, "passing", False)


async def _cancelled(call: Coroutine[Any, Any, Any], turns: int) -> None:
    """Cancel a call after so many turns of the event loop."""
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def _in_child(run: Callable[[], object]) -> bool:
    """Return whether this passes in a child of a fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are not the child's
        child = os.fork()
    if not child:
        status = 1
        try:
            run()
            status = 0
        finally:
            os._exit(status)  # it must end here, and not run the parent's tests
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return not os.waitstatus_to_exitcode(status)


def _refuses(store: Store, calls: list[Callable[[Store], Awaitable[Any]]]) -> None:
    """Check that each call is refused before it waits for anything: there is no event loop here."""
    for call in calls:
        with pytest.raises(WrongEventLoop):
            call(store).__await__().send(None)
