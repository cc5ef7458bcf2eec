"""The text that people type, to digits."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from .._exceptions import InvalidRequest
from ._characters import ascii_digit, is_dash, is_format, name_character

_LONGEST_TEXT: Final = 250  # characters, as in libphonenumber
NUMBER_EXPECTED: Final = "a number with its country calling code, such as +34…; spaces, dots, dashes, slashes and parentheses may be in it"
_AS_TEXT: Final = "in a spreadsheet, format the column as text"
_FULL_WIDTH_PLUS: Final = "\uff0b"
_DRESSED: Final = re.compile(
    r"""\s*(="\s*)?(?:'\s*)?(?:tel:\s*)?(.*?)(?(1)\s*")\s*""", re.DOTALL | re.IGNORECASE
)
_FLOAT: Final = re.compile(r"(\+?[0-9]+)\.0+")
_BODY: Final = re.compile(r"[ ./()-]*\+?[0-9 ./()-]*")
_SEPARATORS: Final = str.maketrans("", "", " ./()-+")
_ONE_DOT: Final = re.compile(r"(\+?[^.]*)\.([0-9]+)")
_YEAR: Final = "(?:19|20)[0-9]{2}"
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-]?[0-9]+")
_OTHER_THINGS: Final = (
    (
        re.compile(
            rf"{_YEAR}([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])"
            rf"|(?:0?[1-9]|[12][0-9]|3[01])([-./])(?:0?[1-9]|[12][0-9]|3[01])\2{_YEAR}"
        ),
        "is a date",
        NUMBER_EXPECTED,
    ),
    (
        re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})(?:\.(?!$)|$)){4}"),
        "is an IP address",
        f"{NUMBER_EXPECTED}; with the +, it may be written with dots",
    ),
)
_MOST_CHARACTERS: Final = 2000  # kept, whatever the world types


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


_CHARACTERS: Final = _Characters()


def refused(problem: str, expected: str = NUMBER_EXPECTED) -> InvalidRequest:
    return InvalidRequest("msisdn", problem, expected)


def cleaned(text: str, *, national: bool) -> tuple[str, bool, str]:
    """Return the digits of a text, whether they are marked as international, and how they are written."""
    if len(text) > _LONGEST_TEXT:
        raise refused(f"has {len(text)} characters")
    plain = text if text.isascii() else text.translate(_CHARACTERS)
    dressed = _DRESSED.fullmatch(plain)
    body = plain if dressed is None else dressed[2]
    if (number := _FLOAT.fullmatch(body)) is not None:
        body = number[1]
    if _BODY.fullmatch(body) is None:
        raise refused(*_wrong_character(text, body, 0 if dressed is None else dressed.start(2)))
    digits = body.translate(_SEPARATORS)
    marked = "+" in body
    if not marked:
        _refuse_other_things(body)
        if digits.startswith("00"):
            digits, marked = digits[2:], True
    if not digits:
        raise refused("is empty")
    if marked and digits.startswith("0"):
        raise refused("starts with 0, which no country calling code does")
    if _is_decimal(body, grouped=marked or national or body.startswith("0")):
        raise refused("is a decimal number", f"the digits alone; {_AS_TEXT}")
    return digits, marked, body


def _refuse_other_things(body: str) -> None:
    for pattern, problem, expected in _OTHER_THINGS:
        if pattern.fullmatch(body):
            raise refused(problem, expected)


def _is_decimal(body: str, *, grouped: bool) -> bool:
    """Whether the one dot is a decimal point, and not between groups of digits that can be a number (0171.1234567)."""
    match = _ONE_DOT.fullmatch(body)
    if match is None:
        return False
    whole, tail = match[1].strip("+"), match[2]
    if len(tail) < 3 or not tail.strip("0"):
        return True
    return whole.isdigit() and not (grouped and len(whole) <= 6 <= len(tail))


def _wrong_character(text: str, body: str, start: int) -> tuple[str, str]:
    """Name the first character that no number has, by its code point and its place in the text as it came."""
    if _SCIENTIFIC.fullmatch(body):
        return "is in scientific notation, which has lost digits", f"the digits; {_AS_TEXT}"
    at = next(
        index
        for index, char in enumerate(body)
        if not (char in "0123456789 ./()-" or (char == "+" and not body[:index].strip(" ./()-")))
    )
    kept = [index for index, char in enumerate(text) if _CHARACTERS[ord(char)] is not None]
    place = kept[start + at]
    return f"holds {name_character(text[place], place + 1)}", NUMBER_EXPECTED
