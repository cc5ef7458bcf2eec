"""The rows that one transaction of a `SqliteStore` reads and writes.

The module `sqlite3` releases the interpreter's lock in each step, and gets it back late beside a busy event loop: so
rows are read and written as one text.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

from .._exceptions import StoreError
from ._base import WITHDRAWN_TTL, Claim, Count, Record
from ._rules import Kept, Rules

__all__ = ["DAMAGE_CURE", "Records", "Transaction", "key_of", "keys_of"]

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
_OLDEST: Final = "SELECT min(at) FROM counted WHERE key = ?"
_encode = json.JSONEncoder(separators=(",", ":")).encode
_row_of: Final = attrgetter(*(field.name for field in attrs.fields(Kept)))


class Transaction:
    """The rows that it has read and changed, and its time.

    Attributes:
        now: Seconds on the store's clock.
        commits: How many there have been; with its own, once that is written.
        is_changed: Whether there is something to write.
        written: How many bytes it has written, about.
        counted: The entries of counts to insert: key, time in microseconds, token.
        given_back: Those to delete.
    """

    def __init__(self, connection: sqlite3.Connection, keys: Sequence[str]) -> None:
        self.execute = connection.execute
        ((found,),) = self.execute(_READ, (_encode((_CLOCK, *keys)),)).fetchall()
        self._rows: dict[str, Row | None] = json.loads(f"{{{found or ''}}}")
        self._written: dict[str, Row | None] = {}
        self.counted: dict[tuple[str, int, str], None] = {}
        self.given_back: list[tuple[str, int, str]] = []
        self.commits: int
        _, self.commits, latest, ahead = self._rows.get(_CLOCK) or (None, 0, 0.0, 0.0)
        now = time.time() + ahead
        self.now: float = max(now, latest)
        self._ahead: float = ahead + (self.now - now)
        self.is_changed = self.now > now
        self.written = 0

    def get(self, key: str) -> Row | None:
        """Return the row of a key that was read, unless it has expired."""
        row = self._rows.get(key)
        return None if row is None or (row[0] is not None and row[0] <= self.now) else row

    def put(self, key: str, row: Row | None) -> None:
        """Set a row; `None`: delete it."""
        self._rows[key] = self._written[key] = row
        self.is_changed = True

    def require_intact(self) -> None:
        """Raise `StoreError` where SQLite finds damage. It reads the whole file."""
        ((found,),) = self.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise StoreError(f"is damaged: {found}", DAMAGE_CURE)

    def write(self, prune_at: float) -> float:
        """Write what is changed, delete some of what has expired, and return when to do that again."""
        self.commits += 1
        self.put(_CLOCK, (None, self.commits, self.now, self._ahead))
        text = _encode({key: row or _DELETED for key, row in self._written.items()})
        self.execute(_WRITE, (text,))
        self.written = len(text) + _ROW_BYTES * len(self._written)
        if self.given_back:
            self.execute(_GIVE_BACK, (_encode(self.given_back),))
        if self.counted:
            self.execute(_COUNT, (_encode(list(self.counted)),))
        if self.now < prune_at <= self.now + 1.0:
            return prune_at
        most = 2 * len(self._written) + 16  # more than can have come, so that it ends
        return 0.0 if self.execute(_PRUNE, (self.now, most)).rowcount == most else self.now + 1.0


class Records(Rules):
    """The records and counts of a namespace within a transaction.

    Args:
        rows: The transaction, which has read what `keys_of` names.
        namespace: The beginning of their keys.
        ttl: Seconds for which a claim's token is known to a count that has no window.
    """

    def __init__(self, rows: Transaction, namespace: str, ttl: float) -> None:
        self.rows = rows
        self.namespace = namespace
        self.now = rows.now
        self._ttl = ttl

    def find(self, record: Record | None) -> Kept | None:
        row = None if record is None else self.rows.get(key_of(self.namespace, "r", record.key))
        return None if row is None else Kept(*row)

    def keep(self, record: Record, kept: Kept | None) -> None:
        self.rows.put(key_of(self.namespace, "r", record.key), None if kept is None else _row_of(kept))

    def is_withdrawn(self, token: str) -> bool:
        return self.rows.get(key_of(self.namespace, "w", token)) is not None

    def withdraw(self, token: str) -> None:
        self.rows.put(key_of(self.namespace, "w", token), (self.now + WITHDRAWN_TTL,))

    def counted(self, count: Count, token: str) -> tuple[int, bool]:
        rows, key, since = self.rows, key_of(self.namespace, "n", count.key), self._since(count)
        number: int
        _, number, oldest = rows.get(key) or (None, 0, 0)
        while number and oldest <= since:  # drops older ones: some, or all that make it full
            number -= rows.execute(_DROP, {"key": key, "since": since}).rowcount
            ((oldest,),) = rows.execute(_OLDEST, (key,)).fetchall()
            oldest = micros(self.now) if oldest is None else oldest
            rows.put(key, (None, number, oldest))
            if number < count.most:
                break
        _, times = rows.get(key_of(self.namespace, "t", token)) or (None, {})
        return number, times.get(key, 0) > since

    def count(self, counts: Sequence[Count], token: str) -> None:
        rows, now, name = self.rows, micros(self.now), key_of(self.namespace, "t", token)
        expires, times = rows.get(name) or (0.0, {})
        for count in counts:
            key = key_of(self.namespace, "n", count.key)
            _, number, oldest = rows.get(key) or (None, 0, now)
            rows.put(key, (None, number + 1, oldest))
            if count.window is not None:
                rows.counted[key, now, token] = None
            expires = max(expires, self.now + (self._ttl if count.window is None else count.window))
            times = times | {key: now}
            rows.put(name, (expires, times))

    def give_back(self, counts: Sequence[Count], token: str) -> None:
        rows, name = self.rows, key_of(self.namespace, "t", token)
        for count in counts:
            expires, times = rows.get(name) or (0.0, {})
            key = key_of(self.namespace, "n", count.key)
            at = times.get(key, 0)
            if at > self._since(count):
                _, number, oldest = rows.get(key) or (None, 1, at)
                rows.put(key, (None, number - 1, oldest))
                rows.counted.pop((key, at, token), None)
                rows.given_back.append((key, at, token))
                rows.put(name, (expires, times | {key: 0}))

    def _since(self, count: Count) -> int:
        return 0 if count.window is None else micros(self.now - count.window)


def key_of(namespace: str, kind: str, name: bytes | str) -> str:
    """Name a row: `r` record, `n` number that count, `t` token that counts, `w` one withdrawn, `p` rate, `h` header."""
    if isinstance(name, bytes):
        return f"{namespace}/{kind}{name.hex()}"
    # It stands within a text that SQLite puts together, and that is read as JSON.
    is_plain = name.isascii() and name.isalnum()
    return f"{namespace}/{kind}{name if is_plain else '~' + name.encode('utf-8', 'surrogatepass').hex()}"


def keys_of(namespace: str, claims: Iterable[Claim], *, is_new: bool = False) -> list[str]:
    """Return the keys of the rows that claims look at; if they are new, also where a withdrawal stands."""
    keys: list[str] = []
    for claim in claims:
        if is_new:
            keys.append(key_of(namespace, "w", claim.token))
        if claim.counts:
            keys.append(key_of(namespace, "t", claim.token))
            keys += [key_of(namespace, "n", count.key) for count in claim.counts]
        keys += [
            key_of(namespace, "r", record.key)
            for record in (claim.record, claim.cooldown)
            if record is not None
        ]
    return keys


def micros(seconds: float) -> int:
    """Return a time in whole microseconds."""
    return round(seconds * 1e6)
