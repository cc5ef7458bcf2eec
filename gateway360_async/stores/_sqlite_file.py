"""The file of a `SqliteStore`: short transactions, one at a time among all processes of the machine.

Invariants:

- A transaction, an opening and a closing hold an `flock` on the file `<path>-lock`. SQLite's own locks are not enough:
  this process drops them when it closes any other descriptor of the database, so this module never opens one.
- The lock file holds the number of commits, written after each. A database with fewer has lost data: its `-wal` is
  missing or damaged, which SQLite checks page by page, unlike a `-journal`. It marks a checkpoint that runs as well.
- The disk is waited for without the lock, so that one write of the disk is for all processes. A commit is answered when
  it is on the disk; others may have seen it before, and their commits come after it.
- A commit counts only if the names of the files still lead to those that are open.
- The clock never goes back: after a step back it goes on from the latest time, and a step ahead is believed. So neither
  direction stops a lease, a window or a rate.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import struct
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

try:
    import fcntl
except ImportError:  # Windows: its locks belong to a handle, and SQLite's own are enough
    fcntl = None  # type: ignore[assignment]

from .._exceptions import StoreError
from ._sqlite_rows import DAMAGE_CURE, Transaction

__all__ = ["SqliteFile"]

_T = TypeVar("_T")

_CURE: Final = "the file as it was; or, if the loss is understood, `gateway360 store new-epoch URL`"
_APPLICATION: Final = 0x67333630  # "g360"
_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entry (key TEXT NOT NULL UNIQUE, expires REAL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_expires ON entry (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS counted (key TEXT, at INTEGER, token TEXT, PRIMARY KEY (key, at, token)) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_SIDE: Final = struct.Struct("<8sQQQ")  # magic; commits; bytes in the -wal, about; 1: a checkpoint runs
_MAGIC: Final = b"g360lock"
_CHECKPOINT_BYTES: Final = 4 << 20
_MOUNTS: Final = Path("/proc/self/mountinfo")
_REMOTE: Final = re.compile(
    r"nfs4?|cifs|smb3|smbfs|9p|afs|ceph|lustre|glusterfs|gpfs|ocfs2|gfs2|beegfs|virtiofs|vboxsf"
    r"|fuse\.(sshfs|s3fs|rclone|glusterfs|ceph|ceph-fuse|gcsfuse|grpcfuse|osxfs)"
)
_FORBIDDEN: Final = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
)
_LOCKED: Final = ("is locked by another program", "no other program that writes to its file")
_PASSING: Final = {
    sqlite3.SQLITE_FULL: ("cannot be written: its disk is full", "room on the disk"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: its disk fails or is full", "a disk with room"),
    sqlite3.SQLITE_NOMEM: ("has no memory left", "free memory"),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
}
_Side: TypeAlias = tuple[int, int, bool]
"""The number of commits, about how many bytes are in the -wal, and whether a checkpoint was broken off."""
_files: set[SqliteFile] = set()  # those of this process that are open


class SqliteFile:
    """The database and its lock file, for one thread. Its first transaction opens it.

    Args:
        path: The database, an absolute path without symbolic links. If there is none it is made, for its owner only.
        timeout: Seconds to wait for a program that writes to the database without the lock file.
        repair: Whether to accept the database as it is, whatever it has lost.
    """

    def __init__(self, path: Path, timeout: float, *, repair: bool = False) -> None:
        self.path = path
        self._timeout = timeout
        self._repair = repair
        self._side = -1
        self._side_identity = 0, 0
        self._connection: sqlite3.Connection | None = None
        self._opened: list[tuple[int, int] | None] = []
        self._wal = -1
        self._prune_at = 0.0

    def transact(self, keys: Sequence[str], work: Callable[[Transaction], _T]) -> _T:
        """Read what the keys hold, let `work` change it, and commit. All of it is applied, or an error raised.

        Args:
            keys: The keys of the entries that `work` looks at.
            work: Gets the transaction and gives the result.

        Raises:
            StoreError: It failed, or data were lost.
        """
        try:
            with self._locked():
                commits, size, is_marked = side = self._read_side()
                connection = self._connected(commits)
                try:
                    result, transaction = self._commit(connection, keys, work, side)
                except BaseException:
                    # At once: the error's traceback may keep cursors, and with them SQLite's locks.
                    self._disconnect()
                    raise
                if is_marked or transaction.commits != commits:
                    size += transaction.written
                    self._write_side(transaction.commits, size, 0)
                if size > _CHECKPOINT_BYTES:
                    with suppress(sqlite3.Error):  # it stays marked, and is done again
                        self._checkpoint(connection)
            if transaction.written:
                _sync(self._wal)
            return result
        except (sqlite3.Error, OSError) as exc:
            raise _explained(exc) from exc

    def _commit(
        self,
        connection: sqlite3.Connection,
        keys: Sequence[str],
        work: Callable[[Transaction], _T],
        side: _Side,
    ) -> tuple[_T, Transaction]:
        commits, _, is_marked = side
        if is_marked:
            ((_, frames, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if frames < 1 and not self._repair:
                raise StoreError("has lost its -wal in the middle of a checkpoint", _CURE)
        connection.execute("BEGIN IMMEDIATE")
        transaction = Transaction(connection, keys)
        lost = commits - transaction.commits
        if lost > 0 and not self._repair:
            raise StoreError(f"has lost its last {lost} commits: its -wal is missing, damaged or old", _CURE)
        result = work(transaction)
        if transaction.is_changed:
            self._prune_at = transaction.write(self._prune_at)
        connection.execute("COMMIT")
        self._require_same()
        return result, transaction

    def close(self) -> None:
        """Close it. A database that no other process has open is one file then, without a `-wal`."""
        with suppress(StoreError, OSError), self._locked():
            self._disconnect()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._close_wal()
        self.close_side()

    def close_side(self) -> None:
        """Close the lock file, as a forked child has to: it would keep the lock of a parent that was killed."""
        _files.discard(self)
        side, self._side = self._side, -1
        if side >= 0:
            os.close(side)

    # --- the connection

    def _connected(self, commits: int) -> sqlite3.Connection:
        if self._connection is not None:
            if self._identities() == self._opened:
                return self._connection
            # Another process has taken itself for the last one, for this one had lost its locks, and has copied the
            # -wal into the database and deleted it.
            self._disconnect()
        kind = self.file_system()
        if _REMOTE.fullmatch(kind):
            problem = f"is on a network file system ({kind}), whose locks do not keep two machines apart"
            raise StoreError(problem, "a path on a disk of this machine, or RedisStore or PostgresStore")
        if self._opened:
            self._require_same(only_database=True)
        elif not self.path.exists():
            if commits and not self._repair:
                raise StoreError("has lost its file: only its -lock is there", _CURE)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        try:
            self._set_up(connection)
            self._opened = self._identities()
            self._close_wal()
            if fcntl is not None:
                self._wal = os.open(f"{self.path}-wal", os.O_RDONLY)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        if fcntl is not None:  # they hold the lock in turn
            _files.add(self)
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if tables and application != _APPLICATION:
            raise StoreError("is a database of another program", "a path of its own")
        if tables and version != _VERSION:
            problem = f"has schema {version}, not {_VERSION}"
            raise StoreError(problem, "the version of this library that made it")
        # A commit changes many pages, and little in each.
        connection.execute("PRAGMA page_size = 1024").close()
        ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if mode != "wal":
            raise StoreError("cannot have a -wal on its file system", "a path on a disk of this machine")
        autocheckpoint = f"wal_autocheckpoint = {1000 if fcntl is None else 0}"
        synchronous = f"synchronous = {'FULL' if fcntl is None else 'NORMAL'}"
        for setting in synchronous, "fullfsync = 1", "checkpoint_fullfsync = 1", autocheckpoint:
            connection.execute(f"PRAGMA {setting}").close()
        if not tables:
            connection.executescript(_SCHEMA).close()
        connection.execute("SELECT key FROM entry LIMIT 1").close()  # opens the -wal

    def _close_wal(self) -> None:
        wal, self._wal = self._wal, -1
        if wal >= 0:
            os.close(wal)

    def _disconnect(self) -> None:
        """Close the connections of this process, under the lock: SQLite lets them share what they see of a -shm."""
        first, is_same = self._connection, self._identities() == self._opened
        if first is not None and is_same:
            with suppress(sqlite3.Error):  # what is committed is in the -wal
                first.rollback()
                self._checkpoint(first)  # marked; SQLite makes one in closing the last one of all
        for file in {self, *(file for file in _files if file.path == self.path)}:
            connection, file._connection = file._connection, None  # noqa: SLF001
            if connection is not None:
                connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        self._write_side(None, None, 1)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
        self._write_side(None, 0, 0)  # the next commit begins the -wal anew, in place

    # --- names and identities

    def _identities(self) -> list[tuple[int, int] | None]:
        return [_identity(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm")]

    def _require_same(self, *, only_database: bool = False) -> None:
        found = self._identities()
        if found[0] != self._opened[0]:
            problem = "was deleted or replaced while this program had it open"
            raise StoreError(problem, "a restart of the program, when the file is the right one")
        if found != self._opened and not only_database:
            problem = "may not have been written: another program has deleted its -wal or its -shm"
            raise StoreError(problem, "no other program that opens its file", passing=True)

    def file_system(self) -> str:
        """Return the type of the file system, as Linux calls it; empty: unknown."""
        with suppress(OSError):
            device = self.path.parent.stat().st_dev
            wanted = f"{os.major(device)}:{os.minor(device)}"
            for line in _MOUNTS.read_text("utf-8", "replace").splitlines():
                mount, _, rest = line.partition(" - ")
                if mount.split(" ", 3)[2] == wanted:
                    return rest.split(" ", 1)[0]
        return ""

    # --- the lock file

    @contextmanager
    def _locked(self) -> Generator[None]:
        if fcntl is None:
            yield
            return
        name = f"{self.path}-lock"
        if self._side < 0:
            self._side = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            found = os.fstat(self._side)
            self._side_identity = found.st_dev, found.st_ino
        fcntl.flock(self._side, fcntl.LOCK_EX)  # the store bounds the time that its callers wait for this
        try:
            if _identity(name) != self._side_identity:
                problem = "has lost its -lock: it was deleted or replaced while this program had it open"
                raise StoreError(problem, "a restart of the program, when the file is the right one")
            yield
        finally:
            fcntl.flock(self._side, fcntl.LOCK_UN)

    def _read_side(self) -> _Side:
        if fcntl is None:
            return 0, 0, False
        data = os.pread(self._side, _SIDE.size, 0)
        if len(data) == _SIDE.size:
            magic, commits, size, is_marked = _SIDE.unpack(data)
            if magic == _MAGIC:
                return commits, size, bool(is_marked)
        if not self._repair and (data or (self.path.exists() and self.path.stat().st_size)):
            raise StoreError("has lost its -lock, which tells whether its file is the newest", _CURE)
        self._write_side(0, 0, 0)
        return 0, 0, False

    def _write_side(self, commits: int | None, size: int | None, mark: int) -> None:
        """Write the lock file from the first number on that is given."""
        if fcntl is not None:
            data = _SIDE.pack(_MAGIC, commits or 0, size or 0, mark)
            start = 0 if commits is not None else 16 if size is not None else 24
            os.pwrite(self._side, data[start:], start)


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116  # some six in a transaction
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _sync(wal: int) -> None:
    if fcntl is None:
        return
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where the other one ends before the disk has written
        fcntl.fcntl(wal, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(wal)


def _explained(error: sqlite3.Error | OSError) -> StoreError:
    if isinstance(error, OSError):
        problem = f"cannot use its files: {error.strerror}"
        if error.errno in _FORBIDDEN:
            return StoreError(problem, "a path in a folder that this user can write to")
        return StoreError(problem, "a disk that works and has room", passing=True)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _PASSING:
        problem, expected = _PASSING[code]
        return StoreError(problem, expected, passing=True)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreError(f"is damaged: {error}", DAMAGE_CURE)
    return StoreError(f"cannot be used: {error}", "a file, in a folder, that this user can read and write")


def _in_child() -> None:
    for file in list(_files):
        file.close_side()


if fcntl is not None:
    os.register_at_fork(after_in_child=_in_child)
