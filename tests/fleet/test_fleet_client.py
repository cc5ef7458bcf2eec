"""A client with a fleet, on real servers: two clients stand for two processes, and have only Redis in common."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from fleet_parts import NUMBER, NUMBERS, client_on, end_lease, fleet_on, only
from loopback import Server, in_turn, ok, rst, silence, status

from gateway360_async import (
    ClientClosed,
    Disposition,
    ErrorId,
    FailureKind,
    FleetError,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    LedgerError,
    NotVerified,
    Ok,
    PinRequest,
    RetryPolicy,
    SpendGuard,
    TransportFailure,
)
from gateway360_async.delivery import DeliveryReports
from gateway360_async.fleet import Fleet, FleetSession, _session
from gateway360_async.ledgers import RedisLedger
from gateway360_async.sandbox import Sandbox

KEY = "sign-up 4711"
REQUEST = PinRequest(NUMBER, "PIZZA")
REFUSED = b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"no"}'
NO_BALANCE = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE","error_msg":"no"}'


def short(result):
    """What a result says, without the numbers of its measurement."""
    if isinstance(result, Ok):
        return ("sent", result.repeated)
    kind = result.kind if isinstance(result, TransportFailure) else result.error_id
    return (kind, result.disposition.value, result.repeated)


SENT, REPEATED = ("sent", False), ("sent", True)
LEFT_OPEN = (FailureKind.INTERRUPTED, "maybe_sent", False)
AWAY = (FailureKind.FLEET, "not_sent", False)


class Gate:
    """A gateway that answers when it is told to."""

    def __init__(self):
        self.open = asyncio.Event()

    async def __call__(self, received):
        await self.open.wait()
        await received.answer()


async def waits_for_its_wish(redis, server, call):
    """Let a call ask Redis, and wait until it has been told that somebody else has the claim."""

    def asked():
        return redis.client.info("commandstats")["cmdstat_evalsha"]["calls"]

    # Which Redis it is, for the claim, and for the claim again: by then the first answer was read.
    enough = asked() + 3
    while asked() < enough:
        await asyncio.sleep(0)
    assert not call.done()
    return call


async def test_a_wish_is_sent_once_by_whoever_is_first(redis):
    async with Server() as server, client_on(redis, server) as one, client_on(redis, server) as other:
        first = await one.send(REQUEST, idempotency_key=KEY)
        again = [await client.send(REQUEST, idempotency_key=KEY) for client in (other, one)]
        fields = await other.request_pin(NUMBER, idempotency_key=KEY)
    assert (short(first), [*map(short, again)], short(fields)) == (SENT, [REPEATED] * 2, REPEATED)
    assert server.posts == 1
    assert again[0].attempts == first.attempts


async def test_other_keys_and_no_key_are_other_wishes(redis):
    async with Server() as server, client_on(redis, server) as client:
        for key in ("one", "other", None, None):
            assert short(await client.send(REQUEST, idempotency_key=key)) == SENT
    assert server.posts == 4


async def test_in_one_process_the_same_wish_is_shared_and_two_take_turns(redis):
    gate = Gate()
    async with Server(gate) as server, client_on(redis, server) as client:
        same = [asyncio.create_task(client.send(REQUEST, idempotency_key="one")) for _ in range(2)]
        other = asyncio.create_task(client.send(REQUEST, idempotency_key="other"))
        await server.wait(lambda: server.posts == 1)
        gate.open.set()
        results = await asyncio.gather(*same, other)
    assert [*map(short, results)] == [SENT] * 3
    assert server.posts == 2


async def test_who_gets_a_wish_that_is_on_its_way_waits_for_its_outcome(redis):
    gate = Gate()
    async with Server(gate) as server, client_on(redis, server) as one, client_on(redis, server) as other:
        first = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
        await server.wait(lambda: server.posts == 1)
        second = asyncio.create_task(other.send(REQUEST, idempotency_key=KEY))
        await waits_for_its_wish(redis, server, second)
        gate.open.set()
        assert [short(await first), short(await second)] == [SENT, REPEATED]
    assert server.posts == 1


async def test_who_cannot_wait_that_long_says_that_it_may_have_been_sent(redis, later):
    reports = DeliveryReports("https://shop.example/pin", b"a secret of thirty-two bytes, no less")
    async with Server(silence) as server, client_on(redis, server, reports=reports) as one:
        first = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
        await server.wait(lambda: server.posts == 1)
        async with client_on(redis, server, reports=reports) as other:
            asking = asyncio.create_task(other.send(REQUEST, idempotency_key=KEY, deadline=9))
            await waits_for_its_wish(redis, server, asking)
            later(10)
            result = await asking
        assert short(result) == LEFT_OPEN
        assert "somebody else is sending it" in str(result)
        assert result.report_id == redis.client.hget(only(redis, "wish"), "i") is not None
        assert (result.attempts, result.elapsed >= 9) == (0, True)
        first.cancel()
        await asyncio.wait((first,))
    assert server.posts == 1


async def test_a_wish_whose_sender_died_may_have_been_sent_and_nobody_sends_it(redis):
    async with Server(silence) as server:
        async with client_on(redis, server) as one:
            first = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
            await server.wait(lambda: server.posts == 1)
            end_lease(redis)
            async with client_on(redis, server) as other:
                results = [await other.send(REQUEST, idempotency_key=KEY) for _ in range(2)]
            first.cancel()
            await asyncio.wait((first,))
    assert [*map(short, results)] == [LEFT_OPEN] * 2
    assert "whoever began to send it is gone" in str(results[0])
    assert server.posts == 1


@pytest.mark.parametrize("reporting", [True, False])
async def test_the_first_ones_report_still_tells_what_became_of_it(redis, reporting):
    reports = DeliveryReports("https://shop.example/pin", b"a secret of thirty-two bytes, no less")
    async with Server(rst) as server:
        async with client_on(redis, server, reports=reports if reporting else None) as one:
            first = await one.send(REQUEST, idempotency_key=KEY)
        async with client_on(redis, server, reports=reports) as other:
            again = await other.send(REQUEST, idempotency_key=KEY)
            end_lease(redis)
            redis.client.hset(only(redis, "wish"), "s", "B")
            gone = await other.send(REQUEST, idempotency_key=KEY)
    assert (first.disposition, again.repeated) == (Disposition.MAYBE_SENT, True)
    assert (first.report_id is not None) is reporting
    assert first.report_id == again.report_id == gone.report_id


async def test_a_lost_answer_is_recorded_and_not_asked_for_again(redis):
    async with Server(rst) as server, client_on(redis, server) as one, client_on(redis, server) as other:
        first = await one.send(REQUEST, idempotency_key=KEY)
        again = await other.send(REQUEST, idempotency_key=KEY)
    assert first.disposition is again.disposition is Disposition.MAYBE_SENT
    assert (first.kind, again.repeated) == (again.kind, True)
    assert server.posts == 1


async def test_a_refusal_that_would_only_be_repeated_is_recorded(redis):
    async with Server(status(200, REFUSED)) as server:
        async with client_on(redis, server) as one, client_on(redis, server) as other:
            results = [await client.send(REQUEST, idempotency_key=KEY) for client in (one, other)]
    assert [*map(short, results)] == [(ErrorId.INVALID_NUMBER, "not_sent", again) for again in (False, True)]
    assert server.posts == 1


@pytest.mark.parametrize("behaviour", [status(429), status(200, NO_BALANCE)], ids=["throttled", "no balance"])
async def test_what_was_not_sent_may_be_asked_for_again(redis, behaviour):
    async with Server(in_turn(behaviour, ok)) as server:
        async with client_on(redis, server) as one, client_on(redis, server) as other:
            results = [await client.send(REQUEST, idempotency_key=KEY) for client in (one, other)]
    assert (results[0].disposition, short(results[1])) == (Disposition.NOT_SENT, SENT)


async def test_a_key_belongs_to_one_request(redis):
    async with Server() as server, client_on(redis, server) as one, client_on(redis, server) as other:
        await one.send(REQUEST, idempotency_key=KEY)
        for wrong in (PinRequest(NUMBERS[1], "PIZZA"), PinRequest(NUMBER, "PASTA")):
            with pytest.raises(InvalidRequest, match="belongs to another request") as caught:
                await other.send(wrong, idempotency_key=KEY)
            assert caught.value.field == "idempotency_key"
    assert server.posts == 1


async def test_another_fleet_has_wishes_of_its_own(redis):
    async with Server() as server:
        for client in (
            client_on(redis, server),
            client_on(redis, server, fleet=fleet_on(redis, name="other")),
        ):
            async with client:
                assert short(await client.send(REQUEST, idempotency_key=KEY)) == SENT
    assert server.posts == 2


async def test_a_fleet_is_of_one_account_and_one_gateway(redis):
    """Another key would begin a batch anew, and two accounts on one queue would send with each other's."""
    async with Server() as server, Server() as elsewhere, client_on(redis, server) as client:
        assert short(await client.send(REQUEST, idempotency_key=KEY)) == SENT
        for other in (
            client_on(redis, elsewhere),
            Gateway360Client("another", base_url=server.url, sender="PIZZA", fleet=fleet_on(redis)),
        ):
            async with other:
                result = await other.send(REQUEST, idempotency_key="another")
                assert (result.kind, result.disposition.value) == (FailureKind.FLEET, "not_sent")
                assert "with another API key, or of another gateway" in result.detail
                with pytest.raises(LedgerError, match="a name of its own"):
                    await other.send_all([NUMBER], ledger=RedisLedger(redis.url, "welcome"))
        assert (server.posts, elsewhere.posts) == (1, 0)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", 4711, b"key"])
async def test_a_key_is_text_that_can_be_printed(redis, key):
    async with Server() as server, client_on(redis, server) as client:
        for call in (
            client.send(REQUEST, idempotency_key=key),
            client.request_pin(NUMBER, idempotency_key=key),
        ):
            with pytest.raises(InvalidRequest, match="1 to 200 printable characters") as caught:
                await call
            assert caught.value.field == "idempotency_key"
        assert short(await client.send(REQUEST, idempotency_key="é" * 200)) == SENT
    assert server.posts == 1


async def test_a_key_without_a_fleet_is_refused():
    async with Server() as server, Gateway360Client("k3y", base_url=server.url) as client:
        with pytest.raises(InvalidRequest, match="without a fleet"):
            await client.send(REQUEST, idempotency_key=KEY)
    assert server.posts == 0


async def test_where_redis_is_away_nothing_is_sent_and_later_it_is(restarting):
    restarting.kill()
    async with Server() as server:
        async with client_on(restarting, server, fleet=fleet_on(restarting, patience=0.0)) as client:
            results = [await client.send(REQUEST, idempotency_key=key) for key in (KEY, None)]
            assert server.posts == 0
            assert [*map(short, results)] == [AWAY] * 2
            assert "cannot be asked" in str(results[0])
            restarting.start()
            assert short(await client.send(REQUEST, idempotency_key=KEY)) == SENT


async def test_a_call_waits_for_a_redis_that_restarts_and_records_stay(restarting):
    async with (
        Server() as server,
        client_on(restarting, server) as one,
        client_on(restarting, server) as other,
    ):
        await one.send(REQUEST, idempotency_key=KEY)
        restarting.kill()
        waiting = asyncio.create_task(other.send(REQUEST, idempotency_key=KEY))
        again = asyncio.create_task(one.send(REQUEST, idempotency_key="another"))
        await asyncio.sleep(0.05)
        restarting.start()
        assert [short(await waiting), short(await again)] == [REPEATED, SENT]
    assert server.posts == 2


async def test_a_redis_that_comes_back_without_its_data_is_refused(restarting):
    async with Server() as server:
        async with client_on(restarting, server) as client:
            await client.send(REQUEST, idempotency_key=KEY)
            restarting.kill(forget=True)
            restarting.start()
            result = await client.send(REQUEST, idempotency_key=KEY)
        assert short(result) == AWAY
        assert "has forgotten what it knew" in str(result)
        async with client_on(restarting, server) as begun_since:
            assert short(await begun_since.send(REQUEST, idempotency_key=KEY)) == SENT
    assert server.posts == 2


async def test_an_outcome_is_recorded_when_redis_is_back(restarting):
    gate = Gate()
    async with Server(gate) as server:
        async with client_on(restarting, server, fleet=fleet_on(restarting, patience=0.05)) as one:
            first = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
            await server.wait(lambda: server.posts == 1)
            restarting.kill()
            gate.open.set()
            assert short(await first) == SENT  # its caller does not wait for Redis
            restarting.start()
        async with client_on(restarting, server) as other:
            assert short(await other.send(REQUEST, idempotency_key=KEY)) == REPEATED
    assert server.posts == 1


async def test_an_outcome_that_cannot_be_recorded_is_given_out_and_logged(redis, caplog):
    gate = Gate()
    async with Server(gate) as server, client_on(redis, server) as client:
        first = asyncio.create_task(client.send(REQUEST, idempotency_key=KEY))
        await server.wait(lambda: server.posts == 1)
        record = only(redis, "wish")
        redis.client.delete(record)
        redis.client.lpush(record, "not ours")
        gate.open.set()
        assert short(await first) == SENT
    (warning,) = [record for record in caplog.records if "could not be recorded" in record.message]
    assert warning.levelno == logging.WARNING
    assert "refuses (WRONGTYPE)" in warning.message
    assert NUMBER not in warning.message


async def test_whoever_waits_for_somebody_elses_wish_while_redis_goes_does_not_say_not_sent(restarting):
    async with Server(silence) as server, client_on(restarting, server) as one:
        first = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
        await server.wait(lambda: server.posts == 1)
        async with client_on(restarting, server, fleet=fleet_on(restarting, patience=0.0)) as other:
            second = asyncio.create_task(other.send(REQUEST, idempotency_key=KEY))
            await waits_for_its_wish(restarting, server, second)
            restarting.kill()
            assert short(await second) == LEFT_OPEN
            first.cancel()
            await asyncio.wait((first,))
            restarting.start()


async def test_a_call_that_is_cancelled_while_it_asks_gives_its_wish_up(restarting):
    async with Server() as server, client_on(restarting, server) as one:
        await one.send(REQUEST, idempotency_key="another")
        restarting.pause()
        call = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait((call,))
        restarting.resume()
        async with client_on(restarting, server) as other:
            await one.aclose()  # by now it is on record
            result = await other.send(REQUEST, idempotency_key=KEY)
    assert call.cancelled()
    assert short(result) == SENT


async def test_a_call_that_is_cancelled_on_its_way_may_have_been_sent(redis):
    async with Server(silence) as server:
        async with client_on(redis, server) as one:
            call = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
            await server.wait(lambda: server.posts == 1)
            call.cancel()
            await asyncio.wait((call,))
        async with client_on(redis, server) as other:
            again = await other.send(REQUEST, idempotency_key=KEY)
    assert short(again) == (FailureKind.CANCELLED, "maybe_sent", True)
    assert server.posts == 1


async def test_a_call_whose_deadline_passes_has_its_outcome_on_record(redis, later):
    async with Server(silence) as server, client_on(redis, server) as one:
        call = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY, deadline=10))
        await server.wait(lambda: server.posts == 1)
        later(10)
        result = await call
        assert not one._fleet._recording
        async with client_on(redis, server) as other:
            again = await other.send(REQUEST, idempotency_key=KEY)
    assert short(result) == (FailureKind.DEADLINE, "maybe_sent", False)
    assert (short(again), again.attempts) == ((FailureKind.DEADLINE, "maybe_sent", True), result.attempts)


@pytest.fixture
def slow_to_record(monkeypatch):
    """An outcome is on record only once whoever waits for that has been cancelled."""
    waiting = asyncio.Event()

    async def recorded(_session, recording):
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            await recording

    monkeypatch.setattr(FleetSession, "recorded", recorded)
    return waiting


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [(ok, SENT), (status(200, REFUSED), (ErrorId.INVALID_NUMBER, "not_sent", False))],
    ids=["sent", "refused"],
)
async def test_a_deadline_that_passes_while_the_outcome_is_recorded_takes_nothing(
    redis, slow_to_record, later, behaviour, said
):
    async def in_time():
        assert short(await client.send(REQUEST, idempotency_key=KEY)) == said
        assert not asyncio.current_task().cancelling()

    async with Server(behaviour) as server, client_on(redis, server) as client:
        call = asyncio.create_task(in_time())
        await slow_to_record.wait()
        later(60)
        await call


async def test_a_cancellation_while_the_outcome_is_recorded_goes_on(redis, slow_to_record, caplog):
    async with Server() as server:
        async with client_on(redis, server) as one:
            call = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
            await slow_to_record.wait()
            call.cancel()
            await asyncio.wait((call,))
        assert call.cancelled()
        async with client_on(redis, server) as other:
            assert short(await other.send(REQUEST, idempotency_key=KEY)) == REPEATED


async def test_a_cancellation_is_kept_while_the_outcome_is_recorded(restarting):
    gate = Gate()
    async with Server(gate) as server, client_on(restarting, server) as one:
        call = asyncio.create_task(one.send(REQUEST, idempotency_key=KEY))
        await server.wait(lambda: server.posts == 1)
        restarting.pause()
        gate.open.set()
        while not one._fleet._recording:
            await asyncio.sleep(0)
        for _ in range(2):
            call.cancel()
            await asyncio.sleep(0)
        restarting.resume()
        await asyncio.wait((call,))
        assert call.cancelled()
        async with client_on(restarting, server) as other:
            assert short(await other.send(REQUEST, idempotency_key=KEY)) == REPEATED


class Refusing(AbstractAsyncContextManager):
    """A limiter that does not let anybody in."""

    async def __aenter__(self):
        raise KeyError("closed today")

    async def __aexit__(self, *_):
        raise AssertionError


async def test_what_is_raised_before_the_first_byte_leaves_the_wish_free(redis):
    async with Server() as server:
        async with client_on(redis, server, limiter=Refusing()) as one:
            with pytest.raises(KeyError):
                await one.send(REQUEST, idempotency_key=KEY)
        async with client_on(redis, server) as other:
            assert short(await other.send(REQUEST, idempotency_key=KEY)) == SENT


async def test_the_cooldown_is_the_whole_fleets(redis):
    async with Server() as server:
        async with (
            client_on(redis, server, cooldown=60) as one,
            client_on(redis, server, cooldown=60) as other,
        ):
            results = [await client.send(REQUEST) for client in (one, other)]
            forced = await other.send(REQUEST, force=True)
            elsewhere = await other.send(PinRequest(NUMBERS[1], "PIZZA"))
    assert [*map(short, [*results, forced, elsewhere])] == [SENT, REPEATED, SENT, SENT]


async def test_a_number_that_is_being_sent_to_is_waited_for(redis):
    gate = Gate()
    async with Server(gate) as server:
        async with (
            client_on(redis, server, cooldown=60) as one,
            client_on(redis, server, cooldown=60) as other,
        ):
            first = asyncio.create_task(one.send(REQUEST))
            await server.wait(lambda: server.posts == 1)
            second = asyncio.create_task(other.send(PinRequest(NUMBER, "PASTA"), idempotency_key=KEY))
            await waits_for_its_wish(redis, server, second)
            gate.open.set()
            assert [short(await first), short(await second)] == [SENT, REPEATED]
            late = await other.send(PinRequest(NUMBER, "PASTA"), idempotency_key=KEY, deadline=5.0)
            assert short(late) == REPEATED  # it was not sent, and the cooldown still lasts
    assert server.posts == 1


async def test_who_cannot_wait_for_its_number_was_not_sent(redis):
    async with Server(silence) as server:
        async with (
            client_on(redis, server, cooldown=60) as one,
            client_on(redis, server, cooldown=60) as other,
        ):
            first = asyncio.create_task(one.send(REQUEST))
            await server.wait(lambda: server.posts == 1)
            result = await other.send(PinRequest(NUMBER, "PASTA"), deadline=0.2)
            assert short(result) == (FailureKind.DEADLINE, "not_sent", False)
            end_lease(redis, "number")
            hot = await other.send(PinRequest(NUMBER, "PASTA"))
            assert short(hot) == (FailureKind.INTERRUPTED, "maybe_sent", True)
            first.cancel()
            await asyncio.wait((first,))
    assert server.posts == 1


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"per_prefix": 1}, FailureKind.PREFIX_LIMIT),
        ({"per_client": 1}, FailureKind.CLIENT_LIMIT),
        ({"total": 1}, FailureKind.TOTAL_LIMIT),
    ],
)
async def test_the_guards_limits_are_the_whole_fleets(redis, rule, kind):
    guard = SpendGuard(allowed_prefixes={"34"}, **rule)
    one, two, three = (PinRequest(number, "PIZZA") for number in NUMBERS[:3])
    async with Server(in_turn(status(429), ok)) as server:
        async with (
            client_on(redis, server, guard=guard) as first,
            client_on(redis, server, guard=guard) as other,
        ):
            results = [await first.send(one), await other.send(one), await first.send(two)]
            keyed = [await other.send(three, idempotency_key=KEY) for _ in range(2)]
            (told,) = await other._fleet.look([KEY], patience=1.0)  # for whoever waits for it
    assert [result.disposition.value for result in results] == ["not_sent", "sent", "not_sent"]
    assert [short(result) for result in (results[2], *keyed)] == [(kind, "not_sent", False)] * 3
    assert (told.result.kind, keyed[0].attempts, server.posts) == (kind, 0, 2)


@pytest.mark.parametrize("name", ["per_number", "attempts_per_number", "attempts"])
def test_limit_that_a_fleet_does_not_count_is_refused(name):
    with pytest.raises(
        InvalidConfiguration, match=f"^guard: has {name}, which a fleet does not count"
    ) as caught:
        Gateway360Client("k", fleet=Fleet("redis://127.0.0.1:1"), guard=SpendGuard(**{name: 1}))
    assert caught.value.setting == "guard"


async def test_region_that_is_not_allowed_is_refused_in_a_fleet(redis):
    guard = SpendGuard(allowed_regions={"PT"})
    async with Server() as server, client_on(redis, server, guard=guard) as client:
        results = [await client.send(REQUEST, idempotency_key=KEY), await client.send(REQUEST)]
    assert [result.kind for result in results] == [FailureKind.REGION_NOT_ALLOWED] * 2
    assert server.posts == 0


async def test_failed_lookup_uses_up_no_sms_of_a_fleet(redis):
    refusal = status(200, b'{"status":"error","error_id":"INVALID_NUMBER"}')
    async with Server(in_turn(refusal, ok)) as server:
        async with client_on(redis, server, guard=SpendGuard(total=1)) as client:
            results = [await client.send(PinRequest(number, "PIZZA")) for number in NUMBERS[:3]]
    assert [result.disposition.value for result in results] == ["not_sent", "sent", "not_sent"]
    assert (results[2].kind, server.posts) == (FailureKind.TOTAL_LIMIT, 2)


async def test_a_prefix_that_is_not_allowed_is_refused_with_redis_or_without(restarting):
    guard = SpendGuard(allowed_prefixes={"351"})
    async with Server() as server, client_on(restarting, server, guard=guard) as client:
        results = [await client.send(REQUEST, idempotency_key=KEY), await client.send(REQUEST)]
        assert restarting.client.hget(only(restarting, "wish"), "s") == "O"
    restarting.kill()
    patience = fleet_on(restarting, patience=0.0)
    async with Server() as server, client_on(restarting, server, guard=guard, fleet=patience) as client:
        results.append(await client.send(REQUEST, idempotency_key=KEY))
    assert [*map(short, results)] == [(FailureKind.PREFIX_NOT_ALLOWED, "not_sent", False)] * 3
    assert NUMBER not in str(results[0])


async def test_what_was_sent_is_known_to_a_client_that_may_not_send_it(redis):
    guard = SpendGuard(allowed_prefixes={"351"})
    async with Server() as server:
        async with client_on(redis, server) as free, client_on(redis, server, guard=guard) as bound:
            sent = await free.send(REQUEST, idempotency_key=KEY)
            told = await bound.send(REQUEST, idempotency_key=KEY)
            unkeyed = await bound.send(REQUEST)
            with pytest.raises(InvalidRequest):
                await bound.send(PinRequest(NUMBERS[1], "PIZZA"), idempotency_key=KEY)
    assert [*map(short, (sent, told))] == [SENT, REPEATED]
    assert short(unkeyed) == (FailureKind.PREFIX_NOT_ALLOWED, "not_sent", False)
    assert server.posts == 1


async def test_a_client_that_may_not_send_waits_for_one_that_does(redis):
    guard = SpendGuard(allowed_prefixes={"351"})
    gate = Gate()
    async with Server(gate) as server:
        async with client_on(redis, server) as free, client_on(redis, server, guard=guard) as bound:
            sending = asyncio.ensure_future(free.send(REQUEST, idempotency_key=KEY))
            await server.wait(lambda: server.posts == 1)
            asking = asyncio.ensure_future(bound.send(REQUEST, idempotency_key=KEY))
            await waits_for_its_wish(redis, server, asking)
            gate.open.set()
            results = await asyncio.gather(sending, asking)
    assert [*map(short, results)] == [SENT, REPEATED]
    assert server.posts == 1


async def test_a_rate_holds_for_each_attempt_within_the_calls_deadline(redis):
    fleet = fleet_on(redis, rate=0.01)
    async with Server() as server:
        async with (
            client_on(redis, server, fleet=fleet) as one,
            client_on(redis, server, fleet=fleet) as other,
        ):
            first = await one.send(REQUEST)
            second = await other.send(REQUEST, deadline=0.2)
    assert [short(first), short(second)] == [SENT, (FailureKind.DEADLINE, "not_sent", False)]
    assert server.posts == 1


async def test_a_retry_is_an_attempt_as_well(redis):
    fleet = fleet_on(redis, rate=0.01)
    retrying = RetryPolicy(base_delay=0.0)
    async with Server(status(429)) as server:
        async with client_on(redis, server, fleet=fleet, retry=retrying) as client:
            async with client.ahead():
                result = await client.send(REQUEST, deadline=0.3)
    assert (result.disposition, server.posts) == (Disposition.NOT_SENT, 1)


async def test_a_turn_is_waited_for_ahead_of_the_call_and_its_deadline(redis):
    fleet = fleet_on(redis, rate=1000.0)
    async with Server() as server, client_on(redis, server, fleet=fleet) as client:
        results = []
        for number in NUMBERS[:5]:
            async with client.ahead():
                results.append(await client.send(PinRequest(number, "PIZZA"), idempotency_key=number))
    assert [*map(short, results)] == [SENT] * 5


async def test_without_a_rate_or_a_fleet_there_is_nothing_to_wait_for(redis):
    async with Server() as server:
        for client in (client_on(redis, server), Gateway360Client("k3y", base_url=server.url)):
            async with client, client.ahead():
                assert short(await client.send(REQUEST)) == SENT


async def test_a_rate_that_cannot_be_asked_for_sends_nothing(redis):
    fleet = fleet_on(redis, rate=100.0, patience=0.0)
    async with Server() as server:
        async with client_on(redis, server, fleet=fleet) as client:
            await client.send(REQUEST)
            turns = only(redis, "turns")
            redis.client.delete(turns)
            redis.client.lpush(turns, "not ours")
            results = [await client.send(REQUEST, idempotency_key=KEY)]
            results.append(await client.verify_pin(NUMBER, "1234"))
            redis.client.delete(turns)
            results.append(await client.send(REQUEST, idempotency_key=KEY))
    assert [*map(short, results)] == [AWAY, AWAY, SENT]
    assert "refuses (WRONGTYPE)" in str(results[0])


async def test_closing_waits_for_no_turn(redis):
    fleet = fleet_on(redis, rate=0.01)
    async with Server() as server:
        client = client_on(redis, server, fleet=fleet)
        await client.send(REQUEST)
        ahead = asyncio.create_task(client.ahead().__aenter__())
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ClientClosed):
            await ahead


async def test_a_fleets_error_out_of_a_limiter_takes_no_result(redis):
    """A limiter of a fleet's own making, that fails when it is left."""

    @asynccontextmanager
    async def failing():
        yield
        raise FleetError("cannot be asked", "one that is up")

    async with Server() as server, Gateway360Client("k3y", base_url=server.url, limiter=failing()) as client:
        assert short(await client.send(REQUEST)) == SENT


async def test_a_request_is_two_questions(redis):
    async with (
        Server() as server,
        client_on(redis, server, cooldown=60, guard=SpendGuard(total=99)) as client,
    ):
        await client.send(PinRequest(NUMBERS[-1], "PIZZA"))
        before = redis.client.info("commandstats")["cmdstat_evalsha"]["calls"]
        for number in NUMBERS[:10]:
            await client.send(PinRequest(number, "PIZZA"), idempotency_key=number)
    assert redis.client.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 20


async def test_with_the_sandbox_a_number_gets_one_sms_whoever_is_asked(redis):
    async with Sandbox() as gateway:
        clients = [
            Gateway360Client(
                gateway.api_key, base_url=gateway.base_url, sender="PIZZA", fleet=fleet_on(redis)
            )
            for _ in range(4)
        ]
        results = await asyncio.gather(
            *(client.request_pin(number, idempotency_key=number) for number in NUMBERS for client in clients)
        )
        await asyncio.gather(*(client.aclose() for client in clients))
        numbers = [message.msisdn for message in gateway.messages]
    assert sorted(numbers) == NUMBERS
    assert {result.disposition for result in results} == {Disposition.SENT}
    assert sum(not result.repeated for result in results) == len(NUMBERS)


async def test_a_pin_is_verified_without_a_claim(redis):
    body = b'{"status":"ok","verified":false,"remaining_tries":1}'
    async with Server(status(200, body)) as server, client_on(redis, server) as client:
        assert isinstance(await client.verify_pin(NUMBER, "1234"), NotVerified)
    assert redis.client.keys("*") == []


async def test_closing_waits_for_an_absent_redis_no_longer_than_a_call_does(restarting, caplog, monkeypatch):
    monkeypatch.setattr(_session, "_LAST_WORD", 0.0)
    gate = Gate()
    async with Server(gate) as server:
        async with client_on(restarting, server, fleet=fleet_on(restarting, patience=0.0)) as client:
            call = asyncio.create_task(client.send(REQUEST, idempotency_key=KEY))
            await server.wait(lambda: server.posts == 1)
            restarting.kill()
            gate.open.set()
            assert short(await call) == SENT
    assert "closed before 1 outcomes were on record" in caplog.text
