"""A text as it will arrive: in how many segments, in which alphabet, and with braces around its PIN."""

from __future__ import annotations

from typing import Final

from gateway360_async._models import PIN_PLACEHOLDER
from gateway360_async._models._sms_size import beyond_gsm_7
from gateway360_async._numbers._characters import name_character

__all__ = ["text_warnings"]

_TEMPLATES: Final = ("{{PIN}}", "${PIN}", "%{PIN}")
"""Placeholders of other systems, of which the gateway replaces `{PIN}` alone."""


def text_warnings(text: str, segments: int, units: int) -> dict[str, str]:
    """Say what a person may not expect of a text: the sentences by their kinds, or nothing.

    Args:
        text: The text, with its placeholder.
        segments: The segments that it takes with its PIN.
        units: Its units.
    """
    warnings: dict[str, str] = {}
    beyond = beyond_gsm_7(text)
    if segments > 1:
        alphabet = "UCS-2" if beyond else "GSM-7"
        warnings["segments"] = f"the text takes {segments} segments: {units} units of {alphabet}"
    if beyond:
        (position, ch), *others = beyond
        more = f" (and of others: {len(others)})" if others else ""
        named = name_character(ch, position)
        warnings["not_gsm_7"] = f"GSM-7 has no {named}{more}: a segment holds 70 or 67 units, not 160 or 153"
    template = next((template for template in _TEMPLATES if template in text), None)
    if template is not None:
        shown = template.replace(PIN_PLACEHOLDER, "123456")
        warnings["braces"] = f"the phone shows {shown} for {template}: write {PIN_PLACEHOLDER} alone"
    return warnings
