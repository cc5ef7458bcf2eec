"""The rules of a number's cooldown."""

from __future__ import annotations

import attrs
import pytest

from ...stores import Record, State
from .._store_racer import hashed
from ._bench import BRIEF, LONG, Bench, in_loops

__all__ = ["CooldownRules"]

ENDED = pytest.mark.parametrize("state", [State.COMPLETED, State.IN_DOUBT])


@in_loops
class CooldownRules(Bench):
    """The rules of a number's cooldown."""

    @pytest.mark.parametrize("state", [State.IN_PROGRESS, State.COMPLETED, State.IN_DOUBT])
    async def test_cooldown_of_another_is_answered_with_its_record(self, state: State) -> None:
        """Nothing is claimed then, and no fingerprint compared."""
        store, other = await self.open(), await self.open()
        claim = await self.held(store, "a", state, cooldown="c", fingerprint=b"1", report_id="r")
        asked = await self.ask(other, self.claim("b", cooldown="c", fingerprint=b"2"))
        assert (asked.state, asked.token, asked.report_id) == (state, claim.token, "r")
        assert (asked.cooldown, asked.mismatch, asked.limit) == (True, False, None)
        assert (asked.result == "result of a") is (state is not State.IN_PROGRESS)
        assert await self.states(store, "b") == [State.FREE]

    async def test_record_comes_before_the_cooldown(self) -> None:
        store = await self.open()
        await self.held(store, "a", State.COMPLETED, cooldown="c")
        for force in (True, False):
            asked = await self.ask(store, self.claim("a", cooldown="c", force=force))
            assert (asked.state, asked.cooldown) == (State.COMPLETED, False)

    async def test_cooldown_alone_is_claimed_and_completed(self) -> None:
        store = await self.open()
        claim = await self.hold(store, cooldown="c")
        assert (await self.ask(store, claim)).state is State.CLAIMED
        assert await store.renew([claim]) == [True]
        assert await self.end(store, claim, State.COMPLETED, "sent")
        asked = await self.ask(store, self.claim(cooldown="c"))
        assert (asked.state, asked.result, asked.cooldown) == (State.COMPLETED, "sent", True)

    async def test_release_frees_the_own_cooldown_only(self) -> None:
        store = await self.open()
        claim = await self.hold(store, "a", cooldown="c")
        assert await self.end(store, claim, State.FREE)
        await self.hold(store, "b", cooldown="c")
        await self.end(store, claim, State.FREE)
        assert await self.states(store, "c") == [State.IN_PROGRESS]

    async def test_completed_cooldown_is_never_overwritten(self) -> None:
        store = await self.open()
        claim = await self.held(store, "a", State.COMPLETED, cooldown="c")
        for state in (State.IN_DOUBT, State.FREE):
            await self.end(store, claim, state, "later")
        seen = await self.look(store, "c")
        assert (seen.state, seen.result) == (State.COMPLETED, "result of a")

    @ENDED
    async def test_cooldown_expires_its_ttl_after_the_result(self, state: State) -> None:
        """The idempotency record does not."""
        store = await self.open()
        claim = await self.hold(store, "a", cooldown=Record(hashed("c"), 5 * BRIEF, forgets=True))

        async def there() -> bool:
            asked = await self.ask(store, self.claim("b", cooldown="c"))
            assert asked.state in {state, State.CLAIMED}
            return asked.state is state

        await self.ends_after(store, 5 * BRIEF, lambda: self.end(store, claim, state), there)
        assert await self.states(store, "c", "a") == [State.IN_PROGRESS, state]

    @pytest.mark.parametrize("renewed", [True, False])
    async def test_cooldown_expires_its_ttl_after_the_lease(self, renewed: bool) -> None:
        """First it is in progress, then in doubt."""
        store = await self.open()
        cooldown = Record(hashed("c"), 3 * BRIEF, forgets=True)
        claim = self.claim("a", lease=2 * BRIEF, cooldown=cooldown)
        if renewed:
            await self.ask(store, attrs.evolve(claim, lease=LONG))
        seen: list[State] = []

        async def there() -> bool:
            seen.extend(await self.states(store, "c"))
            return seen[-1] is not State.FREE

        await self.ends_after(
            store, 5 * BRIEF, lambda: store.renew([claim]) if renewed else store.claim([claim]), there
        )
        assert seen == sorted(seen, key=[State.IN_PROGRESS, State.IN_DOUBT, State.FREE].index)
        assert await self.states(store, "a") == [State.IN_DOUBT]
        await self.hold(store, "b", cooldown=cooldown)

    async def test_forced_claim_leaves_a_running_lease_alone(self) -> None:
        """It is neither renewed nor released nor overwritten."""
        store = await self.open()
        first = await self.hold(store, "a", cooldown="c")
        for state in (State.FREE, State.COMPLETED):
            forced = await self.hold(store, f"b {state}", cooldown="c", force=True, lease=9 * LONG)
            assert await store.renew([forced]) == [True]
            assert await self.end(store, forced, state, "forced")
            seen = await self.look(store, "c")
            assert (seen.state, seen.token) == (State.IN_PROGRESS, first.token)
            assert seen.remaining <= LONG
        assert await self.end(store, first, State.COMPLETED, "first")
        assert (await self.look(store, "c")).result == "first"

    @ENDED
    async def test_forced_result_overwrites_a_cooldown_that_has_ended(self, state: State) -> None:
        store = await self.open()
        first = await self.held(store, "a", state, cooldown="c")
        forced = await self.hold(store, "b", cooldown="c", force=True, report_id="r")
        assert (await self.look(store, "c")).token == first.token
        assert await self.end(store, forced, State.COMPLETED, "forced")
        seen = await self.look(store, "c")
        assert (seen.state, seen.token, seen.result) == (State.COMPLETED, forced.token, "forced")
        assert seen.report_id == "r"

    async def test_forced_release_leaves_a_completed_cooldown(self) -> None:
        store = await self.open()
        first = await self.held(store, "a", State.COMPLETED, cooldown="c")
        forced = await self.hold(store, "b", cooldown="c", force=True)
        assert await self.end(store, forced, State.FREE)
        assert (await self.look(store, "c")).token == first.token

    async def test_forced_claim_takes_a_free_cooldown(self) -> None:
        store = await self.open()
        forced = await self.hold(store, "a", cooldown="c", force=True)
        seen = await self.look(store, "c")
        assert (seen.state, seen.token) == (State.IN_PROGRESS, forced.token)

    async def test_completion_after_a_resend_leaves_the_cooldown(self) -> None:
        store = await self.open()
        first = await self.hold(store, "a", cooldown="c")
        second = await self.hold(store, "a", cooldown="c", resend=first.token, force=True)
        assert not await self.end(store, first, State.COMPLETED, "first")
        assert await self.states(store, "c") == [State.IN_PROGRESS]
        assert (await self.look(store, "a")).token == second.token
