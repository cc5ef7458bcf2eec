"""Characters that people type and paste."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_CONTROL_SPACES: Final = frozenset("\t\n\v\f\r\x85")
_OTHER_DASHES: Final = frozenset("\u2043\u2212")  # hyphen bullet, minus sign: no dashes by their category
_MONGOLIAN: Final = (0x180B, 0x180C, 0x180D, 0x180F)
_VARIATION_SELECTORS: Final = frozenset({*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *_MONGOLIAN})
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
# Full-width ! to ~, in the order of ASCII (Unicode, block "Halfwidth and Fullwidth Forms").
_FULL_WIDTH: Final = range(0xFF01, 0xFF5F)


def ascii_digit(ch: str) -> str:
    """Return the ASCII digit that a decimal digit of any script (category Nd) stands for, or an empty text."""
    value = unicodedata.decimal(ch, None)
    return "" if value is None else str(value)


def ascii_form(ch: str) -> str:
    """Return the ASCII character that a full-width one is a wide form of; any other as it is."""
    return chr(ord(ch) - 0xFEE0) if ord(ch) in _FULL_WIDTH else ch


def is_format(ch: str) -> bool:
    """Whether a character is invisible by itself: of category Cf, or a variation selector.

    Phones, chats and web pages put them around numbers and codes: marks of direction, soft hyphens, zero-width
    spaces, byte-order marks.
    """
    return unicodedata.category(ch) == "Cf" or ord(ch) in _VARIATION_SELECTORS


def is_space(ch: str) -> bool:
    """Whether a character is white space by Unicode's property; `str.isspace` takes four controls besides."""
    return ch in _CONTROL_SPACES or unicodedata.category(ch) in ("Zs", "Zl", "Zp")


def is_dash(ch: str) -> bool:
    return unicodedata.category(ch) == "Pd" or ch in _OTHER_DASHES


def has_lone_surrogate(text: str) -> bool:
    """Whether a text holds half a character, which cannot go on the wire (RFC 8259, section 8.2)."""
    return _SURROGATE.search(text) is not None


def name_character(ch: str, position: int) -> str:
    """Name a character for an error, its position counted from 1: `U+00B2 SUPERSCRIPT TWO at position 5`."""
    name = unicodedata.name(ch, "")
    return f"U+{ord(ch):04X}{name and f' {name}'} at position {position}"
