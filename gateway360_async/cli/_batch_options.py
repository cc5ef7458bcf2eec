"""The options of `gateway360 batch`, their files, and their command line.

Invariants:

- No file that holds something is ever written over: the results of the run before, or the input.
- With a store, the same command goes on after a crash: its results then go to the next free name, and it
  says so.
- A file that cannot be written is found out before anything is sent.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import parse_qs, urlsplit

import attrs
import typer

from gateway360_async import InvalidRequest
from gateway360_async._config import STORE_VARIABLE, seconds_apart
from gateway360_async._models import checked_idempotency_key

from ._options import CONCURRENCY, PATH_PREFIX, BaseUrl, Lines, PathPrefix, Region
from ._problems import UsageProblem, complain

__all__ = ["BatchOptions", "argument", "file_of", "free_name", "quoted", "resolved"]


@attrs.frozen
class BatchOptions:
    """The options of the command, as they were typed."""

    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A CSV with the API's field names, or one number a line; - is stdin."
        ),
    ]
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where the results go, a JSON line each; - is stdout. Default: stdout, if it is no terminal.",
        ),
    ] = None
    sender: Annotated[str | None, typer.Option(help="The sender of rows that name none.")] = None
    region: Region = None
    line_types: Lines = "sms"
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=NAME",
            help="The column that holds a field, where it has a name of its own: msisdn=phone. May be repeated.",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check every row, and say what would be sent. Nothing is: no key needed."
        ),
    ] = False
    rate: Annotated[
        str | None, typer.Option(help="Requests started at most, retries included, such as 30/s or 1000/m.")
    ] = None
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Requests at a time, 1 to 1000.")
    ] = CONCURRENCY
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The batch's name in the store: a number gets one SMS under it. Default: the file's name.",
        ),
    ] = None
    resend_maybe_sent: Annotated[
        bool,
        typer.Option(
            "--resend-maybe-sent", help="Send again what another run may have sent: a second SMS each."
        ),
    ] = False
    on_duplicate: Annotated[
        Literal["skip", "send"],
        typer.Option(help="A number that is there twice: skip it, or send a PIN that voids the first."),
    ] = "skip"
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write a page about the run: report.html, say. Numbers are masked."
        ),
    ] = None
    base_url: BaseUrl = None
    path_prefix: PathPrefix = PATH_PREFIX
    json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on stderr, in place of bar and table.")
    ] = False
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar=STORE_VARIABLE,
            show_envvar=False,
            help="Where the batch keeps its records: a file, redis://… or postgresql://…; also GATEWAY360_STORE, where "
            "a password belongs. The same command goes on after Ctrl-C or a crash, and shares the work on as many "
            "machines as you like; its results go to the next free name.",
        ),
    ] = attrs.field(default=None, repr=False)

    def command(self) -> str:
        """Write the command line that goes on with this batch, into files of its own."""
        words = ["gateway360", "batch", argument(self.file)]
        for field in attrs.fields(BatchOptions):
            value, option = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value in (field.default, "-") or field.name in ("file", "dry_run", "store"):
                continue
            if value is True:
                words.append(option)
                continue
            for text in cast("list[str]", value) if isinstance(value, list) else [str(value)]:
                given = free_name(text) if field.name in ("out", "report") else text
                words += [f"{option}={given}"] if given.startswith("-") else [option, given]
        line = " ".join(map(quoted, words))
        if self.store is None:
            return line
        store = f'"${STORE_VARIABLE}"' if self.store_is_secret else quoted(argument(self.store))
        return f"{line} --store {store}"

    @property
    def input(self) -> str:
        """The name of the input in texts."""
        return "stdin" if self.file == "-" else self.file

    @property
    def interval(self) -> float | None:
        """Seconds between two requests; `None`: no rate is given. Raises `UsageProblem`."""
        try:
            return None if self.rate is None else seconds_apart(self.rate, "--rate")
        except ValueError as exc:
            raise UsageProblem(str(exc)) from None

    @property
    def store_file(self) -> str | None:
        """The file of the store, if it is one."""
        return file_of(self.store)

    @property
    def store_is_missing(self) -> bool:
        """Whether the store is a file that is not there yet."""
        return self.store_file is not None and not Path(self.store_file).exists()

    @property
    def store_is_secret(self) -> bool:
        """Whether the URL of the store holds a password, or may hold one."""
        if self.store_file is not None:
            return False
        parts = urlsplit(self.store or "")
        return "@" in parts.netloc or bool(parse_qs(parts.query).keys() - {"db"})


def file_of(store: str | None) -> str | None:
    """Give the file of a store; `None`: it is a server, or there is none."""
    path = (store or "").removeprefix("sqlite://")
    return path if path and "://" not in path else None


def argument(file: str) -> str:
    """Write the name of a file so that no command takes it for an option."""
    return f"./{file}" if file.startswith("-") and file != "-" else file


def quoted(word: str) -> str:
    """Quote a word for a shell; a character that commands the terminal as its bytes."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = re.sub(r"[\\']", r"\\\g<0>", word)
    escaped = "".join(
        char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
        for char in escaped
    )
    return f"$'{escaped}'"


def free_name(name: str) -> str:
    """Give the name, or the next one like it that holds nothing: `results-2.jsonl`."""
    path = candidate = Path(name)
    stem = re.sub(r"-\d{1,3}$", "", path.stem)
    number = 1
    while candidate.exists() and candidate.stat().st_size:
        number += 1
        candidate = path.with_name(f"{stem}-{number}{path.suffix}")
    return str(candidate)


def resolved(options: BatchOptions) -> BatchOptions:
    """Decide the batch's name and, with a store, the next free names of its files.

    Raises:
        UsageProblem: An option wants a store, or a file cannot be written, holds something, or is for two purposes.
    """
    name = _name(options)
    if options.report == "-":
        raise UsageProblem("--report -: the page needs a file of its own")
    # A terminal shows how far it is, and not each row.
    out = options.out or (None if sys.stdout.isatty() else "-")
    options = attrs.evolve(options, name=name, out=out)
    _check_distinct(options)
    _check_writable("--store", options.store_file)
    out, report = _free("--out", out, options), _free("--report", options.report, options)
    options = attrs.evolve(options, out=out, report=report)
    _check_distinct(options)
    return options


def _name(options: BatchOptions) -> str | None:
    if options.store is None:
        wanting = {"--name": options.name, "--resend-maybe-sent": options.resend_maybe_sent or None}
        for option, given in wanting.items():
            if given is not None:
                raise UsageProblem(f"{option}: needs a store; give --store, or {STORE_VARIABLE}")
        return None
    if options.name is None and options.file == "-":
        raise UsageProblem("--name: stdin has no name; give the batch one, which goes with --store")
    try:
        return checked_idempotency_key(Path(options.file).name if options.name is None else options.name)
    except InvalidRequest as exc:
        raise UsageProblem(f"--name: {exc.problem}; expected {exc.expected}") from None


def _check_distinct(options: BatchOptions) -> None:
    seen: dict[Path, str] = {}
    named = {"--out": options.out, "--report": options.report, "--store": options.store_file}
    for option, name in named.items():
        if name is not None and name != "-" and seen.setdefault(Path(name).resolve(), option) != option:
            raise UsageProblem(f"{option} {name}: {seen[Path(name).resolve()]} names the same file")


def _free(option: str, name: str | None, options: BatchOptions) -> str | None:
    _check_writable(option, name)
    if name is None or name == "-" or (free := free_name(name)) == name:
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
