"""The way of the rows into a batch, until no more are to be begun."""

from __future__ import annotations

import asyncio

import pytest

from gateway360_async.cli._gate import Gate, seconds_apart
from gateway360_async.cli._problems import UsageProblem
from gateway360_async.cli._rows import Row


def rows(count: int) -> list[Row]:
    return [Row(line, {}) for line in range(1, count + 1)]


async def later(rows):
    for row in rows:
        yield row


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


async def test_rows_of_a_file_pass_at_once_until_the_gate_is_shut():
    gate = Gate()
    passing = gate.rows(rows(5))
    assert [next(passing).line, next(passing).line] == [1, 2]
    gate.shut()
    assert list(passing) == []


async def test_rows_that_come_pass_until_the_gate_is_shut():
    gate = Gate()
    passing = gate.rows(later(rows(5)))
    assert [(await anext(passing)).line, (await anext(passing)).line] == [1, 2]
    gate.shut()
    assert [row async for row in passing] == []


async def test_all_rows_pass():
    assert [row.line for row in Gate().rows(rows(3))] == [1, 2, 3]
    assert [row.line async for row in Gate().rows(later(rows(3)))] == [1, 2, 3]


async def test_a_wait_for_a_row_that_does_not_come_ends_when_the_gate_is_shut():
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


async def test_the_trouble_of_the_input_comes_through():
    async def broken():
        yield Row(1, {})
        raise OSError("broken")

    passing = Gate().rows(broken())
    assert (await anext(passing)).line == 1
    with pytest.raises(OSError, match="broken"):
        await anext(passing)
