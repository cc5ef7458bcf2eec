"""`gateway360 batch`: a file in, a JSON line a result out."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, TextIO, cast

import attrs
from aiolimiter import AsyncLimiter
from rich.console import Console

from gateway360_async import Batch, BatchItem, Disposition, Gateway360Client, LedgerError
from gateway360_async.ledgers import SqliteLedger

from ._problems import FAILED, HALTED, OK, UsageProblem, api_key, complain
from ._rows import FileProblem, Row, Rows, from_thread
from ._show import Outcomes, as_json, progress_on, table_of, why

__all__ = ["BatchOptions", "batch", "rate_limiter"]

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, None: 1}


@attrs.frozen
class BatchOptions:
    """The options of the command, as they were typed."""

    file: str
    out: str
    sender: str | None
    base_url: str | None
    path_prefix: str
    concurrency: int
    rate: str | None
    on_duplicate: Literal["skip", "send"]
    ledger: str | None
    resend_unknown: bool


def rate_limiter(rate: str | None) -> AsyncLimiter | None:
    """Read a rate such as `30`, `30/s` or `1000/m`; evenly spaced, without a burst."""
    if rate is None:
        return None
    match = _RATE.fullmatch(rate.strip())
    if match is None or float(match[1]) == 0:
        raise UsageProblem(f"--rate {rate}: give a number above 0 and a unit, such as 30/s, 1000/m or 5000/h")
    return AsyncLimiter(1, _SECONDS[match[2]] / float(match[1]))


async def batch(options: BatchOptions) -> int:
    """Send the file's requests. Gives the exit code."""
    client = Gateway360Client(
        api_key(),
        sender=options.sender,
        base_url=options.base_url,
        path_prefix=options.path_prefix,
        concurrency=options.concurrency,
    )
    limiter = rate_limiter(options.rate)
    with ExitStack() as files:
        file = _open(options.file, files)
        rows = Rows(file, options.file)
        if options.sender is None and "sender" not in rows.columns:
            raise UsageProblem(f"{options.file}: no sender: give --sender, or a column named sender")
        out = sys.stdout if options.out == "-" else _create(options.out, files)
        async with client:
            # A pipe or a terminal may keep its reader waiting; a file does not.
            waits = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            source = from_thread(iter(rows)) if waits else rows
            return await _send(client, source if limiter is None else paced(source, limiter), out, options)


def _open(name: str, files: ExitStack) -> TextIO:
    if name != "-":
        return files.enter_context(
            Path(name).open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        )
    stdin = cast("TextIOWrapper", sys.stdin)
    stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")
    return stdin


def _create(name: str, files: ExitStack) -> TextIO:
    """Open the file for the results: the last thing before anything is sent.

    Line by line, as a result is worth money and must outlive this process. And never over one that holds
    something: the results of the run before, or the input.
    """
    path = Path(name)
    if path.exists() and path.stat().st_size:
        raise UsageProblem(f"{name}: this file holds something already; name another, or remove it")
    out = path.open("w", buffering=1)
    files.callback(_close, out)
    return out


def _close(out: TextIO) -> None:
    with suppress(OSError):  # each line was written out, or complained about, when it was its turn
        out.close()


async def paced(rows: Iterable[Row] | AsyncIterable[Row], limiter: AsyncLimiter) -> AsyncIterator[Row]:
    """Hold each row back until its turn.

    Here rather than inside the call (`limiter=`), where waiting for a slow rate would count towards the
    call's deadline.
    """
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            await limiter.acquire()
            yield row
        return
    for row in rows:
        await limiter.acquire()
        yield row


class _Results:
    """Writes results down, and counts them."""

    def __init__(self, out: TextIO, name: str) -> None:
        self._out = out
        self._name = name
        self.outcomes: Outcomes = Counter()
        self.sent = 0
        """Entries whose SMS was sent, by this run or by one before."""

    def write(self, item: BatchItem) -> None:
        """Write a line. Raises `FileProblem`."""
        self.sent += item.result.disposition is Disposition.SENT
        self.outcomes[type(item.result).__name__, why(item.result), item.result.disposition] += 1
        row = cast("Row", item.source)
        number = row.get("msisdn") if item.request is None else item.request.msisdn
        line = {"index": item.index, "line": row.line, "msisdn": number, **as_json(item.result)}
        try:
            self._out.write(json.dumps(line) + "\n")
        except OSError as exc:  # a full disk, a closed pipe
            raise FileProblem(
                f"{self._name}: {exc.strerror}; the result of line {row.line} is not in it"
            ) from None

    def write_unread(self, batch: Batch) -> None:
        """Write down what was settled after the batch was left, by Ctrl-C say."""
        for item in batch.report.unread:
            try:
                self.write(item)
            except FileProblem as exc:
                complain(exc)


async def _send(
    client: Gateway360Client,
    rows: Iterable[Row] | AsyncIterable[Row],
    out: TextIO,
    options: BatchOptions,
) -> int:
    stderr = Console(stderr=True)
    results = _Results(out, options.out)
    problem: FileProblem | LedgerError | None = None
    batch = client.batch(
        rows,
        on_duplicate=options.on_duplicate,
        ledger=None if options.ledger is None else SqliteLedger(options.ledger),
        resend_unknown=options.resend_unknown,
    )
    try:
        async with batch:
            with progress_on(stderr) as progress:
                bar = progress.add_task("sending", total=None)
                async for item in batch:
                    results.write(item)
                    progress.advance(bar)
    except (FileProblem, LedgerError) as exc:
        if isinstance(exc, LedgerError) and not batch.report.total:  # it could not even be opened
            raise
        problem = exc
    finally:
        results.write_unread(batch)
    report = batch.report
    stderr.print(table_of(results.outcomes, f"{report.total} entries in {report.elapsed:.1f} s"))
    if report.halted_by is not None:
        complain(f"halted: {report.halted_by}")
        return HALTED
    if problem is not None:
        complain(problem)
    return OK if problem is None and results.sent == report.total else FAILED
