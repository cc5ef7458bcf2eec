"""Moved to `_guard`."""

from ._guard import Cooldown

__all__ = ["Cooldown"]
