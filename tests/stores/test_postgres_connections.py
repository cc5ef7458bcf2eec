"""The connections of a `PostgresStore`: its tables, its rights, and troubles that pass or do not."""

from __future__ import annotations

import asyncio
import socket

import psycopg
import pytest
from support.leaks import reported
from support.postgres_process import ABSENT, PostgresProcess, is_installed
from support.postgres_questions import (
    LONG,
    as_app,
    blocked,
    claim,
    ended,
    key,
    name_of,
    patient,
    refused,
    states,
)

from gateway360_async import InvalidConfiguration
from gateway360_async.stores import Count, Record, State
from gateway360_async.stores._postgres_schema import SCHEMA, VERSION

TURNS = 25


# --- setting it up


async def test_claims_of_new_connection_read_no_row_of_others(server, dsn):
    read = "SELECT sum(idx_tup_read)::int FROM pg_stat_user_indexes WHERE indexrelname = 'records_expires'"

    async def send(names):
        async with patient(dsn) as store:  # whose end tells the server what was read
            claims = [claim(name) for name in names]
            await store.claim(claims)
            await store.complete([ended(one) for one in claims])

    async def rows_read():
        name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        while server.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'"):
            await asyncio.sleep(0.01)  # the end of a connection reports what it read
        return server.execute(read, dsn=dsn)[0][0]

    await send(range(300))
    before = await rows_read()
    await send(["one", "two"])
    assert await rows_read() - before < 10


async def test_connect_without_tables_names_command(server):
    error = await refused(patient(server.database()).connect())
    assert "gateway360 store init URL" in str(error)
    assert not error.passing


async def test_init_by_several_at_once_makes_the_tables_once(server):
    dsn = server.database()
    stores = [patient(dsn) for _ in range(3)]
    await asyncio.gather(*(store.init() for store in stores))
    server.execute(SCHEMA, dsn=dsn)
    async with stores[0] as store:
        assert await states(store, claim("a")) == [State.CLAIMED]
        await store.init()
        assert await states(store, claim("a", "another")) == [State.IN_PROGRESS]


async def test_tables_of_later_version_are_refused(server, dsn):
    later = "CREATE OR REPLACE FUNCTION gateway360.version() RETURNS integer LANGUAGE sql AS 'SELECT {}'"
    server.execute(later.format(VERSION + 1), dsn=dsn)
    error = await refused(patient(dsn).connect())
    assert f"version {VERSION + 1}" in str(error)
    server.execute(later.format(VERSION - 1), dsn=dsn)
    assert "store init" in str(await refused(patient(dsn).connect()))
    await patient(dsn).init()
    async with patient(dsn):
        pass


@pytest.mark.parametrize(
    "dsn",
    [
        7,
        None,
        "postgresql+asyncpg://u:hunter2@h/d",
        "host",
        "postgresql://u:hunter2%@h",
        "x" * 3 + "=hunter2",
    ],
)
def test_text_that_is_no_dsn_is_refused_and_not_shown(dsn):
    with pytest.raises(InvalidConfiguration) as caught:
        patient(dsn)
    assert caught.value.setting == "dsn"
    assert not any("hunter2" in text for text in reported(caught.value))


async def test_password_is_shown_nowhere(tmp_path):
    store = patient(f"postgresql://user:hunter2@/db?host={tmp_path}")
    error = await refused(store.connect())
    assert error.passing
    assert "hunter2" not in repr(store)
    assert not any("hunter2" in text for text in reported(error))


async def test_password_that_message_quotes_is_blanked(monkeypatch):
    async def connect(conninfo, **_):
        raise psycopg.OperationalError(f"cannot read {conninfo}")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    error = await refused(patient("postgresql://user:hunter2@host/db").connect())
    assert "hunter2" not in str(error)


# --- rights


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("app@", "nobody@"), "does not exist"),
        (("/test_", "/missing_"), "does not exist"),
        (("app@", "locked@"), "not permitted to log in"),
    ],
)
async def test_connection_that_is_refused_for_good_does_not_pass(server, dsn, change, reason):
    server.execute("DROP ROLE IF EXISTS locked", "CREATE ROLE locked NOLOGIN")
    error = await refused(patient(as_app(dsn).replace(*change)).connect())
    assert reason in str(error)
    assert not error.passing


async def test_wrong_password_is_no_passing_trouble(tmp_path):
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess() as process:
        process.execute("CREATE ROLE app LOGIN PASSWORD 'right'")
        rules = process.folder / "rules.conf"
        rules.write_text("local all postgres trust\nlocal all app scram-sha-256\n")
        process.execute(f"ALTER SYSTEM SET hba_file = '{rules}'")
        process.stop()
        process.start()
        dsn = process.dsn(user="app:hunter2")
        error = await refused(patient(dsn).connect())
        assert not error.passing
        assert "password authentication failed" in str(error)
        assert not any("hunter2" in text for text in reported(error))


@pytest.mark.parametrize(("answer", "reason"), [(b"S", "missing.pem"), (b"N", "does not support SSL")])
async def test_tls_that_cannot_be_is_no_passing_trouble(answer, reason):
    async def serve(reader, writer):
        await reader.read(8)
        writer.write(answer)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        tls = "sslmode=verify-ca&sslrootcert=missing.pem" if answer == b"S" else "sslmode=require"
        error = await refused(patient(f"postgresql://u@127.0.0.1:{port}/d?{tls}").connect())
        await over.wait()
    assert reason in str(error)
    assert not error.passing


async def test_missing_rights_are_named(server, dsn):
    app = patient(as_app(dsn))
    error = await refused(app.connect())
    assert "permission denied for schema gateway360" in str(error)
    assert "USAGE" in error.expected
    server.execute("GRANT USAGE ON SCHEMA gateway360 TO app", dsn=dsn)
    error = await refused(app.connect())
    assert "permission denied for table records" in str(error)
    assert not error.passing
    server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gateway360 TO app", dsn=dsn)
    async with app:
        wish = claim("a", cooldown=Record(key("b"), LONG, forgets=True), counts=(Count(key("c"), 1, LONG),))
        assert await states(app, wish) == [State.CLAIMED]
        assert await app.complete([ended(wish)]) == [True]
        assert await app.check() == await app.check()


async def test_init_without_right_names_it(server):
    dsn = server.database()
    error = await refused(patient(as_app(dsn)).init())
    assert "permission denied for database" in str(error)
    assert "CREATE on the database" in error.expected


async def test_another_isolation_level_is_refused(server):
    dsn = server.database("made")
    name = dsn.partition("@/")[2].partition("?")[0]
    server.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    error = await refused(patient(dsn).connect())
    assert "serializable" in str(error)
    assert "read committed" in error.expected
    assert not error.passing


# --- what passes


async def test_idle_connection_that_server_closed_is_replaced(server, dsn, store):
    await asyncio.gather(*(store.now() for _ in range(3)))
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name_of(dsn)}'"
    assert server.execute(end)
    assert await states(store, claim("a")) == [State.CLAIMED]


async def test_connection_that_ends_in_middle_is_passing_trouble(server, dsn, store):
    await store.claim([claim("a")])
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM gateway360.records FOR UPDATE")
        asked = asyncio.ensure_future(store.complete([ended(claim("a"))]))
        server.execute(f"SELECT pg_terminate_backend({await blocked(server, dsn)})")
        error = await refused(asked)
        assert "terminating connection" in str(error)
        assert error.passing
    assert await store.complete([ended(claim("a"))]) == [True]


async def test_lock_that_is_held_for_too_long_is_passing_trouble(server, dsn, store):
    store._bound = 0.2
    await store.claim([claim("a")])
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM gateway360.records FOR UPDATE")
        assert (await refused(store.complete([ended(claim("a"))]))).passing
        # The statement ends as well: no connection of the store waits on.
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while server.execute(waiting) != [(0,)]:
            await asyncio.sleep(0.01)
    assert await store.complete([ended(claim("a"))]) == [True]


async def test_server_without_answer_is_passing_trouble(tmp_path):
    path = tmp_path / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        store = patient(f"host={tmp_path} user=postgres")
        store._bound = 0.05
        error = await refused(store.connect())
    assert "has not answered" in str(error)
    assert error.passing


async def test_too_many_connections_are_passing_trouble(server, dsn):
    server.execute("DROP ROLE IF EXISTS few", "CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    error = await refused(patient(dsn.replace("postgres@", "few@")).connect())
    assert "too many connections" in str(error)
    assert error.passing


@pytest.mark.parametrize(
    ("code", "passing"),
    [
        ("53100", True),
        ("53200", True),
        ("40001", True),
        ("40P01", True),
        ("58030", True),
        ("22012", False),
        ("XX001", False),
    ],
)
async def test_error_of_statement_passes_or_not_and_nothing_is_claimed(server, dsn, store, code, passing):
    server.execute(
        f"CREATE FUNCTION gateway360.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '{code}'; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON gateway360.records EXECUTE FUNCTION gateway360.fail()",
        dsn=dsn,
    )
    error = await refused(store.claim([claim("a"), claim("b")]))
    assert code in str(error)
    assert error.passing is passing
    server.execute("DROP TRIGGER fail ON gateway360.records", dsn=dsn)
    assert await states(store, claim("a", "another"), claim("b", "one more")) == [State.CLAIMED] * 2


async def test_read_only_server_is_passing_trouble(server):
    dsn = server.database("made")
    server.execute(f"ALTER DATABASE {name_of(dsn)} SET default_transaction_read_only = on")
    error = await refused(patient(dsn).connect())
    assert "25006" in str(error)
    assert error.passing


async def test_tables_that_are_dropped_are_missed(server, dsn, store):
    server.execute("DROP TABLE gateway360.entries", dsn=dsn)
    error = await refused(store.claim([claim("a", counts=(Count(key("c"), 1, None),))]))
    assert "store init" in str(error)
    assert not error.passing


async def test_cancelled_call_leaves_store_usable(server, dsn, store):
    await store.claim([claim("a")])
    await asyncio.gather(*(store.now() for _ in range(4)))
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM gateway360.records FOR UPDATE")
        asked = [asyncio.ensure_future(store.complete([ended(claim("a"))])) for _ in range(6)]
        await blocked(server, dsn)
        for one in asked:
            one.cancel()
        assert [type(error) for error in await asyncio.gather(*asked, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 6
    assert await asyncio.gather(*(store.complete([ended(claim("a"))]) for _ in range(6))) == [[True]] * 6
    mine = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name_of(dsn)}'"
    while server.execute(mine)[0][0] > 4:  # the server notices its clients' ends when its statements end
        await asyncio.sleep(0.01)
