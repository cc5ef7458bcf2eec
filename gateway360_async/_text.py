"""Characters that people type and paste, and what they are in an SMS."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

__all__ = [
    "SmsSize",
    "ascii_digit",
    "ascii_form",
    "beyond_gsm_7",
    "has_lone_surrogate",
    "is_dash",
    "is_format",
    "is_space",
    "name_character",
    "sms_size",
]

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


# 3GPP TS 23.038, section 6.2.1: the GSM 7-bit default alphabet, row by row of seven bits.
_GSM_7: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Section 6.2.1.1: its extension table. Each is sent as an escape and a second septet.
_GSM_7_EXTENSION: Final = frozenset("\f^{}\\[~]|€")


class SmsSize(NamedTuple):
    """How a text travels: in which alphabet, how long it is there, and in how many segments."""

    alphabet: str
    """`"GSM-7"` or `"UCS-2"`."""
    units: int
    """Septets of GSM-7, or UTF-16 code units of UCS-2."""
    segments: int
    """Short messages that carry it; an operator counts, and most often bills, each."""
    room: int
    """Units that as many segments hold."""


def beyond_gsm_7(text: str) -> list[tuple[int, str]]:
    """Return the characters that GSM-7 does not have, each once, with the position from 1 of its first."""
    first = {ch: text.index(ch) + 1 for ch in text if ch not in _GSM_7 and ch not in _GSM_7_EXTENSION}
    return [(position, ch) for ch, position in first.items()]


def sms_size(text: str) -> SmsSize:
    """Measure a text as an SMS.

    In GSM-7 an SMS has 160 septets, or 153 in each of several segments; in UCS-2, which one other character
    makes of the whole, 70 code units, or 67. The rest of each segment is the header that joins them. No character
    is split: neither an escape from its second septet nor a surrogate from its other half.

    Source: 3GPP TS 23.038, sections 4 and 6.2.1; TS 23.040, section 9.2.3.24.1.
    """
    if beyond_gsm_7(text):
        alphabet, single, joined = "UCS-2", 70, 67
        widths = [2 if ch > "\uffff" else 1 for ch in text]
    else:
        alphabet, single, joined = "GSM-7", 160, 153
        widths = [2 if ch in _GSM_7_EXTENSION else 1 for ch in text]
    units = sum(widths)
    if units <= single:
        return SmsSize(alphabet, units, 1, single)
    segments, used = 1, 0
    for width in widths:
        if used + width > joined:
            segments, used = segments + 1, 0
        used += width
    return SmsSize(alphabet, units, segments, segments * joined)
