"""The conformance suite on a real PostgreSQL. No hook fills a disk: that would need a file system of the server's own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from support.lossy_proxy import LossyProxy

from gateway360_async.stores import PostgresStore
from gateway360_async.testing.stores import StoreConformance


class TestPostgresStore(StoreConformance):
    test_full_place_refuses_and_is_usable_again = (
        None  # A server with a full disk is `test_postgres_store.py`'s.
    )

    @pytest.fixture(autouse=True)
    def place(self, server):
        self.server, self.dsn = server, server.database("made")
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
            there = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'gateway360'"
            names = [name for (name,) in self.server.execute(there, dsn=self.dsn)]
            self.server.execute(*(f"TRUNCATE gateway360.{name}" for name in names), dsn=self.dsn)

    def lose_answers(self):
        return self.proxy.losing()

    async def deny(self):
        self.server.execute("DROP ROLE IF EXISTS denied", "CREATE ROLE denied LOGIN")
        return PostgresStore(self.dsn.replace("postgres@", "denied@"))
