"""Read requests from a file: a CSV with the API's field names as columns, or one number a line.

Rules of this module:

- What makes it doubtful where a row begins or ends, and bytes that are not UTF-8, refuse the file: see `_csv`.
- A row is never dropped: a cell that fits no column, or cannot be read, makes its row invalid, in the words of a person
  with a spreadsheet; the rows around it are sent.
- An empty cell means that the field is not given. A whole number may have a tail of `.0` or `,0`, as spreadsheets
  write it.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, ItemsView, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Final, TextIO

from gateway360_async import InvalidRequest, PinType
from gateway360_async._numbers._characters import has_lone_surrogate
from gateway360_async._redaction import printable

from ._columns import FIELDS, Header, delimiter_of, header_of, unaccented, visible
from ._csv import CsvRows
from ._problems import FileProblem, UsageProblem

__all__ = ["Row", "Rows", "from_thread"]

_EXPECTED: Final = {
    "hlr_lookup": "yes, no, 1 or 0",
    "pin_params.type": "numeric, alpha or alphanumeric",
    "pin_params.length": "a whole number from 4 to 16",
    "pin_params.expires_in": "a whole number of seconds, 0 or more",
    "pin_params.max_tries": "a whole number, 0 or more",
}
"""The columns that do not hold any text, and what their cells may hold."""
_INTEGER: Final = re.compile(r"(-?[0-9]{1,19})(?:\.0+|,00?)?")
_YES: Final = ("1", "yes", "y", "true", "si", "s", "verdadero")
_NO: Final = ("0", "no", "n", "false", "falso")
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
        renamed: The columns' names by the fields of a request, where they are not the fields' own.

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
        """Whether a column holds a field."""
        return self.header is not None and field in self.header.fields

    def __iter__(self) -> Iterator[Row]:
        for line, last, cells in self.cells():
            if self.header is None:
                yield Row(line, {"msisdn": cells[0].strip()})
            else:
                yield _row(line, last, self.header, cells)

    def cells(self) -> Iterator[tuple[int, int, list[str]]]:
        """Give the rows that are not empty, without a look into their cells: the first and the last line of each."""
        rows: Iterable[tuple[int, int, list[str]]]
        if (header := self.header) is None:
            rows = ((line, line, [text]) for line, text in self._lines)
        else:
            text = header.fields.index("sms_text") if "sms_text" in header.fields else None
            rows = CsvRows(self._name, self._lines, header.delimiter, header.names, text)
        empty = True
        for row in rows:
            if visible("".join(row[2])).strip():
                empty = False
                yield row
        if empty:
            raise FileProblem(f"{self._name}: there are no numbers in it")

    def _checked(self, file: TextIO) -> Iterator[tuple[int, str]]:
        """Number the lines, and refuse what is no text in UTF-8."""
        for number, line in enumerate(file, 1):
            if number == 1:
                self._refuse_other_kinds(line)
            if not line.isascii() and has_lone_surrogate(line):
                raise FileProblem(f"{self._name}, line {number}: {_NOT_UTF_8}")
            if "\0" in line or len(line) > _LONGEST:
                raise FileProblem(f"{self._name}, line {number}: {_NO_TEXT}")
            if line.endswith("\r"):
                self.bare_cr = True
            yield number, line

    def _refuse_other_kinds(self, line: str) -> None:
        start = line.encode("utf-8", "surrogateescape")
        kind = next((kind for magic, kind in _KINDS.items() if start.startswith(magic)), None)
        if kind is not None:
            raise UsageProblem(f"{self._name}: this is {kind}, not a CSV: {_SAVE}")


def _row(line: int, last: int, header: Header, cells: list[str]) -> Row:
    fields: dict[str, object] = {}
    pin_params: dict[str, object] = {}
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
        group, dot, field = column.partition(".")
        if dot:
            pin_params[field] = value
        elif group:
            fields[group] = value
    if pin_params:
        fields["pin_params"] = pin_params
    return Row(line, fields, last, problem)


def _value(column: str, cell: str) -> object:
    """Read a cell, or raise `InvalidRequest` in the words of the person who filled it in."""
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
    text = visible(cell).strip()
    if column not in _EXPECTED:
        return cell.strip()
    number = _INTEGER.fullmatch(text)
    value: object = int(number[1]) if number else None
    if column == "hlr_lookup":
        word = number[1] if number else unaccented(text.lower())
        value = word in _YES if word in (*_YES, *_NO) else None
    elif column == "pin_params.type":
        value = text.lower() if text.lower() in list(PinType) else None
    if value is None:
        raise InvalidRequest(column, f"{_shown(text)} is not {_EXPECTED[column]}", _EXPECTED[column])
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
