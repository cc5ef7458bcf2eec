"""Modules that are imported when they are first used: httpx takes longer to import than all of this package.

Annotations name them too, so that `typing.get_type_hints` finds what they mean.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Lazy", "httpx"]


class Lazy:
    """A module that is imported when it is first used; a name with a leading dot is one of this package."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name, __package__), name)


if TYPE_CHECKING:
    import httpx as httpx  # noqa: PLC0414  # for type checkers, a name of this module
else:
    httpx = Lazy("httpx")
