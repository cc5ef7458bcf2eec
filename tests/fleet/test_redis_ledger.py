"""A batch's ledger in Redis: the same batch in another run, in another process, after a crash."""

from __future__ import annotations

import asyncio

import pytest
from fleet_parts import NUMBERS, ONCE, client_on, end_lease, only
from loopback import Server, in_turn, ok, rst, silence, status

from gateway360_async import (
    Disposition,
    FailureKind,
    Gateway360Client,
    LedgerError,
    Ok,
    PinRequest,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async._records import write_result
from gateway360_async._secret import Secret
from gateway360_async.ledgers import LedgerScope, RedisLedger

UNSENT = TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT, detail="refused")
REQUEST = PinRequest(NUMBERS[0], "PIZZA")


def client_for(server, **settings):
    """Without a fleet: a ledger is a batch's own."""
    return Gateway360Client("k3y", **{"base_url": server.url, "sender": "PIZZA"} | settings)


def ledger(redis, batch="welcome", **settings):
    return RedisLedger(redis.url, batch, **settings)


def dispositions(results):
    return [result.disposition.value for result in results]


async def test_the_same_batch_again_goes_on_where_it_stopped_in_any_order(redis):
    async with Server() as server, client_for(server) as client:
        await client.send_all(NUMBERS[:5], ledger=ledger(redis))
        results = await client.send_all(NUMBERS[6::-1], ledger=ledger(redis))
    assert [type(result) for result in results] == [Ok] * 2 + [Skipped] * 5
    assert {result.reason for result in results[2:]} == {SkipReason.ALREADY_SETTLED}
    assert (dispositions(results), server.posts) == (["sent"] * 7, 7)


async def test_another_batch_payload_or_name_is_sent(redis):
    async with Server() as server, client_for(server) as client:
        for settings in ({}, {"batch": "another"}, {"name": "shop"}):
            await client.send_all(NUMBERS[:1], ledger=ledger(redis, **settings))
        await client.send_all([PinRequest(NUMBERS[0], "PASTA")], ledger=ledger(redis))
    assert server.posts == 4


async def test_two_processes_with_the_same_batch_send_each_entry_once(redis):
    async with Server() as server, client_for(server) as one, client_for(server) as other:
        both = await asyncio.gather(
            one.send_all(NUMBERS, ledger=ledger(redis)), other.send_all(NUMBERS[::-1], ledger=ledger(redis))
        )
    assert (server.posts, [dispositions(results) for results in both]) == (20, [["sent"] * 20] * 2)


async def test_a_batch_on_a_queue_of_the_same_name_has_the_same_records(redis):
    async with Server() as server, client_for(server) as client, client_on(redis, server) as worker:
        await client.send_all(NUMBERS[:1], ledger=ledger(redis))
        key = worker._fleet.key_of("welcome", REQUEST)
        assert (await worker.send(REQUEST, idempotency_key=key)).repeated
    assert server.posts == 1


async def test_who_finds_an_entry_under_way_waits_for_its_outcome(redis):
    gate = asyncio.Event()

    async def held(received):
        await gate.wait()
        await received.answer()

    async with Server(held) as server, client_for(server) as one, client_for(server) as other:
        first = asyncio.create_task(one.send_all(NUMBERS[:1], ledger=ledger(redis)))
        await server.wait(lambda: server.posts == 1)
        second = asyncio.create_task(other.send_all(NUMBERS[:1], ledger=ledger(redis)))
        await asyncio.sleep(0.05)
        assert not second.done()
        gate.set()
        (sent,), (skipped,) = await first, await second
    assert (skipped.reason, skipped.result) == (SkipReason.ALREADY_SETTLED, sent)
    assert server.posts == 1


async def crashed(redis, server):
    """Leave an entry as a process does that was killed while its answer was awaited."""
    session = await ledger(redis).open(LedgerScope(f"{server.url}/api/2fa/request", Secret("k3y")))
    assert await session.begin(0, REQUEST, resend_unknown=False) is None
    session._claimed.clear()
    await session.aclose()
    end_lease(redis)


async def test_what_a_killed_run_began_may_have_been_sent(redis):
    async with Server() as server, client_for(server) as client:
        await crashed(redis, server)
        results = []
        for _ in range(2):
            results += await client.send_all(NUMBERS[:1], ledger=ledger(redis))
        assert server.posts == 0
        again = await client.send_all(NUMBERS[:1], ledger=ledger(redis), resend_unknown=True)
    assert [(result.kind, result.disposition.value) for result in results] == [
        (FailureKind.INTERRUPTED, "maybe_sent")
    ] * 2
    assert (dispositions(again), server.posts) == (["sent"], 1)


async def test_a_lost_answer_is_skipped_and_sent_again_where_that_is_wanted(redis):
    async with Server(in_turn(rst, ok)) as server, client_for(server) as client:
        (lost,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis))
        (skipped,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis))
        (again,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis), resend_unknown=True)
        (settled,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis), resend_unknown=True)
    assert (skipped.reason, skipped.result) == (SkipReason.ALREADY_SETTLED, lost)
    assert (lost.disposition, type(again), settled.result) == (Disposition.MAYBE_SENT, Ok, again)


async def test_what_may_have_been_sent_stays_so_though_it_is_not_sent_this_time(redis):
    async with Server(in_turn(rst, status(429), ok)) as server, client_for(server, retry=ONCE) as client:
        (lost,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis))
        (this_time,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis), resend_unknown=True)
        (later,) = await client.send_all(NUMBERS[:1], ledger=ledger(redis))
    assert dispositions([lost, this_time, later]) == ["maybe_sent"] * 3
    assert this_time.kind is FailureKind.INTERRUPTED
    assert later.result == lost
    assert server.posts == 2


async def test_what_was_not_sent_is_sent_by_the_next_run(redis):
    async with Server(in_turn(status(429), ok)) as server:
        async with client_for(server, retry=ONCE) as client:
            results = [*await client.send_all(NUMBERS[:1], ledger=ledger(redis))]
            results += await client.send_all(NUMBERS[:1], ledger=ledger(redis))
    assert dispositions(results) == ["not_sent", "sent"]


async def test_what_a_batch_on_a_queue_was_told_as_not_sent_can_be_sent(redis):
    async with Server() as server, client_for(server) as client, client_on(redis, server) as follower:
        key = follower._fleet.key_of("welcome", REQUEST)
        record = follower._fleet._names.record(key)
        fingerprint = follower._fleet._names.fingerprint(REQUEST)
        state = {"s": "O", "t": "gone", "f": fingerprint, "r": write_result(UNSENT)}
        redis.client.hset(record, mapping=state)
        assert await follower._fleet.close([(key, "gone")], patience=1.0) == [True]
        closed = await follower.send(REQUEST, idempotency_key=key)
        results = await client.send_all(NUMBERS[:1], ledger=ledger(redis))
    assert (closed.disposition.value, closed.repeated) == ("not_sent", True)
    assert (dispositions(results), server.posts) == (["sent"], 1)


async def test_a_record_stays_for_the_time_to_keep_it(redis):
    async with Server() as server, client_for(server, deadline=5.0) as client:
        await client.send_all(NUMBERS[:1], ledger=ledger(redis, keep=7))
        assert 0 < redis.client.pttl(only(redis, "wish")) <= 7000


async def test_a_lease_is_longer_than_its_call(redis):
    async with Server(silence) as server, client_for(server, deadline=60.0) as client:
        async with client.batch(NUMBERS[:1], ledger=ledger(redis, keep=1)):
            await server.wait(lambda: server.posts == 1)
            assert 75_000 < redis.client.pttl(only(redis, "wish")) <= 76_000


async def test_identical_entries_of_a_batch_are_one_sms(redis):
    async with Server() as server, client_for(server, concurrency=2) as client:
        results = await client.send_all([NUMBERS[0]] * 3, ledger=ledger(redis), on_duplicate="send")
    assert (dispositions(results), server.posts) == (["sent"] * 3, 1)


async def test_a_redis_that_is_away_ends_the_batch_before_it_sends(restarting):
    restarting.kill()
    async with Server() as server, client_for(server) as client:
        with pytest.raises(LedgerError, match="in Redis cannot be asked") as caught:
            await client.send_all(NUMBERS, ledger=_impatient(restarting))
    assert server.posts == 0
    assert NUMBERS[0] not in str(caught.value)


def _impatient(redis):
    patient = ledger(redis, patience=1)
    patient._patience = 0.0  # a second is the least that it takes from a caller
    return patient


async def test_who_is_cancelled_while_it_opens_leaves_nothing_open(restarting):
    restarting.pause()
    opening = asyncio.create_task(ledger(restarting).open(LedgerScope("https://x", Secret("k3y"))))
    await asyncio.sleep(0.05)
    opening.cancel()
    await asyncio.wait((opening,))
    restarting.resume()
    assert opening.cancelled()


async def test_a_redis_that_goes_ends_the_batch_and_no_result_is_lost(restarting):
    gate = asyncio.Event()

    async def held(received):
        await gate.wait()
        await received.answer()

    items = []
    async with Server(held) as server, client_for(server, concurrency=2) as client:
        with pytest.raises(LedgerError, match="cannot be asked"):
            async with client.batch(NUMBERS, ledger=_impatient(restarting)) as batch:
                await server.wait(lambda: server.posts == 2)
                restarting.kill()
                gate.set()
                async for item in batch:
                    items.append(item)
    assert dispositions([item.result for item in items])[:2] == ["sent"] * 2
    assert {"not_sent"} >= set(dispositions([item.result for item in items])[2:])
    assert server.posts == 2


async def test_a_batch_waits_for_a_redis_that_restarts(restarting):
    async with Server() as server, client_for(server, concurrency=1) as client:
        async with client.batch(NUMBERS[:3], ledger=ledger(restarting)) as batch:
            await server.wait(lambda: server.posts == 1)
            restarting.kill()
            restarting.start()
            items = [item async for item in batch]
    assert dispositions([item.result for item in items]) == ["sent"] * 3


@pytest.fixture
async def session(redis):
    session = await ledger(redis).open(LedgerScope("https://x", Secret("k3y")))
    yield session
    await session.aclose()


@pytest.fixture
async def other(redis):
    other = await ledger(redis).open(LedgerScope("https://x", Secret("k3y")))
    yield other
    await other.aclose()


LOST = TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer", attempts=1)
UNSENT = TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT, detail="refused", attempts=1)


async def test_what_an_earlier_run_left_is_told_apart_from_what_this_one_began(session, other, redis):
    assert await session.recorded(0, REQUEST) is None
    await session.begin(0, REQUEST, resend_unknown=False)
    assert await session.recorded(0, REQUEST) is None
    left = await other.recorded(0, REQUEST)
    assert left is not None
    assert left.result is None
    await session.settle(0, LOST)
    again = await other.begin(0, REQUEST, resend_unknown=True)
    assert (again.result, again.begun_again) == (LOST, True)
    assert (await other.recorded(0, REQUEST)).result == LOST  # whatever this one has begun
    await other.settle(0, UNSENT)
    assert (await session.recorded(0, REQUEST)).result == LOST
    await other.begin(1, PinRequest(NUMBERS[1], "PIZZA"), resend_unknown=False)
    await other.settle(1, UNSENT)
    assert await session.recorded(1, PinRequest(NUMBERS[1], "PIZZA")) is None


async def test_closing_gives_up_what_was_claimed_and_not_sent(session, redis):
    leaving = await ledger(redis).open(LedgerScope("https://x", Secret("k3y")))
    await leaving.begin(0, REQUEST, resend_unknown=False)
    await leaving.aclose()
    assert await session.begin(0, REQUEST, resend_unknown=False) is None


async def test_closing_keeps_open_what_may_have_been_sent_before(session, redis):
    await session.begin(0, REQUEST, resend_unknown=False)
    await session.settle(0, LOST)
    leaving = await ledger(redis).open(LedgerScope("https://x", Secret("k3y")))
    await leaving.begin(0, REQUEST, resend_unknown=True)
    await leaving.aclose()
    assert (await session.begin(0, REQUEST, resend_unknown=False)).result == LOST


async def test_closing_does_not_wait_for_a_redis_that_is_away(restarting):
    leaving = await ledger(restarting).open(LedgerScope("https://x", Secret("k3y")))
    await leaving.begin(0, REQUEST, resend_unknown=False)
    restarting.kill()
    await leaving.aclose()


async def test_what_is_not_to_be_sent_is_not_remembered(session, other):
    await other.begin(0, REQUEST, resend_unknown=False)
    await other.settle(0, LOST)
    await session.begin(0, REQUEST, resend_unknown=False)
    assert session._claimed == {}


async def test_each_question_of_a_ledger_has_a_ledgers_error(restarting):
    session = await _impatient(restarting).open(LedgerScope("https://x", Secret("k3y")))
    await session.begin(0, REQUEST, resend_unknown=False)
    restarting.kill()
    for asked in (
        session.begin(1, REQUEST, resend_unknown=False),
        session.recorded(0, REQUEST),
        session.settle(0, LOST),
    ):
        with pytest.raises(LedgerError, match="in Redis cannot be asked"):
            await asked
    await session.aclose()


async def test_closing_waits_for_what_is_being_recorded(session, redis):
    leaving = await ledger(redis).open(LedgerScope("https://x", Secret("k3y")))
    await leaving.begin(0, REQUEST, resend_unknown=False)
    leaving.settle(0, LOST)
    await leaving.aclose()
    assert (await session.recorded(0, REQUEST)).result == LOST


async def test_left_early_it_does_not_say_not_sent_of_what_an_earlier_run_sent(redis):
    async with Server(rst) as server, client_for(server) as client:
        await client.send_all(NUMBERS[:5], ledger=ledger(redis))
        async with client.batch(NUMBERS[:5], ledger=ledger(redis), resend_unknown=True) as batch:
            for _ in range(3):
                await asyncio.sleep(0)
    assert batch.report.unread
    assert Disposition.NOT_SENT not in {item.result.disposition for item in batch.report.unread}
