"""`gateway360 demo`: a batch through the real client to the sandbox, over HTTP.

Invariants of `--processes 2`, in which two real commands share a batch, one of which is killed on the way:

- All of it is real: `gateway360 batch` in two processes, a `SqliteStore`, HTTP, SIGKILL. Only the gateway is ours.
- It ends, whatever the processes do: where nothing happens for a while, it says what they said last.
- The account trusts no process: what the one that is left said of each row is laid beside what the gateway sent.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from json import dumps, loads
from pathlib import Path
from typing import Any, Final, cast

import typer

from gateway360_async import Disposition, Gateway360Client
from gateway360_async._batch._rows import AHEAD
from gateway360_async._config import API_KEY_VARIABLE, BASE_URL_VARIABLE
from gateway360_async.sandbox import HLR_FAIL_PREFIX, Sandbox
from gateway360_async.transports import DirectTransport

from ._audit import Audit
from ._options import DemoOptions
from ._problems import FAILED, OK, UsageProblem
from ._progress import Live, console_on
from ._summary import counts_object, show_summary
from ._words import count

__all__ = ["Account", "demo", "demo_numbers", "demo_of_processes"]

_SEED: Final = 360
_BAD: Final = ("34666ABC111", "0666666111", "123456", "+", "34666666111;ext=2")
_LATENCY: Final = 0.05
"""Seconds that the gateway takes, so that the process that is killed has requests on their way."""
_STALLED: Final = 60.0
"""Seconds without a result after which it is given up. On Windows, which does not notice that a process is gone, the
results of its last rows are known after 45."""


def demo_numbers(number: int) -> list[str]:
    """Make the entries: of each twenty one malformed, one unknown, one there twice."""
    entries: list[str] = []
    for index in range(number):
        match index % 20:
            case 5:
                entries.append(_BAD[index // 20 % len(_BAD)])
            case 10:
                entries.append(f"{HLR_FAIL_PREFIX}{index:06}")
            case 15:  # the one before, written otherwise
                entries.append(f"+34 {entries[index - 1].removeprefix('34')}")
            case _:
                entries.append(f"346{index:08}")
    random.Random(_SEED).shuffle(entries)  # noqa: S311  # a mix that is the same every time
    return entries


async def demo(options: DemoOptions) -> int:
    """Run the demo. Gives the exit code: 0 if each SMS is accounted for."""
    number = options.count or 1000
    audit = Audit()
    async with Sandbox() as gateway:
        if not options.json:
            console_on(stderr=False).print(f"A gateway of our own listens on {gateway.base_url}")
        async with (
            Gateway360Client(
                gateway.api_key,
                sender="GOOD PIZZA",
                base_url=gateway.base_url,
                transport=DirectTransport(),  # this is about this machine, not about its proxy
                concurrency=options.concurrency,
            ) as client,
            client.batch(demo_numbers(number)) as batch,
        ):
            stderr = console_on(stderr=True)
            with Live(stderr, "sending", number, audit.counts, shown=not options.json) as live:
                began = time.monotonic()
                async for item in batch:
                    audit.add(item.result, time.monotonic() - began)
                    live.tick()
                live.end()
        messages, posts = len(gateway.messages), len(gateway.requests)
    report = batch.report
    accepted = report.by_result["Ok"]
    holds = 0 < messages == accepted and report.total == number
    sign, verdict = ("=", "every SMS is accounted for") if holds else ("≠", "THIS MUST NOT BE")
    lines = [
        f"requests that reached the gateway: {posts}",
        f"SMS that it sent: {messages} {sign} Ok results: {accepted}: {verdict}",
    ]
    checked = {"requests": posts, "messages": messages, "accounted_for": holds}
    return _show(options, audit, report.elapsed, checked, lines)


def _show(
    options: DemoOptions, audit: Audit, elapsed: float, checked: Mapping[str, object], lines: list[str]
) -> int:
    """Print the table and the account, or one object of both. Gives the exit code."""
    code = OK if checked["accounted_for"] else FAILED
    if options.json:
        typer.echo(dumps({**counts_object(audit, elapsed), **checked, "exit_code": code}))
        return code
    console = console_on(stderr=False)
    show_summary(console, audit, elapsed)
    for line in lines:
        console.print(line)
    return code


class Account:
    """Counts what was said of each row, and lays it beside what the gateway sent."""

    def __init__(self, rows: int) -> None:
        self.audit = Audit()
        self.in_doubt = 0
        self.problems: list[str] = []
        self.of_in_doubt = 0
        """SMS to numbers of which it was said that they may have been sent."""
        self._rows = rows
        self._indexes: Counter[int] = Counter()
        self._said: dict[str, Disposition] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        disposition = Disposition(line["disposition"])
        why = line.get("error_id") or line.get("kind") or line.get("reason") or ""
        self.audit.count(line["result"], why, disposition)
        self._indexes[line["index"]] += 1
        if line["result"] != "Skipped" or "earlier" in line:
            self._said[line["msisdn"]] = disposition
            self.in_doubt += disposition is Disposition.MAYBE_SENT

    def close(self, sms: Mapping[str, int], most_in_doubt: int) -> bool:
        """Compare it with the SMS by their numbers. Gives whether it holds.

        Otherwise `problems` says why not.
        """
        said = self._said
        self.of_in_doubt = sum(
            number for msisdn, number in sms.items() if said.get(msisdn) is Disposition.MAYBE_SENT
        )
        sent, not_sent = (
            {msisdn for msisdn, disposition in said.items() if disposition is one}
            for one in (Disposition.SENT, Disposition.NOT_SENT)
        )
        wrong = {
            "rows without one result": sum(self._indexes[index] != 1 for index in range(self._rows)),
            "numbers with two SMS": sum(number > 1 for number in sms.values()),
            "numbers with an SMS of which nothing was said": len(sms.keys() - said.keys()),
            "numbers that are said to be sent, without an SMS": len(sent - sms.keys()),
            "numbers that are said to be not sent, with an SMS": len(not_sent & sms.keys()),
            f"rows in doubt beyond {most_in_doubt}": max(0, self.in_doubt - most_in_doubt),
        }
        self.problems = [f"{count(number)} {problem}" for problem, number in wrong.items() if number]
        return not self.problems and bool(sms)


async def demo_of_processes(options: DemoOptions) -> int:
    """Run it with two processes. Gives the exit code: 0 if each SMS is accounted for."""
    number = options.count or 5000
    account = Account(number)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway360-")))
        gateway = await stack.enter_async_context(Sandbox(latency=_LATENCY))
        (folder / "numbers.txt").write_text("\n".join(demo_numbers(number)) + "\n", encoding="utf-8")
        stderr = console_on(stderr=True)
        if not options.json:
            stderr.print(f"A gateway of our own listens on {gateway.base_url}")
            shared = f"Two processes share {count(number)} rows through a store in a file"
            stderr.print(f"{shared}: `gateway360 batch --store`, twice")
        began = time.monotonic()
        first, second = [await _start(stack, folder, gateway, options.concurrency) for _ in range(2)]
        killing = asyncio.create_task(_kill(first, max(1, number // 6)))
        stack.push_async_callback(asyncio.wait, (killing,))
        stack.callback(killing.cancel)
        with Live(stderr, "sending", number, account.audit.counts, shown=not options.json) as live:
            try:
                async with asyncio.timeout(_STALLED) as stalled:
                    async for line in _results(second):
                        account.add(line)
                        stalled.reschedule(asyncio.get_running_loop().time() + _STALLED)
                        live.tick()
                    await second.wait()
            except TimeoutError:
                said = await _last_line(second)
                problem = f"nothing happened for {_STALLED:.0f} s; a process said last: {said}"
                raise UsageProblem(problem) from None
            live.end()
        if not account.audit.total:
            raise UsageProblem(f"a process did not begin; it said: {await _last_line(second)}")
        killed_after = await killing
        elapsed = time.monotonic() - began
    sms, requests = Counter(message.msisdn for message in gateway.messages), len(gateway.requests)
    holds = account.close(sms, options.concurrency + AHEAD)
    total, most, uncertain = sms.total(), max(sms.values(), default=0), account.of_in_doubt
    checked = {
        "requests": requests,
        "messages": total,
        "most_messages_to_a_number": most,
        "in_doubt": account.in_doubt,
        "in_doubt_with_a_message": uncertain,
        "killed_after": killed_after,
        "problems": account.problems,
        "accounted_for": holds,
    }
    killed = f"process 1 was killed (SIGKILL) after {count(killed_after)} results"
    certain = f"{count(total)} = {count(total - uncertain)} that are known as sent"
    verdict = "every SMS is accounted for" if holds else "THIS MUST NOT BE"
    lines = [
        f"requests that reached the gateway: {count(requests)}",
        f"{killed}; process 2 gave the account of all rows",
        f"SMS to one number at most: {most}",
        f"SMS that it sent: {certain} + {count(uncertain)} of the {count(account.in_doubt)} in doubt: {verdict}",
        *account.problems,
    ]
    return _show(options, account.audit, elapsed, checked, lines)


async def _start(stack: AsyncExitStack, folder: Path, gateway: Sandbox, concurrency: int) -> Process:
    """Start a `gateway360 batch`, which no setting or proxy of this machine's reaches."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.startswith("GATEWAY360_")
    }
    own = {API_KEY_VARIABLE: gateway.api_key, BASE_URL_VARIABLE: gateway.base_url, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway360_async.cli", "batch", str(folder / "numbers.txt")),
        *("--sender", "GOOD PIZZA", "--store", str(folder / "records.db"), "--name", "demo", "--json"),
        *("--concurrency", str(concurrency)),
        env={**kept, **own},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C at a terminal reaches this process alone, which ends the others
    )
    stack.push_async_callback(_end, process)
    return process


async def _results(process: Process) -> AsyncIterator[dict[str, Any]]:
    """Give the whole results of a process as they come."""
    stdout = cast("asyncio.StreamReader", process.stdout)
    while (line := await stdout.readline()).endswith(b"\n"):
        yield loads(line)


async def _kill(process: Process, after: int) -> int:
    """Kill a process after so many of its results. Gives how many there were."""
    results, stdout = 0, cast("asyncio.StreamReader", process.stdout)
    while results < after and (await stdout.readline()).endswith(b"\n"):
        results += 1
    await _end(process)
    return results


async def _end(process: Process) -> None:
    """End a process as a power cut would, if it has not ended."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _last_line(process: Process) -> str:
    """Give the last line that a process said, which has ended or is ended."""
    await _end(process)
    said = await cast("asyncio.StreamReader", process.stderr).read()
    last = (said.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
    try:
        return str(loads(last)["problem"])
    except (ValueError, KeyError):
        return last
