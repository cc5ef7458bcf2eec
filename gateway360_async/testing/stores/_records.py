"""The rules of idempotency records: claims, completions, leases and resends."""

from __future__ import annotations

import attrs
import pytest

from ...stores import Completion, Record, State
from .._store_racer import hashed
from ._bench import BRIEF, LONG, Bench, in_loops

__all__ = ["RecordRules"]

TEXT = "Grüße, 世界 🚀 \"'\\%s:{}\n\t\u200d" * 2_000
"""A result as long and as strange as there may be one."""

ANY = pytest.mark.parametrize("state", [State.IN_PROGRESS, State.COMPLETED, State.IN_DOUBT])
ENDED = pytest.mark.parametrize("state", [State.COMPLETED, State.IN_DOUBT])


@in_loops
class RecordRules(Bench):
    """The rules of idempotency records."""

    async def test_free_key_is_claimed(self) -> None:
        """A record that is not there is the first caller's, and others see its lease."""
        store, other = await self.open(), await self.open()
        assert (await self.look(other, "a")).state is State.FREE
        claim = await self.hold(store, "a", report_id="report ñ 1")
        seen = await self.look(other, "a")
        assert (seen.state, seen.token, seen.report_id) == (State.IN_PROGRESS, claim.token, "report ñ 1")
        assert 0 < seen.remaining <= LONG

    async def test_same_token_again_is_claimed_and_changes_nothing(self) -> None:
        """A claim whose answer was lost is asked again: its lease does not begin anew."""
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a", cooldown="c", fingerprint=b"1")
        again = attrs.evolve(claim, lease=9 * LONG)
        assert (await self.ask(other, again)).state is State.CLAIMED
        assert (await self.look(other, "a")).remaining <= LONG
        assert (await self.look(other, "c")).remaining <= LONG
        assert [answer.state for answer in await store.claim([claim, claim])] == [State.CLAIMED] * 2

    @ANY
    async def test_key_of_another_is_answered_with_its_record(self, state: State) -> None:
        """A record that is in progress, completed or in doubt is not taken, and says whose it is and what is known."""
        store, other = await self.open(), await self.open()
        claim = await self.held(store, "a", state, report_id="r")
        asked = await self.ask(other, self.claim("a"))
        assert (asked.state, asked.token, asked.report_id) == (state, claim.token, "r")
        assert (asked.result == "result of a") is (state is not State.IN_PROGRESS)
        assert (asked.remaining > 0) is (state is State.IN_PROGRESS)
        assert (asked.cooldown, asked.limit, asked.mismatch) == (False, None, False)
        seen = await self.look(store, "a")
        assert (seen.state, seen.token, seen.result, seen.report_id) == (
            state,
            claim.token,
            asked.result,
            "r",
        )

    @ANY
    async def test_other_fingerprint_is_a_mismatch(self, state: State) -> None:
        """Another payload under the same key is told; the same, or one without a fingerprint, is none."""
        store = await self.open()
        await self.held(store, "a", state, fingerprint=b"first")
        claims = [self.claim("a", fingerprint=fingerprint) for fingerprint in (b"second", b"first", b"")]
        answers = await store.claim(claims)
        assert [(answer.state, answer.mismatch) for answer in answers] == [
            (state, True),
            (state, False),
            (state, False),
        ]

    async def test_lease_over_is_in_doubt_and_not_free(self) -> None:
        """A holder that is gone may have sent: its record stays in doubt, whatever its ttl."""
        store, other = await self.open(), await self.open()
        claim = await self.lapsed(store, "a", ttl=BRIEF, fingerprint=b"1", report_id="r")
        await self.lapse(store)
        asked = await self.ask(other, self.claim("a", fingerprint=b"other"))
        assert (asked.state, asked.token, asked.result, asked.remaining, asked.mismatch, asked.report_id) == (
            (State.IN_DOUBT, claim.token, None, 0, True, "r")
        )
        assert (await self.look(other, "a")).state is State.IN_DOUBT

    async def test_lease_lasts_exactly(self) -> None:
        """A lease ends neither early nor late, by the store's clock."""
        store = await self.open()
        claim = self.claim("a", lease=5 * BRIEF)

        async def leased() -> bool:
            return (await self.look(store, "a")).state is State.IN_PROGRESS

        await self.ends_after(store, 5 * BRIEF, lambda: self.ask(store, claim), leased)

    async def test_renewed_lease_begins_anew(self) -> None:
        """A renewal gives the claim's lease from now on, longer or shorter."""
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a", cooldown="c")
        assert await store.renew([attrs.evolve(claim, lease=9 * LONG)]) == [True]
        assert LONG < (await self.look(other, "a")).remaining <= 9 * LONG
        assert LONG < (await self.look(other, "c")).remaining <= 9 * LONG
        shorter = attrs.evolve(claim, lease=5 * BRIEF)

        async def leased() -> bool:
            return (await self.look(store, "a")).state is State.IN_PROGRESS

        await self.ends_after(store, 5 * BRIEF, lambda: store.renew([shorter]), leased)

    async def test_renewal_without_a_running_lease_is_false_and_changes_nothing(self) -> None:
        """A lease that is over, ended or another holder's is not renewed."""
        store = await self.open()
        over = await self.lapsed(store, "over")
        ended = await self.held(store, "ended", State.COMPLETED)
        doubt = await self.held(store, "doubt", State.IN_DOUBT)
        await self.hold(store, "other")
        claims = [over, ended, doubt, self.claim("other", lease=9 * LONG), self.claim("none")]
        assert await store.renew(claims) == [False] * 5
        answers = await store.peek(
            [Record(hashed(name), LONG) for name in ("over", "ended", "doubt", "other", "none")]
        )
        states = [State.IN_DOUBT, State.COMPLETED, State.IN_DOUBT, State.IN_PROGRESS, State.FREE]
        assert [answer.state for answer in answers] == states
        assert answers[3].remaining <= LONG

    @ENDED
    async def test_late_completion_succeeds(self, state: State) -> None:
        """A result that comes after the lease counts while the token is the record's, and through any object."""
        store, other = await self.open(), await self.open()
        claim = await self.lapsed(store, "a")
        assert await self.end(other, claim, state, "late")
        seen = await self.look(store, "a")
        assert (seen.state, seen.result) == (state, "late")

    async def test_doubt_is_turned_into_what_is_known(self) -> None:
        """A record in doubt with a result may still be completed."""
        store = await self.open()
        claim = await self.held(store, "a", State.IN_DOUBT)
        assert await self.end(store, claim, State.COMPLETED, "sent")
        seen = await self.look(store, "a")
        assert (seen.state, seen.result) == (State.COMPLETED, "sent")

    @pytest.mark.parametrize("state", [State.COMPLETED, State.IN_DOUBT, State.FREE])
    async def test_completed_is_never_overwritten(self, state: State) -> None:
        """What is completed stays as it is, whatever comes later with the same token or another."""
        store = await self.open()
        claim = await self.held(store, "a", State.COMPLETED)
        await self.end(store, claim, state, "later")
        assert not await self.end(store, self.claim("a"), state, "another's")
        seen = await self.look(store, "a")
        assert (seen.state, seen.token, seen.result) == (State.COMPLETED, claim.token, "result of a")

    async def test_same_token_after_its_result_is_answered_with_that(self) -> None:
        """A claim that is asked again after it was completed is not granted: its request may be out."""
        store = await self.open()
        claim = await self.held(store, "a", State.COMPLETED)
        doubt = await self.held(store, "b", State.IN_DOUBT)
        answers = await store.claim([claim, doubt])
        assert [answer.state for answer in answers] == [State.COMPLETED, State.IN_DOUBT]

    @pytest.mark.parametrize("state", [State.COMPLETED, State.IN_DOUBT, State.FREE])
    async def test_same_completion_twice_is_true_and_harmless(self, state: State) -> None:
        """A completion whose answer was lost is asked again."""
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a")
        assert [await self.end(one, claim, state) for one in (store, other)] == [True, True]
        assert (await self.look(store, "a")).state is state

    async def test_free_releases_the_key(self) -> None:
        """What a passing trouble kept from being sent can be claimed again."""
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a")
        assert await self.end(store, claim, State.FREE)
        assert (await self.look(other, "a")).state is State.FREE
        await self.hold(other, "a")
        assert not await self.end(store, claim, State.FREE)
        assert (await self.look(other, "a")).state is State.IN_PROGRESS

    async def test_completion_of_an_unknown_claim_is_false_and_makes_no_record(self) -> None:
        """A result without a record is not kept."""
        store = await self.open()
        assert not await self.end(store, self.claim("a"), State.COMPLETED)
        assert not await self.end(store, self.claim("a"), State.IN_DOUBT)
        assert (await self.look(store, "a")).state is State.FREE

    async def test_claim_without_records_is_claimed_and_completed(self) -> None:
        """A claim that only counts, or wants nothing, is granted, and its completion is true."""
        store = await self.open()
        claim = await self.hold(store)
        states = (State.COMPLETED, State.IN_DOUBT, State.FREE)
        assert [await self.end(store, claim, state) for state in states] == [True] * 3

    @pytest.mark.parametrize("claimed", [True, False])
    async def test_completed_lasts_exactly_its_ttl(self, claimed: bool) -> None:
        """A result is kept for its record's ttl from its completion on, and is free then."""
        store = await self.open()
        claim = await self.hold(store, "a", ttl=5 * BRIEF)

        async def there() -> bool:
            seen = await (self.ask(store, self.claim("a")) if claimed else self.look(store, "a"))
            assert seen.state in {State.COMPLETED, State.CLAIMED if claimed else State.FREE}
            return seen.state is State.COMPLETED

        await self.ends_after(store, 5 * BRIEF, lambda: self.end(store, claim, State.COMPLETED), there)

    async def test_in_doubt_with_a_result_does_not_expire(self) -> None:
        """A record that may have been sent outlives its ttl."""
        store = await self.open()
        await self.held(store, "a", State.IN_DOUBT, ttl=BRIEF)
        await self.lapse(store)
        assert (await self.ask(store, self.claim("a"))).state is State.IN_DOUBT

    async def test_withdrawn_before_it_came_is_refused(self) -> None:
        """A claim that arrives after its withdrawal takes and counts nothing."""
        store, other = await self.open(), await self.open()
        limit = self.count("n", 1)
        claim = self.claim("a", cooldown="c", counts=(limit,))
        bare = self.claim(counts=(limit,))
        for one in (claim, bare):
            await self.end(store, one, State.FREE, give_back=(limit,), withdrawn=True)
        answers = await other.claim([claim, bare])
        assert [answer.state for answer in answers] == [State.FREE] * 2
        seen = await store.peek([Record(hashed("a"), LONG), Record(hashed("c"), LONG)])
        assert [answer.state for answer in seen] == [State.FREE] * 2
        await self.hold(other, "a", cooldown="c", counts=(limit,))

    async def test_withdrawn_after_it_came_is_released(self) -> None:
        """A claim whose answer was lost leaves nothing behind when it is withdrawn."""
        store, other = await self.open(), await self.open()
        limit = self.count("n", 1)
        claim = await self.hold(store, "a", cooldown="c", counts=(limit,))
        assert await self.end(store, claim, State.FREE, give_back=(limit,), withdrawn=True)
        await self.hold(other, "a", cooldown="c", counts=(limit,))

    @pytest.mark.parametrize("over", [True, False])
    async def test_resend_takes_what_is_in_doubt_once(self, over: bool) -> None:
        """Of two that resend what they saw, one wins; it learns the earlier result, and its payload is the record's."""
        store, other = await self.open(), await self.open()
        if over:
            first = await self.lapsed(store, "a")
        else:
            first = await self.held(store, "a", State.IN_DOUBT)
        one, two = (self.claim("a", resend=first.token, fingerprint=b"new", report_id="r") for _ in range(2))
        won = await self.ask(store, one)
        assert (won.state, won.result) == (State.CLAIMED, None if over else "result of a")
        lost = await self.ask(other, two)
        assert (lost.state, lost.token, lost.mismatch) == (State.IN_PROGRESS, one.token, False)
        assert (await self.look(other, "a")).report_id == "r"
        again = await self.ask(store, one)
        assert (again.state, again.result) == (won.state, won.result)
        assert not await self.end(store, first, State.COMPLETED, "too late")
        assert await self.end(store, one, State.COMPLETED, "resent")
        seen = await self.look(other, "a")
        assert (seen.state, seen.token, seen.result) == (State.COMPLETED, one.token, "resent")

    async def test_resend_takes_a_running_lease(self) -> None:
        """A caller that knows that the holder is gone need not wait for its lease."""
        store = await self.open()
        first = await self.hold(store, "a")
        second = await self.hold(store, "a", resend=first.token)
        assert await store.renew([first, second]) == [False, True]

    async def test_holder_that_lost_its_record_is_not_granted_again(self) -> None:
        """A late repetition of its claim finds the resend, although the number's record is still its own."""
        store, other = await self.open(), await self.open()
        first = await self.hold(store, "a", cooldown="c")
        second = await self.hold(other, "a", cooldown="c", resend=first.token, force=True)
        asked = await self.ask(store, first)
        assert (asked.state, asked.token) == (State.IN_PROGRESS, second.token)

    async def test_resend_with_another_token_takes_nothing(self) -> None:
        """What has changed since it was seen is not resent."""
        store = await self.open()
        first = await self.held(store, "a", State.IN_DOUBT)
        asked = await self.ask(store, self.claim("a", resend="another"))
        assert (asked.state, asked.token) == (State.IN_DOUBT, first.token)

    async def test_peek_with_another_fingerprint_is_a_mismatch(self) -> None:
        """A look tells another payload as a claim does."""
        store = await self.open()
        await self.held(store, "a", State.COMPLETED, fingerprint=b"first")
        records = [Record(hashed("a"), LONG, fingerprint) for fingerprint in (b"second", b"first", b"")]
        assert [answer.mismatch for answer in await store.peek(records)] == [True, False, False]

    async def test_replacement_takes_a_completed_record_once(self) -> None:
        """A corrected request takes the record that the gateway refused, by its token; released, the key is free."""
        store, other = await self.open(), await self.open()
        first = await self.held(store, "a", State.COMPLETED, fingerprint=b"wrong")
        assert (await self.ask(store, self.claim("a", replace="another"))).state is State.COMPLETED
        one, two = (self.claim("a", replace=first.token, fingerprint=b"right") for _ in range(2))
        won = await self.ask(store, one)
        assert (won.state, won.result) == (State.CLAIMED, None)
        lost = await self.ask(other, two)
        assert (lost.state, lost.token, lost.mismatch) == (State.IN_PROGRESS, one.token, False)
        assert not await self.end(store, first, State.COMPLETED, "too late")
        assert await self.end(store, one, State.FREE)
        assert (await self.look(other, "a")).state is State.FREE

    @pytest.mark.parametrize("state", [State.IN_PROGRESS, State.IN_DOUBT])
    async def test_replacement_takes_only_what_is_completed(self, state: State) -> None:
        """A record that may have been sent is no refused one."""
        store = await self.open()
        first = await self.held(store, "a", state)
        assert (await self.ask(store, self.claim("a", replace=first.token))).state is state

    async def test_resend_never_takes_what_is_completed(self) -> None:
        """A late result wins over a resend that was decided before it came."""
        store = await self.open()
        first = await self.lapsed(store, "a")
        assert await self.end(store, first, State.COMPLETED, "late")
        asked = await self.ask(store, self.claim("a", resend=first.token))
        assert (asked.state, asked.result) == (State.COMPLETED, "late")

    @pytest.mark.parametrize("over", [True, False])
    async def test_resend_that_was_not_sent_is_in_doubt_again(self, over: bool) -> None:
        """The first attempt may have been sent: releasing the second never frees the key."""
        store, other = await self.open(), await self.open()
        if over:
            first = await self.lapsed(store, "a")
        else:
            first = await self.held(store, "a", State.IN_DOUBT)
        second = await self.hold(store, "a", resend=first.token)
        assert [await self.end(one, second, State.FREE) for one in (store, other)] == [True, True]
        seen = await self.look(other, "a")
        assert (seen.state, seen.result) == (State.IN_DOUBT, None if over else "result of a")
        third = await self.hold(store, "a", resend=seen.token)
        assert await self.end(store, third, State.FREE)
        assert (await self.look(other, "a")).state is State.IN_DOUBT

    async def test_resend_whose_lease_is_over_is_in_doubt_with_the_earlier_result(self) -> None:
        """A machine that is killed in a resend loses nothing of what was known."""
        store = await self.open()
        first = await self.held(store, "a", State.IN_DOUBT)
        second = await self.lapsed(store, "a", resend=first.token)
        seen = await self.look(store, "a")
        assert (seen.state, seen.token, seen.result) == (State.IN_DOUBT, second.token, "result of a")

    async def test_items_of_a_list_see_the_earlier_ones(self) -> None:
        """Two claims for one record in one list do not both get it, whatever they want it as."""
        store = await self.open()
        first, second, third, other = (self.claim(name, cooldown="c") for name in ("a", "a", "b", "a"))
        answers = await store.claim([first, second, third, attrs.evolve(other, cooldown=None)])
        assert [(answer.state, answer.cooldown) for answer in answers] == [
            (State.CLAIMED, False),
            (State.IN_PROGRESS, False),
            (State.IN_PROGRESS, True),
            (State.IN_PROGRESS, False),
        ]
        assert {answer.token for answer in answers[1:]} == {first.token}
        ends = [
            Completion(claim=first, state=State.IN_DOUBT, result="one"),
            Completion(claim=second, state=State.COMPLETED, result="not mine"),
            Completion(claim=first, state=State.COMPLETED, result="two"),
            Completion(claim=first, state=State.COMPLETED, result="three"),
        ]
        assert await store.complete(ends) == [True, False, True, True]
        assert (await self.look(store, "a")).result == "two"

    async def test_long_lists_are_answered_in_their_order(self) -> None:
        """A list has up to 500 items."""
        store = await self.open()
        claims = [self.claim(f"{number}", report_id=f"r{number}") for number in range(500)]
        assert {answer.state for answer in await store.claim(claims)} == {State.CLAIMED}
        assert await store.renew(claims) == [True] * 500
        ends = [Completion(claim=claim, state=State.COMPLETED, result=claim.token) for claim in claims]
        assert await store.complete(ends) == [True] * 500
        answers = await store.peek([Record(hashed(f"{number}"), LONG) for number in reversed(range(500))])
        assert [(answer.result, answer.report_id) for answer in reversed(answers)] == [
            (claim.token, claim.report_id) for claim in claims
        ]
        mixed = [self.claim(f"{number}") for number in (499, 1000, 0)]
        states = [(answer.state, answer.report_id) for answer in await store.claim(mixed)]
        assert (states[0], states[2]) == ((State.COMPLETED, "r499"), (State.COMPLETED, "r0"))
        assert states[1][0] is State.CLAIMED

    async def test_empty_lists_have_empty_answers(self) -> None:
        """Nothing asked is nothing answered."""
        store = await self.open()
        calls = (store.claim([]), store.complete([]), store.renew([]), store.peek([]))
        assert [await call for call in calls] == [[]] * 4

    async def test_texts_and_bytes_are_kept_as_they_are(self) -> None:
        """Results, report ids and fingerprints are opaque: of any length, characters and bytes."""
        store, other = await self.open(), await self.open()
        fingerprint = bytes(range(256))
        claim = await self.hold(store, "a", fingerprint=fingerprint, report_id=TEXT[:200])
        assert await self.end(store, claim, State.COMPLETED, TEXT)
        asked = await self.ask(other, self.claim("a", fingerprint=fingerprint))
        assert (asked.result, asked.report_id, asked.mismatch) == (TEXT, TEXT[:200], False)
        empty = await self.hold(store, "b", report_id="")
        assert await self.end(store, empty, State.COMPLETED, "")
        seen = await self.look(other, "b")
        assert (seen.state, seen.result) == (State.COMPLETED, "")

    async def test_keys_of_any_bytes_are_told_apart(self) -> None:
        """Keys are bytes, zeros and line ends among them."""
        store = await self.open()
        keys = [bytes(16), bytes(15) + b"\1", b"\n" * 16, b"}:*?[a]\\\xff\0\r\n\"' %", b"\xff" * 16]
        claims = [self.claim(record=Record(key, LONG)) for key in keys]
        assert [answer.state for answer in await store.claim(claims)] == [State.CLAIMED] * 5
        seen = await store.peek([Record(key, LONG) for key in keys])
        assert [answer.token for answer in seen] == [claim.token for claim in claims]
