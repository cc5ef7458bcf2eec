"""Permits: how many a rate gives, and to which callers."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from gateway360_async import ClientClosed, StoreError
from gateway360_async._retry import Gcra
from gateway360_async._runner import _permits as permits_module
from gateway360_async._runner._permits import HOLDS, Permits

AWAY = StoreError("is away", "one that is there", passing=True)
BROKEN = StoreError("is broken", "one that works")


# --- Gcra ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "following", "granted", "delay", "after"),
    [
        pytest.param(1, None, 1, 0.0, 0.01, id="the first of all"),
        pytest.param(99, None, 6, 0.0, 0.06, id="no further ahead than the horizon"),
        pytest.param(3, 0.0, 3, 0.0, 0.03, id="no more than are wanted"),
        pytest.param(99, 0.02, 4, 0.02, 0.06, id="after those of others"),
        pytest.param(99, 0.051, 0, 0.001, 0.051, id="one behind the horizon is none"),
        pytest.param(1, 0.075, 0, 0.025, 0.075, id="when the next one comes into sight"),
        pytest.param(1, -0.03, 1, -0.03, -0.02, id="one that was not taken is made up for"),
        pytest.param(99, -0.05, 11, -0.05, 0.06, id="those of the last moments"),
        pytest.param(99, -9.0, 11, -0.05, 0.06, id="but no others"),
        pytest.param(1, 99.0, 1, 0.0, 0.01, id="far ahead is a clock that was set back"),
    ],
)
def test_gcra_grants(wanted, following, granted, delay, after):
    gcra = Gcra(0.01)
    gcra._next = following
    # At 1e-9 s, as no float shows a hundredth exactly.
    given, first = gcra.grant(1e-9, wanted)
    assert (given, round(first, 6), round(gcra._next, 6)) == (granted, delay, after)


def test_gcra_of_one_in_an_hour_stands_for_that_hour():
    gcra = Gcra(3600.0)
    assert gcra.grant(0.0, 9) == (1, 0.0)
    assert gcra.grant(1800.0, 9) == (0, 1800.0 - 0.05)
    assert gcra.grant(3599.96, 9)[0] == 1


# --- Permits ---------------------------------------------------------------------------------------------------


class Scripted:
    """Grants what the test says, and then one at once for ever."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.wanted = []
        self.asked = asyncio.Event()

    async def __call__(self, wanted, _interval):
        self.wanted.append(wanted)
        self.asked.set()
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else (1, 0.0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_permits_are_asked_at_once_and_granted_in_order():
    grant = Scripted((3, 0.0), (2, -0.01))
    permits, order = Permits(1000.0, grant), []

    async def wait(name):
        await permits.wait(5.0)
        order.append(name)

    await asyncio.gather(*(wait(name) for name in range(5)))
    await permits.aclose()
    assert order == [0, 1, 2, 3, 4]
    assert grant.wanted == [5, 2]


async def test_permit_of_a_caller_that_gives_up_is_the_next_ones():
    grant = Scripted((1, 0.001), (1, 0.0))
    permits = Permits(1000.0, grant)
    first, second = (asyncio.create_task(permits.wait(5.0)) for _ in range(2))
    await grant.asked.wait()
    first.cancel()
    await second
    assert first.cancelled()
    assert grant.wanted == [2]
    await permits.aclose()


async def test_permit_granted_to_a_cancelled_caller_is_given_back():
    permits = Permits(1000.0, Scripted((2, 0.0)))
    call = asyncio.create_task(permits.wait(5.0))
    while not permits._waiting:
        await asyncio.sleep(0)
    permits.give_back(asyncio.get_running_loop().time())
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()
    assert len(permits._returned) == 1
    await permits.wait(5.0)
    assert not permits._returned
    await permits.aclose()


async def test_permit_that_was_held_too_long_goes_to_no_other_caller(later):
    permits = Permits(1000.0, Scripted((1, 0.0)))
    stale = await permits.wait(5.0)
    fresh = await permits.wait(5.0)
    permits.give_back(fresh)
    later(HOLDS + 1.0)
    permits.give_back(stale)
    assert list(permits._returned) == [fresh]  # which is too old by now as well
    assert await permits.wait(5.0) > fresh + HOLDS
    await permits.aclose()


async def test_permit_that_is_given_back_goes_to_a_caller_that_waits():
    grant = Scripted((1, 0.0), (0, 60.0))
    permits = Permits(1000.0, grant)
    first = await permits.wait(5.0)
    gone, waits = (asyncio.create_task(permits.wait(5.0)) for _ in range(2))
    while len(grant.wanted) < 2:
        await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    permits.give_back(first)
    await waits
    await permits.aclose()


async def test_loop_of_permits_runs_in_no_callers_context():
    variable = contextvars.ContextVar("request id", default="none")
    seen = []

    async def grant(_wanted, _interval):
        seen.append(variable.get())
        return 1, 0.0

    permits = Permits(1000.0, grant)
    variable.set("the first request")
    await permits.wait(5.0)
    await permits.aclose()
    assert seen == ["none"]


async def test_permit_that_no_caller_wants_any_more_is_lost():
    grant = Scripted((1, 0.001))
    permits = Permits(1000.0, grant)
    only = asyncio.create_task(permits.wait(5.0))
    await grant.asked.wait()
    granting = permits._granting
    only.cancel()
    await granting
    assert permits._granting is None
    assert not permits._returned
    await permits.aclose()


async def test_permits_that_others_have_taken_are_asked_for_again():
    grant = Scripted((0, 0.01), (1, 0.0))
    permits = Permits(1000.0, grant)
    await permits.wait(5.0)
    assert grant.wanted == [1, 1]
    await permits.aclose()


async def test_permits_that_are_late_are_lost_but_for_one(monkeypatch):
    """A process that was held up does not make up for it all at once; and one that always is gets on all the same."""
    monkeypatch.setattr(permits_module, "_LATE", -1.0)  # as if each answer had been a second on its way
    grant = Scripted((4, 0.0), (2, 0.0), (0, 60.0))
    permits = Permits(1000.0, grant)
    waiting = [asyncio.create_task(permits.wait(5.0)) for _ in range(3)]
    while len(grant.wanted) < 3:
        await asyncio.sleep(0)
    assert [permit.done() for permit in waiting] == [True, True, False]
    assert grant.wanted == [3, 2, 1]
    waiting[2].cancel()
    await permits.aclose()


async def test_caller_waits_for_an_absent_store_for_its_timeout():
    permits = Permits(1000.0, Scripted(AWAY, AWAY, (1, 0.0)))
    patient, hasty, gone = (asyncio.create_task(permits.wait(wait)) for wait in (60.0, 0.0, 60.0))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(StoreError, match="is away"):
        await hasty
    await patient
    await permits.aclose()


@pytest.mark.parametrize(("error", "says"), [(BROKEN, "is broken"), (KeyError("x"), "grants no permits")])
async def test_callers_are_refused_at_once_where_waiting_is_no_help(error, says):
    permits = Permits(1000.0, Scripted(error))
    refused = await asyncio.gather(permits.wait(60.0), permits.wait(60.0), return_exceptions=True)
    assert all(isinstance(each, StoreError) and says in str(each) for each in refused)
    assert refused[0] is not refused[1]
    await permits.aclose()


async def test_closing_refuses_callers_that_wait():
    permits = Permits(0.001)
    await permits.wait(5.0)
    waiting = asyncio.create_task(permits.wait(5.0))
    await asyncio.sleep(0)
    await permits.aclose()
    with pytest.raises(ClientClosed):
        await waiting
    with pytest.raises(ClientClosed):
        await permits.wait(5.0)


async def test_own_rate_grants_no_more_than_its_time():
    permits = Permits(1000.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    granted = [await permits.wait(5.0) for _ in range(50)]
    await permits.aclose()
    # At most those of the time, and of what may be made up for.
    for count, at in enumerate(granted):
        assert count <= (at - began + 0.1) * 1000 + 1
