"""Run a command to its exit code; what a person got wrong is one line on stderr."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import re
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from getpass import getpass
from typing import Final, NoReturn, cast

from gateway360_async import Gateway360Error, InvalidConfiguration, InvalidRequest
from gateway360_async._redaction import printable

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
    "in_words",
    "run",
    "tell",
]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
HALTED: Final = 3
INTERRUPTED: Final = 130
TERMINATED: Final = 143

_NAMES: Final = {"msisdn": "the number", "api_key": "GATEWAY360_API_KEY"}
"""The fields and settings of the library that are no options."""
_WORDS: Final = {
    '(region="ES", --region ES)': "(--region ES)",
    'line_types="any" (--line-types any)': "--line-types any",
    ", or None for no region": "",
    ", or allow_insecure=True": "; http:// is for this machine alone, as in http://127.0.0.1:8360",
    ", or path_prefix=''": ", or --path-prefix ''",
    "given as `api_key` or in the environment as GATEWAY360_API_KEY": "without anything around it",
}
"""The library's words for the same in Python."""


def _option(field: str) -> str:
    return _NAMES.get(field) or "--" + re.sub(r"_params\.|_", "-", field)


class UsageProblem(Exception):
    """A wrong option, file, port or key. The text is the line to show."""


class FileProblem(UsageProblem):
    """The input cannot be read on, or results not be written; earlier rows were sent."""


def complain(problem: object) -> None:
    """Show one line on stderr, in which nothing commands the terminal."""
    print(f"gateway360: {printable(str(problem))}", file=sys.stderr)  # noqa: T201


def tell(problem: object, code: int, *, json: bool) -> int:
    """Show why a command fails, as a line or for a program. Gives the exit code."""
    if json:
        print(jsonlib.dumps({"problem": str(problem), "exit_code": code}), file=sys.stderr)  # noqa: T201
    else:
        complain(problem)
    return code


def in_words(text: str) -> str:
    """Write what the library says in the words of the command line."""
    for words, option in _WORDS.items():
        text = text.replace(words, option)
    return text


def run(command: Coroutine[object, object, int], *, json: bool = False) -> NoReturn:
    """Run a command to its exit code. With `json`, why it fails is an object, too."""
    try:
        code = asyncio.run(_interruptible(command))
    except KeyboardInterrupt:
        code = tell("interrupted", INTERRUPTED, json=json)
    except asyncio.CancelledError:
        code = tell("terminated", TERMINATED, json=json)
    except UsageProblem as exc:
        code = tell(exc, USAGE, json=json)
    except Gateway360Error as exc:
        text = in_words(str(exc))
        if isinstance(exc, (InvalidRequest, InvalidConfiguration)):
            field = exc.field if isinstance(exc, InvalidRequest) else exc.setting
            text = _option(field) + text.removeprefix(field)
        code = tell(text, USAGE, json=json)
    except OSError as exc:
        place = f"{exc.filename}: " if exc.filename else ""
        code = tell(f"{place}{exc.strerror or exc}", USAGE, json=json)
    raise SystemExit(code)


async def _interruptible(command: Coroutine[object, object, int]) -> int:
    """Let a SIGTERM end a command as Ctrl-C does: with its results written down."""
    task = cast("asyncio.Task[object]", asyncio.current_task())
    with suppress(NotImplementedError):  # Windows has no such signal to handle
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command


def ask(prompt: str) -> str:
    """Ask for a secret at a terminal, which does not show it; empty at its end."""
    # The event loop would keep a Ctrl-C for later, and it would not be heard before the next Enter.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return getpass(prompt).strip()
    except EOFError:
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


def api_key() -> str:
    """Take the key from the environment, or ask for it at a terminal."""
    key = os.environ.get("GATEWAY360_API_KEY", "")
    if not key and sys.stdin.isatty():
        key = ask("API key: ")
    if not key:
        raise UsageProblem("no API key: set GATEWAY360_API_KEY, or run this where it can be typed")
    return key
