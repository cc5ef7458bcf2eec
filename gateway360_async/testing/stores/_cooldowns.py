"""The rules of the number's record of the cooldown."""

from __future__ import annotations

import attrs
import pytest

from ...stores import Record, State
from .._store_racer import hashed
from ._bench import BRIEF, LONG, Bench, in_loops

__all__ = ["CooldownRules"]

ANY = pytest.mark.parametrize("state", [State.IN_PROGRESS, State.COMPLETED, State.IN_DOUBT])
ENDED = pytest.mark.parametrize("state", [State.COMPLETED, State.IN_DOUBT])


@in_loops
class CooldownRules(Bench):
    """The rules of the number's record of the cooldown, which forgets."""

    @ANY
    async def test_cooldown_of_another_is_answered_as_such(self, state: State) -> None:
        """A number that another request went to is told with that one's state, and never as a mismatch."""
        store, other = await self.open(), await self.open()
        claim = await self.held(store, "a", state, cooldown="c", fingerprint=b"1", report_id="r")
        asked = await self.ask(other, self.claim("b", cooldown="c", fingerprint=b"2"))
        assert (asked.state, asked.token, asked.report_id) == (state, claim.token, "r")
        assert (asked.cooldown, asked.mismatch, asked.limit) == (True, False, None)
        assert (asked.result == "result of a") is (state is not State.IN_PROGRESS)
        assert (await self.look(store, "b")).state is State.FREE

    async def test_record_comes_before_the_cooldown(self) -> None:
        """The first obstacle is the answer."""
        store = await self.open()
        await self.held(store, "a", State.COMPLETED, cooldown="c")
        asked = await self.ask(store, self.claim("a", cooldown="c", force=True))
        assert (asked.state, asked.cooldown) == (State.COMPLETED, False)
        asked = await self.ask(store, self.claim("a", cooldown="c"))
        assert (asked.state, asked.cooldown) == (State.COMPLETED, False)

    async def test_cooldown_alone_is_claimed_and_completed(self) -> None:
        """A claim without a key has the number's record for its own."""
        store = await self.open()
        claim = await self.hold(store, cooldown="c")
        assert (await self.ask(store, claim)).state is State.CLAIMED
        assert await store.renew([claim]) == [True]
        assert await self.end(store, claim, State.COMPLETED, "sent")
        asked = await self.ask(store, self.claim(cooldown="c"))
        assert (asked.state, asked.result, asked.cooldown) == (State.COMPLETED, "sent", True)

    async def test_free_releases_the_cooldown(self) -> None:
        """A number that nothing was sent to does not wait."""
        store = await self.open()
        claim = await self.hold(store, "a", cooldown="c")
        assert await self.end(store, claim, State.FREE)
        await self.hold(store, "b", cooldown="c")
        await self.end(store, claim, State.FREE)
        assert (await self.look(store, "c")).state is State.IN_PROGRESS

    async def test_completed_cooldown_is_never_overwritten(self) -> None:
        """What is completed stays as it is."""
        store = await self.open()
        claim = await self.held(store, "a", State.COMPLETED, cooldown="c")
        for state in (State.IN_DOUBT, State.FREE):
            await self.end(store, claim, state, "later")
        seen = await self.look(store, "c")
        assert (seen.state, seen.result) == (State.COMPLETED, "result of a")

    @ENDED
    async def test_cooldown_forgets_its_ttl_after_the_result(self, state: State) -> None:
        """A number is free again when the cooldown is over, in doubt too; the key's record is not."""
        store = await self.open()
        claim = await self.hold(store, "a", cooldown=Record(hashed("c"), 5 * BRIEF, forgets=True))

        async def there() -> bool:
            asked = await self.ask(store, self.claim("b", cooldown="c"))
            assert asked.state in {state, State.CLAIMED}
            return asked.state is state

        await self.ends_after(store, 5 * BRIEF, lambda: self.end(store, claim, state), there)
        assert (await self.look(store, "c")).state is State.IN_PROGRESS
        assert (await self.look(store, "a")).state is state

    async def test_cooldown_forgets_its_ttl_after_the_lease(self) -> None:
        """A holder that is gone keeps the number for its lease and one cooldown: first in progress, then in doubt."""
        store = await self.open()
        cooldown = Record(hashed("c"), 3 * BRIEF, forgets=True)
        claim = self.claim("a", lease=2 * BRIEF, cooldown=cooldown)
        seen: list[State] = []

        async def there() -> bool:
            seen.append((await self.look(store, "c")).state)
            return seen[-1] is not State.FREE

        await self.ends_after(store, 5 * BRIEF, lambda: self.ask(store, claim), there)
        assert seen == sorted(seen, key=[State.IN_PROGRESS, State.IN_DOUBT, State.FREE].index)
        assert (await self.look(store, "a")).state is State.IN_DOUBT
        await self.hold(store, "b", cooldown=cooldown)

    async def test_renewed_cooldown_is_kept_from_the_new_lease_on(self) -> None:
        """A renewal keeps the number's record too."""
        store = await self.open()
        claim = await self.hold(store, lease=LONG, cooldown=Record(hashed("c"), BRIEF, forgets=True))

        async def there() -> bool:
            return (await self.look(store, "c")).state is not State.FREE

        shorter = attrs.evolve(claim, lease=4 * BRIEF)
        await self.ends_after(store, 5 * BRIEF, lambda: store.renew([shorter]), there)

    async def test_force_leaves_a_cooldown_alone_that_is_not_free(self) -> None:
        """A forced claim goes on beside another holder's lease, and neither renews, releases nor overwrites it."""
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
    async def test_force_overwrites_a_cooldown_without_a_running_lease(self, state: State) -> None:
        """The number's record is of the last result."""
        store = await self.open()
        first = await self.held(store, "a", state, cooldown="c")
        forced = await self.hold(store, "b", cooldown="c", force=True, report_id="r")
        assert (await self.look(store, "c")).token == first.token
        assert await self.end(store, forced, State.COMPLETED, "forced")
        seen = await self.look(store, "c")
        assert (seen.state, seen.token, seen.result) == (State.COMPLETED, forced.token, "forced")
        assert seen.report_id == "r"

    async def test_forced_free_leaves_a_completed_cooldown(self) -> None:
        """A forced claim that sent nothing does not free the number of an earlier one."""
        store = await self.open()
        first = await self.held(store, "a", State.COMPLETED, cooldown="c")
        forced = await self.hold(store, "b", cooldown="c", force=True)
        assert await self.end(store, forced, State.FREE)
        assert (await self.look(store, "c")).token == first.token

    async def test_force_takes_a_free_cooldown(self) -> None:
        """A forced claim holds the number where no other does."""
        store = await self.open()
        forced = await self.hold(store, "a", cooldown="c", force=True)
        seen = await self.look(store, "c")
        assert (seen.state, seen.token) == (State.IN_PROGRESS, forced.token)

    async def test_completion_after_another_claim_leaves_the_cooldown(self) -> None:
        """Where the key was taken by a resend, the earlier holder's result is no result of the number either."""
        store = await self.open()
        first = await self.hold(store, "a", cooldown="c")
        second = await self.hold(store, "a", cooldown="c", resend=first.token, force=True)
        assert not await self.end(store, first, State.COMPLETED, "first")
        assert (await self.look(store, "c")).state is State.IN_PROGRESS
        assert (await self.look(store, "a")).token == second.token
