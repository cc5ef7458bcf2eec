"""The options of `gateway360 batch`, and the command line that says the same."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import attrs

from gateway360_async._config import STORE_VARIABLE
from gateway360_async._numbers import LineTypes

__all__ = ["CONCURRENCY", "PATH_PREFIX", "BatchOptions", "argument", "file_of", "free_name", "quoted"]

CONCURRENCY = 100
PATH_PREFIX = "/api"


@attrs.frozen
class BatchOptions:
    """The options of the command, as they were typed."""

    file: str
    out: str | None = "-"
    """Where the results go; `None`: nowhere, for a terminal shows how far the batch is."""
    columns: Sequence[str] = ()
    """Fields and the columns that hold them: `msisdn=phone`."""
    sender: str | None = None
    region: str | None = None
    line_types: LineTypes = "sms"
    base_url: str | None = None
    path_prefix: str = PATH_PREFIX
    concurrency: int = CONCURRENCY
    rate: str | None = None
    on_duplicate: Literal["skip", "send"] = "skip"
    store: str | None = attrs.field(default=None, repr=False)
    """A file or a URL, which may hold a password."""
    name: str | None = None
    resend_maybe_sent: bool = False
    report: str | None = None
    dry_run: bool = False
    json: bool = False

    def command(self) -> str:
        """Write the command line that goes on with this batch: results and page go to files of their own."""
        words = ["gateway360", "batch", argument(self.file)]
        if self.out not in (None, "-"):
            words += ["--out", free_name(self.out)]
        options = {
            "--sender": self.sender,
            "--region": self.region,
            "--line-types": None if self.line_types == "sms" else self.line_types,
            "--rate": self.rate,
            "--concurrency": None if self.concurrency == CONCURRENCY else str(self.concurrency),
            "--on-duplicate": None if self.on_duplicate == "skip" else self.on_duplicate,
            "--name": self.name,
            "--report": None if self.report is None else free_name(self.report),
            "--base-url": self.base_url,
            "--path-prefix": None if self.path_prefix == PATH_PREFIX else self.path_prefix,
        }
        for name, value in options.items():
            if value is not None:
                words += [f"{name}={value}"] if value.startswith("-") else [name, value]
        words += [word for column in self.columns for word in ("--column", column)]
        switches = {"--resend-maybe-sent": self.resend_maybe_sent, "--json": self.json}
        words += [name for name, on in switches.items() if on]
        if self.store is None:
            return " ".join(map(quoted, words))
        store = f'"${STORE_VARIABLE}"' if self.store_is_secret else quoted(argument(self.store))
        return f"{' '.join(map(quoted, words))} --store {store}"

    @property
    def input(self) -> str:
        """What to call the input."""
        return "stdin" if self.file == "-" else self.file

    @property
    def store_file(self) -> str | None:
        """The file of the store, if it is one."""
        return file_of(self.store)

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
    """Quote a word for a shell; a character that would command the terminal is written as its bytes."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = (
        f"\\{char}"
        if char in "\\'"
        else char
        if char.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
        for char in word
    )
    return f"$'{''.join(escaped)}'"


def free_name(name: str) -> str:
    """Give the name itself, or the next one like it that holds nothing yet: `results-2.jsonl`."""
    path = candidate = Path(name)
    stem = re.sub(r"-\d{1,3}$", "", path.stem)
    number = 1
    while candidate.exists() and candidate.stat().st_size:
        number += 1
        candidate = path.with_name(f"{stem}-{number}{path.suffix}")
    return str(candidate)
