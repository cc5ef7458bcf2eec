"""A ledger's file: SQLite, opened, checked, read and written. Synchronous, for one thread at a time.

Rules of this module:

- WAL with `synchronous=FULL`: what was committed survives a crash of the process and of the machine (SQLite's
  documentation, "Write-Ahead Logging" and "PRAGMA synchronous").
- The file is locked for as long as it is open (`locking_mode=EXCLUSIVE`), so two processes never send the
  same batch. The lock is the operating system's, and a killed process leaves none behind. POSIX gives it to
  the process, which loses it when it closes any descriptor of the file: so nothing here opens a file that is
  there, but SQLite, and a second use in the same process is refused before the file is touched.
- An entry that is another request means that the whole batch is another: nothing more of it is begun.
- A run changes only the rows that it has begun itself. What an earlier run left open, only an `Ok` closes.
- Whatever SQLite says becomes a `LedgerError` that names the file's trouble.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import attrs

from .._errors import LedgerError
from .._records import Hasher
from .._secret import Secret

__all__ = ["Begin", "Change", "LedgerFile", "Left", "Look", "Settle", "State"]

_APPLICATION_ID: Final = 0x67333630  # "g360": tells our files from other databases
_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE batch (salt BLOB NOT NULL, scope BLOB NOT NULL, runs INTEGER NOT NULL);
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY,      -- place in the input, from 0
    request BLOB NOT NULL,        -- fingerprint of the request
    number TEXT NOT NULL,         -- fingerprint of its number, or the number where that was asked for
    state INTEGER NOT NULL,       -- 0 open, 1 begun, 2 settled, 3 may have been sent
    run INTEGER NOT NULL,         -- the run that began it last
    left_open INTEGER NOT NULL,   -- whether a run before that one may have sent it
    result TEXT                   -- JSON of the result, once it is known
);
"""
# One statement for many rows, and a transaction by itself: each step of each statement gives the interpreter's
# lock away, and waits for the event loop's thread to give it back, which can take longer than the disk does.
_AT_A_TIME: Final = (
    1000 if sqlite3.sqlite_version_info >= (3, 32) else 100
)  # with 7 values each: SQLite's limit
# A row with state 1 begins an entry. Any other settles one, if this run has begun it; and if a run before may
# have sent it, then only with what `left_open` says closes that.
_RULE: Final = """
    ON CONFLICT (idx) DO UPDATE SET
        state = excluded.state,
        run = excluded.run,
        left_open = entries.left_open OR (excluded.state = 1 AND excluded.left_open),
        result = excluded.result
    WHERE excluded.state = 1
        OR entries.run = excluded.run AND entries.state = 1 AND (entries.left_open = 0 OR excluded.left_open)
"""
_ONE_AT_A_TIME: Final = "one batch at a time with a ledger"
_ELSEWHERE: Final = (
    "the ledger of this very batch: same requests in the same order, same gateway, same API key"
)


_in_use: Final[set[tuple[int, int]]] = set()
"""The files that batches of this process have open, by device and inode."""

_guarding: Final = threading.Lock()


class State(IntEnum):
    """How far an entry has come."""

    OPEN = 0
    """Not sent, and to be sent."""

    BEGUN = 1
    """About to be sent, or sent and its outcome not recorded."""

    SETTLED = 2
    """Its outcome is recorded, and final."""

    MAYBE = 3
    """Its outcome is recorded: it may have been sent."""


@attrs.frozen
class Left:
    """What an earlier run left of an entry.

    Args:
        result: The JSON of its result, or `None` if it was begun only.
        begun_again: Whether it is to be sent again all the same.
    """

    result: str | None
    begun_again: bool = False


@attrs.frozen
class Begin:
    """Record that an entry is about to be sent. Gives `None`, or what an earlier run left of it."""

    index: int
    request: bytes
    number: str
    resend_unknown: bool


@attrs.frozen
class Settle:
    """Record what became of an entry that this run has begun."""

    index: int
    state: State
    result: str
    sent: bool


@attrs.frozen
class Look:
    """Ask what an earlier run left of an entry, whatever this one has begun. Gives `None`, or that."""

    index: int
    request: bytes


Change: TypeAlias = Begin | Settle | Look
_Row: TypeAlias = tuple[bytes, int, int, bool, str | None]
_Given: TypeAlias = "Left | LedgerError | None"


class LedgerFile:
    """An open ledger's file.

    Args:
        path: The file. It is made, readable by its owner only, if it is not there.
        url: Where the batch posts to.
        api_key: The account's key.

    Raises:
        LedgerError: The file cannot be used.
    """

    def __init__(self, path: Path, url: str, api_key: Secret) -> None:
        self._foreign: LedgerError | None = None
        self._identity = _made(path)
        with _guarding:
            if self._identity in _in_use:
                raise LedgerError("is in use by another batch of this process", _ONE_AT_A_TIME)
            _in_use.add(self._identity)
        try:
            # No wait for a lock: who holds it is another run of this batch, and holds it to its end.
            self._connection = _translated(
                lambda: sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
            )
            try:
                self.hasher, self._run = _translated(lambda: self._begin_run(url, api_key))
                with suppress(OSError):  # somebody else's file, which this process may write
                    path.chmod(0o600)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        with _guarding:
            _in_use.discard(self._identity)

    def _begin_run(self, url: str, api_key: Secret) -> tuple[Hasher, int]:
        connection = self._connection
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
        if tables and not ours:
            raise LedgerError("is another program's database", "a ledger's file, or the name of a new one")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            salt = secrets.token_bytes(32)
            scope = Hasher(api_key, salt).of_scope(url)
            connection.execute("INSERT INTO batch VALUES (?, ?, 0)", (salt, scope))
        else:
            self._check()
        salt, scope, runs = connection.execute("SELECT salt, scope, runs FROM batch").fetchone()
        hasher = Hasher(api_key, salt)
        if hasher.of_scope(url) != scope:
            raise LedgerError("is of another batch: its gateway, or its API key, is another", _ELSEWHERE)
        self._last: int = connection.execute("SELECT ifnull(max(idx), -1) FROM entries").fetchone()[0]
        connection.execute("UPDATE batch SET runs = runs + 1")
        connection.execute("COMMIT")
        return hasher, runs + 1

    def _check(self) -> None:
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found != _FORMAT:
            raise LedgerError(f"has format {found}", f"format {_FORMAT}, of this version of the library")
        said = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise sqlite3.DatabaseError(said)

    def apply(self, changes: Sequence[Change]) -> list[Left | LedgerError | None]:
        """Make changes durable, in their order, and give what each of them gives."""
        return _translated(lambda: self._apply(changes))

    def _apply(self, changes: Sequence[Change]) -> list[_Given]:
        cursor = self._connection.cursor()
        given: list[_Given] = []
        for start in range(0, len(changes), _AT_A_TIME):
            given += self._apply_some(cursor, changes[start : start + _AT_A_TIME])
        return given

    def _apply_some(self, cursor: sqlite3.Cursor, changes: Sequence[Change]) -> list[_Given]:
        # What lies behind the last entry of all runs before cannot be there, but for what this run has begun.
        known = [
            change.index
            for change in changes
            if isinstance(change, Look) or (isinstance(change, Begin) and change.index <= self._last)
        ]
        rows = self._rows(cursor, known) if known else {}
        values: list[object] = []
        given: list[_Given] = []
        for change in changes:
            left: _Given = None
            if isinstance(change, Settle):
                result = None if change.state is State.OPEN else change.result
                closes = change.sent or change.state is State.MAYBE
                values += (change.index, b"", "", change.state, self._run, closes, result)
            elif isinstance(change, Look):
                left = self._left_before(change, rows.get(change.index))
            else:
                left = self._begun(change, rows.get(change.index), values)
            given.append(left)
        if values:
            marks = ",".join(["(?,?,?,?,?,?,?)"] * (len(values) // 7))
            cursor.execute(f"INSERT INTO entries VALUES {marks} {_RULE}", values)  # noqa: S608  # marks only
        return given

    def _begun(self, begin: Begin, row: _Row | None, values: list[object]) -> _Given:
        if row is not None and row[0] != begin.request and self._foreign is None:
            problem = f"is of another batch: its entry {begin.index} is another request"
            self._foreign = LedgerError(problem, _ELSEWHERE)
        if self._foreign is not None:
            return self._foreign
        state, result = (State.OPEN, None) if row is None else (row[1], row[4])
        left_open = state in (State.BEGUN, State.MAYBE)
        if state == State.SETTLED or (left_open and not begin.resend_unknown):
            return Left(result)
        values += (begin.index, begin.request, begin.number, State.BEGUN, self._run, left_open, None)
        return Left(result, begun_again=True) if left_open or (row is not None and row[3]) else None

    def _left_before(self, look: Look, row: _Row | None) -> _Given:
        if row is None or row[0] != look.request:
            return None
        _, state, run, left_open, result = row
        if run == self._run and state == State.BEGUN:
            return Left(None) if left_open else None
        return None if state == State.OPEN else Left(result)

    @staticmethod
    def _rows(cursor: sqlite3.Cursor, indexes: Sequence[int]) -> dict[int, _Row]:
        wanted = ",".join("?" * len(indexes))
        cursor.execute(
            f"SELECT idx, request, state, run, left_open, result FROM entries WHERE idx IN ({wanted})",  # noqa: S608  # marks only
            indexes,
        )
        return {index: tuple(row) for index, *row in cursor.fetchall()}

    def close(self) -> None:
        """Let go of the file. What was applied is durable already."""
        try:
            self._connection.close()
        finally:
            self._release()


def _made(path: Path) -> tuple[int, int]:
    """Make the file if it is not there, and give what tells it from any other."""
    try:
        # Made here rather than by SQLite, which asks the umask who may read it; its log files do as it does.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as exc:
        said = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
        raise LedgerError(f"cannot be opened: {said}", "a file that can be read and written") from exc
    return status.st_dev, status.st_ino


_Made = TypeVar("_Made")

# SQLite's primary result codes ("Result and Error Codes").
_TROUBLE: Final = {
    sqlite3.SQLITE_BUSY: ("is in use by another process", _ONE_AT_A_TIME),
    sqlite3.SQLITE_LOCKED: ("is in use by another process", _ONE_AT_A_TIME),
    sqlite3.SQLITE_READONLY: ("cannot be written", "a file, in a directory, that can be written"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "a file, in a directory, that can be written"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "room on the disk"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: the disk failed", "a disk that works and has room"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "an intact ledger's file"),
    sqlite3.SQLITE_NOTADB: (
        "is no ledger: it is not a database",
        "a ledger's file, or the name of a new one",
    ),
}


def _translated(action: Callable[[], _Made]) -> _Made:
    try:
        return action()
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        problem, expected = _TROUBLE.get(code, ("has failed", "an intact ledger's file"))
        raise LedgerError(f"{problem} ({exc})", expected) from exc
