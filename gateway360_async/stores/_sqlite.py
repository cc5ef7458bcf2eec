"""The store in a file: any number of processes of one machine share it.

Invariants:

- All that is asked while a transaction runs is in the next one: lists that are asked at the same time share a commit.
- A call waits for no longer than the store's `timeout`, and what its transaction has not begun by then is dropped.
"""

from __future__ import annotations

import asyncio
import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from .._exceptions import InvalidConfiguration, StoreError
from ._base import Answer, Claim, Completion, Identity, Record, Store
from ._sqlite_file import SqliteFile
from ._sqlite_records import Records
from ._sqlite_transaction import DAMAGE_CURE, Transaction

__all__ = ["SqliteStore"]

_T = TypeVar("_T")
_R = TypeVar("_R")

_IDENTITY: Final = "/identity"  # of the file, so of all its namespaces, none of which holds a slash
_LEAST_TIMEOUT: Final = 1.0  # seconds: a disk that is slow for once is not away
_REPAIR_TIMEOUT: Final = 60.0  # it reads the whole file
_LOST: Final = (
    "has lost its data: its epoch is another one than when this program connected",
    "a restart of the program, when it is known what was lost",
)


class SqliteStore(Store):
    """A store in a file on this machine's disk, which all its processes share. It uses Python's own `sqlite3`.

    The file is readable by its owner only. `<path>-lock`, `<path>-wal` and `<path>-shm` belong to it: whatever copies or
    moves it takes them along. After a backup was restored, `gateway360 store new-epoch URL`.

    Args:
        path: The file. Where there is none, `connect` makes it.
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
            problem = f"is of type {type(path).__name__}"
            raise InvalidConfiguration("path", problem, "the path of a file") from None
        self._records = Records(namespace, self.ttl)
        self._worker: _Worker | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r}, namespace={self.namespace!r})"

    async def _open(self, known: Identity | None) -> Identity:
        def identify(transaction: Transaction) -> Identity:
            row = transaction.get(_IDENTITY)
            if known is not None and (row is None or row[1] != known.epoch):
                raise StoreError(*_LOST)
            if row is None:
                row = (None, secrets.token_hex(8), secrets.token_hex(32))
                transaction.put(_IDENTITY, row)
            return Identity(row[1], bytes.fromhex(row[2]))

        if self._worker is None:
            self._worker = _Worker(self._path, max(self.timeout, _LEAST_TIMEOUT))
        return await self._worker.ask(identify, [_IDENTITY])

    async def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        return await self._each(self._records.claim, claims, self._records.keys(claims, is_new=True))

    async def complete(self, completions: Sequence[Completion]) -> list[bool]:
        claims = [completion.claim for completion in completions]
        keys = self._records.keys(claims)
        return await self._each(self._records.complete, completions, keys)

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        return await self._each(self._records.renew, claims, self._records.keys(claims))

    async def peek(self, records: Sequence[Record]) -> list[Answer]:
        keys = [self._records.key("r", record.key) for record in records]
        return await self._each(self._records.peek, records, keys)

    async def permits(self, key: bytes, count: int, interval: float) -> tuple[int, float]:
        work = partial(self._records.permits, count=count, interval=interval)
        return (await self._each(work, [key], [self._records.key("p", key)]))[0]

    async def header(self, key: bytes, value: str, *, replace: bool = False) -> str:
        work = partial(self._records.header, value=value, replace=replace)
        return (await self._each(work, [key], [self._records.key("h", key)]))[0]

    async def now(self) -> float:
        return (await self._each(lambda transaction, _: transaction.now, [None], []))[0]

    async def check(self) -> list[str]:
        return (await self._each(_warnings, [self._path], []))[0]

    async def new_epoch(self) -> str:
        """Accept the file as it is, and set a new epoch, that of all its namespaces."""

        def renew(transaction: Transaction) -> str:
            transaction.require_intact()
            _, _, secret = transaction.get(_IDENTITY) or (None, "", secrets.token_hex(32))
            epoch = secrets.token_hex(8)
            transaction.put(_IDENTITY, (None, epoch, secret))
            return epoch

        self._require_owner()
        worker = _Worker(self._path, max(self.timeout, _REPAIR_TIMEOUT), repair=True)
        try:
            return await worker.ask(renew, [_IDENTITY])
        finally:
            await worker.close()

    async def _each(
        self, work: Callable[[Transaction, _T], _R], items: Sequence[_T], keys: Iterable[str]
    ) -> list[_R]:
        self._require_owner()
        worker, identity = self._worker, self._identity
        if worker is None or identity is None:
            raise StoreError("is not connected", "`await store.connect()` before its use")

        def each(transaction: Transaction) -> list[_R]:
            row = transaction.get(_IDENTITY)
            if row is None or row[1] != identity.epoch:
                raise StoreError(*_LOST)
            return [work(transaction, item) for item in items]

        return await worker.ask(each, [_IDENTITY, *keys])


def _warnings(_: Transaction, path: Path) -> list[str]:
    found: list[str] = []
    if os.name == "posix" and path.stat().st_mode & 0o077:
        found.append(f"others can read or write its file, which holds results: `chmod 600 {path}`")
    kind = SqliteFile(path, 0.0).file_system()
    if kind in {"tmpfs", "ramfs"}:
        found.append(f"its file is in memory ({kind}): the machine's next start forgets all")
    return found


@attrs.frozen(eq=False)
class _Asked:
    keys: Sequence[str]
    work: Callable[[Transaction], Any]
    done: asyncio.Future[Any]


class _Worker:
    """The thread that has the file. It waits for the other processes without end; its callers do not."""

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
        self._asked.put(_Asked(keys, work, done))
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
        self._in_loop([self._ended], [None])

    def _transact(self, asked: Sequence[_Asked]) -> None:
        def work(transaction: Transaction) -> list[Any]:
            # Its caller may have gone while this thread waited for the lock.
            return [None if each.done.done() else _outcome(each, transaction) for each in asked]

        keys = [key for each in asked for key in each.keys]
        try:
            outcomes = self._file.transact(keys, work) if asked else []
        except StoreError as exc:
            outcomes = [StoreError(exc.problem, exc.expected, passing=exc.passing) for _ in asked]
        except Exception as exc:  # noqa: BLE001  # whatever a text makes json or a tuple raise that this library did not write
            problem = f"is damaged: what it holds cannot be read ({type(exc).__name__})"
            outcomes = [StoreError(problem, DAMAGE_CURE) for _ in asked]
        self._in_loop([each.done for each in asked], outcomes)

    def _in_loop(self, futures: Sequence[asyncio.Future[Any]], outcomes: Sequence[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._deliver, futures, outcomes)

    def _deliver(self, futures: Sequence[asyncio.Future[Any]], outcomes: Sequence[Any]) -> None:
        for future, outcome in zip(futures, outcomes, strict=True):
            if not future.done():
                if isinstance(outcome, StoreError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)


def _outcome(asked: _Asked, transaction: Transaction) -> Any:
    try:
        return asked.work(transaction)
    except StoreError as exc:  # before it has changed anything
        return exc
