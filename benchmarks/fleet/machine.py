"""The gateway's process, and what the others have used: CPU, and what Redis counts of itself.

Rules of this module:

- Linux only: what another process has used is read from `/proc`.
- Nothing that is stored names this machine: no host name, no path, no user.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs
from redis.asyncio import Redis

from ..machine import ROOT
from .gateway import HOST

__all__ = ["Gateway", "RedisUse", "Seen", "cpu_seconds"]

_PROCESSES: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LINE: Final = 64 * 2**20
"""Bytes of a report at most: 24 a request in base64."""


@attrs.frozen
class Seen:
    """What the gateway saw: for each request, in the order that they came, when (monotonic seconds) and its number."""

    stamps: array[float] = attrs.field(repr=False)
    numbers: array[int] = attrs.field(repr=False)
    strays: int

    def by_number(self) -> Counter[str]:
        """How many SMS each number has."""
        return Counter(str(number) for number in self.numbers)


class Gateway:
    """The gateway's process, from entering to leaving.

    Args:
        latency: Seconds until it answers.
    """

    def __init__(self, latency: float) -> None:
        self._command = [sys.executable, "-m", "benchmarks.fleet.gateway", str(latency)]
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        self.url = f"http://{HOST}:{(await self._read())['port']}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()  # which is how it is told to end
        await self._process.wait()

    async def report(self) -> Seen:
        """Ask what it saw since the last time."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"report\n")
        said = await self._read()
        stamps, numbers = array("d"), array("q")
        stamps.frombytes(base64.b64decode(said["stamps"]))
        numbers.frombytes(base64.b64decode(said["numbers"]))
        return Seen(stamps, numbers, said["strays"])

    async def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return line


def cpu_seconds(sessions: Iterable[int]) -> float:
    """Give the CPU time, user and system, of all processes of these sessions that live, in seconds."""
    wanted = set(sessions)
    ticks = 0
    for entry in _PROCESSES.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name of the program is in parentheses, and may have anything in it.
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        if int(fields[3]) in wanted:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


@attrs.frozen
class RedisUse:
    """What Redis says of itself: CPU seconds, bytes, keys, and how often each command was called."""

    cpu: float
    memory: int
    keys: int
    calls: Counter[str]

    @classmethod
    async def of(cls, url: str) -> RedisUse:
        """Ask it."""
        redis: Any = Redis.from_url(url)
        try:
            told: dict[str, Any] = await redis.info("everything")
            keys: int = await redis.dbsize()
        finally:
            await redis.aclose()
        calls = Counter(
            {
                name.removeprefix("cmdstat_"): int(stats["calls"])
                for name, stats in told.items()
                if name.startswith("cmdstat_")
            }
        )
        cpu = float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
        return cls(cpu, int(told["used_memory"]), keys, calls)

    def since(self, before: RedisUse) -> RedisUse:
        """What came on top since then."""
        return RedisUse(
            self.cpu - before.cpu,
            self.memory - before.memory,
            self.keys - before.keys,
            self.calls - before.calls,
        )
