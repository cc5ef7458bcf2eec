"""A batch with a name: one SMS to a number, however many runs and machines, and the account of all rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import attrs
import pytest
from support.loopback import Server, in_turn, ok, silence, status
from support.scripted_store import AWAY, BROKEN, Gate, ScriptedStore, failing

from gateway360_async import (
    ClientClosed,
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    Ok,
    PinRequest,
    RetryPolicy,
    Skipped,
    SpendGuard,
    StoreError,
    TransportFailure,
)
from gateway360_async._batch import _named, _records, _rows
from gateway360_async._runner import _lanes, _session, _store_admission
from gateway360_async.delivery import DeliveryReports
from gateway360_async.stores import State
from gateway360_async.testing import FakeClock
from gateway360_async.testing._memory_store import Memory

NUMBERS = [str(34600000000 + n) for n in range(200)]
NUMBER = NUMBERS[0]
REFUSED = status(400, b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"no"}')
UNPAID = status(400, b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE","error_msg":"no"}')


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(_lanes, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(_session, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(_store_admission, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(_rows, "_POLL", 0.001)
    monkeypatch.setattr(_rows, "_GAP", 1e-9)


@pytest.fixture
def gone(monkeypatch):
    """Let the holders of leases be processes that run no more."""
    monkeypatch.setattr(_rows, "is_gone", lambda _token: True)


async def close(received) -> None:
    received.writer.close()


def client_for(server: Server, store, **settings) -> Gateway360Client:
    given = {"base_url": server.url, "sender": "PIZZA", "store": store} | settings
    return Gateway360Client(given.pop("api_key", "k3y"), **given)


def outcome(result) -> str:
    if isinstance(result, Skipped):
        return f"{result.reason}" + ("" if result.result is None else f" {result.result.disposition}")
    return str(result.disposition)


async def run(server, memory, rows=NUMBERS[:3], *, settings=None, **batch) -> list[str]:
    """Run a batch to its end, with a client of its own."""
    async with client_for(server, ScriptedStore(memory), **settings or {}) as client:
        return [outcome(result) for result in await client.send_all(rows, name="1", **batch)]


async def leave_in_doubt(server, memory, rows=(NUMBER,), **settings) -> None:
    """Let a process end whose requests are on their way, and whose leases end with it."""
    posts = server.posts
    behaviour, server.behaviour = server.behaviour, silence
    store = ScriptedStore(memory)
    async with client_for(server, store, **settings) as client:
        store.before["complete"] = failing(BROKEN)
        async with client.batch(rows, name="1"):
            await server.wait(lambda: server.posts == posts + len(rows))
    server.behaviour = behaviour


# --- One SMS to a number -------------------------------------------------------------------------------------------


async def test_batch_that_runs_again_sends_nothing_and_knows_all():
    memory = Memory()
    async with Server() as server:
        assert await run(server, memory) == ["sent"] * 3
        again = await run(server, memory, NUMBERS[:4], settings={"api_key": "n3w"})
        assert again == ["already_completed sent"] * 3 + ["sent"]
        assert server.posts == 4
        other = client_for(server, ScriptedStore(memory))
        async with other:
            assert [outcome(result) for result in await other.send_all([NUMBER], name="2")] == ["sent"]


async def test_batch_on_another_gateway_has_rows_of_its_own():
    memory = Memory()
    async with Server() as server, Server() as rehearsal:
        assert await run(rehearsal, memory) == await run(server, memory) == ["sent"] * 3


async def test_row_is_claimed_first_and_given_out_when_recorded():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["claim"], store.before["complete"] = claim, complete = Gate(), Gate()
        async with client.batch([NUMBER], name="1") as batch:
            await claim.reached.wait()
            assert server.posts == 0
            claim.opened.set()
            await complete.reached.wait()
            assert batch.report.total == 0
            complete.opened.set()
            assert [item.index async for item in batch] == [0]


async def test_row_that_was_corrected_after_it_was_sent_is_reported():
    memory = Memory()
    async with Server() as server:
        await run(server, memory, [PinRequest(NUMBER, "PIZZA")])
        async with client_for(server, ScriptedStore(memory)) as client:
            (result,) = await client.send_all([PinRequest(NUMBER, "PASTA")], name="1")
    assert outcome(result) == "already_completed sent"
    assert "a correction is not sent" in result.detail
    assert server.posts == 1


async def test_row_that_was_corrected_after_a_final_refusal_is_sent():
    memory = Memory()
    async with Server(REFUSED) as server:
        rows, settings = [PinRequest(NUMBER, "PIZZA")], {"cooldown": 60}
        assert await run(server, memory, rows, settings=settings) == ["not_sent"]
        assert await run(server, memory, rows, settings=settings) == ["already_completed not_sent"]
        server.behaviour = ok
        corrected = [PinRequest(NUMBER, "PASTA")]
        assert await run(server, memory, corrected, settings=settings) == ["sent"]
        assert await run(server, memory, rows, settings=settings) == ["already_completed sent"]
    assert server.posts == 2


async def test_row_unsent_for_a_passing_reason_is_sent_by_the_next_run():
    memory = Memory()
    once = {"settings": {"retry": RetryPolicy(max_attempts=1)}}
    async with Server(in_turn(status(429), ok)) as server:
        assert await run(server, memory, [NUMBER], **once) == ["not_sent"]
        assert await run(server, memory, [NUMBER], **once) == ["sent"]


async def test_duplicates_are_skipped_or_counted_as_occurrences():
    memory = Memory()
    rows = [NUMBER, f"+{NUMBER}", NUMBERS[1], "x"]
    async with Server() as server:
        assert await run(server, memory, rows) == ["sent", "duplicate", "sent", "invalid"]
        assert await run(server, Memory(), rows[:3], on_duplicate="send") == ["sent"] * 3
        twice = Memory()
        assert await run(server, twice, rows[:1], on_duplicate="send") == ["sent"]
        assert await run(server, twice, rows[:2], on_duplicate="send") == ["already_completed sent", "sent"]


# --- What may have been sent (rule 3) ------------------------------------------------------------------------------


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.usefixtures("gone")
async def test_row_in_doubt_is_sent_only_with_resend_maybe_sent(corrected):
    memory = Memory()
    row = PinRequest(NUMBER, "PASTA" if corrected else "PIZZA")
    async with Server() as server:
        await leave_in_doubt(server, memory)
        assert await run(server, memory, [row]) == ["maybe_sent"]
        assert server.posts == 1
        assert await run(server, memory, [row], resend_maybe_sent=True) == ["sent"]
        assert await run(server, memory, [row], resend_maybe_sent=True) == ["already_completed sent"]
    assert server.posts == 2


async def test_lost_answer_is_in_doubt_with_its_result():
    memory = Memory()
    async with Server(in_turn(close, ok)) as server:
        assert await run(server, memory, [NUMBER]) == ["maybe_sent"]
        assert await run(server, memory, [NUMBER]) == ["already_completed maybe_sent"]
        assert await run(server, memory, [NUMBER], resend_maybe_sent=True) == ["sent"]


@pytest.mark.parametrize("trouble", ["refusal", "claim", "broken", "guard", "permits", "slot", "cancelled"])
async def test_resend_that_is_not_sent_may_have_been_sent_before(trouble):
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    settings = {"reports": reports}
    async with Server(in_turn(close, silence if trouble in ("slot", "cancelled") else REFUSED)) as server:
        async with client_for(server, ScriptedStore(memory), **settings) as client:
            (first,) = await client.send_all([NUMBER], name="1")
        store = ScriptedStore(memory)
        if trouble == "guard":
            settings["guard"] = SpendGuard(total=0)
        if trouble == "permits":
            settings["rate"] = 100.0
            store.before["permits"] = failing(AWAY)
        if trouble in ("claim", "broken"):
            store.before["claim"] = failing(None, AWAY if trouble == "claim" else BROKEN)
        concurrency = 1 if trouble == "slot" else None
        async with client_for(server, store, **settings) as client:
            if trouble == "cancelled":
                store.before["claim"] = gate = Gate()
            rows = [NUMBERS[1], NUMBER] if trouble == "slot" else [NUMBER]
            batch = client.batch(rows, name="1", resend_maybe_sent=True, concurrency=concurrency)
            async with batch:
                if trouble == "slot":
                    await store.wait(lambda: len(store.of("claim")) == 3)
                    for _ in range(10):
                        await asyncio.sleep(0)
                elif trouble == "cancelled":
                    store.before["claim"] = failing(None)
                    gate.opened.set()
                    await store.wait(lambda: len(store.of("claim")) == 2)
                else:
                    items = []
                    with contextlib.suppress(StoreError):
                        async for item in batch:
                            items.append(item)
            if trouble in ("slot", "cancelled"):
                items = [item for item in batch.report.unconsumed if item.request.msisdn == NUMBER]
            (result,) = [item.result for item in items]
            assert result.disposition is Disposition.MAYBE_SENT
            assert "an earlier run may have sent it" in result.detail
            assert result.report_id == first.report_id
        async with client_for(server, ScriptedStore(memory)) as client:
            (again,) = await client.send_all([NUMBER], name="1")
    assert outcome(again) == "already_completed maybe_sent"
    assert again.result.report_id == first.report_id


async def test_report_of_sms_in_doubt_is_told_by_every_run(gone):
    """Whether the earlier run ended with a result or with its process, and whatever the resend comes to."""
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    async with Server(silence) as server:
        await leave_in_doubt(server, memory, reports=reports)
        token = server.requests[0].json["report_url"].rpartition("/")[2]
        sent = reports._tokens.report_id_of(token)
        server.behaviour = REFUSED
        told = []
        for resend in (False, True, False, True):
            async with client_for(server, ScriptedStore(memory), reports=reports) as client:
                (result,) = await client.send_all([NUMBER], name="1", resend_maybe_sent=resend)
                told.append((result.disposition, result.report_id))
    assert told == [(Disposition.MAYBE_SENT, sent)] * 4
    assert len({request.json["report_url"] for request in server.requests}) == 1


@pytest.mark.parametrize("before", [True, False], ids=["reports before", "reports now"])
async def test_resend_not_sent_has_the_report_of_the_sms_before(before):
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    results = []
    async with Server(in_turn(close, REFUSED)) as server:
        for made in (before, not before):
            settings = {"reports": reports if made else None}
            async with client_for(server, ScriptedStore(memory), **settings) as client:
                results += await client.send_all([NUMBER], name="1", resend_maybe_sent=True)
    assert [result.disposition for result in results] == [Disposition.MAYBE_SENT] * 2
    assert (results[0].report_id is not None) is before
    assert results[1].report_id == results[0].report_id


async def test_rows_in_doubt_that_wait_for_resend_stay_in_doubt(monkeypatch):
    memory, rows, has_ended = Memory(), NUMBERS[:60], asyncio.Event()
    monkeypatch.setattr(_rows, "is_gone", lambda _token: has_ended.is_set())
    async with Server() as server:
        await leave_in_doubt(server, memory, rows)
        server.behaviour, store = silence, ScriptedStore(memory)
        async with client_for(server, store, concurrency=1) as client:
            async with client.batch(rows, name="1", resend_maybe_sent=True) as batch:
                await store.wait(lambda: len(store.of("peek")) > len(rows))  # all are set aside
                has_ended.set()
                await server.wait(lambda: server.posts == len(rows) + 1)
        left = [item.result.disposition for item in batch.report.unconsumed]
    assert left == [Disposition.MAYBE_SENT] * len(rows)


async def test_resend_that_waits_for_its_turn_is_given_back():
    memory = Memory()
    async with Server(close) as server:
        await run(server, memory, [NUMBER])
        server.behaviour = silence
        settings = {"guard": SpendGuard(per_client=2)}
        async with client_for(server, ScriptedStore(memory), **settings) as client:
            before = asyncio.create_task(client.request_pin(NUMBER, sender="OTHER"))
            await server.wait(lambda: server.posts == 2)
            async with client.batch([NUMBER], name="1", resend_maybe_sent=True):
                while NUMBER not in client._core.single_flight._queues:
                    await asyncio.sleep(0)
            server.behaviour = ok
            assert isinstance(await client.request_pin(NUMBERS[1]), Ok)  # the second of two
            before.cancel()
            await asyncio.wait([before])
        (again,) = await run(server, memory, [NUMBER])
    assert again == "already_completed maybe_sent"


async def test_row_left_before_its_claim_is_answered_is_the_stores():
    """An earlier run may have sent it: `STORE` says that only the store knows."""
    memory = Memory()
    async with Server() as server:
        await run(server, memory, [NUMBER])
        store = ScriptedStore(memory)
        store.before["claim"] = gate = Gate()
        async with client_for(server, store) as client:
            async with client.batch([NUMBER], name="1") as batch:
                await gate.reached.wait()
            gate.opened.set()
            (item,) = batch.report.unconsumed
    assert (item.result.disposition, item.result.kind) == (Disposition.NOT_SENT, FailureKind.STORE)


async def test_row_of_another_holder_has_the_id_of_its_report():
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    async with Server(silence) as server:
        async with client_for(server, ScriptedStore(memory), reports=reports) as holder:
            async with holder.batch([NUMBER], name="1") as batch:
                await server.wait(lambda: server.posts == 1)
                store = ScriptedStore(memory)
                async with client_for(server, store, reports=reports) as other:
                    async with other.batch([NUMBER], name="1") as shared:
                        await store.wait(lambda: len(store.of("peek")) > 0)
            (sent,) = batch.report.unconsumed
        (item,) = shared.report.unconsumed
    assert item.result.disposition is Disposition.MAYBE_SENT
    assert item.result.report_id == sent.result.report_id is not None


async def test_of_two_runs_that_resend_one_does():
    memory = Memory()
    async with Server(close) as server:
        await run(server, memory, [NUMBER])
        server.behaviour = ok
        one, other = ScriptedStore(memory), ScriptedStore(memory)
        async with client_for(server, one) as first, client_for(server, other) as second:
            gates = one.before["claim"], other.before["claim"] = Gate(), Gate()
            runs = [
                asyncio.create_task(client.send_all([NUMBER], name="1", resend_maybe_sent=True))
                for client in (first, second)
            ]
            for gate in gates:
                await gate.reached.wait()
            for gate in gates:
                gate.opened.set()
            results = await asyncio.gather(*runs)
    assert sorted(outcome(result) for (result,) in results) == ["already_completed sent", "sent"]
    assert server.posts == 2


async def test_resending_wants_a_name():
    async with Gateway360Client("k3y", sender="PIZZA") as client:
        with pytest.raises(InvalidConfiguration, match="resend_maybe_sent"):
            client.batch([], resend_maybe_sent=True)
        with pytest.raises(InvalidConfiguration, match="without a store"):
            client.batch([], name="1")
        with pytest.raises(InvalidConfiguration, match="name"):
            client.batch([], name="")


# --- Several machines ------------------------------------------------------------------------------------------------


async def test_two_clients_share_a_batch_and_both_report_all_rows():
    memory = Memory()
    async with Server() as server:
        async with (
            client_for(server, ScriptedStore(memory), concurrency=3) as one,
            client_for(server, ScriptedStore(memory), concurrency=3) as other,
        ):
            runs = await asyncio.gather(*(client.send_all(NUMBERS, name="1") for client in (one, other)))
    for results in runs:
        assert len(results) == len(NUMBERS)
        assert {outcome(result) for result in results} <= {"sent", "already_completed sent"}
    ours = [sum(isinstance(result, Ok) for result in results) for results in runs]
    assert sum(ours) == server.posts == len(NUMBERS)
    assert all(ours)


@pytest.mark.parametrize("at_hand", [True, False])
async def test_two_clients_mix_the_rows_that_are_at_hand(at_hand, monkeypatch):
    monkeypatch.setattr(_rows, "_MIXED", 20)
    blocks = []
    monkeypatch.setattr(_rows.random, "shuffle", lambda block: blocks.append(len(block)))
    memory = Memory()

    async def rows():
        for number in NUMBERS:
            yield number

    async def taken(client):
        async with client.batch(NUMBERS if at_hand else rows(), name="1") as batch:
            return [item.index async for item in batch]

    async with Server() as server:
        async with (
            client_for(server, ScriptedStore(memory), concurrency=3) as one,
            client_for(server, ScriptedStore(memory), concurrency=3) as other,
        ):
            runs = await asyncio.gather(*(taken(client) for client in (one, other)))
    for indices in runs:
        assert sorted(indices) == list(range(len(NUMBERS)))
    assert (20 in blocks) is at_hand
    assert server.posts == len(NUMBERS)


async def test_batch_left_while_rows_are_read_ahead_counts_them(monkeypatch):
    monkeypatch.setattr(_rows, "_POLL", 3600.0)
    memory = Memory()
    async with Server(silence) as server:
        async with client_for(server, ScriptedStore(memory)) as one, one.batch(NUMBERS[:1], name="1"):
            await server.wait(lambda: server.posts == 1)
            server.behaviour = ok
            async with client_for(server, ScriptedStore(memory), concurrency=1) as other:
                async with other.batch(NUMBERS[:100], name="1") as batch:
                    async for _ in batch:
                        break
    kinds = Counter(item.result.disposition for item in batch.report.unconsumed)
    assert batch.report.total == 1 + kinds.total()
    assert kinds[Disposition.NOT_SENT] > 0


@pytest.mark.parametrize("at_hand", [True, False])
async def test_row_that_its_holder_does_not_send_is_sent_by_the_other(at_hand):
    memory = Memory()
    store = ScriptedStore(memory)

    async def one_by_one():
        for number in NUMBERS[:3]:
            yield number

    async with Server(silence) as server, client_for(server, ScriptedStore(memory), concurrency=1) as one:
        async with client_for(server, store) as other:
            async with one.batch(NUMBERS[:3], name="1"):
                await server.wait(lambda: server.posts == 1)
                server.behaviour = ok
                rows = NUMBERS[:3] if at_hand else one_by_one()
                sending = asyncio.create_task(other.send_all(rows, name="1"))
                await store.wait(lambda: len(store.of("peek")) >= 3)
            results = await sending
    assert [outcome(result) for result in results] == ["already_completed maybe_sent", "sent", "sent"]


async def test_row_whose_holder_is_gone_is_in_doubt_at_once(gone):
    memory = Memory()
    async with Server() as server:
        await leave_in_doubt(server, memory)
        assert await run(server, memory, [NUMBER]) == ["maybe_sent"]
    assert server.posts == 1


async def test_row_whose_holders_lease_ends_is_in_doubt():
    clock = FakeClock()
    memory = Memory(clock)
    store = ScriptedStore(memory)
    async with Server() as server:
        await leave_in_doubt(server, memory)
        async with client_for(server, store) as client:
            sending = asyncio.create_task(client.send_all([NUMBER, NUMBERS[1]], name="1"))
            await store.wait(lambda: len(store.of("peek")) > 1)
            assert not sending.done()
            clock.advance(46)
            assert [outcome(result) for result in await sending] == ["maybe_sent", "sent"]


@pytest.mark.parametrize("most", [1, 200])
async def test_rows_set_aside_are_looked_at_before_more_are_read(monkeypatch, most):
    monkeypatch.setattr(_rows, "_BLOCK", most)
    clock = FakeClock()
    memory = Memory(clock)
    read = []

    def rows():
        for number in NUMBERS[:60]:
            read.append(number)
            yield number

    store = ScriptedStore(memory)
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:60])
        async with client_for(server, store, concurrency=1) as client:
            sending = asyncio.create_task(client.send_all(rows(), name="1"))
            await store.wait(lambda: len(store.of("peek")) > 100)
            clock.advance(46)
            assert [outcome(result) for result in await sending] == ["maybe_sent"] * 60
    assert server.posts == 60


async def test_rows_are_sent_while_others_are_looked_at(monkeypatch):
    monkeypatch.setattr(_rows, "_BLOCK", 1)
    monkeypatch.setattr(_rows, "_POLL", 3600.0)
    monkeypatch.setattr(_named, "AHEAD", 0)
    memory = Memory()
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:1])
        async with client_for(server, ScriptedStore(memory)) as client:
            async with client.batch(NUMBERS[:9], name="1", concurrency=1) as batch:
                assert sorted([(await anext(batch)).index for _ in range(8)]) == list(range(1, 9))
    assert [outcome(item.result) for item in batch.report.unconsumed] == ["maybe_sent"]
    assert server.posts == 9


async def test_rows_that_are_free_are_sent_before_others_are_looked_at(monkeypatch):
    monkeypatch.setattr(_rows, "_BLOCK", 1)
    monkeypatch.setattr(_named, "AHEAD", 0)
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server(silence) as server, client_for(server, ScriptedStore(memory)) as one:
        async with client_for(server, store) as other, one.batch(NUMBERS[:3], name="1"):
            await server.wait(lambda: server.posts == 3)
            server.behaviour = ok
            async with other.batch(NUMBERS[:3], name="1", concurrency=1) as batch:
                await store.wait(lambda: len(store.of("peek")) >= 3)
                for _ in range(2):  # as if their holder had released them
                    memory.space("gateway360").records.popitem()
                assert [outcome((await anext(batch)).result) for _ in range(2)] == ["sent"] * 2
    assert server.posts == 5


async def test_row_that_is_free_is_left_to_the_worker_that_reads_on(monkeypatch):
    monkeypatch.setattr(_rows, "_BLOCK", 1)
    monkeypatch.setattr(_named, "AHEAD", 0)
    memory, gate = Memory(), Gate()

    async def held(received) -> None:
        await gate(received)
        await received.answer()

    async with Server(in_turn(silence, held, ok)) as server, client_for(server, ScriptedStore(memory)) as one:
        async with client_for(server, ScriptedStore(memory)) as other, one.batch(NUMBERS[:1], name="1"):
            await server.wait(lambda: server.posts == 1)
            async with other.batch(NUMBERS[:2], name="1", concurrency=1) as batch:
                await gate.reached.wait()
                assert len(batch._readers) == 2
                records = memory.space("gateway360").records
                del records[next(iter(records))]  # as if its holder had released it
                while len(batch._readers) == 2:
                    await asyncio.sleep(0.001)
                gate.opened.set()
                assert [item.index async for item in batch] == [1, 0]
    assert server.posts == 3


async def test_rows_that_are_at_hand_are_claimed_a_hundred_at_a_time():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        await client.send_all(NUMBERS[:150], name="1", concurrency=150)
    assert max(len(items) for step, items in store.asked if step == "claim") == 100
    assert server.posts == 150


async def test_rows_set_aside_when_the_store_goes_are_in_doubt():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:2])
        async with client_for(server, store) as client:
            store.before["peek"] = failing(AWAY)
            results = await client.send_all(NUMBERS[:2], name="1")
    assert [outcome(result) for result in results] == ["maybe_sent"] * 2
    assert "another process had it, and the store is away" in results[0].detail


async def test_row_set_aside_as_the_store_goes_is_in_doubt_too(monkeypatch):
    monkeypatch.setattr(_rows, "_BLOCK", 1)
    memory = Memory()
    store, looked_at = ScriptedStore(memory), Gate()

    async def rows():
        yield NUMBERS[0]
        await looked_at.reached.wait()
        yield NUMBERS[1]

    async def peek(records) -> None:
        await looked_at(records)
        raise AWAY

    store.before["peek"] = peek
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:2])
        async with client_for(server, store) as client:
            sending = asyncio.create_task(client.send_all(rows(), name="1"))
            await store.wait(lambda: len(store.of("claim")) == 2)
            for _ in range(10):
                await asyncio.sleep(0)
            looked_at.opened.set()
            assert [outcome(result) for result in await sending] == ["maybe_sent"] * 2


async def test_store_that_breaks_with_rows_set_aside_loses_no_row():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:2])
        async with client_for(server, store) as client:
            store.before["peek"] = failing(BROKEN)
            with pytest.raises(StoreError, match="is broken"):
                async with client.batch(NUMBERS[:2], name="1") as batch:
                    async for _ in batch:
                        pass
    assert [outcome(item.result) for item in batch.report.unconsumed] == ["maybe_sent"] * 2
    assert batch.report.total == 2


@pytest.mark.parametrize("cooldown", ["completed", "in progress", "in doubt"])
async def test_number_within_its_cooldown_gets_the_earlier_result(cooldown, monkeypatch):
    clock = FakeClock()
    memory = Memory(clock)
    gate = Gate()

    async def held(received) -> None:
        await gate(received)
        await received.answer()

    store = ScriptedStore(memory)
    async with Server(held) as server, client_for(server, ScriptedStore(memory), cooldown=60) as one:
        calling = asyncio.create_task(one.request_pin(NUMBER))
        await gate.reached.wait()
        async with client_for(server, store, cooldown=60) as other:
            if cooldown == "completed":
                gate.opened.set()
                await calling
            if cooldown == "in doubt":
                clock.advance(46)
            sending = asyncio.create_task(other.send_all([NUMBER], name="1"))
            if cooldown == "in progress":
                await store.wait(lambda: len(store.of("claim")) > 2)
                gate.opened.set()
            (result,) = await sending
            gate.opened.set()
            await calling
            assert result.replayed
            assert outcome(result) == ("maybe_sent" if cooldown == "in doubt" else "sent")
            assert server.posts == 1
            (forced,) = await other.send_all([NUMBER], name="1", force=True)
            assert outcome(forced) == "sent"
    assert server.posts == 2


# --- The rate (rule 8) ---------------------------------------------------------------------------------------------


async def test_row_that_is_not_claimed_takes_no_permit():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server:
        await run(server, memory)
        async with client_for(server, store, rate=0.001) as client:
            results = await client.send_all(NUMBERS[:4], name="1")
    assert [outcome(result) for result in results] == ["already_completed sent"] * 3 + ["sent"]
    assert store.of("permits") == [1]


async def test_row_within_its_cooldown_takes_no_permit():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store, rate=0.001, cooldown=60) as client:
        first = await client.request_pin(NUMBER)
        (result,) = await client.send_all([NUMBER], name="1")
    assert result == attrs.evolve(first, replayed=True)
    assert store.of("permits") == [1]


async def test_permit_of_a_row_that_another_run_claimed_is_given_back():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server, client_for(server, store, rate=1000.0) as client:

        async def overtaken(_items) -> None:
            del store.before["claim"]
            await run(server, memory, [NUMBER])

        store.before["claim"] = overtaken
        (result,) = await client.send_all([NUMBER], name="1")
        assert outcome(result) == "already_completed sent"
        assert len(client._core.permits._returned) == 1
    assert server.posts == 1


async def test_permit_of_a_row_left_without_a_slot_is_given_back():
    store = ScriptedStore()
    async with Server(silence) as server, client_for(server, store, rate=1000.0) as client:
        returned = []
        async with client.batch(NUMBERS[:2], name="1", concurrency=1):
            await server.wait(lambda: server.posts == 1)
            await store.wait(lambda: len(store.of("claim")) == 2)
            for _ in range(10):
                await asyncio.sleep(0)
            client._core.permits.give_back = returned.append
    assert len(returned) == 1


# --- The store fails -------------------------------------------------------------------------------------------------


async def test_row_whose_store_is_away_is_not_sent():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["claim"] = failing(AWAY)
        results = await client.send_all(NUMBERS[:2], name="1")
        assert [(outcome(result), result.kind) for result in results] == [("not_sent", FailureKind.STORE)] * 2
        store.before["claim"] = failing(BROKEN)
        items = []
        with pytest.raises(StoreError, match="is broken"):
            async with client.batch(NUMBERS[:2], name="1") as batch:
                async for item in batch:
                    items.append(item)
    assert server.posts == 0
    assert {outcome(item.result) for item in [*items, *batch.report.unconsumed]} == {"not_sent"}


async def test_store_that_goes_before_a_completion_takes_no_result():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server, client_for(server, store) as client:
        store.before["complete"] = failing(AWAY)
        results = await client.send_all(NUMBERS[:2], name="1")
        assert [outcome(result) for result in results] == ["sent"] * 2
        del store.before["complete"]
        await client.aclose()
        assert await run(server, memory, NUMBERS[:2]) == ["already_completed sent"] * 2


async def test_claim_of_a_row_that_was_withdrawn_is_not_sent():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        await client.connect()

        async def withdrawn(claims) -> None:
            store._space().withdrawn[claims[0].token] = 1e18

        store.before["claim"] = withdrawn
        (result,) = await client.send_all([NUMBER], name="1")
    assert (outcome(result), result.kind) == ("not_sent", FailureKind.STORE)
    assert server.posts == 0


async def test_limiter_that_raises_leaves_its_row_free():
    class Closed(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None:
            raise LookupError("no more today")

        async def __aexit__(self, *exc_info) -> None: ...

    memory = Memory()
    async with Server() as server:
        with pytest.raises(LookupError):
            await run(server, memory, [NUMBER], settings={"limiter": Closed()})
        assert await run(server, memory, [NUMBER]) == ["sent"]


async def test_guard_refuses_a_row():
    async with Server() as server:
        settings = {"guard": SpendGuard(per_client=2)}
        assert await run(server, Memory(), NUMBERS[:3], settings=settings, concurrency=1) == [
            "sent",
            "sent",
            "not_sent",
        ]
        settings = {"guard": SpendGuard(allowed_prefixes={"351"})}
        assert await run(server, Memory(), [NUMBER], settings=settings) == ["not_sent"]


# --- The header ------------------------------------------------------------------------------------------------------


async def test_batch_that_goes_on_after_its_retention_is_refused():
    clock = FakeClock()
    memory = Memory(clock)
    async with Server() as server:
        await run(server, memory)
        clock.advance(604_799)
        assert await run(server, memory) == ["already_completed sent"] * 3
        clock.advance(2)
        with pytest.raises(StoreError, match="for 7 days, which are over"):
            await run(server, memory)
    assert server.posts == 3


async def test_batch_that_runs_beyond_its_rows_retention_ends(later):
    store = ScriptedStore(ttl=100.0)
    async with Server() as server, client_for(server, store) as client:
        batch = client.batch([NUMBER], name="1")
        await batch._rows.open()
        later(201)
        with pytest.raises(StoreError, match="no longer"):
            async with batch:
                batch._rows._records._kept_until -= 201  # it was opened a second time
                items = [item async for item in batch]
                assert items
    assert server.posts == 0


async def test_batch_of_another_scheme_is_refused(monkeypatch):
    memory = Memory()
    async with Server() as server:
        await run(server, memory)
        monkeypatch.setattr(_records, "_SCHEME", 2)
        with pytest.raises(StoreError, match="another version"):
            await run(server, memory)


async def test_named_batch_that_is_not_open_sends_nothing():
    async with Gateway360Client("k3y", sender="PIZZA", store=ScriptedStore()) as client:
        batch = client.batch([NUMBER], name="1")
        with pytest.raises(StoreError, match="is not connected"):
            batch._rows.row(0, NUMBER, PinRequest(NUMBER, "PIZZA"))


# --- Halted, left, closed --------------------------------------------------------------------------------------------


async def test_batch_that_is_halted_tells_what_earlier_runs_left(monkeypatch):
    monkeypatch.setattr(_named, "AHEAD", 0)
    memory = Memory()
    async with Server() as server:
        await run(server, memory, NUMBERS[:1])
        server.behaviour = close
        await run(server, memory, NUMBERS[1:2])
        server.behaviour = UNPAID
        rows = [NUMBERS[5], *NUMBERS[:3], NUMBERS[5]]
        again = await run(server, memory, rows, concurrency=1, resend_maybe_sent=True)
        assert again == ["not_sent", "already_completed sent", "maybe_sent", "halted", "halted"]
        results = await run(server, memory, rows, concurrency=1)
    assert results == [
        "not_sent",
        "already_completed sent",
        "already_completed maybe_sent",
        "halted",
        "halted",
    ]


@pytest.mark.parametrize("error", [AWAY, BROKEN, None])
async def test_row_after_a_halt_is_looked_at(error, monkeypatch):
    monkeypatch.setattr(_named, "AHEAD", 0)
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server(in_turn(silence, UNPAID)) as server:
        async with client_for(server, ScriptedStore(memory)) as one, client_for(server, store) as other:
            async with one.batch([NUMBERS[1]], name="1"):
                await server.wait(lambda: server.posts == 1)
                if error is not None:
                    store.before["peek"] = failing(error)
                items = []
                rows = NUMBERS[:2] if error is None else [NUMBERS[0], NUMBERS[2]]
                batch = other.batch(rows, name="1", concurrency=1)
                with contextlib.suppress(StoreError):
                    async with batch:
                        async for item in batch:
                            items.append(item)
    second = [item.result for item in items if item.index == 1][0]
    expected = {
        None: ("maybe_sent", FailureKind.INTERRUPTED),
        AWAY: ("not_sent", FailureKind.STORE),
        BROKEN: ("not_sent", FailureKind.UNEXPECTED),
    }[error]
    assert (outcome(second), second.kind) == expected
    assert batch.report.halted


async def test_batch_left_while_it_looks_after_a_halt_loses_no_row(monkeypatch):
    monkeypatch.setattr(_named, "AHEAD", 0)
    store = ScriptedStore()
    async with Server(UNPAID) as server, client_for(server, store) as client:
        store.before["peek"] = gate = Gate()
        async with client.batch(NUMBERS[:2], name="1", concurrency=1) as batch:
            await gate.reached.wait()
        gate.opened.set()
    assert sorted(item.index for item in batch.report.unconsumed) == [0, 1]
    assert batch.report.halted


async def test_batch_left_ends_calls_in_flight_and_frees_its_claims():
    memory = Memory()
    async with Server(silence) as server, client_for(server, ScriptedStore(memory)) as client:
        async with client.batch(NUMBERS[:5], name="1", concurrency=1) as batch:
            await server.wait(lambda: server.posts == 1)
        left = sorted((item.index, outcome(item.result)) for item in batch.report.unconsumed)
    assert left[0] == (0, "maybe_sent")
    assert {each for _, each in left[1:]} == {"not_sent"}


async def test_batch_left_while_a_block_is_read_counts_its_rows():
    async with Server() as server, client_for(server, ScriptedStore(), concurrency=1) as client:
        async with client.batch([NUMBER, "x", "y"], name="1") as batch:
            while batch.report.total < 2:  # the second waits for room
                await asyncio.sleep(0)
    left = sorted((item.index, outcome(item.result)) for item in batch.report.unconsumed)
    assert left == [(0, "not_sent"), (1, "invalid"), (2, "invalid")]
    assert batch.report.total == 3
    assert server.posts == 0


async def test_input_that_fails_within_a_block_loses_no_row():
    def rows():
        yield from NUMBERS[:3]
        raise LookupError("the file has ended early")

    items = []
    async with Server() as server, client_for(server, ScriptedStore()) as client:
        with pytest.raises(LookupError):
            async with client.batch(rows(), name="1") as batch:
                async for item in batch:
                    items.append(item)
    assert [outcome(item.result) for item in items] == ["sent"] * 3
    assert server.posts == 3


async def test_rows_at_hand_are_claimed_in_blocks_ahead():
    store = ScriptedStore()
    async with Server(silence) as server, client_for(server, store) as client:
        async with client.batch(NUMBERS, name="1", concurrency=5):
            await server.wait(lambda: server.posts == 5)
            blocks = [len(items) for step, items in store.asked if step == "claim"]
    assert blocks == [5 + _named.AHEAD]
    assert server.posts == 5


async def test_batch_left_during_a_claim_withdraws_it():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server:
        async with client_for(server, store) as client:
            store.before["claim"] = gate = Gate()
            async with client.batch([NUMBER], name="1") as batch:
                await gate.reached.wait()
            await store.wait(lambda: bool(store.of("complete")))
            gate.opened.set()
        assert [outcome(item.result) for item in batch.report.unconsumed] == ["not_sent"]
        assert [each.withdrawn for each in store.of("complete")] == [True]
        assert server.posts == 0
        assert await run(server, memory, [NUMBER]) == ["sent"]


async def test_batch_stopped_as_a_row_gets_its_permit_gives_it_back():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store, rate=1000.0) as client:
        batch, wait = client.batch([NUMBER], name="1"), client._core.permits.wait

        async def stopped(*args):
            granted = await wait(*args)
            batch.stop()
            return granted

        client._core.permits.wait = stopped
        async with batch:
            assert [item async for item in batch] == []
        assert len(client._core.permits._returned) == 1
    assert server.posts == 0
    assert store.of("claim") == []


async def test_batch_without_a_name_takes_permits_before_claims():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store, rate=1000.0, cooldown=60) as client:
        results = await client.send_all(NUMBERS[:3])
        again = await client.send_all(NUMBERS[:3])
    assert [outcome(result) for result in results] == ["sent"] * 3
    assert [result.replayed for result in again] == [True] * 3
    assert server.posts == 3


async def test_batch_left_after_its_first_item_goes_on_in_the_next_run():
    memory = Memory()
    async with Server() as server:
        async with client_for(server, ScriptedStore(memory)) as client:
            async with client.batch(NUMBERS[:50], name="1", concurrency=2) as batch:
                async for _ in batch:
                    break
        posts = server.posts
        results = await run(server, memory, NUMBERS[:50])
        assert server.posts == 50
    assert results.count("sent") == 50 - posts


async def test_batch_that_is_left_while_rows_are_set_aside_counts_them():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:3])
        async with client_for(server, store) as client:
            async with client.batch(NUMBERS[:3], name="1") as batch:
                await store.wait(lambda: len(store.of("peek")) >= 3)
    assert [outcome(item.result) for item in batch.report.unconsumed] == ["maybe_sent"] * 3
    assert batch.report.total == 3
    assert server.posts == 3


async def test_batch_that_is_left_while_freed_rows_wait_counts_them():
    async with Gateway360Client("k3y", sender="PIZZA", store=ScriptedStore()) as client:
        async with client.batch([], name="1") as batch:
            row = batch._rows.row(0, NUMBER, PinRequest(NUMBER, "PIZZA"))
            assert [item async for item in batch] == []
            batch._rows._freed.append(row)
    assert [outcome(item.result) for item in batch.report.unconsumed] == ["not_sent"]


async def test_batch_left_while_known_rows_wait_for_room_loses_none():
    clock = FakeClock()
    memory = Memory(clock)
    store = ScriptedStore(memory)
    async with Server() as server:
        await leave_in_doubt(server, memory, NUMBERS[:9])
        async with client_for(server, store, concurrency=2) as client:
            async with client.batch(NUMBERS[:9], name="1") as batch:
                await store.wait(lambda: len(store.of("peek")) >= 9)
                clock.advance(46)
                while batch.report.total < 3:  # the third waits for room
                    await asyncio.sleep(0.001)
    assert sorted(item.index for item in batch.report.unconsumed) == list(range(9))
    assert batch.report.total == 9


@pytest.mark.parametrize("ahead", [0, 20])
async def test_client_closed_while_a_batch_runs_frees_the_rest(ahead, monkeypatch):
    monkeypatch.setattr(_named, "AHEAD", ahead)
    memory, gate = Memory(), Gate()

    async def held(received) -> None:
        await gate(received)
        await received.answer()

    async with Server(held) as server:
        client = client_for(server, ScriptedStore(memory))
        items = []
        with pytest.raises(ClientClosed):
            async with client.batch(NUMBERS[:5], name="1", concurrency=1) as batch:
                await gate.reached.wait()
                closing = asyncio.create_task(client.aclose())
                gate.opened.set()
                async for item in batch:
                    items.append(item)
        await closing
        assert not client.store.opened
        assert server.posts == 1
        assert {outcome(item.result) for item in items if item.index} <= {"not_sent"}
        kept = memory.space("gateway360").records.values()
        assert [each.state for each in kept] == [State.COMPLETED]
        with pytest.raises(ClientClosed):
            async with client.batch(NUMBERS[:5], name="1"):
                pass
        assert not client.store.opened


async def test_client_closed_during_a_claim_releases_its_row():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server:
        client = client_for(server, store)
        store.before["claim"] = gate = Gate()
        with pytest.raises(ClientClosed):
            async with client.batch([NUMBER], name="1") as batch:
                await gate.reached.wait()
                closing = asyncio.create_task(client.aclose())
                for _ in range(5):
                    await asyncio.sleep(0)
                gate.opened.set()
                assert [outcome(item.result) async for item in batch] == ["not_sent"]
        await closing
    assert server.posts == 0
    assert memory.space("gateway360").records == {}
    assert not store.opened


async def test_client_that_was_closed_claims_no_row():
    store, closed = ScriptedStore(), asyncio.Event()

    async def rows():
        yield NUMBER
        await closed.wait()
        yield NUMBERS[1]

    async with Server() as server:
        client = client_for(server, store)
        with pytest.raises(ClientClosed):
            async with client.batch(rows(), name="1") as batch:
                assert isinstance((await anext(batch)).result, Ok)
                await client.aclose()
                closed.set()
                async for item in batch:
                    assert outcome(item.result) == "not_sent"
    assert len(store.of("claim")) == 1
    assert server.posts == 1


@pytest.mark.parametrize("own", [True, False])
async def test_store_that_breaks_as_the_block_is_left_is_raised(own):
    store = ScriptedStore()
    async with Server(silence) as server, client_for(server, store) as client:
        store.before["claim"] = gate = Gate()
        store.after["claim"] = failing(BROKEN)
        with pytest.raises(LookupError if own else StoreError) as caught:
            async with client.batch([NUMBER], name="1") as batch:
                await gate.reached.wait()
                gate.opened.set()
                while not batch.report.total:
                    await asyncio.sleep(0)
                while batch._workers:
                    await asyncio.sleep(0)
                if own:
                    raise LookupError("the block's own")
        assert ("is broken" in str(caught.value)) is not own
        assert [str(BROKEN)] == getattr(caught.value, "__notes__", [str(BROKEN)])
    assert server.posts == 0


async def test_row_has_the_report_id_of_its_claim():
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    async with Server(close) as server:
        for expected in ("maybe_sent", "already_completed maybe_sent"):
            async with client_for(server, ScriptedStore(memory), reports=reports) as client:
                own = PinRequest(NUMBERS[1], "PIZZA", report_url="https://elsewhere.test/")
                first, other = await client.send_all([NUMBER, own], name="1")
                assert outcome(first) == expected
                known = first if isinstance(first, TransportFailure) else first.result
                (kept,) = [each for each in memory.space("gateway360").records.values() if each.report_id]
                assert known.report_id == kept.report_id
