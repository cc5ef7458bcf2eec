"""What this process holds, and the server's process beside it."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from ..machine import ROOT
from ..memory import current

__all__ = ["Held", "Memory", "ServerProcess", "ServerSide", "held"]

_DESCRIPTORS: Final = Path("/proc/self/fd")


@attrs.frozen
class Held:
    """Open sockets (`None` where the platform does not tell) and tasks."""

    sockets: int | None
    tasks: int


def held() -> Held:
    """Count what is open now."""
    return Held(_sockets(), len(asyncio.all_tasks()))


def _sockets() -> int | None:
    if not _DESCRIPTORS.exists():
        return None
    count = 0
    for entry in _DESCRIPTORS.iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:  # the one that the listing itself had open
            continue
    return count


class Memory:
    """The resident memory over time: what it was after the warm-up, and what it is at the end.

    Each is the median of the samples of a tenth of the time after the warm-up: one sample swings with what is
    in flight.

    Args:
        warm_up: Seconds that do not count.
        seconds: Seconds of the whole run.
    """

    def __init__(self, warm_up: float, seconds: float) -> None:
        self._began = time.monotonic()
        window = (seconds - warm_up) / 10
        self._first = (warm_up, warm_up + window)
        self._last = (seconds - window, seconds)
        self._samples: list[tuple[float, int]] = []

    def sample(self) -> None:
        """Note how much it is now."""
        self._samples.append((time.monotonic() - self._began, current()))

    @property
    def latest(self) -> int:
        """The last sample, in bytes."""
        return self._samples[-1][1]

    def growth(self) -> tuple[int, int]:
        """Give the bytes after the warm-up and at the end."""
        return self._median(*self._first), self._median(*self._last)

    def _median(self, begin: float, end: float) -> int:
        found = [held for at, held in self._samples if begin <= at <= end]
        return int(statistics.median(found or [current()]))


@attrs.frozen
class ServerSide:
    """What the server saw: for each number, by its index, requests read whole, SMS, and the last plan."""

    whole: bytes = attrs.field(repr=False)
    sms: bytes = attrs.field(repr=False)
    plan: bytes = attrs.field(repr=False)
    counts: dict[str, int]


class ServerProcess:
    """The soak's server, from entering to leaving. Over pipes, so that its socket is none of the client's."""

    def __init__(self, seed: int, capacity: int) -> None:
        self._command = [sys.executable, "-m", "benchmarks.soak.server", str(seed), str(capacity)]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{self._read()['port']}"
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()

    def report(self) -> ServerSide:
        """Ask what it saw."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("report\n")
        self._process.stdin.flush()
        said = self._read()
        arrays = {name: base64.b64decode(said[name]) for name in ("whole", "sms", "plan")}
        return ServerSide(counts=said["counts"], **arrays)

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line
