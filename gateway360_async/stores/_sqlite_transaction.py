"""The rows that one transaction of a `SqliteStore` reads and writes.

The module `sqlite3` lets go of the interpreter's lock in each step, and gets it back late beside a busy event loop. So rows
are read as one text, and written by one statement.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

__all__ = ["Row", "Transaction"]

Row: TypeAlias = "tuple[Any, ...]"  # the first is when it expires on the store's clock; `None`: never

_CLOCK: Final = "/clock"  # no namespace holds a slash
_MOST_ROWS: Final = 256  # of a statement: SQLite before 3.32 takes 999 parameters
_MOST_PRUNED: Final = 256
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Transaction:
    """The rows that it has read and changed, and its time.

    Attributes:
        now: Seconds on the store's clock.
        commits: How many there have been; with its own, once that is written.
        is_changed: Whether there is something to write.
    """

    def __init__(self, connection: sqlite3.Connection, keys: Sequence[str], ids: Sequence[str]) -> None:
        self._connection = connection
        self._rows = self._read(
            "SELECT group_concat('\"' || key || '\":' || body) FROM entry WHERE key IN", (_CLOCK, *keys)
        )
        self._counted = self._read(
            "SELECT group_concat('\"' || id || '\":' || at) FROM counted WHERE id IN", ids
        )
        self._written: dict[str, Row | None] = {}
        self._added: dict[str, str] = {}
        self._removed: list[str] = []
        _, self.commits, latest, ahead = self._rows.get(_CLOCK) or (None, 0, 0.0, 0.0)
        now = time.time() + ahead
        self.now: float = max(now, latest)
        self._ahead: float = ahead + (self.now - now)
        self.is_changed = self.now > now

    def get(self, key: str) -> Row | None:
        """Give a row, one of the keys that were read, unless it has expired."""
        row = self._rows.get(key)
        return None if row is None or (row[0] is not None and row[0] <= self.now) else row

    def put(self, key: str, row: Row | None) -> None:
        """Set a row; `None`: delete it."""
        self._rows[key] = self._written[key] = row
        self.is_changed = True

    def require_intact(self) -> None:
        """Raise `StoreError` where SQLite finds damage. It reads the whole file."""
        ((found,),) = self._connection.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    # --- counting

    def is_counted(self, id_: str, window: float) -> bool:
        """Whether this id counts within the window, in seconds."""
        at = self._counted.get(id_)
        return at is not None and at > _micros(self.now - window)

    def counted(self, key: str, most: int, window: float, *, forget: bool) -> int:
        """Give how many count within the window, and drop some of the older ones.

        Args:
            key: Where the number is kept.
            most: The number from which on all older ones are dropped.
            window: Seconds.
            forget: Whether the older ones go on to count, without their ids.
        """
        row = self.get(key)
        if row is None:
            return 0
        _, number, oldest = row
        since = _micros(self.now - window)
        while oldest <= since:
            older = "SELECT id FROM counted WHERE key = ? AND at <= ? ORDER BY at LIMIT ?"
            dropped = self._connection.execute(
                f"DELETE FROM counted WHERE id IN ({older})", (key, since, _MOST_PRUNED)
            )
            number -= 0 if forget else dropped.rowcount
            ((oldest,),) = self._connection.execute(
                "SELECT min(at) FROM counted WHERE key = ?", (key,)
            ).fetchall()
            oldest = _micros(self.now) if oldest is None else oldest
            self.put(key, (None, number, oldest))
            if forget or number < most:
                break
        return number

    def count(self, key: str, id_: str) -> None:
        """Count one, now."""
        now = _micros(self.now)
        _, number, oldest = self.get(key) or (None, 0, now)
        self.put(key, (None, number + 1, oldest))
        self._counted[id_] = now
        self._added[id_] = key

    def give_back(self, key: str, id_: str) -> None:
        """Let one that counts not count after all."""
        _, number, oldest = self.get(key) or (None, 1, 0)
        self.put(key, (None, number - 1, oldest))
        del self._counted[id_]
        if not self._added.pop(id_, ""):
            self._removed.append(id_)

    # --- reading and writing

    def write(self, prune_at: float) -> float:
        """Write what is changed, delete some of what has expired, and give when to do that again."""
        self.commits += 1
        self.put(_CLOCK, (None, self.commits, self.now, self._ahead))
        rows: list[tuple[Any, ...]] = []
        for key, row in self._written.items():
            rows.append((key, row[0], _encode(row)) if row is not None else (key, 0.0, "[0]"))
        self._change(
            "INSERT INTO entry (key, expires, body) VALUES {} ON CONFLICT (key) DO UPDATE"
            " SET expires = excluded.expires, body = excluded.body",
            rows,
        )
        self._change("DELETE FROM counted WHERE id IN (VALUES {})", [(id_,) for id_ in self._removed])
        now = _micros(self.now)
        self._change(
            "INSERT OR REPLACE INTO counted (id, key, at) VALUES {}",
            [(id_, key, now) for id_, key in self._added.items()],
        )
        if self.now < prune_at <= self.now + 1:
            return prune_at
        # Twice what was written: what expires is never more than what has been written at some time.
        limit = 2 * len(rows) + 16
        old = "SELECT rowid FROM entry WHERE expires <= ? ORDER BY expires LIMIT ?"
        pruned = self._connection.execute(f"DELETE FROM entry WHERE rowid IN ({old})", (self.now, limit))
        return self.now + 1 if pruned.rowcount < limit else 0.0

    def _read(self, query: str, keys: Sequence[str]) -> dict[str, Any]:
        found: list[str] = []
        for chunk in _chunks(keys):
            cursor = self._connection.execute(f"{query} ({','.join('?' * len(chunk))})", chunk)
            found += [text for (text,) in cursor.fetchall() if text is not None]
        read: dict[str, Any] = json.loads(f"{{{','.join(found)}}}")
        return read

    def _change(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for chunk in _chunks(rows):
            places = f"({','.join('?' * len(chunk[0]))})"
            values = [value for row in chunk for value in row]
            self._connection.execute(statement.format(",".join([places] * len(chunk))), values)


def _chunks(rows: Sequence[Any]) -> Iterator[list[Any]]:
    # Each as long as a power of two, by saying its last row again: so few statements are prepared.
    for start in range(0, len(rows), _MOST_ROWS):
        chunk = list(rows[start : start + _MOST_ROWS])
        yield chunk + chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
