"""One call on a store: what is claimed before its first byte, and what is on record after."""

from __future__ import annotations

import asyncio
import contextlib

import attrs
import pytest
from support.loopback import Server, in_turn, ok, silence, status
from support.scripted_store import AWAY, BROKEN, Gate, ScriptedStore, failing

from gateway360_async import (
    ApiError,
    ClientClosed,
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    Ok,
    PinRequest,
    RetryPolicy,
    SpendGuard,
    WrongEventLoop,
)
from gateway360_async._runner import _lanes, _session, _store_admission
from gateway360_async.delivery import DeliveryReports
from gateway360_async.stores import State
from gateway360_async.testing import FakeClock
from gateway360_async.testing._memory_store import Memory

NUMBER, ELSEWHERE = "34666666111", "34666666222"
REQUEST = PinRequest(NUMBER, "PIZZA")
REFUSED = status(400, b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"no"}')
UNPAID = status(400, b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE","error_msg":"no"}')
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(_lanes, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(_session, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(_store_admission, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(_store_admission, "_LONGEST_PAUSE", 0.001)


@pytest.fixture
def another_process(monkeypatch):
    """Let claims be another machine's: of this process's, it is known whether it runs."""
    monkeypatch.setattr(_store_admission, "is_gone", lambda _token: False)


async def _close(received) -> None:
    received.writer.close()


def client_for(server: Server, store=None, **settings) -> Gateway360Client:
    given = {"base_url": server.url, "sender": "PIZZA", "store": store} | settings
    return Gateway360Client(given.pop("api_key", "k3y"), **given)


def told(result) -> tuple[str, str | None]:
    return str(result.disposition), getattr(result, "kind", None)


# --- The claim comes first (rule 1) --------------------------------------------------------------------------


async def test_call_with_a_key_is_claimed_first_and_completed_after():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["claim"] = gate = Gate()
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        assert server.posts == 0
        gate.opened.set()
        assert isinstance(await call, Ok)
        assert [completion.state for completion in store.of("complete")] == [State.COMPLETED]
    assert server.posts == 1


async def test_call_without_anything_to_claim_asks_nothing():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        assert isinstance(await client.send(REQUEST), Ok)
    assert store.asked == []


@pytest.mark.parametrize("step", ["open", "peek", "claim"])
async def test_call_that_ends_before_its_claim_is_known_is_the_stores(step, later):
    """An earlier call with its key may have been sent: `STORE` says that only the store knows."""
    memory, settings = Memory(), {"rate": 100.0}  # at a rate, it looks before it claims
    async with Server() as server:
        async with client_for(server, ScriptedStore(memory), **settings) as client:
            assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
        store = ScriptedStore(memory)
        store.before[step] = gate = Gate()
        async with client_for(server, store, **settings if step == "peek" else {}) as client:
            call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
            await gate.reached.wait()
            later(60)
            assert told(await call) == ("not_sent", FailureKind.STORE)
            gate.opened.set()
    assert server.posts == 1


async def test_answer_is_kept_by_a_call_that_is_left_while_recorded():
    store = ScriptedStore()
    store.before["complete"] = gate = Gate()
    async with Server(REFUSED) as server, client_for(server, store, cooldown=60) as client:
        async with client.batch([REQUEST]) as batch:
            await gate.reached.wait()
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, gate.opened.set)
        (item,) = batch.report.unconsumed
    assert isinstance(item.result, ApiError)
    assert batch.report.by_error_id == {"INVALID_NUMBER": 1}


@pytest.mark.parametrize(
    ("error", "says"),
    [(AWAY, "is away"), (BROKEN, "is broken"), (RuntimeError("oh"), "RuntimeError: oh")],
    ids=str,
)
@pytest.mark.parametrize("step", ["open", "header", "claim"])
async def test_call_whose_store_cannot_be_asked_is_not_sent(step, error, says):
    store = ScriptedStore()
    store.before[step] = failing(error)
    async with Server() as server, client_for(server, store) as client:
        result = await client.send(REQUEST, idempotency_key="1")
        assert told(result) == ("not_sent", FailureKind.STORE)
        assert says in result.detail
        del store.before[step]
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert server.posts == 1


async def test_call_whose_store_hangs_is_not_sent_and_ends():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        client._core.session._claims._longest = 0.01
        store.before["claim"] = Gate()
        assert told(await client.send(REQUEST, idempotency_key="1")) == ("not_sent", FailureKind.STORE)
    assert server.posts == 0


async def test_completion_on_a_store_that_hangs_is_logged_and_ends(caplog):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        client._core.session._completions._longest = 0.01
        store.before["complete"] = gate = Gate()
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
        assert "put on record later: the store gave no answer" in caplog.text
        client._core.session._completions._longest = 60.0
        gate.opened.set()
    assert "closed before" not in caplog.text


async def test_call_waits_for_a_store_that_comes_back():
    store = ScriptedStore(timeout=60.0)
    store.before["open"] = failing(AWAY, AWAY, None)
    store.before["header"] = failing(AWAY, None)
    store.before["claim"] = failing(AWAY, None)
    async with Server() as server, client_for(server, store) as client:
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
        assert store.opened
    assert not store.opened


async def test_claim_without_an_answer_is_asked_again_with_its_token():
    store = ScriptedStore(timeout=60.0)
    store.after["claim"] = failing(AWAY, None)
    async with Server() as server, client_for(server, store) as client:
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert len({claim.token for claim in store.of("claim")}) == 1
    assert server.posts == 1


async def test_claim_whose_answer_stays_lost_is_withdrawn():
    store = ScriptedStore()
    store.after["claim"] = failing(AWAY)
    async with Server() as server, client_for(server, store) as client:
        assert told(await client.send(REQUEST, idempotency_key="1")) == ("not_sent", FailureKind.STORE)
        del store.after["claim"]
        await store.wait(lambda: bool(store.of("complete")))
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert [(each.state, each.withdrawn) for each in store.of("complete")][0] == (State.FREE, True)
    assert server.posts == 1


async def test_claim_of_a_cancelled_call_is_withdrawn(caplog):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        await client.connect()
        store.before["claim"] = gate = Gate()
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await store.wait(lambda: bool(store.of("complete")))  # it overtakes the claim
        gate.opened.set()
        del store.before["claim"]
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert server.posts == 1
    assert "may have been sent" not in caplog.text


async def test_call_cancelled_while_the_store_opens_leaves_the_others():
    store = ScriptedStore()
    store.before["open"] = gate = Gate()
    async with Server() as server, client_for(server, store) as client:
        requests = [REQUEST, PinRequest(ELSEWHERE, "PIZZA")]
        calls = [asyncio.create_task(client.send(one, idempotency_key=one.msisdn)) for one in requests]
        await gate.reached.wait()
        await asyncio.sleep(0)
        calls[0].cancel()
        gate.opened.set()
        assert isinstance(await calls[1], Ok)
        assert [name for name, _ in store.asked].count("open") == 1


# --- What is on record -----------------------------------------------------------------------------------------


async def test_call_with_the_same_key_gets_the_result_of_the_first():
    memory = Memory()
    async with Server() as server, client_for(server, ScriptedStore(memory)) as one:
        first = await one.send(REQUEST, idempotency_key="1")
        async with client_for(server, ScriptedStore(memory), api_key="another") as other:
            second = await other.send(REQUEST, idempotency_key="1")
            assert isinstance(await other.send(REQUEST, idempotency_key="2"), Ok)
    assert (first.replayed, second) == (False, attrs.evolve(first, replayed=True))
    assert server.posts == 2


async def test_calls_with_one_key_share_and_with_two_take_turns():
    async with Server() as server, client_for(server, ScriptedStore()) as client:
        calls = [client.send(REQUEST, idempotency_key=key) for key in "1122"]
        results = await asyncio.gather(*calls)
    assert results[0] is results[1]
    assert results[2] is results[3]
    assert server.posts == 2


async def test_key_of_another_request_is_refused():
    async with Server() as server, client_for(server, ScriptedStore()) as client:
        await client.send(REQUEST, idempotency_key="1")
        for other in (PinRequest(ELSEWHERE, "PIZZA"), PinRequest(NUMBER, "PASTA")):
            with pytest.raises(InvalidRequest, match="idempotency_key"):
                await client.send(other, idempotency_key="1")
    assert server.posts == 1


async def test_key_is_checked_and_wants_a_store():
    async with Server() as server, client_for(server, ScriptedStore()) as client:
        with pytest.raises(InvalidRequest, match="idempotency_key"):
            await client.send(REQUEST, idempotency_key="")
    async with Gateway360Client("k3y", sender="PIZZA") as client:
        assert client.store is None
        await client.connect()
        with pytest.raises(InvalidRequest, match="without a store"):
            await client.request_pin(NUMBER, idempotency_key="1")


async def test_another_gateway_or_namespace_has_records_of_its_own():
    memory = Memory()
    async with Server() as server, Server() as rehearsal:
        for posts, gateway, namespace in ((1, server, "a"), (1, rehearsal, "a"), (2, server, "b")):
            async with client_for(gateway, ScriptedStore(memory, namespace=namespace)) as client:
                assert not (await client.send(REQUEST, idempotency_key="1")).replayed
            assert gateway.posts == posts


@pytest.mark.parametrize(
    ("behaviour", "again"),
    [(REFUSED, True), (UNPAID, False), (status(429), False)],
    ids=["final", "passing", "429"],
)
async def test_refusal_is_replayed_where_it_would_only_be_repeated(behaviour, again):
    async with Server(behaviour) as server, client_for(server, ScriptedStore(), retry=ONCE) as client:
        first = await client.send(REQUEST, idempotency_key="1")
        second = await client.send(REQUEST, idempotency_key="1")
    assert first.disposition is Disposition.NOT_SENT
    assert second.replayed is again
    assert server.posts == (1 if again else 2)


async def test_lost_answer_is_on_record_and_not_sent_again():
    async with (
        Server(_close) as server,
        client_for(server, ScriptedStore()) as client,
    ):
        first = await client.send(REQUEST, idempotency_key="1")
        second = await client.send(REQUEST, idempotency_key="1")
    assert (told(first)[0], told(second)[0], second.replayed) == ("maybe_sent", "maybe_sent", True)
    assert server.posts == 1


async def test_record_that_cannot_be_read_may_have_been_sent():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        await client.send(REQUEST, idempotency_key="1")
        (kept,) = store._space().records.values()
        kept.result = '{"result":"of a later version"}'
        result = await client.send(REQUEST, idempotency_key="1")
    assert told(result) == ("maybe_sent", FailureKind.INTERRUPTED)
    assert server.posts == 1


async def test_exception_before_the_first_byte_leaves_the_key_free():
    class Closed(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None:
            raise LookupError("no more today")

        async def __aexit__(self, *exc_info) -> None: ...

    store = ScriptedStore()
    async with Server() as server, client_for(server, store, limiter=Closed()) as client:
        with pytest.raises(LookupError):
            await client.send(REQUEST, idempotency_key="1")
    assert [completion.state for completion in store.of("complete")] == [State.FREE]
    assert server.posts == 0


# --- Another holder ----------------------------------------------------------------------------------------------


async def test_call_whose_key_is_in_progress_waits_for_its_result():
    memory, gate = Memory(), Gate()

    async def held(received) -> None:
        await gate(received)
        await received.answer()

    store = ScriptedStore(memory)
    async with Server(held) as server, client_for(server, ScriptedStore(memory)) as one:
        first = asyncio.create_task(one.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        async with client_for(server, store) as other:
            second = asyncio.create_task(other.send(REQUEST, idempotency_key="1"))
            await store.wait(lambda: len(store.of("claim")) > 1)
            gate.opened.set()
            assert await second == attrs.evolve(await first, replayed=True)
    assert server.posts == 1


@pytest.mark.parametrize("ends", ["deadline", "cancelled", "store"])
async def test_call_ending_while_another_holder_sends_is_maybe_sent(ends, later, caplog):
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    store = ScriptedStore(memory)
    async with (
        Server(silence) as server,
        client_for(server, ScriptedStore(memory), reports=reports, deadline=1000) as one,
        client_for(server, store, deadline=500) as other,
    ):
        first = asyncio.create_task(one.send(REQUEST, idempotency_key="1"))
        await server.wait(lambda: server.posts == 1)
        second = asyncio.create_task(other.send(REQUEST, idempotency_key="1"))
        await store.wait(lambda: len(store.of("claim")) > 1)
        if ends == "store":
            store.before["claim"] = failing(BROKEN)
        elif ends == "deadline":
            later(600)
        else:
            second.cancel()
        (result,) = await asyncio.gather(second, return_exceptions=True)
        if ends == "cancelled":
            assert isinstance(result, asyncio.CancelledError)
            assert "was cancelled: may have been sent" in caplog.text
        else:
            assert told(result) == ("maybe_sent", FailureKind.INTERRUPTED)
            assert result.report_id == memory.space("gateway360").records.popitem()[1].report_id
        first.cancel()
        await asyncio.wait((first,))
    assert server.posts == 1


async def test_call_whose_holder_is_gone_may_have_been_sent_at_once(monkeypatch):
    memory = Memory()
    async with Server(silence) as server, client_for(server, ScriptedStore(memory)) as one:
        first = asyncio.create_task(one.send(REQUEST, idempotency_key="1"))
        await server.wait(lambda: server.posts == 1)
        monkeypatch.setattr(_store_admission, "is_gone", lambda _token: True)
        async with client_for(server, ScriptedStore(memory)) as other:
            result = await other.send(REQUEST, idempotency_key="1")
        first.cancel()
        await asyncio.wait((first,))
    assert (told(result), result.replayed) == (("maybe_sent", FailureKind.INTERRUPTED), True)
    assert server.posts == 1


async def test_call_whose_holders_lease_has_ended_may_have_been_sent():
    clock = FakeClock()
    memory = Memory(clock)
    async with Server(silence) as server, client_for(server, ScriptedStore(memory)) as one:
        first = asyncio.create_task(one.send(REQUEST, idempotency_key="1"))
        await server.wait(lambda: server.posts == 1)
        clock.advance(46)
        async with client_for(server, ScriptedStore(memory)) as other:
            assert told(await other.send(REQUEST, idempotency_key="1"))[0] == "maybe_sent"
        # A late result is taken all the same (rule 5).
        server.requests[0].writer.write(b"HTTP/1.1 200 x\r\ncontent-length: 15\r\n\r\n" + b'{"status":"ok"}')
        assert isinstance(await first, Ok)
        async with client_for(server, ScriptedStore(memory)) as other:
            assert isinstance(await other.send(REQUEST, idempotency_key="1"), Ok)
    assert server.posts == 1


async def test_claim_that_was_withdrawn_is_not_sent():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        await client.connect()

        async def withdrawn(claims) -> None:
            store._space().withdrawn[claims[0].token] = 1e18

        store.before["claim"] = withdrawn
        result = await client.send(REQUEST, idempotency_key="1")
    assert told(result) == ("not_sent", FailureKind.STORE)
    assert server.posts == 0


# --- The lease (rule 4) ------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(_session, "_clock", fake)
    return fake


async def test_lease_that_covers_the_attempt_is_not_renewed(clock):
    store = ScriptedStore()
    store.after["claim"] = lambda _items: _advance(clock, 10)
    async with Server() as server, client_for(server, store) as client:
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert store.of("renew") == []


async def _advance(clock, seconds) -> None:
    clock.advance(seconds)


async def test_lease_too_short_is_renewed_before_the_first_byte(clock):
    store = ScriptedStore()
    store.after["claim"] = lambda _items: _advance(clock, 20)  # as a machine that slept
    async with Server() as server, client_for(server, store) as client:
        store.before["renew"] = gate = Gate()
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        assert server.posts == 0
        gate.opened.set()
        assert isinstance(await call, Ok)
    assert len(store.of("renew")) == 1


@pytest.mark.parametrize("trouble", ["away", "over"])
async def test_lease_that_cannot_be_renewed_sends_nothing(clock, trouble):
    time = FakeClock()
    store = ScriptedStore(Memory(time))

    async def slept(_items) -> None:
        clock.advance(100)
        time.advance(100 if trouble == "over" else 0)

    store.after["claim"] = slept
    if trouble == "away":
        store.before["renew"] = failing(AWAY)
    async with Server() as server, client_for(server, store) as client:
        result = await client.send(REQUEST, idempotency_key="1")
        assert told(result) == ("not_sent", FailureKind.STORE)
        del store.after["claim"]
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert server.posts == 1


async def test_each_attempt_wants_its_lease(clock, at_once):
    store = ScriptedStore()

    async def slept(received) -> None:
        clock.advance(100)
        await received.answer(429, b"", retry_after="0")

    async with Server(in_turn(slept, ok)) as server, client_for(server, store, retry=at_once) as client:
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert len(store.of("renew")) == 1
    assert server.posts == 2


@pytest.mark.parametrize("clock", [_session._CLOCK, None])
def test_clock_of_leases_goes_on(clock, monkeypatch):
    monkeypatch.setattr(_session, "_CLOCK", clock)
    assert _session._clock() <= _session._clock()


async def test_claim_without_a_key_needs_no_lease(clock):
    store = ScriptedStore()
    store.after["claim"] = lambda _items: _advance(clock, 100)
    async with Server() as server, client_for(server, store, cooldown=60) as client:
        assert isinstance(await client.send(REQUEST), Ok)
    assert store.of("renew") == []


# --- The completion (rule 5) -------------------------------------------------------------------------------------


async def test_result_is_given_out_when_it_is_on_record():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["complete"] = gate = Gate()
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        assert not call.done()
        gate.opened.set()
        assert isinstance(await call, Ok)


async def test_result_whose_store_is_away_is_recorded_later(caplog):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["complete"] = failing(AWAY)
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
        assert isinstance(await client.send(REQUEST, idempotency_key="2"), Ok)
        del store.before["complete"]
        assert not (await client.send(PinRequest(ELSEWHERE, "PIZZA"), idempotency_key="3")).replayed
        assert (await client.send(REQUEST, idempotency_key="1")).replayed
    assert caplog.text.count("results are put on record later: the store is away") == 1
    assert "closed before" not in caplog.text


async def test_result_that_its_store_refuses_is_given_out_and_logged(caplog):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["complete"] = failing(BROKEN)
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert "1 results are not on record: the store is broken" in caplog.text


@pytest.mark.parametrize("hangs", [True, False])
async def test_closing_waits_for_results_no_longer_than_a_store_takes(hangs, monkeypatch, caplog):
    monkeypatch.setattr(_session, "_LAST_WORD", 0.02)
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        store.before["complete"] = Gate() if hangs else failing(AWAY)
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert "closed before 1 claims were ended" in caplog.text
    assert not store.opened


async def test_result_that_comes_after_another_claim_is_logged(caplog):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:

        async def taken(_items) -> None:
            (kept,) = store._space().records.values()
            kept.token = "another's"

        store.before["complete"] = taken
        assert isinstance(await client.send(REQUEST, idempotency_key="1"), Ok)
    assert "a result came too late" in caplog.text


async def test_call_cancelled_on_its_way_is_on_record():
    store = ScriptedStore()
    async with Server(silence) as server, client_for(server, store) as client:
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await server.wait(lambda: server.posts == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        result = await client.send(REQUEST, idempotency_key="1")
    assert (told(result), result.replayed) == (("maybe_sent", FailureKind.CANCELLED), True)
    assert server.posts == 1


async def test_call_whose_deadline_passes_is_on_record(later):
    store = ScriptedStore()
    async with Server(silence) as server, client_for(server, store, deadline=500) as client:
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await server.wait(lambda: server.posts == 1)
        store.before["complete"] = gate = Gate()
        later(600)
        await gate.reached.wait()
        assert not call.done()
        gate.opened.set()
        assert told(await call) == ("maybe_sent", FailureKind.DEADLINE)
    assert [completion.state for completion in store.of("complete")] == [State.IN_DOUBT]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_deadline_while_the_result_is_recorded_takes_nothing(cancelled, later):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store, deadline=500) as client:
        store.before["complete"] = gate = Gate()
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        later(600)
        await asyncio.sleep(0)
        if cancelled:
            call.cancel()
            await asyncio.sleep(0)
        gate.opened.set()
        (result,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError if cancelled else Ok)
        assert (await client.send(REQUEST, idempotency_key="1")).replayed
    assert server.posts == 1


# --- Opening and closing -------------------------------------------------------------------------------------------


async def test_store_of_two_clients_is_open_until_both_are_closed():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as one:
        async with client_for(server, store) as other:
            assert isinstance(await one.send(REQUEST, idempotency_key="1"), Ok)
            assert (await other.send(REQUEST, idempotency_key="1")).replayed
            assert other.store is store
        assert store.opened
    assert not store.opened


async def test_store_that_lost_its_data_is_refused():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server, client_for(server, store) as client:
        await client.connect()
        memory.clear()
        result = await client.send(REQUEST, idempotency_key="1")
        assert told(result) == ("not_sent", FailureKind.STORE)
        assert "has lost its data" in result.detail
    assert server.posts == 0


async def test_connecting_raises_what_is_wrong_and_a_call_says_it(monkeypatch):
    wrong = InvalidConfiguration("url", "is a cluster", "a single one")
    store = ScriptedStore()
    store.before["open"] = failing(wrong)
    async with Server() as server, client_for(server, store) as client:
        with pytest.raises(InvalidConfiguration, match="cluster"):
            await client.connect()
        assert told(await client.send(REQUEST, idempotency_key="1")) == ("not_sent", FailureKind.STORE)
    assert server.posts == 0


async def test_closing_breaks_off_a_store_that_opens():
    store = ScriptedStore()
    store.before["open"] = gate = Gate()
    async with Server() as server:
        client = client_for(server, store)
        connecting = asyncio.create_task(client.connect())
        await gate.reached.wait()
        await client.aclose()
        with pytest.raises(ClientClosed):
            await connecting
        assert not store.opened
        with pytest.raises(ClientClosed):
            await client._core.session.keys()


async def test_connecting_that_fails_without_callers_logs_nothing():
    store = ScriptedStore()
    store.before["open"] = gate = Gate()
    async with Server() as server, client_for(server, store) as client:
        connecting = asyncio.create_task(client.connect())
        await gate.reached.wait()
        connecting.cancel()
        await asyncio.wait((connecting,))
        store.after["open"] = failing(BROKEN)
        gate.opened.set()
        await asyncio.wait((client._core.session._connecting,))


async def test_closing_waits_for_the_claims_that_are_not_yet_ended():
    store = ScriptedStore()
    async with Server() as server, client_for(server, store) as client:
        keys, session = await client._core.session.keys(), client._core.session
        claim, _ = session.claims.claim_of(keys, REQUEST, None, report_id=None, deadline=30.0, force=False)
        (lease,) = await session.claim([claim], until=asyncio.get_running_loop().time())
        closing = asyncio.create_task(session.aclose())
        while not session._last_completed._waiters:
            await asyncio.sleep(0)
        assert not closing.done()
        session.complete(lease, Ok())
        await closing
    assert len(store.of("complete")) == 1


async def test_closing_that_is_cancelled_closes_the_store(monkeypatch):
    store = ScriptedStore()
    async with Server() as server:
        client = client_for(server, store)
        store.before["complete"] = gate = Gate()
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await gate.reached.wait()
        call.cancel()
        closing = asyncio.create_task(client._core.session.aclose())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait((closing,))
        assert closing.cancelled()
        assert not store.opened
        await asyncio.wait((call,))
        await client.aclose()


async def test_client_that_contradicts_the_one_before_says_so(caplog):
    memory = Memory()
    async with Server() as server:
        async with client_for(server, ScriptedStore(memory), rate=100.0) as client:
            await client.connect()
        async with client_for(server, ScriptedStore(memory), rate=100.0) as client:
            await client.connect()
        assert caplog.text == ""
        async with client_for(server, ScriptedStore(memory), api_key="n3w") as client:
            await client.connect()
    assert "used another API key" in caplog.text
    assert "had rate=100.0, and this one has None" in caplog.text
    assert "k3y" not in caplog.text
    assert "n3w" not in caplog.text


async def test_warnings_of_the_store_are_logged(caplog):
    class Careless(ScriptedStore):
        async def check(self) -> list[str]:
            return ["it forgets"]

    async with Server() as server, client_for(server, Careless()) as client:
        await client.connect()
        await client.connect()
    assert caplog.text.count("it forgets") == 1
    assert repr(client._core.session) == "<StoreSession ScriptedStore()>"


def test_store_of_another_event_loop_raises():
    store = ScriptedStore()

    async def send():
        async with Server() as server, client_for(server, store) as client:
            with pytest.raises(WrongEventLoop, match="this store belongs to another event loop"):
                await client.send(REQUEST, idempotency_key="1")
        return server.posts

    with asyncio.Runner() as runner:
        runner.run(store.connect())
        assert asyncio.run(send()) == 0
        runner.run(store.aclose())


def test_store_of_another_type_is_refused():
    with pytest.raises(InvalidConfiguration, match="store"):
        Gateway360Client("k3y", store="redis://localhost")


# --- Reports -----------------------------------------------------------------------------------------------------


async def test_report_id_is_on_record_and_a_replay_has_it():
    memory, reports = Memory(), DeliveryReports("https://shop.test/reports", "s3cret" * 8)
    async with Server(_close) as server, client_for(server, ScriptedStore(memory), reports=reports) as one:
        first = await one.send(REQUEST, idempotency_key="1")
        async with client_for(server, ScriptedStore(memory), reports=reports) as other:
            second = await other.send(REQUEST, idempotency_key="1")
    assert first.report_id is not None
    assert second.report_id == first.report_id
    assert first.report_id in server.requests[0].json["report_url"] or server.requests[0].json["report_url"]


# --- Cooldown, guard and rate mean the same with a store and without ------------------------------------------------


@pytest.fixture(params=["own", "stored"])
def shared(request):
    """Settings of a client that keeps its policies itself, or in a store."""
    return lambda: {"store": ScriptedStore() if request.param == "stored" else None}


async def test_cooldown_replays_sent_results_and_lets_others_be_sent(shared):
    async with Server(in_turn(REFUSED, UNPAID, _close, ok)) as server:
        async with client_for(server, cooldown=60, **shared()) as client:
            results = [await client.send(REQUEST) for _ in range(4)]
            assert [(told(result)[0], result.replayed) for result in results] == [
                ("not_sent", False),
                ("not_sent", False),
                ("maybe_sent", False),
                ("maybe_sent", True),
            ]
            assert told(await client.send(REQUEST, force=True)) == ("sent", None)
            assert (await client.send(REQUEST)).replayed
            assert not (await client.send(PinRequest(ELSEWHERE, "PIZZA"))).replayed
    assert server.posts == 5


@pytest.mark.parametrize(
    ("guard", "kinds"),
    [
        (SpendGuard(per_number=1), [None, FailureKind.NUMBER_LIMIT, None]),
        (SpendGuard(per_prefix=2), [None, None, FailureKind.PREFIX_LIMIT]),
        (SpendGuard(per_client=2), [None, None, FailureKind.CLIENT_LIMIT]),
        (SpendGuard(total=1), [None, FailureKind.TOTAL_LIMIT, FailureKind.TOTAL_LIMIT]),
        (SpendGuard(attempts=1), [None, FailureKind.ATTEMPT_LIMIT, FailureKind.ATTEMPT_LIMIT]),
        (SpendGuard(allowed_prefixes={"351"}), [FailureKind.PREFIX_NOT_ALLOWED] * 3),
        (SpendGuard(allowed_regions={"PT"}), [FailureKind.REGION_NOT_ALLOWED] * 3),
    ],
    ids=str,
)
async def test_guard_refuses_at_its_limits(shared, guard, kinds):
    async with Server() as server, client_for(server, guard=guard, **shared()) as client:
        requests = [REQUEST, REQUEST, PinRequest(ELSEWHERE, "PIZZA")]
        results = [await client.send(request) for request in requests]
    assert [getattr(result, "kind", None) for result in results] == kinds
    assert server.posts == kinds.count(None)


async def test_guard_counts_a_gateways_refusal_as_an_attempt_alone(shared):
    guard = SpendGuard(per_number=1, attempts=2)
    async with Server(in_turn(REFUSED, ok)) as server, client_for(server, guard=guard, **shared()) as client:
        results = [await client.send(REQUEST) for _ in range(3)]
    assert [told(result)[0] for result in results] == ["not_sent", "sent", "not_sent"]
    assert results[2].kind is FailureKind.ATTEMPT_LIMIT
    assert server.posts == 2


async def test_guard_gives_back_what_never_reached_the_gateway(shared):
    settings = {"guard": SpendGuard(attempts=1), "retry": ONCE, **shared()}
    async with Server(in_turn(status(429), ok)) as server, client_for(server, **settings) as client:
        results = [await client.send(REQUEST) for _ in range(3)]
    assert [told(result)[0] for result in results] == ["not_sent", "sent", "not_sent"]
    assert server.posts == 2


async def test_rate_is_waited_for(shared):
    async with Server() as server, client_for(server, rate=1000.0, **shared()) as client:
        results = await asyncio.gather(
            *(client.send(PinRequest(str(34600000000 + n), "PIZZA")) for n in range(5))
        )
    assert [type(result) for result in results] == [Ok] * 5


async def test_result_of_another_client_is_known_to_a_refused_call():
    memory = Memory()
    guard = SpendGuard(allowed_prefixes={"351"})
    async with Server() as server, client_for(server, ScriptedStore(memory)) as one:
        await one.send(REQUEST, idempotency_key="1")
        store = ScriptedStore(memory)
        async with client_for(server, store, guard=guard) as other:
            assert (await other.send(REQUEST, idempotency_key="1")).replayed
            store.before["claim"] = failing(AWAY)
            result = await other.send(REQUEST, idempotency_key="2")
            assert told(result) == ("not_sent", FailureKind.PREFIX_NOT_ALLOWED)
    assert server.posts == 1


async def test_refusal_stands_for_its_key_and_not_for_its_number():
    async with Server(in_turn(REFUSED, ok)) as server:
        async with client_for(server, ScriptedStore(), cooldown=60) as client:
            first = await client.send(REQUEST, idempotency_key="1")
            assert (await client.send(REQUEST, idempotency_key="1")).replayed
            assert isinstance(await client.send(REQUEST, idempotency_key="2"), Ok)
            assert (await client.send(REQUEST, idempotency_key="3")).replayed
    assert told(first)[0] == "not_sent"
    assert server.posts == 2


async def test_number_that_another_client_sends_to_is_waited_for(later):
    memory, store = Memory(), ScriptedStore()
    store._memory = memory
    async with (
        Server(silence) as server,
        client_for(server, ScriptedStore(memory), cooldown=60, deadline=1000) as one,
        client_for(server, store, cooldown=60, deadline=500) as other,
    ):
        first = asyncio.create_task(one.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        second = asyncio.create_task(other.send(REQUEST))
        await store.wait(lambda: len(store.of("claim")) > 1)
        later(600)
        assert told(await second) == ("not_sent", FailureKind.DEADLINE)
        first.cancel()
        await asyncio.wait((first,))
    assert server.posts == 1


async def test_number_whose_earlier_call_left_no_result_is_maybe_sent(monkeypatch):
    memory = Memory()
    async with Server(silence) as server, client_for(server, ScriptedStore(memory), cooldown=60) as one:
        first = asyncio.create_task(one.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        monkeypatch.setattr(_store_admission, "is_gone", lambda _token: True)
        async with client_for(server, ScriptedStore(memory), cooldown=60) as other:
            result = await other.send(REQUEST)
            assert (told(result)[0], result.replayed) == ("maybe_sent", True)
            assert "an earlier call to this number" in result.detail
        first.cancel()
        await asyncio.wait((first,))


# --- The shared rate (rule 8) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cooldown", [None, 60])
async def test_key_that_is_not_claimed_takes_no_permit(cooldown):
    store = ScriptedStore()
    async with Server() as server, client_for(server, store, rate=0.001, cooldown=cooldown) as client:
        first = await client.send(REQUEST, idempotency_key="1")
        second = await client.send(REQUEST, idempotency_key="1")
        assert (first.replayed, second.replayed) == (False, True)
        if cooldown is not None:
            assert (await client.send(REQUEST)).replayed
    assert store.of("permits") == [1]


async def test_permit_of_a_claim_that_another_holder_won_is_given_back():
    memory = Memory()
    store = ScriptedStore(memory)
    async with Server() as server, client_for(server, ScriptedStore(memory)) as other:
        async with client_for(server, store, rate=1000.0) as client:

            async def overtaken(_items) -> None:
                del store.before["claim"]
                await other.send(REQUEST, idempotency_key="1")

            store.before["claim"] = overtaken
            assert (await client.send(REQUEST, idempotency_key="1")).replayed
            assert len(client._core.permits._returned) == 1
    assert server.posts == 1


async def test_permit_of_a_call_without_an_attempt_is_given_back():
    store = ScriptedStore()
    async with Server(silence) as server, client_for(server, store, rate=1000.0, concurrency=1) as client:
        busy = asyncio.create_task(client.send(PinRequest(ELSEWHERE, "PIZZA"), idempotency_key="0"))
        await server.wait(lambda: server.posts == 1)
        call = asyncio.create_task(client.send(REQUEST, idempotency_key="1"))
        await store.wait(lambda: len(store.of("claim")) == 2)
        for _ in range(5):
            await asyncio.sleep(0)
        returned = []
        client._core.permits.give_back = returned.append
        for each in (call, busy):
            each.cancel()
        await asyncio.wait((call, busy))
    assert len(returned) == 1
    assert server.posts == 1


async def test_request_refused_by_the_guard_waits_for_no_permit():
    store, guard = ScriptedStore(), SpendGuard(allowed_prefixes={"351"})
    async with Server() as server, client_for(server, store, rate=0.001, guard=guard) as client:
        assert told(await client.send(REQUEST)) == ("not_sent", FailureKind.PREFIX_NOT_ALLOWED)
    assert store.of("permits") == []


async def test_rate_is_shared_by_all_clients_of_a_store():
    memory = Memory()
    requests = [PinRequest(str(34600000000 + n), "PIZZA") for n in range(20)]
    async with (
        Server() as server,
        client_for(server, ScriptedStore(memory), rate=1000.0) as one,
        client_for(server, ScriptedStore(memory), rate=1000.0) as other,
    ):
        began = memory.now()
        calls = [client.send(request) for request in requests for client in (one, other)]
        assert {str(result.disposition) for result in await asyncio.gather(*calls)} == {"sent"}
        (following,) = memory.space("gateway360").permits.values()
    assert following >= began + 39 * 0.001


@pytest.mark.parametrize("key", [None, "1"])
@pytest.mark.parametrize("error", [AWAY, BROKEN, RuntimeError("oh")], ids=str)
async def test_rate_that_cannot_be_asked_for_sends_nothing(key, error):
    store = ScriptedStore()
    store.before["permits"] = failing(error)
    async with Server() as server, client_for(server, store, rate=1000.0) as client:
        assert told(await client.send(REQUEST, idempotency_key=key)) == ("not_sent", FailureKind.STORE)
    assert server.posts == 0
