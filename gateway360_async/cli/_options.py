"""The options of the commands: the fields of a class are a command's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_type_hints

import attrs
import typer

from gateway360_async import PinType
from gateway360_async._config import REGION_VARIABLE
from gateway360_async._numbers import LineTypes

from ._examples import examples_of
from ._problems import run

__all__ = [
    "CONCURRENCY",
    "PATH_PREFIX",
    "BaseUrl",
    "DemoOptions",
    "Json",
    "Lines",
    "PathPrefix",
    "Region",
    "RequestOptions",
    "SandboxOptions",
    "VerifyOptions",
    "command",
]

_Options = TypeVar("_Options")
_Start: TypeAlias = Callable[[_Options], Coroutine[object, object, int]]

CONCURRENCY: Final = 100
PATH_PREFIX: Final = "/api"

Region = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        envvar=REGION_VARIABLE,
        show_envvar=False,
        help=f"The country whose national numbers are understood, such as ES; also {REGION_VARIABLE}.",
    ),
]
Lines = Annotated[
    LineTypes, typer.Option(help="Refuse numbers that receive no SMS, as fixed lines do, or send to any.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The gateway; also GATEWAY360_BASE_URL. Default: the vendor's."),
]
PathPrefix = Annotated[str, typer.Option(metavar="PATH", help="The path before /2fa/request.")]
_Deadline = Annotated[float, typer.Option(help="Seconds that the call takes at most.")]
Json = Annotated[bool, typer.Option("--json", help="Say it in JSON, for a program.")]


def _pin_types() -> list[str]:
    return [pin_type.value for pin_type in PinType]


def command(
    app: typer.Typer, name: str, options: type[_Options]
) -> Callable[[_Start[_Options]], _Start[_Options]]:
    """Make a command of a function that takes its options as one object.

    The class of the options is made with attrs; its fields are annotated as typer wants it. The function's docstring
    is the help.
    """
    hints = get_type_hints(options, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(options).parameters.values()
    ]

    def register(start: _Start[_Options]) -> _Start[_Options]:
        def callback(**given: Any) -> None:
            run(start(options(**given)), json=given["json"])

        made: Any = callback
        made.__signature__ = inspect.Signature(parameters)
        made.__annotations__ = hints
        made.__doc__ = start.__doc__
        app.command(name, epilog=examples_of(name))(made)
        return start

    return register


@attrs.frozen
class DemoOptions:
    """The options of `gateway360 demo`."""

    count: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, metavar="N", help="Rows in the batch: 1000, or 5000 with two processes."
        ),
    ] = None
    concurrency: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="N", help="Requests at a time, 1 to 1000, of each process."),
    ] = CONCURRENCY
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=2,
            metavar="N",
            help="2: two share the batch through a store, and one is killed on the way.",
        ),
    ] = 1
    json: Json = False


@attrs.frozen
class RequestOptions:
    """The options of `gateway360 request`."""

    msisdn: Annotated[
        str, typer.Argument(help="The number, such as +34666666111, or a national one with --region.")
    ]
    sender: Annotated[str, typer.Option(help="The sender that the phone shows.")]
    hlr_lookup: Annotated[bool, typer.Option(help="Look the number up in the operator's register first.")] = (
        True
    )
    sms_text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The text, with {PIN} exactly once.")
    ] = None
    report_url: Annotated[str | None, typer.Option(metavar="URL", help="Where delivery reports go.")] = None
    pin_type: Annotated[
        str | None,
        typer.Option(
            help="numeric, alpha or alphanumeric.",
            autocompletion=_pin_types,
        ),
    ] = None
    pin_length: Annotated[int | None, typer.Option(help="4 to 16 characters.")] = None
    pin_expires_in: Annotated[int | None, typer.Option(help="Seconds; 0 = never.")] = None
    pin_max_tries: Annotated[int | None, typer.Option(help="Failed tries; 0 = unlimited.")] = None
    region: Region = None
    line_types: Lines = "sms"
    deadline: _Deadline = 30.0
    base_url: BaseUrl = None
    path_prefix: PathPrefix = PATH_PREFIX
    json: Json = False


@attrs.frozen
class VerifyOptions:
    """The options of `gateway360 verify`."""

    msisdn: Annotated[str, typer.Argument(help="The number that the PIN was sent to.")]
    region: Region = None
    line_types: Lines = "sms"
    deadline: _Deadline = 30.0
    base_url: BaseUrl = None
    path_prefix: PathPrefix = PATH_PREFIX
    json: Json = False


@attrs.frozen
class SandboxOptions:
    """The options of `gateway360 sandbox`."""

    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port; 0 takes a free one.")
    ] = 8360
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; in a container, 0.0.0.0.")
    ] = "127.0.0.1"
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which it may be asked, such as a container's service."),
    ] = None
    balance: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="SMS until the account is empty. Default: no end.")
    ] = None
    latency: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Seconds before each answer.")
    ] = 0.0
    open_page: Annotated[
        bool,
        typer.Option("--open", help="Show the phone in your browser: every SMS, and switches for faults."),
    ] = False
    json: Json = False
