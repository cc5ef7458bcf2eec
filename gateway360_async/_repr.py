"""What is shown of a value: a `repr` that also works while its object is being built, a text that is safe to print.

A converter or validator that raises leaves a half-built object in the frame below it, and a traceback that
captures local variables asks for its `repr`. The one that attrs makes fails there, and the report with it.
"""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["printable", "repr_of"]

_UNSET = object()


def repr_of(instance: attrs.AttrsInstance) -> str:
    """Make the `repr` that attrs would, of the fields that are set; a field's own `repr` setting counts."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(instance))
    shown: list[str] = []
    for field in fields:
        value = getattr(instance, field.name, _UNSET)
        if field.repr is not False and value is not _UNSET:
            shown.append(f"{field.name}={repr(value) if field.repr is True else field.repr(value)}")
    return f"{type(instance).__name__}({', '.join(shown)})"


def printable(text: str) -> str:
    """Escape what a terminal would obey, and what no file can hold: others' words are not trusted."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
