"""`gateway360 batch`: a file in, a JSON line a result out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterable, Iterable
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from typing import Final, TextIO, cast

import attrs
import typer
from rich.console import Console

from gateway360_async import Gateway360Client, StoreError
from gateway360_async._redaction import printable

from ._console import console_on
from ._dry_run import dry_run
from ._files import create, free_files, is_regular, open_input, rows_of
from ._gate import Gate, seconds_apart
from ._interrupts import Interrupts
from ._options import BatchOptions
from ._page import write_page
from ._problems import FAILED, HALTED, INTERRUPTED, OK, FileProblem, api_key, complain
from ._progress import Live
from ._results import Results
from ._rows import Row, from_thread
from ._stats import Fate
from ._store import Warnings, store_of, with_name
from ._summary import Ending, advice, show_summary, summary_object

__all__ = ["batch"]

_SHOWN: Final = 20
"""Rows that a terminal shows after the summary, where no results are kept."""


async def batch(options: BatchOptions) -> int:
    """Send the file's requests, or only look at them. Gives the exit code."""
    options = free_files(with_name(options))
    if options.dry_run:
        return await dry_run(options)
    apart = seconds_apart(options.rate)
    store = None if options.store is None else store_of(options.store)
    told = _Told(options)
    with ExitStack() as files, Warnings(told.warn):
        file = open_input(options.file, files)
        rows, total = await rows_of(file, options)
        if rows.header is not None and rows.header.notice is not None:
            told.warn(f"{options.input}: {rows.header.notice}")
        client = Gateway360Client(
            api_key(),
            sender=options.sender,
            region=options.region,
            line_types=options.line_types,
            base_url=options.base_url,
            path_prefix=options.path_prefix,
            concurrency=options.concurrency,
            rate=None if apart is None else 1 / apart,
            store=store,
        )
        async with AsyncExitStack() as stack:
            if store is not None:
                await stack.enter_async_context(store)  # its trouble is known before a file is made
            out = None if options.out is None else create(options.out, files)
            page = None if options.report is None else create(options.report, files)
            run = _Run(options, Results(out, options.out or ""), console_on(stderr=True), told)
            # A pipe or a terminal may keep its reader waiting; a file does not.
            regular = is_regular(file)
            async with client:
                ending = await run.send(client, rows if regular else from_thread(iter(rows)), total)
                # A pipe cannot be read twice.
                ending = attrs.evolve(
                    ending, headed_by=rows.headed_by, can_be_cut=regular and not rows.bare_cr
                )
                return run.close(ending, page)


class _Told:
    """What is told while a batch runs: a line each, or with --json in the object at its end."""

    def __init__(self, options: BatchOptions) -> None:
        self.kept: list[str] = []
        self._json = options.json

    def warn(self, text: str) -> None:
        if self._json:
            self.kept.append(text)
        else:
            complain(text)


class _Run:
    """One run of a batch."""

    def __init__(
        self,
        options: BatchOptions,
        results: Results,
        stderr: Console,
        told: _Told,
    ) -> None:
        self._options = options
        self._told = told
        self._results = results
        self._stderr = stderr
        self._began = datetime.now().astimezone()

    async def send(
        self,
        client: Gateway360Client,
        rows: Iterable[Row] | AsyncIterable[Row],
        total: int | None,
    ) -> Ending:
        """Send the rows, and write each result down. Says how it ended."""
        options, results = self._options, self._results
        gate = Gate()
        batch = client.batch(
            gate.rows(rows),
            name=options.name,
            on_duplicate=options.on_duplicate,
            resend_maybe_sent=options.resend_maybe_sent,
        )

        def stop() -> None:
            gate.shut()
            batch.stop()

        problems: list[str] = []
        with Interrupts(stop, self._say_stopping) as interrupts:
            try:
                async with batch:
                    results.begin()
                    # Where the results themselves run over the terminal, a bar would stand in their way.
                    shown = not options.json and not (options.out == "-" and sys.stdout.isatty())
                    counts = results.statistics.counts
                    with Live(self._stderr, "sending", total, counts, shown=shown) as live:
                        async for item in batch:
                            results.write(item)
                            live.tick()
                            if results.refused_alike is not None and not gate.is_shut:
                                stop()
                        if not gate.is_shut:
                            live.end()
            except (FileProblem, StoreError) as exc:
                if not batch.report.total:  # nothing was begun
                    raise
                problems.append(str(exc))
            except asyncio.CancelledError:
                # By a signal, or by whoever runs this. Either way what is known is written down and shown.
                task = cast("asyncio.Task[object]", asyncio.current_task())
                while task.uncancel():
                    pass
                interrupts.code = interrupts.code or INTERRUPTED
            finally:
                results.write_unread(batch)
        report = batch.report
        code = OK if not problems and results.statistics.fates[Fate.SENT] == report.total else FAILED
        halted_by = report.halted_by or results.refused_alike
        if halted_by is not None:
            code = HALTED
        return Ending(
            code=interrupts.code or code,
            elapsed=report.elapsed,
            halted_by=halted_by,
            problems=[*problems, *results.lost],
            completed_to=results.completed_to,
        )

    def _say_stopping(self) -> None:
        if not self._options.json:
            complain(
                "stopping: nothing more is begun. Waiting for what is on its way; "
                "another Ctrl-C gives up on it, and it may have been sent"
            )

    def close(self, ending: Ending, page: TextIO | None) -> int:
        """Write the page, say how it ended and how to go on. Gives the exit code."""
        options, statistics = self._options, self._results.statistics
        written = page is not None
        if page is not None:
            try:
                write_page(page, options, statistics, self._results.notable, ending, self._began)
            except OSError as exc:
                written = False
                ending = ending.with_problem(f"{options.report}: {exc.strerror}; the page is not whole")
        if options.json:
            summary = summary_object(statistics, ending, options)
            summary["report"] = options.report if written else None
            summary["warnings"] = self._told.kept
            typer.echo(json.dumps(summary), err=True)
            return ending.code
        show_summary(self._stderr, statistics, ending)
        if ending.halted_by is not None:
            alike = "each of the first rows got the same answer: " if self._results.refused_alike else ""
            complain(f"halted: {alike}{ending.halted_by}")
        for problem in ending.problems:
            complain(problem)
        if ending.interrupted:
            complain("interrupted" if ending.code == INTERRUPTED else "terminated")
        for line in advice(options, statistics, ending):
            typer.echo(line, err=True)
        if written:
            typer.echo(f"The report is in {printable(options.report or '')}", err=True)
        if options.out is None:
            self._say_rows()
        return ending.code

    def _say_rows(self) -> None:
        """Name rows that were not sent, or may have been, where no results are kept."""
        entries = self._results.notable.entries[:_SHOWN]
        for entry in entries:
            why = f"{entry.why}: {entry.detail}" if entry.detail else entry.why
            typer.echo(printable(f"  line {entry.line}: {entry.fate}, {why}"), err=True)
        if entries:
            typer.echo("With --out FILE the result of every row is kept.", err=True)
