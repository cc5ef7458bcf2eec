"""A bar: what has to hold, whether it does, and what was found."""

from __future__ import annotations

from typing import Any

__all__ = ["bar"]


def bar(what: str, *, holds: bool, found: str) -> dict[str, Any]:
    """Make one, for the results."""
    return {"what": what, "holds": holds, "found": found}
