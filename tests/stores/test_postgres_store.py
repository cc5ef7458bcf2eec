"""`PostgresStore` on a real PostgreSQL: what the conformance suite does not know of it."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import traceback

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from support.leaks import reported
from support.postgres_process import ABSENT, PgBouncerProcess, PostgresProcess, is_installed

from gateway360_async import InvalidConfiguration, StoreError
from gateway360_async.stores import Claim, Completion, Count, PostgresStore, Record, State
from gateway360_async.stores._postgres_schema import SCHEMA, VERSION

LONG = 3600.0
TURNS = 25
ROWS = "SELECT count(*) FROM gateway360.records"


def patient(where):
    """Make a store that a busy machine does not refuse."""
    return PostgresStore(where, timeout=30.0)


def key(name):
    return f"{name}".encode().ljust(16, b".")


def claim(name, token=None, **changes):
    return Claim(token=token or f"token of {name}", lease=LONG, record=Record(key(name), LONG), **changes)


def ended(claim, state=State.COMPLETED, result="sent", **more):
    return Completion(claim=claim, state=state, result=result, **more)


@pytest.fixture
def own_server():
    """A server of the test's own, to be ended."""
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess() as process:
        process.execute(SCHEMA)
        yield process


@pytest.fixture
def dsn(server):
    return server.database("made")


@pytest.fixture
async def store(dsn):
    async with patient(dsn) as store:
        yield store


async def states(store, *claims):
    return [answer.state for answer in await store.claim(claims)]


async def refused(asked):
    with pytest.raises(StoreError) as caught:
        await asked
    return caught.value


def as_app(dsn):
    return dsn.replace("postgres@", "app@")


# --- setting it up


async def test_claims_of_a_new_connection_read_no_row_of_others(server, dsn):
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


async def test_connect_without_tables_names_the_command(server):
    error = await refused(patient(server.database()).connect())
    assert "gateway360 store init URL" in str(error)
    assert not error.passing


async def test_init_by_several_at_once_makes_the_tables_and_can_be_repeated(server):
    dsn = server.database()
    stores = [patient(dsn) for _ in range(3)]
    await asyncio.gather(*(store.init() for store in stores))
    server.execute(SCHEMA, dsn=dsn)
    async with stores[0] as store:
        assert await states(store, claim("a")) == [State.CLAIMED]
        await store.init()
        assert await states(store, claim("a", "another")) == [State.IN_PROGRESS]


async def test_tables_of_a_later_version_are_refused(server, dsn):
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
def test_what_is_no_dsn_is_refused_and_not_shown(dsn):
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


async def test_password_that_a_message_quotes_is_blanked(monkeypatch):
    async def connect(conninfo, **_):
        raise psycopg.OperationalError(f"cannot read {conninfo}")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    error = await refused(patient("postgresql://user:hunter2@host/db").connect())
    assert "hunter2" not in str(error)


# --- who may connect


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("app@", "nobody@"), "does not exist"),
        (("/test_", "/missing_"), "does not exist"),
        (("app@", "locked@"), "not permitted to log in"),
    ],
)
async def test_connection_that_is_refused_for_good_is_no_passing_trouble(server, dsn, change, reason):
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


async def test_init_without_the_right_names_it(server):
    dsn = server.database()
    error = await refused(patient(as_app(dsn)).init())
    assert "permission denied for database" in str(error)
    assert "CREATE on the database" in error.expected


async def test_another_isolation_level_is_refused(server, dsn):
    name = dsn.partition("@/")[2].partition("?")[0]
    server.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    error = await refused(patient(dsn).connect())
    assert "serializable" in str(error)
    assert "read committed" in error.expected
    assert not error.passing


# --- what passes


async def test_server_that_is_away_is_a_passing_trouble_and_comes_back(own_server):
    async with patient(own_server.dsn()) as store:
        assert await states(store, claim("a")) == [State.CLAIMED]
        own_server.stop()
        assert (await refused(store.now())).passing
        assert (await refused(store.claim([claim("b")]))).passing
        own_server.start()
        assert await states(store, claim("a"), claim("b")) == [State.CLAIMED] * 2


async def test_idle_connection_that_the_server_closed_is_replaced(server, dsn, store):
    await asyncio.gather(*(store.now() for _ in range(3)))
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name_of(dsn)}'"
    assert server.execute(end)
    assert await states(store, claim("a")) == [State.CLAIMED]


def name_of(dsn):
    return dsn.partition("@/")[2].partition("?")[0]


async def blocked(server, dsn):
    """Wait until a statement waits for a lock; give its connection's process."""
    waiting = (
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{name_of(dsn)}' AND wait_event_type = 'Lock'"
    )
    while not (found := await asyncio.to_thread(server.execute, waiting)):
        await asyncio.sleep(0.01)
    return found[0][0]


async def test_connection_that_ends_in_the_middle_is_a_passing_trouble(server, dsn, store):
    await store.claim([claim("a")])
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM gateway360.records FOR UPDATE")
        asked = asyncio.ensure_future(store.complete([ended(claim("a"))]))
        server.execute(f"SELECT pg_terminate_backend({await blocked(server, dsn)})")
        error = await refused(asked)
        assert "terminating connection" in str(error)
        assert error.passing
    assert await store.complete([ended(claim("a"))]) == [True]


async def test_killed_server_in_the_middle_is_a_passing_trouble(own_server):
    async with patient(own_server.dsn()) as store:
        await store.claim([claim("a")])
        other = psycopg.connect(own_server.dsn())
        other.execute("SELECT FROM gateway360.records FOR UPDATE")
        asked = asyncio.ensure_future(store.complete([ended(claim("a"))]))
        await blocked(own_server, own_server.dsn())
        own_server.kill()
        assert (await refused(asked)).passing
        other.close()


async def test_lock_that_is_held_for_too_long_is_a_passing_trouble(server, dsn, store):
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


async def test_server_without_an_answer_is_a_passing_trouble(tmp_path):
    path = tmp_path / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        store = patient(f"host={tmp_path} user=postgres")
        store._bound = 0.05
        error = await refused(store.connect())
    assert "has not answered" in str(error)
    assert error.passing


async def test_too_many_connections_are_a_passing_trouble(server, dsn):
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
async def test_error_of_a_statement_passes_or_not_and_nothing_is_claimed(server, dsn, store, code, passing):
    server.execute(
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '{code}'; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON gateway360.records EXECUTE FUNCTION fail()",
        dsn=dsn,
    )
    error = await refused(store.claim([claim("a"), claim("b")]))
    assert code in str(error)
    assert error.passing is passing
    server.execute("DROP TRIGGER fail ON gateway360.records", dsn=dsn)
    assert await states(store, claim("a", "another"), claim("b", "one more")) == [State.CLAIMED] * 2


async def test_read_only_server_is_a_passing_trouble(server, dsn):
    server.execute(f"ALTER DATABASE {name_of(dsn)} SET default_transaction_read_only = on")
    error = await refused(patient(dsn).connect())
    assert "25006" in str(error)
    assert error.passing


async def test_tables_that_are_dropped_are_missed(server, dsn, store):
    server.execute("DROP TABLE gateway360.entries", dsn=dsn)
    error = await refused(store.claim([claim("a", counts=(Count(key("c"), 1, None),))]))
    assert "store init" in str(error)
    assert not error.passing


async def test_cancelled_call_leaves_the_store_usable(server, dsn, store):
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


async def test_store_is_opened_again_with_its_identity(dsn):
    store = patient(dsn)
    async with store:
        known = await store.connect()
        await store.aclose()
        await store.claim([claim("a")])
    async with store:
        assert await store.connect() == known
        assert await states(store, claim("a", "another")) == [State.IN_PROGRESS]
        await store.aclose()


async def test_store_that_is_not_connected_says_so(dsn):
    store = patient(dsn)
    assert "connect()" in str(await refused(store.now()))
    async with store:
        await store.now()
    assert "connect()" in str(await refused(store.now()))


async def test_lost_data_are_noticed_by_each_method(server, dsn, store):
    wish = claim("a")
    await store.claim([wish])
    server.execute("TRUNCATE gateway360.records", dsn=dsn)
    async with patient(dsn):
        for ask in (
            lambda: store.claim([wish]),
            lambda: store.claim([]),
            lambda: store.complete([ended(wish)]),
            lambda: store.complete([]),
            lambda: store.renew([wish]),
            lambda: store.renew([]),
            lambda: store.peek([wish.record]),
            lambda: store.peek([]),
            lambda: store.permits(key("p"), 1, 1.0),
            lambda: store.header(key("h"), "value"),
            store.now,
            store.check,
            store.new_epoch,
            store.connect,
        ):
            error = await refused(ask())
            assert "lost its data" in str(error)
            assert not error.passing
    assert server.execute(ROWS, dsn=dsn) == [(1,)]


# --- durability


async def test_claim_survives_a_crash_although_commits_are_asynchronous():
    if not is_installed():
        pytest.skip(ABSENT)
    options = {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "0"}
    with PostgresProcess(**options) as process:
        process.execute(SCHEMA)
        async with patient(process.dsn()) as store:
            guarded = claim("b", counts=(Count(key("c"), 5, None),))
            assert await states(store, claim("a")) == [State.CLAIMED]
            process.kill()
            process.start()
            assert await states(store, claim("a", "another"), guarded) == [State.IN_PROGRESS, State.CLAIMED]
            process.kill()
            process.start()
            assert await store.complete([ended(claim("a"))]) == [True]
            process.kill()
            process.start()
            records = [claim(name).record for name in "ab"]
            assert [found.state for found in await store.peek(records)] == [
                State.COMPLETED,
                State.IN_PROGRESS,
            ]


async def test_check_says_what_a_crash_or_a_failover_may_forget(own_server):
    async with patient(own_server.dsn()) as store:
        (fsync,) = await store.check()  # the tests' servers are fast
        assert "fsync is off" in fsync
        own_server.execute("CREATE ROLE app LOGIN", "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()")
        own_server.execute(
            "ALTER TABLE gateway360.records SET UNLOGGED", "ALTER SYSTEM SET full_page_writes = off"
        )
        with own_server.program("pg_receivewal", "-D", own_server.folder) as standby:
            while own_server.execute("SELECT state FROM pg_stat_replication") != [("streaming",)]:
                await asyncio.sleep(0.01)
            troubles = " ".join(await store.check())
            assert "1 of its standbys are asynchronous" in troubles
            assert "unlogged" in troubles
            rights = (
                "GRANT USAGE ON SCHEMA gateway360 TO app",
                "GRANT ALL ON ALL TABLES IN SCHEMA gateway360 TO app",
            )
            own_server.execute(*rights)
            async with patient(own_server.dsn(user="app")) as other:
                assert "standbys" not in " ".join(await other.check())
            standby.terminate()


async def test_check_of_a_durable_server_has_nothing_to_say():
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess(durable=True) as process:
        process.execute(SCHEMA)
        async with patient(process.dsn()) as store:
            assert await store.check() == []
            process.execute("ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
            while process.execute("SHOW full_page_writes") != [("off",)]:
                await asyncio.sleep(0.01)
            (trouble,) = await store.check()
            assert "full_page_writes is off" in trouble


# --- other people's connections


async def test_session_keeps_no_setting_and_no_statement(dsn, store):
    names = "synchronous_commit", "lock_timeout", "enable_seqscan", "enable_bitmapscan"
    sessions = " || ',' || ".join(f"current_setting('{name}')" for name in names)
    before = await store._run(f"SELECT {sessions}")
    await store.claim([claim("a", counts=(Count(key("c"), 1, LONG),))])
    assert await store._run(f"SELECT {sessions}") == before
    assert await store._run("SELECT count(*) FROM pg_prepared_statements") == b"0"
    assert len(store._idle) == 1


async def test_store_works_when_the_session_is_discarded_between_calls(dsn, store):
    for number in range(3):
        assert await states(store, claim(number)) == [State.CLAIMED]
        await store._run("DISCARD ALL")


async def test_clients_share_one_connection_of_pgbouncer(server, dsn):
    if shutil.which(PgBouncerProcess.PROGRAM) is None:
        pytest.skip(PgBouncerProcess.ABSENT)
    with PgBouncerProcess(server) as bouncer:
        async with patient(bouncer.dsn(dsn)) as one, patient(bouncer.dsn(dsn)) as two:
            lists = [[claim(number, f"{of}-{number}") for number in range(20)] for of in range(8)]
            found = await asyncio.gather(
                *(store.claim(claims) for claims, store in zip(lists, (one, two) * 4, strict=True))
            )
            granted = [
                answer.token for answers in found for answer in answers if answer.state is State.CLAIMED
            ]
            assert len(granted) == 20
            ends = [ended(claim(token.partition("-")[2], token)) for token in granted]
            assert all(await two.complete(ends))
            used = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name_of(dsn)}'"
            assert await one._run(used) == b"1"


async def test_pool_of_the_callers_is_used_and_left_open(server, dsn):
    async with AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False) as pool:
        async with patient(pool) as store:
            assert await states(store, claim("a")) == [State.CLAIMED]
            assert (
                await asyncio.gather(*(store.complete([ended(claim("a"))]) for _ in range(4))) == [[True]] * 4
            )
            with psycopg.connect(dsn) as other:
                other.execute("SELECT FROM gateway360.records FOR UPDATE")
                asked = asyncio.ensure_future(store.claim([claim("a", "another")]))
                await blocked(server, dsn)
                asked.cancel()
                await asyncio.wait((asked,))
            assert await states(store, claim("a", "another")) == [State.COMPLETED]
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
    assert (await refused(patient(pool).connect())).passing


# --- what the steps do to each other


async def test_lists_in_any_order_never_deadlock(server, dsn):
    rng = random.Random(7)
    count = Count(key("limit"), 10_000, LONG)
    stores = [patient(dsn) for _ in range(4)]

    async def work(number, store):
        for turn in range(TURNS):
            counts = (count,) if rng.random() < 0.4 else ()
            claims = [
                claim(name, f"{number}-{turn}-{name}", counts=counts) for name in rng.sample(range(30), 12)
            ]
            kinds = [claims[:6], claims[6:]]
            granted = []
            for some in kinds:
                answers = await store.claim(some)
                granted += [
                    one for one, found in zip(some, answers, strict=True) if found.state is State.CLAIMED
                ]
            rng.shuffle(granted)
            await asyncio.gather(
                store.renew(granted),
                store.complete(
                    [ended(one, rng.choice([State.FREE, State.FREE, State.IN_DOUBT])) for one in granted[::2]]
                ),
                store.complete([ended(one, State.FREE) for one in granted[1::2]]),
            )

    for store in stores:
        await store.connect()
    try:
        await asyncio.gather(*(work(number, store) for number, store in enumerate(stores)))
        found = server.execute(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name_of(dsn)}'")
        assert found == [(0,)]
    finally:
        for store in stores:
            await store.aclose()


@pytest.mark.parametrize("counted", [False, True])
async def test_withdrawal_beside_its_claim_leaves_nothing_leased(dsn, store, counted):
    counts = (Count(key("limit"), 1000, None),) if counted else ()
    async with patient(dsn) as other:
        for turn in range(60):
            wish = claim(turn, counts=counts)
            end = ended(wish, State.FREE, withdrawn=True, give_back=counts)
            asked = [store.claim([wish]), other.complete([end])]
            answers = await asyncio.gather(*(asked if turn % 2 else reversed(asked)))
            assert [True] in answers
            (found,) = await store.peek([wish.record])
            assert found.state is State.FREE
            assert await states(store, wish) == [State.FREE]
    assert await store._run("SELECT count(*) FROM gateway360.entries") == b"0"


async def test_claim_that_waited_for_its_withdrawal_is_refused(server, dsn, store):
    """The claim's statement began before the withdrawal was there, and sees it all the same."""
    wish = claim("a")
    with psycopg.connect(dsn) as other:
        space = (store.namespace, f"r{wish.record.key.hex()}")
        other.execute("SELECT gateway360.lock(%s, ARRAY[%s])", space)
        asked = asyncio.ensure_future(store.claim([claim("b"), wish]))
        await blocked(server, dsn)
        remember = "INSERT INTO gateway360.records (namespace, key, expires) VALUES (%s, %s, 'infinity')"
        other.execute(remember, (store.namespace, f"w{wish.token}"))
        other.execute("SELECT gateway360.unlock(%s, ARRAY[%s])", space)
    assert [answer.state for answer in await asked] == [State.CLAIMED, State.FREE]
    assert [found.state for found in await store.peek([wish.record])] == [State.FREE]


async def test_plain_list_is_taken_by_one_statement_and_the_rest_one_by_one(store):
    doubt, done = claim("doubt"), claim("done")
    await store.claim([doubt, done])
    await store.complete([ended(doubt, State.IN_DOUBT, "maybe"), ended(done)])
    answers = await store.claim(
        [
            claim("new"),
            claim("new", "later"),
            claim("doubt", "again", resend=doubt.token),
            claim("done", "another"),
            claim("new"),
        ]
    )
    assert [answer.state for answer in answers] == [
        State.CLAIMED, State.IN_PROGRESS, State.CLAIMED, State.COMPLETED, State.CLAIMED,
    ]  # fmt: skip
    assert [answer.result for answer in answers] == [None, None, "maybe", "sent", None]


async def test_permits_are_granted_ahead_as_far_as_the_horizon(store):
    interval = 0.001
    granted, first = await store.permits(key("rate"), 1000, interval)
    assert granted in (50, 51)
    assert abs(first) < interval
    more, ahead = await store.permits(key("rate"), 1000, interval)
    assert more < 50 or ahead > 0  # the server's clock has gone on


async def test_permit_that_is_too_far_ahead_is_reset(server, dsn, store):
    await store.permits(key("rate"), 1, 1.0)
    server.execute("UPDATE gateway360.records SET value = value + 9 WHERE key LIKE 'p%'", dsn=dsn)
    assert await store.permits(key("rate"), 1, 1.0) == (1, 0.0)
    granted, wait = await store.permits(key("rate"), 1, 1.0)
    assert granted == 0
    assert 0 < wait <= 1


async def test_header_is_set_once_and_given_from_then_on(store):
    assert await store.header(key("h"), "one\0") == "one\0"
    assert await store.header(key("h"), "two") == "one\0"
    assert await store.header(key("h"), "two", replace=True) == "one\0"
    assert await store.header(key("h"), "three") == "two"


async def test_renewal_wants_a_lease_that_runs(store):
    wish = claim("a", cooldown=Record(key("b"), LONG, forgets=True))
    await store.claim([wish])
    assert await store.renew([wish, claim("a", "another"), claim("c"), Claim(token="t", lease=LONG)]) == [
        True, False, False, True,
    ]  # fmt: skip
    await store.complete([ended(wish)])
    assert await store.renew([wish]) == [False]


async def test_new_epoch_refuses_those_from_before(dsn, store):
    epoch = await store.new_epoch()
    assert "lost its data" in str(await refused(store.now()))
    async with patient(dsn) as other:
        assert (await other.connect()).epoch == epoch
        await other.aclose()


async def test_what_is_over_is_removed_in_passing(server, dsn, store):
    brief = Record(key("brief"), 0.01)
    counts = (Count(key("count"), 100, 0.01),)
    for number in range(30):
        wish = Claim(token=f"{number}", lease=LONG, record=Record(key(number), 0.01), counts=counts)
        await store.claim([wish])
        await store.complete([ended(wish)])
    full = (Count(key("none"), 0, LONG),)
    assert await states(store, claim("refused", counts=full)) == [State.LIMITED]
    until = await store.now() + 0.05
    while await store.now() < until:
        pass
    for number in range(6):
        await store.claim([Claim(token=f"last {number}", lease=LONG, record=brief)])
    assert server.execute("SELECT count(*) FROM gateway360.entries", dsn=dsn) == [(0,)]
    kinds = server.execute("SELECT key FROM gateway360.records", dsn=dsn)
    assert sorted(kind[0][0] for kind in kinds) == ["i", "r"]


async def test_count_looks_at_few_of_its_entries(server, dsn, store):
    """A claim on a count of many entries costs what one on few costs: it reads no row but its own and the oldest."""
    count = Count(key("count"), 2_000, LONG)
    for begin in range(0, 2_000, 500):
        await store.claim([Claim(token=f"{begin + n}", lease=LONG, counts=(count,)) for n in range(500)])
    server.execute("ANALYZE gateway360.entries", dsn=dsn)
    read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'entries'"
    await store._run("SELECT pg_stat_force_next_flush()")
    ((before,),) = server.execute(read, dsn=dsn)
    assert await states(store, Claim(token="over", lease=LONG, counts=(count,))) == [State.LIMITED]
    await store._run("SELECT pg_stat_force_next_flush()")
    ((after,),) = server.execute(read, dsn=dsn)
    assert after - before < 10


async def test_entries_that_are_over_are_removed_a_few_at_a_time(server, dsn, store):
    many = (Count(key("count"), 1000, 0.01),)
    await store.claim([Claim(token=f"{number}", lease=LONG, counts=many) for number in range(90)])
    until = await store.now() + 0.02
    while await store.now() < until:
        pass
    assert await states(store, Claim(token="next", lease=LONG, counts=many)) == [State.CLAIMED]
    ((left,),) = server.execute("SELECT count(*) FROM gateway360.entries", dsn=dsn)
    assert 90 - 40 < left < 91
    assert server.execute("SELECT value FROM gateway360.records WHERE key LIKE 'n%'", dsn=dsn) == [(left,)]


async def test_long_texts_fill_the_socket(store):
    claims = [claim(number) for number in range(20)]
    await store.claim(claims)
    ends = [ended(one, result=f"é\0\ud800{number}" * 3_000) for number, one in enumerate(claims)]
    assert all(await store.complete(ends))
    found = await store.peek([one.record for one in claims])
    assert [answer.result for answer in found] == [end.result for end in ends]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_database_of_another_encoding_keeps_all_texts(server, encoding):
    name = f"in_{encoding.lower()}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'")
    store = patient(server.dsn(name))
    await store.init()
    async with store:
        await store.claim([claim("a", report_id="Łódź")])
        await store.complete([ended(claim("a"), result="привет")])
        (found,) = await store.peek([claim("a").record])
        assert (found.result, found.report_id) == ("привет", "Łódź")


def test_traceback_of_a_refusal_has_no_frame_of_the_driver():
    async def ask():
        await patient("host=/nowhere user=u password=hunter2").connect()

    with pytest.raises(StoreError) as caught:
        asyncio.run(ask())
    assert not [frame for frame in traceback.extract_tb(caught.tb) if "psycopg" in frame.filename]
