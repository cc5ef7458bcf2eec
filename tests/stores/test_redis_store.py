"""The faults of a Redis, and its own counts. The rest is the conformance suite's."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.redis_questions import (
    PREFIX,
    at,
    free,
    free_port,
    full,
    full_memory,
    key,
    room,
    sent,
    serves,
    states,
    wait_until,
    wish,
)

from gateway360_async._exceptions import StoreError
from gateway360_async.stores._base import Claim, Count, State
from gateway360_async.stores._redis import RedisStore, _explained

# Faults


async def begin_again(process):
    """Start it, and let the event loop see that the old connections have ended: redis-py makes new ones then."""
    process.start()
    for _ in range(3):
        await asyncio.sleep(0)


async def test_redis_that_is_away_may_be_back_and_has_what_it_knew(restarting):
    async with RedisStore(restarting.url) as store:
        assert await states(store, wish()) == [State.CLAIMED]
        restarting.kill()
        for ask in (store.claim([wish("t2")]), store.check()):
            with pytest.raises(StoreError, match="cannot be asked") as caught:
                await ask
            assert caught.value.passing
        await begin_again(restarting)
        assert await store.complete([sent(wish())]) == [True]
        restarting.kill()
        await begin_again(restarting)
        assert await states(store, wish("t2")) == [State.COMPLETED]
        assert await store.check() == []


async def test_another_applications_data_under_our_key_is_refused(redis):
    redis.client.set(f"{PREFIX}identity", "something else")
    with pytest.raises(StoreError, match="another application's data"):
        await RedisStore(redis.url).connect()
    redis.client.delete(f"{PREFIX}identity")
    redis.client.hset(f"{PREFIX}identity", "a", "b")
    with pytest.raises(StoreError, match=r"refuses \(WRONGTYPE\)") as caught:
        await RedisStore(redis.url).connect()
    assert not caught.value.passing


async def test_scripts_that_were_flushed_are_handed_in_again(redis):
    async with RedisStore(redis.url) as store:
        await states(store, wish())
        redis.client.script_flush()
        assert await store.complete([sent(wish())]) == [True]
        redis.client.script_flush()
        assert await states(store, wish("t2")) == [State.COMPLETED]


async def test_full_memory_refuses_claims_whole_and_takes_their_ends(redis):
    one, two, three = full("one"), full("two", 2), full("three", 3)
    async with RedisStore(redis.url) as store:
        assert await states(store, one, two) == [State.CLAIMED, State.CLAIMED]
        # An entry that has left its window: making room for what is then refused would be half of a step.
        redis.client.zadd(f"{PREFIX}count:{key(901).hex()}", {"old": 1})
        before = {name: redis.client.dump(name) for name in redis.client.keys()}
        full_memory(redis.client)
        try:
            for ask in (lambda: store.claim([wish("x"), three]), lambda: store.permits(key(5), 1, 1.0)):
                with pytest.raises(StoreError, match=r"refuses \(OOM\)") as caught:
                    await ask()
                assert caught.value.passing
            assert {name: redis.client.dump(name) for name in redis.client.keys()} == before
            # A claim that wants no room is answered.
            assert await states(store, wish("x")) == [State.IN_PROGRESS]
            assert await store.renew([one]) == [True]
            late = free(full("late", 4), withdrawn=True)
            ends = [sent(one, "long " * 1000), free(two, give_back=two.counts), late]
            assert await store.complete(ends) == [True, True, True]
            assert [answer.state for answer in await store.peek([at(1), at(2)])] == [
                State.COMPLETED,
                State.FREE,
            ]
        finally:
            room(redis.client)
        assert await states(store, full("late", 4), three) == [State.FREE, State.CLAIMED]


async def test_too_few_replicas_and_script_that_runs_on_are_passing(make_redis):
    with make_redis(lua_time_limit="1") as process:
        async with RedisStore(process.url) as store:
            process.client.config_set("min-replicas-to-write", "1")
            with pytest.raises(StoreError, match=r"refuses \(NOREPLICAS\)") as caught:
                await store.claim([wish()])
            assert caught.value.passing
            process.client.config_set("min-replicas-to-write", "0")
            with Redis.from_url(process.url, socket_timeout=0.1, retry=Retry(NoBackoff(), 0)) as other:
                with pytest.raises(exceptions.TimeoutError):
                    other.execute_command("EVAL", "while true do end", 0)
            with pytest.raises(StoreError, match=r"refuses \(BUSY\)") as caught:
                await store.claim([wish()])
            assert caught.value.passing
            process.client.script_kill()
            wait_until(lambda: serves(process.client))
            assert await states(store, wish()) == [State.CLAIMED]


async def test_replica_refuses_until_it_is_promoted_and_knows_all(make_redis):
    port = free_port()
    with (
        make_redis(durable=True, port=str(port), repl_diskless_sync_delay="0") as primary,
        make_redis(durable=True) as replica,
    ):
        replica.client.replicaof("127.0.0.1", port)
        async with RedisStore(primary.url) as store:
            await states(store, wish(), wish("t2", 2))
            await store.complete([sent(wish())])
            wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up")
            (said,) = await store.check()
            assert "replicas (1)" in said
            primary.client.set("last", "")  # what is waited for is what this connection wrote
            assert primary.client.wait(1, 0) == 1
        store = RedisStore(replica.url)
        async with store:
            with pytest.raises(StoreError, match=r"refuses \(READONLY\)") as caught:
                await store.claim([wish("t3", 3)])
            assert caught.value.passing
            primary.kill()
            replica.client.replicaof("NO", "ONE")
            asked = [wish("t3"), wish("t3", 2), wish("t3", 3)]
            assert await states(store, *asked) == [State.COMPLETED, State.IN_PROGRESS, State.CLAIMED]


async def test_answer_that_does_not_come_is_passing(restarting):
    async with RedisStore(restarting.url) as store:
        restarting.pause()
        store._longest = 0.01
        with pytest.raises(StoreError, match=r"cannot be asked \(TimeoutError\)") as caught:
            await store.claim([wish()])
        assert caught.value.passing
        restarting.resume()
        store._longest = 30.0  # a busy machine may take its time
        assert await states(store, wish(), wish("t2")) == [State.CLAIMED, State.IN_PROGRESS]


@pytest.mark.parametrize(
    ("error", "said", "passing"),
    [
        (exceptions.BusyLoadingError("x"), "cannot be asked (BusyLoadingError)", True),
        (exceptions.MasterDownError("x"), "refuses (MASTERDOWN)", True),
        (exceptions.TryAgainError("x"), "refuses (TRYAGAIN)", True),
        (exceptions.RedisClusterException("x"), "cannot be asked (RedisClusterException)", True),
        (exceptions.ResponseError("MISCONF of a key 34666666111"), "refuses (MISCONF)", True),
        (
            exceptions.ResponseError(
                "Error running script (call to f_0): @user_script:5: @user_script: 5: -OOM command"
            ),
            "refuses (OOM)",
            True,
        ),
        (
            exceptions.ResponseError(
                "Error running script (call to f_0): @user_script:5: WRONGTYPE Operation"
            ),
            "refuses (WRONGTYPE)",
            False,
        ),
        (exceptions.ResponseError("of a key 34666666111"), "refuses (ResponseError)", False),
        (exceptions.AskError("1 127.0.0.1:1"), "refuses (a Redis Cluster)", False),
        (exceptions.ResponseError("MOVED 1 127.0.0.1:1"), "refuses (a Redis Cluster)", False),
    ],
)
def test_errors_are_told_by_their_names_only(error, said, passing):
    explained = _explained(error)
    assert (explained.problem, explained.passing) == (said, passing)


# Cancellation


@pytest.mark.parametrize("ends", ["with an answer", "with an error"])
async def test_cancellation_that_redis_py_swallows_goes_on(redis, ends):
    begun = asyncio.Event()

    async def run():
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ends == "with an error":
                raise exceptions.ConnectionError from None
        return "answer"

    asking = asyncio.create_task(RedisStore(redis.url)._exchange(run))
    await begun.wait()
    asking.cancel()
    await asyncio.wait((asking,))
    assert asking.cancelled()


async def test_store_that_closes_while_caller_is_cancelled_closes(redis, monkeypatch):
    store = RedisStore(redis.url)
    await store.connect()
    pool = store._client.connection_pool
    disconnect, begun, go = pool.disconnect, asyncio.Event(), asyncio.Event()

    async def slowly():
        begun.set()
        await go.wait()
        await disconnect()

    monkeypatch.setattr(pool, "disconnect", slowly)
    closing = asyncio.create_task(store.aclose())
    await begun.wait()
    closing.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait((closing,))
    assert closing.cancelled()
    with pytest.raises(StoreError, match="is not connected"):
        await store.now()


# What Redis is like


async def test_check_tells_what_may_be_forgotten(make_redis):
    options = {"appendfsync": "everysec", "maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}
    with make_redis(durable=True, **options) as process:
        async with RedisStore(process.url) as store:
            late, evicts = await store.check()
    assert "appendfsync always" in late
    assert "noeviction`, not allkeys-lru" in evicts


async def test_check_says_when_redis_goes_away_within(redis, monkeypatch):
    async with RedisStore(redis.url) as store:

        async def away(section):
            raise exceptions.ConnectionError

        monkeypatch.setattr(store._client, "info", away)
        with pytest.raises(StoreError, match="cannot be asked"):
            await store.check()


# Counts and records


async def test_count_holds_limit_to_end_of_each_window(redis):
    name = f"{PREFIX}count:{key(901).hex()}"
    async with RedisStore(redis.url) as store:

        async def counted(token, most=2):
            (answer,) = await store.claim(
                [Claim(token=token, lease=1.0, counts=(Count(key(901), most, 60.0),))]
            )
            return answer.limit

        assert [await counted(token) for token in ("a", "b", "c", "a")] == [None, None, 0, None]
        # Asking again makes no entry younger.
        old = redis.client.zscore(name, "b") - 1_000_000
        redis.client.zadd(name, {"a": old})
        assert await counted("a") is None
        assert redis.client.zscore(name, "a") == old
        # 60 s ago, to the microsecond: it is gone, however many such are left.
        now = round(await store.now() * 1e6)
        redis.client.zadd(name, {"a": now - 60_000_000} | {f"old{n}": n for n in range(250)})
        assert await counted("c") is None
        assert redis.client.zcard(name) == 153
        assert await counted("d") == 0
        # The clock was far ahead: an entry from then lasts for a window from now.
        redis.client.zadd(name, {"b": now * 2})
        assert await counted("d") == 0
        assert now < redis.client.zscore(name, "b") < now + 60_000_000


async def test_total_goes_over_to_number_and_stays_exact(redis):
    name, total = f"{PREFIX}count:{key(902).hex()}", f"{PREFIX}total:{key(902).hex()}"
    async with RedisStore(redis.url) as store:

        async def counted(token, most):
            (answer,) = await store.claim(
                [Claim(token=token, lease=1.0, counts=(Count(key(902), most, None),))]
            )
            return answer.limit

        assert await counted("new", 300) is None
        redis.client.zadd(name, {f"old{n}": n for n in range(250)})
        for _ in range(3):
            assert await counted("more", 251) == 0
        assert (redis.client.zcard(name), redis.client.get(total)) == (1, "250")
        assert await counted("more", 252) is None
        assert redis.client.ttl(name) == -1
