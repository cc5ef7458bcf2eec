"""A request for a PIN, validated when it is built.

Invariants:

- The gateway's own rules are checked here, before a request costs anything.
- The checks never coerce: `bool` is not a number, `"6"` is not a length. Only a phone number is normalised.
- An error names the field and says what is right. It never echoes a whole number, text or URL.
- A `repr` masks the number and leaves out the text and the report URL (which may hold a nonce).
- A traceback that captures local variables shows no whole number in a frame of this module.
"""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false, reportUnnecessaryComparison=false, reportUnreachable=false

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, cast
from urllib.parse import urlsplit

import attrs

from .._exceptions import InvalidRequest, without_arguments, wrong_type
from .._numbers import (
    NUMBER_EXPECTED,
    LineTypes,
    Msisdn,
    NumberReader,
    checked_before,
    checked_line_types,
    number_reader,
)
from .._redaction import mask_msisdn, repr_of
from ._sms import PIN_PLACEHOLDER, TEXT_EXPECTED, checked_field, checked_sender, checked_text
from ._sms_size import sms_size

_SMS_LENGTH: Final = 160
_DEFAULT_PIN_LENGTH: Final = 6
_MAX_URL: Final = 2048
_URL_EXPECTED: Final = f"an absolute http:// or https:// URL of at most {_MAX_URL:,} characters, without spaces or control characters"
_NEVER_IN_A_URL: Final = frozenset('<>"\\^`{|}')  # RFC 3986, section 2
_PIN_TYPE_EXPECTED: Final = "'numeric', 'alpha' or 'alphanumeric'"
_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_. ]{0,39}")
# Nothing is published about an upper bound. Past 64 bits a JSON number is no longer read alike everywhere.
_INT_MAX: Final = 2**63 - 1


class PinType(StrEnum):
    """The characters that a PIN is made of (`pin_params.type`). Letters are upper case."""

    NUMERIC = "numeric"
    """Digits."""
    ALPHA = "alpha"
    """Letters."""
    ALPHANUMERIC = "alphanumeric"
    """Digits and letters."""


def _pin_type(value: PinType | str) -> PinType:
    if not isinstance(value, str):
        raise wrong_type("pin_params.type", value, _PIN_TYPE_EXPECTED)
    try:
        return PinType(value)
    except ValueError:
        # `from None`: the enum's own error would show the value that this one leaves out.
        raise InvalidRequest("pin_params.type", "is not a known type", _PIN_TYPE_EXPECTED) from None


def _check_integer(field: str, value: object, minimum: int, maximum: int, expected: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(field, value, expected)
    if not minimum <= value <= maximum:
        raise InvalidRequest(field, "is too small" if value < minimum else "is too large", expected)


@attrs.frozen(repr=False)
class PinParams:
    """The properties of the PIN. Given at all, all four fields go on the wire.

    Args:
        type: The characters of the PIN; a `PinType` or its value.
        length: Characters of the PIN, 4 to 16.
        expires_in: Seconds until the PIN expires; 0 means never, which the vendor advises against.
        max_tries: Failed confirmations before the PIN is void for good; 0 means unlimited, which the
            vendor advises against.

    Raises:
        InvalidRequest: A field is wrong; `.field` is `"pin_params.length"`, for example.
    """

    type: PinType = attrs.field(default=PinType.NUMERIC, converter=_pin_type, repr=str)
    length: int = _DEFAULT_PIN_LENGTH
    expires_in: int = 3600
    max_tries: int = 3

    def __repr__(self) -> str:
        return repr_of(self)

    def __attrs_post_init__(self) -> None:
        expiry = "a whole number of seconds, 0 or more (0: the PIN never expires)"
        tries = "a whole number, 0 or more (0: unlimited)"
        _check_integer("pin_params.length", self.length, 4, 16, "a whole number from 4 to 16")
        _check_integer("pin_params.expires_in", self.expires_in, 0, _INT_MAX, expiry)
        _check_integer("pin_params.max_tries", self.max_tries, 0, _INT_MAX, tries)


def _hlr_lookup(value: bool | int) -> bool:
    if value is True:  # as it mostly is
        return True
    if not isinstance(value, int):
        raise wrong_type("hlr_lookup", value, "True, False, 1 or 0")
    if value not in (0, 1):
        raise InvalidRequest("hlr_lookup", "is neither 0 nor 1", "True, False, 1 or 0")
    return bool(value)


def _report_url(value: str | None) -> str | None:
    if value is None:
        return None
    return checked_field("report_url", value, "a URL as text", _url_problem, _URL_EXPECTED)


def _url_problem(value: str) -> str | None:
    if len(value) > _MAX_URL:
        return f"has {len(value):,} characters"
    # First the characters: `urlsplit` removes line breaks and tabs silently before it parses.
    if " " in value or not value.isprintable():
        return "holds a space or a control character"
    if set(value) & _NEVER_IN_A_URL:
        return "holds a character that no URL has"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is malformed"
    if parts.scheme not in ("http", "https"):
        return "does not start with http:// or https://"
    return None if host and all(host.removesuffix(".").split(".")) else "has no host"


def _pin_params(value: PinParams | Mapping[str, object] | None) -> PinParams | None:
    if value is None or isinstance(value, PinParams):
        return value
    if not isinstance(value, Mapping):
        expected = "a PinParams, a mapping of its fields, or None for the gateway's defaults"
        raise wrong_type("pin_params", value, expected)
    return PinParams(**_known_fields("pin_params.", value, PinParams))  # type: ignore[arg-type]  # checked there


def _masked(value: object) -> str:
    # In a traceback it can be what was handed in, before it is checked.
    return repr(mask_msisdn(value)) if isinstance(value, str) else f"<{type(value).__name__}>"


@attrs.frozen(repr=False)
class PinRequest:
    """A request to send one SMS with a PIN to one number. It holds no API key.

    Args:
        msisdn: The number in international format, as people type it, or as `parse_msisdn` gives it; see there.
        sender: The sender that the phone shows: up to 15 digits, or up to 11 characters of printable ASCII and
            letters whose base is ASCII, as of É. White space around it is removed.
        hlr_lookup: Whether the gateway first looks the number up in the operator's register; the request
            fails, and no SMS is sent, if that fails. `True`, `False`, `1` or `0`.
        sms_text: The text, with `{PIN}` exactly once, at most 160 characters once the PIN is in its
            place, without control characters other than line breaks. `None`: the vendor's own text.
        report_url: The URL that the vendor POSTs delivery reports to, at most 2,048 characters. `None`: no reports.
        pin_params: The properties of the PIN; a `PinParams` or a mapping of its fields. `None`: the gateway's
            defaults.
        line_types: `"sms"` refuses numbers of lines that receive no SMS, such as fixed lines; `"any"` accepts them.
            It does not go on the wire.

    Raises:
        InvalidRequest: A field is wrong; `.field` names it.
    """

    msisdn: str = attrs.field(repr=_masked)
    sender: str = attrs.field(converter=checked_sender)
    hlr_lookup: bool = attrs.field(default=True, converter=_hlr_lookup, kw_only=True)
    sms_text: str | None = attrs.field(default=None, converter=checked_text, kw_only=True, repr=False)
    report_url: str | None = attrs.field(default=None, converter=_report_url, kw_only=True, repr=False)
    pin_params: PinParams | None = attrs.field(default=None, converter=_pin_params, kw_only=True)
    line_types: LineTypes = attrs.field(default="sms", kw_only=True)

    def __repr__(self) -> str:
        return repr_of(self)

    def __attrs_post_init__(self) -> None:
        if type(self.msisdn) is not Msisdn or self.line_types != "sms":  # the client has read it, mostly
            # Here, for how a number is checked is said by another field.
            reader = number_reader(None, checked_line_types(self.line_types, InvalidRequest))
            object.__setattr__(self, "msisdn", reader.read(self.msisdn))
        text = self._text_with_pin()
        if text is not None and len(text) > _SMS_LENGTH:
            problem = f"has {len(text)} characters with a PIN of {self._pin_length}"
            raise InvalidRequest("sms_text", problem, TEXT_EXPECTED)

    @property
    def sms_units(self) -> int | None:
        """The length of the text with its PIN, in septets of GSM-7 or UTF-16 code units.

        UTF-16 where GSM-7 lacks a character of it. `None` where the vendor's own text is used, which is not published.
        """
        text = self._text_with_pin()
        return None if text is None else sms_size(text).units

    @property
    def sms_segments(self) -> int | None:
        """The short messages that the text takes with its PIN: of 160 or 153 septets, or 70 or 67 code units.

        `None` where the vendor's own text is used. The vendor does not say how a text of several is billed.
        Source: 3GPP TS 23.038, and TS 23.040 on how several are joined.
        """
        text = self._text_with_pin()
        return None if text is None else sms_size(text).segments

    def _text_with_pin(self) -> str | None:
        if self.sms_text is None:
            return None
        # All that a PIN is made of, digits and capital letters, is one unit in either alphabet.
        return self.sms_text.replace(PIN_PLACEHOLDER, "0" * self._pin_length)

    @property
    def _pin_length(self) -> int:
        return _DEFAULT_PIN_LENGTH if self.pin_params is None else self.pin_params.length


# So that a traceback with local variables shows no number that it was given.
PinRequest.__init__ = without_arguments(PinRequest.__init__)  # type: ignore[method-assign]


def checked_idempotency_key(value: object) -> str:
    """Check an idempotency key: 1 to 200 printable characters. Raises `InvalidRequest`."""
    expected = "1 to 200 printable characters"
    return checked_field("idempotency_key", value, f"{expected} as text", _key_problem, expected)


def _key_problem(value: str) -> str | None:
    if not 1 <= len(value) <= 200:
        return f"has {len(value)} characters"
    return None if value.isprintable() else "holds a character that cannot be printed"


def request_from(
    row: object, *, sender: str | None = None, reader: NumberReader | None = None, checked: bool = False
) -> PinRequest:
    """Build the request for one entry of a batch. Raises `InvalidRequest`, with frames that show the row.

    Args:
        row: A ready `PinRequest`, a number, or a mapping of `PinRequest`'s fields (`pin_params` may be a mapping).
        sender: The sender where the row names none.
        reader: Reads the number, and says which lines it may be of where the row does not.
        checked: Whether the number was checked where the row comes from.
    """
    if isinstance(row, PinRequest):
        return row
    reader = reader or number_reader(None, "sms")
    if isinstance(row, str):  # as most rows are
        return PinRequest(reader.read(row), sender, line_types=reader.line_types)  # type: ignore[arg-type]  # checked there
    fields = _known_fields("", row, PinRequest)
    if fields.get("sender") is None:
        fields["sender"] = sender
    if "msisdn" not in fields:
        raise InvalidRequest("msisdn", "is missing", NUMBER_EXPECTED)
    lines = fields["line_types"] = checked_line_types(
        fields.get("line_types", reader.line_types), InvalidRequest
    )
    number = fields["msisdn"]
    if checked and isinstance(number, str):
        number = checked_before(number, lines)
    fields["msisdn"] = number_reader(reader.region, lines).read(number)
    return PinRequest(**fields)  # type: ignore[arg-type]  # checked by the converters


def _known_fields(prefix: str, row: object, cls: type[attrs.AttrsInstance]) -> dict[str, object]:
    if not isinstance(row, Mapping):
        raise wrong_type("request", row, "a PinRequest, a number as text, or a mapping of its fields")
    known = attrs.fields_dict(cls)
    fields: dict[str, object] = {}
    for name, value in cast("Mapping[object, object]", row).items():
        if not isinstance(name, str) or name not in known:
            # A file without its header line has numbers for names, and a number is not shown.
            shown = name if isinstance(name, str) and _FIELD_NAME.fullmatch(name) else "?"
            raise InvalidRequest(prefix + shown, "is not a field of a request", f"one of {', '.join(known)}")
        fields[name] = value
    return fields
