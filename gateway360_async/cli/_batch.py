"""`gateway360 batch`: a file in, a JSON line a result out.

Invariants of a signal:

- Ctrl-C begins nothing more, and waits for the answers that are outstanding: each of them is an SMS that is known
  of rather than one that may have been sent. A call ends with its deadline, so this wait ends as well.
- A second Ctrl-C, and a SIGTERM, wait no longer: what is in flight is cancelled, and becomes a result.
- When the batch has ended, neither does anything: its summary and its page are written to their end, and the
  process ends with the code that says what became of the batch. The event loop undoes its handlers when it is
  closed, and a signal would be deadly again; so the process itself ignores both from then on.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TextIO, cast

import attrs
import typer
from rich.console import Console

from gateway360_async import Batch, Gateway360Client, StoreError
from gateway360_async._redaction import printable

from ._audit import Outcome
from ._batch_options import BatchOptions, resolved
from ._dry_run import dry_run
from ._problems import FAILED, HALTED, INTERRUPTED, OK, TERMINATED, FileProblem, api_key, complain
from ._progress import Live, console_on
from ._report import write_page
from ._results import Results, create
from ._rows import Input, open_input
from ._store import Warnings, store_of
from ._summary import Summary, advice, show_summary, summary_object

__all__ = ["Interrupts", "batch"]

_SHOWN: Final = 20
"""Rows that a terminal shows after the summary, where no results are kept."""


async def batch(options: BatchOptions) -> int:
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
    options = resolved(options)
    if options.dry_run:
        return await dry_run(options)
    interval = options.interval
    store = None if options.store is None else store_of(options.store)
    warnings: list[str] = []  # with --json they are in the object at the end
    warn = warnings.append if options.json else complain
    with ExitStack() as files, Warnings(warn):
        given = await open_input(options.file, options.column, options.sender, files)
        header = given.rows.header
        if header is not None and header.notice is not None:
            warn(f"{options.input}: {header.notice}")
        client = Gateway360Client(
            api_key(),
            sender=options.sender,
            region=options.region,
            line_types=options.line_types,
            base_url=options.base_url,
            path_prefix=options.path_prefix,
            concurrency=options.concurrency,
            rate=None if interval is None else 1 / interval,
            store=store,
        )
        async with AsyncExitStack() as stack:
            if store is not None:
                await stack.enter_async_context(store)  # its trouble is known before a file is made
            out = None if options.out is None else create(options.out, files)
            page = None if options.report is None else create(options.report, files)
            began = datetime.now().astimezone()
            async with client:
                batch = client.batch(
                    given.reader or given.rows,
                    name=options.name,
                    on_duplicate=options.on_duplicate,
                    resend_maybe_sent=options.resend_maybe_sent,
                )
                stderr = console_on(stderr=True)
                results = Results(out, options.out or "")
                summary = await _send(batch, options, given, results, stderr)
                if page is not None:
                    summary = _write_page(page, options, results, summary, began)
                if options.json:
                    told = summary_object(results.audit, summary, options) | {"warnings": warnings}
                    typer.echo(json.dumps(told), err=True)
                else:
                    _show(options, results, summary, stderr)
                return summary.code


async def _send(
    batch: Batch, options: BatchOptions, given: Input, results: Results, stderr: Console
) -> Summary:
    """Send the rows, and write each result down. Says how it ended."""
    audit = results.audit
    problems: list[str] = []

    def stop() -> None:
        batch.stop()
        if given.reader is not None:
            given.reader.stop()

    with Interrupts(stop, say=not options.json) as interrupts:
        try:
            # A bar would stand in the way of results that run over the terminal.
            shown = not options.json and not (options.out == "-" and sys.stdout.isatty())
            async with batch:
                with Live(stderr, "sending", given.total, audit.counts, shown=shown) as live:
                    async for item in batch:
                        results.write(item)
                        live.tick()
                        if results.refused_alike is not None:
                            stop()
                    live.end()
        except (FileProblem, StoreError) as exc:
            if not batch.report.total:  # nothing was begun
                raise
            problems.append(str(exc))
        except asyncio.CancelledError:
            interrupts.take_back()  # what is known is written down and shown
        finally:
            results.write_unconsumed(batch)
    report = batch.report
    halted_by = report.halted_by or results.refused_alike
    all_sent = not problems and audit.outcomes[Outcome.SENT] == report.total
    code = HALTED if halted_by is not None else OK if all_sent else FAILED
    return Summary(
        code=interrupts.code or code,
        elapsed=report.elapsed,
        halted_by=halted_by,
        problems=[*problems, *results.lost],
        completed_to=results.completed_to,
        headed_by=given.rows.headed_by,
        can_be_cut=given.reader is None and not given.rows.bare_cr,  # a pipe cannot be read twice
    )


def _show(options: BatchOptions, results: Results, summary: Summary, stderr: Console) -> None:
    """Say how it ended and how to go on."""
    show_summary(stderr, results.audit, summary.elapsed)
    if summary.halted_by is not None:
        alike = "each of the first rows got the same answer: " if results.refused_alike else ""
        complain(f"halted: {alike}{summary.halted_by}")
    for problem in summary.problems:
        complain(problem)
    if summary.interrupted:
        complain("interrupted" if summary.code == INTERRUPTED else "terminated")
    for line in advice(options, results.audit, summary):
        typer.echo(line, err=True)
    if summary.report is not None:
        typer.echo(f"The report is in {printable(summary.report)}", err=True)
    entries = results.audit.entries[:_SHOWN] if options.out is None else []
    for entry in entries:  # no results are kept
        why = f"{entry.why}: {entry.detail}" if entry.detail else entry.why
        typer.echo(printable(f"  line {entry.line}: {entry.outcome}, {why}"), err=True)
    if entries:
        typer.echo("With --out FILE the result of every row is kept.", err=True)


def _write_page(
    page: TextIO, options: BatchOptions, results: Results, summary: Summary, began: datetime
) -> Summary:
    try:
        write_page(page, options, results.audit, summary, began)
    except OSError as exc:
        return summary.with_problem(f"{options.report}: {exc.strerror}; the page is not whole")
    return attrs.evolve(summary, report=options.report)


class Interrupts:
    """Handles the signals while it is entered.

    On Windows, the event loop cannot: Ctrl-C cancels at once.

    Args:
        stop: Lets nothing more begin.
        say: Whether to tell a person at the first Ctrl-C.
    """

    def __init__(self, stop: Callable[[], None], *, say: bool) -> None:
        self.code: int | None = None
        """The exit code, if a signal ended the batch."""
        self._stop = stop
        self._say = say
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._over = False

    def __enter__(self) -> Self:
        with suppress(NotImplementedError):
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
            loop.add_signal_handler(signal.SIGTERM, self._terminate)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self) -> None:
        if self.code is None and not self._over:
            self.code = INTERRUPTED
            self._stop()
            if self._say:
                complain(
                    "stopping: nothing more is begun. Waiting for what is on its way; "
                    "another Ctrl-C gives up on it, and it may have been sent"
                )
        elif not self._over:
            self._task.cancel()

    def _terminate(self) -> None:
        if not self._over:
            self.code = TERMINATED
            self._stop()
            self._task.cancel()

    def take_back(self) -> None:
        """Go on after a cancellation, by a signal or by the task that runs the batch."""
        while self._task.uncancel():
            pass
        self.code = self.code or INTERRUPTED
