"""Wrappers that keep the API key, request bodies and whole phone numbers out of sight.

Rules of this module:

- A `Secret` shows nothing of itself in `repr`, `str`, `format`, `vars`, and it refuses to be pickled.
  `reveal()` is the one way to its value, so that every use of it can be found by searching for a word.
- The key travels in the request's body (the gateway knows no authentication header), so the body is
  as secret as the key: `SecretBytes` is `bytes` to an HTTP library, but a traceback that captures
  local variables shows its length only.
- A phone number is shown as `34*****111`.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn
from urllib.parse import quote, quote_plus

__all__ = ["Secret", "SecretBytes", "mask_msisdn", "mask_msisdn_in"]

_MASK = "*****"
_SHORTEST_TYPED = 4


class Secret:
    """A string that must not be shown."""

    __slots__ = ("__reveal",)

    def __init__(self, value: str) -> None:
        # A closure rather than an attribute holding the string: debuggers, `vars()` and object dumpers
        # print attributes, not cells.
        def reveal() -> str:
            return value

        self.__reveal = reveal

    def reveal(self) -> str:
        """Give the value itself. Mind where it goes."""
        return self.__reveal()

    def redact(self, text: str) -> str:
        """Blank the value out of a text that came from elsewhere, in whatever quotes it stands there."""
        for form in _forms(self.__reveal()):
            text = text.replace(form, _MASK)
        return text

    def redact_typed(self, text: str) -> str:
        """Blank a PIN out as a machine would quote it: in any case, or as a number, without leading zeros.

        Values of less than four characters stay: they are part of everything.
        """
        typed = self.__reveal()
        for form in (typed, typed.lstrip("0")):
            if len(form) >= _SHORTEST_TYPED:
                text = re.sub(re.escape(form), _MASK, text, flags=re.IGNORECASE)
        return text

    def is_in(self, text: str) -> bool:
        """Whether a text that came from elsewhere holds the value."""
        return any(form in text for form in _forms(self.__reveal()))

    def __repr__(self) -> str:
        return f"Secret('{_MASK}')"

    def __str__(self) -> str:
        return _MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret cannot be pickled: hand the API key to the other process by its environment"
        )


def _forms(value: str) -> list[str]:
    """List what a value looks like where it is quoted, the longest first, or a part of one would stay.

    As itself; in a URL; as a string of JSON, which it is in a request's body; and either as Python quotes it in the
    `repr` of a text or of bytes, which is how an HTTP library quotes what it could not read.
    """
    encoded = value.encode(errors="surrogatepass")
    in_urls = {quote(encoded), quote(encoded, safe=""), quote_plus(encoded)}
    forms = in_urls | {re.sub("%..", lambda found: found[0].lower(), form) for form in in_urls}
    for written in (value, json.dumps(value)[1:-1]):
        # With a double quote before it, as in a body: then Python escapes the single ones.
        forms |= {
            written,
            repr(f'"{written}')[2:-1],
            repr(f'"{written}'.encode(errors="surrogatepass"))[3:-1],
        }
    return sorted(forms, key=len, reverse=True)


class SecretBytes(bytes):
    """Bytes that hold a secret: `repr` and `str` show their length only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("bytes that hold the API key cannot be pickled")


def mask_msisdn(msisdn: str) -> str:
    """Mask a number for people's eyes: its first two and last three digits stay."""
    return f"{msisdn[:2]}{_MASK}{msisdn[-3:]}"


_SEPARATORS = r"(?:[\s().\-/\u2010-\u2015]|%20|\+)*"
_LONGEST_CODE = 3
"""Digits of a country's calling code."""


def mask_msisdn_in(text: str, msisdn: str) -> str:
    """Mask a number in a text that came from elsewhere: as digits, with separators, and without its calling code."""
    international, *national = (
        _SEPARATORS.join(msisdn[left:]) for left in range(min(_LONGEST_CODE, len(msisdn) - 6) + 1)
    )
    # A national form is a part of other numbers, too.
    forms = "|".join([international, *(rf"(?<!\d)(?:0{_SEPARATORS})?{form}(?!\d)" for form in national)])
    return re.sub(forms, mask_msisdn(msisdn), text)
