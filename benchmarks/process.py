"""The processes of a benchmark: each measurement and each server runs in a fresh one.

Nothing that is stored names this machine: no host name, no path, no user.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any, Final, Self

from . import HOST, ROOT

_PACKAGES: Final = (
    *("attrs", "cattrs", "httpx", "httpcore", "h11", "httpx2", "httpcore2", "httpx-aiohttp", "aiohttp"),
    *("pyreqwest", "httptools", "stamina", "uvloop"),
)
# All that is imported is compiled once, in a directory that is removed after the run, unless there is one to be kept.
_BYTECODE: Final = tempfile.TemporaryDirectory(prefix="gateway360-bench-")
_ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", _BYTECODE.name),
}


class Process:
    """A process that runs `module:function` of this package, and exchanges lines of JSON with this one.

    A coroutine function runs on the event loop `asyncio` or `uvloop`. After `limit` seconds, if any, the process is killed.
    """

    def __init__(
        self,
        function: str,
        *,
        loop: str = "asyncio",
        limit: float | None = 120.0,
        environment: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        order = json.dumps({"function": function, "loop": loop, "arguments": arguments})
        self._command = [sys.executable, "-m", "benchmarks.worker", order]
        self._environment = {**_ENVIRONMENT, **(environment or {})}
        self._limit = limit
        self._gave_up = False

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._timer = threading.Timer(self._limit or threading.TIMEOUT_MAX, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0] is not None:
            self.kill()
        self._process.communicate()  # closes its input, which ends a server
        self._timer.cancel()
        if self._process.returncode not in {0, -signal.SIGKILL}:
            print(self._problem(), file=sys.stderr)
        self._errors.close()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def say(self, **order: Any) -> None:
        """Write a line, unless the process has ended."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(order), file=self._process.stdin, flush=True)

    def hear(self) -> dict[str, Any] | None:
        """Read a line; `None`: the process has ended."""
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def ask(self, **order: Any) -> dict[str, Any]:
        """Write a line, and read the answer."""
        self.say(**order)
        return self.result()

    def result(self) -> dict[str, Any]:
        """Read a line; where there is none, return `{"failed": …}`."""
        said = self.hear()
        if said is not None:
            return said
        self._process.wait()
        if self._gave_up:
            return {"failed": f"no result after {self._limit:g} s", "gave_up_after": self._limit}
        # The last line names the exception; the ones above it name the directories of this machine.
        return {"failed": (self._problem().splitlines() or ["no word"])[-1][:200]}

    def _give_up(self) -> None:
        self._gave_up = True
        self.kill()

    def _problem(self) -> str:
        self._errors.seek(0)
        return self._errors.read().strip()


class Server(Process):
    """A gateway in a process of its own, from `function`: it says its ports first."""

    def __init__(self, function: str = "gateway:count", **arguments: Any) -> None:
        loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
        super().__init__(function, loop=loop, limit=None, **arguments)

    def __enter__(self) -> Self:
        super().__enter__()
        self.hello = self.result()
        self.url = f"http://{HOST}:{self.hello.get('port')}"
        return self


def measure(function: str, **settings: Any) -> dict[str, Any]:
    """Run one function in a fresh process, and return its result. The arguments are those of `Process`."""
    with Process(function, **settings) as process:
        return process.result()


def timed(program: str, clock: str = "perf_counter") -> float:
    """Return the seconds of a program in a fresh interpreter, without its start; with `process_time` those of CPU."""
    source = f"import time\nbegan = time.{clock}()\n{program}\nprint(time.{clock}() - began)"
    command = [sys.executable, "-c", source]
    ran = subprocess.run(command, cwd=ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=True)
    return float(ran.stdout)


def spin() -> float:
    """Return the CPU milliseconds that a fixed piece of Python takes: how fast this machine is just now."""
    program = "sum(i * i for i in range(2_000_000))"
    return statistics.median(timed(program, "process_time") for _ in range(3)) * 1e3


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def environment() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "versions": versions(_PACKAGES),
    }
