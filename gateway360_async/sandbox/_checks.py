"""The gateway's checks of a request, from the bytes of its body.

- It is written from the vendor's documentation of its API, and imports nothing of the library: were a field's rule
  taken from there, a fault of the library would be checked by the same fault.
- No I/O, no clock, no state: the same bytes are always answered alike.
- It is as strict as JSON has words: a field has the type that is published, and `true` is no number. A comment says
  where a choice of ours cannot be avoided.
- No text that is made here holds a value of the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import attrs

__all__ = [
    "PLACEHOLDER",
    "PinOrder",
    "Refusal",
    "read_attempt",
    "read_mandatory",
    "read_object",
    "read_order",
]

PLACEHOLDER: Final = "{PIN}"

# The vendor publishes these three. It says elsewhere that 4xx is a bad request: 400 for the others is our choice.
_HTTP_STATUS: Final[Mapping[str, int]] = {"INVALID_NUMBER": 200, "UNAUTHORIZED": 401, "JSON_PARSE_ERROR": 400}
_OTHER_HTTP_STATUS: Final = 400

_MSISDN: Final = re.compile(r"[1-9][0-9]{6,14}")
_SMS_LENGTH: Final = 160
_PIN_TYPES: Final = ("numeric", "alpha", "alphanumeric")
_LARGEST: Final = 2**63 - 1  # of 64 bits: no upper bound is published for `expires_in` and `max_tries`


class Refusal(Exception):
    """The refusal of a request: a published id, and a text for debugging."""

    def __init__(self, error_id: str, error_msg: str) -> None:
        super().__init__(error_id, error_msg)
        self.http_status = _HTTP_STATUS.get(error_id, _OTHER_HTTP_STATUS)
        self.envelope = {"status": "error", "error_id": error_id, "error_msg": error_msg}


@attrs.frozen(kw_only=True)
class PinOrder:
    """The fields of a request, with the published defaults of the others.

    `sms_text` is `None` for the gateway's own, `expires_in` (seconds) is 0 for never, and `max_tries` 0 for no bound.
    """

    msisdn: str
    sender: str
    hlr_lookup: bool
    sms_text: str | None
    report_url: str | None
    pin_type: str
    pin_length: int
    expires_in: int
    max_tries: int


def read_object(content_type: str | None, body: bytes) -> dict[str, object]:
    """Read a body as a JSON object, or raise the `Refusal` of another one."""
    media_type, _, _ = (content_type or "").partition(";")  # parameters such as a charset are fine
    if media_type.strip().lower() != "application/json":
        raise Refusal("INVALID_CONTENT_TYPE", "The content type is not application/json.")
    try:
        document = _decode_json(body.decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Refusal("JSON_PARSE_ERROR", "Your JSON was formatted incorrectly.")
    return cast("dict[str, object]", document)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")  # which of the two counts is up to the parser (RFC 8259, 4)
    return fields


# `int` refuses NaN and Infinity, which are no JSON.
_decode_json = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=int).decode


def read_mandatory(fields: Mapping[str, object], name: str) -> object:
    """Return a field, of any type, or raise the `Refusal` of a request without it."""
    # A field that is there and null is not missing: its type is wrong.
    if name not in fields:
        raise Refusal("MISSING_PARAMS", f"{name} is missing.")
    return fields[name]


def read_order(fields: Mapping[str, object]) -> PinOrder:
    """Check the fields of a request, or raise the `Refusal` of the first wrong one.

    Fields that are not published are ignored.
    """
    msisdn, sender = read_mandatory(fields, "msisdn"), read_mandatory(fields, "sender")
    msisdn = _msisdn(msisdn)
    if not isinstance(sender, str) or not _is_sender(sender):
        raise Refusal("BAD_PARAMS", "sender is neither up to 15 digits nor up to 11 characters.")
    pin_params = _pin_params(fields.get("pin_params", {}))
    pin_length = _whole(pin_params, "length", 6, 4, 16)
    return PinOrder(
        msisdn=msisdn,
        sender=sender,
        pin_type=_pin_type(pin_params.get("type", "numeric")),
        pin_length=pin_length,
        hlr_lookup=_hlr_lookup(fields.get("hlr_lookup", 1)),
        sms_text=_sms_text(fields["sms_text"], pin_length) if "sms_text" in fields else None,
        report_url=_report_url(fields["report_url"]) if "report_url" in fields else None,
        expires_in=_whole(pin_params, "expires_in", 3600, 0, _LARGEST),
        max_tries=_whole(pin_params, "max_tries", 3, 0, _LARGEST),
    )


def read_attempt(fields: Mapping[str, object]) -> tuple[str, str]:
    """Return a verification's number and PIN, or raise the `Refusal` of one."""
    msisdn, pin = read_mandatory(fields, "msisdn"), read_mandatory(fields, "pin")
    msisdn = _msisdn(msisdn)
    # The form of a PIN is not published here: one of a wrong length or alphabet is a failed try.
    if not isinstance(pin, str) or not pin:
        raise Refusal("BAD_PARAMS", "pin is not a string, or empty.")
    return msisdn, pin


def _msisdn(value: object) -> str:
    if not isinstance(value, str):
        raise Refusal("BAD_PARAMS", "msisdn is not a string.")
    if not _MSISDN.fullmatch(value):
        said = "msisdn is not 7 to 15 digits that begin with a country calling code."
        raise Refusal("INVALID_NUMBER", said)
    return value


def _is_sender(text: str) -> bool:
    # A space is published, in an example. No phone can show control characters, lone surrogates, or a sender of
    # nothing but spaces.
    digits = text.isascii() and text.isdigit()
    return bool(text.strip()) and text.isprintable() and len(text) <= (15 if digits else 11)


def _hlr_lookup(value: object) -> bool:
    # Python says that True == 1 == 1.0. The gateway's 1 is a JSON number, and no example has a fraction.
    if type(value) is not int or value not in (0, 1):
        raise Refusal("INVALID_HLR_LOOKUP_PARAM", "hlr_lookup is neither the number 1 nor the number 0.")
    return value == 1


def _sms_text(value: object, pin_length: int) -> str:
    if not isinstance(value, str) or value.count(PLACEHOLDER) != 1:
        raise Refusal("INVALID_SMS_TEXT", f"sms_text does not hold {PLACEHOLDER} exactly once.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Refusal("INVALID_SMS_TEXT", "sms_text is not valid Unicode.")
    if len(value) - len(PLACEHOLDER) + pin_length > _SMS_LENGTH:
        raise Refusal("INVALID_SMS_TEXT", f"sms_text is longer than {_SMS_LENGTH} characters with the PIN.")
    return value


def _report_url(value: object) -> str:
    if not isinstance(value, str) or not _is_web_address(value):
        raise Refusal("BAD_PARAMS", "report_url is not an http or https URL.")
    return value


def _is_web_address(text: str) -> bool:
    # Characters first: `urlsplit` drops tabs and line breaks without a word.
    if not text.isprintable() or " " in text:
        return False
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:  # an unclosed bracket, or a port that is no number
        return False
    return url.scheme in ("http", "https") and bool(host)


def _pin_params(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        kind = ", but a list" if isinstance(value, list) else ""
        raise Refusal("INVALID_PIN_PARAMS", f"pin_params is not an object{kind}.")
    return cast("dict[str, Any]", value)


def _pin_type(value: object) -> str:
    if not isinstance(value, str) or value not in _PIN_TYPES:
        raise Refusal("INVALID_PIN_PARAMS", f"pin_params.type is none of {', '.join(_PIN_TYPES)}.")
    return value


def _whole(pin_params: Mapping[str, object], name: str, default: int, minimum: int, maximum: int) -> int:
    value = pin_params.get(name, default)
    if type(value) is not int or not minimum <= value <= maximum:
        raise Refusal("INVALID_PIN_PARAMS", f"pin_params.{name} is not a whole number in its bounds.")
    return value
