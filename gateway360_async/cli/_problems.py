"""What a person got wrong, as one line on stderr."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from getpass import getpass
from typing import Final, NoReturn, cast

from gateway360_async import Gateway360Error
from gateway360_async._repr import printable

__all__ = [
    "FAILED",
    "HALTED",
    "INTERRUPTED",
    "OK",
    "TERMINATED",
    "USAGE",
    "FileProblem",
    "UsageProblem",
    "api_key",
    "ask",
    "complain",
    "fail",
    "run",
]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
HALTED: Final = 3
INTERRUPTED: Final = 130
TERMINATED: Final = 143


class UsageProblem(Exception):
    """A wrong option, file, port or key. The text is the line to show."""


class FileProblem(UsageProblem):
    """The input cannot be read on from a line, or the results not be written. What came before it was sent."""


def complain(problem: object) -> None:
    """Show one line on stderr, in which nothing commands the terminal."""
    print(f"gateway360: {printable(str(problem))}", file=sys.stderr)  # noqa: T201


def fail(problem: object, code: int = USAGE) -> NoReturn:
    """Show one line and leave."""
    complain(problem)
    raise SystemExit(code)


def run(command: Coroutine[object, object, int]) -> NoReturn:
    """Run a command to its exit code."""
    try:
        code = asyncio.run(_interruptible(command))
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except asyncio.CancelledError:
        fail("terminated", TERMINATED)
    except (UsageProblem, Gateway360Error) as exc:
        fail(exc)
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        fail(f"{where}{exc.strerror or exc}")
    raise SystemExit(code)


async def _interruptible(command: Coroutine[object, object, int]) -> int:
    """Let a SIGTERM end a command as Ctrl-C does: what is in flight is cancelled and written down first."""
    task = cast("asyncio.Task[object]", asyncio.current_task())
    with suppress(NotImplementedError):  # Windows has no such signal to handle
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command


def ask(prompt: str) -> str:
    """Ask somebody at a terminal for a secret, which is not shown. Nothing, if there is no more input."""
    # The event loop would keep a Ctrl-C for later, and nobody would hear it before the next Enter.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return getpass(prompt).strip()
    except EOFError:
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


def api_key() -> str:
    """Take the key from the environment, or ask for it where somebody can answer."""
    key = os.environ.get("GATEWAY360_API_KEY", "")
    if not key and sys.stdin.isatty():
        key = ask("API key: ")
    if not key:
        raise UsageProblem("no API key: set GATEWAY360_API_KEY, or run this where it can be typed")
    return key
