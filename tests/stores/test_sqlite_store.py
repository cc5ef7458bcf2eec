"""What can happen to a store in a file: real files, real processes, real kills. And its rules, on a clock of the test's."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import warnings
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.sqlite_process import claim_of

from gateway360_async import InvalidConfiguration, WrongEventLoop
from gateway360_async.stores import Answer, Completion, Count, Record, SqliteStore, State, StoreError
from gateway360_async.stores import _sqlite_file as file_module
from gateway360_async.stores import _sqlite_transaction as transaction_module
from gateway360_async.stores._sqlite_file import SqliteFile

PROGRAM = Path(__file__).parents[1] / "support" / "sqlite_process.py"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(time=lambda: clock.now, now=1_800_000_000.0)
    monkeypatch.setattr(transaction_module, "time", clock)
    return clock


class Process:
    """Another process with a store; see `sqlite_process`."""

    def __init__(self, path):
        self.program = subprocess.Popen(
            [sys.executable, PROGRAM, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, line):
        self.program.stdin.write(f"{line}\n")
        self.program.stdin.flush()

    def answer(self):
        return json.loads(self.program.stdout.readline())

    def ask(self, line):
        self.order(line)
        return self.answer()

    def kill(self):
        self.program.kill()
        self.program.communicate()


@contextmanager
def process(path):
    other = Process(path)
    try:
        assert isinstance(other.ask("connect"), str)
        yield other
    finally:
        other.kill()


@contextmanager
def locked(path):
    """The lock, as another process would hold it."""
    side = os.open(f"{path}-lock", os.O_RDWR)
    try:
        fcntl.flock(side, fcntl.LOCK_EX)
        yield
    finally:
        os.close(side)


def killed_after(path, *names):
    """Leave the files as a process does that is killed after these claims."""
    with process(path) as other:
        assert other.ask(f"claim {' '.join(names)}") == ["claimed"] * len(names)


async def states(store, *names):
    return [str(answer.state) for answer in await store.claim([claim_of(name, token="x") for name in names])]


async def claimed(store, *names):
    return [str(answer.state) for answer in await store.claim([claim_of(name) for name in names])]


def number_of_commits(path):
    return struct.unpack("<8sQQQ", Path(f"{path}-lock").read_bytes())[1]


def mark(path):
    with Path(f"{path}-lock").open("r+b") as side:
        side.seek(24)
        side.write(struct.pack("<Q", 1))


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def done(claim, state=State.COMPLETED, result="r", **settings):
    return Completion(claim=claim, state=state, result=result, **settings)


# --- files


async def test_files_are_readable_by_their_owner_only(path):
    before = os.umask(0)
    try:
        async with SqliteStore(path) as store:
            await claimed(store, "a")
            files = list(path.parent.iterdir())
            assert len(files) == 4
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    assert sorted(file.name for file in path.parent.iterdir()) == ["store", "store-lock"]


async def test_store_that_is_opened_again_has_its_records_and_identity(path):
    store = SqliteStore(str(path))
    first = await store.connect()
    await claimed(store, "a")
    await store.aclose()
    second = await store.connect()
    assert (await states(store, "a", "b"), first) == (["in_progress", "claimed"], second)
    await store.aclose()
    assert repr(store) == f"SqliteStore({str(path)!r}, namespace='gateway360')"


async def test_path_of_another_type_is_refused():
    with pytest.raises(InvalidConfiguration, match="path: is of type int"):
        SqliteStore(7)


async def test_store_that_is_not_connected_says_so(path):
    with pytest.raises(StoreError, match="is not connected"):
        await SqliteStore(path).peek([claim_of("a").record])


async def test_check_says_what_others_can_read_and_what_is_in_memory(path, monkeypatch, tmp_path):
    async with SqliteStore(path) as store:
        found = await store.check()
        path.chmod(0o640)
        mounted_as(monkeypatch, tmp_path, "tmpfs")
        assert [text[:6] for text in await store.check() if text not in found] == ["others", "its fi"]


async def test_another_program_s_database_and_a_later_schema_are_refused_untouched(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE theirs (a)")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="has lost its -lock"):
        await SqliteStore(path).connect()
    with pytest.raises(StoreError, match="another program"):
        await SqliteStore(path).new_epoch()
    assert path.read_bytes() == content
    path.unlink()
    await SqliteStore(path).new_epoch()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="has schema 9, not 1"):
        await SqliteStore(path).connect()


@pytest.mark.parametrize("content", [b"no database" * 500, None])
async def test_damaged_file_is_refused_until_it_is_set_aside(path, content):
    async with SqliteStore(path) as store:
        await claimed(store, *(f"n{number}" for number in range(200)))
    if content is None:
        content = bytearray(path.read_bytes())
        for page in range(1, len(content) // 1024):
            content[page * 1024] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        await SqliteStore(path).connect()
    with pytest.raises(StoreError, match="is damaged"):
        await SqliteStore(path).new_epoch()
    path.unlink()
    with pytest.raises(StoreError, match="has lost its file"):
        await SqliteStore(path).connect()
    epoch = await SqliteStore(path).new_epoch()
    async with SqliteStore(path) as store:
        assert (await store.connect()).epoch == epoch
        await store.aclose()


async def test_index_that_does_not_fit_its_table_takes_no_new_epoch(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA writable_schema = 1;"
            "UPDATE sqlite_master SET sql = replace(sql, 'expires IS NOT NULL', 'expires IS NULL') WHERE name = 'entry_expires'"
        )
    with pytest.raises(StoreError, match="is damaged"):
        await SqliteStore(path).new_epoch()


async def test_row_that_cannot_be_read_is_damage(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("UPDATE entry SET body = '[null' WHERE key LIKE '%/r%'")
    async with SqliteStore(path) as store:
        with pytest.raises(StoreError, match="what it holds cannot be read"):
            await claimed(store, "a")
        assert await claimed(store, "b") == ["claimed"]


async def test_folder_that_is_not_there_and_a_path_that_is_a_folder_are_refused(tmp_path):
    with pytest.raises(StoreError, match="No such file") as caught:
        await SqliteStore(tmp_path / "none" / "store").connect()
    assert not caught.value.passing
    with pytest.raises(StoreError, match="cannot be used: unable to open") as caught:
        await SqliteStore(tmp_path).new_epoch()
    assert not caught.value.passing


async def test_too_many_open_files_are_passing(path, monkeypatch):
    async with SqliteStore(path) as store:
        monkeypatch.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        with pytest.raises(StoreError, match="Too many open files") as caught:
            await claimed(store, "a")
        assert caught.value.passing
        monkeypatch.undo()
        assert await claimed(store, "a") == ["claimed"]


async def test_file_system_without_shared_memory_is_refused(path, monkeypatch):
    class Connection(sqlite3.Connection):
        def execute(self, statement, *values):
            return super().execute("SELECT 'delete'" if "journal_mode" in statement else statement, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)
    )
    with pytest.raises(StoreError, match="cannot have a -wal"):
        await SqliteStore(path).connect()


def mounted_as(monkeypatch, tmp_path, kind):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"1 0 0:0 / / rw - proc proc rw\n2 0 {os.major(device)}:{os.minor(device)} / /x rw - {kind} disk rw\n"
    )
    monkeypatch.setattr(file_module, "_MOUNTS", mounts)


async def test_network_file_system_is_refused_by_name(path, monkeypatch, tmp_path):
    mounted_as(monkeypatch, tmp_path, "nfs4")
    with pytest.raises(StoreError, match="network file system .nfs4."):
        await SqliteStore(path).connect()
    assert not path.exists()


async def test_unknown_file_system_is_taken(path, monkeypatch, tmp_path):
    monkeypatch.setattr(file_module, "_MOUNTS", tmp_path / "none")
    async with SqliteStore(path) as store:
        assert await store.check() == []
    (tmp_path / "empty").touch()
    monkeypatch.setattr(file_module, "_MOUNTS", tmp_path / "empty")
    async with SqliteStore(path) as store:
        assert await store.check() == []


async def test_without_flock_sqlite_s_own_locks_do(path, monkeypatch):
    monkeypatch.setattr(file_module, "fcntl", None)
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        assert await claimed(one, "a") == ["claimed"]
        assert await states(two, "a", "b") == ["in_progress", "claimed"]
    assert [file.name for file in path.parent.iterdir()] == ["store"]


def test_module_is_imported_where_there_is_no_flock(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.find_spec(file_module.__name__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.fcntl is None


# --- locks that this process loses, and SQLite's trap


@pytest.mark.parametrize("close", ["open", "copy"])
async def test_descriptor_closed_by_the_caller_costs_no_commit(path, close):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
        for name in ("b", "c"):
            if close == "open":
                path.open().close()
            else:
                shutil.copy(path, f"{path}-copy")
            with process(path) as other:
                assert other.ask(f"claim {name}1") == ["claimed"]
                assert other.ask("close") == "closed"
            assert not Path(f"{path}-wal").exists()  # the other process took itself for the last one
            assert await claimed(store, name) == ["claimed"]
            with process(path) as other:
                assert other.ask(f"claim a {name} {name}1")[:2] == ["claimed", "claimed"]
                assert [answer.token for answer in await store.claim([claim_of(name, token="x")])] == [
                    f"token-{name}"
                ]
        assert await states(store, "a", "b", "c", "b1", "c1") == ["in_progress"] * 5
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_two_stores_of_one_process_survive_the_trap(path):
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        await claimed(one, "a")
        await claimed(two, "b")
        path.open().close()
        with process(path) as other:
            other.ask("claim c")
            other.ask("close")
        assert await claimed(one, "d") == ["claimed"]
        assert await claimed(two, "e") == ["claimed"]
        with process(path) as other:
            other.ask("claim f")
        assert await states(one, "a", "b", "c", "d", "e", "f") == ["in_progress"] * 6
        assert await states(two, "a", "b", "c", "d", "e", "f") == ["in_progress"] * 6


async def test_open_other_process_keeps_its_share_of_the_trap(path):
    with process(path) as other:
        async with SqliteStore(path) as store:
            for name in "abcd":
                assert await claimed(store, name) == ["claimed"]
                path.open().close()
                assert other.ask(f"claim {name}1") == ["claimed"]
                with process(path) as third:
                    assert third.ask(f"claim {name}2") == ["claimed"]
                    third.ask("close")
            names = [f"{letter}{number}" for letter in "abcd" for number in ("", 1, 2)]
            assert await states(store, *names) == ["in_progress"] * 12
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_wal_deleted_in_mid_run_is_written_in_closing(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
        Path(f"{path}-wal").unlink()
        Path(f"{path}-shm").unlink()
        assert await states(store, "a", "b") == ["in_progress", "claimed"]


def test_wal_deleted_within_a_transaction_is_no_commit(path):
    file = SqliteFile(path, 0.0)
    file.transact((), lambda transaction: transaction.put("k", (None, 1)))
    with pytest.raises(StoreError, match="may not have been written") as caught:
        file.transact((), lambda _: Path(f"{path}-wal").unlink())
    assert caught.value.passing
    assert file.transact(["k"], lambda transaction: transaction.get("k")) == [None, 1]
    file.close()


# --- files that are deleted or replaced


@pytest.mark.parametrize("how", ["delete", "replace"])
async def test_file_that_goes_in_mid_run_is_refused(path, how):
    shutil.copy(PROGRAM, f"{path}-old")
    store = SqliteStore(path)
    await store.connect()
    await claimed(store, "a")
    path.unlink() if how == "delete" else Path(f"{path}-old").replace(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="was deleted or replaced") as caught:
            await claimed(store, "b")
        assert not caught.value.passing
    await store.aclose()
    path.unlink(missing_ok=True)
    with pytest.raises(StoreError, match="new-epoch"):
        await store.connect()
    await store.new_epoch()
    with pytest.raises(StoreError, match="has lost its data"):
        await store.connect()


def test_file_that_is_replaced_within_a_transaction_is_no_commit(path):
    file = SqliteFile(path, 0.0)
    file.transact((), lambda transaction: transaction.put("k", (None, 1)))
    with pytest.raises(StoreError, match="was deleted or replaced"):
        file.transact((), lambda _: path.unlink())
    file.close()


async def test_lock_file_that_goes_in_mid_run_is_refused_and_afterwards(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
        Path(f"{path}-lock").unlink()
        with pytest.raises(StoreError, match="has lost its -lock") as caught:
            await claimed(store, "b")
        assert not caught.value.passing
    for content in (b"", b"x" * 32):
        Path(f"{path}-lock").write_bytes(content)
        with pytest.raises(StoreError, match="has lost its -lock"):
            await SqliteStore(path).connect()
    await SqliteStore(path).new_epoch()
    async with SqliteStore(path) as store:
        assert await states(store, "a") == ["in_progress"]


async def test_older_copy_in_its_place_is_refused_by_the_next_run(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
    shutil.copy(path, f"{path}-old")
    async with SqliteStore(path) as store:
        await claimed(store, "b")
    Path(f"{path}-old").replace(path)
    with pytest.raises(StoreError, match="has lost its last 1 commits.*new-epoch") as caught:
        await SqliteStore(path).connect()
    assert not caught.value.passing


# --- kills


async def test_what_a_killed_process_claimed_is_found(path):
    killed_after(path, "a", "b")
    async with SqliteStore(path) as store:
        assert await states(store, "a", "b", "c") == ["in_progress", "in_progress", "claimed"]


@pytest.mark.parametrize("damage", ["missing", "first", "middle", "last", "empty", "copy"])
async def test_wal_that_is_lost_after_a_kill_is_refused_until_a_new_epoch(path, damage, tmp_path):
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


async def test_checkpoint_broken_off_by_a_kill_is_gone_on_with(path):
    killed_after(path, "a")
    mark(path)
    async with SqliteStore(path) as store:
        assert Path(f"{path}-lock").read_bytes()[24:] == bytes(8)
        assert await states(store, "a") == ["in_progress"]


async def test_wal_lost_in_the_middle_of_a_checkpoint_is_refused(path):
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


async def test_of_several_processes_one_claims_each_key(path):
    others = [Process(path) for _ in range(4)]
    try:
        for other in others:
            other.order("connect")
        assert len({other.answer() for other in others}) == 1
        for number in range(10):
            for place, other in enumerate(others):
                other.order(f"claim own-{place}-{number}")
        for number in range(10):
            assert [other.answer() for other in others] == [["claimed"]] * 4
    finally:
        for other in others:
            other.kill()


# --- the lock, and the time that it takes


async def test_what_is_asked_at_the_same_time_shares_a_commit(path):
    async with SqliteStore(path) as store:
        before = number_of_commits(path)
        with locked(path):
            asked = [asyncio.ensure_future(claimed(store, f"n{number}")) for number in range(40)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [["claimed"]] * 40
        assert number_of_commits(path) - before <= 2


async def test_stopped_process_that_holds_the_lock_costs_the_timeout_only(path):
    with process(path) as other:
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


async def test_store_closes_in_spite_of_a_lock_that_is_kept(path):
    store = SqliteStore(path, timeout=0.0)
    await store.connect()
    worker = store._worker
    with locked(path):
        await store.aclose()
        assert not worker._ended.done()
    await worker._ended


async def test_cancelled_call_leaves_the_store_usable(path):
    async with SqliteStore(path) as store:
        with locked(path):
            task = asyncio.ensure_future(claimed(store, "a"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await claimed(store, "b") == ["claimed"]


def test_program_that_writes_without_the_lock_is_passing(path):
    file = SqliteFile(path, 0.0)
    file.transact((), lambda _: None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked by another program") as caught:
            file.transact((), lambda _: None)
        assert caught.value.passing
    file.transact((), lambda _: None)
    file.close()


def test_loop_that_is_closed_before_its_store_leaves_the_file_closed(path):
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


async def test_after_a_fork_the_child_is_refused_and_keeps_no_lock(path):
    async with SqliteStore(path) as store:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os._exit(in_child(store))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert await claimed(store, "a") == ["claimed"]


# --- the disk


async def test_claim_is_answered_when_the_disk_has_it_and_the_lock_is_free_meanwhile(path, monkeypatch):
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


def test_macos_has_a_call_of_its_own_for_what_is_on_the_disk(monkeypatch):
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
async def test_file_that_cannot_grow_is_passing_and_usable_at_once_with_room_again(path, monkeypatch, timing):
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


async def test_clock_that_was_far_ahead_stops_neither_permits_nor_windows(path, clock):
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


@asynccontextmanager
async def on(path, clock, **settings):
    async with SqliteStore(path, **settings) as store:
        yield store


async def one(store, claim):
    return (await store.claim([claim]))[0]


async def end(store, *args, **settings):
    return (await store.complete([done(*args, **settings)]))[0]


async def test_claim_goes_through_its_states(path, clock):
    async with SqliteStore(path) as store:
        claim = claim_of(
            "a", lease=10.0, report_id="id", record=Record(key=b"a", ttl=100.0, fingerprint=b"f")
        )
        other = claim_of("a", token='no "json', record=Record(key=b"a", ttl=100.0, fingerprint=b"g"))
        first = await one(store, claim)
        assert first == await one(store, claim)
        assert (first.state, first.token, first.report_id, first.remaining) == (
            State.CLAIMED,
            claim.token,
            "id",
            10.0,
        )
        clock.now += 4.0
        answer = await one(store, other)
        assert (answer.state, answer.mismatch, answer.remaining) == (State.IN_PROGRESS, True, 6.0)
        assert await store.renew([claim, other]) == [True, False]
        clock.now += 9.5
        assert (await one(store, other)).remaining == 0.5
        clock.now += 0.5
        assert (await one(store, other)).state == State.IN_DOUBT
        assert await store.renew([claim]) == [False]
        assert await end(store, claim, State.IN_DOUBT, "maybe")
        assert (await one(store, other)).result == "maybe"
        assert await end(store, claim, State.COMPLETED, "sent \ud800 é")
        for state in State.IN_DOUBT, State.FREE, State.COMPLETED:
            assert await end(store, claim, state, "late")
        answer = await one(store, other)
        assert (answer.state, answer.result, answer.report_id) == (State.COMPLETED, "sent \ud800 é", "id")
        assert not await end(store, other)
        clock.now += 100.0
        assert (await one(store, other)).state == State.CLAIMED
        assert (await store.peek([claim_of("b").record]))[0].state == State.FREE
        assert not await end(store, claim_of("never"))
        assert await end(store, claim_of("never"), State.FREE)
        assert await end(store, claim_of("never", record=None))


async def test_what_is_free_again_can_be_claimed_and_a_resend_returns_to_doubt(path, clock):
    async with SqliteStore(path) as store:
        await one(store, claim_of("a"))
        assert await end(store, claim_of("a"), State.FREE)
        assert (await one(store, claim_of("a", token="2"))).state == State.CLAIMED
        await end(store, claim_of("a", token="2"), State.IN_DOUBT, "maybe")
        resends = [claim_of("a", token=token, resend="2") for token in ("3", "4")]
        answers = await store.claim(resends)
        assert [(answer.state, answer.result) for answer in answers] == [
            (State.CLAIMED, "maybe"),
            (State.IN_PROGRESS, None),
        ]
        assert (await one(store, resends[0])).result == "maybe"
        for _ in range(2):
            assert await end(store, resends[0], State.FREE)
        answer = (await store.peek([claim_of("a").record]))[0]
        assert (answer.state, answer.result) == (State.IN_DOUBT, "maybe")
        again = claim_of("a", token="5", resend="3", lease=1.0)
        assert (await one(store, again)).result == "maybe"
        clock.now += 1.0
        assert (await one(store, claim_of("a", token="6", resend="5"))).result == "maybe"


async def test_cooldown_is_kept_for_its_ttl_and_forced(path, clock):
    def cold(name, **settings):
        return claim_of(name, cooldown=Record(key=b"number", ttl=30.0, forgets=True), lease=10.0, **settings)

    async with SqliteStore(path) as store:
        await one(store, cold("a"))
        answer = await one(store, cold("b"))
        assert (answer.state, answer.cooldown, answer.mismatch) == (State.IN_PROGRESS, True, False)
        assert await store.renew([cold("a")]) == [True]
        assert (await one(store, cold("b", force=True))).state == State.CLAIMED
        await end(store, cold("b", force=True), result="b")  # another holder's lease runs
        assert (await one(store, cold("c"))).token == "token-a"
        await end(store, cold("a"), State.IN_DOUBT, "a")
        assert (await one(store, cold("c"))).result == "a"
        await one(store, cold("d", force=True))
        await end(store, cold("d", force=True), State.FREE)
        await end(store, cold("d", force=True, token="unknown"), State.FREE)
        assert (await one(store, cold("c"))).result == "a"
        await one(store, cold("e", force=True))
        await end(store, cold("e", force=True), result="e")
        answer = await one(store, cold("c"))
        assert (answer.state, answer.result) == (State.COMPLETED, "e")
        clock.now += 30.0
        assert (await one(store, cold("c"))).state == State.CLAIMED
        await end(store, cold("c"), State.FREE)
        assert (await one(store, cold("f", record=None))).state == State.CLAIMED
        assert (await one(store, cold("f", record=None))).state == State.CLAIMED
        assert await store.renew([cold("f", record=None), cold("g", record=None)]) == [True, False]
        forced = cold("g", record=None, force=True)
        assert await store.renew([forced, claim_of("h", record=None)]) == [True, True]
        clock.now += 10.0
        assert (await one(store, cold("i"))).state == State.IN_DOUBT
        clock.now += 30.0
        assert (await one(store, cold("i"))).state == State.CLAIMED


async def test_claim_withdrawn_before_it_came_is_refused(path, clock):
    async with SqliteStore(path) as store:
        assert await end(store, claim_of("a"), State.FREE, withdrawn=True)
        assert (await one(store, claim_of("a"))).state == State.FREE
        assert (await one(store, claim_of("a", token="2"))).state == State.CLAIMED
        assert not await end(store, claim_of("a"), State.FREE, withdrawn=True)
        await one(store, claim_of("b"))
        assert await end(store, claim_of("b"), State.FREE, withdrawn=True)
        assert (await one(store, claim_of("b"))).state == State.CLAIMED
        clock.now += 601.0
        assert (await one(store, claim_of("a", token="token-a"))).state != State.FREE


@pytest.mark.parametrize("window", [60.0, None])
async def test_counts_are_exact_and_given_back_once(path, clock, window):
    both = Count(key=b"x", most=3, window=window), Count(key=b"y", most=2, window=window)

    def claim(name, **settings):
        return claim_of(name, **{"counts": both, "record": None} | settings)

    async with SqliteStore(path, ttl=100.0) as store:
        answers = await store.claim([claim("a"), claim("a"), claim("b"), claim("c")])
        assert [answer.state for answer in answers] == [State.CLAIMED] * 3 + [State.LIMITED]
        assert answers[3].limit == 1
        for _ in range(2):
            assert await end(store, claim("a"), State.FREE, give_back=both[1:])
        assert (await one(store, claim("c", record=Record(key=b"c", ttl=9.0)))).state == State.CLAIMED
        assert (await one(store, claim("d"))).limit == 0
        clock.now += 59.0
        assert (await one(store, claim("d"))).limit == 0
        clock.now += 1.0
        answer = await one(store, claim("d"))
        assert answer.state == (State.CLAIMED if window else State.LIMITED)
        await end(store, claim("b"), State.FREE, give_back=both)
        await end(store, claim("never"), State.FREE, give_back=both, withdrawn=True)
        answers = await store.claim([claim("e"), claim("f")])
        assert [answer.state for answer in answers] == [State.CLAIMED, State.LIMITED]


async def test_lowered_limit_drops_all_that_is_old(path, clock):
    def claim(name, most):
        return claim_of(name, counts=(Count(key=b"x", most=most, window=60.0),))

    async with SqliteStore(path) as store:
        for number in range(4):
            await store.claim([claim(f"{number}-{place}", 2000) for place in range(300)])
            clock.now += 0.001
        assert (await one(store, claim("a", 1))).state == State.LIMITED
        clock.now += 60.0
        assert (await one(store, claim("b", 1))).state == State.CLAIMED
        assert (await one(store, claim("c", 1))).state == State.LIMITED


async def test_permits_keep_the_rate(path, clock):
    async with SqliteStore(path) as store:
        assert await store.permits(b"p", 100, 0.01) == (6, 0.0)
        assert await store.permits(b"p", 100, 0.01) == (0, pytest.approx(0.01, abs=1e-6))
        clock.now += 1.0
        assert await store.permits(b"p", 2, 0.01) == (2, pytest.approx(-0.05, abs=1e-6))
        await store.permits(b"p", 1, 500.0)
        assert await store.permits(b"p", 1, 0.01) == (1, 0.0)


async def test_header_is_set_once_or_replaced(path):
    async with SqliteStore(path) as store:
        assert [await store.header(b"h", value) for value in "ab"] == ["a", "a"]
        assert [await store.header(b"h", value, replace=True) for value in "cd"] == ["a", "c"]


async def test_namespaces_do_not_mix_and_an_epoch_is_of_all(path):
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


async def test_what_has_expired_is_deleted_in_passing(path, clock):
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
