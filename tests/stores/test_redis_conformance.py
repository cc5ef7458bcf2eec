"""The conformance suite on a real Redis that keeps its data when it ends."""

from __future__ import annotations

import pytest
from support.lossy_proxy import LossyProxy

from gateway360_async.stores import RedisStore
from gateway360_async.testing.stores import StoreConformance


class TestRedisStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def place(self, restarting):
        self.redis = restarting
        path = restarting.url.removeprefix("unix://")
        with LossyProxy(f"{path}-lossy", path) as self.proxy:
            yield

    def make_store(self, *, namespace="gateway360"):
        return RedisStore(f"unix://{self.proxy.path}", namespace=namespace)

    def factory(self):
        return ("gateway360_async.stores:RedisStore", self.redis.url)

    async def restart(self, *, keep_data):
        self.redis.kill(forget=not keep_data)
        self.redis.start()

    def lose_answers(self):
        return self.proxy.losing()

    async def fill(self):
        self.redis.client.config_set("maxmemory", "100kb")

    async def make_room(self):
        self.redis.client.config_set("maxmemory", "0")

    async def deny(self):
        self.redis.client.acl_setuser(
            "denied", enabled=True, nopass=True, keys=["gateway360:*"], commands=["+@connection"]
        )
        return RedisStore(self.redis.url.replace("unix://", "unix://denied:any@"))
