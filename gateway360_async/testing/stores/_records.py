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

STATES = pytest.mark.parametrize("state", [State.IN_PROGRESS, State.COMPLETED, State.IN_DOUBT])
ENDS = pytest.mark.parametrize("state", [State.COMPLETED, State.IN_DOUBT, State.FREE])
OVER = pytest.mark.parametrize("over", [True, False])


@in_loops
class RecordRules(Bench):
    """The rules of idempotency records."""

    async def test_free_key_is_claimed_and_its_lease_is_seen(self) -> None:
        store, other = await self.open(), await self.open()
        assert await self.states(other, "a") == [State.FREE]
        claim = await self.hold(store, "a", report_id="report ñ 1")
        seen = await self.look(other, "a")
        assert (seen.state, seen.token, seen.report_id) == (State.IN_PROGRESS, claim.token, "report ñ 1")
        assert 0 < seen.remaining <= LONG

    async def test_same_token_again_is_claimed_and_changes_nothing(self) -> None:
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a", cooldown="c", fingerprint=b"1")
        again = attrs.evolve(claim, lease=9 * LONG)
        assert (await self.ask(other, again)).state is State.CLAIMED
        for name in ("a", "c"):
            assert (await self.look(other, name)).remaining <= LONG
        assert [answer.state for answer in await store.claim([claim, claim])] == [State.CLAIMED] * 2

    @STATES
    async def test_key_of_another_is_answered_with_its_record(self, state: State) -> None:
        store, other = await self.open(), await self.open()
        claim = await self.held(store, "a", state, report_id="r")
        asked = await self.ask(other, self.claim("a"))
        for answer in (asked, await self.look(store, "a")):
            assert (answer.state, answer.token, answer.report_id) == (state, claim.token, "r")
            assert (answer.result == "result of a") is (state is not State.IN_PROGRESS)
            assert (answer.remaining > 0) is (state is State.IN_PROGRESS)
        assert (asked.cooldown, asked.limit, asked.mismatch) == (False, None, False)

    @STATES
    async def test_other_fingerprint_is_a_mismatch(self, state: State) -> None:
        store = await self.open()
        await self.held(store, "a", state, fingerprint=b"first")
        prints = (b"second", b"first", b"")
        asked = await store.claim([self.claim("a", fingerprint=one) for one in prints])
        seen = await store.peek([Record(hashed("a"), LONG, one) for one in prints])
        for answers in (asked, seen):
            found = [(answer.state, answer.mismatch) for answer in answers]
            assert found == [(state, True), (state, False), (state, False)]

    async def test_lease_that_is_over_leaves_the_record_in_doubt(self) -> None:
        """Whatever its ttl: a holder that is gone may have sent."""
        store, other = await self.open(), await self.open()
        claim = await self.lapsed(store, "a", ttl=BRIEF, fingerprint=b"1", report_id="r")
        await self.lapse(store)
        asked = await self.ask(other, self.claim("a", fingerprint=b"other"))
        assert (asked.state, asked.token, asked.report_id) == (State.IN_DOUBT, claim.token, "r")
        assert (asked.result, asked.remaining, asked.mismatch) == (None, 0, True)
        assert await self.states(other, "a") == [State.IN_DOUBT]

    @pytest.mark.parametrize("renewed", [True, False])
    async def test_lease_lasts_exactly(self, renewed: bool) -> None:
        """From its claim or its renewal on, which may make it shorter."""
        store, claim = await self.open(), self.claim("a", lease=5 * BRIEF)
        if renewed:
            await self.ask(store, attrs.evolve(claim, lease=LONG))

        async def leased() -> bool:
            return await self.states(store, "a") == [State.IN_PROGRESS]

        await self.ends_after(
            store, 5 * BRIEF, lambda: store.renew([claim]) if renewed else store.claim([claim]), leased
        )

    async def test_renewal_makes_the_leases_of_both_records_longer(self) -> None:
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a", cooldown="c")
        assert await store.renew([attrs.evolve(claim, lease=9 * LONG)]) == [True]
        for name in ("a", "c"):
            assert LONG < (await self.look(other, name)).remaining <= 9 * LONG

    async def test_renewal_without_a_running_lease_changes_nothing(self) -> None:
        store = await self.open()
        over = await self.lapsed(store, "over")
        ended = await self.held(store, "ended", State.COMPLETED)
        doubt = await self.held(store, "doubt", State.IN_DOUBT)
        await self.hold(store, "other")
        claims = [over, ended, doubt, self.claim("other", lease=9 * LONG), self.claim("none")]
        assert await store.renew(claims) == [False] * 5
        states = [State.IN_DOUBT, State.COMPLETED, State.IN_DOUBT, State.IN_PROGRESS, State.FREE]
        assert await self.states(store, "over", "ended", "doubt", "other", "none") == states
        assert (await self.look(store, "other")).remaining <= LONG

    @ENDS
    async def test_completion_is_taken_late_and_again(self, state: State) -> None:
        """After the lease, through any object, and a second time where its answer was lost."""
        store, other = await self.open(), await self.open()
        claim = await self.lapsed(store, "a")
        assert [await self.end(one, claim, state, "late") for one in (other, store)] == [True, True]
        seen = await self.look(store, "a")
        assert (seen.state, seen.result) == (state, None if state is State.FREE else "late")

    async def test_record_in_doubt_is_turned_into_what_is_known(self) -> None:
        store = await self.open()
        claim = await self.held(store, "a", State.IN_DOUBT)
        assert await self.end(store, claim, State.COMPLETED, "sent")
        seen = await self.look(store, "a")
        assert (seen.state, seen.result) == (State.COMPLETED, "sent")

    @ENDS
    async def test_completed_record_is_never_overwritten(self, state: State) -> None:
        store = await self.open()
        claim = await self.held(store, "a", State.COMPLETED)
        await self.end(store, claim, state, "later")
        assert not await self.end(store, self.claim("a"), state, "another's")
        seen = await self.look(store, "a")
        assert (seen.state, seen.token, seen.result) == (State.COMPLETED, claim.token, "result of a")

    async def test_same_token_after_its_result_is_not_granted(self) -> None:
        """Its request may be out."""
        store = await self.open()
        ended = [await self.held(store, "a", State.COMPLETED), await self.held(store, "b", State.IN_DOUBT)]
        answers = await store.claim(ended)
        assert [answer.state for answer in answers] == [State.COMPLETED, State.IN_DOUBT]

    async def test_released_key_can_be_claimed_again(self) -> None:
        store, other = await self.open(), await self.open()
        claim = await self.hold(store, "a")
        assert await self.end(store, claim, State.FREE)
        assert await self.states(other, "a") == [State.FREE]
        await self.hold(other, "a")
        assert not await self.end(store, claim, State.FREE)
        assert await self.states(other, "a") == [State.IN_PROGRESS]

    async def test_completion_of_an_unknown_claim_makes_no_record(self) -> None:
        store = await self.open()
        for state in (State.COMPLETED, State.IN_DOUBT):
            assert not await self.end(store, self.claim("a"), state)
        assert await self.states(store, "a") == [State.FREE]

    async def test_claim_without_records_is_claimed_and_completed(self) -> None:
        store = await self.open()
        claim = await self.hold(store)
        states = (State.COMPLETED, State.IN_DOUBT, State.FREE)
        assert [await self.end(store, claim, state) for state in states] == [True] * 3

    @pytest.mark.parametrize("claimed", [True, False])
    async def test_completed_record_lasts_exactly_its_ttl(self, claimed: bool) -> None:
        store = await self.open()
        claim = await self.hold(store, "a", ttl=5 * BRIEF)

        async def there() -> bool:
            seen = await (self.ask(store, self.claim("a")) if claimed else self.look(store, "a"))
            assert seen.state in {State.COMPLETED, State.CLAIMED if claimed else State.FREE}
            return seen.state is State.COMPLETED

        await self.ends_after(store, 5 * BRIEF, lambda: self.end(store, claim, State.COMPLETED), there)

    async def test_record_in_doubt_with_a_result_does_not_expire(self) -> None:
        store = await self.open()
        await self.held(store, "a", State.IN_DOUBT, ttl=BRIEF)
        await self.lapse(store)
        assert (await self.ask(store, self.claim("a"))).state is State.IN_DOUBT

    @pytest.mark.parametrize("late", [True, False])
    async def test_withdrawn_claim_takes_and_counts_nothing(self, late: bool) -> None:
        """Whether it came before its withdrawal, or comes late."""
        store, other = await self.open(), await self.open()
        limit = self.count("n", 1)
        claims = [self.claim("a", cooldown="c", counts=(limit,)), self.claim(counts=(limit,))]
        for claim in claims:
            if not late:
                assert (await self.ask(store, claim)).state is State.CLAIMED
            assert await self.end(store, claim, State.FREE, give_back=(limit,), withdrawn=True)
        if late:
            assert [answer.state for answer in await other.claim(claims)] == [State.FREE] * 2
        assert await self.states(store, "a", "c") == [State.FREE] * 2
        await self.hold(other, "a", cooldown="c", counts=(limit,))

    @OVER
    async def test_resend_takes_a_record_in_doubt_once(self, over: bool) -> None:
        """The winner learns the earlier result, and its payload is the record's."""
        store, other = await self.open(), await self.open()
        first = await self.doubtful(store, "a", over=over)
        one, two = (self.claim("a", resend=first.token, fingerprint=b"new", report_id="r") for _ in range(2))
        for _ in range(2):
            won = await self.ask(store, one)
            assert (won.state, won.result) == (State.CLAIMED, None if over else "result of a")
        lost = await self.ask(other, two)
        assert (lost.state, lost.token, lost.mismatch) == (State.IN_PROGRESS, one.token, False)
        assert (await self.look(other, "a")).report_id == "r"
        assert not await self.end(store, first, State.COMPLETED, "too late")
        assert await self.end(store, one, State.COMPLETED, "resent")
        seen = await self.look(other, "a")
        assert (seen.state, seen.token, seen.result) == (State.COMPLETED, one.token, "resent")

    async def test_resend_takes_a_running_lease(self) -> None:
        """A late repetition of the first claim finds the resend, although the cooldown's record is its own."""
        store, other = await self.open(), await self.open()
        first = await self.hold(store, "a", cooldown="c")
        second = await self.hold(other, "a", cooldown="c", resend=first.token, force=True)
        assert await store.renew([first, second]) == [False, True]
        asked = await self.ask(store, first)
        assert (asked.state, asked.token) == (State.IN_PROGRESS, second.token)

    async def test_resend_with_another_token_takes_nothing(self) -> None:
        store = await self.open()
        first = await self.held(store, "a", State.IN_DOUBT)
        asked = await self.ask(store, self.claim("a", resend="another"))
        assert (asked.state, asked.token) == (State.IN_DOUBT, first.token)

    async def test_resend_never_takes_a_completed_record(self) -> None:
        store = await self.open()
        first = await self.lapsed(store, "a")
        assert await self.end(store, first, State.COMPLETED, "late")
        asked = await self.ask(store, self.claim("a", resend=first.token))
        assert (asked.state, asked.result) == (State.COMPLETED, "late")

    @OVER
    async def test_resend_that_was_not_sent_is_in_doubt_again(self, over: bool) -> None:
        store, other = await self.open(), await self.open()
        token = (await self.doubtful(store, "a", over=over)).token
        for _ in range(2):
            resend = await self.hold(store, "a", resend=token)
            assert [await self.end(one, resend, State.FREE) for one in (store, other)] == [True, True]
            seen = await self.look(other, "a")
            assert (seen.state, seen.result) == (State.IN_DOUBT, None if over else "result of a")
            token = seen.token

    async def test_resend_whose_lease_is_over_keeps_the_earlier_result(self) -> None:
        store = await self.open()
        first = await self.held(store, "a", State.IN_DOUBT)
        second = await self.lapsed(store, "a", resend=first.token)
        seen = await self.look(store, "a")
        assert (seen.state, seen.token, seen.result) == (State.IN_DOUBT, second.token, "result of a")

    async def test_replacement_takes_a_completed_record_once(self) -> None:
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
        assert await self.states(other, "a") == [State.FREE]

    @pytest.mark.parametrize("state", [State.IN_PROGRESS, State.IN_DOUBT])
    async def test_replacement_takes_only_a_completed_record(self, state: State) -> None:
        store = await self.open()
        first = await self.held(store, "a", state)
        assert (await self.ask(store, self.claim("a", replace=first.token))).state is state

    async def test_items_of_a_list_see_the_earlier_ones(self) -> None:
        store = await self.open()
        first, second, third, other = (self.claim(name, cooldown="c") for name in ("a", "a", "b", "a"))
        answers = await store.claim([first, second, third, attrs.evolve(other, cooldown=None)])
        assert [answer.state for answer in answers] == [State.CLAIMED, *[State.IN_PROGRESS] * 3]
        assert [answer.cooldown for answer in answers] == [False, False, True, False]
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
        answers = await store.peek([Record(hashed(f"{number}"), LONG) for number in range(500)])
        told = [(answer.result, answer.report_id) for answer in answers]
        assert told == [(claim.token, claim.report_id) for claim in claims]
        first, new, last = await store.claim([self.claim(f"{number}") for number in (499, 1000, 0)])
        assert [first.report_id, new.state, last.report_id] == ["r499", State.CLAIMED, "r0"]

    async def test_empty_lists_have_empty_answers(self) -> None:
        store = await self.open()
        calls = (store.claim([]), store.complete([]), store.renew([]), store.peek([]))
        assert [await call for call in calls] == [[]] * 4

    async def test_texts_and_bytes_are_kept_as_they_are(self) -> None:
        """Of any length, characters and bytes."""
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
        store = await self.open()
        keys = [bytes(16), bytes(15) + b"\1", b"\n" * 16, b"}:*?[a]\\\xff\0\r\n\"' %", b"\xff" * 16]
        claims = [self.claim(record=Record(key, LONG)) for key in keys]
        assert [answer.state for answer in await store.claim(claims)] == [State.CLAIMED] * 5
        seen = await store.peek([Record(key, LONG) for key in keys])
        assert [answer.token for answer in seen] == [claim.token for claim in claims]
