"""The clock that is moved by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from gateway360_async.testing import FakeClock


def test_clock_stands_still_until_it_is_moved():
    clock = FakeClock(5)
    assert (clock(), clock()) == (5.0, 5.0)
    assert clock.advance(1.5) == 6.5
    assert clock.advance(0) == clock() == 6.5
    assert repr(clock) == "FakeClock(6.5)"
    with pytest.raises(ValueError, match=r"^seconds: expected 0 or more"):
        clock.advance(-1)


def test_clock_begins_at_the_same_moment_in_every_run():
    assert datetime.fromtimestamp(FakeClock()(), UTC) == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", ["1", None, True, math.inf, math.nan, 10**400], ids=str)
def test_clock_refuses_a_value_that_is_no_number_of_seconds(value):
    with pytest.raises(ValueError, match=r"^now: "):
        FakeClock(value)
    clock = FakeClock(5)
    with pytest.raises(ValueError, match=r"^seconds: "):
        clock.advance(value)
    assert clock() == 5.0
