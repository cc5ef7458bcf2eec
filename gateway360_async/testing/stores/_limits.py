"""The rules of counts and of permits."""

from __future__ import annotations

import asyncio

import pytest

from ..._retry import CATCH_UP, HORIZON
from ...stores import Completion, State
from .._store_racer import hashed
from ._bench import BRIEF, GRAIN, LONG, Bench, in_loops

__all__ = ["CountRules", "PermitRules"]


@in_loops
class CountRules(Bench):
    """The rules of counts."""

    async def test_limit_that_is_reached_is_answered_and_nothing_taken(self) -> None:
        store, other = await self.open(), await self.open()
        full, room = self.count("full", 1), self.count("room", 1)
        await self.hold(store, counts=(full,))
        asked = await self.ask(other, self.claim("a", cooldown="c", counts=(room, full)))
        assert (asked.state, asked.limit, asked.cooldown) == (State.LIMITED, 1, False)
        assert await self.states(other, "a", "c") == [State.FREE] * 2
        await self.hold(other, "a", cooldown="c", counts=(room,))
        asked = await self.ask(store, self.claim("b", counts=(room, full)))
        assert (asked.state, asked.limit) == (State.LIMITED, 0)

    async def test_records_come_before_the_counts(self) -> None:
        store = await self.open()
        one = self.count("n", 1)
        await self.held(store, "a", State.COMPLETED, cooldown="c")
        for claim in (self.claim("a", counts=(one,)), self.claim("b", cooldown="c", counts=(one,))):
            assert (await self.ask(store, claim)).state is State.COMPLETED
        await self.hold(store, "d", counts=(one,))
        assert (await self.ask(store, self.claim("a", counts=(one,)))).state is State.COMPLETED

    async def test_same_token_again_counts_once(self) -> None:
        store, other = await self.open(), await self.open()
        two = self.count("n", 2)
        for claim in (await self.hold(store, counts=(two,)), await self.hold(store, "a", counts=(two,))):
            assert [(await self.ask(one, claim)).state for one in (store, other)] == [State.CLAIMED] * 2
        assert (await self.ask(store, self.claim(counts=(two,)))).state is State.LIMITED

    async def test_claims_of_one_list_share_a_count(self) -> None:
        store = await self.open()
        three, five = self.count("n", 3), self.count("m", 5, LONG)
        claims = [self.claim(f"{number}", counts=(five, three)) for number in range(5)]
        answers = await store.claim(claims)
        assert [answer.state for answer in answers] == [State.CLAIMED] * 3 + [State.LIMITED] * 2
        answers = await store.claim([self.claim(counts=(five,)) for _ in range(3)])
        assert [answer.limit for answer in answers] == [None, None, 0]

    async def test_total_is_for_ever(self) -> None:
        store = await self.open()
        total, window = self.count("n", 1), self.count("m", 1, LONG)
        for count in (total, window):
            claim = await self.hold(store, f"{count.window}", lease=BRIEF, ttl=BRIEF, counts=(count,))
            assert await self.end(store, claim, State.COMPLETED)
        await self.lapse(store)
        for count in (total, window):
            assert (await self.ask(store, self.claim(counts=(count,)))).state is State.LIMITED

    async def test_window_slides_exactly(self) -> None:
        store = await self.open()
        window, most = 6 * BRIEF, 3
        count = self.count("n", most, window)
        granted: list[tuple[float, float]] = []
        while len(granted) < 3 * most:
            before = await store.now()
            answer = await self.ask(store, self.claim(counts=(count,)))
            after = await store.now()
            if answer.state is State.CLAIMED:
                granted.append((before, after))
                early = granted[-1 - most : -most]
                assert all(after >= begun + window - GRAIN for begun, _ in early), "one too many"
            else:
                inside = [one for one in granted if one[1] + window + GRAIN > before]
                assert len(inside) >= most, "refused with room left"
            # One, then the others late: a window that begins at fixed times lets in too many, wherever that is.
            await self.advance(store, 0.8 * window if len(granted) == 1 else BRIEF / 4)

    async def test_give_back_makes_room_for_one(self) -> None:
        store, other = await self.open(), await self.open()
        first, second = self.count("n", 2), self.count("m", 2, LONG)
        claims = [await self.hold(store, f"{number}", counts=(first, second)) for number in range(2)]
        for one in (store, other):
            assert await self.end(one, claims[0], State.FREE, give_back=(first,))
        await self.hold(store, counts=(first,))
        for count in (first, second):
            assert (await self.ask(store, self.claim(counts=(count,)))).state is State.LIMITED
        assert await self.end(store, claims[1], State.COMPLETED, give_back=(second,))
        await self.hold(store, counts=(second,))
        assert (await self.ask(store, self.claim(counts=(second,)))).state is State.LIMITED

    async def test_give_back_is_its_own_token_s(self) -> None:
        """A claim that did not count has nothing to give back; one that lost its record to a resend has."""
        store = await self.open()
        one = self.count("n", 1)
        first = await self.hold(store, "a", counts=(one,))
        refused = self.claim(counts=(one,))
        assert (await self.ask(store, refused)).state is State.LIMITED
        assert await self.end(store, refused, State.FREE, give_back=(one,))
        assert (await self.ask(store, self.claim(counts=(one,)))).state is State.LIMITED
        await self.hold(store, "a", resend=first.token)
        assert not await self.end(store, first, State.FREE, give_back=(one,))
        await self.hold(store, counts=(one,))

    async def test_hundreds_of_counts_are_given_back_at_a_time(self) -> None:
        store = await self.open()
        many = self.count("n", 300, LONG)
        claims = [self.claim(f"{number}", counts=(many,)) for number in range(301)]
        answers = await store.claim(claims)
        assert [answer.state for answer in answers] == [State.CLAIMED] * 300 + [State.LIMITED]
        ends = [Completion(claim=one, state=State.FREE, result="", give_back=(many,)) for one in claims[:200]]
        assert await store.complete(ends) == [True] * 200
        answers = await store.claim([self.claim(counts=(many,)) for _ in range(201)])
        assert [answer.state for answer in answers] == [State.CLAIMED] * 200 + [State.LIMITED]


@in_loops
class PermitRules(Bench):
    """The rules of permits."""

    @pytest.mark.parametrize("interval", [0.001, 0.013, 0.06])
    async def test_permits_never_exceed_the_rate(self, interval: float) -> None:
        stores = [await self.open(), await self.open()]
        granted: list[tuple[float, float]] = []
        for turn in range(16):
            store = stores[turn % 2]
            before = await store.now()
            count, first = await store.permits(hashed("rate"), 1 + turn % 7 * 10, interval)
            after = await store.now()
            if count:
                assert first >= -CATCH_UP - GRAIN, "made up for too much"
                assert first + (count - 1) * interval <= HORIZON + GRAIN, "granted too far ahead"
                assert count <= 1 + turn % 7 * 10
                begun = [(before + first + n * interval, after + first + n * interval) for n in range(count)]
                granted += begun
            else:
                assert 0 < first <= interval + GRAIN
                await self.advance(store, first + GRAIN)
                count, _ = await store.permits(hashed("rate"), 1, interval)
                assert count == 1, "the wait that it told was too short"
                granted.clear()  # that one's time is not known
            if turn % 5 == 4:
                await self.advance(store, 2 * CATCH_UP)
            for index, (_, latest) in enumerate(granted):
                assert latest - granted[0][0] >= index * interval - GRAIN, "faster than the rate"

    async def test_fresh_rate_grants_up_to_the_horizon(self) -> None:
        store = await self.open()
        before = await store.now()
        count, first = await store.permits(hashed("rate"), 500, 0.01)
        more, wait = await store.permits(hashed("rate"), 500, 0.01)
        after = await store.now()
        assert 5 <= count <= 6
        assert -CATCH_UP - GRAIN <= first <= GRAIN
        assert count + more <= 6 + (after - before + GRAIN) / 0.01
        assert more or 0 < wait <= 0.01 + GRAIN

    async def test_only_the_latest_unused_permits_are_made_up_for(self) -> None:
        store = await self.open()
        begun = await store.now()
        await store.permits(hashed("rate"), 1, 0.01)
        await self.advance(store, 4 * CATCH_UP)
        count, first = await store.permits(hashed("rate"), 500, 0.01)
        # A store may forget a rate that is not asked for during a second.
        late = await store.now() - begun > 0.9
        assert late or abs(first + CATCH_UP) <= GRAIN
        assert late or 10 <= count <= 11
        assert first >= -CATCH_UP - GRAIN
        assert count <= 11

    async def test_permit_far_ahead_is_reset(self) -> None:
        store = await self.open()
        assert (await store.permits(hashed("rate"), 1, LONG))[0] == 1
        count, wait = await store.permits(hashed("rate"), 1, LONG)
        assert count == 0
        assert LONG - 60 < wait <= LONG
        count, first = await store.permits(hashed("rate"), 1, 0.01)
        assert count == 1
        assert abs(first) <= CATCH_UP + GRAIN

    async def test_rates_are_told_apart(self) -> None:
        store = await self.open()
        for name in ("one", "two"):
            assert (await store.permits(hashed(name), 5, LONG))[0] == 1
            assert (await store.permits(hashed(name), 5, LONG))[0] == 0

    async def test_permits_asked_for_at_once_are_granted_once(self) -> None:
        stores = [await self.open(), await self.open()]
        asked = [store.permits(hashed("rate"), 1, LONG) for store in stores for _ in range(4)]
        assert sorted(count for count, _ in await asyncio.gather(*asked)) == [0] * 7 + [1]
