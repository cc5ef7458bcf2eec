"""Who takes what a batch puts in a fleet's queue, and when a person is told about it."""

from __future__ import annotations

import pytest

from gateway360_async.cli import _queue
from gateway360_async.cli._options import BatchOptions
from gateway360_async.cli._queue import QUIET, BatchQueue

QUEUE, GROUP = "gateway360:queue", "workers"


class Calm(BatchQueue):
    """A queue whose trouble is known."""

    trouble: str | None = "none works"
    asked = 0

    async def _trouble(self) -> str | None:
        self.asked += 1
        return self.trouble


def queue_of(url: str, made: type[BatchQueue] = BatchQueue) -> tuple[BatchQueue, list[str]]:
    said: list[str] = []
    return made(BatchOptions("numbers", fleet=url, batch="numbers"), said.append), said


async def test_who_waits_is_told_each_thing_once_and_again_after_there_was_an_outcome():
    queue, said = queue_of("redis://localhost:1/0", Calm)
    await queue._look(0.0, 0, 0)  # nothing to wait for
    await queue._look(QUIET * 5, 0, 0)
    await queue._look(QUIET * 6 - 0.1, 0, 3)
    assert queue.asked == 0
    await queue._look(QUIET * 6, 0, 3)
    await queue._look(QUIET * 7 - 0.1, 0, 3)
    assert (said, queue.asked) == (["none works"], 1)
    await queue._look(QUIET * 7, 0, 3)
    assert (said, queue.asked) == (["none works"], 2)
    queue.trouble = None
    await queue._look(QUIET * 8, 0, 3)
    queue.trouble = "empty"
    await queue._look(QUIET * 9, 0, 3)
    assert said == ["none works", "empty"]
    await queue._look(QUIET * 10, 1, 2)
    await queue._look(QUIET * 11, 1, 2)
    assert said == ["none works", "empty", "empty"]


async def test_why_nothing_comes_is_read_from_the_queue(restarting, monkeypatch):
    queue, _ = queue_of(restarting.url)
    async with queue:
        assert await queue._trouble() == _queue._ELSEWHERE
        await queue._enqueue({})
        assert await queue._trouble() == _queue._NO_WORKER  # there was never one
        restarting.client.xgroup_create(QUEUE, GROUP, "0")
        assert await queue._trouble() == _queue._NO_WORKER  # they have left
        restarting.client.xreadgroup(GROUP, "one", {QUEUE: ">"})
        assert await queue._trouble() is None  # it is at it
        monkeypatch.setattr(_queue, "_GONE", -1)
        assert await queue._trouble() == _queue._NO_WORKER  # nobody has heard of it
        restarting.kill()
        assert await queue._trouble() is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("unix:///run/my redis.sock?db=1", "'unix:///run/my redis.sock?db=1'"),
        ("redis://:secret@localhost", '"$GATEWAY360_FLEET"'),
        ("rediss://localhost?password=secret", '"$GATEWAY360_FLEET"'),
    ],
)
def test_a_url_is_shown_unless_it_may_hold_a_password(url, shown):
    options = BatchOptions("numbers", sender="X", fleet=url, batch="welcome")
    assert options.command() == f"gateway360 batch numbers --sender X --batch welcome --fleet {shown}"
    assert "secret" not in repr(options)
    assert options.fleet_is_secret is ("secret" in url)
