"""The store of a batch, and `gateway360 store`: set one up, check it, give it a new epoch.

Rules of this module:

- A store's URL may hold a password: no text shows it.
- An empty `--store` is refused: a shell writes one where a variable is not set, and the batch would keep no record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self

import attrs
import typer

from gateway360_async import InvalidConfiguration, InvalidRequest
from gateway360_async._config import LOG_VARIABLE, STORE_VARIABLE
from gateway360_async._models import checked_idempotency_key
from gateway360_async.stores import Store, store_at

from ._examples import examples_of
from ._options import BatchOptions, file_of
from ._problems import FAILED, OK, UsageProblem, complain, run

__all__ = ["Warnings", "store_of", "stores", "with_name"]

_TIMEOUT: Final = 30.0
"""Seconds that a batch waits for a store that is away: a server that is started anew is back by then."""


def with_name(options: BatchOptions) -> BatchOptions:
    """Give a batch with a store its name: the file's, where there is none.

    Raises:
        UsageProblem: An option is wrong, or wants a store.
    """
    if options.store is None:
        for option, given in {
            "--name": options.name,
            "--resend-maybe-sent": options.resend_maybe_sent,
        }.items():
            if given or given == "":
                raise UsageProblem(f"{option}: needs a store; give --store, or {STORE_VARIABLE}")
        return options
    name = options.name
    if name is None:
        if options.file == "-":
            raise UsageProblem("--name: stdin has no name; give the batch one, which goes with --store")
        name = Path(options.file).name
    try:
        return attrs.evolve(options, name=checked_idempotency_key(name))
    except InvalidRequest as exc:
        raise UsageProblem(f"--name: {exc.problem}; expected {exc.expected}") from None


def store_of(url: str) -> Store:
    """Make the store of a URL or a file; it is not connected yet. Raises `UsageProblem`."""
    if not url:
        raise UsageProblem(f"--store: is empty; give a file or a URL, or none and unset {STORE_VARIABLE}")
    try:
        return store_at(url, timeout=_TIMEOUT)
    except InvalidConfiguration as exc:
        # The settings of ours are right: it is the URL, whatever the store calls it.
        problem = f"--store: {exc.problem}; expected {exc.expected}"
    del url
    raise UsageProblem(problem)


class Warnings(logging.Handler):
    """Passes on each of the library's warnings once, while it is entered.

    Args:
        say: Tells a person.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a warning's text, once."""
        text = record.getMessage()
        if text not in self._told:
            self._told.add(text)
            self._say(text)

    def __enter__(self) -> Self:
        if not os.environ.get(LOG_VARIABLE):  # otherwise they are lines of the log
            logging.getLogger("gateway360_async").addHandler(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.getLogger("gateway360_async").removeHandler(self)


def _present(url: str) -> Store:
    """Make a store that is there already: a file is not made."""
    file = file_of(url)
    if file is not None and not Path(file).exists():
        raise UsageProblem(f"{file}: there is no such file")
    return store_of(url)


async def init(url: str, *, sql: bool) -> int:
    """Make the tables of a store in PostgreSQL, or show the SQL that does. Gives the exit code."""
    store: Any = store_of(url)
    if not hasattr(store, "init"):
        typer.echo("Nothing is needed: this store sets itself up.")
    elif sql:
        typer.echo(import_module("gateway360_async.stores._postgres").SCHEMA)
    else:
        await store.init()
        typer.echo("The store is ready.")
    return OK


async def check(url: str) -> int:
    """Say what of the promise is lost by how a store is set up. Gives the exit code: 1 if anything is."""
    async with _present(url) as store:
        warnings = await store.check()
    for warning in warnings:
        complain(warning)
    if not warnings:
        typer.echo("Nothing is wrong with how the store is set up.")
    return FAILED if warnings else OK


async def new_epoch(url: str) -> int:
    """Set a store's new epoch. Gives the exit code."""
    async with _present(url) as store:
        await store.new_epoch()
    typer.echo(
        "The store has a new epoch: programs that were connected before send nothing until they are restarted."
    )
    return OK


_Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", envvar=STORE_VARIABLE, show_envvar=False, help="A file, redis://… or postgresql://…."
    ),
]
stores = typer.Typer(
    help="Set a store up, check it, or give it a new epoch. Its URL may come from GATEWAY360_STORE.",
    epilog=examples_of("store"),
    no_args_is_help=True,
)


@stores.command("init")
def _init(
    url: _Url,
    sql: Annotated[bool, typer.Option("--sql", help="Show the SQL in place of running it.")] = False,
) -> None:
    """Make the tables of a store in PostgreSQL. The others set themselves up."""
    run(init(url, sql=sql))


@stores.command("check")
def _check(url: _Url) -> None:
    """Say what of the promise is lost by how the store is set up.

    Exit code: 0 nothing, 1 something, 2 usage.
    """
    run(check(url))


@stores.command("new-epoch")
def _new_epoch(url: _Url, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Give a store a new epoch, after a backup of it was restored.

    What was sent after the backup is not in it. Programs that are still
    connected would go on with it; after this they send nothing until they are
    restarted.
    """
    if not yes:
        typer.confirm(
            "Each program that uses the store has to be restarted then. Go on?", abort=True, err=True
        )
    run(new_epoch(url))
