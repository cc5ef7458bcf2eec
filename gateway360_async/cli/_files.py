"""The files of a batch: its input, its results, its page.

Rules of this module:

- No file that holds something is ever written over: the results of the run before, or the input.
- With a store, the same command goes on after a crash: its results then go to the next free name, and it
  says so.
- A file that cannot be written is found out before anything is sent.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
import sys
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO, cast

import attrs

from gateway360_async._repr import printable

from ._options import BatchOptions, free_name
from ._problems import UsageProblem, complain
from ._rows import Rows

__all__ = ["check_writable", "count_lines", "create", "free_files", "is_regular", "open_input", "rows_of"]

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


def free_files(options: BatchOptions) -> BatchOptions:
    """Decide which files are written: with a store, the next free names like those that were given.

    Raises:
        UsageProblem: A file holds something and there is no store, or one file is for two purposes.
    """
    if options.report == "-":
        raise UsageProblem("--report -: the page needs a file of its own")
    _check_distinct(options)
    out = _free("--out", options.out, options)
    report = None if options.report is None else _free("--report", options.report, options)
    options = attrs.evolve(options, out=out, report=report)
    _check_distinct(options)
    return options


def _check_distinct(options: BatchOptions) -> None:
    named = {"--out": options.out, "--report": options.report, "--store": options.store_file}
    seen: dict[Path, str] = {}
    for option, name in named.items():
        if name is not None and name != "-" and seen.setdefault(Path(name).resolve(), option) != option:
            raise UsageProblem(f"{option} {name}: {seen[Path(name).resolve()]} names the same file")


def _free(option: str, name: str, options: BatchOptions) -> str:
    path = Path(name)
    if name == "-" or not path.exists() or not path.stat().st_size:
        return name
    if options.store is None or not path.is_file():
        raise UsageProblem(f"{option} {name}: this file holds something already; name another")
    free = free_name(name)
    if not options.json:  # whose one object names them
        complain(f"{option} {printable(name)} holds something already; this run's is {printable(free)}")
    return free


def check_writable(name: str | None) -> None:
    """Look whether a file could be written, and make none. Raises `OSError`, as opening it would."""
    if name is None or name == "-":
        return
    path = Path(name)
    there = path.exists()
    if there and path.is_dir():
        problem = errno.EISDIR
    elif not there and not path.parent.exists():
        problem = errno.ENOENT
    elif not there and not path.parent.is_dir():
        problem = errno.ENOTDIR
    elif not os.access(path if there else path.parent, os.W_OK):
        problem = errno.EACCES
    else:
        return
    raise OSError(problem, os.strerror(problem), name)


def create(name: str, files: ExitStack) -> TextIO:
    """Open a file for writing, the last thing before anything is sent.

    Line by line, as a result is worth money and must outlive this process. What another run has put there since we
    looked is not written over, either.
    """
    out = Path(name).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115  # closed by the callback
    files.callback(_close, out)
    return out


def _close(out: TextIO) -> None:
    with suppress(OSError):  # each line was written out, or complained about, when it was its turn
        out.close()
