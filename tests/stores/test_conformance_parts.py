"""What the conformance suite is made of: hooks that are missing, and the process of a race."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest

from gateway360_async import WrongEventLoop
from gateway360_async.stores import State, StoreError
from gateway360_async.testing import FakeClock
from gateway360_async.testing import _store_racer as racer
from gateway360_async.testing.stores import Memory, MemoryStore, StoreConformance, _places

MEMORY = Memory()


def shared():
    return MemoryStore(MEMORY)


def test_without_a_factory_of_stores_there_is_no_suite():
    with pytest.raises(NotImplementedError):
        StoreConformance().make_store()


@pytest.mark.parametrize("hook", ["restart", "lose_answers", "fill", "make_room", "deny", "factory"])
async def test_missing_hook_skips_and_says_which(hook):
    arguments = {"keep_data": True} if hook == "restart" else {}
    with pytest.raises(pytest.skip.Exception, match=f"StoreConformance has no hook '{hook}'"):
        answer = getattr(StoreConformance(), hook)(**arguments)
        await answer


async def test_without_a_clock_to_move_the_time_is_waited_for():
    async with MemoryStore() as store:
        before = await store.now()
        await StoreConformance().advance(store, 0.01)
        assert await store.now() >= before + 0.01


def test_process_of_a_race_says_what_it_was_granted(monkeypatch, capsys):
    job = {"factory": ["test_conformance_parts:shared"], "seed": 1, "keys": 30, "most": 20, "permits": 60}
    monkeypatch.setattr(sys, "argv", ["-c", json.dumps(job)])
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    racer.main()
    first, *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [len(part) for part in first["ready"]] == [16, 64]
    assert last == {"done": True}
    assert sum(len(line.get("claimed", ())) for line in lines) == 20
    assert sum(line["permits"][0] for line in lines if "permits" in line) == 60


async def test_passing_trouble_is_asked_again_and_another_is_not():
    troubles = [StoreError("is away", "a server", passing=True), StoreError("refuses", "rights")]

    async def ask():
        raise troubles.pop(0)

    with pytest.raises(StoreError, match="refuses"):
        await racer.until_there(ask)


async def test_trouble_that_does_not_pass_in_time_is_raised(monkeypatch):
    monkeypatch.setattr(racer, "_PASSES_WITHIN", 0.0)

    async def ask():
        raise StoreError("is away", "a server", passing=True)

    with pytest.raises(StoreError, match="is away"):
        await racer.until_there(ask)


async def test_withdrawal_is_remembered_for_its_time():
    clock = FakeClock()
    rules = StoreConformance()
    async with MemoryStore(Memory(clock)) as store:
        claim = rules.claim("a")
        await rules.end(store, claim, State.FREE, withdrawn=True)
        clock.advance(599)
        assert (await rules.ask(store, claim)).state is State.FREE
        clock.advance(2)
        assert (await rules.ask(store, claim)).state is State.CLAIMED


async def test_memory_of_a_store_is_its_own_where_none_is_given():
    async with MemoryStore() as one, MemoryStore() as two:
        await StoreConformance().hold(one, "a")
        assert (await StoreConformance().look(two, "a")).state is State.FREE
    assert repr(one) == "MemoryStore(namespace='gateway360')"


async def test_store_that_was_never_connected_is_refused():
    with pytest.raises(StoreError, match="never connected"):
        await MemoryStore().check()


def bench():
    suite = StoreConformance()
    suite.factory = lambda: ("test_conformance_parts:shared",)
    return suite


async def test_process_that_cannot_connect_fails_the_race_and_the_others_are_ended():
    jobs = (
        racer.Job(factory=("test_conformance_parts:absent",), seed=0),
        racer.Job(factory=bench().factory(), seed=1),
    )
    with pytest.raises(AssertionError, match="cannot connect"):
        await bench()._race(*jobs)


async def test_process_that_fails_fails_the_race():
    job = racer.Job(factory=bench().factory(), seed=0, permits=1, interval=0.0)
    with pytest.raises(AssertionError, match="a process of the race has failed"):
        await bench()._race(job)


async def test_child_of_a_fork_tells_what_was_not_refused():
    store = MemoryStore()

    async def answers(_store):
        """Be answered without an event loop."""

    async def waits(_store):
        await asyncio.sleep(0)

    def breaks(_store):
        raise ValueError

    def refuses(_store):
        raise WrongEventLoop("this store was used before a fork")

    assert _places._passed_in_child(store, [refuses]) == 0
    assert _places._passed_in_child(store, [refuses, breaks]) == 1
    assert _places._passed_in_child(store, [waits]) == 2
    assert _places._passed_in_child(store, [answers]) == 1  # it ends at once: `StopIteration`


def test_child_of_a_fork_tells_whether_it_could_use_the_store():
    store, claim = MemoryStore(), bench().claim("a")
    assert _places._used_in_child(store, claim) == 0
    assert _places._used_in_child(store, bench().claim("a")) == 1
    store.connect = None
    assert _places._used_in_child(store, claim) == 2
