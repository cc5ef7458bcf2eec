"""The command `gateway360` in processes as any, forked from one that has imported it: its start takes half a second."""

from __future__ import annotations

import asyncio
import os

from support.forked import Forked, Nursery

COMMAND = ["-m", "gateway360_async.cli"]
IMPORTS = (
    *("gateway360_async.cli._app", "gateway360_async.stores._sqlite", "gateway360_async.transports._direct"),
    *("httpx", "phonenumbers", "rich.progress", "rich.table", "typer._adapters", "typer.rich_utils"),
)


class Command:
    """A command whose streams the event loop reads, as those of `asyncio.subprocess.Process`."""

    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    _process: Forked

    @classmethod
    async def start(cls, nursery: Nursery, arguments: list[str], environment: dict[str, str]) -> Command:
        command = cls()
        command.stdout, out = await _pipe()
        command.stderr, err = await _pipe()
        with out, err:
            command._process = nursery.start([*COMMAND, *arguments], env=environment, stdout=out, stderr=err)
        return command

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()

    async def communicate(self) -> tuple[bytes, bytes]:
        said = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await asyncio.to_thread(self._process.wait)
        return said


async def _pipe():
    """Make a pipe, and give its end to read and its end to write."""
    read, write = os.pipe()
    stream = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(read, "rb", 0)
    )
    return stream, os.fdopen(write, "wb", 0)
