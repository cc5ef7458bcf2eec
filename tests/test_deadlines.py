"""The deadlines of calls: which task ends, when, and by which cancellation. The clock is moved by hand."""

from __future__ import annotations

import asyncio

import pytest

from gateway360_async._runner._call import InFlightCall
from gateway360_async._runner._deadlines import Deadlines


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
    """A task that waits for ever under a deadline, and says whether the deadline ended it."""

    def __init__(self, deadlines: Deadlines, clock: Clock, seconds: float) -> None:
        self.expired: bool | None = None
        self.gate = asyncio.Event()
        self.task = asyncio.create_task(self._run(deadlines, clock, seconds))

    async def _run(self, deadlines: Deadlines, clock: Clock, seconds: float) -> None:
        deadline = InFlightCall(None, None, clock, clock.now, seconds, None)
        deadlines.begin(deadline)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.expired = deadlines.end(deadline)
            if not self.expired:
                raise
        else:
            assert not deadlines.end(deadline)


async def test_calls_with_the_usual_deadline_share_one_timer(clock):
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
    assert calls[0].expired
    assert [when for when, *_ in clock.timers] == [32.0]  # for the next of those that are left
    clock.move_to(33.0)
    await asyncio.gather(calls[2].task, calls[3].task)
    assert calls[2].expired
    assert calls[3].expired
    assert clock.timers == []


async def test_timer_whose_calls_have_ended_fires_once(clock):
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
    assert later.expired


async def test_call_with_another_deadline_has_its_own_timer(clock):
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
    assert short.expired
    usual.gate.set()
    await usual.task
    assert usual.expired is None


async def test_cancellation_of_a_caller_is_not_the_deadlines(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.expired is False


async def test_cancellation_beside_the_deadlines_own_still_stands(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    clock.move_to(30.0)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.expired is False


async def test_deadline_that_expires_is_taken_back_from_the_task(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    clock.move_to(30.0)
    assert call.task.cancelling() == 1
    await call.task
    assert call.task.cancelling() == 0


async def test_deadlines_closed_cancel_their_timer(clock):
    deadlines = Deadlines(30.0)
    call = Bounded(deadlines, clock, 30.0)
    await until_begun()
    call.gate.set()
    await call.task
    deadlines.close()
    deadlines.close()
    assert clock.timers == []


async def test_call_without_a_task_is_refused(monkeypatch):
    monkeypatch.setattr(asyncio, "current_task", lambda loop=None: None)
    with pytest.raises(RuntimeError, match="task"):
        Deadlines(30.0).begin(InFlightCall(None, None, asyncio.get_running_loop(), 0.0, 1.0, None))
