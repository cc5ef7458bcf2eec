"""The store in a file: any number of processes of one machine share it.

Invariants:

- All that is asked while a transaction runs is in the next one: lists that are asked at the same time share a commit.
- A call waits for no longer than the store's `timeout`; its work is dropped if its transaction runs later than that.
"""

from __future__ import annotations

import asyncio
import os
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

from .._exceptions import StoreError, wrong_setting
from .._retry import next_permits
from ._base import Answer, Claim, Completion, Identity, Record, Store, lost
from ._sqlite_file import SqliteFile
from ._sqlite_rows import DAMAGE_CURE, Records, Transaction, key_of, keys_of

__all__ = ["SqliteStore"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_Asked: TypeAlias = tuple[Sequence[str], Callable[[Transaction], Any], asyncio.Future[Any]]
"""The keys of the rows that it looks at, its work, and where its result goes."""

_IDENTITY: Final = "/identity"  # of the file, so of all its namespaces, none of which holds a slash
_LEAST_TIMEOUT: Final = 1.0  # seconds: a disk that is slow for once is not away
_REPAIR_TIMEOUT: Final = 60.0  # it reads the whole file
_TICK: Final = 1e-6  # seconds: what a time since 1970 is exact to


class SqliteStore(Store):
    """A store in a file on this machine's disk, which all its processes share. It uses Python's own `sqlite3`.

    The file is readable by its owner only. `<path>-lock`, `<path>-wal` and `<path>-shm` belong to it: whatever copies or
    moves it takes them along. After a backup was restored, `gateway360 store new-epoch URL`.

    Args:
        path: The file, which `connect` makes if there is none.
        namespace: As of `Store`.
        ttl: As of `Store`, in seconds.
        timeout: As of `Store`, in seconds; less than 1 is 1.

    Raises:
        InvalidConfiguration: A setting is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "gateway360",
        ttl: float = 604_800.0,
        timeout: float = 2.0,
    ) -> None:
        super().__init__(namespace=namespace, ttl=ttl, timeout=timeout)
        try:
            self._path = Path(path).resolve()
        except TypeError:
            raise wrong_setting("path", path, "the path of a file") from None
        self._worker: _Worker | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r}, namespace={self.namespace!r})"

    async def _open(self, known: Identity | None) -> Identity:
        def identify(rows: Transaction) -> Identity:
            row = rows.get(_IDENTITY)
            if known is not None and (row is None or row[1] != known.epoch):
                raise lost()
            if row is None:
                row = (None, secrets.token_hex(8), secrets.token_hex(32))
                rows.put(_IDENTITY, row)
            return Identity(row[1], bytes.fromhex(row[2]))

        if self._worker is None:
            self._worker = _Worker(self._path, max(self.timeout, _LEAST_TIMEOUT))
        return await self._worker.ask(identify, [_IDENTITY])

    async def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        return await self._each(Records.claim, claims, keys_of(self.namespace, claims, is_new=True))

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        keys = keys_of(self.namespace, (completion.claim for completion in completions))
        return await self._each(Records.complete, completions, keys)

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        return await self._each(Records.renew, claims, keys_of(self.namespace, claims))

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        keys = [key_of(self.namespace, "r", record.key) for record in records]
        return await self._each(Records.peek, records, keys)

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        def grant(records: Records, name: str) -> tuple[int, float]:
            rows = records.rows
            _, at = rows.get(name) or (None, rows.now)
            granted, seconds, following = next_permits(at, rows.now, count, interval, tick=_TICK)
            if granted:
                rows.put(name, (None, following))
            return granted, seconds

        return await self._one(grant, key_of(self.namespace, "p", key))

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        def swap(records: Records, name: str) -> str:
            row = records.rows.get(name)
            if row is None or replace:
                records.rows.put(name, (None, value))
            return value if row is None else str(row[1])

        return await self._one(swap, key_of(self.namespace, "h", key))

    async def now(self) -> float:
        return await self._one(lambda records, _: records.now, _IDENTITY)

    async def check(self) -> list[str]:
        def warnings(_: Records, __: str) -> list[str]:
            found: list[str] = []
            if os.name == "posix" and self._path.stat().st_mode & 0o077:
                cure = f"`chmod 600 {self._path}`"
                found.append(f"others can read or write its file, which holds results: {cure}")
            kind = SqliteFile(self._path, 0.0).file_system()
            if kind in {"tmpfs", "ramfs"}:
                found.append(f"its file is in memory ({kind}): the machine's next start forgets all")
            return found

        return await self._one(warnings, _IDENTITY)

    async def new_epoch(self) -> str:
        """Accept the file as it is, and set a new epoch, that of all its namespaces."""

        def renew(rows: Transaction) -> str:
            rows.require_intact()
            _, _, secret = rows.get(_IDENTITY) or (None, "", secrets.token_hex(32))
            epoch = secrets.token_hex(8)
            rows.put(_IDENTITY, (None, epoch, secret))
            return epoch

        self._require_affinity()
        worker = _Worker(self._path, max(self.timeout, _REPAIR_TIMEOUT), repair=True)
        try:
            return await worker.ask(renew, [_IDENTITY])
        finally:
            await worker.close()

    async def _one(self, work: Callable[[Records, str], _R], key: str) -> _R:
        return (await self._each(work, [key], [key]))[0]

    async def _each(
        self, work: Callable[[Records, _T], _R], items: Sequence[_T], keys: Sequence[str]
    ) -> list[_R]:
        epoch = self._known().epoch

        def each(rows: Transaction) -> list[_R]:
            row = rows.get(_IDENTITY)
            if row is None or row[1] != epoch:
                raise lost()
            records = Records(rows, self.namespace, self.ttl)
            return [work(records, item) for item in items]

        return await cast("_Worker", self._worker).ask(each, [_IDENTITY, *keys])


class _Worker:
    """The thread that has the file. It waits for other processes without end; its callers do not."""

    def __init__(self, path: Path, timeout: float, *, repair: bool = False) -> None:
        self._file = SqliteFile(path, timeout, repair=repair)
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon: this process may end while another one is stopped and has the lock.
        self._thread = threading.Thread(target=self._run, name="gateway360-store", daemon=True)
        self._thread.start()

    async def ask(self, work: Callable[[Transaction], _R], keys: Sequence[str]) -> _R:
        done: asyncio.Future[_R] = self._loop.create_future()
        self._asked.put((keys, work, done))
        try:
            async with asyncio.timeout(self._timeout):
                return await done
        except TimeoutError:
            problem = f"has not answered for {self._timeout:g} s: its disk is slow, or another process keeps its -lock"
            cure = "a faster disk, and no process that is stopped while it writes"
            raise StoreError(problem, cure, passing=True) from None

    async def close(self) -> None:
        """Close the file when all is written. A thread that does not get the lock is left to it."""
        self._asked.put(None)
        await asyncio.wait([self._ended], timeout=self._timeout)

    def _run(self) -> None:
        is_open = True
        while is_open:
            asked = [self._asked.get()]
            with suppress(queue.Empty):
                while True:
                    asked.append(self._asked.get_nowait())
            is_open = None not in asked
            self._transact([each for each in asked if each is not None])
        self._file.close()
        self._in_loop(self._ended.set_result, None)

    def _transact(self, asked: Sequence[_Asked]) -> None:
        def work(rows: Transaction) -> list[Any]:
            return [_outcome(one, rows) for one in asked]

        try:
            outcomes = (
                self._file.transact([key for keys, _, _ in asked for key in keys], work) if asked else []
            )
        except StoreError as exc:
            outcomes = [StoreError(exc.problem, exc.expected, passing=exc.passing) for _ in asked]
        except Exception as exc:  # noqa: BLE001  # what a row that this library did not write makes json raise
            problem = f"is damaged: what it holds cannot be read ({type(exc).__name__})"
            outcomes = [StoreError(problem, DAMAGE_CURE) for _ in asked]
        self._in_loop(_deliver, asked, outcomes)

    def _in_loop(self, deliver: Callable[..., object], *what: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(deliver, *what)


def _outcome(asked: _Asked, rows: Transaction) -> Any:
    _, work, done = asked
    if done.done():  # its caller has gone while this thread waited for the lock
        return None
    try:
        return work(rows)
    except StoreError as exc:  # before it has changed anything
        return exc


def _deliver(asked: Sequence[_Asked], outcomes: Sequence[Any]) -> None:
    for (_, _, done), outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, StoreError) and not done.done():
            done.set_exception(outcome)
        elif not done.done():
            done.set_result(outcome)
