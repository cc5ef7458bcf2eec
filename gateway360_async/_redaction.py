"""Secrets and numbers out of sight, and texts that are safe to print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn
from urllib.parse import quote, quote_plus

import attrs

MASK: Final = "*****"
_SHORTEST_TYPED: Final = 4


class Secret:
    """A string that shows nothing of itself and cannot be pickled."""

    __slots__ = ("__reveal",)

    def __init__(self, value: str) -> None:
        # A closure: debuggers, `vars()` and object dumpers print attributes, not cells.
        self.__reveal: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the value itself: search for this word to find each use of it."""
        return self.__reveal()

    def redact(self, text: str) -> str:
        """Blank the value out of a text that came from elsewhere, in whatever quotes it stands there."""
        for form in _forms(self.__reveal()):
            text = text.replace(form, MASK)
        return text

    def redact_typed(self, text: str) -> str:
        """Blank a PIN out as a machine would quote it: in any case, or as a number, without leading zeros.

        Values of less than four characters stay: they are part of everything.
        """
        typed = self.__reveal()
        for form in (typed, typed.lstrip("0")):
            if len(form) >= _SHORTEST_TYPED:
                text = re.sub(re.escape(form), MASK, text, flags=re.IGNORECASE)
        return text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret cannot be pickled: hand the API key to the other process by its environment"
        )


def _forms(value: str) -> list[str]:
    """List the forms that a value is quoted in, the longest first, or a part of one would stay.

    As itself; in a URL; as a string of JSON; and either in the `repr` of a text or of bytes.
    """
    encoded = value.encode(errors="surrogatepass")
    in_urls = {quote(encoded), quote(encoded, safe=""), quote_plus(encoded)}
    forms = in_urls | {re.sub("%..", lambda found: found[0].lower(), form) for form in in_urls}
    for written in (value, json.dumps(value)[1:-1]):
        # With a double quote before it, as in a body: then Python escapes the single ones.
        quoted = f'"{written}'
        forms |= {written, repr(quoted)[2:-1], repr(quoted.encode(errors="surrogatepass"))[3:-1]}
    return sorted(forms, key=len, reverse=True)


class SecretBytes(bytes):
    """Bytes that hold a secret, as a request's body holds the key: `repr` and `str` show their length only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("bytes that hold the API key cannot be pickled")


def mask_msisdn(msisdn: str) -> str:
    """Mask a number for people's eyes: its first two and last three digits stay."""
    return f"{msisdn[:2]}{MASK}{msisdn[-3:]}"


_SEPARATOR: Final = r"[\s().\-/\u2010-\u2015]|%20|\+"
_BETWEEN_DIGITS: Final = rf"(?:{_SEPARATOR})*"
_separators: Final = re.compile(_SEPARATOR)
_LONGEST_CODE: Final = 3  # digits of a country's calling code
_TAIL: Final = 4  # digits that end every form of a number, behind the first two, which a `%` may precede


def mask_msisdn_in(text: str, msisdn: str) -> str:
    """Mask a number in a text that came from elsewhere: as digits, with separators, and without its calling code."""
    # To compile the pattern takes milliseconds, in which the event loop does nothing else: few texts need it.
    if msisdn[-_TAIL:] not in _separators.sub("", text):
        return text
    international, *national = (
        _BETWEEN_DIGITS.join(msisdn[left:]) for left in range(min(_LONGEST_CODE, len(msisdn) - 6) + 1)
    )
    # A national form is a part of other numbers, too.
    forms = [international, *(rf"(?<!\d)(?:0{_BETWEEN_DIGITS})?{form}(?!\d)" for form in national)]
    return re.sub("|".join(forms), mask_msisdn(msisdn), text)


_UNSET = object()


def repr_of(instance: attrs.AttrsInstance) -> str:
    """Make the `repr` that attrs would, of the fields that are set; a field's own `repr` setting counts.

    A traceback with local variables asks for it of an object whose converter raised: attrs' own would raise again.
    """
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(instance))
    shown: list[str] = []
    for field in fields:
        value = getattr(instance, field.name, _UNSET)
        if field.repr is not False and value is not _UNSET:
            shown.append(f"{field.name}={repr(value) if field.repr is True else field.repr(value)}")
    return f"{type(instance).__name__}({', '.join(shown)})"


def printable(text: str) -> str:
    """Escape characters that a terminal would obey or no file can hold: foreign texts are not trusted."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
