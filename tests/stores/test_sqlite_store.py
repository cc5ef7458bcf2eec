"""A `SqliteStore` and other processes, kills, a full disk and a clock that is set."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import signal
import sqlite3
import threading
import warnings
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.sqlite_process import (
    claim_of,
    claimed,
    done,
    killed_after,
    locked,
    mark,
    number_of_commits,
    process,
    rows,
    states,
)

from gateway360_async import WrongEventLoop
from gateway360_async.stores import Answer, Count, SqliteStore, State, StoreError
from gateway360_async.stores import _sqlite_file as file_module
from gateway360_async.stores import _sqlite_rows as rows_module
from gateway360_async.stores._sqlite_file import SqliteFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(time=lambda: clock.now, now=1_800_000_000.0)
    monkeypatch.setattr(rows_module, "time", clock)
    return clock


# --- kills


@pytest.mark.parametrize("damage", ["missing", "first", "middle", "last", "empty", "copy"])
async def test_wal_that_is_lost_after_kill_is_refused_until_new_epoch(path, damage, tmp_path):
    killed_after(path, "a", "b", "c")
    wal = Path(f"{path}-wal")
    content = bytearray(wal.read_bytes())
    if damage == "missing":
        wal.unlink()
    elif damage == "empty":
        wal.write_bytes(b"")
    elif damage == "copy":
        (tmp_path / "copy").mkdir()
        path = Path(shutil.copy(path, tmp_path / "copy" / "store"))
        shutil.copy(tmp_path / "store-lock", f"{path}-lock")
    else:
        content[{"first": 200, "middle": len(content) // 2, "last": len(content) - 100}[damage]] ^= 1
        wal.write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreError, match="has lost its last .*new-epoch URL") as caught:
            await SqliteStore(path).connect()
        assert not caught.value.passing
    await SqliteStore(path).new_epoch()
    async with SqliteStore(path) as store:
        assert await claimed(store, "d") == ["claimed"]


async def test_checkpoint_broken_off_by_kill_is_gone_on_with(path):
    killed_after(path, "a")
    mark(path)
    async with SqliteStore(path) as store:
        assert Path(f"{path}-lock").read_bytes()[24:] == bytes(8)
        assert await states(store, "a") == ["in_progress"]


async def test_wal_lost_in_middle_of_checkpoint_is_refused(path):
    killed_after(path, "a")
    rows(
        path, "SELECT count(*) FROM entry"
    )  # copies the -wal, as far as can be told from the number of commits
    mark(path)
    with pytest.raises(StoreError, match="in the middle of a checkpoint"):
        await SqliteStore(path).connect()
    await SqliteStore(path).new_epoch()
    async with SqliteStore(path) as store:
        assert await states(store, "a") == ["in_progress"]


async def test_kills_at_any_moment_lose_no_claim_that_was_answered(path):
    moments = random.Random(7)
    answered = []
    for turn in range(6):
        with process(path) as other:
            for number in range(moments.randrange(1, 8)):
                names = [f"{turn}-{number}-{place}" for place in range(9)]
                assert other.ask(f"claim {' '.join(names)}") == ["claimed"] * 9
                answered += names
            other.order("claim lost")
    async with SqliteStore(path) as store:
        assert await states(store, *answered) == ["in_progress"] * len(answered)


# --- the lock, and the time that it takes


async def test_calls_at_the_same_time_share_a_commit(path):
    async with SqliteStore(path) as store:
        before = number_of_commits(path)
        with locked(path):
            asked = [asyncio.ensure_future(claimed(store, f"n{number}")) for number in range(40)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [["claimed"]] * 40
        assert number_of_commits(path) - before <= 2


async def test_stopped_process_that_holds_lock_costs_timeout_only(path):
    with process(path, child=True) as other:
        async with SqliteStore(path, timeout=0.0) as store:
            other.order("stop")
            os.waitpid(other.program.pid, os.WUNTRACED)
            with pytest.raises(StoreError, match="has not answered for 1 s") as caught:
                await claimed(store, "a")
            assert caught.value.passing
            os.kill(other.program.pid, signal.SIGCONT)
            assert other.answer() == "went on"
            # The claim that was given up is not made after all.
            assert await store.peek([claim_of("a").record]) == [Answer(state=State.FREE)]
            assert await claimed(store, "a") == ["claimed"]


async def test_store_closes_in_spite_of_lock_that_is_kept(path):
    store = SqliteStore(path, timeout=0.0)
    await store.connect()
    worker = store._worker
    with locked(path):
        await store.aclose()
        assert not worker._ended.done()
    await worker._ended


def test_program_that_writes_without_lock_is_passing(path):
    file = SqliteFile(path, 0.0)
    file.transact((), lambda _: None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked by another program") as caught:
            file.transact((), lambda _: None)
        assert caught.value.passing
    file.transact((), lambda _: None)
    file.close()


def test_loop_that_is_closed_before_store_leaves_file_closed(path):
    store = SqliteStore(path)
    asyncio.run(store.connect())
    file = store._worker._file
    store._worker._asked.put(None)
    store._worker._thread.join()
    assert file._connection is None
    assert not Path(f"{path}-wal").exists()


def in_child(store):
    """Give 0 if a store that was connected before the fork does what it should."""
    try:
        store.claim([claim_of("a")]).send(None)
    except WrongEventLoop:
        return 0 if store._worker._file._side == -1 else 3
    return 4


def test_another_event_loop_is_refused(path):
    store = SqliteStore(path)
    with asyncio.Runner() as runner:
        runner.run(store.connect())
        with pytest.raises(WrongEventLoop):
            asyncio.run(claimed(store, "a"))
        assert runner.run(claimed(store, "a")) == ["claimed"]
        runner.run(store.aclose())


async def test_after_fork_child_is_refused_and_keeps_no_lock(path):
    async with SqliteStore(path) as store:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os._exit(in_child(store))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert await claimed(store, "a") == ["claimed"]


# --- the disk


async def test_claim_waits_for_the_disk_without_the_lock(path, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()

    def sync(_):
        reached.set()
        go_on.wait()

    async with SqliteStore(path) as store:
        monkeypatch.setattr(file_module, "_sync", sync)
        task = asyncio.ensure_future(claimed(store, "a"))
        await asyncio.to_thread(reached.wait)
        with process(path) as other:
            assert other.ask("claim b") == ["claimed"]
        assert not task.done()
        go_on.set()
        assert await task == ["claimed"]


async def test_disk_that_fails_is_passing(path, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    async with SqliteStore(path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(file_module, "_sync", fail)
            with pytest.raises(StoreError, match="Input/output error") as caught:
                await claimed(store, "a")
            assert caught.value.passing
        assert await claimed(store, "a") == ["claimed"]


def test_macos_has_call_of_own_for_what_is_on_disk(monkeypatch):
    calls = []
    monkeypatch.setattr(
        file_module, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=lambda *args: calls.append(args))
    )
    file_module._sync(7)
    assert calls == [(7, 51)]


# --- no room


@contextmanager
def no_file_larger_than(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("timing", ["wal", "checkpoint"])
async def test_file_that_cannot_grow_is_passing_and_usable_again(path, monkeypatch, timing):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
        monkeypatch.setattr(file_module, "_CHECKPOINT_BYTES", 0 if timing == "checkpoint" else 1 << 30)
        room = Path(f"{path}-wal").stat().st_size + (0 if timing == "wal" else 50_000)
        names = [f"n{number}" for number in range(400)]
        with no_file_larger_than(room if timing == "wal" else 60_000):
            for _ in range(3):
                with pytest.raises(StoreError, match="disk fails or is full") as caught:
                    await claimed(store, *names)
                assert caught.value.passing
        with process(path) as other:
            assert other.ask("claim other") == ["claimed"]
        assert await claimed(store, *names) == ["claimed"] * 400
        assert await states(store, "a", "other") == ["in_progress"] * 2
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_full_disk_is_passing_and_usable_at_once_with_room_again(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
        store._worker._file._connection.execute("PRAGMA max_page_count = 1").close()
        with pytest.raises(StoreError, match="its disk is full") as caught:
            await claimed(store, *(f"n{number}" for number in range(300)))
        assert caught.value.passing
        assert await states(store, "a", "n1") == ["in_progress", "claimed"]


async def test_checkpoint_that_fails_costs_no_claim(path, monkeypatch):
    async with SqliteStore(path) as store:
        await claimed(store, *(f"n{number}" for number in range(100)))
        monkeypatch.setattr(file_module, "_CHECKPOINT_BYTES", 0)
        # The -wal is larger than the database: there is room for the next commit, and none for its copy.
        with no_file_larger_than(Path(f"{path}-wal").stat().st_size + 20_000):
            assert await claimed(store, "a") == ["claimed"]
        assert await states(store, "a") == ["in_progress"]


async def test_large_wal_is_copied_and_begun_anew(path, monkeypatch):
    monkeypatch.setattr(file_module, "_CHECKPOINT_BYTES", 100_000)
    async with SqliteStore(path) as store:
        for number in range(30):
            await claimed(store, *(f"{number}-{place}" for place in range(40)))
        assert Path(f"{path}-wal").stat().st_size < 200_000
        assert path.stat().st_size > 200_000
    async with SqliteStore(path) as store:
        names = [f"{number}-{place}" for number in range(30) for place in range(40)]
        assert await states(store, *names) == ["in_progress"] * 1200


# --- time


async def test_step_back_shortens_nothing_and_stops_nothing(path, clock):
    async with SqliteStore(path) as store:
        await store.claim([claim_of("a", lease=10.0)])
        clock.now -= 86_400.0
        assert await store.now() == 1_800_000_000.0
        assert (await store.peek([claim_of("a").record]))[0].remaining == 10.0
        clock.now += 9.0
        assert (await store.peek([claim_of("a").record]))[0].remaining == 1.0
        clock.now += 1.0
        assert (await store.peek([claim_of("a").record]))[0].state == State.IN_DOUBT


async def test_clock_that_was_far_ahead_stops_no_permit_or_window(path, clock):
    count = Count(key=b"c" * 16, most=1, window=60.0)
    async with SqliteStore(path) as store:
        clock.now += 86_400.0 * 365
        assert (await store.permits(b"p", 1, 0.5))[0] == 1
        assert (await store.claim([claim_of("a", counts=(count,))]))[0].state == State.CLAIMED
        clock.now -= 86_400.0 * 365
        assert (await store.claim([claim_of("b", counts=(count,))]))[0].state == State.LIMITED
        assert await store.permits(b"p", 1, 0.5) == (0, pytest.approx(0.45, abs=1e-6))
        clock.now += 60.0
        assert (await store.claim([claim_of("b", counts=(count,))]))[0].state == State.CLAIMED
        assert (await store.permits(b"p", 1, 0.5))[0] == 1


# --- the rules


async def test_lowered_limit_drops_all_entries_that_are_old(path, clock):
    def claim(name, most):
        return claim_of(name, counts=(Count(key=b"x", most=most, window=60.0),))

    async with SqliteStore(path) as store:
        for number in range(4):
            await store.claim([claim(f"{number}-{place}", 2000) for place in range(300)])
            clock.now += 0.001
        assert [answer.state for answer in await store.claim([claim("a", 1)])] == [State.LIMITED]
        clock.now += 60.0
        answers = await store.claim([claim("b", 1), claim("c", 1)])
        assert [answer.state for answer in answers] == [State.CLAIMED, State.LIMITED]


async def test_namespaces_do_not_mix_and_epoch_is_of_all(path):
    async with SqliteStore(path, namespace="one") as first, SqliteStore(path, namespace="two") as second:
        assert await claimed(first, "a") == await claimed(second, "a") == ["claimed"]
        assert await states(second, "a") == ["in_progress"]
        await first.new_epoch()
        for store in first, second:
            with pytest.raises(StoreError, match="has lost its data") as caught:
                await claimed(store, "b")
            assert not caught.value.passing
    async with SqliteStore(path, namespace="two") as second:
        assert await states(second, "a") == ["in_progress"]


async def test_expired_rows_are_deleted_in_passing(path, clock):
    names = [f"n{number}" for number in range(300)]
    async with SqliteStore(path) as store:
        await claimed(store, "doubt", *names)
        await store.complete([done(claim_of(name)) for name in names])
        clock.now += 900.0
        for number in range(30):
            clock.now += 2.0
            await claimed(store, f"m{number}")
    assert rows(path, "SELECT count(*) FROM entry") == [(33,)]


async def test_store_that_did_not_open_has_nothing_to_close(tmp_path):
    await SqliteStore(tmp_path / "pins.db")._close()
    assert list(tmp_path.iterdir()) == []
