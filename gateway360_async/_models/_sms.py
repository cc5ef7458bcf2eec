"""The sender and the text of an SMS: which are refused, and the form that browsers fill in from."""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false, reportUnnecessaryComparison=false, reportUnreachable=false

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from .._exceptions import InvalidRequest, wrong_type
from .._numbers._characters import is_space, name_character

PIN_PLACEHOLDER: Final = "{PIN}"
SENDER_EXPECTED: Final = (
    "up to 15 digits, or up to 11 characters of printable ASCII and accented Latin letters"
)
TEXT_EXPECTED: Final = f"a text with {PIN_PLACEHOLDER} exactly once that has at most 160 characters once the PIN stands in its place"
# Category Cc but for line feed and carriage return, and Cs: a lone surrogate cannot go on the wire (RFC 8259, 8.2).
_NEVER_SHOWN: Final = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# As Chromium looks for it, on any line: the first one counts there, and not the last line's.
_CODE_LINE: Final = re.compile(r"(?:^|\s)@[A-Za-z0-9.-]+ #[^#\s]", re.ASCII)


def checked_sender(value: str) -> str:
    """Return a sender as it goes on the wire: composed (NFC), without white space around it.

    The gateway's rule: up to 15 digits, or 11 characters. Ours, from what the vendor says of plain SMS (what is
    not ASCII is replaced or dropped): printable ASCII, and letters whose base is ASCII, as of É.
    """
    if value is None:
        raise InvalidRequest("sender", "is missing", SENDER_EXPECTED)
    checked_field("sender", value, "a sender as text", _sender_problem, SENDER_EXPECTED)
    return _read_sender(value)[0]


def _sender_problem(value: str) -> str | None:
    return _read_sender(value)[1]


@lru_cache(maxsize=64)  # an application has a handful, and sends them again and again
def _read_sender(value: str) -> tuple[str, str | None]:
    """Return the sender, and its problem."""
    sender = unicodedata.normalize("NFC", value)
    shown = [index for index, ch in enumerate(sender) if not is_space(ch)]
    if not shown:
        return "", "is empty"
    sender = sender[shown[0] : shown[-1] + 1]
    for position, ch in enumerate(sender, 1):
        base = "".join(part for part in unicodedata.normalize("NFKD", ch) if not unicodedata.combining(part))
        if not (ch.isprintable() if ch.isascii() else ch.isalpha() and base.isascii() and base.isalpha()):
            control = unicodedata.category(ch) == "Cc"
            fate = "no phone shows" if control else "the gateway would replace or drop"
            return sender, f"holds {name_character(ch, position)}, which {fate}"
    all_digits = sender.isdigit()  # in ASCII, by now
    if len(sender) > (15 if all_digits else 11):
        return sender, f"has {len(sender)} {'digits' if all_digits else 'characters'}"
    return sender, None


def checked_field(
    field: str, value: object, wanted: str, problem_of: Callable[[str], str | None], expected: str
) -> str:
    """Return a field that is a text without a problem, or raise `InvalidRequest`."""
    if not isinstance(value, str):
        raise wrong_type(field, value, wanted)
    problem = problem_of(value)
    if problem is not None:
        raise InvalidRequest(field, problem, expected)
    return value


def checked_text(value: str | None) -> str | None:
    """Check a text, all but its length, which depends on the PIN's. Its characters stay as they are."""
    return None if value is None else checked_field("sms_text", value, "a text", _text_problem, TEXT_EXPECTED)


def _text_problem(value: str) -> str | None:
    count = value.count(PIN_PLACEHOLDER)
    if not count and PIN_PLACEHOLDER.lower() in value.lower():
        return f"holds the placeholder in other letters than {PIN_PLACEHOLDER}"
    if count != 1:
        return f"holds {PIN_PLACEHOLDER} {count} times" if count else f"holds no {PIN_PLACEHOLDER}"
    return _character_problem(value)


def _character_problem(value: str) -> str | None:
    """Name a character that no phone could show: a control that is no line break, or half a character."""
    found = _NEVER_SHOWN.search(value)
    if found is None:
        return None
    kind = "the control character" if unicodedata.category(found[0]) == "Cc" else "half a character,"
    return f"holds {kind} {name_character(found[0], found.start() + 1)}"


def autofill_text(text: str, *, domain: str) -> str:
    """Build a text whose PIN phones and browsers offer to fill in, on that site alone.

        autofill_text("Your code for Good Pizza:", domain="example.com")

    The PIN stands in the last line, `@example.com #{PIN}`, which people read as well. The page's field has
    `autocomplete="one-time-code"`, or the page asks for the code by the WebOTP API.

    Source: "Origin-bound one-time codes delivered via SMS" (WICG), which iOS and Chromium on Android read.

    Args:
        text: Comes before the last line, without `{PIN}`; may be empty. The whole, with the PIN, has to fit the
            160 characters of `PinRequest`'s `sms_text`, which checks it.
        domain: The site's domain, as an address bar's after `https://`. Subdomains of it count as the same
            site on most phones. `localhost` works in development.

    Raises:
        InvalidRequest: `.field` is `"text"` or `"domain"`.
    """
    expected = f"the words before the code, without {PIN_PLACEHOLDER}"
    checked_field("text", text, "a text", _words_problem, expected)
    expected = "the site's domain alone, such as example.com"
    checked_field("domain", domain, "a domain as text", _domain_problem, expected)
    line_break = "\n" if text and text[-1] not in "\r\n" else ""
    return f"{text}{line_break}@{domain.lower()} #{PIN_PLACEHOLDER}"


def _words_problem(text: str) -> str | None:
    if PIN_PLACEHOLDER in text:
        return f"holds {PIN_PLACEHOLDER}, which may stand in an SMS once, and the last line has it"
    if _CODE_LINE.search(text):
        return "holds another code for a site, which a browser would take instead"
    return _character_problem(text)


def _domain_problem(domain: str) -> str | None:
    host = domain.lower()
    if not host.isascii():
        return "is not ASCII: write it as browsers send it (xn--…)"
    if "/" in host or ":" in host:
        return "holds more than a domain: leave out https://, a port and a path"
    if host != "localhost" and "." not in host:
        return "has no dot, so it is no public domain"
    labels = host.split(".")
    is_domain = len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    return None if is_domain else "is no domain"
