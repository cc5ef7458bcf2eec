"""The files of a batch: its input, its results, its page.

Rules of this module:

- No file that holds something is ever written over: the results of the run before, or the input.
- With a store, the same command goes on after a crash: its results then go to the next free name, and it
  says so.
- A file that cannot be written is found out before anything is sent.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO, TypeVar, cast

import attrs

from ._columns import renamed_columns
from ._options import BatchOptions, free_name
from ._problems import UsageProblem, complain
from ._rows import Rows

__all__ = ["create", "free_files", "is_regular", "open_input", "rows_of", "taking_turns"]

_T = TypeVar("_T")

_AT_A_TIME: Final = 500
"""Rows between two looks at whether Ctrl-C was pressed."""


def open_input(name: str, files: ExitStack) -> TextIO:
    """Open the input; `-` is stdin."""
    if name != "-":
        return files.enter_context(
            Path(name).open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        )
    stdin = cast("TextIOWrapper", sys.stdin)
    stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")
    return stdin


async def rows_of(file: TextIO, options: BatchOptions) -> tuple[Rows, int | None]:
    """Read the first line of the input, and all of a file that can be read twice: nothing is sent of a broken one.

    Returns:
        The rows, and their number where it is known.

    Raises:
        UsageProblem: The input cannot be read, or no row can have a sender.
    """
    regular = is_regular(file)
    start = file.tell() if regular else 0
    renamed = renamed_columns(options.columns)
    rows = Rows(file, options.input, renamed)
    if options.sender is None and not rows.has("sender"):
        raise UsageProblem(f"{options.input}: no sender: give --sender, or a column named sender")
    if not regular:
        return rows, None
    total = 0
    async for _ in taking_turns(rows.cells()):
        total += 1
    file.seek(start)
    return Rows(file, options.input, renamed), total


def is_regular(file: TextIO) -> bool:
    """Whether a file lies on a disk: a pipe or a terminal may keep its reader waiting, and cannot be read twice."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


async def taking_turns(rows: Iterable[_T]) -> AsyncIterator[_T]:
    """Give the rows, and let the event loop hear Ctrl-C on the way."""
    for index, row in enumerate(rows):
        if not index % _AT_A_TIME:
            await asyncio.sleep(0)
        yield row


def free_files(options: BatchOptions) -> BatchOptions:
    """Decide which files are written: with a store, the next free names like those that were given.

    Raises:
        UsageProblem: A file cannot be written, or holds something and there is no store, or is for two purposes.
    """
    if options.report == "-":
        raise UsageProblem("--report -: the page needs a file of its own")
    _check_distinct(options)
    _check_writable("--store", options.store_file)
    out = _free("--out", options.out, options)
    report = _free("--report", options.report, options)
    options = attrs.evolve(options, out=out, report=report)
    _check_distinct(options)
    return options


def _check_distinct(options: BatchOptions) -> None:
    named = {"--out": options.out, "--report": options.report, "--store": options.store_file}
    seen: dict[Path, str] = {}
    for option, name in named.items():
        if name is not None and name != "-" and seen.setdefault(Path(name).resolve(), option) != option:
            raise UsageProblem(f"{option} {name}: {seen[Path(name).resolve()]} names the same file")


def _free(option: str, name: str | None, options: BatchOptions) -> str | None:
    _check_writable(option, name)
    free = name if name is None or name == "-" else free_name(name)
    if free == name:
        return name
    if options.store is None:
        raise UsageProblem(f"{option} {name}: this file holds something already; name another")
    if not options.json:  # whose one object names them
        complain(f"{option} {name} holds something already; this run's is {free}")
    return free


def _check_writable(option: str, name: str | None) -> None:
    """Look whether a file could be written, and make none. Raises `UsageProblem`."""
    if name is None or name == "-":
        return
    path = Path(name)
    folder = path.parent
    there = path.exists()
    if path.is_dir():
        problem = "this is a folder; name a file in it"
    elif not there and not folder.is_dir():
        problem = (
            f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}; make it first"
        )
    elif not os.access(path if there else folder, os.W_OK):
        problem = "this user may not write it; name another"
    else:
        return
    raise UsageProblem(f"{option} {name}: {problem}")


def create(name: str, files: ExitStack) -> TextIO:
    """Open a file for writing, the last thing before anything is sent; `-` is stdout.

    Line by line, as a result is worth money and must outlive this process. What another run has put there since we
    looked is not written over, either. For its owner alone: it may hold whole numbers.
    """
    if name == "-":
        return sys.stdout
    out = open(name, "a", encoding="utf-8", buffering=1, opener=_for_its_owner)  # noqa: SIM115  # closed by the callback
    files.callback(_close, out)
    return out


def _for_its_owner(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _close(out: TextIO) -> None:
    with suppress(OSError):  # each line was written out, or complained about, when it was its turn
        out.close()
