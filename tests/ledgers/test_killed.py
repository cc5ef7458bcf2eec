"""A batch that is killed (SIGKILL) again and again, and goes on each time: no number gets two SMS.

Rules of this module:

- Real processes, a real sandbox over real HTTP, a real file. The kills come after a number of results drawn at
  random, and after a number of steps drawn at random on top, so that they fall on any moment of the work.
- `GATEWAY360_KILLS=200` in the environment kills 200 times over 2,000 requests, which takes minutes; without
  it, 12 times over 240.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from gateway360_async import Disposition, Gateway360Client, Ok, Skipped, TransportFailure
from gateway360_async.ledgers import SqliteLedger
from gateway360_async.sandbox import Sandbox

KILLS = int(os.environ.get("GATEWAY360_KILLS", "12"))
COUNT = KILLS * 10 if KILLS >= 200 else KILLS * 20
CONCURRENCY = 10
PROGRAM = Path(__file__).with_name("killed.py")


class Run:
    """One run, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.taken: list[tuple[int, str, str]] = []

    @classmethod
    async def start(cls, gateway: Sandbox, ledger: Path) -> Run:
        arguments = (gateway.base_url, str(ledger), str(COUNT), str(CONCURRENCY))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *arguments, stdout=asyncio.subprocess.PIPE
        )
        return cls(process)

    async def read(self) -> bool:
        """Read a line; whether it was one of a new result."""
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        if not line.endswith("\n") or line == "begun\n":
            return False
        index, result, disposition = line.split()
        self.taken.append((int(index), result, disposition))
        return result != "Skipped"

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        while await self._ended():
            pass
        await self.process.wait()

    async def _ended(self) -> bool:
        before = len(self.taken)
        await self.read()
        return len(self.taken) > before


@pytest.mark.timeout(1800)
async def test_however_often_a_batch_is_killed_no_number_gets_two_sms_and_every_one_is_accounted_for(
    tmp_path, record_property
):
    seed = random.Random(360)
    ledger = tmp_path / "batch.ledger"
    said: dict[int, set[str]] = {}
    kills = runs = 0
    async with Sandbox(api_key="k3y") as gateway:
        while kills < KILLS:
            run = await Run.start(gateway, ledger)
            runs += 1
            assert run.process.stdout is not None
            assert await run.process.stdout.readline() == b"begun\n"
            # Up to 20 new results, and a moment that is no result's.
            fresh = seed.randrange(2 * COUNT // KILLS)
            while fresh > 0 and run.process.returncode is None and not run.process.stdout.at_eof():
                fresh -= await run.read()
            for _ in range(seed.randrange(50)):
                await asyncio.sleep(0)
            ended = run.process.stdout.at_eof()
            await run.kill()
            kills += not ended
            for index, _, disposition in run.taken:
                said.setdefault(index, set()).add(disposition)
            if ended:
                break
        async with Gateway360Client("k3y", base_url=gateway.base_url, sender="PIZZA") as client:
            numbers = [str(34600000000 + index) for index in range(COUNT)]
            results = await client.send_all(numbers, ledger=SqliteLedger(ledger))
        per_number = Counter(message.msisdn for message in gateway.messages)

    unknown = [index for index, result in enumerate(results) if isinstance(result, TransportFailure)]
    record_property("figures", f"{kills} kills, {COUNT} entries, {len(unknown)} unknown")
    print(f"\n{kills} kills in {runs} runs over {COUNT} entries: most SMS a number {max(per_number.values())},"
          f" {len(per_number)} numbers with an SMS, {len(unknown)} entries unknown at the end")  # fmt: skip
    assert max(per_number.values()) == 1
    assert all(isinstance(result, (Ok, Skipped, TransportFailure)) for result in results)
    for index, result in enumerate(results):
        sent = per_number[numbers[index]]
        if result.disposition is Disposition.SENT:
            assert sent == 1
        elif result.disposition is Disposition.NOT_SENT:
            assert sent == 0
    assert len(unknown) <= kills * CONCURRENCY
    # What a run has given out as settled, no later run takes back.
    for index, dispositions in said.items():
        if "sent" in dispositions:
            assert results[index].disposition is Disposition.SENT
            assert dispositions == {"sent"}
