"""The way of a file's rows into a batch, until no more are to be begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from .. import _config
from ._problems import UsageProblem
from ._rows import Row

__all__ = ["Gate", "seconds_apart"]


def seconds_apart(rate: str | None) -> float | None:
    """Read a rate such as `30`, `30/s` or `1000/m`: how many seconds lie between two requests."""
    if rate is None:
        return None
    try:
        return _config.seconds_apart(rate, "--rate")
    except ValueError as exc:
        raise UsageProblem(str(exc)) from None


class Gate:
    """Lets rows pass until it is shut."""

    def __init__(self) -> None:
        self._shut = asyncio.Event()

    @property
    def is_shut(self) -> bool:
        """Whether no more rows pass."""
        return self._shut.is_set()

    def shut(self) -> None:
        """Let nothing in any more, and let go of who waits for a row."""
        self._shut.set()

    def rows(self, rows: Iterable[Row] | AsyncIterable[Row]) -> Iterator[Row] | AsyncIterator[Row]:
        """Give the rows that pass."""
        return self._awaited(rows) if isinstance(rows, AsyncIterable) else self._at_once(rows)

    def _at_once(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if self.is_shut:
                return
            yield row

    async def _awaited(self, rows: AsyncIterable[Row]) -> AsyncIterator[Row]:
        source = aiter(rows)
        shut = asyncio.ensure_future(self._shut.wait())
        try:
            while True:
                coming = asyncio.ensure_future(_next(source))
                try:
                    await asyncio.wait((coming, shut), return_when=asyncio.FIRST_COMPLETED)
                    row = None if self.is_shut else coming.result()
                finally:
                    coming.cancel()
                if row is None:
                    return
                yield row
        finally:
            shut.cancel()


async def _next(rows: AsyncIterator[Row]) -> Row | None:
    return await anext(rows, None)
