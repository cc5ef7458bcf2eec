"""What goes in: a request for a PIN, validated when it is built.

Rules of this module:

- The checks are those of the gateway's page on Request PIN, and each function names its own. What the
  gateway would refuse, or silently read in another way, is refused here, before it costs anything.
- The checks never coerce: `bool` is not a number, `"6"` is not a length, a float is not an integer.
  Only a phone number is normalised, because people write the same number in many ways.
- An error names the field and says what is right. It never echoes a whole number, text or URL.
- A `repr` masks the number and leaves out the text and the report URL (which may hold a nonce).
- A traceback that captures local variables, as crash reporters do, shows no whole number in a frame of this
  module: an error leaves it without the frames that have the arguments.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false, reportUnnecessaryComparison=false, reportUnreachable=false

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from ._errors import InvalidRequest, without_arguments, wrong_type
from ._numbers import (
    NUMBER_EXPECTED,
    LineTypes,
    Msisdn,
    NumberReader,
    checked_before,
    checked_line_types,
    number_reader,
)
from ._repr import repr_of
from ._secret import mask_msisdn
from ._sms import PIN_PLACEHOLDER, TEXT_EXPECTED, checked_sender, checked_text
from ._text import sms_size

__all__ = [
    "PinParams",
    "PinRequest",
    "PinType",
    "request_from",
]

SMS_LENGTH: Final = 160
DEFAULT_PIN_LENGTH: Final = 6

_T = TypeVar("_T")

MAX_URL: Final = 2048
_URL_EXPECTED = f"an absolute http:// or https:// URL of at most {MAX_URL:,} characters, without spaces or control characters"
_PIN_TYPE_EXPECTED = "'numeric', 'alpha' or 'alphanumeric'"
# Nothing is published about an upper bound. Past 64 bits a JSON number is no longer read alike everywhere.
_NEVER_IN_A_URL: Final = frozenset('<>"\\^`{|}')  # RFC 3986, section 2
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_. ]{0,39}")
_INT_MAX: Final = 2**63 - 1


class PinType(StrEnum):
    """The characters that a PIN is made of (`pin_params.type`). Letters are upper case."""

    NUMERIC = "numeric"
    """Digits."""

    ALPHA = "alpha"
    """Letters."""

    ALPHANUMERIC = "alphanumeric"
    """Digits and letters."""


def _built_out_of_sight(cls: type[_T]) -> type[_T]:
    """Let nothing out of a class's `__init__` with a frame that shows the number which it was given."""
    cls.__init__ = without_arguments(cls.__init__)  # type: ignore[method-assign]
    return cls


def _pin_type(value: PinType | str) -> PinType:
    if not isinstance(value, str):
        raise wrong_type("pin_params.type", value, _PIN_TYPE_EXPECTED)
    try:
        return PinType(value)
    except ValueError:
        # `from None`: the enum's own error would show the value that this one leaves out.
        raise InvalidRequest("pin_params.type", "is not a known type", _PIN_TYPE_EXPECTED) from None


def _integer(field: str, value: object, minimum: int, maximum: int, expected: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(field, value, expected)
    if not minimum <= value <= maximum:
        raise InvalidRequest(field, "is too small" if value < minimum else "is too large", expected)
    return value


def _pin_length(value: int) -> int:
    return _integer("pin_params.length", value, 4, 16, "a whole number from 4 to 16")


def _pin_expiry(value: int) -> int:
    expected = "a whole number of seconds, 0 or more (0: the PIN never expires)"
    return _integer("pin_params.expires_in", value, 0, _INT_MAX, expected)


def _pin_tries(value: int) -> int:
    return _integer("pin_params.max_tries", value, 0, _INT_MAX, "a whole number, 0 or more (0: unlimited)")


@attrs.frozen(repr=False)
class PinParams:
    """What the PIN is like. Given at all, all four fields go on the wire.

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
    length: int = attrs.field(default=DEFAULT_PIN_LENGTH, converter=_pin_length)
    expires_in: int = attrs.field(default=3600, converter=_pin_expiry)
    max_tries: int = attrs.field(default=3, converter=_pin_tries)

    def __repr__(self) -> str:
        return repr_of(self)


def _sender(value: str) -> str:
    return checked_sender(value)


def _hlr_lookup(value: bool | int) -> bool:
    if value is True:  # as it mostly is
        return True
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, int):
        raise InvalidRequest("hlr_lookup", "is neither 0 nor 1", "True, False, 1 or 0")
    raise wrong_type("hlr_lookup", value, "True, False, 1 or 0")


def _sms_text(value: str | None) -> str | None:
    return None if value is None else checked_text(value)


def _report_url(value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type("report_url", value, "a URL as text")
    problem = _url_problem(value)
    if problem is not None:
        raise InvalidRequest("report_url", problem, _URL_EXPECTED)
    return value


def _url_problem(value: str) -> str | None:
    if len(value) > MAX_URL:
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
    return PinParams(**_known_fields("pin_params.", value, _PIN_FIELDS))  # type: ignore[arg-type]  # checked by the converters


def _masked(value: object) -> str:
    # In a traceback it can be what was handed in, before it is checked.
    return repr(mask_msisdn(value)) if isinstance(value, str) else f"<{type(value).__name__}>"


@_built_out_of_sight
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
        report_url: Where the vendor POSTs delivery reports, at most 2,048 characters. `None`: no reports.
        pin_params: What the PIN is like; a `PinParams` or a mapping of its fields. `None`: the gateway's
            defaults.
        line_types: `"sms"` refuses numbers of lines that receive no SMS, such as fixed lines; `"any"` accepts them.
            It does not go on the wire.

    Raises:
        InvalidRequest: A field is wrong; `.field` names it.
    """

    msisdn: str = attrs.field(repr=_masked)
    sender: str = attrs.field(converter=_sender)
    hlr_lookup: bool = attrs.field(default=True, converter=_hlr_lookup, kw_only=True)
    sms_text: str | None = attrs.field(default=None, converter=_sms_text, kw_only=True, repr=False)
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
        if self.sms_text is None:
            return
        length = len(self.sms_text) - len(PIN_PLACEHOLDER) + self._pin_length
        if length > SMS_LENGTH:
            problem = f"has {length} characters with a PIN of {self._pin_length}"
            raise InvalidRequest("sms_text", problem, TEXT_EXPECTED)

    @property
    def sms_units(self) -> int | None:
        """How long the text is with its PIN: septets of GSM-7 or, where GSM-7 lacks a character, UTF-16 code units.

        `None` where the vendor's own text is used, which is not published.
        """
        text = self._text_with_pin()
        return None if text is None else sms_size(text).units

    @property
    def sms_segments(self) -> int | None:
        """Short messages that the text takes with its PIN: of 160 or 153 septets, or of 70 or 67 code units.

        `None` where the vendor's own text is used. What Request PIN makes of a text of several is not published.
        Source: 3GPP TS 23.038, and TS 23.040 on how several are joined.
        """
        text = self._text_with_pin()
        return None if text is None else sms_size(text).segments

    def _text_with_pin(self) -> str | None:
        # All that a PIN is made of, digits and capital letters, is one unit in either alphabet.
        return (
            None if self.sms_text is None else self.sms_text.replace(PIN_PLACEHOLDER, "0" * self._pin_length)
        )

    @property
    def _pin_length(self) -> int:
        return DEFAULT_PIN_LENGTH if self.pin_params is None else self.pin_params.length


_FIELDS = tuple(field.name for field in attrs.fields(PinRequest))
_PIN_FIELDS = tuple(field.name for field in attrs.fields(PinParams))


def checked_idempotency_key(value: object) -> str:
    """Check an idempotency key: 1 to 200 printable characters. Raises `InvalidRequest`."""
    if not isinstance(value, str):
        raise wrong_type("idempotency_key", value, "1 to 200 printable characters as text")
    if not value or len(value) > 200:
        problem = f"has {len(value)} characters"
    elif not value.isprintable():
        problem = "holds a character that cannot be printed"
    else:
        return value
    raise InvalidRequest("idempotency_key", problem, "1 to 200 printable characters")


def request_from(
    row: object, *, sender: str | None = None, reader: NumberReader | None = None, checked: bool = False
) -> PinRequest:
    """Build the request for one entry of a batch, which takes the text of an error and not its frames.

    Args:
        row: A ready `PinRequest`, a number, or a mapping of `PinRequest`'s fields (`pin_params` may be a
            mapping of `PinParams`' fields).
        sender: The sender where the row names none.
        reader: Reads the number, and says which lines it may be of where the row does not.
        checked: Whether the number was checked where the row comes from.

    Raises:
        InvalidRequest: The row does not make a valid request.
    """
    if isinstance(row, PinRequest):
        return row
    reader = reader or number_reader(None, "sms")
    if isinstance(row, str):  # as most rows are
        return PinRequest(reader.read(row), sender, line_types=reader.line_types)  # type: ignore[arg-type]  # checked there
    fields = _known_fields("", row, _FIELDS)
    if fields.get("sender") is None:
        fields["sender"] = sender
    if "msisdn" not in fields:
        raise InvalidRequest("msisdn", "is missing", NUMBER_EXPECTED)
    if "line_types" in fields:
        lines = checked_line_types(fields["line_types"], InvalidRequest)
        reader = number_reader(reader.region, lines)
    elif reader.line_types != "sms":
        fields["line_types"] = reader.line_types
    number = fields["msisdn"]
    if checked and isinstance(number, str):
        number = checked_before(number, reader.line_types)
    fields["msisdn"] = reader.read(number)
    return PinRequest(**fields)  # type: ignore[arg-type]  # checked by the converters


def _known_fields(prefix: str, row: object, known: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(row, Mapping):
        raise wrong_type("request", row, "a PinRequest, a number as text, or a mapping of its fields")
    fields: dict[str, object] = {}
    for name, value in cast("Mapping[object, object]", row).items():
        if not isinstance(name, str) or name not in known:
            # A file without its header line has numbers for names, and a number is not shown.
            shown = f"{prefix}{name}" if isinstance(name, str) and _NAME.fullmatch(name) else prefix + "?"
            raise InvalidRequest(shown, "is not a field of a request", f"one of {', '.join(known)}")
        fields[name] = value
    return fields
