"""The way of the rows into a batch: rates, turns that are given back, and a gate that is shut."""

from __future__ import annotations

import asyncio

import pytest
from aiolimiter import AsyncLimiter
from cli_helpers import numbers

from gateway360_async.cli import _gate
from gateway360_async.cli._batch import batch
from gateway360_async.cli._gate import Gate, seconds_apart
from gateway360_async.cli._options import BatchOptions
from gateway360_async.cli._problems import UsageProblem
from gateway360_async.cli._rows import Row

HOUR = 3600.0


def rows(count: int) -> list[Row]:
    return [Row(line, {}) for line in range(1, count + 1)]


async def later(rows):
    for row in rows:
        yield row


@pytest.fixture(params=["a file", "a pipe"])
def given(request):
    """Rows that are there, and rows that come."""
    return (lambda rows: rows) if request.param == "a file" else later


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [("30/s", 1 / 30), ("30", 1 / 30), ("1000/m", 0.06), ("7200/h", 0.5), (" 0.5/s ", 2.0), (None, None)],
)
def test_a_rate_says_how_far_apart_requests_are(rate, seconds):
    assert seconds_apart(rate) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("rate", ["fast", "0/s", "0.0", "-1/s", "30/d", "30/", "1e3/s", ""])
def test_what_is_no_rate_is_refused_by_its_name(rate):
    with pytest.raises(UsageProblem, match=f"--rate {rate}: give a number above 0"):
        seconds_apart(rate)


@pytest.mark.parametrize("rate", ["1" + "0" * 400, "1000001/s", "0." + "0" * 320 + "1", "0.00001", "0.04/h"])
def test_a_rate_that_no_batch_has_is_refused(rate):
    with pytest.raises(UsageProblem, match="--rate: give a rate from one a day, 0.042/h, to 1000000/s"):
        seconds_apart(rate)


def test_without_a_rate_rows_pass_at_once_until_the_gate_is_shut():
    gate = Gate()
    passing = gate.rows(rows(5))
    assert [next(passing).line, next(passing).line] == [1, 2]
    gate.shut()
    assert list(passing) == []
    assert gate.passed == 2


async def test_rows_that_come_pass_until_the_gate_is_shut():
    gate = Gate()
    passing = gate.rows(later(rows(5)))
    assert [(await anext(passing)).line, (await anext(passing)).line] == [1, 2]
    gate.shut()
    assert [row async for row in passing] == []
    assert gate.passed == 2


async def test_all_rows_pass(given):
    assert [row.line async for row in Gate(1e-6).rows(given(rows(100)))] == list(range(1, 101))
    assert [row.line async for row in Gate().rows(later(rows(3)))] == [1, 2, 3]


async def test_a_row_waits_for_its_turn_and_is_not_begun_when_the_gate_is_shut(given):
    gate = Gate(HOUR)
    passing = gate.rows(given(rows(5)))
    assert (await anext(passing)).line == 1
    waiting = asyncio.ensure_future(anext(passing, None))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    gate.shut()
    assert await waiting is None
    assert gate.passed == 1


async def test_a_turn_that_is_given_back_is_the_next_rows_whether_it_waits_or_not(given):
    gate = Gate(HOUR)
    passing = gate.rows(given(rows(5)))
    assert (await anext(passing)).line == 1
    gate.give_back()
    assert (await anext(passing)).line == 2
    gate.give_back()
    assert (await anext(passing)).line == 3
    waiting = asyncio.ensure_future(anext(passing))
    await asyncio.sleep(0)
    gate.give_back()
    assert (await waiting).line == 4


async def test_a_gate_that_is_shut_gives_no_turn_even_where_one_is_left(given):
    gate = Gate(HOUR)
    gate.shut()
    assert [row async for row in gate.rows(given(rows(5)))] == []


async def test_whoever_waits_for_a_row_that_does_not_come_is_let_go():
    gate = Gate()
    never = asyncio.Event()

    async def source():
        yield Row(1, {})
        await never.wait()

    passing = gate.rows(source())
    assert (await anext(passing)).line == 1
    waiting = asyncio.ensure_future(anext(passing, None))
    await asyncio.sleep(0)
    gate.shut()
    assert await waiting is None


async def test_the_trouble_of_the_input_comes_through(given):
    def broken():
        yield Row(1, {})
        raise OSError("broken")

    passing = Gate(1e-6).rows(given(broken()))
    assert (await anext(passing)).line == 1
    with pytest.raises(OSError, match="broken"):
        await anext(passing)


async def test_a_turn_that_comes_as_the_gate_is_shut_is_not_taken(monkeypatch):
    gate = Gate(HOUR)
    passing = gate.rows(rows(5))
    assert (await anext(passing)).line == 1

    async def both(event, waiting):
        waiting.close()
        gate.shut()
        return asyncio.get_running_loop().create_future()

    monkeypatch.setattr(_gate, "_unless", both)
    assert await anext(passing, None) is None


def test_only_turns_that_came_late_are_made_up_for():
    """By the limiter's own clock, that of the loop."""

    class Clocked(asyncio.SelectorEventLoop):
        now = 0.0

        def time(self) -> float:
            return self.now

    loop = Clocked()

    async def take() -> list[int]:
        gate = Gate(0.01)

        async def consume() -> None:
            async for _ in gate.rows(rows(1000)):
                pass

        consuming = asyncio.ensure_future(consume())
        passed = []
        for moment in (0.0, 0.005, 0.0101, 0.0401, 100.0):
            loop.now = moment
            for _ in range(100):
                await asyncio.sleep(0)
            passed.append(gate.passed)
        consuming.cancel()
        return passed

    try:
        passed = loop.run_until_complete(take())
    finally:
        loop.close()
    # No burst at the beginning; three that are late, at once; after a long rest, what fits 50 ms.
    assert passed == [1, 1, 2, 5, 10]


# --- Attempts --------------------------------------------------------------------------------------------


class Turns(AsyncLimiter):
    """Counts the turns that were taken."""

    taken = 0

    async def acquire(self, amount: float = 1) -> None:
        await super().acquire(amount)
        Turns.taken += amount == 1


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.setattr(_gate, "AsyncLimiter", Turns)
    Turns.taken = 0
    return Turns


async def attempted(gate: Gate) -> bool:
    """Whether an attempt starts at once."""
    attempt = asyncio.ensure_future(gate.attempts.__aenter__())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if attempt.done():
        await gate.attempts.__aexit__(None, None, None)
        return True
    attempt.cancel()
    return False


def test_without_a_rate_nothing_stands_before_an_attempt():
    assert Gate().attempts is None


async def test_a_row_that_passed_grants_one_attempt_and_no_more(given, turns):
    gate = Gate(HOUR)
    passing = gate.rows(given(rows(5)))
    await anext(passing)
    assert await attempted(gate)
    assert not await attempted(gate)  # a retry: it waits for a turn of its own
    assert turns.taken == 1


async def test_a_turn_that_is_given_back_may_be_a_retrys(given, turns):
    gate = Gate(HOUR)
    passing = gate.rows(given(rows(5)))
    await anext(passing)
    gate.give_back()
    assert await attempted(gate)
    assert not await attempted(gate)
    assert turns.taken == 1


async def test_a_turn_that_a_retry_has_used_cannot_be_given_back(given, turns):
    gate = Gate(HOUR)
    passing = gate.rows(given(rows(5)))
    await anext(passing)
    assert await attempted(gate)  # another row's
    gate.give_back()
    assert not await attempted(gate)
    waiting = asyncio.ensure_future(anext(passing, None))
    await asyncio.sleep(0)
    gate.shut()
    assert await waiting is None
    assert turns.taken == 1


async def test_a_gate_that_is_shut_lets_what_was_begun_go_on(given):
    gate = Gate(HOUR)
    await anext(gate.rows(given(rows(5))))
    gate.shut()
    assert await attempted(gate)


def test_retries_and_rows_together_keep_the_rate():
    """By the limiter's own clock: each row is tried four times, and one request starts a second."""

    class Clocked(asyncio.SelectorEventLoop):
        now = 0.0

        def time(self) -> float:
            return self.now

    loop = Clocked()
    starts: list[float] = []

    async def call(gate: Gate) -> None:
        for _ in range(4):
            async with gate.attempts:
                starts.append(loop.now)

    async def run() -> None:
        gate = Gate(1.0)

        async def consume() -> None:
            async with asyncio.TaskGroup() as calls:
                async for _ in gate.rows(rows(5)):
                    calls.create_task(call(gate))

        consuming = asyncio.ensure_future(consume())
        while not consuming.done():
            for _ in range(100):
                await asyncio.sleep(0)
            loop.now += 1.0

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    assert starts == [float(second) for second in range(20)]


async def test_a_batch_that_is_throttled_starts_no_more_requests_than_there_were_turns(
    sandbox, turns, tmp_path
):
    file = tmp_path / "numbers"
    file.write_text("12\n" + numbers(3))
    sandbox.faults.throttle = True
    code = await batch(BatchOptions(str(file), sender="X", base_url=sandbox.base_url, rate="1000/s"))
    assert code == 1
    assert len(sandbox.requests) > 3
    # The invalid row's turn was given back, if somebody needed it.
    assert turns.taken - 1 <= len(sandbox.requests) <= turns.taken
