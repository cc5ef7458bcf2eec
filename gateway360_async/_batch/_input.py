"""A batch's input: any iterable or async iterable, numbered, and read no further than it is asked to.

Invariants:

- One reader at a time: an async generator refuses a second one.
- At its end it has ended for good, whatever the iterator would give later.
"""

# The annotations are for users' type checkers; the checks are for callers without one.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Final, cast

from .._exceptions import InvalidConfiguration

__all__ = ["InputReader"]

_END: Final = object()


class InputReader:
    """Reads the rows of a batch. Raise `InvalidConfiguration` if they are not iterable, or one row."""

    def __init__(self, rows: Iterable[object] | AsyncIterable[object]) -> None:
        self._sync: Iterator[object] | None = None
        self._async: AsyncIterator[object] | None = None
        if isinstance(rows, AsyncIterable):
            self._async = aiter(rows)
        elif isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, Mapping)):
            self._sync = iter(rows)
        else:
            name = type(cast("object", rows)).__name__
            del rows  # a number, perhaps: no traceback with local variables shows it
            expected = "an iterable or async iterable of rows"
            raise InvalidConfiguration("rows", f"is of type {name}", expected)
        self._lock = asyncio.Lock()
        self._count = 0
        self.is_at_hand = self._sync is not None
        """Whether it need not be waited for."""
        self.ended = False

    def read_now(self) -> tuple[int, object] | None:
        """Read the next row and its index from an input that is at hand; `None`: there is none."""
        if self._sync is None or self.ended:
            return None
        return self._numbered(next(self._sync, _END))

    async def read(self) -> tuple[int, object] | None:
        """Read the next row and its index, or `None` at the end, and ever after."""
        if self._async is None:
            return self.read_now()
        async with self._lock:
            return None if self.ended else self._numbered(await anext(self._async, _END))

    def _numbered(self, row: object) -> tuple[int, object] | None:
        if row is _END:
            self.ended = True
            return None
        self._count += 1
        return self._count - 1, row
