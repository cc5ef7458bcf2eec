"""The files of a batch: its input, its results, its page.

Rules of this module:

- No file that holds something is ever written over: the results of the run before, or the input.
- A file that cannot be written is found out before anything is sent.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO, cast

from ._options import BatchOptions
from ._problems import UsageProblem
from ._rows import Rows

__all__ = ["check_free", "count_lines", "create", "is_regular", "open_input", "rows_of"]

_BLOCK: Final = 1 << 20
_LINE: Final = re.compile(rb"[^\r\n]+")


def open_input(name: str, files: ExitStack) -> TextIO:
    """Open the input; `-` is stdin."""
    if name != "-":
        return files.enter_context(
            Path(name).open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        )
    stdin = cast("TextIOWrapper", sys.stdin)
    stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")
    return stdin


def rows_of(file: TextIO, options: BatchOptions) -> Rows:
    """Read the header. Raises `UsageProblem` for a wrong one, and where no row can have a sender."""
    rows = Rows(file, options.file)
    if options.sender is None and "sender" not in rows.columns:
        raise UsageProblem(f"{options.file}: no sender: give --sender, or a column named sender")
    return rows


def is_regular(file: TextIO) -> bool:
    """Whether a file lies on a disk: a pipe or a terminal may keep its reader waiting, and cannot be read twice."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


async def count_lines(file: TextIO) -> int:
    """Count the lines that are not empty, in a regular file that was not read from yet; it is as before then.

    About as many as it has rows: a cell of a CSV may hold line breaks.
    """
    binary = file.buffer
    start = binary.tell()
    lines = 0
    inside = False
    while block := binary.read(_BLOCK):
        # A line that goes on from the block before is counted there.
        lines += sum(1 for _ in _LINE.finditer(block)) - (inside and block[0] not in b"\r\n")
        inside = block[-1] not in b"\r\n"
        await asyncio.sleep(0)  # Ctrl-C is heard between two blocks
    binary.seek(start)
    return lines


def check_free(option: str, name: str | None) -> None:
    """Refuse a file that holds something. Raises `UsageProblem`."""
    if name is None or name == "-":
        return
    path = Path(name)
    if path.exists() and path.stat().st_size:
        raise UsageProblem(f"{option} {name}: this file holds something already; name another, or remove it")


def create(name: str, files: ExitStack) -> TextIO:
    """Open a file for writing, the last thing before anything is sent.

    Line by line, as a result is worth money and must outlive this process.
    """
    out = Path(name).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115  # closed by the callback
    files.callback(_close, out)
    return out


def _close(out: TextIO) -> None:
    with suppress(OSError):  # each line was written out, or complained about, when it was its turn
        out.close()
