"""The processes of a fleet on one machine: a Redis of its own, and the engine's workers.

Rules of this module:

- Each process has a session of its own. Ctrl-C at a terminal reaches this process alone, which ends the others; and
  a worker is killed together with whatever it has started.
- None outlives the block that it was started in.
- What they say is in files of the folder. It is shown where one of them does not start, the last line of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ._problems import UsageProblem

__all__ = ["RedisServer", "Worker", "Workers", "require_redis"]

_PROGRAM: Final = "redis-server"
_LOOK_AGAIN: Final = 0.02
"""Seconds between two looks whether Redis serves: it tells nobody."""
_STARTS_WITHIN: Final = 10.0
"""Seconds that Redis has to serve; it takes hundredths, and longer where it reads much back."""
_STOPS_WITHIN: Final = 20.0
"""Seconds that a process has to end before it is killed. The engine looks once a second whether to stop, and then
waits for the calls on their way."""


def require_redis() -> str:
    """Find the server's program.

    Raises:
        UsageProblem: There is none.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise UsageProblem(
            f"no {_PROGRAM} on the path: install Redis (the package is `{_PROGRAM}` on Debian and Ubuntu)"
        )
    return program


class _Child:
    """One process, started and ended any number of times."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._log = log
        self._environment = None if environment is None else {**os.environ, **environment}
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, which is its session's as well; `None`: it was never started."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it has started; nothing, where it has ended."""
        # An id is nobody else's as long as its process, or one that it has started, is there.
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def kill(self) -> None:
        """End it as a power cut would (SIGKILL), with all that it has started."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Let it end what it is at (SIGTERM), for a while, and then end it."""
        if self._process is None or not self.running:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()  # the first of its session only: the engine stops its own
        try:
            async with asyncio.timeout(_STOPS_WITHIN):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            await self.kill()

    def last_line(self) -> str:
        """The last line that it said."""
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return said[-1] if said else "it said nothing"


class RedisServer(_Child):
    """A Redis that keeps what it was told over a restart, in a folder, on a socket that is in it.

    Args:
        folder: An empty folder of yours. Its path is short: a socket's has about a hundred characters.
        fsync: When what it was told is on the disk: `"always"`, before it answers; `"everysec"`.
        port: A port of the loopback instead of the socket.

    Raises:
        UsageProblem: There is no Redis, or it does not start.
    """

    def __init__(self, folder: Path, *, fsync: str = "always", port: int | None = None) -> None:
        self._socket = folder / "redis.sock"
        self._port = port
        where = ("--port", "0", "--unixsocket", str(self._socket))
        if port is not None:
            where = ("--port", str(port), "--bind", "127.0.0.1")
        super().__init__(
            [
                require_redis(),
                *where,
                *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", fsync),
                *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
            ],
            folder / "redis.log",
        )

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"unix://{self._socket}" if self._port is None else f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start it. Returns once it serves, with all that it had kept."""
        await super().start()
        try:
            async with asyncio.timeout(_STARTS_WITHIN):
                while self.running and not await self._serves():  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            await self.kill()
        if not self.running:
            raise UsageProblem(f"{_PROGRAM} did not start: {self.last_line()}")

    async def restart(self) -> None:
        """Stop it, and start it again with what it has kept."""
        await self.stop()
        await self.start()

    async def _serves(self) -> bool:
        """Whether it answers. While it still reads what it had kept, it answers that it does."""
        try:
            if self._port is None:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        with suppress(OSError):
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
                await writer.wait_closed()
        return False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()  # the folder goes as well


class Worker(_Child):
    """One `taskiq worker`, with one process that works.

    Args:
        broker: The engine's broker, as `module:name`.
        log: The file for what it says.
        environment: What it finds in its environment, beside what this process does.
        options: More options of the engine's.
    """

    def __init__(
        self, broker: str, log: Path, environment: Mapping[str, str], options: Sequence[str] = ()
    ) -> None:
        command = [sys.executable, "-m", "taskiq", "worker", broker, "--workers", "1", *options]
        super().__init__(command, log, environment)


class Workers:
    """The workers of a fleet, from entering to leaving.

    Args:
        count: How many.
        broker: The engine's broker, as `module:name`.
        folder: For what they say.
        environment: What they find in their environment.
        options: More options of the engine's.
    """

    def __init__(
        self,
        count: int,
        broker: str,
        folder: Path,
        environment: Mapping[str, str],
        options: Sequence[str] = (),
    ) -> None:
        self.all: Final = [
            Worker(broker, folder / f"worker-{number}.log", environment, options)
            for number in range(1, count + 1)
        ]
        self.killed = 0
        """How many were killed so far."""

    def kill(self, number: int) -> None:
        """Kill the worker of that number, from 0. It is not waited for: this may be called anywhere."""
        self.killed += 1
        self.all[number].signal(signal.SIGKILL)

    async def replace(self, number: int) -> None:
        """Put another one in the place of a worker, which is killed if it still works."""
        await self.all[number].kill()
        await self.all[number].start()

    async def __aenter__(self) -> Self:
        try:
            for worker in self.all:
                await worker.start()
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                await asyncio.gather(*(worker.stop() for worker in self.all))
        finally:
            await self._kill()

    async def _kill(self) -> None:
        for worker in self.all:
            await worker.kill()
