"""Helpers of the tests of the command line."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

from gateway360_async.cli._app import app


def numbers(count: int) -> str:
    return "".join(f"346{n:08}\n" for n in range(count))


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def one_line(text: str) -> str:
    """The one line that a person sees, without a traceback."""
    (line,) = text.strip().splitlines()
    assert line.startswith("gateway360: ")
    return line


def invoke_here(
    arguments: list[str], stdout: io.StringIO | None = None, stderr: io.StringIO | None = None
) -> tuple[int, str, str]:
    """Invoke with this process's own stdin, which typer's runner would replace."""
    stdout, stderr = stdout or io.StringIO(), stderr or io.StringIO()
    with (
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as caught,
    ):
        app(arguments, standalone_mode=True)
    return caught.value.code, stdout.getvalue(), stderr.getvalue()
