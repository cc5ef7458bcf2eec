"""Real workers, a real Redis, SIGKILL: at most one SMS a number, and every request accounted for.

The whole size, which takes minutes:

    GATEWAY360_FLEET_WORKERS=4 GATEWAY360_FLEET_REQUESTS=20000 GATEWAY360_FLEET_KILLS=80 GATEWAY360_FLEET_DOUBLES=1000 \\
    .venv/bin/uv run --all-extras pytest tests/fleet/test_fleet_chaos.py
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from redis.asyncio import Redis

from gateway360_async import Disposition, Gateway360Client, PinRequest
from gateway360_async._settings import FLEET_RATE_VARIABLE, FLEET_VARIABLE
from gateway360_async.cli._fleet_count import Account
from gateway360_async.cli._fleet_processes import RedisServer, Workers
from gateway360_async.cli._fleet_worker import fleet_of, queue_of
from gateway360_async.fleet import FleetQueue, task_of
from gateway360_async.sandbox import Sandbox

WORKERS = int(os.environ.get("GATEWAY360_FLEET_WORKERS", "2"))
REQUESTS = int(os.environ.get("GATEWAY360_FLEET_REQUESTS", "400"))
KILLS = int(os.environ.get("GATEWAY360_FLEET_KILLS", "1"))
DOUBLES = int(os.environ.get("GATEWAY360_FLEET_DOUBLES", "100"))
RATE_A_SECOND = 250

pytestmark = [
    pytest.mark.usefixtures("make_redis"),
    pytest.mark.timeout(60 + 3 * max(REQUESTS, DOUBLES) / RATE_A_SECOND),
]


@contextlib.asynccontextmanager
async def fleet_site(folder, *, rate=RATE_A_SECOND, on_message=None):
    """A gateway and a Redis, and the environment that names them to workers."""
    async with Sandbox(latency=0.03, on_message=on_message) as gateway, RedisServer(folder) as redis:
        environment = {
            FLEET_VARIABLE: redis.url,
            FLEET_RATE_VARIABLE: str(rate),
            "GATEWAY360_BASE_URL": gateway.base_url,
            "GATEWAY360_API_KEY": gateway.api_key,
            "PYTHONPATH": str(Path(__file__).parent),
        }
        yield gateway, redis, environment


def workers_of(count, folder, environment):
    options = ["--max-async-tasks", "50", "--log-level", "WARNING"]
    return Workers(count, "fleet_worker:broker", folder, environment, options)


class Disturbance:
    """Kills a worker, or restarts Redis, when so many SMS were sent: within an exchange, every time."""

    def __init__(self):
        self.random = Random(360)
        every = REQUESTS // (KILLS + 1)
        self.kills = {every * (kill + 1) for kill in range(KILLS)}
        self.restarts = {REQUESTS * 2 // 3}
        self.sent = 0
        self.workers = None
        self.todo = asyncio.Queue()

    def __call__(self, _message):
        self.sent += 1
        if self.sent in self.kills:
            number = self.random.randrange(WORKERS)
            self.workers.kill(number)
            self.todo.put_nowait(number)
        if self.sent in self.restarts:
            self.todo.put_nowait("redis")

    async def run(self, redis):
        while True:
            what = await self.todo.get()
            if what == "redis":
                await redis.restart()
            else:
                await self.workers.replace(what)


async def test_nobody_gets_two_sms_whoever_is_killed(short_folder):
    disturbance = Disturbance()
    account = Account()
    async with fleet_site(short_folder, on_message=disturbance) as (gateway, redis, environment):
        queue, task = queue_of(environment)
        await queue.startup()

        async def enqueue(payload):
            await task.kiq(task=payload)

        async with workers_of(WORKERS, short_folder, environment) as disturbance.workers:
            disturbing = asyncio.create_task(disturbance.run(redis))
            client = Gateway360Client(
                gateway.api_key, sender="X", base_url=gateway.base_url, fleet=fleet_of(environment)
            )
            numbers = [f"346{index:08}" for index in range(REQUESTS)]
            async with client, client.batch(numbers, queue=FleetQueue("chaos", enqueue)) as batch:
                async for item in batch:
                    account.add(item)
            disturbing.cancel()
            await asyncio.wait((disturbing,))
            killed = disturbance.workers.killed
        await queue.shutdown()
        closing = account.close(REQUESTS, Counter(message.msisdn for message in gateway.messages))
    assert closing.problems == ()
    assert closing.most == 1
    assert killed == KILLS
    assert closing.by_disposition[Disposition.NOT_SENT] == 0
    # The number whose SMS was out and whose answer was not when its worker was killed, if it was that one's.
    assert closing.sms == closing.by_disposition[Disposition.SENT] + closing.of_maybe_sent


async def test_a_task_that_two_workers_have_at_once_is_one_sms(short_folder):
    """Each has a queue of its own, and stands still while both are filled with the same tasks."""
    async with fleet_site(short_folder, rate=100_000) as (gateway, _redis, environment):
        queues = ("left", "right")
        async with contextlib.AsyncExitStack() as stack:
            fleets = []
            for word in queues:
                folder = short_folder / word
                folder.mkdir()
                fleet = workers_of(1, folder, environment | {"GATEWAY360_FLEET_QUEUE": word})
                fleets.append(await stack.enter_async_context(fleet))
            redis = Redis.from_url(environment[FLEET_VARIABLE])
            stack.push_async_callback(redis.aclose)
            # Each waits for its queue's first task.
            while (await redis.info("clients"))["blocked_clients"] < len(queues):
                await asyncio.sleep(0.02)
            for fleet in fleets:
                fleet.all[0].signal(signal.SIGSTOP)
            for word in queues:
                queue, task = queue_of(environment, word)
                for index in range(DOUBLES):
                    request = PinRequest(f"346{index:08}", "X")
                    await task.kiq(task=task_of(request, f"double {index}"))
                await queue.shutdown()
            for fleet in fleets:
                fleet.all[0].signal(signal.SIGCONT)
            for word in queues:
                while await redis.xlen(word):
                    await asyncio.sleep(0.02)
        sms = Counter(message.msisdn for message in gateway.messages)
        assert len(gateway.requests) == DOUBLES
        assert sms == {f"346{index:08}": 1 for index in range(DOUBLES)}
