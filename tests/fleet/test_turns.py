"""Turns: how many a fleet gives, to the microsecond, and who gets them."""

from __future__ import annotations

import asyncio
import contextvars
from importlib.resources import files

import pytest
from fleet_parts import linked
from loopback import free_port

from gateway360_async import ClientClosed, FleetError
from gateway360_async._redis import _turns as turns_module
from gateway360_async._redis._link import Link
from gateway360_async._redis._turns import Turns
from gateway360_async._secret import Secret

KEY = "fleet:turns:x"
SOURCE = files("gateway360_async._redis").joinpath("turns.lua").read_text("utf-8")
NOW = 1_700_000_000_000_000
# The script as it is, with a clock that stands still.
STANDING = (
    "local real = redis\n"
    "local redis = {call = function(name, ...)\n"
    f"  if name == 'TIME' then return {{'{NOW // 1_000_000}', '0'}} end\n"
    "  return real.call(name, ...)\n"
    "end}\n" + SOURCE
)
APART, AHEAD, CATCH_UP = 10_000, 50_000, 50_000


@pytest.fixture
def ask(redis):
    """Ask for turns with the next one so many microseconds from now; `None`: nobody has asked before."""

    def ask(wanted, following, apart=APART):
        if following is not None:
            redis.client.set(KEY, NOW + following)
        given, delay = redis.client.eval(STANDING, 1, KEY, apart, wanted, AHEAD, CATCH_UP)
        return (given, delay, float(redis.client.get(KEY)) - NOW), redis.client.pttl(KEY)

    return ask


@pytest.mark.parametrize(
    ("wanted", "following", "given", "delay", "after"),
    [
        pytest.param(1, None, 1, 0, 10_000, id="the first of all"),
        pytest.param(99, None, 6, 0, 60_000, id="no further ahead than the horizon"),
        pytest.param(3, 0, 3, 0, 30_000, id="no more than are wanted"),
        pytest.param(99, 20_000, 4, 20_000, 60_000, id="after those of others"),
        pytest.param(99, 50_000, 1, 50_000, 60_000, id="the last one on the horizon"),
        pytest.param(99, 50_001, 0, 1, 50_001, id="one behind the horizon is none"),
        pytest.param(1, 75_000, 0, 25_000, 75_000, id="when the next one comes into sight"),
        pytest.param(1, -30_000, 1, -30_000, -20_000, id="one that nobody took is made up for"),
        pytest.param(99, -50_000, 11, -50_000, 60_000, id="those of the last moments"),
        pytest.param(99, -9_000_000, 11, -50_000, 60_000, id="but no others"),
    ],
)
def test_turns_are_given_to_the_microsecond(ask, wanted, following, given, delay, after):
    said, _ = ask(wanted, following)
    assert said == (given, delay, after)


def test_a_rate_that_is_no_whole_number_of_microseconds_loses_nothing(ask):
    said, _ = ask(30, 0, apart=1_000_000 / 333)
    assert said == (17, 0, pytest.approx(17 * 1_000_000 / 333, abs=0.25))


def test_a_rate_of_one_in_an_hour_stands_for_that_hour(ask):
    an_hour = 3_600_000_000
    said, lasts = ask(5, None, apart=an_hour)
    assert said == (1, 0, an_hour)
    assert an_hour // 1000 < lasts <= an_hour // 1000 + 1000
    assert ask(1, an_hour, apart=an_hour)[0] == (0, an_hour - AHEAD, an_hour)


def test_its_memory_ends_when_it_makes_no_difference(ask):
    _, lasts = ask(1, -9_000_000)
    assert 0 < lasts <= 1000


class Scripted:
    """Gives turns as it is told to, and none behind them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.wanted = []
        self.asked = asyncio.Event()

    async def run(self, script, keys, args, *, patience):
        assert (script, keys, patience) == ("turns", [KEY], 0.0)
        self.wanted.append(args[1])
        self.asked.set()
        answer = self.answers.pop(0) if self.answers else asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, tuple) else await answer


def turns_on(link, rate=1000.0, patience=5.0):
    return Turns(link, KEY, rate, patience=patience)


async def test_one_question_is_asked_for_all_who_wait_and_who_waited_longest_is_first():
    link = Scripted((3, 0), (2, -10_000))
    turns, order = turns_on(link), []

    async def wait(name):
        await turns.wait(5.0)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for name in range(5):
            group.create_task(wait(name))
    await turns.aclose()
    assert order == [0, 1, 2, 3, 4]
    assert link.wanted == [5, 2]


async def test_whoever_gives_up_leaves_its_turn_to_the_next():
    link = Scripted((1, 1000), (1, 0))
    turns = turns_on(link)
    first, second = (asyncio.create_task(turns.wait(5.0)) for _ in range(2))
    await link.asked.wait()
    first.cancel()
    await second
    assert first.cancelled()
    assert link.wanted == [2]
    await turns.aclose()


REQUEST_ID = contextvars.ContextVar("request id", default="none")


async def test_loop_of_permits_runs_in_no_callers_context():
    """Else the trace of the first request would collect the questions for all that come later."""
    seen = []

    class Noting(Scripted):
        async def run(self, *args, **settings):
            seen.append(REQUEST_ID.get())
            return await super().run(*args, **settings)

    turns = turns_on(Noting((1, 0)))
    REQUEST_ID.set("the first request")
    await turns.wait(5.0)
    await turns.aclose()
    assert seen == ["none"]


async def test_a_turn_that_nobody_wants_any_more_is_nobodys():
    link = Scripted((1, 1000))
    turns = turns_on(link)
    only = asyncio.create_task(turns.wait(5.0))
    await link.asked.wait()
    giving = turns._giving
    only.cancel()
    await giving
    assert only.cancelled()
    assert turns._giving is None
    await turns.aclose()


async def test_where_others_have_taken_all_it_asks_again():
    link = Scripted((0, 10), (1, 0))
    turns = turns_on(link)
    await turns.wait(5.0)
    assert link.wanted == [1, 1]
    await turns.aclose()


async def test_two_processes_get_no_more_than_the_rate_and_both_get_some(redis):
    seconds, microseconds = redis.client.time()
    began = seconds * 1_000_000 + microseconds
    redis.client.set(KEY, began)
    got = {"one": 0, "other": 0}

    async def work(name, turns):
        while sum(got.values()) < 100:
            async with turns:
                got[name] += 1

    async with linked(redis) as one, linked(redis) as other:
        each = {"one": turns_on(one), "other": turns_on(other)}
        async with asyncio.TaskGroup() as group:
            for name, turns in each.items():
                for _ in range(5):
                    group.create_task(work(name, turns))
        for turns in each.values():
            await turns.aclose()
    assert min(got.values()) > 0
    # A turn moves the next one by a millisecond, or more where some were not made up for.
    assert float(redis.client.get(KEY)) - began >= sum(got.values()) * 1000


async def test_an_attempt_waits_for_an_absent_redis_for_as_long_as_it_has_patience(restarting):
    async with linked(restarting) as link:
        turns = turns_on(link, patience=0.0)
        restarting.kill()
        with pytest.raises(FleetError, match="cannot be asked"):
            await turns.__aenter__()
        patient = asyncio.create_task(turns.wait(60.0))
        impatient = asyncio.create_task(turns.wait(0.0))
        with pytest.raises(FleetError, match="cannot be asked"):
            await impatient
        assert not patient.done()
        restarting.start()
        await patient
        await turns.aclose()


async def test_whoever_waits_ahead_of_a_call_waits_without_end_but_can_be_cancelled():
    async with _linked_to_nothing() as link:
        turns = turns_on(link, patience=0.0)
        ahead = asyncio.create_task(turns.ahead().__aenter__())
        cancelled = asyncio.create_task(turns.ahead().__aenter__())
        with pytest.raises(FleetError):
            await turns.wait(0.0)
        cancelled.cancel()
        await asyncio.wait((cancelled,))
        with pytest.raises(FleetError):
            await turns.wait(0.0)
        assert cancelled.cancelled()
        assert not ahead.done()
        await turns.aclose()
        with pytest.raises(ClientClosed):  # there will be no call
            await ahead
        with pytest.raises(ClientClosed):
            await turns.wait(60.0)


async def test_what_waiting_does_not_help_is_raised_at_once(redis):
    redis.client.lpush(KEY, "not ours")
    async with linked(redis) as link:
        turns = turns_on(link)
        waits = (turns.wait(60.0), turns.ahead().__aenter__())
        refused = await asyncio.gather(*waits, return_exceptions=True)
        await turns.aclose()
    assert [str(error) for error in refused] == [
        "the fleet's Redis refuses (WRONGTYPE); expected one that takes what it is told"
    ] * 2


async def test_a_turn_that_was_taken_ahead_is_the_blocks_first_attempts_and_no_others(redis):
    async with linked(redis) as link:
        slow, fast = turns_on(link, rate=0.001), Turns(link, f"{KEY}2", 1000.0, patience=5.0)
        async with slow.ahead():
            async with fast:  # another fleet's
                pass

            async def attempt():
                async with slow:
                    return True

            assert await asyncio.create_task(attempt())  # a call runs in a task of its own
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await attempt()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await attempt()
        await slow.aclose()
        await fast.aclose()


def _linked_to_nothing():
    class Nowhere:
        url = f"redis://127.0.0.1:{free_port()}"

    return linked(Nowhere())


def test_closing_what_never_gave_a_turn_closes_nothing():
    link = Link(Secret("redis://127.0.0.1:1"), "fleet:memory")
    asyncio.run(turns_on(link).aclose())


async def test_of_turns_that_are_late_one_is_used_and_the_others_are_lost(monkeypatch):
    """Whoever was held up does not make up for it all at once; and whoever always is gets on all the same."""
    monkeypatch.setattr(turns_module, "_LATE", -1.0)  # as if each answer had been a second on its way
    link = Scripted((4, 0), (2, 0))
    turns = turns_on(link)
    waiting = [asyncio.create_task(turns.wait(5.0)) for _ in range(3)]
    while len(link.wanted) < 3:
        await asyncio.sleep(0)
    assert [turn.done() for turn in waiting] == [True, True, False]
    assert link.wanted == [3, 2, 1]
    waiting[2].cancel()
    await turns.aclose()
