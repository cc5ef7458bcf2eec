"""The places of a `RedisStore`: URLs, ready clients, TLS, a cluster, rights."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis import asyncio as redis_asyncio
from support.certificates import authority, server_context
from support.leaks import reported, shown
from support.redis_questions import (
    PASSWORD,
    PREFIX,
    all_of_it,
    free_port,
    ready_client,
    states,
    wait_until,
    wish,
)

from gateway360_async import InvalidConfiguration
from gateway360_async._exceptions import StoreError
from gateway360_async.stores._base import State
from gateway360_async.stores._redis import RedisStore

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


async def test_certificate_of_unknown_authority_is_refused_for_good(redis):
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


async def test_plain_server_under_tls_url_cannot_be_asked(make_redis):
    port = free_port()
    with make_redis(port=str(port)):
        with pytest.raises(StoreError, match="cannot be asked"):
            await RedisStore(f"rediss://127.0.0.1:{port}", timeout=0.0).connect()


@pytest.mark.parametrize(
    "place",
    [None, 7, f"http://:{PASSWORD}@x", f"redis://:{PASSWORD}@x:port", f"redis://:{PASSWORD}@x?what=1"],
)
def test_place_that_is_no_redis_is_refused_without_password(place):
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


async def test_no_repr_and_no_error_shows_password(make_redis):
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


async def test_cluster_works_by_url_and_by_ready_client(cluster):
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


async def test_cluster_node_without_our_keys_is_refused_with_cure(cluster, make_redis):
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


async def test_cluster_that_is_down_may_be_up_in_moment(cluster):
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
async def test_user_without_rights_is_told_which(redis, rights):
    redis.client.acl_setuser("none", enabled=True, passwords=[f"+{PASSWORD}"], reset=True)
    redis.client.execute_command("ACL", "SETUSER", "none", *rights.split())
    with pytest.raises(StoreError, match=r"refuses \(NOPERM\).*~gateway360:\*") as caught:
        await RedisStore(redis.url.replace("unix://", f"unix://none:{PASSWORD}@")).connect()
    assert not caught.value.passing
