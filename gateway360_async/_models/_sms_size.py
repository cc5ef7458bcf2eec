"""The size of a text as an SMS."""

from __future__ import annotations

from typing import Final, NamedTuple

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
