"""Characters that people type, paste and print: what each one stands for, and how an error names it."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = [
    "ascii_digit",
    "ascii_form",
    "has_lone_surrogate",
    "is_dash",
    "is_format",
    "is_space",
    "name_character",
]

_CONTROL_SPACES: Final = frozenset("\t\n\v\f\r\x85")
_OTHER_DASHES: Final = frozenset("\u2043\u2212")  # hyphen bullet, minus sign: no dashes by their category
# Full-width ! to ~, in the order of ASCII (Unicode, block "Halfwidth and Fullwidth Forms").
_FULL_WIDTH: Final = range(0xFF01, 0xFF5F)


def ascii_digit(ch: str) -> str:
    """Give the ASCII digit that a decimal digit of any script stands for, or an empty text.

    Decimal digits are those of Unicode's category Nd: a superscript or a circled digit is none.
    """
    value = unicodedata.decimal(ch, None)
    return "" if value is None else str(value)


def ascii_form(ch: str) -> str:
    """Give the ASCII character that a full-width one is a wide form of; any other as it is."""
    return chr(ord(ch) - 0xFEE0) if ord(ch) in _FULL_WIDTH else ch


def is_format(ch: str) -> bool:
    """Whether a character is invisible by itself: of category Cf, or a variation selector.

    Phones, chats and web pages put them around numbers and codes: marks of direction, soft hyphens, zero-width
    spaces, byte-order marks.
    """
    return (
        unicodedata.category(ch) == "Cf" or "\ufe00" <= ch <= "\ufe0f" or "\U000e0100" <= ch <= "\U000e01ef"
    )


def is_space(ch: str) -> bool:
    """Whether a character is white space by Unicode's property; `str.isspace` takes four controls besides."""
    return ch in _CONTROL_SPACES or unicodedata.category(ch) in ("Zs", "Zl", "Zp")


def is_dash(ch: str) -> bool:
    """Whether a character is a hyphen, a dash or a minus sign."""
    return unicodedata.category(ch) == "Pd" or ch in _OTHER_DASHES


def has_lone_surrogate(text: str) -> bool:
    """Whether a text holds half a character, which cannot go on the wire (RFC 8259, section 8.2)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def name_character(ch: str, position: int) -> str:
    """Name a character for an error: `U+00B2 SUPERSCRIPT TWO at position 5`.

    Args:
        ch: The character.
        position: Where it stands, counted from 1.
    """
    name = unicodedata.name(ch, "")
    return f"U+{ord(ch):04X}{name and f' {name}'} at position {position}"
