"""Where the command line writes for people."""

from __future__ import annotations

from rich.console import Console

__all__ = ["console_on"]

_WIDE = 200


def console_on(*, stderr: bool) -> Console:
    """Make a console; where it is no terminal, nothing is cut or wrapped to fit one."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE)
