"""Questions that share round trips: what is asked, when it fails, and what a close leaves."""

from __future__ import annotations

import asyncio
import math

import pytest
from support.scripted_store import AWAY, BROKEN, Gate

from gateway360_async import InvalidConfiguration, StoreError
from gateway360_async._runner import _lanes
from gateway360_async._runner._lanes import Lane, ask_store


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(_lanes, "_FIRST_PAUSE", 0.0)


class Asker:
    """Gives each item back, and does first what the test says."""

    def __init__(self, *outcomes, gate=None) -> None:
        self.trips = []
        self.outcomes = list(outcomes)
        self.gate = gate

    async def __call__(self, items):
        self.trips.append(list(items))
        if self.gate is not None:
            await self.gate(items)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        return list(items) if outcome is None else outcome


def put(lane, *items, until=math.inf, gap=0.0):
    loop = asyncio.get_running_loop()
    return [lane.put([item], loop, until=until, gap=gap) for item in items]


async def test_lane_during_a_round_trip_collects_for_the_next():
    ask = Asker(gate=Gate())
    lane = Lane(ask, 9.0)
    first = put(lane, 1)
    await ask.gate.reached.wait()
    rest = put(lane, 2, 3)
    ask.gate.opened.set()
    assert await asyncio.gather(*first, *rest) == [[1], [2], [3]]
    assert ask.trips == [[1], [2, 3]]


async def test_lane_with_a_gap_waits_for_others():
    ask = Asker()
    lane = Lane(ask, 9.0)
    first = put(lane, 1, gap=0.01)
    await asyncio.sleep(0)
    second = put(lane, 2, gap=0.01)
    assert await asyncio.gather(*first, *second) == [[1], [2]]
    assert ask.trips == [[1, 2]]


async def test_lane_with_many_asks_in_blocks():
    ask = Asker()
    lane = Lane(ask, 9.0)
    futures = put(lane, *range(1001))
    assert await asyncio.gather(*futures) == [[item] for item in range(1001)]
    assert [len(trip) for trip in ask.trips] == [500, 500, 1]


async def test_lane_gives_each_block_its_own_answers():
    ask = Asker()
    lane = Lane(ask, 9.0)
    loop = asyncio.get_running_loop()
    blocks = [list(range(499)), [499, 500], [501]]
    futures = [lane.put(block, loop, until=math.inf) for block in blocks]
    assert await asyncio.gather(*futures) == blocks
    assert [len(trip) for trip in ask.trips] == [501, 1]


async def test_lane_does_not_ask_for_a_caller_that_has_gone():
    ask = Asker()
    lane = Lane(ask, 9.0)
    gone, here = put(lane, 1, 2)
    gone.cancel()
    assert await here == [2]
    (gone,) = put(lane, 3)
    gone.cancel()
    assert await lane.aclose(9.0) == 0
    assert ask.trips == [[2]]


async def test_lane_answers_the_others_of_a_caller_that_goes_meanwhile():
    ask = Asker(gate=Gate())
    lane = Lane(ask, 9.0)
    gone, here = put(lane, 1, 2)
    await ask.gate.reached.wait()
    gone.cancel()
    ask.gate.opened.set()
    assert await here == [2]


async def test_lane_asks_an_absent_store_again_until_its_time_is_over():
    ask = Asker(AWAY, AWAY)
    lane = Lane(ask, 9.0)
    patient, hasty = put(lane, 1)[0], put(lane, 2, until=-math.inf)[0]
    with pytest.raises(StoreError, match="is away") as caught:
        await hasty
    assert caught.value is not AWAY  # each has a traceback of its own
    assert caught.value.passing
    assert await patient == [1]
    assert ask.trips == [[1, 2], [1], [1]]


async def test_persistent_lane_goes_on_after_the_future_has_failed():
    ask = Asker(AWAY, AWAY)
    lane = Lane(ask, 9.0, persistent=True)
    (hasty,) = put(lane, 1, until=-math.inf)
    with pytest.raises(StoreError):
        await hasty
    assert await lane.aclose(9.0) == 0
    assert ask.trips == [[1], [1], [1]]


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (BROKEN, "is broken"),
        (ValueError("bad luck"), "ValueError: bad luck"),
        (InvalidConfiguration("url", "is wrong", "a right one"), "url"),
        (asyncio.CancelledError(), "has broken off its answer"),
        ([], "too few answers"),
    ],
)
async def test_lane_fails_all_that_wait_where_asking_again_is_no_help(outcome, says):
    ask = Asker(outcome, gate=Gate())
    lane = Lane(ask, 9.0, persistent=True)
    first = put(lane, 1)
    await ask.gate.reached.wait()
    rest = put(lane, 2)
    ask.gate.opened.set()
    failures = await asyncio.gather(*first, *rest, return_exceptions=True)
    assert all(isinstance(failure, StoreError) and says in str(failure) for failure in failures)
    assert ask.trips == [[1]]
    assert await asyncio.gather(*put(lane, 3)) == [[3]]


async def test_lane_leaves_a_store_that_hangs():
    ask = Asker(gate=Gate())
    lane = Lane(ask, 0.0)
    (future,) = put(lane, 1, until=-math.inf)
    with pytest.raises(StoreError, match="gave no answer within 0 s") as caught:
        await future
    assert caught.value.passing


async def test_answered_passes_a_cancellation_of_the_caller_on():
    gate = Gate()
    task = asyncio.create_task(ask_store(9.0, gate, None))
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_counts_what_is_under_way_and_what_waits():
    ask = Asker(gate=Gate())
    lane = Lane(ask, 9.0, persistent=True)
    first = put(lane, 1)
    await ask.gate.reached.wait()
    rest = put(lane, 2)
    assert await lane.aclose(0.0) == 2
    failures = await asyncio.gather(*first, *rest, *put(lane, 3), return_exceptions=True)
    assert ["was closed" in str(failure) for failure in failures] == [True] * 3
    assert await lane.aclose(0.0) == 0


async def test_closing_that_is_cancelled_leaves_no_task():
    ask = Asker(gate=Gate())
    lane = Lane(ask, 9.0)
    (future,) = put(lane, 1)
    await ask.gate.reached.wait()
    closing = asyncio.create_task(lane.aclose(9.0))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(StoreError, match="was closed"):
        await future
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_lane_outlives_a_store_that_fails_before_it_waits():
    def ask(_items):
        raise LookupError("no coroutine")

    lane = Lane(ask, 9.0)
    with pytest.raises(StoreError, match="LookupError: no coroutine"):
        await put(lane, 1)[0]
    with pytest.raises(StoreError, match="LookupError: no coroutine"):
        await put(lane, 2)[0]
