"""The processes of a run, and what they run on.

Rules of this module:

- Whatever is measured runs in a process of its own, beside one server process. This one waits.
- Nothing that is stored names this machine: no host name, no path, no user.
- Every process finds its bytecode compiled, as an installed package's is: whatever this shell says about
  writing it, the processes share a directory for it that is gone with the run.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["ROOT", "Measurement", "Server", "environment", "import_times", "measure", "spin"]

ROOT: Final = Path(__file__).resolve().parent.parent
_PACKAGES: Final = (
    "attrs",
    "cattrs",
    "httpx",
    "httpcore",
    "h11",
    "httpx2",
    "httpcore2",
    "httpx-aiohttp",
    "aiohttp",
    "pyreqwest",
    "httptools",
    "stamina",
    "uvloop",
)
_BYTECODE: Final = tempfile.TemporaryDirectory(prefix="gateway360-bench-")
_ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPYCACHEPREFIX": _BYTECODE.name,
}
_LIMIT: Final = 120.0
"""Seconds after which a measurement is given up: ten times what the slowest takes."""


class Server:
    """The server process, from entering to leaving."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._hello: dict[str, Any] = {}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.server"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._hello = json.loads(self._process.stdout.readline())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()  # closes its stdin, which is how it is told to end

    def job(self, *, tls: bool) -> dict[str, Any]:
        """What a job has to know of this server."""
        name, scheme = ("tls", "https") if tls else ("plain", "http")
        return {
            "base_url": f"{scheme}://127.0.0.1:{self._hello[name]}",
            "authority": self._hello["authority"] if tls else None,
        }

    def control(self, target: str) -> dict[str, int]:
        """Ask the server for its counts, or set them back."""
        connection = http.client.HTTPConnection("127.0.0.1", self._hello["plain"], timeout=10.0)
        try:
            connection.request("GET", target)
            counts: dict[str, int] = json.loads(connection.getresponse().read())
            return counts
        finally:
            connection.close()


class Measurement:
    """One worker process. Made, it runs; `result` waits for it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order))
        self._process.stdin.close()
        self._process.stdin = None

    def result(self, limit: float = _LIMIT) -> dict[str, Any]:
        """What it measured, or `{"failed": …}`; after `limit` seconds its process is ended."""
        try:
            said, problem = self._process.communicate(
                timeout=max(0.0, self._began + limit - time.monotonic())
            )
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {"failed": f"no result after {limit:g} s", "gave_up_after": limit}
        try:
            measured: dict[str, Any] = json.loads(said)
        except ValueError:
            # The last line names the exception; the ones above it name the directories of this machine.
            last = (problem.strip().splitlines() or ["no word"])[-1]
            print(problem, file=sys.stderr)
            return {"failed": last[:200]}
        return measured


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Run one measurement to its end."""
    return Measurement(order).result()


_CLOCKED: Final = """
import time
began = time.perf_counter()
{}
print(time.perf_counter() - began)
"""


def import_times(programs: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Seconds for each program, by its name, each in fresh interpreters, taking turns.

    The clock is inside the new interpreter, so its own start-up is not in the time.
    """
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, found in times.items():
            command = [sys.executable, "-c", _CLOCKED.format(programs[name])]
            ran = subprocess.run(
                command, cwd=ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=True
            )
            if turn:  # the first turn fills the caches of the file system, and writes the bytecode
                found.append(float(ran.stdout))
    return times


_SPIN: Final = """
import time
began = time.process_time()
sum(i * i for i in range(2_000_000))
print(time.process_time() - began)
"""


def spin() -> float:
    """Milliseconds of CPU that a fixed piece of Python takes: how fast this machine is just now."""
    command = [sys.executable, "-c", _SPIN]
    runs = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
    ]
    return statistics.median(runs) * 1e3


def environment() -> dict[str, Any]:
    """What the numbers depend on."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }
