"""Read a CSV strictly: each cell as it was meant, or the line where it cannot be read.

Rules of this module:

- A quote in the wrong place moves cells of one row into another: one customer's SMS then holds another's number. So
  nothing is guessed: one such place refuses the file. The `csv` module cannot say on which line a quote opens.
- Only the text of an SMS may hold a line break; there, too, a line that looks like a row is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, cast

from ._problems import FileProblem

__all__ = ["CsvRows", "MalformedCell", "cells_of"]

_NO_ESCAPES: Final = 'a backslash escapes nothing in a CSV: put the cell in quotes, and write "" for a quote'
_AFTER_QUOTE: Final = 'there is text after the closing quote: write "" for a quote within a cell'
_WITHIN: Final = 'a quote stands within the cell: put the whole cell in quotes, and write "" for a quote'
_OPEN: Final = "a quote opens here and is not closed"
_BREAKS: Final = "only sms_text may hold a line break: take it out"
_LONGEST: Final = 1000
"""Characters of a cell that goes on in the next line: the text of an SMS has at most 160."""
_BREAK: Final = re.compile(r"\r\n|\r|\n")
_INSIDE: Final = re.compile(r'(?:[^"]|"")*+')
_NUMBER: Final = re.compile(r"[\s'+(=]*(?:\d[\s().'/-]*){7,}")


class MalformedCell(Exception):
    """A cell that cannot be read: why, its place in the row from 0, and where it begins and ends in the text."""

    def __init__(self, problem: str, index: int, start: int, end: int) -> None:
        super().__init__(problem)
        self.index = index
        self.start = start
        self.end = end
        self.is_open = problem == _OPEN


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    # In quotes, or as spreadsheets dress a number, or bare.
    other = rf'[^"\r\n{re.escape(delimiter)}]*+'
    return re.compile(rf'"(?P<quoted>(?:[^"]|"")*+)(?P<closed>"?)|="{other}"|{other}')


def cells_of(row: str, delimiter: str, text: int | None = None) -> list[str]:
    """Split a row, without the line break at its end, into its cells.

    Args:
        row: The row.
        delimiter: The character between two cells.
        text: The place of the cell that may hold line breaks; `None`: none may.

    Raises:
        MalformedCell: The first cell that cannot be read.
    """
    if '"' not in row and "\\" not in row:
        return row.split(delimiter)
    cells: list[str] = []
    end = -1
    while end < len(row):
        match = cast("re.Match[str]", _cell(delimiter).match(row, end + 1))  # a bare cell may be empty
        cell, quoted, start, end = match[0], match["quoted"], match.start(), match.end()
        problem: str | None = None
        if '\\"' in cell or cell.endswith("\\"):
            problem = _NO_ESCAPES
        elif quoted is not None and not match["closed"]:
            problem = _OPEN
        elif end < len(row) and row[end] != delimiter:
            problem = _WITHIN if quoted is None else _AFTER_QUOTE
        elif len(cells) != text and _BREAK.search(cell):
            problem = _BREAKS
        if problem is not None:
            raise MalformedCell(problem, len(cells), start, end)
        cells.append(cell if quoted is None else quoted.replace('""', '"'))
    return cells


class CsvRows:
    """The rows of a CSV below its header: of each its first and its last line, and its cells.

    Args:
        name: What to call the file in an error.
        lines: Its lines, with their numbers.
        delimiter: The character between two cells.
        columns: The columns' names.
        text: The place of the column that may hold line breaks; `None`: no column may.
    """

    def __init__(
        self,
        name: str,
        lines: Iterator[tuple[int, str]],
        delimiter: str,
        columns: Sequence[str],
        text: int | None,
    ) -> None:
        self._name = name
        self._lines = lines
        self._delimiter = delimiter
        self._columns = columns
        self._text = text
        # A line of a text may hold some commas, and hardly two of another delimiter.
        self._delimiters_of_a_row = max(len(columns) - 1, 4 if delimiter == "," else 2)

    def __iter__(self) -> Iterator[tuple[int, int, list[str]]]:
        for first, line in self._lines:
            yield self._row(first, line)

    def _row(self, first: int, row: str) -> tuple[int, int, list[str]]:
        """Read a row to its end, which may be some lines below."""
        last = first
        while True:
            try:
                return first, last, cells_of(row.rstrip("\r\n"), self._delimiter, self._text)
            except MalformedCell as exc:
                goes_on = exc.is_open and len(row) - exc.start < _LONGEST
                following = next(self._lines, None) if goes_on else None
                if following is None or self._is_row(following[1]):
                    raise self._problem(first, row, exc, following) from None
                last, more = following
                row += more

    def _is_row(self, line: str) -> bool:
        """Whether what an open quote would take of a line looks like a row."""
        taken = cast("re.Match[str]", _INSIDE.match(line))[0].split(self._delimiter)
        return len(taken) > self._delimiters_of_a_row or any(map(_NUMBER.fullmatch, taken))

    def _problem(
        self, first: int, row: str, exc: MalformedCell, following: tuple[int, str] | None
    ) -> FileProblem:
        opens, closes = (
            first + len(_BREAK.findall(row, 0, at))
            for at in (exc.start, exc.start if exc.is_open else exc.end)
        )
        lines = f"line {opens}" if opens == closes else f"lines {opens} to {closes}"
        column = self._columns[exc.index] if exc.index < len(self._columns) else ""
        like_a_row = "" if following is None else f": line {following[0]} looks like a row"
        where = f"{lines}, {column or f'column {exc.index + 1}'}"
        return FileProblem(f"{self._name}, {where}: {exc}{like_a_row}")
