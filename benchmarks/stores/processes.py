"""The processes of the stores' benchmark: the gateway, the servers and the senders."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from ..machine import ROOT
from .gateway import HOST
from .worker import Job

__all__ = ["Gateway", "Seen", "Sender", "Site", "site"]

_PROCESSES: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LINE: Final = 64 * 2**20
"""Bytes of a report at most."""


@attrs.frozen
class Seen:
    """The gateway's report: for each request, in their order, its time (monotonic seconds) and its number."""

    stamps: array[float] = attrs.field(repr=False)
    numbers: array[int] = attrs.field(repr=False)
    strays: int

    def by_number(self) -> Counter[str]:
        """Count the SMS of each number."""
        return Counter(str(number) for number in self.numbers)


class _Process:
    """A process of ours that is spoken to by lines."""

    def __init__(self, *command: str) -> None:
        self._command = [sys.executable, "-m", *command]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self._running()
        if exc_type is not None:
            self.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._running().kill()

    async def read(self) -> str:
        """Read a line; an empty text at the end."""
        stdout = self._running().stdout
        assert stdout is not None
        return (await stdout.readline()).decode().strip()

    def write(self) -> None:
        """Write a line."""
        stdin = self._running().stdin
        assert stdin is not None
        stdin.write(b"\n")

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process


class Gateway(_Process):
    """The gateway's process.

    Args:
        latency: Seconds until it answers.
    """

    def __init__(self, latency: float) -> None:
        super().__init__("benchmarks.stores.gateway", str(latency))
        self.url = ""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.url = f"http://{HOST}:{json.loads(await self.read())['port']}"
        return self

    async def report(self) -> Seen:
        """Ask for the requests since the last time."""
        self.write()
        said = json.loads(await self.read())
        stamps, numbers = array("d"), array("q")
        stamps.frombytes(base64.b64decode(said["stamps"]))
        numbers.frombytes(base64.b64decode(said["numbers"]))
        return Seen(stamps, numbers, said["strays"])


class Sender(_Process):
    """A process that sends rows."""

    def __init__(self, job: Job) -> None:
        super().__init__("benchmarks.stores.worker", json.dumps(attrs.asdict(job)))

    async def ready(self) -> None:
        """Wait until it has connected."""
        said = await self.read()
        assert said == "ready", f"a sender said {said!r}"

    async def figures(self) -> dict[str, Any] | None:
        """Wait for its figures; `None`: it was killed."""
        said = await self.read()
        return json.loads(said) if said else None


@attrs.frozen
class Site:
    """A store, and its server where it has one.

    Args:
        store: Where it is.
        restart: Restarts the server, with its data; `None`: there is none.
        cpu: Gives the CPU seconds that the server has used.
    """

    store: str
    restart: Callable[[], None] | None
    cpu: Callable[[], float]


@contextlib.asynccontextmanager
async def site(kind: str) -> AsyncGenerator[Site, None]:
    """Start what a store needs: `sqlite`, `redis` or `postgres`."""
    sys.path.insert(0, str(ROOT / "tests"))  # the tests' servers
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="gateway360-bench-") as folder:
            yield Site(f"{folder}/bench.db", None, lambda: 0.0)
    elif kind == "redis":
        from support import redis_process

        redis_process.put_on_path()
        with redis_process.RedisProcess(durable=True) as redis:

            def restart() -> None:
                redis.kill()
                redis.start()

            yield Site(redis.url, restart, lambda: _cpu_seconds({redis.pid}))
    else:
        from support import postgres_process

        from gateway360_async.stores import PostgresStore

        # As it comes; the tests have fewer buffers, and clean up nothing.
        settings = {"autovacuum": "on", "shared_buffers": "128MB"}
        with postgres_process.PostgresProcess(durable=True, **settings) as postgres:

            def restart_postgres() -> None:
                postgres.kill()
                postgres.start()

            dsn = postgres.database()
            await PostgresStore(dsn).init()
            yield Site(dsn, restart_postgres, lambda: _cpu_seconds(postgres.pids()))


def _cpu_seconds(pids: set[int]) -> float:
    """Give the CPU seconds, user and system, of processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        try:
            # The name of the program is in parentheses, and may have anything in it.
            fields = (_PROCESSES / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS
