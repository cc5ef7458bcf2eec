"""`gateway360 batch --dry-run`: what a batch would do, without a connection, a key or a ledger.

Rules of this module:

- It checks what the batch itself checks, with the same code, and in the same order.
- It changes nothing: the files for results and page are looked at and not made, and a ledger is not opened, for
  opening one takes its lock and its key.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Final

import typer

from gateway360_async import InvalidRequest, PinRequest, Skipped, SkipReason
from gateway360_async._numbers import checked_region, number_reader
from gateway360_async._payloads import request_from
from gateway360_async._repr import printable
from gateway360_async._settings import checked_sender, endpoint
from gateway360_async._wire import REQUEST_PATH

from ._console import console_on
from ._files import check_writable, count_lines, is_regular, open_input, rows_of
from ._gate import seconds_apart
from ._options import BatchOptions
from ._problems import FAILED, OK, complain
from ._progress import Live
from ._rows import FileProblem, Row, Rows, from_thread
from ._show import as_json
from ._text_warnings import text_warnings
from ._words import count, duration

__all__ = ["dry_run"]

_SHOWN: Final = 20
_AT_A_TIME: Final = 500
"""Rows between two looks at whether somebody has pressed Ctrl-C."""


async def dry_run(options: BatchOptions) -> int:
    """Look at every row. Gives the exit code: 0 if all are valid."""
    checked_sender(options.sender)
    endpoint(options.base_url, options.path_prefix, REQUEST_PATH, allow_insecure=False)
    apart = seconds_apart(options.rate)
    for name in (options.out, options.report, options.ledger):
        check_writable(name)
    looked = _Look(options)
    problem: str | None = None
    stderr = console_on(stderr=True)
    with ExitStack() as files:
        file = open_input(options.file, files)
        watched = stderr.is_terminal and not options.json
        lines = await count_lines(file) if watched and is_regular(file) else None
        rows = rows_of(file, options)
        total = None if lines is None else lines - rows.headed
        with Live(stderr, "checking", total, looked.counts, shown=watched, passing=True) as live:
            try:
                async for row in _all(rows, waits=not is_regular(file)):
                    looked.at(row)
                    live.tick()
                live.end()
            except FileProblem as exc:
                problem = str(exc)
    if options.json:
        typer.echo(json.dumps(looked.summary(apart, problem)), err=True)
    else:
        typer.echo("\n".join(looked.lines(apart, problem)))
        if problem is not None:
            complain(problem)
    return OK if problem is None and not looked.invalid else FAILED


async def _all(rows: Rows, *, waits: bool) -> AsyncIterator[Row]:
    if waits:
        async for row in from_thread(iter(rows)):
            yield row
        return
    for index, row in enumerate(rows):
        if not index % _AT_A_TIME:
            await asyncio.sleep(0)
        yield row


class _Look:
    """What the rows looked at so far would do."""

    def __init__(self, options: BatchOptions) -> None:
        self.requests = 0
        self.duplicates = 0
        self.invalid = 0
        self.two_readings = 0
        """Requests to numbers that are read as national ones, and could be international."""
        self._options = options
        self._reader = number_reader(checked_region(options.region), options.line_types)
        self._seen: set[int] | None = set() if options.on_duplicate == "skip" else None
        self._problems: list[str] = []
        """The first ones; with --json, each was printed when it was found."""
        self._texts = 0
        self._segments = 0
        self._warned: Counter[str] = Counter()
        self._warnings: list[str] = []

    def at(self, row: Row) -> None:
        """Look at one row."""
        index = self.requests + self.duplicates + self.invalid
        number = row.get("msisdn")
        try:
            request = request_from(row, sender=self._options.sender, reader=self._reader)
        except InvalidRequest as exc:
            self.invalid += 1
            self._skipped(index, row.line, number, Skipped(SkipReason.INVALID, str(exc)))
            return
        if self._seen is not None:
            if int(request.msisdn) in self._seen:
                self.duplicates += 1
                detail = "an earlier entry has the same number"
                self._skipped(index, row.line, number, Skipped(SkipReason.DUPLICATE, detail))
                return
            self._seen.add(int(request.msisdn))
        self.requests += 1
        self.two_readings += self._reader.two_readings(number)
        self._look_at_text(index, row.line, request)

    def _look_at_text(self, index: int, line: int, request: PinRequest) -> None:
        """Count how a text will arrive, and keep what a person may not expect of it."""
        text, segments, units = request.sms_text, request.sms_segments, request.sms_units
        if (
            text is None or segments is None or units is None
        ):  # all of them, where the vendor's own text is used
            return
        self._texts += 1
        self._segments += segments
        warnings = text_warnings(text, segments, units)
        if not warnings:
            return
        self._warned.update(["rows", *warnings])
        if self._options.json:
            size = {"segments": segments, "units": units}
            row = {"index": index, "line": line, "msisdn": request.msisdn}
            typer.echo(json.dumps({**row, **size, "warnings": list(warnings.values())}))
        elif len(self._warnings) < _SHOWN:
            self._warnings.append(f"  line {line}, sms_text: {'; '.join(warnings.values())}")

    def _skipped(self, index: int, line: int, number: object, result: Skipped) -> None:
        if self._options.json:
            typer.echo(json.dumps({"index": index, "line": line, "msisdn": number, **as_json(result)}))
        elif result.reason is SkipReason.INVALID and len(self._problems) < _SHOWN:
            self._problems.append(f"  line {line}, {printable(result.detail)}")

    def counts(self) -> Counter[str]:
        """Give the counts for whoever watches."""
        return Counter({"to be sent": self.requests, "invalid": self.invalid, "duplicates": self.duplicates})

    def summary(self, apart: float | None, problem: str | None) -> dict[str, object]:
        """Say it to a program."""
        texts = {
            "rows": self._texts,
            "segments": self._segments,
            "of_several_segments": self._warned["segments"],
            "not_gsm_7": self._warned["not_gsm_7"],
            "with_braces": self._warned["braces"],
        }
        return {
            "dry_run": True,
            "entries": self.requests + self.duplicates + self.invalid,
            "invalid": self.invalid,
            "duplicates": self.duplicates,
            "requests": self.requests,
            "two_readings": self.two_readings,
            "seconds_at_rate": None if apart is None else round(self._seconds(apart), 3),
            "ledger_looked_at": False,
            **({"texts": texts} if self._texts else {}),
            "problem": problem,
            "exit_code": OK if problem is None and not self.invalid else FAILED,
        }

    def lines(self, apart: float | None, problem: str | None) -> list[str]:
        """Say it to a person."""
        options = self._options
        entries = self.requests + self.duplicates + self.invalid
        lines = [
            f"Dry run of {_named(options)}: nothing was sent, and no connection opened.",
            "",
            f"  {count(entries):>10}  entries",
            f"  {count(self.invalid):>10}  invalid, which would be skipped",
            f"  {count(self.duplicates):>10}  duplicates, which would be skipped",
            f"  {count(self.requests):>10}  requests: an SMS each that the gateway accepts",
            "",
        ]
        if self._seen is None:
            lines[4] = "              a number that is there twice would get two PINs (--on-duplicate send)"
        if self.two_readings:
            read = f"{count(self.two_readings)} of them could be international numbers, and are read as of"
            lines.insert(-1, f"              {read} {self._reader.region}")
        if problem is not None:
            lines.insert(-1, "              and more, maybe: the file cannot be read to its end")
        if options.fleet is not None:
            lines.append(
                f"The fleet's workers send them, at their rate, as the batch {printable(options.batch or '')}."
            )
        elif apart is None:
            lines.append(f"Without --rate, {options.concurrency} requests are on their way at a time.")
        else:
            lines.append(f"At --rate {options.rate} they take {duration(self._seconds(apart))} or more.")
        if not os.environ.get("GATEWAY360_API_KEY"):
            lines.append("GATEWAY360_API_KEY is not set: the batch itself would ask for the key, or refuse.")
        if options.ledger is not None:
            lines.append(
                f"The ledger {printable(options.ledger)} was not looked at: what it has settled would be skipped, too."
            )
        if options.fleet is not None:
            lines.append(
                "The fleet was not asked: what it has sent of this batch before would be skipped, too."
            )
        if self._texts:
            lines += ["", *self._about_texts()]
        lines += _listed("Warnings:", self._warnings, self._warned["rows"])
        lines += _listed("Invalid:", self._problems, self.invalid)
        return lines

    def _about_texts(self) -> list[str]:
        lines = [
            f"{count(self._texts)} texts take {count(self._segments)} segments, which operators bill one by one."
        ]
        sentences = {
            "segments": "take more than one segment",
            "not_gsm_7": "hold characters that GSM-7 does not have",
            "braces": "show braces or signs around the PIN",
        }
        lines += [
            f"  {count(self._warned[kind]):>10}  {said}"
            for kind, said in sentences.items()
            if self._warned[kind]
        ]
        return lines

    def _seconds(self, apart: float) -> float:
        return max(0, self.requests - 1) * apart


def _listed(title: str, shown: list[str], number: int) -> list[str]:
    if not shown:
        return []
    more = number - len(shown)
    return ["", title, *shown, *([f"  and {count(more)} more: --json lists them all"] if more else [])]


def _named(options: BatchOptions) -> str:
    return "stdin" if options.file == "-" else printable(options.file)
