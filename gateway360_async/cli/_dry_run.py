"""`gateway360 batch --dry-run`: what a batch would do, without a connection to the gateway, or a key.

Rules of this module:

- It checks what the batch itself checks, with the same code, and in the same order.
- It sends nothing and claims nothing. The file for results is looked at and not made; a store is asked what it knows,
  and the page is about that.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from typing import Final

import typer

from gateway360_async import InvalidRequest, PinRequest, Skipped, SkipReason
from gateway360_async._config import checked_sender, endpoint
from gateway360_async._models import request_from
from gateway360_async._numbers import calling_code, checked_region, number_reader, region_of
from gateway360_async._operations import REQUEST_PIN
from gateway360_async._redaction import printable

from ._columns import Header
from ._console import console_on
from ._files import create, is_regular, open_input, rows_of, taking_turns
from ._gate import seconds_apart
from ._known import Known, known_of
from ._options import BatchOptions
from ._page import write_page
from ._problems import FAILED, OK, in_words
from ._progress import Live
from ._rows import Row, from_thread
from ._show import as_json
from ._summary import Ending
from ._text_warnings import text_warnings
from ._words import count, duration

__all__ = ["dry_run"]

_SHOWN: Final = 20


async def dry_run(options: BatchOptions) -> int:
    """Look at every row. Gives the exit code: 0 if all are valid."""
    checked_sender(options.sender)
    url = endpoint(options.base_url, options.path_prefix, REQUEST_PIN.path, allow_insecure=False)
    apart = seconds_apart(options.rate)
    looked = _Look(options)
    began = datetime.now().astimezone()
    stderr = console_on(stderr=True)
    with ExitStack() as files:
        file = open_input(options.file, files)
        rows, total = await rows_of(file, options)
        looked.header = rows.header
        source = taking_turns(rows) if is_regular(file) else from_thread(iter(rows))
        with Live(stderr, "checking", total, looked.counts, shown=not options.json, passing=True) as live:
            async with known_of(options, url) as known:
                looked.known = known
                async for row in source:
                    request = looked.at(row)
                    if known is not None and request is not None:
                        await known.add(row.line, request)
                    live.tick()
                live.end()
                if known is not None:
                    await known.ask()
        reported = known is not None and options.report is not None
        if known is not None and options.report is not None:
            note = f"Nothing was sent: this is what the store knows. Rows that are free: {known.counts()['free']}"
            ending = Ending(code=OK, elapsed=0.0, problems=[note])
            write_page(create(options.report, files), options, known.statistics, known.notable, ending, began)
    if options.json:
        typer.echo(json.dumps(looked.summary(apart)), err=True)
    else:
        typer.echo("\n".join(looked.lines(apart)))
        if reported:
            typer.echo(f"The report is in {printable(options.report or '')}", err=True)
    return FAILED if looked.invalid else OK


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
        self.header: Header | None = None
        self._countries: Counter[str] = Counter()
        self._seen: set[int] | None = set() if options.on_duplicate == "skip" else None
        self._problems: list[str] = []
        """The first ones; with --json, each was printed when it was found."""
        self._texts = 0
        self._segments = 0
        self._warned: Counter[str] = Counter()
        self._warnings: list[str] = []
        self.known: Known | None = None
        """What the batch's store knows."""

    def at(self, row: Row) -> PinRequest | None:
        """Look at one row. Gives its request, if it would be sent."""
        index = self.requests + self.duplicates + self.invalid
        number = row.get("msisdn")
        try:
            request = request_from(row, sender=self._options.sender, reader=self._reader)
        except InvalidRequest as exc:
            self.invalid += 1
            self._skipped(index, row.line, number, Skipped(SkipReason.INVALID, in_words(str(exc))))
            return None
        if self._seen is not None:
            if int(request.msisdn) in self._seen:
                self.duplicates += 1
                detail = "an earlier entry has the same number"
                self._skipped(index, row.line, number, Skipped(SkipReason.DUPLICATE, detail))
                return None
            self._seen.add(int(request.msisdn))
        self.requests += 1
        self._countries[region_of(request.msisdn) or f"+{calling_code(request.msisdn)}"] += 1
        self.two_readings += self._reader.two_readings(number)
        self._look_at_text(index, row.line, request)
        return request

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

    def summary(self, apart: float | None) -> dict[str, object]:
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
            "by_country": dict(self._countries.most_common()),
            "two_readings": self.two_readings,
            "seconds_at_rate": None if apart is None else round(self._seconds(apart), 3),
            "store": None if self.known is None else self.known.counts(),
            **({"texts": texts} if self._texts else {}),
            "notice": self._notice,
            "exit_code": FAILED if self.invalid else OK,
        }

    @property
    def _notice(self) -> str | None:
        return None if self.header is None else self.header.notice

    def lines(self, apart: float | None) -> list[str]:
        """Say it to a person."""
        options = self._options
        entries = self.requests + self.duplicates + self.invalid
        lines = [
            f"Dry run of {printable(options.input)}: nothing was sent, and no connection opened.",
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
        if self._countries:
            shown = [f"{count(number)} {country}" for country, number in self._countries.most_common(_SHOWN)]
            more = len(self._countries) - len(shown)
            shown += [f"and of {more} more countries"] if more else []
            lines.insert(-1, f"              by country: {', '.join(shown)}")
        if self._notice is not None:
            lines += [f"C{self._notice[1:]}.", ""]
        if self.known is not None:
            lines += [
                f"In the store, the batch {printable(options.name or '')} has",
                "",
                *self._in_store(),
                "",
            ]
        if apart is None:
            lines.append(f"Without --rate, {options.concurrency} requests are on their way at a time.")
        else:
            lines.append(f"At --rate {options.rate} they take {duration(self._seconds(apart))} or more.")
        if not os.environ.get("GATEWAY360_API_KEY"):
            lines.append("GATEWAY360_API_KEY is not set: the batch itself would ask for the key, or refuse.")
        if self._texts:
            lines += ["", *self._about_texts()]
        lines += _listed("Warnings:", self._warnings, self._warned["rows"])
        lines += _listed("Invalid:", self._problems, self.invalid)
        return lines

    def _in_store(self) -> list[str]:
        sentences = {
            "completed": "rows that have their results",
            "in_doubt": "that may have been sent, and are left alone without --resend-maybe-sent",
            "in_progress": "that another run is at",
            "free": "that would be sent",
        }
        counts = {} if self.known is None else self.known.counts()
        return [
            f"  {count(counts[state]):>10}  {said}" for state, said in sentences.items() if state in counts
        ]

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
        requests = self.requests if self.known is None else self.known.counts()["free"]
        return max(0, requests - 1) * apart


def _listed(title: str, shown: list[str], number: int) -> list[str]:
    if not shown:
        return []
    more = number - len(shown)
    return ["", title, *shown, *([f"  and {count(more)} more: --json lists them all"] if more else [])]
