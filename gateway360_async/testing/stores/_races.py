"""Races of real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from asyncio.subprocess import PIPE, Process
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
    """A process of a race, and the lines that it wrote."""

    process: Process
    job: Job
    lines: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])

    @classmethod
    async def start(cls, job: Job) -> Racer:
        """Start it."""
        command = (sys.executable, "-c", PROGRAM, json.dumps(attrs.asdict(job)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
        return cls(process, job)

    async def read(self) -> bool:
        """Read a line. `False`: there is none."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if line.endswith(b"\n"):
            self.lines.append(json.loads(line))
        return bool(line)

    async def run(self, kill_at: int | None = None) -> None:
        """Let it begin; kill it when it has said so many lines, or else let it come to its end."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        while await self.read():
            if len(self.lines) == kill_at:
                self.process.kill()
        await self.process.wait()
        assert kill_at is not None or self.lines[-1:] == [{"done": True}], "a process of the race has failed"

    async def stop(self) -> None:
        """End it, if it has not."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    def said(self, what: str) -> list[Any]:
        """Return all that it listed under a word."""
        return [item for line in self.lines for item in line.get(what, ())]


@in_loops
class RaceRules(Bench):
    """The rules among processes."""

    async def _race(self, *jobs: Job, kills: dict[int, int] | None = None) -> list[Racer]:
        racers: list[Racer] = []
        try:
            async with asyncio.timeout(50):
                for job in jobs:
                    racers.append(await Racer.start(job))  # noqa: PERF401  # each is stopped, whatever happens
                begun = await asyncio.gather(*(one.read() for one in racers))
                assert all(begun), "a process of the race cannot connect"
                runs = (one.run((kills or {}).get(one.job.seed)) for one in racers)
                # All come to their ends before the first failure is told: two cannot read from one process.
                for failure in await asyncio.gather(*runs, return_exceptions=True):
                    if failure is not None:
                        raise failure
        finally:
            await asyncio.gather(*(one.stop() for one in racers))
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
            *(Job(factory=factory, seed=seed, permits=150, interval=0.002) for seed in range(3))
        )
        grants = [line["permits"] for one in racers for line in one.lines if "permits" in line]
        total = sum(count for count, _, _ in grants)
        assert total == 450
        first = min(earliest for _, earliest, _ in grants)
        last = max(latest + (count - 1) * 0.002 for count, _, latest in grants)
        assert last - first >= (total - 1) * 0.002 - GRAIN - CATCH_UP / 10

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
