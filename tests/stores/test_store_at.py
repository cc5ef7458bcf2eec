"""The stores by their names and by their URLs."""

from __future__ import annotations

import pytest
from support.leaks import reported

from gateway360_async import InvalidConfiguration, StoreError, stores
from gateway360_async.stores import RedisStore, SqliteStore, store_at


@pytest.mark.parametrize("url", ["{}/records.db", "sqlite://{}/records.db"])
def test_store_at_path_is_file(url, tmp_path):
    store = store_at(url.format(tmp_path), namespace="shop", timeout=1.0)
    assert isinstance(store, SqliteStore)
    assert (store.namespace, store.timeout) == ("shop", 1.0)


@pytest.mark.parametrize(
    "url", ["redis://:a-s3cret@localhost/0", "rediss://localhost", "unix:///run/redis.sock"]
)
def test_store_at_url_of_redis_is_one(url):
    store = store_at(url)
    assert isinstance(store, RedisStore)
    assert "s3cret" not in repr(store)


@pytest.mark.parametrize("url", ["postgres://u:a-s3cret@localhost/db", "postgresql://localhost/db"])
def test_store_at_url_of_postgresql_is_one(url):
    pytest.importorskip("psycopg")
    assert isinstance(store_at(url), stores.PostgresStore)


def test_store_at_another_url_is_refused_without_password():
    with pytest.raises(InvalidConfiguration, match=r"begins with mysql://") as caught:
        store_at("mysql://u:a-s3cret@localhost/db")
    assert [text for text in reported(caught.value) if "a-s3cret" in text] == []


def test_module_has_no_other_names():
    with pytest.raises(AttributeError, match="MysqlStore"):
        _ = stores.MysqlStore


async def test_store_that_is_not_open_can_be_closed(tmp_path):
    store = SqliteStore(tmp_path / "records.db")
    await store.aclose()
    async with store:
        await store.aclose()
    assert list(tmp_path.iterdir())


async def test_user_that_is_refused_leaves_the_others_connected(tmp_path):
    store = SqliteStore(str(tmp_path / "records.db"))
    assert repr(store) == f"SqliteStore('{tmp_path}/records.db', namespace='gateway360')"
    async with store:
        await store.new_epoch()
        for ask in (store.connect, store.now):  # not "is not connected"
            with pytest.raises(StoreError, match="has lost its data"):
                await ask()
