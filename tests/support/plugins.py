"""The plugins of a run of pytest that a test starts."""

from __future__ import annotations

from importlib import metadata


def alone(*others: str) -> list[str]:
    """Load our plugin by its entry point as ever, and of all that are installed, which take half a second, only these."""
    names = {one.name for one in metadata.entry_points(group="pytest11")} - {"gateway360", *others}
    return ["-p", "no:cacheprovider", *(word for name in sorted(names) for word in ("-p", f"no:{name}"))]
