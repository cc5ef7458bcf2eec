"""The conformance suite on each store. The hooks that a class lacks are of faults that its store cannot have here."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import pytest
from support.lossy_proxy import LossyProxy

from gateway360_async.stores import PostgresStore, RedisStore, SqliteStore
from gateway360_async.testing import FakeClock
from gateway360_async.testing.stores import Memory, MemoryStore, StoreConformance


class TestMemoryStore(StoreConformance):
    # No other process has its memory, no answer is lost on the way to it, and it is never full nor denied.
    test_each_key_is_claimed_by_exactly_one_process = None
    test_processes_never_exceed_a_limit = None
    test_processes_share_a_rate = None
    test_killed_processes_leave_in_doubt_what_they_had_claimed = None
    test_lost_answers_are_asked_for_again = None
    test_full_place_refuses_and_is_usable_again = None
    test_missing_rights_are_told_and_do_not_pass = None

    @pytest.fixture(autouse=True)
    def place(self):
        self.clock = FakeClock()
        self.memory = Memory(self.clock)

    def make_store(self, *, namespace="gateway360"):
        return MemoryStore(self.memory, namespace=namespace)

    async def advance(self, store, seconds):
        self.clock.advance(seconds)

    async def restart(self, *, keep_data):
        if not keep_data:
            self.memory.clear()


class TestSqliteStore(StoreConformance):
    test_lost_answers_are_asked_for_again = None  # No answer is lost on the way to a file.

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "records"
        self._sizes = resource.getrlimit(resource.RLIMIT_FSIZE)
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, self._sizes)
        tmp_path.chmod(0o700)

    def make_store(self, *, namespace="gateway360"):
        return SqliteStore(self.path, namespace=namespace)

    def factory(self):
        return ("gateway360_async.stores:SqliteStore", str(self.path))

    async def restart(self, *, keep_data):
        """Delete the files where the data are to be lost. There is no service that could end."""
        if not keep_data:
            for path in self.path.parent.glob("records*"):
                path.unlink()

    async def fill(self):
        """Let no file of this process become larger than a page, as on a full disk."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, self._sizes[1]))

    async def make_room(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._sizes)

    async def deny(self):
        if not os.geteuid():
            return SqliteStore(Path("/sys/kernel/records"))  # where root may make no files either
        self.path.parent.chmod(0o500)
        return SqliteStore(self.path.with_name("others"))


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
        rights = ["+@connection", "+eval", "+evalsha", "+get"]  # it may connect
        self.redis.client.acl_setuser(
            "denied", enabled=True, nopass=True, keys=["gateway360:*"], commands=rights
        )
        return RedisStore(self.redis.url.replace("unix://", "unix://denied:any@"))


@pytest.fixture(scope="session")
def emptied(server):
    """A database whose tables other tests leave as they are: a process runs the tests of a folder in any order."""
    return server.database("made")


class TestPostgresStore(StoreConformance):
    test_full_place_refuses_and_is_usable_again = None  # `test_postgres_store.py` lets statements fail.

    @pytest.fixture(autouse=True)
    def place(self, server, emptied):
        self.server, self.dsn = server, emptied
        self.empty()
        with tempfile.TemporaryDirectory(prefix="lossy-") as folder:
            name = ".s.PGSQL.5432"
            with LossyProxy(Path(folder, name), Path(server.folder, name)) as self.proxy:
                self.through = self.dsn.replace(str(server.folder), folder)
                yield

    def make_store(self, *, namespace="gateway360"):
        return PostgresStore(self.through, namespace=namespace)

    def factory(self):
        return ("gateway360_async.stores:PostgresStore", self.dsn)

    async def restart(self, *, keep_data):
        """End the server as a crash does; or empty the tables, as a new database would be."""
        if keep_data:
            self.server.kill()
            self.server.start()
        else:
            self.empty()

    def empty(self):
        self.server.execute(
            "DO $$ BEGIN EXECUTE (SELECT 'TRUNCATE ' || string_agg(format('gateway360.%I', table_name), ', ')"
            " FROM information_schema.tables WHERE table_schema = 'gateway360'); END $$",
            dsn=self.dsn,
        )

    def lose_answers(self):
        return self.proxy.losing()

    async def deny(self):
        self.server.execute("DROP ROLE IF EXISTS denied", "CREATE ROLE denied LOGIN")
        return PostgresStore(self.dsn.replace("postgres@", "denied@"))
