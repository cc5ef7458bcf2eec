"""A ledger in a file of SQLite's, with the commits of many requests made as one.

Rules of this module:

- A commit waits for the disk, for milliseconds, so it is made in a thread, and whatever is asked meanwhile is
  in the next one: as many requests as are in flight share a commit, and none waits for more than two.
- What is asked is applied in the order of asking.
- After a failure nothing more is recorded: each later request gets the same `LedgerError` before it is sent.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from .._errors import InvalidConfiguration, LedgerError
from .._payloads import PinRequest
from .._records import is_settled, read_result, write_result
from .._results import Disposition, Ok, PinResult
from ._base import LedgerScope, Recorded
from ._file import Begin, Change, LedgerFile, Left, Look, Settle, State

__all__ = ["SqliteLedger"]

_Answer: TypeAlias = Left | None
_Asked: TypeAlias = tuple[Change, "asyncio.Future[_Answer]"]


class SqliteLedger:
    """A batch's durable memory in a file. Hand it to `client.batch(…, ledger=…)`, in every run of the batch.

    It uses Python's own `sqlite3`, and no server. The file is readable by its owner only.

    Args:
        path: The file; the first run makes it.
        store_numbers: Store whole phone numbers. By default a number is stored as a hash that only who has the
            API key can make.

    Raises:
        InvalidConfiguration: A value is of the wrong type.
    """

    def __init__(self, path: str | os.PathLike[str], *, store_numbers: bool = False) -> None:
        try:
            self._path = Path(path).absolute()
        except TypeError:
            name = type(path).__name__
            raise InvalidConfiguration("path", f"is of type {name}", "the path of a file") from None
        if not isinstance(store_numbers, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            name = type(store_numbers).__name__
            raise InvalidConfiguration("store_numbers", f"is of type {name}", "True or False")
        self._store_numbers = store_numbers

    def __repr__(self) -> str:
        return f"SqliteLedger({str(self._path)!r}, store_numbers={self._store_numbers})"

    async def open(self, scope: LedgerScope) -> _Session:
        """Take hold of the file; see `Ledger.open`."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="gateway360-ledger")
        opening = thread.submit(LedgerFile, self._path, scope.url, scope.api_key)
        try:
            file = await asyncio.wrap_future(opening)
        except BaseException:
            # Cancelled, it may be open in a moment: the thread closes it, and ends.
            opening.add_done_callback(_close_unwanted)
            thread.shutdown(wait=False)
            raise
        return _Session(file, thread, whole_numbers=self._store_numbers)


class _Session:
    def __init__(self, file: LedgerFile, thread: ThreadPoolExecutor, *, whole_numbers: bool) -> None:
        self._file = file
        self._thread = thread
        self._whole_numbers = whole_numbers
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Asked] = []
        self._committing = False
        self._idle: asyncio.Future[None] | None = None
        self._error: LedgerError | None = None

    async def begin(self, index: int, request: PinRequest, *, resend_unknown: bool) -> Recorded | None:
        hasher = self._file.hasher
        number = request.msisdn if self._whole_numbers else hasher.of_number(request.msisdn)
        asked = self._ask(Begin(index, hasher.of_request(request), number, resend_unknown))
        del number  # no traceback shows it
        return _read(index, await asked)

    async def recorded(self, index: int, request: PinRequest) -> Recorded | None:
        return _read(index, await self._ask(Look(index, self._file.hasher.of_request(request))))

    def settle(self, index: int, result: PinResult) -> asyncio.Future[Any]:
        state = State.OPEN
        if is_settled(result):
            state = State.MAYBE if result.disposition is Disposition.MAYBE_SENT else State.SETTLED
        return self._ask(Settle(index, state, write_result(result), sent=isinstance(result, Ok)))

    def _ask(self, change: Change) -> asyncio.Future[_Answer]:
        """Put a change on the list. It is applied whether its future is waited for or not."""
        future: asyncio.Future[_Answer] = self._loop.create_future()
        if self._error is not None:
            future.set_exception(self._error)
            return future
        self._asked.append((change, future))
        if not self._committing:
            self._commit()
        return future

    def _commit(self) -> None:
        """Begin a commit of all that is asked. No task waits for it, for a task can be cancelled."""
        asked, self._asked = self._asked, []
        self._committing = True
        try:
            commit = self._thread.submit(self._file.apply, [change for change, _ in asked])
        except RuntimeError as exc:  # the interpreter is ending, and its threads with it
            self._fail(asked, exc)
        else:
            commit.add_done_callback(partial(self._back_in_the_loop, asked))

    def _back_in_the_loop(self, asked: list[_Asked], commit: Future[list[_Answer | LedgerError]]) -> None:
        with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._committed, asked, commit)

    def _committed(self, asked: list[_Asked], commit: Future[list[_Answer | LedgerError]]) -> None:
        error = commit.exception()
        if error is not None:
            self._fail(asked, error)
            return
        for (_, future), answer in zip(asked, commit.result(), strict=True):
            if future.done():  # who waited was cancelled
                continue
            if isinstance(answer, LedgerError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._committing = False
        if self._asked:
            self._commit()
        else:
            self._rest()

    def _fail(self, asked: list[_Asked], error: BaseException) -> None:
        """Give all who wait, and all who will ask, the same error."""
        if not isinstance(error, LedgerError):
            failed = LedgerError(f"has failed ({type(error).__name__}: {error})", "an intact ledger's file")
            failed.__cause__ = error
            error = failed
        self._error = error
        asked += self._asked
        self._asked = []
        for _, future in asked:
            if not future.done():
                future.set_exception(error)
        self._committing = False
        self._rest()

    def _rest(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def aclose(self) -> None:
        if self._committing:
            self._idle = self._loop.create_future()
            await self._idle
        try:
            closing = self._thread.submit(self._file.close)
        except RuntimeError:  # the interpreter is ending, and its threads with it
            self._file.close()
        else:
            await asyncio.wrap_future(closing)
        self._thread.shutdown(wait=False)


def _read(index: int, left: _Answer) -> Recorded | None:
    if left is None:
        return None
    try:
        result = None if left.result is None else read_result(left.result)
    except Exception as exc:
        # Whatever cattrs or json makes of a text that this library did not write.
        problem = f"is damaged: the result of its entry {index} cannot be read"
        raise LedgerError(problem, "an intact ledger's file") from exc
    return Recorded(result, left.begun_again)


def _close_unwanted(opening: Future[LedgerFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
