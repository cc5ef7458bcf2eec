"""The stores' figures: the store and its server, the gateway, the processes that send, and the measures of speed."""

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import attrs

from gateway360_async import Gateway360Client, PinRequest
from gateway360_async.stores import store_at

from .. import API_KEY, ROOT, SENDER, number
from ..meter import Clock
from ..process import Process, Server
from ..report import bounded
from ..worker import orders, say

_LATENCY: Final = 0.05
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LEAST_SHARE: Final = {"sqlite": 0.95, "redis": 0.95, "postgres": 0.9}
_MOST_CPU: Final = {"sqlite": 80.0, "redis": 80.0, "postgres": 130.0}
_MOST_KEYED_CPU: Final = 300.0
_LEAST_OF_TWO: Final = 1.6


@attrs.frozen
class Seen:
    """The gateway's report: each request's time, in monotonic seconds, and the SMS of each number by its index."""

    stamps: list[float] = attrs.field(repr=False)
    sms: Counter[int] = attrs.field(repr=False)
    strays: int

    @property
    def rate(self) -> float:
        """Requests per second, from the first to the last, of which one is not counted."""
        return (len(self.stamps) - 1) / (self.stamps[-1] - self.stamps[0])

    def fullest(self, window: float) -> float:
        """Return the requests per second of the fullest window, wherever it begins; `window` is in seconds, half open."""
        most = begin = 0
        for end, stamp in enumerate(self.stamps):
            while stamp - self.stamps[begin] >= window:
                begin += 1
            most = max(most, end - begin + 1)
        return most / window


class Recorder(Server):
    """The gateway that records."""

    def __init__(self) -> None:
        super().__init__(record=True)

    def report(self) -> Seen:
        """Ask for the requests since the last time."""
        said = self.ask(latency=_LATENCY)
        return Seen(sorted(said["stamps"]), Counter(said["indices"]), said["strays"])


@attrs.frozen
class Site:
    """A store, and where it has a server, how to restart that with its data, and its processes."""

    store: str | None
    restart: Callable[[], None] | None = None
    pids: Callable[[], set[int]] = set

    def cpu(self) -> float:
        """Return the CPU seconds, user and system, of the server's processes and of their children that have ended."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it has ended since
                text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
                # The program's name is in parentheses, and may have anything in it.
                ticks += sum(map(int, text.rpartition(")")[2].split()[11:15]))
        return ticks / _TICKS

    def sender(self, **job: Any) -> Process:
        """Return a process that sends through this store. The arguments are those of `measures.send`."""
        return Process("stores.measures:send", store=self.store, **{"limit": None, **job})


@contextlib.contextmanager
def site(kind: str) -> Generator[Site, None, None]:
    """Start what a store needs: `sqlite`, `redis` or `postgres`."""
    sys.path.insert(0, str(ROOT / "tests"))  # the tests' servers
    server: Any
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="gateway360-bench-") as folder:
            yield Site(f"{folder}/bench.db")
        return
    if kind == "redis":
        from support import redis_process

        redis_process.put_on_path()
        server = redis_process.RedisProcess(durable=True)
    else:
        from support import postgres_process

        # As it comes; the tests have fewer buffers, and clean up nothing.
        server = postgres_process.PostgresProcess(durable=True, autovacuum="on", shared_buffers="128MB")
    with server:

        def restart() -> None:
            server.kill()
            server.start()

        if kind == "redis":
            yield Site(server.url, restart, lambda: {server.pid})
        else:
            from gateway360_async.stores import PostgresStore  # the senders import this module too

            dsn = server.database()
            asyncio.run(PostgresStore(dsn).init())
            yield Site(dsn, restart, server.pids)


@attrs.frozen
class _Run:
    """The figures of senders that ran together: requests per second, and CPU microseconds per request."""

    rate: float
    cpu: float
    server_cpu: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s, {self.cpu:.0f} µs, server {self.server_cpu:.0f} µs"


def _run(here: Site, gateway: Recorder, *jobs: dict[str, Any]) -> _Run:
    """Let senders go together, and check that each number had one SMS."""
    with ExitStack() as stack:
        senders = [stack.enter_context(here.sender(**job)) for job in jobs]
        for sender in senders:
            assert "ready" in (said := sender.result()), f"a sender said {said!r}"
        gateway.report()
        before = here.cpu()
        for sender in senders:
            sender.say()
        figures = [sender.result() for sender in senders]
        server = here.cpu() - before
        seen = gateway.report()
    rows = max(job["rows"] for job in jobs)
    assert (len(seen.sms), seen.sms.total(), seen.strays) == (rows, rows, 0), "not one SMS a number"
    cpu = sum(figure["cpu"] for figure in figures)
    return _Run(seen.rate, cpu / rows * 1e6, server / rows * 1e6)


def throughput(kind: str, here: Site, rounds: int, rows: int) -> dict[str, Any]:
    """Compare a batch with a store to one without."""
    without: list[_Run] = []
    stored: list[_Run] = []
    with Recorder() as gateway:
        job: dict[str, Any] = {"gateway": gateway.url, "rows": rows}
        _run(here, gateway, {**job, "name": "first", "rows": min(rows, 500)})
        for turn in range(rounds):
            without.append(_run(attrs.evolve(here, store=None), gateway, job))
            stored.append(_run(here, gateway, {**job, "name": f"run {turn}"}))
            print(f"{kind}, round {turn + 1}: without {without[-1]}, with the store {stored[-1]}", flush=True)
    pairs = list(zip(without, stored, strict=True))
    shares = [after.rate / before.rate for before, after in pairs]
    added = [after.cpu - before.cpu for before, after in pairs]
    figures = {
        "rate_without": [one.rate for one in without],
        "rate_with": [one.rate for one in stored],
        "cpu_without": [one.cpu for one in without],
        "cpu_added": added,
        "server_cpu": [one.server_cpu for one in stored],
    }
    bars = [
        bounded(f"{kind}: requests/s with ÷ without", _LEAST_SHARE[kind], "×", shares),
        bounded(f"{kind}: CPU added to a request", _MOST_CPU[kind], "µs", added, at_most=True),
    ]
    return {**{name: statistics.median(found) for name, found in figures.items()}, "bars": bars}


def keyed(kind: str, here: Site, rounds: int, rows: int) -> dict[str, Any]:
    """Measure `request_pin` with a key."""
    runs: list[_Run] = []
    with Recorder() as gateway:
        for turn in range(rounds):
            job = {"gateway": gateway.url, "rows": rows, "keyed": True, "name": f"keyed {turn}"}
            runs.append(_run(here, gateway, job))
            print(f"{kind}, with a key: {runs[-1]}", flush=True)
    cpu = [one.cpu for one in runs]
    what = f"{kind}: request_pin with a key, CPU of a request"
    bars = [bounded(what, _MOST_KEYED_CPU, "µs", cpu, at_most=True)] if kind == "redis" else []
    return {"rate": statistics.median(one.rate for one in runs), "cpu": statistics.median(cpu), "bars": bars}


def two(kind: str, here: Site, rounds: int, rows: int) -> dict[str, Any]:
    """Compare two processes that share a file to one."""
    ratios: list[float] = []
    with Recorder() as gateway:
        for turn in range(rounds):
            one = {"gateway": gateway.url, "rows": rows, "name": f"one {turn}"}
            both = {"gateway": gateway.url, "rows": 2 * rows, "name": f"both {turn}"}
            alone, together = _run(here, gateway, one), _run(here, gateway, both, both)
            ratios.append(together.rate / alone.rate)
            print(f"{kind}: one process {alone}, two {together}", flush=True)
    bar = bounded(f"{kind}: two processes ÷ one, requests/s", _LEAST_OF_TWO, "×", ratios)
    return {"ratio": statistics.median(ratios), "bars": [bar]}


async def send(
    gateway: str,
    rows: int,
    *,
    store: str | None = None,
    name: str = "bench",
    keyed: bool = False,
    concurrency: int = 100,
    rate: float | None = None,
    deadline: float = 30.0,
    timeout: float = 10.0,
    told: bool = False,
) -> dict[str, Any]:
    """Connect, say so, wait for a line, send, and return the figures.

    Send a batch with this name, or `keyed` one `request_pin` per row, whose key begins with it; `rate` is of all processes
    together, in requests per second. With `told`, return each row's disposition too.
    """
    dispositions: dict[int, str] = {}
    numbers = map(number, range(rows))
    async with Gateway360Client(
        API_KEY,
        sender=SENDER,
        base_url=gateway,
        store=store_at(store, timeout=timeout) if store else None,
        concurrency=concurrency,
        rate=rate,
        deadline=deadline,
    ) as client:

        async def caller() -> None:
            for msisdn in numbers:
                await client.send(PinRequest(msisdn, SENDER), idempotency_key=f"{name} {msisdn}")

        await client.connect()
        say(ready=True)
        await anext(orders())
        with Clock() as clock:
            if keyed:
                await asyncio.gather(*(caller() for _ in range(concurrency)))
            else:
                async with client.batch(numbers, name=name if store else None) as batch:
                    async for item in batch:
                        if told:
                            dispositions[item.index] = item.result.disposition.value
    return {"seconds": clock.seconds, "cpu": clock.cpu, "told": dispositions}
