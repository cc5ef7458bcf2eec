"""`gateway360 demo --processes 2`: two real commands share a batch, one of which is killed on the way.

Rules of this module:

- All of it is real: `gateway360 batch` in two processes, a `SqliteStore`, HTTP, SIGKILL. Only the gateway is ours.
- It ends, whatever the processes do: where nothing happens for a while, it says what they said last.
- The account trusts no process: what the one that is left said of each row is laid beside what the gateway sent.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from json import dumps, loads
from pathlib import Path
from typing import Any, Final

import typer

from gateway360_async import Disposition
from gateway360_async._batch._rows import AHEAD
from gateway360_async._config import API_KEY_VARIABLE, BASE_URL_VARIABLE
from gateway360_async.sandbox import Sandbox

from ._console import console_on
from ._demo import demo_numbers
from ._problems import FAILED, OK, UsageProblem
from ._progress import Live
from ._stats import Fate, Statistics
from ._summary import Ending, counts_object, show_summary
from ._words import count as written

__all__ = ["Account", "demo_of_processes"]

_LATENCY: Final = 0.05
"""Seconds that the gateway takes, so that the process that is killed has requests on their way."""
_STALLED: Final = 60.0
"""Seconds without a result after which it is given up. Where a process that is gone is not noticed, as on Windows, what
it had on its way is known after 45."""


class Account:
    """Counts what was said of each row, and lays it beside what the gateway sent.

    Args:
        rows: Rows that there are.
    """

    def __init__(self, rows: int) -> None:
        self.statistics = Statistics()
        self.in_doubt = 0
        self.problems: list[str] = []
        self.of_in_doubt = 0
        """SMS to numbers of which it was said that they may have been sent."""
        self._rows = rows
        self._indexes: Counter[int] = Counter()
        self._said: dict[str, Disposition] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take down a line of a batch's results."""
        disposition = Disposition(line["disposition"])
        why = line.get("error_id") or line.get("kind") or line.get("reason") or ""
        statistics = self.statistics
        statistics.total += 1
        statistics.outcomes[line["result"], why, disposition] += 1
        skipped = line["result"] == "Skipped"
        statistics.fates[Fate.SKIPPED if skipped else Fate[disposition.name]] += 1
        self._indexes[line["index"]] += 1
        if not skipped or "earlier" in line:
            self._said[line["msisdn"]] = disposition
            self.in_doubt += disposition is Disposition.MAYBE_SENT

    def close(self, sms: Mapping[str, int], most_in_doubt: int) -> bool:
        """Close it. Gives whether it holds; otherwise `problems` says why not.

        Args:
            sms: SMS that the gateway sent, by their number.
            most_in_doubt: Rows that may be in doubt.
        """
        said = self._said
        self.of_in_doubt = sum(
            number for msisdn, number in sms.items() if said.get(msisdn) is Disposition.MAYBE_SENT
        )
        wrong = {
            "rows without one result": sum(self._indexes[index] != 1 for index in range(self._rows)),
            "numbers with two SMS": sum(number > 1 for number in sms.values()),
            "numbers with an SMS of which nothing was said": sum(msisdn not in said for msisdn in sms),
            "numbers that are said to be sent, without an SMS": sum(
                disposition is Disposition.SENT and not sms.get(msisdn)
                for msisdn, disposition in said.items()
            ),
            "numbers that are said to be not sent, with an SMS": sum(
                disposition is Disposition.NOT_SENT and bool(sms.get(msisdn))
                for msisdn, disposition in said.items()
            ),
            f"rows in doubt beyond {most_in_doubt}": max(0, self.in_doubt - most_in_doubt),
        }
        self.problems = [f"{written(number)} {what}" for what, number in wrong.items() if number]
        return not self.problems and bool(sms)


class _Command:
    """One `gateway360 batch`, whose results are read as they come."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines = 0

    @classmethod
    async def start(cls, folder: Path, gateway: Sandbox, concurrency: int) -> _Command:
        """Start it: no setting or proxy of this machine's reaches it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().endswith("_PROXY") and not name.startswith("GATEWAY360_")
        }
        own = {
            API_KEY_VARIABLE: gateway.api_key,
            BASE_URL_VARIABLE: gateway.base_url,
            "PYTHONUNBUFFERED": "1",
        }
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
        return cls(process)

    async def next(self) -> dict[str, Any] | None:
        """Read its next result; `None`: it has ended."""
        stdout = self.process.stdout
        line = b"" if stdout is None else await stdout.readline()
        if not line.endswith(b"\n"):  # it was killed in the middle of one
            return None
        self.lines += 1
        result: dict[str, Any] = loads(line)
        return result

    async def end(self) -> None:
        """End it as a power cut would, if it has not ended."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def last_line(self) -> str:
        """Give the last line that it said; it has ended."""
        stderr = self.process.stderr
        said = b"" if stderr is None else await stderr.read()
        last = (said.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        try:
            return str(loads(last)["problem"])
        except (ValueError, KeyError):
            return last


async def demo_of_processes(count: int, concurrency: int, *, json: bool = False) -> int:
    """Run it. Gives the exit code: 0 if no number has two SMS and every row is accounted for.

    Args:
        count: Rows in the file.
        concurrency: Requests at a time, of each process.
        json: Whether to end with one JSON object in place of the table.
    """
    stderr = console_on(stderr=True)
    account = Account(count)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway360-")))
        gateway = await stack.enter_async_context(Sandbox(latency=_LATENCY))
        (folder / "numbers.txt").write_text("\n".join(demo_numbers(count)) + "\n", encoding="utf-8")
        if not json:
            stderr.print(f"A gateway of our own listens on {gateway.base_url}", highlight=False)
            stderr.print(
                f"Two processes share {written(count)} rows through a store in a file: `gateway360 batch --store`, twice",
                highlight=False,
            )
        began = time.monotonic()
        first, second = [await _started(stack, folder, gateway, concurrency) for _ in range(2)]
        killing = asyncio.create_task(_kill(first, max(1, count // 6)))
        stack.push_async_callback(_ended, killing)
        with Live(stderr, "sending", count, account.statistics.counts, shown=not json) as live:
            try:
                async with asyncio.timeout(_STALLED) as stalled:
                    while (line := await second.next()) is not None:
                        account.add(line)
                        stalled.reschedule(asyncio.get_running_loop().time() + _STALLED)
                        live.tick()
                    await second.process.wait()
            except TimeoutError:
                await second.end()
                said = await second.last_line()
                raise UsageProblem(
                    f"nothing happened for {_STALLED:.0f} s; a process said last: {said}"
                ) from None
            live.end()
        if not account.statistics.total:
            raise UsageProblem(f"a process did not begin; it said: {await second.last_line()}")
        await killing
        elapsed = time.monotonic() - began
        sms = Counter(message.msisdn for message in gateway.messages)
        holds = account.close(sms, concurrency + AHEAD)
        ending = Ending(code=OK if holds else FAILED, elapsed=elapsed)
        _show(account, sms, len(gateway.requests), first.lines, ending, json=json)
    return ending.code


async def _started(stack: AsyncExitStack, folder: Path, gateway: Sandbox, concurrency: int) -> _Command:
    command = await _Command.start(folder, gateway, concurrency)
    stack.push_async_callback(command.end)
    return command


async def _kill(command: _Command, after: int) -> None:
    """Kill a process after so many of its results."""
    while command.lines < after and await command.next() is not None:
        pass
    await command.end()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _show(
    account: Account, sms: Counter[str], requests: int, killed_after: int, ending: Ending, *, json: bool
) -> None:
    """Print the table and the account."""
    total, most = sms.total(), max(sms.values(), default=0)
    if json:
        checked = {
            "requests": requests,
            "messages": total,
            "most_messages_to_a_number": most,
            "in_doubt": account.in_doubt,
            "in_doubt_with_a_message": account.of_in_doubt,
            "killed_after": killed_after,
            "problems": account.problems,
            "accounted_for": ending.code == OK,
        }
        summary = counts_object(account.statistics, ending) | checked
        typer.echo(dumps(summary | {"exit_code": ending.code}))
        return
    console = console_on(stderr=False)
    show_summary(console, account.statistics, ending)
    lines = [
        f"requests that reached the gateway: {written(requests)}",
        f"process 1 was killed (SIGKILL) after {written(killed_after)} results; process 2 gave the account of all rows",
        f"SMS to one number at most: {most}",
        (
            f"SMS that it sent: {written(total)} = {written(total - account.of_in_doubt)} that are known as sent + "
            f"{written(account.of_in_doubt)} of the {written(account.in_doubt)} in doubt: "
            f"{'every SMS is accounted for' if ending.code == OK else 'THIS MUST NOT BE'}"
        ),
        *account.problems,
    ]
    for line in lines:
        console.print(line, highlight=False)
