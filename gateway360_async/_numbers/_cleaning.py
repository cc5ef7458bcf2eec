"""What people type, to digits: what is left of a text once all is removed that says nothing, or why it is no number."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from .._errors import InvalidRequest
from .._text import ascii_digit, is_dash, is_format, name_character

__all__ = ["NUMBER_EXPECTED", "cleaned", "refused"]

_LONGEST_TEXT: Final = 250
"""Characters, as in libphonenumber: a longer text holds no number, and would take long."""

NUMBER_EXPECTED: Final = "a number with its country calling code, such as +34…; spaces, dots, dashes, slashes and parentheses may be in it"
_FULL_WIDTH_PLUS: Final = "\uff0b"
_DRESSED: Final = re.compile(
    r"""\s*(="\s*)?(?:'\s*)?(?:tel:\s*)?(.*?)(?(1)\s*")\s*""", re.DOTALL | re.IGNORECASE
)
_FLOAT: Final = re.compile(r"(\+?[0-9]+)\.0+")
_BODY: Final = re.compile(r"[ ./()-]*\+?[0-9 ./()-]*")
_SEPARATORS: Final = str.maketrans("", "", " ./()-+")
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-]?[0-9]+")
_ONE_DOT: Final = re.compile(r"(\+?[^.]*)\.([0-9]+)")
_YEAR: Final = "(?:19|20)[0-9]{2}"
_DATE: Final = re.compile(
    rf"{_YEAR}([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])"
    rf"|(?:0?[1-9]|[12][0-9]|3[01])([-./])(?:0?[1-9]|[12][0-9]|3[01])\2{_YEAR}"
)
_DOTTED_QUAD: Final = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})(?:\.(?!$)|$)){4}")


class _Characters(dict[int, str | None]):
    """A table for `str.translate`: each character as numbers have it, filled as characters are met."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        read: str | None = ascii_digit(char) or char
        if is_format(char):
            read = None
        elif unicodedata.category(char) == "Zs":
            read = " "
        elif is_dash(char):
            read = "-"
        elif char == _FULL_WIDTH_PLUS:
            read = "+"
        if len(self) < _MOST_CHARACTERS:
            self[code] = read
        return read


_MOST_CHARACTERS: Final = 2000  # kept, whatever the world types
_CHARACTERS: Final = _Characters()


def refused(problem: str, expected: str) -> InvalidRequest:
    return InvalidRequest("msisdn", problem, expected)


def cleaned(text: str, *, national: bool) -> tuple[str, bool, str]:
    """Give the digits of a text, whether they are marked as international, and how they are written."""
    if len(text) > _LONGEST_TEXT:
        raise refused(f"has {len(text)} characters", NUMBER_EXPECTED)
    plain = text if text.isascii() else text.translate(_CHARACTERS)
    dressed = _DRESSED.fullmatch(plain)
    body = plain if dressed is None else dressed[2]
    if (number := _FLOAT.fullmatch(body)) is not None:
        body = number[1]
    if _BODY.fullmatch(body) is None:
        raise refused(*_what_is_no_number(text, body, 0 if dressed is None else dressed.start(2)))
    digits = body.translate(_SEPARATORS)
    marked = "+" in body
    if not marked:
        _refuse_other_things(body)
        if digits.startswith("00"):
            digits, marked = digits[2:], True
    if not digits:
        raise refused("is empty", NUMBER_EXPECTED)
    if marked and digits.startswith("0"):
        raise refused("starts with 0, which no country calling code does", NUMBER_EXPECTED)
    if _is_decimal(body, grouped=marked or national or body.startswith("0")):
        raise refused("is a decimal number", "the digits alone; in a spreadsheet, format the column as text")
    return digits, marked, body


def _refuse_other_things(body: str) -> None:
    if _DATE.fullmatch(body):
        raise refused("is a date", NUMBER_EXPECTED)
    if _DOTTED_QUAD.fullmatch(body):
        raise refused("is an IP address", f"{NUMBER_EXPECTED}; with the +, it may be written with dots")


def _is_decimal(body: str, *, grouped: bool) -> bool:
    """Whether the one dot of a text is a decimal point, and not between groups of digits as in 0171.1234567.

    Args:
        body: The text.
        grouped: Whether two groups of digits can be a number: not if nothing says which country's.
    """
    match = _ONE_DOT.fullmatch(body)
    if match is None:
        return False
    head, tail = match[1], match[2]
    whole = head.strip("+")
    if len(tail) < 3 or not tail.strip("0"):
        return True
    return whole.isdigit() and not (grouped and len(whole) <= 6 <= len(tail))


def _what_is_no_number(text: str, body: str, start: int) -> tuple[str, str]:
    """Name the first character that no number has, by its code point and its place in the text as it came."""
    if _SCIENTIFIC.fullmatch(body):
        return (
            "is in scientific notation, which has lost digits",
            "the digits; in a spreadsheet, format the column as text",
        )
    at = next(
        index
        for index, char in enumerate(body)
        if not (char in "0123456789 ./()-" or (char == "+" and not body[:index].strip(" ./()-")))
    )
    kept = [index for index, char in enumerate(text) if _CHARACTERS[ord(char)] is not None]
    place = kept[start + at]
    return f"holds {name_character(text[place], place + 1)}", NUMBER_EXPECTED
