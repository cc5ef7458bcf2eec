"""Races of real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

import attrs
import pytest

from ..._retry import CATCH_UP
from ...stores import Record, State
from .._store_racer import Job, claimed, hashed
from ._bench import GRAIN, LONG, Bench, in_loops

__all__ = ["RaceRules"]

PROGRAM = "from gateway360_async.testing._store_racer import main; main()"


@attrs.define
class Racer:
    """A process of a race, and the lines that it wrote.

    Args:
        kill_at: The number of lines that it says before it is killed; `None`: it comes to its end.
    """

    job: Job
    kill_at: int | None = None
    lines: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])

    def said(self, what: str) -> list[Any]:
        """Return all that it listed under a word."""
        return [item for line in self.lines for item in line.get(what, ())]

    def take(self, line: dict[str, Any]) -> None:
        """Take a line that it wrote, and end it as a crash does after so many of them."""
        self.lines.append(line)
        if len(self.lines) == self.kill_at:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(self.lines[0]["pid"], getattr(signal, "SIGKILL", signal.SIGTERM))


@attrs.define
class Group:
    """A process that was started, and the racers that it is and has forked."""

    process: Process
    racers: list[Racer]

    @classmethod
    async def start(cls, racers: list[Racer]) -> Group:
        """Start them."""
        jobs = json.dumps([attrs.asdict(racer.job) for racer in racers])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = (sys.executable, "-c", PROGRAM, jobs)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env=environment, start_new_session=True
        )
        return cls(process, racers)

    async def _read(self) -> bool:
        """Read a line. `False`: there is none."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if line.endswith(b"\n"):
            said: dict[str, Any] = json.loads(line)
            index: int = said["job"]
            self.racers[index].take(said)
        return bool(line)

    async def connect(self) -> None:
        """Wait until they are connected."""
        while not all(racer.lines for racer in self.racers):
            assert await self._read(), "a process of the race cannot connect"

    async def run(self) -> None:
        """Let them begin, and wait for their ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        while await self._read():
            pass
        await self.process.wait()
        for racer in self.racers:
            assert racer.kill_at is not None or "done" in racer.lines[-1], "a process of the race has failed"

    async def stop(self) -> None:
        """End it and its children, if they have not: one that is not connected yet has not said its number."""
        assert self.process.stdout is not None
        if not self.process.stdout.at_eof():
            with suppress(ProcessLookupError):  # they have just ended
                if hasattr(os, "fork"):
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()
        await self.process.communicate()


@in_loops
class RaceRules(Bench):
    """The rules among processes."""

    async def _race(self, *jobs: Job, kills: dict[int, int] | None = None) -> list[Racer]:
        racers = [Racer(job, (kills or {}).get(job.seed)) for job in jobs]
        groups: list[Group] = []
        try:
            async with asyncio.timeout(50):
                for some in [racers] if hasattr(os, "fork") else [[racer] for racer in racers]:
                    groups.append(await Group.start(some))  # noqa: PERF401  # each is stopped, whatever happens
                for step in (Group.connect, Group.run):
                    # All come to their ends before the first failure is told: two cannot read from one process.
                    steps = (step(group) for group in groups)
                    for failure in await asyncio.gather(*steps, return_exceptions=True):
                        if failure is not None:
                            raise failure
        finally:
            await asyncio.gather(*(group.stop() for group in groups))
        assert len({tuple[str, ...](one.said("ready")) for one in racers}) == 1, "several identities"
        assert all(line.get("all", True) for one in racers for line in one.lines), "a completion was refused"
        return racers

    @pytest.mark.parametrize("processes", [2, 8])
    async def test_each_key_is_claimed_by_exactly_one_process(self, processes: int) -> None:
        factory = self.factory()
        racers = await self._race(*(Job(factory=factory, seed=seed, keys=120) for seed in range(processes)))
        granted: list[int] = [number for one in racers for number in one.said("claimed")]
        assert sorted(granted) == list(range(120))
        store = await self.open()
        seen = await store.peek([Record(hashed(f"race {number}"), LONG) for number in range(120)])
        for one in racers:
            mine: list[int] = one.said("claimed")
            assert [seen[number].token for number in mine] == [f"{one.job.seed}-{number}" for number in mine]
            completed: list[int] = one.said("completed")
            assert {seen[number].state for number in completed} <= {State.COMPLETED}

    async def test_processes_never_exceed_a_limit(self) -> None:
        factory = self.factory()
        jobs = [Job(factory=factory, seed=seed, keys=100, most=37) for seed in range(4)]
        racers = await self._race(*jobs)
        assert sum(len(one.said("claimed")) for one in racers) == 37

    async def test_processes_share_a_rate(self) -> None:
        factory = self.factory()
        racers = await self._race(
            *(Job(factory=factory, seed=seed, permits=75, interval=0.004) for seed in range(3))
        )
        grants = [line["permits"] for one in racers for line in one.lines if "permits" in line]
        total = sum(count for count, _, _ in grants)
        assert total == 225
        first = min(earliest for _, earliest, _ in grants)
        last = max(latest + (count - 1) * 0.004 for count, _, latest in grants)
        assert last - first >= (total - 1) * 0.004 - GRAIN - CATCH_UP / 10

    @pytest.mark.parametrize("seed", range(2))
    async def test_killed_processes_leave_in_doubt_what_they_had_claimed(self, seed: int) -> None:
        factory, rng = self.factory(), random.Random(seed)  # noqa: S311  # moments, no secrets
        job = Job(factory=factory, seed=0, keys=150, lease=0.5, most=100)
        jobs = [attrs.evolve(job, seed=10 * seed + number) for number in range(4)]
        kills = {one.seed: rng.randint(2, 20) for one in jobs[1:]}
        racers = await self._race(*jobs, kills=kills)
        racers += await self._race(attrs.evolve(job, seed=10 * seed + 9))
        store = await self.open()
        await self.advance(store, job.lease + GRAIN)
        granted: list[tuple[int, int]] = [
            (number, one.job.seed) for one in racers for number in one.said("claimed")
        ]
        numbers = [number for number, _ in granted]
        assert len(numbers) == len(set(numbers)), "claimed twice"
        seen = await store.peek([Record(hashed(f"race {number}"), LONG) for number in range(job.keys)])
        for number, owner in granted:
            assert seen[number].token == f"{owner}-{number}"
        assert {answer.state for answer in seen} <= {State.COMPLETED, State.IN_DOUBT, State.FREE}
        completed: set[int] = {number for one in racers for number in one.said("completed")}
        assert {seen[number].state for number in completed} <= {State.COMPLETED}
        assert sum(answer.state is not State.FREE for answer in seen) == job.most, (
            "a count without its record"
        )
        again = await store.claim([claimed(job, number, f"new {number}") for number in range(job.keys)])
        assert not [answer for answer in again if answer.state is State.CLAIMED]
