"""`gateway360 batch --dry-run`: what a batch would do, without gateway or key.

Invariants:

- It checks what the batch itself checks, with the same code, and in the same order.
- It sends nothing and claims nothing. The file for results is looked at and not made; a store is asked what it knows,
  and the page is about that.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import typer

from gateway360_async import InvalidRequest, PinRequest, Skipped, SkipReason
from gateway360_async._batch._records import BatchRecords
from gateway360_async._config import checked_sender, endpoint
from gateway360_async._models import PIN_PLACEHOLDER, request_from
from gateway360_async._models._sms_size import beyond_gsm_7
from gateway360_async._numbers import calling_code, checked_region, number_reader, region_of
from gateway360_async._numbers._characters import name_character
from gateway360_async._operations import REQUEST_PIN
from gateway360_async._redaction import printable
from gateway360_async._runner._keys import KeyBuilder, is_gone
from gateway360_async._runner._records import in_doubt, result_of
from gateway360_async.stores import Record, State, Store

from ._audit import Audit, Timeline
from ._batch_options import BatchOptions
from ._problems import FAILED, OK, in_words
from ._progress import Live, console_on
from ._report import write_page
from ._results import as_json, create
from ._rows import Row, open_input, taking_turns
from ._store import store_of
from ._summary import Summary
from ._words import count, duration

__all__ = ["dry_run"]

_SHOWN: Final = 20
_BLOCK: Final = 500
"""Rows that the store is asked about at a time."""
_KEPT: Final = 1.0
"""Seconds: a record that is only looked at is not kept."""
_TEMPLATES: Final = ("{{PIN}}", "${PIN}", "%{PIN}")
"""Placeholders of other systems, of which the gateway replaces `{PIN}` alone."""
_WARNED: Final = {
    "segments": ("of_several_segments", "take more than one segment"),
    "not_gsm_7": ("not_gsm_7", "hold characters that GSM-7 does not have"),
    "braces": ("with_braces", "show braces or signs around the PIN"),
}
"""The surprises of a text: their names for a program, and sentences for people."""
_STATES: Final = {
    "completed": "rows that have their results",
    "in_doubt": "that may have been sent, and are left alone without --resend-maybe-sent",
    "in_progress": "that another run is at",
    "free": "that would be sent",
}


async def dry_run(options: BatchOptions) -> int:
    """Look at every row. Gives the exit code: 0 if all are valid."""
    checked_sender(options.sender)
    url = endpoint(options.base_url, options.path_prefix, REQUEST_PIN.path, allow_insecure=False)
    look = _Look(options)
    began = datetime.now().astimezone()
    stderr = console_on(stderr=True)
    report: str | None = None
    with ExitStack() as files:
        given = await open_input(options.file, options.column, options.sender, files)
        header = given.rows.header
        look.notice = None if header is None else header.notice
        source = given.reader or taking_turns(given.rows)
        shown = not options.json
        with Live(stderr, "checking", given.total, look.counts, shown=shown, passing=True) as live:
            async with known_of(options, url) as known:
                async for row in source:
                    request = look.at(row)
                    if known is not None and request is not None:
                        await known.add(row.line, request)
                    live.tick()
                live.end()
                if known is not None:
                    await known.ask()
        if known is not None and (report := options.report) is not None:
            free = known.counts()["free"]
            note = f"Nothing was sent: this is what the store knows. Rows that are free: {free}"
            summary = Summary(code=OK, elapsed=0.0, problems=[note])
            write_page(create(report, files), options, known.audit, summary, began)
    if options.json:
        typer.echo(json.dumps(look.summary(known)), err=True)
    else:
        typer.echo("\n".join(look.lines(known)))
        if report is not None:
            typer.echo(f"The report is in {printable(report)}", err=True)
    return FAILED if look.found["invalid"] else OK


class _Look:
    """Counts what rows would do; with JSON, prints what is wrong as it is found."""

    def __init__(self, options: BatchOptions) -> None:
        self.notice: str | None = None
        """The columns that are not read."""
        self.found: Counter[str] = Counter()
        self._options = options
        self._interval = options.interval
        self._reader = number_reader(checked_region(options.region), options.line_types)
        self._countries: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._problems: list[str] = []
        self._warnings: list[str] = []

    def counts(self) -> Counter[str]:
        found = self.found
        words = {"to be sent": found["requests"], "invalid": found["invalid"]}
        return Counter({**words, "duplicates": found["duplicates"]})

    def at(self, row: Row) -> PinRequest | None:
        """Look at one row. Gives its request, if it would be sent."""
        index, number, found = self.counts().total(), row.get("msisdn"), self.found
        try:
            request = request_from(row, sender=self._options.sender, reader=self._reader)
        except InvalidRequest as exc:
            found["invalid"] += 1
            problem = in_words(str(exc))
            self._tell(index, row, number, as_json(Skipped(SkipReason.INVALID, problem)))
            if len(self._problems) < _SHOWN:
                self._problems.append(f"  line {row.line}, {printable(problem)}")
            return None
        if self._options.on_duplicate == "skip":
            if int(request.msisdn) in self._seen:
                found["duplicates"] += 1
                skipped = Skipped(SkipReason.DUPLICATE, "an earlier entry has the same number")
                self._tell(index, row, number, as_json(skipped))
                return None
            self._seen.add(int(request.msisdn))
        found["requests"] += 1
        self._countries[region_of(request.msisdn) or f"+{calling_code(request.msisdn)}"] += 1
        found["two_readings"] += self._reader.two_readings(number)
        self._look_at_text(index, row, request)
        return request

    def _look_at_text(self, index: int, row: Row, request: PinRequest) -> None:
        """Count how a text will arrive, and keep what may be unexpected of it."""
        text, segments, units = request.sms_text, request.sms_segments, request.sms_units
        if text is None or segments is None or units is None:  # all of them: the vendor's own text is used
            return
        self.found["texts"] += 1
        self.found["segments"] += segments
        warnings = _text_warnings(text, segments, units)
        if not warnings:
            return
        self.found.update([f"warned_{kind}" for kind in warnings], warned=1)
        told = {"warnings": list(warnings.values()), "segments": segments, "units": units}
        self._tell(index, row, request.msisdn, told)
        if len(self._warnings) < _SHOWN:
            self._warnings.append(f"  line {row.line}, sms_text: {'; '.join(warnings.values())}")

    def _tell(self, index: int, row: Row, number: object, more: dict[str, Any]) -> None:
        if self._options.json:
            typer.echo(json.dumps({"index": index, "line": row.line, "msisdn": number, **more}))

    def summary(self, known: Known | None) -> dict[str, object]:
        found, seconds = self.found, self._seconds(known)
        texts = {"rows": found["texts"], "segments": found["segments"]}
        texts |= {name: found[f"warned_{kind}"] for kind, (name, _) in _WARNED.items()}
        return {
            "dry_run": True,
            "entries": self.counts().total(),
            "invalid": found["invalid"],
            "duplicates": found["duplicates"],
            "requests": found["requests"],
            "by_country": dict(self._countries.most_common()),
            "two_readings": found["two_readings"],
            "seconds_at_rate": None if seconds is None else round(seconds, 3),
            "store": None if known is None else known.counts(),
            **({"texts": texts} if found["texts"] else {}),
            "notice": self.notice,
            "exit_code": FAILED if found["invalid"] else OK,
        }

    def lines(self, known: Known | None) -> list[str]:
        options, found = self._options, self.found
        skips = options.on_duplicate == "skip"
        lines = [
            f"Dry run of {printable(options.input)}: nothing was sent, and no connection opened.",
            "",
            _line(self.counts().total(), "entries"),
            _line(found["invalid"], "invalid, which would be skipped"),
            _line(found["duplicates"], "duplicates, which would be skipped")
            if skips
            else _note("a number that is there twice would get two PINs (--on-duplicate send)"),
            _line(found["requests"], "requests: an SMS each that the gateway accepts"),
        ]
        if found["two_readings"]:
            two = f"{count(found['two_readings'])} of them could be international numbers"
            lines.append(_note(f"{two}, and are read as of {self._reader.region}"))
        if self._countries:
            shown = [f"{count(number)} {country}" for country, number in self._countries.most_common(_SHOWN)]
            more = len(self._countries) - len(shown)
            shown += [f"and of {more} more countries"] if more else []
            lines.append(_note(f"by country: {', '.join(shown)}"))
        lines.append("")
        if self.notice is not None:
            lines += [f"C{self.notice[1:]}.", ""]
        if known is not None:
            states = [_line(known.counts()[state], said) for state, said in _STATES.items()]
            lines += [f"In the store, the batch {printable(options.name or '')} has", "", *states, ""]
        seconds = self._seconds(known)
        if seconds is None:
            lines.append(f"Without --rate, {options.concurrency} requests are on their way at a time.")
        else:
            lines.append(f"At --rate {options.rate} they take {duration(seconds)} or more.")
        if not os.environ.get("GATEWAY360_API_KEY"):
            lines.append("GATEWAY360_API_KEY is not set: the batch itself would ask for the key, or refuse.")
        if found["texts"]:
            take = f"{count(found['texts'])} texts take {count(found['segments'])} segments"
            lines += ["", f"{take}, which operators bill one by one."]
            warned = [(found[f"warned_{kind}"], said) for kind, (_, said) in _WARNED.items()]
            lines += [_line(number, said) for number, said in warned if number]
        lines += _listed("Warnings:", self._warnings, found["warned"])
        return [*lines, *_listed("Invalid:", self._problems, found["invalid"])]

    def _seconds(self, known: Known | None) -> float | None:
        """Seconds that the requests take at the rate; `None`: there is none."""
        requests = self.found["requests"] if known is None else known.counts()["free"]
        return None if self._interval is None else max(0, requests - 1) * self._interval


def _line(number: int, said: str) -> str:
    return f"  {count(number):>10}  {said}"


def _note(text: str) -> str:
    return f"{' ' * 14}{text}"


def _listed(title: str, shown: list[str], number: int) -> list[str]:
    if not shown:
        return []
    more = number - len(shown)
    return ["", title, *shown, *([f"  and {count(more)} more: --json lists them all"] if more else [])]


def _text_warnings(text: str, segments: int, units: int) -> dict[str, str]:
    """Say what surprises a text holds: the sentences by their kinds."""
    warnings: dict[str, str] = {}
    beyond = beyond_gsm_7(text)
    if segments > 1:
        alphabet = "UCS-2" if beyond else "GSM-7"
        warnings["segments"] = f"the text takes {segments} segments: {units} units of {alphabet}"
    if beyond:
        (position, ch), *others = beyond
        named = f"{name_character(ch, position)}{f' (and of others: {len(others)})' if others else ''}"
        warnings["not_gsm_7"] = f"GSM-7 has no {named}: a segment holds 70 or 67 units, not 160 or 153"
    template = next((template for template in _TEMPLATES if template in text), None)
    if template is not None:
        shown = template.replace(PIN_PLACEHOLDER, "123456")
        warnings["braces"] = f"the phone shows {shown} for {template}: write {PIN_PLACEHOLDER} alone"
    return warnings


class Known:
    """Asks a store about rows in blocks, and counts; without a store, all are free."""

    def __init__(self, asked: tuple[Store, BatchRecords] | None = None) -> None:
        self.states: Counter[State] = Counter()
        self.audit = Audit()
        """The results of the rows that are not free."""
        self._asked = asked
        self._rows: list[tuple[int, PinRequest, Record]] = []

    async def add(self, line: int, request: PinRequest) -> None:
        """Take a row to be asked about. Raises `StoreError`."""
        if self._asked is None:
            self.states[State.FREE] += 1
            return
        self._rows.append((line, request, self._asked[1].next(request, _KEPT)))
        if len(self._rows) == _BLOCK:
            await self.ask()

    async def ask(self) -> None:
        """Ask about the rows since the last time. Raises `StoreError`."""
        if self._asked is None or not self._rows:
            return
        rows, self._rows = self._rows, []
        answers = await self._asked[0].peek([record for _, _, record in rows])
        for (line, request, _), answer in zip(rows, answers, strict=True):
            lost = answer.state is State.IN_PROGRESS and is_gone(answer.token)
            state = State.IN_DOUBT if lost else answer.state
            self.states[state] += 1
            if state is not State.FREE:
                result = result_of(answer) or in_doubt("no result is on record", answer.report_id)
                self.audit.add(result, 0.0, line, request.msisdn)
        self.audit.timeline = Timeline()  # when each was sent is not known

    def counts(self) -> dict[str, int]:
        states = (State.COMPLETED, State.IN_DOUBT, State.IN_PROGRESS, State.FREE)
        return {state.value: self.states[state] for state in states}


@asynccontextmanager
async def known_of(options: BatchOptions, url: str) -> AsyncGenerator[Known | None]:
    """Open a batch's store for looking; `None`: the batch has none.

    The URL is the one that the batch would post to. Raises `UsageProblem` and `StoreError`.
    """
    if options.store is None:
        yield None
        return
    store = store_of(options.store)
    if options.store_is_missing:
        yield Known()  # opening it would make the file
        return
    identity = await store.connect()
    try:
        keys = KeyBuilder(identity.secret, store.namespace, url)
        records = BatchRecords(options.name or "", keys, numbered=options.on_duplicate == "send")
        yield Known((store, records))
    finally:
        await store.aclose()
