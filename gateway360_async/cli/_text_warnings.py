"""A text as it will arrive: in how many segments, in which alphabet, and with braces around its PIN."""

from __future__ import annotations

from typing import Final

from gateway360_async import PinRequest
from gateway360_async._sms import PIN_PLACEHOLDER
from gateway360_async._text import beyond_gsm_7, name_character, sms_size

__all__ = ["text_warnings"]

_TEMPLATES: Final = ("{{PIN}}", "${PIN}", "%{PIN}")
"""Placeholders of other systems, of which the gateway replaces `{PIN}` alone."""


def text_warnings(request: PinRequest) -> dict[str, str]:
    """Say what a person may not expect of a request's text: the sentences by their kinds, or nothing."""
    if request.sms_text is None:
        return {}
    warnings: dict[str, str] = {}
    pin = "0" * (6 if request.pin_params is None else request.pin_params.length)
    size = sms_size(request.sms_text.replace(PIN_PLACEHOLDER, pin))
    if size.segments > 1:
        warnings["segments"] = (
            f"the text takes {size.segments} segments: {size.units} units of {size.alphabet}"
        )
    beyond = beyond_gsm_7(request.sms_text)
    if beyond:
        (position, ch), *others = beyond
        more = f" (and of others: {len(others)})" if others else ""
        named = name_character(ch, position)
        warnings["not_gsm_7"] = f"GSM-7 has no {named}{more}: a segment holds 70 or 67 units, not 160 or 153"
    template = next((template for template in _TEMPLATES if template in request.sms_text), None)
    if template is not None:
        shown = template.replace(PIN_PLACEHOLDER, "123456")
        warnings["braces"] = f"the phone shows {shown} for {template}: write {PIN_PLACEHOLDER} alone"
    return warnings
