"""The processes of the conformance suite's races: each writes a line for each grant, and may be killed anywhere.

    python -c "from gateway360_async.testing._store_racer import main; main()" JOBS

The process imports the stores and takes the first job, and forks a process for each of the others: a start of Python
costs more than the race. Without a fork, it can have one job only. Each line has its job's index as `job`. The
first line of a job is `{"ready": [epoch, secret], "pid": pid}`, the last one `{"done": true}`. All jobs begin when the
standard input ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

import attrs

from .._exceptions import StoreError
from ..stores._base import Claim, Completion, Count, Record, State, Store

__all__ = ["Job", "claimed", "hashed", "main", "until_there"]

_PASSES_WITHIN: Final = 20.0
"""Seconds after which a passing trouble is a failure."""


@attrs.frozen(kw_only=True)
class Job:
    """The work of a process in a race.

    Args:
        factory: `module:function` and its arguments, which make the store.
        seed: The seed of the order of its keys, and of which claims it completes.
        keys: Keys to claim, each once.
        lease: Seconds.
        most: The limit that each claim counts on; `None`: there is none.
        permits: Permits to take.
        interval: Seconds between two permits.
    """

    factory: tuple[str, ...]
    seed: int
    keys: int = 0
    lease: float = 3600.0
    most: int | None = None
    permits: int = 0
    interval: float = 0.001


def hashed(name: str) -> bytes:
    """Return a key of 16 bytes."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


async def until_there(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again for as long as a trouble passes, as a client does."""
    until = time.monotonic() + _PASSES_WITHIN
    while True:
        try:
            return await ask()
        except StoreError as error:
            if not error.passing or time.monotonic() > until:
                raise
        await asyncio.sleep(0.02)


def claimed(job: Job, number: int, token: str) -> Claim:
    """Return the claim that a process of this job makes for a key."""
    counts = () if job.most is None else (Count(hashed("race"), job.most, None),)
    record = Record(hashed(f"race {number}"), 3600.0)
    return Claim(token=token, lease=job.lease, record=record, counts=counts)


async def _race(store: Store, job: Job, say: Callable[[dict[str, Any]], None]) -> None:
    """Claim all keys in a random order, some at a time; complete half of what was granted; then take permits."""
    rng = random.Random(job.seed)  # noqa: S311  # an order, no secret
    left = list(range(job.keys))
    rng.shuffle(left)
    while left:
        some, left = left[: (size := rng.randint(1, 10))], left[size:]
        claims = {number: claimed(job, number, f"{job.seed}-{number}") for number in some}
        answers = await until_there(lambda claims=claims: store.claim(list(claims.values())))  # type: ignore[misc]
        pairs = zip(claims, answers, strict=True)
        granted = [number for number, answer in pairs if answer.state is State.CLAIMED]
        say({"claimed": granted})
        ended = [number for number in granted if rng.random() < 0.5]
        completions = [
            Completion(claim=claims[number], state=State.COMPLETED, result="sent") for number in ended
        ]
        done = await until_there(lambda completions=completions: store.complete(completions))  # type: ignore[misc]
        say({"completed": ended, "all": all(done)})
    taken = 0
    while taken < job.permits:
        before = await store.now()
        count, first = await store.permits(hashed("race"), job.permits - taken, job.interval)
        after = await store.now()
        taken += count
        if count:
            say({"permits": [count, before + first, after + first]})
        else:
            await asyncio.sleep(first)


async def _run(index: int, job: Job, make: Callable[[], Store]) -> None:
    say = partial(_say, index)
    store = make()
    identity = await until_there(store.connect)
    try:
        say({"ready": [identity.epoch, identity.secret.hex()], "pid": os.getpid()})
        await asyncio.to_thread(sys.stdin.read)
        await _race(store, job, say)
        say({"done": True})
    finally:
        await store.aclose()


def _say(index: int, line: dict[str, Any]) -> None:
    # The processes of a race have one output, and a pipe does not mix up what is written at once and this short.
    os.write(1, (json.dumps({"job": index} | line) + "\n").encode())


def _maker(job: Job) -> Callable[[], Store]:
    module, _, function = job.factory[0].partition(":")
    return partial(getattr(import_module(module), function), *job.factory[1:])


def main() -> None:
    """Run the jobs that the last argument gives as JSON."""
    jobs = [Job(**given | {"factory": tuple(given["factory"])}) for given in json.loads(sys.argv[-1])]
    first, *others = [(index, job, _maker(job)) for index, job in enumerate(jobs)]
    children: list[int] = []
    for other in others:
        if not (child := os.fork()):
            asyncio.run(_run(*other))
            return
        children.append(child)
    asyncio.run(_run(*first))
    for child in children:
        os.waitpid(child, 0)
