"""A batch that is killed (SIGKILL) again and again, and goes on each time: no number gets two SMS.

Invariants:

- Real processes, a real sandbox over real HTTP, a real file. What a process that was killed had claimed is in doubt at
  once for the next, which sees that it runs no more.
- The kills come after a number of results drawn at random, and after a number of steps drawn at random on top, so that
  they fall on any moment of the work.
- `GATEWAY360_KILLS=200` in the environment kills 200 times over 2,000 requests, which takes minutes; without
  it, 6 times over 120.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path
from subprocess import PIPE

import pytest
from support.forked import Forked, Nursery

from gateway360_async import Disposition, Gateway360Client, Ok, Skipped, TransportFailure
from gateway360_async._batch._rows import AHEAD
from gateway360_async.sandbox import Sandbox
from gateway360_async.stores import SqliteStore

KILLS = int(os.environ.get("GATEWAY360_KILLS", "6"))
COUNT = KILLS * 10 if KILLS >= 200 else KILLS * 20
CONCURRENCY = 10
PROGRAM = Path(__file__).parents[1] / "support" / "killed.py"


class Run:
    """One run, in a process of its own."""

    def __init__(self, process: Forked, lines: asyncio.StreamReader) -> None:
        self.process, self.lines = process, lines
        self.taken: list[tuple[int, str, str]] = []

    @classmethod
    async def start(cls, nursery: Nursery, gateway: Sandbox, place: Path) -> Run:
        arguments = (gateway.base_url, str(place), str(COUNT), str(CONCURRENCY))
        process = nursery.start([PROGRAM, *arguments], stdout=PIPE)
        lines = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(lines)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
        return cls(process, lines)

    async def read(self) -> bool:
        """Read a line; whether it was one of a new result."""
        line = (await self.lines.readline()).decode()
        if not line.endswith("\n"):
            return False
        index, result, disposition = line.split()
        self.taken.append((int(index), result, disposition))
        return result != "Skipped"

    async def read_until(self, fresh: int, passes: int) -> bool:
        """Read so many new results, and let some passes of the loop go by. Whether it is still running."""
        while fresh > 0 and not self.lines.at_eof():
            fresh -= await self.read()
        for _ in range(passes):
            await asyncio.sleep(0)
        return not self.lines.at_eof()

    async def kill(self) -> None:
        """Kill it, and read what it had said before."""
        self.process.kill()
        before = -1
        while len(self.taken) > before:
            before = len(self.taken)
            await self.read()
        self.process.wait()


async def killed_again_and_again(
    nursery: Nursery, gateway: Sandbox, place: Path
) -> tuple[int, dict[int, set[str]]]:
    """Run the batch until it has been killed often enough. The kills, and what was said of each entry."""
    seed = random.Random(360)
    said: dict[int, set[str]] = {}
    for kills in range(KILLS):
        run = await Run.start(nursery, gateway, place)
        running = await run.read_until(seed.randrange(COUNT // KILLS), seed.randrange(50))
        await run.kill()
        for index, _, disposition in run.taken:
            said.setdefault(index, set()).add(disposition)
        if not running:
            return kills, said
    return KILLS, said


@pytest.mark.timeout(1800)
async def test_batch_killed_again_and_again_sends_one_sms_a_number(tmp_path):
    place = tmp_path / "pins.db"
    numbers = [str(34600000000 + index) for index in range(COUNT)]
    async with Sandbox(api_key="k3y") as gateway:
        with Nursery("gateway360_async.stores._sqlite") as nursery:
            kills, said = await killed_again_and_again(nursery, gateway, place)
        settings = {"base_url": gateway.base_url, "store": SqliteStore(place)}
        async with Gateway360Client("k3y", sender="PIZZA", **settings) as client:
            results = await client.send_all(numbers, name="1")
        sms = Counter(message.msisdn for message in gateway.messages)

    unknown = [index for index, result in enumerate(results) if isinstance(result, TransportFailure)]
    sys.stderr.write(
        f"\n{kills} kills, {COUNT} entries: at most {max(sms.values())} SMS a number; {len(sms)} with an SMS,"
        f" {len(unknown)} unknown at the end, of which {sum(sms[numbers[index]] for index in unknown)} were sent\n"
    )
    assert kills == KILLS
    assert max(sms.values()) == 1
    for number, result in zip(numbers, results, strict=True):
        assert isinstance(result, (Ok, Skipped, TransportFailure))
        if result.disposition is not Disposition.MAYBE_SENT:
            assert sms[number] == (result.disposition is Disposition.SENT)
    assert len(unknown) <= kills * (CONCURRENCY + AHEAD)
    # What a run has given out as sent, no later run takes back.
    for index, dispositions in said.items():
        if "sent" in dispositions:
            assert dispositions == {"sent"}
            assert results[index].disposition is Disposition.SENT
