"""JSON that comes from outside, read strictly.

Invariants:

- JSON as RFC 8259 has it, in UTF-8: no duplicate keys (two parsers would read two documents), no NaN, a bounded depth,
  bounded integers, a bounded length.
- The time is linear in the length, whatever the bytes.
- No text that is made here holds a part of the document.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

_MAX_DEPTH: Final = 64
_MAX_INT_DIGITS: Final = 4300  # Python's own default, which an application may have switched off


class UnreadableError(ValueError):
    """A body that is no JSON which every parser would read alike. The text says why."""


def read_json(body: bytes, *, max_bytes: int) -> Any:
    """Read a document of `max_bytes` at most. Raises `UnreadableError`."""
    if len(body) > max_bytes:
        raise UnreadableError(f"the body is longer than {max_bytes} bytes")
    if not body.strip():
        raise UnreadableError("the body is empty")
    try:
        text = body.decode("utf-8")
        _require_shallow(text)
        return _decode_json(text)
    except UnicodeDecodeError:
        raise UnreadableError("the body is not UTF-8") from None
    except UnreadableError:
        raise
    except (ValueError, RecursionError):
        raise UnreadableError("the body is not JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise UnreadableError("the JSON has a key twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"the JSON holds {name}")


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_INT_DIGITS:
        raise UnreadableError("the JSON holds an integer with too many digits")
    return int(digits)


_decode_json = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_bounded_int
).decode

# The closing quote is optional, so that an unterminated string is consumed once, to the end: were it
# required, the search would start anew at each quote inside, and 64 KiB of them would take seconds. Characters once
# read are never given back (the possessive `+`): to be able to, `re` would keep 150 bytes a character.
_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)


def _require_shallow(text: str) -> None:
    # Counted before parsing: the parser recurses, and how far it gets depends on the caller's stack.
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += match[0] in "[{"
        depth -= match[0] in "]}"
        if depth > _MAX_DEPTH:
            raise UnreadableError("the JSON is nested too deeply")
