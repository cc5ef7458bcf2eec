"""What of a request is kept: everything but its secrets.

Rules of this module:

- The account's key is blanked by its value, wherever it stands, as it may have come in elsewhere; and what
  stands under the name `api_key` is blanked in any case, as it may be another account's.
- A PIN is as secret: what stands under the name `pin` is blanked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

__all__ = ["masked_fields", "masked_text"]

_MASK: Final = "*****"
_SECRET_NAMES: Final = frozenset({"api_key", "pin"})
_DEPTH: Final = 20


def masked_text(text: str | None, key: str) -> str | None:
    """Blank the key in a text."""
    return None if text is None else text.replace(key, _MASK)


def masked_fields(fields: Mapping[str, object], key: str) -> dict[str, object]:
    """Blank the secrets in a JSON object, which is left as it is. What is nested very deeply is left out."""
    named = {name: _MASK if name in _SECRET_NAMES else value for name, value in fields.items()}
    return cast("dict[str, object]", _masked(named, key, _DEPTH))


def _masked(value: object, key: str, depth: int) -> object:
    if isinstance(value, str):
        return value.replace(key, _MASK)
    if isinstance(value, list) and depth:
        return [_masked(item, key, depth - 1) for item in cast("list[object]", value)]
    if isinstance(value, dict) and depth:
        pairs = cast("dict[object, object]", value).items()
        return {_masked(name, key, 0): _masked(item, key, depth - 1) for name, item in pairs}
    return _MASK if isinstance(value, (list, dict)) else value
