"""Places and deadlines: the order of waiters, and the cause of a cancellation. No clock of its own runs."""

from __future__ import annotations

import asyncio

import pytest

from gateway360_async._bounds import Deadline, Deadlines, Places


class Clock:
    """An event loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, object, tuple[object, ...]]] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when, callback, *args, context):
        clock, timer = self, (when, callback, args)
        self.timers.append(timer)
        self.made += 1

        class Handle:
            def cancel(self) -> None:
                if timer in clock.timers:
                    clock.timers.remove(timer)

        return Handle()

    def move_to(self, now: float) -> None:
        self.now = now
        for timer in [timer for timer in self.timers if timer[0] <= now]:
            self.timers.remove(timer)
            timer[1](*timer[2])


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    current = asyncio.current_task
    monkeypatch.setattr(asyncio, "current_task", lambda loop=None: current())
    return clock


async def until_begun() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


class Bounded:
    """A task that waits for ever under a deadline, and says whose cancellation ended it."""

    def __init__(self, deadlines: Deadlines, clock: Clock, seconds: float) -> None:
        self.passed: bool | None = None
        self.gate = asyncio.Event()
        self.task = asyncio.create_task(self._run(deadlines, clock, seconds))

    async def _run(self, deadlines: Deadlines, clock: Clock, seconds: float) -> None:
        deadline = Deadline(clock, clock.now, seconds)
        deadlines.begin(deadline)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.passed = deadlines.end(deadline)
            if not self.passed:
                raise
        else:
            assert not deadlines.end(deadline)


# --- places ----------------------------------------------------------------------------------------------------


async def test_places_are_given_in_the_order_of_asking():
    places = Places(1)
    await places.take()
    served: list[str] = []

    async def wait(name: str) -> None:
        await places.take()
        served.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in "abc"]
    await until_begun()
    for _ in waiting:
        places.give()
        assert not places.take_now()  # it is on its way to the longest waiter
        await until_begun()
    assert served == ["a", "b", "c"]
    places.give()
    assert places.take_now()


async def test_place_is_not_taken_by_a_cancelled_waiter():
    places = Places(0)
    first, second = (asyncio.create_task(places.take()) for _ in range(2))
    await until_begun()
    first.cancel()
    await until_begun()
    places.give()
    await second


async def test_place_given_while_its_waiter_is_cancelled_moves_on():
    places = Places(0)
    first, second = (asyncio.create_task(places.take()) for _ in range(2))
    await until_begun()
    places.give()
    first.cancel()
    await until_begun()
    assert first.cancelled()
    await second
    assert not places.take_now()


# --- deadlines -------------------------------------------------------------------------------------------------


async def test_usual_deadlines_share_one_timer_and_pass_in_order(clock):
    deadlines = Deadlines(30.0)
    calls = []
    for second in range(4):
        clock.now = float(second)
        calls.append(Bounded(deadlines, clock, 30.0))
        await until_begun()
    assert clock.made == 1
    calls[1].gate.set()
    await calls[1].task
    clock.move_to(30.0)
    await calls[0].task
    assert calls[0].passed
    assert [when for when, *_ in clock.timers] == [32.0]  # for the next of those that are left
    clock.move_to(33.0)
    await asyncio.gather(calls[2].task, calls[3].task)
    assert calls[2].passed
    assert calls[3].passed
    assert clock.timers == []


async def test_timer_of_ended_calls_fires_once_and_is_gone(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    call.gate.set()
    await call.task
    clock.move_to(30.0)
    assert clock.timers == []
    later = Bounded(deadlines, clock, 30.0)
    await until_begun()
    assert [when for when, *_ in clock.timers] == [60.0]
    clock.move_to(60.0)
    await later.task
    assert later.passed


async def test_other_deadline_has_a_timer_of_its_own(clock):
    deadlines = Deadlines(30.0)
    usual = Bounded(deadlines, clock, 30.0)
    short = Bounded(deadlines, clock, 1.0)
    ended = Bounded(deadlines, clock, 2.0)
    await until_begun()
    ended.gate.set()
    await ended.task
    assert sorted(when for when, *_ in clock.timers) == [1.0, 30.0]
    clock.move_to(1.0)
    await short.task
    assert short.passed
    usual.gate.set()
    await usual.task
    assert usual.passed is None


async def test_cancellation_from_outside_is_not_the_deadlines(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.passed is False


async def test_cancellation_beside_the_deadlines_still_stands(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    clock.move_to(30.0)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.passed is False


async def test_deadline_that_passes_leaves_no_cancelling_count(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    clock.move_to(30.0)
    assert call.task.cancelling() == 1
    await call.task
    assert call.task.cancelling() == 0


async def test_deadlines_closed_let_go_of_the_timer(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    call.gate.set()
    await call.task
    deadlines.close()
    deadlines.close()
    assert clock.timers == []


async def test_deadline_without_a_task_is_refused(monkeypatch):
    monkeypatch.setattr(asyncio, "current_task", lambda loop=None: None)
    with pytest.raises(RuntimeError, match="task"):
        Deadlines(30.0).begin(Deadline(asyncio.get_running_loop(), 0.0, 1.0))
