"""The first line of a file: which column holds which field of a request."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

import attrs

from gateway360_async._numbers._characters import is_format
from gateway360_async._redaction import printable

from ._csv import MalformedCell, cells_of
from ._problems import UsageProblem

__all__ = ["FIELDS", "Header", "delimiter_of", "header_of", "renamed_columns", "unaccented", "visible"]

FIELDS: Final = (
    *("msisdn", "sender", "hlr_lookup", "sms_text", "report_url"),
    *("pin_params.type", "pin_params.length", "pin_params.expires_in", "pin_params.max_tries"),
)
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
_DELIMITERS: Final = ",;\t"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?\1*', re.IGNORECASE)


@attrs.frozen
class Header:
    """The columns of a file.

    Args:
        delimiter: The character between two cells.
        names: What the first line calls the columns; nothing for one without a name.
        fields: The field of a request that each holds; nothing for one that is not read.
    """

    delimiter: str
    names: Sequence[str]
    fields: Sequence[str]

    @property
    def notice(self) -> str | None:
        """Say which columns are not read, and which field they may be meant for."""
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


def renamed_columns(options: Iterable[str]) -> dict[str, str]:
    """Read `--column FIELD=NAME`: the columns' names by the fields. Raises `UsageProblem`."""
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
    """Give the delimiter that a spreadsheet's first line `sep=;` sets, if it is such a line."""
    match = _SEPARATOR_LINE.fullmatch(visible(line).strip("\r\n "))
    return None if match is None else match[1]


def header_of(line: str, delimiter: str | None, renamed: Mapping[str, str]) -> Header | None:
    """Read the first line; `None`: it is no header, but the first of numbers, one a line.

    Args:
        line: The line.
        delimiter: The delimiter, if the file says it.
        renamed: The columns' names by the fields, where they are not the fields' own.

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
        for index, key in enumerate(keys):
            if key == name.lower():
                fields[index] = field
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
    if likely is not None:
        add = _option("msisdn", likely)
        return f"the first line names no column msisdn; if {likely} holds the numbers, add {add}"
    if any(sum(map(str.isdecimal, name)) >= 7 for name in names):
        return (
            "the first line holds a number, not the columns' names: put a line such as msisdn,sender above it"
        )
    return (
        f"the first line names no column msisdn, but {', '.join(names)}: "
        "say which one holds the numbers, with --column msisdn=NAME"
    )


def _option(field: str, name: str) -> str:
    named = f"{field}={name}"
    return f"--column {named}" if re.fullmatch(r"[\w.=-]+", named) else f'--column "{named}"'


def _likely(field: str, names: Iterable[str]) -> str | None:
    """Give the name that is most likely a field's, the shortest of some."""
    usual = set(_USUAL[field].split())
    likely = [
        name
        for name in names
        if usual.intersection(_words(name)) or SequenceMatcher(None, name.lower(), field).ratio() > 0.8
    ]
    return min(likely, key=len, default=None)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", unaccented(name.lower()))
