from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.postgres_process import ABSENT, PostgresProcess, is_installed

from gateway360_async import stores
from gateway360_async.stores._postgres_schema import SCHEMA


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresProcess]:
    """A PostgreSQL with the store's tables in the database `made`, which is copied for each test."""
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess() as process:
        process.execute("CREATE DATABASE made", "CREATE ROLE app LOGIN")
        process.execute(SCHEMA, dsn=process.dsn("made"))
        yield process


@pytest.fixture(scope="session")
def one_database(server):
    """A database for tests that make it anew before they begin: a copy of `made` costs ten times as much."""
    return server.database("made")


@pytest.fixture
def own_server():
    """A server of the test's own, to be ended."""
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess() as process:
        process.execute(SCHEMA)
        yield process


@pytest.fixture
def dsn(server, one_database):
    """A database with new tables and nothing else in the schema. Its settings are to stay as they are."""
    server.execute("DROP SCHEMA gateway360 CASCADE", SCHEMA, dsn=one_database)
    return one_database


@pytest.fixture
async def store(dsn):
    async with stores.PostgresStore(dsn, timeout=30.0) as store:
        yield store
