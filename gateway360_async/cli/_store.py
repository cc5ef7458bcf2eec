"""The store of a batch, and `gateway360 store`.

Invariants:

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

import typer

from gateway360_async import InvalidConfiguration
from gateway360_async._config import LOG_VARIABLE, STORE_VARIABLE
from gateway360_async.stores import Store, store_at

from ._batch_options import file_of
from ._examples import examples_of
from ._problems import FAILED, OK, UsageProblem, complain, run

__all__ = ["Warnings", "store_of", "stores"]

_TIMEOUT: Final = 30.0
"""Seconds that a batch waits for a store that is away: a server that is started anew is back by then."""
_LOGGER: Final = logging.getLogger("gateway360_async")


def store_of(url: str, *, present: bool = False) -> Store:
    """Make the store of a URL or a file, not connected. Raises `UsageProblem`.

    With `present`, a file has to be there already.
    """
    if not url:
        raise UsageProblem(f"--store: is empty; give a file or a URL, or none and unset {STORE_VARIABLE}")
    file = file_of(url)
    if present and file is not None and not Path(file).exists():
        raise UsageProblem(f"{file}: there is no such file")
    try:
        return store_at(url, timeout=_TIMEOUT)
    except InvalidConfiguration as exc:
        # The settings of ours are right: it is the URL, whatever the store calls it.
        problem = f"--store: {exc.problem}; expected {exc.expected}"
    del url, file
    raise UsageProblem(problem)


class Warnings(logging.Handler):
    """Passes on each of the library's warnings once, while it is entered."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._logged: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._logged:
            self._logged.add(text)
            self._say(text)

    def __enter__(self) -> Self:
        if not os.environ.get(LOG_VARIABLE):  # otherwise they are lines of the log
            _LOGGER.addHandler(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _LOGGER.removeHandler(self)


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


async def init(url: str, *, sql: bool) -> int:
    """Make the tables of a store in PostgreSQL, or show the SQL. Gives the exit code."""
    store: Any = store_of(url)
    if not hasattr(store, "init"):
        typer.echo("Nothing is needed: this store sets itself up.")
    elif sql:
        typer.echo(import_module("gateway360_async.stores._postgres").SCHEMA)
    else:
        await store.init()
        typer.echo("The store is ready.")
    return OK


@stores.command("init")
def _init(
    url: _Url,
    sql: Annotated[bool, typer.Option("--sql", help="Show the SQL in place of running it.")] = False,
) -> None:
    """Make the tables of a store in PostgreSQL. The others set themselves up."""
    run(init(url, sql=sql))


async def check(url: str) -> int:
    """Say what of the promise a store's set-up loses. Gives the exit code: 1 if any."""
    async with store_of(url, present=True) as store:
        warnings = await store.check()
    for warning in warnings:
        complain(warning)
    if not warnings:
        typer.echo("Nothing is wrong with how the store is set up.")
    return FAILED if warnings else OK


@stores.command("check")
def _check(url: _Url) -> None:
    """Say what of the promise is lost by how the store is set up.

    Exit code: 0 nothing, 1 something, 2 usage.
    """
    run(check(url))


async def new_epoch(url: str) -> int:
    """Set a store's new epoch. Gives the exit code."""
    async with store_of(url, present=True) as store:
        await store.new_epoch()
    typer.echo(
        "The store has a new epoch: programs that were connected before send nothing until they are restarted."
    )
    return OK


@stores.command("new-epoch")
def _new_epoch(url: _Url, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Give a store a new epoch, after a backup of it was restored.

    It does not know the SMS that were sent after the backup. Programs that are
    still connected would go on with it; after this they send nothing until they
    are restarted.
    """
    if not yes:
        typer.confirm(
            "Each program that uses the store has to be restarted then. Go on?", abort=True, err=True
        )
    run(new_epoch(url))
