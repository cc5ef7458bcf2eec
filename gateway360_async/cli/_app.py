"""The commands and their options."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from gateway360_async import PinType, __version__
from gateway360_async._config import REGION_VARIABLE, STORE_VARIABLE
from gateway360_async._numbers import LineTypes

from ._batch import batch
from ._examples import examples_of
from ._options import CONCURRENCY, PATH_PREFIX, BatchOptions
from ._problems import FAILED, OK, USAGE, run, tell
from ._request import RequestOptions, request
from ._store import stores
from ._verify import VerifyOptions, verify

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
    """Run the command line of this process. Gives the exit code; wrong usage is one line, not a box."""
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
    LineTypes,
    typer.Option(
        "--line-types", help="Refuse numbers that receive no SMS, as fixed lines do, or send to any."
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The gateway; also GATEWAY360_BASE_URL. Default: the vendor's."),
]
PathPrefix = Annotated[str, typer.Option(metavar="PATH", help="The path before /2fa/request.")]
Json = Annotated[bool, typer.Option("--json", help="Say it in JSON, for a program.")]


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
    """Send verification PINs through Gateway360: one call, at most one SMS, and you always know."""


@app.command("demo", epilog=examples_of("demo"))
def _demo(
    count: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, metavar="N", help="Rows in the batch: 1000, or 5000 with two processes."
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="N", help="Requests at a time, 1 to 1000, of each process."),
    ] = CONCURRENCY,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=2,
            metavar="N",
            help="2: two share the batch through a store, and one is killed on the way.",
        ),
    ] = 1,
    json: Json = False,
) -> None:
    """Send a batch to a gateway of our own on this machine, and check every SMS. Costs nothing."""
    if processes == 2:
        from ._demo_processes import demo_of_processes  # noqa: PLC0415  # the sandbox is an extra

        run(demo_of_processes(count or 5000, concurrency, json=json), json=json)
    else:
        from ._demo import demo  # noqa: PLC0415  # the sandbox is an extra

        run(demo(count or 1000, concurrency, json=json), json=json)


@app.command("request", epilog=examples_of("request"))
def _request(
    msisdn: Annotated[
        str, typer.Argument(help="The number, such as +34666666111, or a national one with --region.")
    ],
    sender: Annotated[str, typer.Option(help="The sender that the phone shows.")],
    hlr_lookup: Annotated[
        bool, typer.Option(help="Look the number up in the operator's register first.")
    ] = True,
    sms_text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The text, with {PIN} exactly once.")
    ] = None,
    report_url: Annotated[str | None, typer.Option(metavar="URL", help="Where delivery reports go.")] = None,
    pin_type: Annotated[
        str | None,
        typer.Option(
            help="numeric, alpha or alphanumeric.",
            autocompletion=lambda: [pin_type.value for pin_type in PinType],
        ),
    ] = None,
    pin_length: Annotated[int | None, typer.Option(help="4 to 16 characters.")] = None,
    pin_expires_in: Annotated[int | None, typer.Option(help="Seconds; 0 = never.")] = None,
    pin_max_tries: Annotated[int | None, typer.Option(help="Failed tries; 0 = unlimited.")] = None,
    region: Region = None,
    line_types: Lines = "sms",
    deadline: Annotated[float, typer.Option(help="Seconds that the call takes at most.")] = 30.0,
    base_url: BaseUrl = None,
    path_prefix: PathPrefix = PATH_PREFIX,
    json: Json = False,
) -> None:
    """Send one PIN to one number. The key comes from GATEWAY360_API_KEY, or is asked for.

    Exit code: 0 sent, 1 not sent or perhaps, 2 usage.
    """
    given = {"type": pin_type, "length": pin_length, "expires_in": pin_expires_in, "max_tries": pin_max_tries}
    options = RequestOptions(
        fields={
            "msisdn": msisdn,
            "sender": sender,
            "hlr_lookup": hlr_lookup,
            "sms_text": sms_text,
            "report_url": report_url,
            "pin_params": {name: value for name, value in given.items() if value is not None} or None,
        },
        region=region,
        line_types=line_types,
        deadline=deadline,
        base_url=base_url,
        path_prefix=path_prefix,
        json=json,
    )
    run(request(options), json=json)


@app.command("verify", epilog=examples_of("verify"))
def _verify(
    msisdn: Annotated[str, typer.Argument(help="The number that the PIN was sent to.")],
    region: Region = None,
    line_types: Lines = "sms",
    deadline: Annotated[float, typer.Option(help="Seconds that the call takes at most.")] = 30.0,
    base_url: BaseUrl = None,
    path_prefix: PathPrefix = PATH_PREFIX,
    json: Json = False,
) -> None:
    """Verify the PIN that a number was sent. It is asked for, or read from stdin.

    Each try counts: a PIN is void after its last. What the gateway answers is
    published in part only, so this command is provisional.

    Exit code: 0 verified, 1 not verified or not known, 2 usage.
    """
    options = VerifyOptions(
        msisdn=msisdn,
        region=region,
        line_types=line_types,
        deadline=deadline,
        base_url=base_url,
        path_prefix=path_prefix,
        json=json,
    )
    run(verify(options), json=json)


@app.command("batch", epilog=examples_of("batch"))
def _batch(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A CSV with the API's field names, or one number a line; - is stdin."
        ),
    ],
    sender: Annotated[str | None, typer.Option(help="The sender of rows that name none.")] = None,
    region: Region = None,
    line_types: Lines = "sms",
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=NAME",
            help="The column that holds a field, where it has a name of its own: msisdn=phone. May be repeated.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where the results go, a JSON line each; - is stdout. Default: stdout, if it is no terminal.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check every row, and say what would be sent. Nothing is: no key needed."
        ),
    ] = False,
    rate: Annotated[
        str | None, typer.Option(help="Requests started at most, retries included, such as 30/s or 1000/m.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Requests at a time, 1 to 1000.")
    ] = CONCURRENCY,
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
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The batch's name in the store: a number gets one SMS under it. Default: the file's name.",
        ),
    ] = None,
    resend_maybe_sent: Annotated[
        bool,
        typer.Option(
            "--resend-maybe-sent", help="Send again what another run may have sent: a second SMS each."
        ),
    ] = False,
    on_duplicate: Annotated[
        Literal["skip", "send"],
        typer.Option(help="A number that is there twice: skip it, or send a PIN that voids the first."),
    ] = "skip",
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write a page about the run: report.html, say. Numbers are masked."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on stderr, in place of bar and table.")
    ] = False,
    base_url: BaseUrl = None,
    path_prefix: PathPrefix = PATH_PREFIX,
) -> None:
    """Send a PIN to every number of a file.

    Columns of a CSV: msisdn, sender, hlr_lookup, sms_text, report_url,
    and pin_params.type, .length, .expires_in, .max_tries. Others are not read.

    Ctrl-C begins nothing more, waits for the answers that are on their way,
    and says how to go on; a second one gives up on them. With --store, the same
    command goes on by itself; --dry-run says what the store knows, and a
    --report of it is about that.

    Exit code: 0 all were sent, 1 some were not, 2 usage, 3 halted by an error
    of the whole account, or by the same refusal of each of the first ten rows,
    130 interrupted, 143 terminated.
    With --dry-run: 0 all rows are valid, 1 some are not.
    """
    options = BatchOptions(
        file=file,
        # A terminal shows how far it is, and not each row.
        out=None if out is None and sys.stdout.isatty() else out or "-",
        columns=column or (),
        sender=sender,
        region=region,
        line_types=line_types,
        base_url=base_url,
        path_prefix=path_prefix,
        concurrency=concurrency,
        rate=rate,
        on_duplicate=on_duplicate,
        store=store,
        name=name,
        resend_maybe_sent=resend_maybe_sent,
        report=report,
        dry_run=dry_run,
        json=json,
    )
    run(batch(options), json=json)


@app.command("sandbox", epilog=examples_of("sandbox"))
def _sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port; 0 takes a free one.")
    ] = 8360,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; in a container, 0.0.0.0.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which it may be asked, such as a container's service."),
    ] = None,
    balance: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="SMS until the account is empty. Default: no end.")
    ] = None,
    latency: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Seconds before each answer.")
    ] = 0.0,
    open_page: Annotated[
        bool,
        typer.Option("--open", help="Show the phone in your browser: every SMS, and switches for faults."),
    ] = False,
    json: Json = False,
) -> None:
    """Run the gateway on this machine, and show every SMS that it "sends". Nothing leaves the machine."""
    from ._sandbox import sandbox  # noqa: PLC0415  # the sandbox is an extra

    serving = sandbox(host, port, allow_host or [], balance, latency, open_page=open_page, json=json)
    run(serving, json=json)
