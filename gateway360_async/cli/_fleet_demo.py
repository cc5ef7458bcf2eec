"""`gateway360 demo --fleet`: a whole fleet on this machine, one worker of which is killed on the way.

Rules of this module:

- All of it is real: Redis, the engine's own workers in their processes, HTTP, SIGKILL. Only the gateway is ours.
- It ends, whatever the workers do: where nothing happens for a while, it says what they said last.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from json import dumps
from pathlib import Path
from typing import Final

import attrs
import typer
from rich.console import Console

from gateway360_async import Gateway360Client
from gateway360_async._settings import FLEET_RATE_VARIABLE, FLEET_VARIABLE
from gateway360_async.fleet import FleetQueue
from gateway360_async.sandbox import Message, Sandbox
from gateway360_async.transports import DirectTransport

from ._console import console_on
from ._demo import demo_numbers
from ._fleet_count import Account, Closing
from ._fleet_processes import RedisServer, Workers, require_redis
from ._fleet_worker import fleet_of, queue_of
from ._problems import FAILED, OK, UsageProblem
from ._progress import Live
from ._stats import Statistics
from ._summary import Ending, counts_object, show_summary
from ._words import count as written

__all__ = ["fleet_demo"]

_BROKER: Final = "gateway360_async.cli._fleet_worker:broker"
_WORKERS: Final = 2
_RATE: Final = 250
"""Requests a second, of all workers together."""
_LATENCY: Final = 0.05
"""Seconds that the gateway takes, so that the worker that is killed has requests on their way."""
_STALLED: Final = 60.0
"""Seconds without a result after which it is given up. What a killed worker had on its way is known after 20."""


@attrs.define
class _Kill:
    """Kills the first worker when so many SMS were sent: in the middle of the last one's exchange."""

    at: int
    workers: Workers | None = None
    sent: int = 0
    done: asyncio.Event = attrs.field(factory=asyncio.Event)

    def __call__(self, _message: Message) -> None:
        self.sent += 1
        if self.sent == self.at and self.workers is not None:
            self.workers.kill(0)
            self.done.set()


async def fleet_demo(count: int, concurrency: int, *, json: bool = False) -> int:
    """Run it. Gives the exit code: 0 if no number has two SMS and every entry is accounted for.

    Args:
        count: Entries in the file.
        concurrency: Requests at a time, of each worker.
        json: Whether to end with one JSON object in place of the table.
    """
    require_redis()
    kill = _Kill(max(1, count // 3))
    async with AsyncExitStack() as stack:
        # Its path is short, for Redis' socket is in it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway360-")))
        gateway = await stack.enter_async_context(Sandbox(latency=_LATENCY, on_message=kill))
        redis = await stack.enter_async_context(RedisServer(folder))
        run = _Run(folder, gateway, redis, kill, console_on(stderr=True))
        return await run.all(count, concurrency, json=json)


class _Run:
    """One run, with the gateway and Redis there."""

    def __init__(
        self, folder: Path, gateway: Sandbox, redis: RedisServer, kill: _Kill, stderr: Console
    ) -> None:
        self._folder = folder
        self._gateway = gateway
        self._kill = kill
        self._stderr = stderr
        self._results = Statistics()
        self._account = Account()
        self._environment = {
            FLEET_VARIABLE: redis.url,
            FLEET_RATE_VARIABLE: str(_RATE),
            "GATEWAY360_BASE_URL": gateway.base_url,
            "GATEWAY360_API_KEY": gateway.api_key,
        }

    async def all(self, count: int, concurrency: int, *, json: bool) -> int:
        """Send the file, and count. Gives the exit code."""
        file = self._folder / "numbers.txt"
        file.write_text("\n".join(demo_numbers(count)) + "\n", encoding="utf-8")
        self._say(f"A gateway of our own listens on {self._gateway.base_url}", json=json)
        self._say(
            f"{_WORKERS} workers, each a process of its own, and a Redis that keeps what it is told; "
            f"together {_RATE} requests a second, from a file of {written(count)} entries",
            json=json,
        )
        options = ["--max-async-tasks", str(concurrency), "--log-level", "WARNING"]
        began = time.monotonic()
        async with Workers(_WORKERS, _BROKER, self._folder, self._environment, options) as workers:
            self._kill.workers = workers
            replacing = asyncio.create_task(self._replace(workers, json=json))
            try:
                await self._follow(file, count, workers, json=json)
                if self._kill.done.is_set():
                    await replacing  # the other worker may have done all before the new one was there
            finally:
                replacing.cancel()
                await asyncio.wait((replacing,))
        elapsed = time.monotonic() - began
        sms = Counter(message.msisdn for message in self._gateway.messages)
        closing = self._account.close(count, sms)
        code = OK if closing.holds and closing.sms else FAILED
        self._show(closing, Ending(code=code, elapsed=elapsed), workers.killed, json=json)
        return code

    async def _follow(self, file: Path, count: int, workers: Workers, *, json: bool) -> None:
        """Hand the file to the queue, and take down what becomes of each entry."""
        queue, task = queue_of(self._environment)
        await queue.startup()

        async def enqueue(payload: dict[str, object]) -> None:
            await task.kiq(task=payload)

        client = Gateway360Client(
            self._gateway.api_key,
            sender="GOOD PIZZA",
            base_url=self._gateway.base_url,
            fleet=fleet_of(self._environment),
            transport=DirectTransport(),
        )
        results = self._results
        try:
            with (
                file.open(encoding="utf-8") as lines,
                Live(self._stderr, "sending", count, results.counts, shown=not json) as live,
            ):
                began = time.monotonic()
                numbers = (line.strip() for line in lines)
                async with (
                    asyncio.timeout(_STALLED) as patience,
                    client,
                    client.batch(numbers, queue=FleetQueue("demo", enqueue)) as batch,
                ):
                    async for item in batch:
                        self._account.add(item)
                        results.add(item.result, time.monotonic() - began)
                        patience.reschedule(asyncio.get_running_loop().time() + _STALLED)
                        live.tick()
                live.end()
        except TimeoutError:
            said = "; ".join(worker.last_line() for worker in workers.all)
            raise UsageProblem(
                f"nothing happened for {_STALLED:.0f} s; the workers said last: {said}"
            ) from None
        finally:
            await queue.shutdown()

    async def _replace(self, workers: Workers, *, json: bool) -> None:
        """Put another worker in the place of the one that is killed."""
        await self._kill.done.wait()
        await workers.replace(0)
        self._say(
            f"worker 1 was killed (SIGKILL) when SMS {written(self._kill.at)} was out and its answer was not: another takes "
            "its place, and what it had on its way is known when its leases are over",
            json=json,
        )

    def _say(self, what: str, *, json: bool) -> None:
        if not json:
            self._stderr.print(what, highlight=False)

    def _show(self, closing: Closing, ending: Ending, killed: int, *, json: bool) -> None:
        """Print the table and the closing count."""
        posts = len(self._gateway.requests)
        if json:
            checked = {
                "requests": posts,
                "messages": closing.sms,
                "most_messages_to_a_number": closing.most,
                "maybe_sent_with_a_message": closing.of_maybe_sent,
                "workers_killed": killed,
                "problems": list(closing.problems),
                "accounted_for": closing.holds,
            }
            typer.echo(dumps(counts_object(self._results, ending) | checked | {"exit_code": ending.code}))
            return
        console = console_on(stderr=False)
        show_summary(console, self._results, ending)
        sent = closing.sms - closing.of_maybe_sent
        maybe = sum(number for word, number in self._results.counts().items() if word == "maybe sent")
        lines = [
            f"requests that reached the gateway: {written(posts)}",
            (
                f"SMS that it sent: {written(closing.sms)} = {written(sent)} that were reported as sent "
                f"+ {written(closing.of_maybe_sent)} of the {written(maybe)} that may have been sent"
            ),
            f"SMS to one number at most: {closing.most}; workers killed: {killed}",
            *closing.problems,
            "every entry is accounted for, and nobody got two" if ending.code == OK else "THIS MUST NOT BE",
        ]
        for line in lines:
            console.print(line, highlight=False)
