"""What broke a fleet once, on real servers: one test for each."""

from __future__ import annotations

import asyncio

import pytest
from fleet_parts import NAMES, client_on, fleet_on, linked, only
from loopback import Server, in_turn, ok, silence, status

from gateway360_async import (
    Disposition,
    FailureKind,
    FleetError,
    Ok,
    PinRequest,
    SpendGuard,
    TransportFailure,
)
from gateway360_async._redis import _turns
from gateway360_async._redis._claims import Claims
from gateway360_async._redis._wishes import Admission, Limits, Verdict, Wish
from gateway360_async.fleet import Dispatcher, Fleet, FleetQueue, _dispatch, request_of

NUMBER = "34600000111"
OK = Ok(attempts=1, elapsed=0.25)
UNSENT = TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT, detail="refused", attempts=1)
AN_HOUR = 3_600_000_000  # in microseconds


async def test_a_clock_that_goes_back_stops_no_turns(redis):
    async with (
        Server() as server,
        client_on(redis, server, fleet=fleet_on(redis, rate=100), deadline=5) as client,
    ):
        await client.request_pin(NUMBER)
        turns = only(redis, "turns")
        redis.client.set(turns, float(redis.client.get(turns)) + AN_HOUR)
        result = await client.request_pin(NUMBER)
        assert result.disposition is Disposition.SENT
        assert redis.client.pttl(turns) < 5000


async def test_a_claim_that_comes_after_it_was_given_up_is_not_made(redis):
    """A packet that was lost comes seconds later, and its connection is long closed."""
    async with linked(redis) as link:
        claims = Claims(link, NAMES)
        wish = Wish(
            "fleet:wish:1", b"request", keep=60_000, lease=60_000, limits=Limits(total=("fleet:total:", 9))
        )
        await claims.settle(Admission(wish, "late"), UNSENT, counts=False, patience=0.0)
        with pytest.raises(FleetError):
            await claims.admit(wish, "late", patience=0.0)
        assert not redis.client.exists(wish.record, "fleet:total:")
        answer = await claims.admit(wish, "another", patience=0.0)
        assert answer.verdict is Verdict.GRANTED
        assert 0 < redis.client.pttl(NAMES.given_up("late")) <= 600_000


async def test_what_was_sent_is_no_claim_that_was_given_up(redis):
    async with linked(redis) as link:
        claims = Claims(link, NAMES)
        wish = Wish("fleet:wish:1", b"request", keep=60_000, lease=60_000)
        await claims.settle(Admission(wish, "gone"), OK, counts=True, patience=0.0)
        assert not redis.client.exists(NAMES.given_up("gone"))


async def test_a_forced_call_that_sends_nothing_leaves_the_cooldown_as_it_was(redis):
    async with (
        Server(in_turn(ok, status(429))) as server,
        client_on(redis, server, cooldown=60) as client,
        client_on(redis, server, cooldown=60) as another,
    ):
        await client.request_pin(NUMBER)
        left = redis.client.pttl(only(redis, "number"))
        unsent = await client.request_pin(NUMBER, force=True)
        assert unsent.disposition is Disposition.NOT_SENT
        result = await another.request_pin(NUMBER)
        assert (result.disposition, result.repeated) == (Disposition.SENT, True)
        assert server.posts == 2
        assert 0 < redis.client.pttl(only(redis, "number")) <= left


async def test_a_forced_call_that_sends_nothing_does_not_hide_one_that_may(redis):
    async with (
        Server(in_turn(silence, status(429))) as server,
        client_on(redis, server, cooldown=60) as client,
        client_on(redis, server, cooldown=60) as another,
    ):
        under_way = asyncio.create_task(client.request_pin(NUMBER))
        while not server.posts:
            await asyncio.sleep(0.01)
        unsent = await another.request_pin(NUMBER, force=True)
        assert unsent.disposition is Disposition.NOT_SENT
        result = await another.request_pin(NUMBER)
        assert result.disposition is Disposition.MAYBE_SENT
        assert server.posts == 2
        under_way.cancel()
        await asyncio.wait([under_way])


async def test_a_forced_call_that_sends_nothing_brings_no_cooldown_back_that_is_over(redis):
    async with (
        Server(in_turn(ok, status(429), ok)) as server,
        client_on(redis, server, cooldown=60) as client,
    ):
        await client.request_pin(NUMBER)
        redis.client.pexpire(only(redis, "number"), 1)
        await asyncio.sleep(0.01)
        await client.request_pin(NUMBER, force=True)
        result = await client.request_pin(NUMBER)
        assert (result.disposition, result.repeated) == (Disposition.SENT, False)


@pytest.fixture
def full(restarting):
    """Fill a Redis' memory, or make room in it again."""
    restarting.client.config_set("maxmemory-policy", "noeviction")
    yield lambda yes: restarting.client.config_set("maxmemory", int(yes))
    restarting.client.config_set("maxmemory", 0)


@pytest.mark.parametrize("key", [pytest.param("k", id="with a key"), pytest.param(None, id="without")])
@pytest.mark.parametrize("answer", [pytest.param(ok, id="sent"), pytest.param(status(429), id="not sent")])
async def test_an_outcome_is_recorded_in_a_memory_that_is_full(restarting, full, answer, key):
    async def fill(received):
        full(True)
        await answer(received)

    guard = SpendGuard(total=9, per_client=9)
    async with Server(fill) as server, client_on(restarting, server, cooldown=60, guard=guard) as client:
        result = await client.request_pin(NUMBER, idempotency_key=key)
        sent = result.disposition is Disposition.SENT
        assert sent == (answer is ok)
        assert restarting.client.get(only(restarting, "total")) == str(int(sent))
        if key is not None:
            record = only(restarting, "wish")
            assert restarting.client.hget(record, "s") == ("S" if sent else "O")
            assert 0 < restarting.client.pttl(record) <= 86_400_000


async def test_what_passes_is_asked_again(restarting, full):
    full(True)
    async with linked(restarting) as link:
        asked = asyncio.create_task(link.run("turns", ["t"], ["1000.0", 1, 50_000, 50_000], patience=10.0))
        await asyncio.sleep(0.1)
        assert not asked.done()
        full(False)
        assert (await asked)[0] == 1
        full(True)
        with pytest.raises(FleetError, match=r"refuses \(O") as caught:
            await link.run("turns", ["t"], ["1000.0", 1, 50_000, 50_000], patience=0.0)
        assert caught.value.passing


async def test_a_user_that_may_not_ask_how_redis_is_set_up_can_use_it(restarting):
    rules = ["on", "nopass", "~*", "+@all", "-@dangerous"]
    restarting.client.execute_command("ACL", "SETUSER", "worker", *rules)
    fleet = Fleet(restarting.url.replace("unix://", "unix://worker:x@"))
    async with Server(ok) as server, client_on(restarting, server, fleet=fleet) as client:
        assert await fleet.check() == []
        result = await client.request_pin(NUMBER)
        assert result.disposition is Disposition.SENT


@pytest.mark.parametrize("trouble", ["is cancelled", "hangs"])
async def test_a_queue_that_takes_no_second_copy_holds_up_no_batch(redis, trouble):
    tasks, handed = [], asyncio.Event()

    async def enqueue(task):
        tasks.append(task)
        if len(tasks) == 1:  # and loses it
            return
        handed.set()
        if trouble == "is cancelled":
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    queue = FleetQueue("b", enqueue, again=1.0)
    async with Server(ok) as server, client_on(redis, server) as client, client_on(redis, server) as worker:
        async with client.batch([NUMBER], queue=queue) as batch:
            taking = asyncio.create_task(anext(batch))
            await handed.wait()
            request, key = request_of(tasks[0])
            await worker.send(request, idempotency_key=key)
            assert (await taking).result.disposition is Disposition.SENT
        assert server.posts == 1


async def test_a_queue_that_hangs_ends_no_later_than_one_that_refuses(redis, monkeypatch):
    monkeypatch.setattr(_dispatch, "_TAKES_WITHIN", 0.05)
    monkeypatch.setattr(_dispatch, "_PATIENCE", 0.05)
    monkeypatch.setattr(_dispatch, "_TRY_EVERY", 0.05)

    async def enqueue(_task):
        await asyncio.Event().wait()

    async with Server(ok) as server, client_on(redis, server) as client:
        async with client.batch([NUMBER], queue=FleetQueue("b", enqueue)) as batch:
            results = [item.result async for item in batch]
    (result,) = results
    assert (result.kind, result.disposition) == (FailureKind.FLEET, Disposition.MAYBE_SENT)


async def test_what_is_being_sent_while_the_batch_halts_is_not_called_unsent(redis):
    gate = asyncio.Event()

    async def answer(received):
        await gate.wait()
        await received.answer()

    request = PinRequest(NUMBER, "PIZZA")
    async with (
        Server(answer) as server,
        client_on(redis, server) as client,
        client_on(redis, server) as worker,
    ):
        session = client._fleet
        dispatcher = Dispatcher(FleetQueue("b", print), session)
        sending = asyncio.create_task(worker.send(request, idempotency_key=session.key_of("b", request)))
        while not server.posts:
            await asyncio.sleep(0.01)
        result = await dispatcher.send(request, lambda: True)
        assert (result.kind, result.disposition) == (FailureKind.INTERRUPTED, Disposition.MAYBE_SENT)
        gate.set()
        assert (await sending).disposition is Disposition.SENT


async def test_a_queue_that_fails_once_the_outcome_is_known_changes_nothing(redis, monkeypatch):
    monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)

    async def enqueue(_task):
        raise ConnectionError

    async with Server(ok) as server, client_on(redis, server) as client:
        dispatcher = Dispatcher(FleetQueue("b", enqueue), client._fleet)
        entry = dispatcher._enter("k", PinRequest(NUMBER, "PIZZA"), None)
        entry.outcome.set_result(OK)
        await dispatcher._handed_over(entry)
        dispatcher._leave(entry)
    assert entry.outcome.result() is OK


async def test_calls_that_were_held_up_with_turns_of_their_own_do_not_all_begin_at_once(redis, monkeypatch):
    monkeypatch.setattr(_turns, "_HOLDS", 0.0)
    fleet = fleet_on(redis, rate=100)
    async with Server(ok) as server, client_on(redis, server, fleet=fleet) as client:
        asked = 0
        wait = client._fleet.turns.wait

        async def counted(patience):
            nonlocal asked
            asked += 1
            await wait(patience)

        monkeypatch.setattr(client._fleet.turns, "wait", counted)
        async with client.ahead():
            await asyncio.sleep(0.01)
            result = await client.request_pin(NUMBER)
        assert (result.disposition, asked) == (Disposition.SENT, 2)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"cooldown": 1e18}, id="cooldown"),
        pytest.param({"guard": SpendGuard(per_client=9, window=1e18)}, id="window"),
        pytest.param({"deadline": 1e18}, id="deadline"),
    ],
)
async def test_for_ever_is_a_time_that_redis_knows(redis, settings):
    fleet = fleet_on(redis, keep=1e18)
    async with Server(ok) as server, client_on(redis, server, fleet=fleet, **settings) as client:
        result = await client.request_pin(NUMBER, idempotency_key="k")
        assert result.disposition is Disposition.SENT
        assert redis.client.hget(only(redis, "wish"), "s") == "S"
