"""The parts of the conformance suite: hooks that are missing, the process of a race, the memory."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys

import pytest
from support import shared_memory

from gateway360_async.stores import State, StoreError
from gateway360_async.testing import FakeClock
from gateway360_async.testing import _store_racer as racer
from gateway360_async.testing.stores import Memory, MemoryStore, StoreConformance, _places


def test_without_factory_of_stores_there_is_no_suite():
    with pytest.raises(NotImplementedError):
        StoreConformance().make_store()


@pytest.mark.parametrize("hook", ["restart", "lose_answers", "fill", "make_room", "deny", "factory"])
async def test_missing_hook_skips_and_says_which(hook):
    arguments = {"keep_data": True} if hook == "restart" else {}
    with pytest.raises(pytest.skip.Exception, match=f"StoreConformance has no hook '{hook}'"):
        answer = getattr(StoreConformance(), hook)(**arguments)
        await answer


async def test_without_clock_to_move_time_is_waited_for():
    async with MemoryStore() as store:
        before = await store.now()
        await StoreConformance().advance(store, 0.01)
        assert await store.now() >= before + 0.01


@pytest.mark.parametrize("forked", [None, 0, 1])
def test_process_of_race_says_what_it_was_granted(monkeypatch, capfd, forked):
    """It is the only one; or it was forked from the first one; or it is the first one, and waits for the other."""
    waited = []
    monkeypatch.setattr(os, "fork", lambda: forked)
    monkeypatch.setattr(os, "waitpid", lambda *asked: waited.append(asked))
    job = {"factory": ["support.shared_memory:shared"], "seed": 1, "keys": 30, "most": 20, "permits": 60}
    jobs = [job] if forked is None else [job | {"permits": 60 * forked}, job | {"permits": 60 - 60 * forked}]
    monkeypatch.setattr(sys, "argv", ["-c", json.dumps(jobs)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    shared_memory.MEMORY.clear()
    racer.main()
    first, *lines, last = map(json.loads, capfd.readouterr().out.splitlines())
    index = int(forked == 0)
    assert [len(part) for part in first["ready"]] == [16, 64]
    assert first["pid"] == os.getpid()
    assert last == {"job": index, "done": True}
    assert {line["job"] for line in lines} == {index}
    assert sum(len(line.get("claimed", ())) for line in lines) == 20
    assert sum(line["permits"][0] for line in lines if "permits" in line) == 60
    assert waited == [(1, 0)] * (forked == 1)


@pytest.mark.parametrize(("within", "raised"), [(20.0, "refuses"), (0.0, "is away")])
async def test_trouble_that_passes_is_asked_again_for_a_time(within, raised, monkeypatch):
    monkeypatch.setattr(racer, "_PASSES_WITHIN", within)
    troubles = [StoreError("is away", "a server", passing=True), StoreError("refuses", "rights")]

    async def ask():
        raise troubles.pop(0)

    with pytest.raises(StoreError, match=raised):
        await racer.until_there(ask)


async def test_withdrawal_is_remembered_for_time():
    clock = FakeClock()
    rules = StoreConformance()
    async with MemoryStore(Memory(clock)) as store:
        claim = rules.claim("a")
        await rules.end(store, claim, State.FREE, withdrawn=True)
        clock.advance(599)
        assert (await rules.ask(store, claim)).state is State.FREE
        clock.advance(2)
        assert (await rules.ask(store, claim)).state is State.CLAIMED


async def test_memory_of_store_is_own_where_none_is_given():
    async with MemoryStore() as one, MemoryStore() as two:
        await StoreConformance().hold(one, "a")
        assert (await StoreConformance().look(two, "a")).state is State.FREE
    assert repr(one) == "MemoryStore(namespace='gateway360')"


async def test_store_that_was_never_connected_is_refused():
    with pytest.raises(StoreError, match="is not connected"):
        await MemoryStore().check()


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        (
            [racer.Job(factory=(f"support.shared_memory:{name}",), seed=0) for name in ("absent", "shared")],
            "cannot connect",
        ),
        (
            [racer.Job(factory=("support.shared_memory:shared",), seed=0, permits=1, interval=0.0)],
            "has failed",
        ),
    ],
)
@pytest.mark.parametrize("forks", [True, False])
async def test_process_that_fails_fails_its_race(monkeypatch, jobs, problem, forks):
    if not forks:
        monkeypatch.delattr(os, "fork")
    with pytest.raises(AssertionError, match=problem):
        await StoreConformance()._race(*jobs)


@pytest.mark.parametrize("forks", [True, False])
async def test_race_that_is_broken_off_leaves_no_process(monkeypatch, tmp_path, forks):
    """One of them is connected and waits for the other, which never is: the race ends once both have ended."""
    if not forks:
        monkeypatch.delattr(os, "fork")
    asked = tmp_path / "asked"
    factories = ("support.shared_memory:shared",), ("support.shared_memory:Silent", str(asked))
    jobs = [racer.Job(factory=factory, seed=0) for factory in factories]
    race = asyncio.create_task(StoreConformance()._race(*jobs))
    while not asked.exists():
        await asyncio.sleep(0.01)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race


async def test_child_of_a_fork_that_fails_is_noticed():
    assert not await _places._in_child(lambda: _places._refuses(MemoryStore(), [MemoryStore.now]))
