"""Read a CSV strictly: each cell as it was meant, or the line that cannot be read.

Invariants:

- A quote in the wrong place moves cells of one row into another: one customer's SMS then holds another's number. So
  one such place refuses the file. The `csv` module cannot say on which line a quote opens.
- Only the text of an SMS may hold a line break; there, too, a line that looks like a row is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Final, TypeAlias, cast

import attrs

from gateway360_async import PinType
from gateway360_async._numbers._characters import is_format
from gateway360_async._redaction import printable

from ._problems import FileProblem, UsageProblem

__all__ = [
    "CELLS",
    "FIELDS",
    "Cells",
    "Header",
    "MalformedCell",
    "cells_of",
    "csv_rows",
    "delimiter_of",
    "header_of",
    "nested",
    "renamed_columns",
    "unaccented",
    "visible",
]

Cells: TypeAlias = tuple[int, int, list[str]]
"""A row: its first and its last line, and its cells."""

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

_USUAL: Final[Mapping[str, str]] = {
    "msisdn": "phone telephone tel telf mobile cell cellphone number telefono tlf movil celular numero whatsapp",
    "sender": "from remitente emisor",
    "hlr_lookup": "hlr",
    "sms_text": "text message body sms texto mensaje",
    "report_url": "url callback webhook",
    "pin_params.type": "type tipo",
    "pin_params.length": "length longitud",
    "pin_params.expires_in": "expires expiry caducidad validez",
    "pin_params.max_tries": "tries attempts intentos",
}
"""The words by which people call the columns, in English and in Spanish."""
FIELDS: Final = tuple(_USUAL)
_INTEGER: Final = re.compile(r"(-?[0-9]{1,19})(?:\.0+|,00?)?")
_YES: Final = ("1", "yes", "y", "true", "si", "s", "verdadero")
_NO: Final = ("0", "no", "n", "false", "falso")
_DELIMITERS: Final = ",;\t"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?\1*', re.IGNORECASE)


def nested(columns: Mapping[str, object]) -> dict[str, object]:
    """Make the fields of a request of its columns: `pin_params.length` is a field of `pin_params`."""
    fields: dict[str, object] = {}
    groups: dict[str, dict[str, object]] = {}
    for column, value in columns.items():
        group, dot, name = column.partition(".")
        if dot:
            groups.setdefault(group, {})[name] = value
        else:
            fields[column] = value
    return fields | groups


class MalformedCell(Exception):
    """A cell that cannot be read: why, its place in the row, its start and its end."""

    def __init__(self, problem: str, index: int, start: int, end: int) -> None:
        super().__init__(problem)
        self.index = index
        self.start = start
        self.is_open = problem == _OPEN
        self.end = start if self.is_open else end


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    # In quotes, or as spreadsheets dress a number, or bare.
    other = rf'[^"\r\n{re.escape(delimiter)}]*+'
    return re.compile(rf'"(?P<quoted>(?:[^"]|"")*+)(?P<closed>"?)|="{other}"|{other}')


def cells_of(row: str, delimiter: str, text: int | None = None) -> list[str]:
    """Split a row, without the line break at its end, into its cells.

    Only the cell at the place `text` may hold line breaks. Raises `MalformedCell`.
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


def csv_rows(
    name: str, lines: Iterator[tuple[int, str]], delimiter: str, columns: Sequence[str], text: int | None
) -> Iterator[Cells]:
    """Read the rows of a CSV below its header, from numbered lines.

    Only the cell at the place `text` may hold line breaks. Raises `FileProblem`.
    """
    # A line of a text may hold some commas, and hardly two of another delimiter.
    delimiters = max(len(columns) - 1, 4 if delimiter == "," else 2)
    for first, row in lines:
        last = first
        cells: list[str] | None = None
        while cells is None:
            try:
                cells = cells_of(row.rstrip("\r\n"), delimiter, text)
            except MalformedCell as exc:
                goes_on = exc.is_open and len(row) - exc.start < _LONGEST
                following = next(lines, None) if goes_on else None
                if following is None or _looks_like_a_row(following[1], delimiter, delimiters):
                    found = "" if following is None else f": line {following[0]} looks like a row"
                    raise FileProblem(f"{name}, {_place(first, row, exc, columns)}: {exc}{found}") from None
                last, more = following
                row += more  # noqa: PLW2901  # the row ends some lines below
        yield first, last, cells


def _looks_like_a_row(line: str, delimiter: str, delimiters: int) -> bool:
    taken = cast("re.Match[str]", _INSIDE.match(line))[0].split(delimiter)  # by the open quote
    return len(taken) > delimiters or any(map(_NUMBER.fullmatch, taken))


def _place(first: int, row: str, exc: MalformedCell, columns: Sequence[str]) -> str:
    opens, closes = (first + len(_BREAK.findall(row, 0, at)) for at in (exc.start, exc.end))
    column = (columns[exc.index] if exc.index < len(columns) else "") or f"column {exc.index + 1}"
    return f"line {opens}, {column}" if opens == closes else f"lines {opens} to {closes}, {column}"


@attrs.frozen
class Header:
    """The columns of a file: their names, and the fields of a request that they hold.

    The name or the field that a column does not have is an empty text.
    """

    delimiter: str
    names: Sequence[str]
    fields: Sequence[str]

    @property
    def notice(self) -> str | None:
        """The columns that are not read, and the fields that they may be meant for."""
        unread = [name for name, field in zip(self.names, self.fields, strict=True) if name and not field]
        if not unread:
            return None
        missing = [field for field in FIELDS if field not in self.fields]
        likely = [_option(field, name) for field in missing if (name := _likely(field, unread))]
        asked = f"; perhaps you meant {' '.join(likely)}" if likely else ""
        return printable(f"columns that are not read: {', '.join(dict.fromkeys(unread))}{asked}")


def visible(text: str) -> str:
    """Leave out the format characters, such as a second byte-order mark."""
    return text if text.isascii() else "".join(char for char in text if not is_format(char))


def unaccented(text: str) -> str:
    """Leave out the accents, however they are written."""
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def _whole_number(text: str) -> int | None:
    number = _INTEGER.fullmatch(text)
    return int(number[1]) if number else None


def _yes_or_no(text: str) -> bool | None:
    number = _INTEGER.fullmatch(text)
    word = number[1] if number else unaccented(text.lower())
    return word in _YES if word in (*_YES, *_NO) else None


def _pin_type(text: str) -> str | None:
    return text.lower() if text.lower() in list(PinType) else None


CELLS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "hlr_lookup": (_yes_or_no, "yes, no, 1 or 0"),
    "pin_params.type": (_pin_type, "numeric, alpha or alphanumeric"),
    "pin_params.length": (_whole_number, "a whole number from 4 to 16"),
    "pin_params.expires_in": (_whole_number, "a whole number of seconds, 0 or more"),
    "pin_params.max_tries": (_whole_number, "a whole number, 0 or more"),
}
"""The columns that do not hold any text: a function that reads a cell (`None`: it cannot), and what they may hold."""


def renamed_columns(options: Iterable[str]) -> dict[str, str]:
    """Read `--column FIELD=NAME`, names by fields. Raises `UsageProblem`."""
    renamed: dict[str, str] = {}
    for option in options:
        field, _, name = (part.strip() for part in option.partition("="))
        if not name or field not in FIELDS or field in renamed:
            raise UsageProblem(
                f"--column {option}: write FIELD=NAME, such as msisdn=phone, once for each FIELD; "
                f"the fields are {', '.join(FIELDS)}"
            )
        renamed[field] = name
    return renamed


def delimiter_of(line: str) -> str | None:
    """Give the delimiter that a spreadsheet's line `sep=;` sets, if it is one."""
    match = _SEPARATOR_LINE.fullmatch(visible(line).strip("\r\n "))
    return None if match is None else match[1]


def header_of(line: str, delimiter: str | None, renamed: Mapping[str, str]) -> Header | None:
    """Read the first line; `None`: it is no header, but the first of numbers.

    Args:
        line: The line.
        delimiter: The delimiter, if the file says it.
        renamed: The columns' names by the fields, if they differ.

    Raises:
        UsageProblem: No column holds the numbers, or two hold the same field.
    """
    # Spreadsheets write a semicolon where the comma is the decimal point, as in Spain.
    delimiter = delimiter or max(_DELIMITERS, key=line.count)
    try:
        names = [cell.strip() for cell in cells_of(visible(line).rstrip("\r\n"), delimiter)]
    except MalformedCell as exc:
        raise UsageProblem(f"the first line, column {exc.index + 1}: {exc}") from None
    keys = [name.lower() for name in names]
    fields = [key if key in FIELDS and key not in renamed else "" for key in keys]
    for field, name in renamed.items():
        if name.lower() not in keys:
            raise UsageProblem(f"--column {field}={name}: the first line names no column {name}")
        fields = [field if key == name.lower() else of for key, of in zip(keys, fields, strict=True)]
    if "msisdn" not in fields:
        named = [name for name in names if name]
        likely = _likely("msisdn", named)
        if likely is None and len(names) == 1:
            return None
        raise UsageProblem(_no_numbers(named, likely))
    twice = next((field for field, number in Counter(fields).items() if field and number > 1), None)
    if twice is not None:
        raise UsageProblem(f"the first line names the column {names[fields.index(twice)]} twice")
    return Header(delimiter, names, fields)


def _no_numbers(names: Sequence[str], likely: str | None) -> str:
    if likely is None and any(sum(map(str.isdecimal, name)) >= 7 for name in names):
        return (
            "the first line holds a number, not the columns' names: put a line such as msisdn,sender above it"
        )
    if likely is None:
        cure = f"{', '.join(names)}: say which one holds the numbers, with --column msisdn=NAME"
        return f"the first line names no column msisdn, but {cure}"
    add = _option("msisdn", likely)
    return f"the first line names no column msisdn; if {likely} holds the numbers, add {add}"


def _option(field: str, name: str) -> str:
    named = f"{field}={name}"
    return f"--column {named}" if re.fullmatch(r"[\w.=-]+", named) else f'--column "{named}"'


def _likely(field: str, names: Iterable[str]) -> str | None:
    """Find the name that is most likely a field's, the shortest of some."""
    usual = set(_USUAL[field].split())
    likely = [
        name
        for name in names
        if usual.intersection(re.findall(r"[a-z]+", unaccented(name.lower())))
        or SequenceMatcher(None, name.lower(), field).ratio() > 0.8
    ]
    return min(likely, key=len, default=None)
