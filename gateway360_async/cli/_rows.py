"""Read requests from a file: a CSV with the API's field names as columns, or one number a line.

Rules of this module:

- The header is checked before anything is sent; the rows are read as they are needed.
- A row is never dropped: what does not fit the columns stays in it, under a name that makes it invalid.
- A cell that cannot be read makes its row invalid, in the words of a person with a spreadsheet; the rows around it are
  sent. Bytes that are not UTF-8 are such a cell.
- An empty cell means that the field is not given. A whole number may have a tail of `.0`, as spreadsheets write it.
"""

from __future__ import annotations

import asyncio
import csv
import re
import threading
from collections.abc import AsyncIterator, ItemsView, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Final, TextIO

from gateway360_async import InvalidRequest
from gateway360_async._repr import printable
from gateway360_async._text import has_lone_surrogate

from ._problems import UsageProblem

__all__ = ["COLUMNS", "FileProblem", "Row", "Rows", "from_thread"]

_TEXT_COLUMNS: Final = ("msisdn", "sender", "sms_text", "report_url", "pin_params.type")
_NUMBER_COLUMNS: Final = {
    "hlr_lookup": "yes, no, true, false, 1 or 0",
    "pin_params.length": "a whole number from 4 to 16",
    "pin_params.expires_in": "a whole number of seconds, 0 or more",
    "pin_params.max_tries": "a whole number, 0 or more",
}
"""The columns that do not hold texts, and what their cells may hold."""
COLUMNS: Final = (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)
_DELIMITERS: Final = ",;\t"
_INTEGER: Final = re.compile(r"(-?[0-9]{1,19})(?:\.0+)?")
_BOOLEANS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_NOT_UTF_8: Final = "this file is not UTF-8: save it as CSV UTF-8"
_SHOWN: Final = 20  # characters of a cell in an error


class FileProblem(Exception):
    """The file cannot be read on from a line. What came before it was sent."""


class Row(dict[str, object]):
    """The fields of one request, and where they stand in the file: from which line, to which.

    Where a cell cannot be read, taking the fields raises `InvalidRequest`, as building the request would.
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
    """The rows of an open file.

    Args:
        file: The file, opened with `newline=""` and `errors="surrogateescape"`.
        name: What to call it in an error.

    Raises:
        UsageProblem: The header names no `msisdn`, an unknown column, or a column twice.
    """

    def __init__(self, file: TextIO, name: str) -> None:
        self._name = name
        self._skipped = 0
        self.headed = False
        """Whether the first line that is not empty is a header."""
        self.headed_by = 0
        """The lines at the top that are no entries: the header, and empty ones before it."""
        self.bare_cr = False
        """Whether a line that was read ends with a carriage return alone: no other tool counts lines as this then."""
        lines = self._watched(file)
        first = ""
        for first in lines:
            if first.strip():
                break
            self._skipped += 1
        if "\0" in first:  # UTF-16, most likely: each byte would be a character of its own
            raise UsageProblem(f"{name}: {_NOT_UTF_8}")
        self.columns = _columns(first, name)
        if self.columns:
            delimiter = _delimiter(first)
            self._reader = csv.reader(lines, delimiter=delimiter)
            self._skipped += 1
            self.headed_by = self._skipped
            self.headed = True
        else:
            self._lines = chain([first], lines)

    def __iter__(self) -> Iterator[Row]:
        return self._from_csv() if self.columns else self._from_lines()

    def _watched(self, file: Iterable[str]) -> Iterator[str]:
        for line in file:
            if line.endswith("\r"):
                self.bare_cr = True
            yield line

    def _from_lines(self) -> Iterator[Row]:
        for line, text in enumerate(self._lines, self._skipped + 1):
            if text.strip():
                yield _row(line, line, ("msisdn",), [text])

    def _from_csv(self) -> Iterator[Row]:
        while True:
            line = self._skipped + self._reader.line_num + 1
            try:
                cells = next(self._reader, None)
            except csv.Error as exc:
                raise FileProblem(
                    f"{self._name}, line {line}: {exc}; nothing from this line on can be read"
                ) from None
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield _row(line, self._skipped + self._reader.line_num, self.columns, cells)


def _columns(header: str, name: str) -> tuple[str, ...]:
    """Read the header, or give `()` for a file of one number a line."""
    try:
        rows = list(csv.reader([header], delimiter=_delimiter(header)))
    except csv.Error as exc:
        raise UsageProblem(f"{name}: the first line is no header: {exc}") from None
    columns = tuple(cell.strip().lower() for row in rows for cell in row)
    if "msisdn" not in columns:
        if len(columns) > 1 and has_lone_surrogate(header):
            raise UsageProblem(f"{name}: {_NOT_UTF_8}")
        if len(columns) > 1:
            raise UsageProblem(
                f"{name}: the first line names no msisdn column; known columns: {', '.join(COLUMNS)}"
            )
        return ()
    if has_lone_surrogate(header):
        raise UsageProblem(f"{name}: {_NOT_UTF_8}")
    for column in columns:
        if column not in COLUMNS:
            raise UsageProblem(f"{name}: unknown column {column!r}; known columns: {', '.join(COLUMNS)}")
        if columns.count(column) > 1:
            raise UsageProblem(f"{name}: the column {column!r} is there twice")
    return columns


def _delimiter(header: str) -> str:
    # Spreadsheets write a semicolon where the comma is the decimal point, as in Spain.
    return max(_DELIMITERS, key=header.count)


def _row(line: int, last: int, columns: tuple[str, ...], cells: list[str]) -> Row:
    fields: dict[str, object] = {}
    pin_params: dict[str, object] = {}
    problem: InvalidRequest | None = None
    for index, cell in enumerate(cells):
        if not cell.strip():
            continue
        column = columns[index] if index < len(columns) else f"column {index + 1}"
        try:
            value = _value(column, cell)
        except InvalidRequest as exc:
            problem = problem or exc.with_traceback(None)
            value = cell.encode("utf-8", "replace").decode().strip()
        group, dot, field = column.partition(".")
        if dot:
            pin_params[field] = value
        else:
            fields[group] = value
    if pin_params:
        fields["pin_params"] = pin_params
    return Row(line, fields, last, problem)


def _value(column: str, cell: str) -> object:
    """Read a cell, or raise `InvalidRequest` in the words of the person who filled it in."""
    if has_lone_surrogate(cell):  # bytes that no UTF-8 has
        raise InvalidRequest(column, _NOT_UTF_8, "CSV UTF-8")
    if column not in COLUMNS:
        raise InvalidRequest(column, "the first line names no such column", "no more cells than it names")
    if column not in _NUMBER_COLUMNS:
        return cell if column == "sms_text" else cell.strip()
    text = cell.strip()
    number = _INTEGER.fullmatch(text)
    value: int | None = int(number[1]) if number else None
    if column == "hlr_lookup":
        value = _BOOLEANS.get(number[1] if number else text.lower())
    if value is None:
        expected = _NUMBER_COLUMNS[column]
        raise InvalidRequest(column, f"{_shown(text)} is not {expected}", expected)
    return value


def _shown(text: str) -> str:
    """Show a cell in an error, but for one that may be a person's number or text in the wrong column."""
    digits = sum(map(str.isdecimal, text))
    return printable(text) if len(text) <= _SHOWN and digits < 7 else "the cell"


async def from_thread(rows: Iterator[Row]) -> AsyncIterator[Row]:
    """Read rows in a thread: a pipe or a terminal may keep its reader waiting, and the event loop must go on.

    A daemon thread, so that an interrupted command does not wait for a line that nobody types.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Row | Exception | None] = asyncio.Queue()
    ahead = threading.Semaphore(64)

    def read() -> None:
        end: Exception | None = None
        try:
            for row in rows:
                ahead.acquire()
                loop.call_soon_threadsafe(queue.put_nowait, row)
        except Exception as exc:  # noqa: BLE001  # raised again where the rows are awaited
            end = exc
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(queue.put_nowait, end)

    threading.Thread(target=read, name="gateway360-rows", daemon=True).start()
    while (row := await queue.get()) is not None:
        if isinstance(row, Exception):
            raise row
        ahead.release()
        yield row
