"""The files of a `SqliteStore`: real files, real processes, real troubles."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support import sqlite_process
from support.sqlite_process import claim_of, claimed, process, rows, states

from gateway360_async import InvalidConfiguration
from gateway360_async.stores import SqliteStore, StoreError
from gateway360_async.stores import _sqlite_file as file_module
from gateway360_async.stores._sqlite_file import SqliteFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


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


async def test_database_of_another_program_is_refused_untouched(path):
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


async def test_index_that_does_not_fit_table_takes_no_new_epoch(path):
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


async def test_path_without_a_folder_or_of_one_is_refused(tmp_path):
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
async def test_descriptor_closed_by_caller_costs_no_commit(path, close):
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


async def test_two_stores_of_one_process_survive_trap(path):
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


async def test_open_other_process_keeps_share_of_trap(path):
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


def test_wal_deleted_within_transaction_is_no_commit(path):
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
    shutil.copy(sqlite_process.__file__, f"{path}-old")
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


def test_file_that_is_replaced_within_transaction_is_no_commit(path):
    file = SqliteFile(path, 0.0)
    file.transact((), lambda transaction: transaction.put("k", (None, 1)))
    with pytest.raises(StoreError, match="was deleted or replaced"):
        file.transact((), lambda _: path.unlink())
    file.close()


async def test_lock_file_that_goes_in_mid_run_is_refused_until_epoch(path):
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


async def test_older_copy_in_place_is_refused_by_next_run(path):
    async with SqliteStore(path) as store:
        await claimed(store, "a")
    shutil.copy(path, f"{path}-old")
    async with SqliteStore(path) as store:
        await claimed(store, "b")
    Path(f"{path}-old").replace(path)
    with pytest.raises(StoreError, match="has lost its last 1 commits.*new-epoch") as caught:
        await SqliteStore(path).connect()
    assert not caught.value.passing
