"""The commands."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from gateway360_async import __version__

from ._batch import batch
from ._batch_options import BatchOptions
from ._call import request, verify
from ._examples import examples_of
from ._options import DemoOptions, RequestOptions, SandboxOptions, VerifyOptions, command
from ._problems import FAILED, OK, USAGE, tell
from ._store import stores

__all__ = ["app", "invoke"]

# typer gives out one kind of wrong usage by name; the class above it is the one of them all.
UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help="Send verification PINs through Gateway360: one call, at most one SMS, and you always know.",
    epilog=examples_of("gateway360"),
    no_args_is_help=True,
    # typer's own tracebacks show local variables, and so the API key.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(stores, name="store")


def invoke() -> int:
    """Run this process's command line to its exit code; wrong usage is one line."""
    try:
        code = app(standalone_mode=False)
    except UsageError as exc:
        if len(sys.argv) == 1:
            exc.show()  # no command at all: this is the help
            return USAGE
        return tell(f"{exc.format_message()} (see --help)", USAGE, json="--json" in sys.argv)
    except typer.Abort:
        return tell("aborted", FAILED, json="--json" in sys.argv)
    return code if isinstance(code, int) else OK


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gateway360-async {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Send verification PINs through Gateway360."""


@command(app, "demo", DemoOptions)
def _demo(options: DemoOptions) -> Coroutine[object, object, int]:
    """Send a batch to a gateway of our own on this machine, and check every SMS.

    It costs nothing.
    """
    from ._demo import demo, demo_of_processes  # noqa: PLC0415  # the sandbox is an extra

    return (demo if options.processes == 1 else demo_of_processes)(options)


command(app, "request", RequestOptions)(request)
command(app, "verify", VerifyOptions)(verify)
command(app, "batch", BatchOptions)(batch)


@command(app, "sandbox", SandboxOptions)
def _sandbox(options: SandboxOptions) -> Coroutine[object, object, int]:
    """Run the gateway on this machine, and show every SMS that it "sends".

    Nothing leaves the machine.
    """
    from ._sandbox import sandbox  # noqa: PLC0415  # the sandbox is an extra

    return sandbox(options)
