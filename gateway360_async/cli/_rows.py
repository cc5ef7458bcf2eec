"""Read requests from a file: a CSV of the API's fields, or one number a line.

Invariants:

- A place where it is doubtful where a row begins or ends, and bytes that are not UTF-8, refuse the file: see `_csv`.
- A row is never dropped: a cell that fits no column, or cannot be read, makes its row invalid; the rows around it are
  sent.
- An empty cell means that the field is not given. A whole number may have a tail of `.0` or `,0`, as spreadsheets
  write it.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
import threading
from collections.abc import AsyncIterator, ItemsView, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Final, TextIO, TypeVar, cast

import attrs

from gateway360_async import InvalidRequest
from gateway360_async._numbers._characters import has_lone_surrogate
from gateway360_async._redaction import printable

from ._csv import (
    CELLS,
    FIELDS,
    Cells,
    Header,
    csv_rows,
    delimiter_of,
    header_of,
    nested,
    renamed_columns,
    visible,
)
from ._problems import FileProblem, UsageProblem

__all__ = ["Input", "Row", "Rows", "ThreadReader", "open_input", "taking_turns"]

_T = TypeVar("_T")

_SAVE: Final = 'open it in the spreadsheet, and save it as "CSV UTF-8"'
_NOT_UTF_8: Final = f"this is not UTF-8, but Windows-1252 or another encoding: {_SAVE}"
_NO_TEXT: Final = f"this is no text: {_SAVE}"
_KINDS: Final = {
    b"PK\x03\x04": "a spreadsheet (.xlsx, .ods, .numbers) or another zip file",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls) or another file of an old Office",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
}
_LONGEST: Final = 100_000  # characters of a line
_ESCAPED: Final = re.compile(r"\\[nrt]")
_SHOWN: Final = 20  # characters of a cell in an error
_AHEAD: Final = 64  # rows that are read from a pipe before they are wanted
_AT_A_TIME: Final = 500  # rows between two looks at whether Ctrl-C was pressed


class Row(dict[str, object]):
    """The fields of one request, and the lines of the file that they stand in.

    If a cell cannot be read, taking the fields raises `InvalidRequest`, as building the request would.
    """

    def __init__(
        self,
        line: int,
        fields: dict[str, object],
        last: int | None = None,
        problem: InvalidRequest | None = None,
    ) -> None:
        super().__init__(fields)
        self.line = line
        self.last = line if last is None else last
        self._problem = problem

    def items(self) -> ItemsView[str, object]:  # type: ignore[override]  # all that a mapping promises
        """Give the fields, or raise what is wrong with a cell."""
        if self._problem is not None:
            raise InvalidRequest(*self._problem.args)
        return super().items()


class Rows:
    """The rows of a file, open with `newline=""` and `errors="surrogateescape"`.

    Args:
        file: The file.
        name: Its name in errors.
        renamed: The columns' names by the fields of a request, if they differ.

    Raises:
        UsageProblem: The file is no text, or its first line names no column with the numbers.
    """

    def __init__(self, file: TextIO, name: str, renamed: Mapping[str, str] | None = None) -> None:
        self._name = name
        self.bare_cr = False
        """Whether a line that was read ends with a carriage return alone: no other tool counts lines as this then."""
        self._lines = self._checked(file)
        delimiter: str | None = None
        line, first = 0, ""
        for line, first in self._lines:  # noqa: B007  # the last one is looked at below
            delimiter = delimiter or delimiter_of(first)
            if visible(first).strip() and not delimiter_of(first):
                break
        else:
            first = ""
        try:
            self.header = header_of(first, delimiter, renamed or {}) if first else None
        except UsageProblem as exc:
            raise UsageProblem(f"{name}: {exc}") from None
        self.headed_by = line if self.header else max(0, line - 1)
        """The lines at the top that are no entries: the header, and those before it."""
        if self.header is None:
            self._lines = chain([(line, first)], self._lines)

    def has(self, field: str) -> bool:
        return self.header is not None and field in self.header.fields

    def __iter__(self) -> Iterator[Row]:
        for line, last, cells in self.cells():
            if self.header is None:
                yield Row(line, {"msisdn": cells[0].strip()})
            else:
                yield _row(line, last, self.header, cells)

    def cells(self) -> Iterator[Cells]:
        """Give the rows that are not empty, without a look into their cells."""
        rows: Iterable[Cells]
        if (header := self.header) is None:
            rows = ((line, line, [text]) for line, text in self._lines)
        else:
            text = header.fields.index("sms_text") if "sms_text" in header.fields else None
            rows = csv_rows(self._name, self._lines, header.delimiter, header.names, text)
        empty = True
        for row in rows:
            if visible("".join(row[2])).strip():
                empty = False
                yield row
        if empty:
            raise FileProblem(f"{self._name}: there are no numbers in it")

    def _checked(self, file: TextIO) -> Iterator[tuple[int, str]]:
        """Give the lines with their numbers, and refuse what is no text in UTF-8."""
        for number, line in enumerate(file, 1):
            if number == 1:
                start = line.encode("utf-8", "surrogateescape")
                kind = next((kind for magic, kind in _KINDS.items() if start.startswith(magic)), None)
                if kind is not None:
                    raise UsageProblem(f"{self._name}: this is {kind}, not a CSV: {_SAVE}")
            if not line.isascii() and has_lone_surrogate(line):
                raise FileProblem(f"{self._name}, line {number}: {_NOT_UTF_8}")
            if "\0" in line or len(line) > _LONGEST:
                raise FileProblem(f"{self._name}, line {number}: {_NO_TEXT}")
            if line.endswith("\r"):
                self.bare_cr = True
            yield number, line


def _row(line: int, last: int, header: Header, cells: list[str]) -> Row:
    columns: dict[str, object] = {}
    problem: InvalidRequest | None = None
    for index, cell in enumerate(cells):
        if not visible(cell).strip():
            continue
        column = header.fields[index] if index < len(header.fields) else ""
        if not column and index < len(header.names) and header.names[index]:
            continue  # a column of the person's own
        try:
            value = _value(column or f"column {index + 1}", cell)
        except InvalidRequest as exc:
            problem = problem or exc.with_traceback(None)
            value = cell.strip()
        if column:
            columns[column] = value
    return Row(line, nested(columns), last, problem)


def _value(column: str, cell: str) -> object:
    """Read a cell, or raise `InvalidRequest` in the words of a spreadsheet's user."""
    if column == "sms_text":
        if _ESCAPED.search(cell):
            raise InvalidRequest(
                column, r"holds \n or the like, which the phone shows as it is", "a line break itself"
            )
        return cell
    if column not in FIELDS:
        raise InvalidRequest(
            column, "the first line has no name for it", "a text that holds the separator to be in quotes"
        )
    if column not in CELLS:
        return cell.strip()
    text = visible(cell).strip()
    read, expected = CELLS[column]
    value = read(text)
    if value is None:
        # A person's number or text in the wrong column is not shown.
        harmless = len(text) <= _SHOWN and sum(map(str.isdecimal, text)) < 7
        shown = printable(text) if harmless else "the cell"
        raise InvalidRequest(column, f"{shown} is not {expected}", expected)
    return value


@attrs.frozen
class Input:
    """The input of a batch: its rows, with their number or the thread that reads them."""

    rows: Rows
    reader: ThreadReader | None = None
    total: int | None = None


async def open_input(name: str, columns: Iterable[str] | None, sender: str | None, files: ExitStack) -> Input:
    """Open the input and read its first line, and all of a file.

    So nothing is sent of a file that is broken.

    Args:
        name: The file; `-` is stdin.
        columns: Fields and the columns that hold them: `msisdn=phone`.
        sender: The sender of rows that name none.
        files: Closes the file.

    Raises:
        UsageProblem: The input cannot be read, or no row can have a sender.
    """
    if name == "-":
        file, called = cast("TextIOWrapper", sys.stdin), "stdin"
        file.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")
    else:
        path, called = Path(name), name
        file = files.enter_context(path.open(encoding="utf-8-sig", errors="surrogateescape", newline=""))
    regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    start = file.tell() if regular else 0
    renamed = renamed_columns(columns or ())
    rows = Rows(file, called, renamed)
    if sender is None and not rows.has("sender"):
        raise UsageProblem(f"{called}: no sender: give --sender, or a column named sender")
    if not regular:
        return Input(rows, ThreadReader(iter(rows)))
    total = 0
    async for _ in taking_turns(rows.cells()):
        total += 1
    file.seek(start)
    return Input(Rows(file, called, renamed), total=total)


async def taking_turns(rows: Iterable[_T]) -> AsyncIterator[_T]:
    """Give the rows, and let the event loop hear Ctrl-C on the way."""
    for index, row in enumerate(rows):
        if not index % _AT_A_TIME:
            await asyncio.sleep(0)
        yield row


class ThreadReader:
    """Reads rows of a pipe or a terminal in a thread, as the event loop must go on.

    A daemon thread, so that a command does not wait at its end for a line that is never typed.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._queue: asyncio.Queue[Row | Exception | None] = asyncio.Queue()
        self._ahead = threading.Semaphore(_AHEAD)
        self._stopped = False

    def stop(self) -> None:
        """End the rows, for a waiting reader, too."""
        self._stopped = True
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Row]:
        """Give the rows, or raise what their source raised."""
        read = (asyncio.get_running_loop(),)
        threading.Thread(target=self._read, args=read, name="gateway360-rows", daemon=True).start()
        while (row := await self._queue.get()) is not None and not self._stopped:
            if isinstance(row, Exception):
                raise row
            self._ahead.release()
            yield row

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        end: Exception | None = None
        try:
            for row in self._rows:
                self._ahead.acquire()
                loop.call_soon_threadsafe(self._queue.put_nowait, row)
        except Exception as exc:  # noqa: BLE001  # raised again where the rows are awaited
            end = exc
        with suppress(RuntimeError):  # the loop is closed, and no reader waits any more
            loop.call_soon_threadsafe(self._queue.put_nowait, end)
