"""What is special about the store in Redis: its places, its refusals, its faults. The rest is the conformance suite's."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
from redis import Redis, exceptions
from redis import asyncio as redis_asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.certificates import authority, server_context
from support.leaks import reported, shown

from gateway360_async import InvalidConfiguration
from gateway360_async._exceptions import StoreError
from gateway360_async.stores._base import Claim, Completion, Count, Record, State
from gateway360_async.stores._redis import RedisStore, _explained

PASSWORD = "hunter2"
PREFIX = "gateway360:{gateway360}:"


def key(n):
    return n.to_bytes(16, "big")


def at(n):
    return Record(key(n), 60.0)


def wish(token="t1", record=1, **settings):
    return Claim(
        token=token, lease=settings.pop("lease", 30.0), record=Record(key(record), 60.0, b"f"), **settings
    )


def sent(claim, result="sent"):
    return Completion(claim=claim, state=State.COMPLETED, result=result)


def free(claim, **settings):
    return Completion(claim=claim, state=State.FREE, result="", **settings)


def full(token, record=1, most=5):
    """A claim that uses all that there is."""
    counts = (Count(key(901), most, 60.0), Count(key(902), most, None))
    return wish(
        token, record, cooldown=Record(key(900 + record), 60.0, forgets=True), counts=counts, report_id="é"
    )


def full_memory(client):
    client.config_set("maxmemory", "1")


def room(client):
    client.config_set("maxmemory", "0")


async def states(store, *claims):
    return [answer.state for answer in await store.claim(claims)]


@asynccontextmanager
async def ready_client(kind, url, **settings):
    client = kind.from_url(url, **settings)
    try:
        yield client
    finally:
        await client.aclose()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


async def all_of_it(store):
    """Ask everything once, as one who uses it would."""
    one, two = full("one"), full("two", 2)
    assert await states(store, one, two, full("three")) == [State.CLAIMED, State.CLAIMED, State.IN_PROGRESS]
    assert await store.renew([one, full("three")]) == [True, False]
    assert await store.complete([sent(one, "ré"), free(two, give_back=two.counts)]) == [True, True]
    assert await store.complete([free(wish("gone", 3), withdrawn=True)]) == [True]
    completed, none = await store.peek([at(1), at(2)])
    assert (completed.state, completed.result, completed.report_id) == (State.COMPLETED, "ré", "é")
    assert none.state is State.FREE
    assert await states(store, wish("gone", 3)) == [State.FREE]
    assert (await store.permits(key(5), 3, 0.001))[0] == 3
    assert await store.header(key(6), "é") == "é"
    assert await store.header(key(6), "b", replace=True) == "é"
    assert await store.header(key(6), "c") == "b"
    assert await store.now() > 1_700_000_000
    return await store.check()


# Places


@pytest.mark.parametrize("options", ["", "?protocol=3", "?protocol=2", "?decode_responses=true&protocol=3"])
async def test_url_works_whatever_it_asks_for(redis, options):
    async with RedisStore(redis.url + options) as store:
        await all_of_it(store)
    assert redis.client.keys()
    assert all(name.startswith(PREFIX) for name in redis.client.keys())


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"decode_responses": True}, {"encoding": "latin-1", "decode_responses": True}]
)
async def test_ready_client_works_and_stays_open(redis, protocol, settings):
    async with ready_client(redis_asyncio.Redis, redis.url, protocol=protocol, **settings) as client:
        async with RedisStore(client) as store:
            await all_of_it(store)
        assert await client.ping()


async def test_tcp_port_works_with_and_without_tls(make_redis, tmp_path):
    port = free_port()
    with make_redis(port=str(port)) as process:
        async with RedisStore(f"redis://127.0.0.1:{port}/1") as store:
            await all_of_it(store)
        authority().cert_pem.write_to_path(tmp_path / "ca.pem")
        async with (
            tls_in_front_of(process) as url,
            RedisStore(f"{url}?ssl_ca_certs={tmp_path}/ca.pem") as store,
        ):
            assert await states(store, wish()) == [State.CLAIMED]


@asynccontextmanager
async def tls_in_front_of(process):
    async def forward(reader, writer):
        async with AsyncExitStack() as stack:
            try:
                inner_reader, inner_writer = await asyncio.open_unix_connection(
                    process.url.removeprefix("unix://")
                )
                stack.callback(inner_writer.close)
                stack.callback(writer.close)
                both = [
                    asyncio.ensure_future(pump(reader, inner_writer)),
                    asyncio.ensure_future(pump(inner_reader, writer)),
                ]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for pumping in both:
                    pumping.cancel()
                await asyncio.wait(both)
            except OSError:
                pass

    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)

    serving = set()

    def accepted(reader, writer):
        task = asyncio.ensure_future(forward(reader, writer))
        serving.add(task)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=server_context("TLS 1.3"))
    try:
        yield f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        if serving:
            await asyncio.wait(serving)


async def test_certificate_of_an_unknown_authority_is_refused_for_good(redis):
    async with tls_in_front_of(redis) as url:
        with pytest.raises(
            StoreError, match=r"a certificate that is not trusted .*\?ssl_ca_certs=FILE"
        ) as caught:
            await RedisStore(url).connect()
    assert not caught.value.passing


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
@pytest.mark.parametrize("there", [True, False])
async def test_tls_file_that_cannot_be_read_is_named(tmp_path, option, there):
    path = tmp_path / "some.pem"
    if there:
        path.write_text("no certificate")
    with pytest.raises(InvalidConfiguration, match=r"some\.pem.*cannot be read") as caught:
        await RedisStore(f"rediss://:{PASSWORD}@127.0.0.1:1?{option}={path}").connect()
    assert not [text for text in reported(caught.value) if PASSWORD in text]


async def test_plain_server_under_a_tls_url_cannot_be_asked(make_redis):
    port = free_port()
    with make_redis(port=str(port)):
        with pytest.raises(StoreError, match="cannot be asked"):
            await RedisStore(f"rediss://127.0.0.1:{port}", timeout=0.0).connect()


@pytest.mark.parametrize(
    "place",
    [None, 7, f"http://:{PASSWORD}@x", f"redis://:{PASSWORD}@x:port", f"redis://:{PASSWORD}@x?what=1"],
)
def test_place_that_is_none_is_refused_without_its_password(place):
    with pytest.raises(InvalidConfiguration, match=r"redis://…") as caught:
        RedisStore(place)
    assert caught.value.setting == "url"
    assert not [text for text in reported(caught.value) if PASSWORD in text]


def test_client_that_blocks_is_refused(redis):
    with pytest.raises(InvalidConfiguration, match=r"is of type Redis; .*redis\.asyncio"):
        RedisStore(redis.client)


def test_wrong_namespace_shows_no_password():
    with pytest.raises(InvalidConfiguration, match="namespace") as caught:
        RedisStore(f"redis://:{PASSWORD}@localhost", namespace="{}")
    assert not [text for text in reported(caught.value) if PASSWORD in text]


async def test_no_repr_and_no_error_shows_the_password(make_redis):
    with make_redis(requirepass=PASSWORD, protected_mode="no") as process:
        store = RedisStore(process.url.replace("unix://", f"unix://:{PASSWORD}@"))
        assert not [text for text in shown(store) if PASSWORD in text]
        async with store:
            assert not [text for text in shown(store) if PASSWORD in text]
        process.kill()
        with pytest.raises(StoreError, match="cannot be asked") as caught:
            await store.connect()
        assert not [text for text in reported(caught.value) if PASSWORD in text]
        process.start()
        with pytest.raises(StoreError, match="the right user and password") as caught:
            await RedisStore(process.url.replace("unix://", f"unix://:wrong{PASSWORD}@")).connect()
        assert not caught.value.passing
        assert not [text for text in reported(caught.value) if PASSWORD in text]


# Cluster


@pytest.fixture
def cluster(make_redis):
    port = free_port()
    with make_redis(port=str(port), cluster_enabled="yes", cluster_port=str(free_port())) as process:
        process.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: process.client.cluster("info")["cluster_state"] == "ok")
        process.tcp_url = f"redis://127.0.0.1:{port}"
        yield process


def serves(client):
    try:
        return client.ping()
    except exceptions.ResponseError:
        return False


def wait_until(done):
    """For what a server comes to by itself; a test that waits in vain is ended by pytest-timeout."""
    while not done():
        pass


async def test_cluster_works_by_url_and_by_a_ready_client(cluster):
    async with RedisStore(cluster.tcp_url, namespace="by-url") as store:
        await all_of_it(store)
    async with ready_client(redis_asyncio.RedisCluster, cluster.tcp_url) as client:
        async with RedisStore(client) as store:
            assert await all_of_it(store) == [
                "Redis keeps no append-only file: its end forgets what was sent. Set `appendonly yes`"
            ]
        assert await client.ping()
    names = cluster.client.keys()
    assert {name[: name.index("}") + 1] for name in names} == {
        "gateway360:{gateway360}",
        "gateway360:{by-url}",
    }


async def test_node_of_a_cluster_that_holds_other_keys_is_refused_with_the_cure(cluster, make_redis):
    slot = cluster.client.execute_command("CLUSTER", "KEYSLOT", f"{PREFIX}identity")
    port, bus = free_port(), free_port()
    with make_redis(port=str(port), cluster_enabled="yes", cluster_port=str(bus)) as other:
        cluster.client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        ours = cluster.client.execute_command("CLUSTER", "MYID")
        theirs = other.client.execute_command("CLUSTER", "MYID")
        wait_until(lambda: theirs in str(cluster.client.execute_command("CLUSTER", "NODES")))
        wait_until(lambda: ours in str(other.client.execute_command("CLUSTER", "NODES")))
        cluster.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", theirs)
        with pytest.raises(StoreError, match=r"a Redis Cluster.*`redis\.asyncio\.RedisCluster`") as caught:
            await RedisStore(cluster.tcp_url).connect()
        assert not caught.value.passing


async def test_cluster_that_is_down_may_be_up_in_a_moment(cluster):
    cluster.client.execute_command("CLUSTER", "DELSLOTSRANGE", 0, 16383)
    wait_until(lambda: cluster.client.cluster("info")["cluster_state"] == "fail")
    with pytest.raises(StoreError, match="CLUSTERDOWN") as caught:
        await RedisStore(cluster.tcp_url).connect()
    assert caught.value.passing
    cluster.kill()
    async with ready_client(redis_asyncio.RedisCluster, cluster.tcp_url) as client:
        with pytest.raises(StoreError, match="cannot be asked") as caught:
            await RedisStore(client).connect()
    assert caught.value.passing


# Rights


@pytest.mark.parametrize("rights", ["+@all", "+@all -@dangerous -@admin"])
async def test_user_with_few_rights_works(redis, rights):
    redis.client.acl_setuser("few", enabled=True, passwords=[f"+{PASSWORD}"], reset=True)
    redis.client.execute_command("ACL", "SETUSER", "few", "~gateway360:*", *rights.split())
    async with RedisStore(redis.url.replace("unix://", f"unix://few:{PASSWORD}@")) as store:
        said = await all_of_it(store)
    assert len(said) == (0 if "-@admin" in rights else 1)


@pytest.mark.parametrize(
    "rights", ["~other:* +@all", "~gateway360:* +@all -@scripting", "~gateway360:* +@all -get"]
)
async def test_user_without_the_rights_is_told_which(redis, rights):
    redis.client.acl_setuser("none", enabled=True, passwords=[f"+{PASSWORD}"], reset=True)
    redis.client.execute_command("ACL", "SETUSER", "none", *rights.split())
    with pytest.raises(StoreError, match=r"refuses \(NOPERM\).*~gateway360:\*") as caught:
        await RedisStore(redis.url.replace("unix://", f"unix://none:{PASSWORD}@")).connect()
    assert not caught.value.passing


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


async def test_redis_that_lost_its_data_is_refused_by_those_who_knew_it(restarting):
    known = RedisStore(restarting.url)
    async with known:
        await states(known, wish())
        restarting.kill(forget=True)
        await begin_again(restarting)
        asked = (
            lambda: known.claim([wish("t2")]),
            lambda: known.complete([sent(wish())]),
            lambda: known.renew([wish()]),
            lambda: known.peek([at(1)]),
            lambda: known.permits(key(5), 1, 1.0),
            lambda: known.header(key(6), "x"),
            known.now,
            known.check,
            known.new_epoch,
        )
        for ask in asked:
            with pytest.raises(StoreError, match="has lost its data") as caught:
                await ask()
            assert not caught.value.passing
        assert restarting.client.keys() == []
        async with RedisStore(restarting.url) as other:
            assert await states(other, wish()) == [State.CLAIMED]
    with pytest.raises(StoreError, match="has lost its data"):
        await known.connect()


async def test_new_epoch_keeps_the_secret_and_refuses_those_from_before(redis):
    async with RedisStore(redis.url) as store:
        before = await store.connect()
        await store.aclose()
        epoch = await store.new_epoch()
        with pytest.raises(StoreError, match="has lost its data"):
            await store.now()
    async with RedisStore(redis.url) as other:
        after = await other.connect()
        await other.aclose()
    assert (after.epoch, after.secret) == (epoch, before.secret)
    assert epoch != before.epoch


async def test_stores_that_connect_at_once_have_one_identity(redis):
    stores = [RedisStore(redis.url) for _ in range(5)]
    identities = await asyncio.gather(*(store.connect() for store in stores * 2))
    assert len({(identity.epoch, identity.secret) for identity in identities}) == 1
    await asyncio.gather(*(store.aclose() for store in stores * 2))


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


async def test_too_few_replicas_and_a_script_that_runs_on_are_passing(make_redis):
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


async def test_answer_that_does_not_come_is_passing_and_the_claim_is_asked_again(restarting):
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


async def test_caller_that_is_cancelled_leaves_a_store_that_works(restarting):
    async with RedisStore(restarting.url) as store:
        restarting.pause()
        asking = [asyncio.create_task(store.claim([wish(f"t{n}", n)])) for n in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        assert all(task.cancelled() for task in asking)
        restarting.resume()
        assert await states(store, wish("new", 9)) == [State.CLAIMED]
        assert [answer.token for answer in await store.peek([at(9)])] == ["new"]


async def test_store_that_closes_while_its_caller_is_cancelled_closes(redis, monkeypatch):
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


async def test_count_holds_its_limit_to_the_end_of_each_window(redis):
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


async def test_total_goes_over_to_a_number_and_stays_exact(redis):
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


async def test_resend_returns_to_doubt_with_what_was_known(redis):
    first, second = wish("t1", lease=0.001), wish("t2", resend="t1", report_id="r2")
    async with RedisStore(redis.url) as store:
        await states(store, first)
        await store.complete([Completion(claim=first, state=State.IN_DOUBT, result="maybe")])
        answers = await store.claim([wish("t3"), second, attrs.evolve(second, token="t3"), second])
        assert [answer.state for answer in answers] == [
            State.IN_DOUBT,
            State.CLAIMED,
            State.IN_PROGRESS,
            State.CLAIMED,
        ]
        assert [(answer.token, answer.result) for answer in answers[::3]] == [
            ("t1", "maybe"),
            ("t2", "maybe"),
        ]
        assert answers[1] == answers[3]
        assert await store.complete([sent(first), free(second)]) == [False, True]
        (held,) = await store.peek([at(1)])
        assert (held.state, held.token, held.result) == (State.IN_DOUBT, "t2", "maybe")
        assert redis.client.ttl(f"{PREFIX}record:{key(1).hex()}") == -1


async def test_forced_claim_leaves_the_cooldown_and_its_result_takes_it(redis):
    cooldown = Record(key(2), 60.0, forgets=True)
    first = Claim(token="t1", lease=30.0, cooldown=cooldown)
    forced = Claim(token="t2", lease=30.0, cooldown=cooldown, force=True)
    async with RedisStore(redis.url) as store:
        assert await states(store, first, forced, first) == [State.CLAIMED] * 3
        assert await store.renew([first, forced]) == [True, False]
        assert await store.complete([sent(forced, "forced")]) == [True]
        assert (await store.peek([at(2)]))[0].token == "t1"
        assert await store.complete([sent(first, "first"), sent(forced, "forced")]) == [True, True]
        (held,) = await store.peek([at(2)])
        assert (held.state, held.token, held.result) == (State.COMPLETED, "t2", "forced")
        (refused,) = await store.claim([Claim(token="t3", lease=1.0, cooldown=cooldown)])
        assert (refused.state, refused.cooldown, refused.mismatch) == (State.COMPLETED, True, False)


async def test_permits_that_the_clock_left_far_ahead_begin_anew(redis):
    async with RedisStore(redis.url) as store:
        assert (await store.permits(key(5), 100, 0.01))[0] == 6
        granted, again = await store.permits(key(5), 1, 0.01)
        assert granted == 0
        assert 0 < again < 0.05
        redis.client.set(f"{PREFIX}permit:{key(5).hex()}", "9" * 16)
        assert (await store.permits(key(5), 1, 0.01))[0] == 1


async def test_namespace_sees_nothing_of_another(redis):
    async with RedisStore(redis.url, namespace="a") as one, RedisStore(redis.url, namespace="b") as two:
        assert await states(one, wish()) == await states(two, wish("t2")) == [State.CLAIMED]


async def test_of_many_who_claim_one_key_one_has_it(redis):
    stores = [RedisStore(redis.url) for _ in range(4)]
    for store in stores:
        await store.connect()
    claims = [[wish(f"{n}-{record}", record) for record in range(100)] for n in range(4)]
    answers = await asyncio.gather(
        *(store.claim(wanted) for store, wanted in zip(stores, claims, strict=True))
    )
    for told in zip(*answers, strict=True):
        assert [answer.state for answer in told].count(State.CLAIMED) == 1
    for store in stores:
        await store.aclose()


async def test_empty_lists_and_lists_of_500_are_answered(redis):
    async with RedisStore(redis.url) as store:
        assert await store.claim([]) == await store.peek([]) == []
        assert await store.complete([]) == await store.renew([]) == []
        claims = [full(f"t{n}", n, most=1000) for n in range(500)]
        assert await states(store, *claims) == [State.CLAIMED] * 500
        assert await store.complete([sent(claim) for claim in claims]) == [True] * 500
