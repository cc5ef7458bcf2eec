"""The rows that one transaction of a `SqliteStore` reads and writes.

The module `sqlite3` lets go of the interpreter's lock in each step, and gets it back late beside a busy event loop: so rows
are read and written as one text.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from .._exceptions import StoreError

__all__ = ["DAMAGE_CURE", "Transaction", "micros"]

DAMAGE_CURE: Final = (
    "the file set aside, or an intact copy in its place, and then `gateway360 store new-epoch URL`"
)

Row: TypeAlias = tuple[Any, ...]  # the first is when it expires on the store's clock; `None`: never

_CLOCK: Final = "/clock"  # no namespace holds a slash
_ROW_BYTES: Final = 1500  # that a row costs besides its text: a page of an index
_DELETED: Final = (0.0,)  # it has expired
_READ: Final = """SELECT group_concat('"' || key || '":' || body) FROM entry
    WHERE key IN (SELECT value FROM json_each(?))"""
_WRITE: Final = """INSERT INTO entry (key, expires, body)
    SELECT key, json_extract(value, '$[0]'), value FROM json_each(?) WHERE true
    ON CONFLICT (key) DO UPDATE SET expires = excluded.expires, body = excluded.body"""
_PRUNE: Final = """DELETE FROM entry WHERE rowid IN
    (SELECT rowid FROM entry WHERE expires <= ? ORDER BY expires LIMIT ?)"""
_COLUMNS: Final = """SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
    FROM json_each(?)"""
_COUNT: Final = f"INSERT OR IGNORE INTO counted (key, at, token) {_COLUMNS}"
_GIVE_BACK: Final = f"DELETE FROM counted WHERE (key, at, token) IN ({_COLUMNS})"  # noqa: S608  # constants
_DROP: Final = """DELETE FROM counted WHERE key = :key AND at <= min(:since,
    (SELECT max(at) FROM (SELECT at FROM counted WHERE key = :key ORDER BY at LIMIT 256)))"""
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Transaction:
    """The rows that it has read and changed, and its time.

    Attributes:
        now: Seconds on the store's clock.
        commits: How many there have been; with its own, once that is written.
        is_changed: Whether there is something to write.
        written: How many bytes it has written, about.
    """

    def __init__(self, connection: sqlite3.Connection, keys: Sequence[str]) -> None:
        self._connection = connection
        ((found,),) = connection.execute(_READ, (_encode((_CLOCK, *keys)),)).fetchall()
        self._rows: dict[str, Row | None] = json.loads(f"{{{found or ''}}}")
        self._written: dict[str, Row | None] = {}
        self._counted: dict[tuple[str, int, str], None] = {}
        self._given_back: list[tuple[str, int, str]] = []
        self.commits: int
        _, self.commits, latest, ahead = self._rows.get(_CLOCK) or (None, 0, 0.0, 0.0)
        now = time.time() + ahead
        self.now: float = max(now, latest)
        self._ahead: float = ahead + (self.now - now)
        self.is_changed = self.now > now
        self.written = 0

    def get(self, key: str) -> Row | None:
        """Give the row of a key that was read, unless it has expired."""
        row = self._rows.get(key)
        return None if row is None or (row[0] is not None and row[0] <= self.now) else row

    def put(self, key: str, row: Row | None) -> None:
        """Set a row; `None`: delete it."""
        self._rows[key] = self._written[key] = row
        self.is_changed = True

    def counted(self, key: str, most: int, window: float | None) -> int:
        """Give how many count within the window, and drop older ones: some, or all that make it `most`."""
        number: int
        _, number, oldest = self.get(key) or (None, 0, 0)
        since = micros(self.now - (window or 0.0))
        while window is not None and number and oldest <= since:
            number -= self._connection.execute(_DROP, {"key": key, "since": since}).rowcount
            ((oldest,),) = self._connection.execute(
                "SELECT min(at) FROM counted WHERE key = ?", (key,)
            ).fetchall()
            oldest = micros(self.now) if oldest is None else oldest
            self.put(key, (None, number, oldest))
            if number < most:
                break
        return number

    def count(self, key: str, token: str, window: float | None) -> None:
        """Count a token, now."""
        now = micros(self.now)
        _, number, oldest = self.get(key) or (None, 0, now)
        self.put(key, (None, number + 1, oldest))
        if window is not None:
            self._counted[key, now, token] = None

    def give_back(self, key: str, at: int, token: str) -> None:
        """Let a token not count after all that was counted at `at`."""
        _, number, oldest = self.get(key) or (None, 1, at)
        self.put(key, (None, number - 1, oldest))
        self._counted.pop((key, at, token), None)
        self._given_back.append((key, at, token))

    def require_intact(self) -> None:
        """Raise `StoreError` where SQLite finds damage. It reads the whole file."""
        ((found,),) = self._connection.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise StoreError(f"is damaged: {found}", DAMAGE_CURE)

    def write(self, prune_at: float) -> float:
        """Write what is changed, delete some of what has expired, and give when to do that again."""
        self.commits += 1
        self.put(_CLOCK, (None, self.commits, self.now, self._ahead))
        execute = self._connection.execute
        text = _encode({key: row or _DELETED for key, row in self._written.items()})
        execute(_WRITE, (text,))
        self.written = len(text) + _ROW_BYTES * len(self._written)
        if self._given_back:
            execute(_GIVE_BACK, (_encode(self._given_back),))
        if self._counted:
            execute(_COUNT, (_encode(list(self._counted)),))
        if self.now < prune_at <= self.now + 1.0:
            return prune_at
        most = 2 * len(self._written) + 16  # more than can have come, so that it ends
        return 0.0 if execute(_PRUNE, (self.now, most)).rowcount == most else self.now + 1.0


def micros(seconds: float) -> int:
    """Give a time in whole microseconds."""
    return round(seconds * 1e6)
