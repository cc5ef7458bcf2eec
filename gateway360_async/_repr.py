"""The `repr` of values, and texts that are safe to print."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["printable", "repr_of"]

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
