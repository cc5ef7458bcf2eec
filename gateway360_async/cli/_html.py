"""HTML and SVG, put together so that nothing gets in unescaped.

Rules of this module:

- A text is escaped where it is put in, whatever it is; only what `element` made itself is markup.
- What no page may hold (control characters, lone surrogates) is escaped as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

from gateway360_async._repr import printable

__all__ = ["Child", "Markup", "element", "number"]


class Markup(str):
    """Markup, as `element` made it."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[str | Markup]"
_VOID: Final = frozenset({"meta"})


def element(tag: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Make an element.

    Args:
        tag: Its name.
        children: Texts, which are escaped; elements; and lists of either.
        attributes: Its attributes; one that is `None` is left out. A trailing `_` is dropped from a name, and any
            other becomes `-`.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{''.join(_flat(children))}</{tag}>")


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield _text(child)
        else:
            yield from _flat(child)


def _text(text: str) -> str:
    return escape(printable(text))


def number(value: float) -> str:
    """Write a coordinate: two decimals say where a line is."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
