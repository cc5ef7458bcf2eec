"""Claims on a real Redis: who gets a wish, what everybody else is told, and what is left of it."""

from __future__ import annotations

import attrs
import pytest
from fleet_parts import NAMES, end_lease, linked, only

from gateway360_async import ApiError, Disposition, ErrorId, FailureKind, FleetError, Ok, TransportFailure
from gateway360_async._redis._claims import Claims
from gateway360_async._redis._wishes import Limits, Verdict, Wish, new_token

A_MINUTE = 60_000
OK = Ok(attempts=1, elapsed=0.25, report_id="r1")
LOST = TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer", attempts=1)
UNSENT = TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT, detail="refused", attempts=1)
NO_BALANCE = ApiError(ErrorId.NOT_ENOUGH_BALANCE, "no", 200, attempts=1)
WISH = Wish(record="fleet:wish:1", fingerprint=b"request", keep=A_MINUTE, lease=A_MINUTE, report_id="mine")
TALKING = attrs.evolve(WISH, number="fleet:number:1", cooldown=A_MINUTE)
COUNTED = attrs.evolve(
    WISH,
    limits=Limits(
        prefix=("fleet:prefix:34", 9), everybody=("fleet:all:", 9), total=("fleet:total:", 9), window=A_MINUTE
    ),
)


@pytest.fixture
async def claims(redis):
    async with linked(redis) as link:
        yield Claims(link, NAMES)


@pytest.fixture
def ask(claims):
    """Ask for a wish with a token of its own, or the one that is given."""

    async def ask(wish=WISH, token=None, **changes):
        return await claims.admit(attrs.evolve(wish, **changes), token or new_token(), patience=0.0)

    return ask


@pytest.fixture
def settle(claims):
    async def settle(admission, result, *, counts=True):
        await claims.settle(admission, result, counts=counts, patience=0.0)

    return settle


@pytest.fixture
def look(claims):
    async def look(*records):
        found = await claims.look(records or [WISH.record], patience=0.0)
        return found if records else found[0]

    return look


async def test_one_gets_a_wish_and_the_others_hear_that_it_is_on_its_way(ask, look):
    assert await look() is None
    first, *others = [await ask() for _ in range(3)]
    assert first.verdict is Verdict.GRANTED
    assert first.admission is not None
    assert not first.admission.again
    assert [(other.verdict, other.admission, other.report_id) for other in others] == [
        (Verdict.BUSY, None, "mine")
    ] * 2
    assert 0 < others[0].left <= A_MINUTE
    left = await look()
    assert (left.verdict, left.token, left.report_id) == (Verdict.BUSY, first.admission.token, "mine")
    assert left.fingerprint == b"request"
    assert 0 < left.left <= A_MINUTE


async def test_who_asks_again_for_the_same_claim_has_it_and_is_counted_once(ask, redis):
    for _ in range(3):  # an answer may have been lost on its way
        assert (await ask(COUNTED, token="t")).verdict is Verdict.GRANTED
    assert redis.client.get("fleet:total:") == "1"
    assert redis.client.zcard("fleet:all:") == redis.client.zcard("fleet:prefix:34") == 1


@pytest.mark.parametrize("result", [OK, LOST], ids=["sent", "may have been sent"])
async def test_what_became_of_it_is_told_to_all_who_ask(ask, settle, look, result, redis):
    await settle((await ask()).admission, result)
    answer = await ask()
    settled = Verdict.SETTLED if result is OK else Verdict.UNSETTLED
    assert (answer.verdict, answer.result, answer.admission) == (settled, result, None)
    left = await look()
    assert (left.verdict, left.result) == (settled, result)
    assert 0 < redis.client.pttl(WISH.record) <= WISH.keep


async def test_saying_twice_what_became_of_it_changes_nothing(ask, settle, redis):
    admission = (await ask(COUNTED)).admission
    await ask(COUNTED, record="fleet:wish:2")
    for _ in range(3):
        await settle(admission, UNSENT, counts=False)
    assert redis.client.get("fleet:total:") == "1"
    assert redis.client.zcard("fleet:all:") == redis.client.zcard("fleet:prefix:34") == 1


async def test_a_claim_whose_lease_is_over_may_have_been_sent_and_that_is_recorded(ask, look, redis):
    await ask()
    end_lease(redis)
    assert (await look()).verdict is Verdict.UNSETTLED
    for _ in range(2):
        answer = await ask()
        assert (answer.verdict, answer.result, answer.report_id) == (Verdict.UNSETTLED, None, "mine")
    assert redis.client.hget(WISH.record, "s") == "M"
    assert 0 < redis.client.pttl(WISH.record) <= WISH.keep


async def test_who_claimed_it_last_has_the_last_word_even_after_its_lease(ask, settle, redis):
    admission = (await ask()).admission
    end_lease(redis)
    assert (await ask()).verdict is Verdict.UNSETTLED
    await settle(admission, OK)
    answer = await ask()
    assert (answer.verdict, answer.result) == (Verdict.SETTLED, OK)


async def test_whose_claim_was_taken_over_has_no_word(ask, settle, redis):
    first = (await ask(TALKING)).admission
    end_lease(redis, "wish")
    second = (await ask(TALKING, resend_unknown=True, force=True)).admission
    await settle(first, OK)
    assert [(await ask()).verdict, redis.client.hget(TALKING.number, "s")] == [Verdict.BUSY, "B"]
    await settle(second, LOST)
    assert (await ask()).result == LOST


@pytest.mark.parametrize("result", [UNSENT, NO_BALANCE], ids=["not sent", "no balance"])
async def test_what_was_not_sent_can_be_claimed_again_by_another_request_too(ask, settle, look, result):
    await settle((await ask()).admission, result, counts=False)
    left = await look()
    assert (left.verdict, left.result) == (Verdict.GRANTED, result)
    assert (await ask(fingerprint=b"another")).verdict is Verdict.GRANTED


@pytest.mark.parametrize("how_far", ["begun", "sent", "may have been sent"])
async def test_a_key_belongs_to_one_request(ask, settle, how_far):
    admission = (await ask()).admission
    if how_far != "begun":
        await settle(admission, OK if how_far == "sent" else LOST)
    assert (await ask(fingerprint=b"another")).verdict is Verdict.OTHER
    assert (await ask()).verdict is not Verdict.OTHER


async def test_a_record_stays_for_as_long_as_its_claim_and_the_time_to_keep_it(ask, redis):
    """Or a task that is delivered again while the first is under way would be a second SMS."""
    await ask(keep=1000, lease=A_MINUTE)
    assert A_MINUTE < redis.client.pttl(WISH.record) <= A_MINUTE + 1000


async def test_a_wish_without_a_key_leaves_no_record(ask, settle, redis):
    admission = (await ask(keep=0)).admission
    assert 0 < redis.client.pttl(WISH.record) <= A_MINUTE
    await settle(admission, OK)
    assert redis.client.keys("fleet:wish:*") == []


async def test_sent_again_though_it_may_have_been_sent(ask, settle, redis):
    await settle((await ask()).admission, LOST)
    first, repeated = [await ask(token="t", resend_unknown=True) for _ in range(2)]
    assert first == repeated  # the first answer may have been lost
    assert (first.admission.again, first.result) == (True, LOST)
    assert (await ask(resend_unknown=True)).verdict is Verdict.BUSY
    await settle(first.admission, OK)
    assert (await ask(resend_unknown=True)).result == OK


async def test_what_may_have_been_sent_stays_so_though_it_is_not_sent_this_time(ask, settle, look, redis):
    await ask()
    end_lease(redis)
    for known in (None, LOST):
        again = (await ask(resend_unknown=True)).admission
        left = await look()
        assert (left.again, left.before) == (True, known)
        await settle(again, UNSENT, counts=False)
        left = await look()
        assert (left.verdict, left.result) == (Verdict.UNSETTLED, known)
        await settle((await ask(resend_unknown=True)).admission, LOST)


async def test_whoever_claims_after_two_that_died_still_learns_of_the_first_ones_result(ask, settle, redis):
    await settle((await ask()).admission, LOST)
    await ask(resend_unknown=True)
    end_lease(redis)
    assert (await ask(resend_unknown=True)).result == LOST


async def test_a_number_is_sent_to_by_one_at_a_time(ask, settle):
    admission = (await ask(TALKING)).admission
    answer = await ask(TALKING, record="fleet:wish:2")
    assert (answer.verdict, answer.report_id) == (Verdict.NUMBER, "mine")
    assert 0 < answer.left <= A_MINUTE
    await settle(admission, UNSENT, counts=False)
    assert (await ask(TALKING, record="fleet:wish:2")).verdict is Verdict.GRANTED


@pytest.mark.parametrize("result", [OK, LOST], ids=["sent", "may have been sent"])
async def test_what_was_sent_to_a_number_stands_for_the_cooldown(ask, settle, result, redis):
    await settle((await ask(TALKING, keep=0)).admission, result)
    answer = await ask(TALKING, record="fleet:wish:2")
    assert (answer.verdict, answer.result) == (Verdict.COOLING, result)
    assert 0 < redis.client.pttl(TALKING.number) <= TALKING.cooldown
    assert (await ask(TALKING, record="fleet:wish:2", force=True)).verdict is Verdict.GRANTED


async def test_a_number_whose_sender_died_may_have_been_sent_to(ask, redis):
    await ask(TALKING)
    assert A_MINUTE < redis.client.pttl(TALKING.number) <= 2 * A_MINUTE
    end_lease(redis, "number")
    answer = await ask(TALKING, record="fleet:wish:2")
    assert (answer.verdict, answer.report_id) == (Verdict.HOT, "mine")


async def test_a_wish_without_a_report_has_no_id_of_one(ask, redis):
    await ask(TALKING, report_id=None)
    assert (await ask(TALKING)).report_id is None
    assert (await ask(TALKING, record="fleet:wish:2")).report_id is None


@pytest.mark.parametrize("rule", ["prefix", "everybody", "total"])
async def test_a_limit_is_the_whole_fleets(ask, settle, rule):
    key = f"fleet:{rule}:x"
    wish = attrs.evolve(WISH, limits=Limits(**{rule: (key, 1)}, window=A_MINUTE))
    admission = (await ask(wish)).admission
    refused = {"prefix": Verdict.PREFIX, "everybody": Verdict.CLIENT, "total": Verdict.TOTAL}[rule]
    assert (await ask(wish, record="fleet:wish:2")).verdict is refused
    await settle(admission, UNSENT, counts=False)
    second = (await ask(wish, record="fleet:wish:2")).admission
    assert second is not None
    await settle(second, NO_BALANCE)  # the gateway had it, so it counts
    assert (await ask(wish, record="fleet:wish:3")).verdict is refused


async def test_a_limit_of_nothing_admits_nothing(ask):
    for rule in ("prefix", "everybody", "total"):
        answer = await ask(limits=Limits(**{rule: ("fleet:none", 0)}, window=A_MINUTE))
        assert answer.admission is None
    assert (await ask()).verdict is Verdict.GRANTED


async def test_a_window_does_not_hold_its_end_and_its_memory_ends_with_it(ask, redis):
    seconds, microseconds = redis.client.time()
    now = seconds * 1000 + microseconds // 1000
    redis.client.zadd("fleet:all:", {"old": now - A_MINUTE, "new": now})
    wish = attrs.evolve(WISH, limits=Limits(everybody=("fleet:all:", 2), window=A_MINUTE))
    assert (await ask(wish)).verdict is Verdict.GRANTED
    assert "old" not in redis.client.zrange("fleet:all:", 0, -1)
    assert 0 < redis.client.pttl("fleet:all:") <= A_MINUTE
    assert (await ask(wish, record="fleet:wish:2")).verdict is Verdict.CLIENT


async def test_what_is_refused_counts_nowhere_and_claims_nothing(ask, redis):
    full = attrs.evolve(COUNTED.limits, total=("fleet:total:", 0))
    answer = await ask(TALKING, limits=full)
    assert answer.verdict is Verdict.TOTAL
    assert redis.client.keys("*") == [NAMES.memory]


async def test_why_a_wish_is_refused_is_told_to_who_waits_for_it(claims, ask, look):
    await claims.refuse(WISH, "t", UNSENT, patience=0.0)
    left = await look()
    assert (left.verdict, left.token, left.result) == (Verdict.GRANTED, "t", UNSENT)
    assert (await ask()).verdict is Verdict.GRANTED


async def test_a_refusal_takes_no_word_of_who_has_claimed_it(claims, ask, settle, look):
    await settle((await ask()).admission, OK)
    await claims.refuse(WISH, "t", UNSENT, patience=0.0)
    assert (await look()).result == OK


async def test_records_are_looked_at_together(ask, look, redis):
    await ask()
    found = await look("fleet:wish:0", WISH.record)
    assert [left and left.verdict for left in found] == [None, Verdict.BUSY]


@pytest.mark.parametrize("forgot", [True, False], ids=["forgotten", "another one"])
async def test_a_redis_that_has_forgotten_is_refused(claims, ask, look, redis, forgot):
    await ask()
    if forgot:
        redis.client.flushall()
    else:
        redis.client.set(NAMES.memory, "another")
    for asked in (ask(), look()):
        with pytest.raises(FleetError, match="has forgotten what it knew") as caught:
            await asked
        assert not caught.value.passing
    assert not (forgot and redis.client.keys("*"))


async def test_a_record_that_somebody_else_has_written_is_no_result(ask, settle, look, redis):
    await settle((await ask()).admission, OK)
    redis.client.hset(only(redis, "wish"), "r", '{"result": "34600000000"}')
    for asked in (ask(), look()):
        with pytest.raises(FleetError, match="cannot be read") as caught:
            await asked
        assert "34600000000" not in str(caught.value)


async def test_no_number_and_no_key_of_the_callers_stands_in_redis(ask, settle, redis):
    names = [
        NAMES.record("sign-up:34600000000"),
        NAMES.number("34600000000"),
        NAMES.prefix("34600000000", 1),
    ]
    wish = attrs.evolve(TALKING, record=names[0], number=names[1])
    wish = attrs.evolve(wish, limits=Limits(prefix=(names[2], 5), window=A_MINUTE))
    await settle((await ask(wish)).admission, OK)
    everything = " ".join([*redis.client.keys("*"), *map(str, map(redis.client.hgetall, names[:2]))])
    assert "34600000000" not in everything
    assert "sign-up" not in everything
