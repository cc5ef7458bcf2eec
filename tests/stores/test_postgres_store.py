"""The steps of a `PostgresStore` on a real PostgreSQL, beyond the conformance suite."""

from __future__ import annotations

import asyncio
import random
import shutil
import traceback

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from support.postgres_process import ABSENT, PgBouncerProcess, PostgresProcess, is_installed
from support.postgres_questions import LONG, blocked, claim, ended, key, name_of, patient, refused, states

from gateway360_async import StoreError
from gateway360_async.stores import Claim, Count, Record, State
from gateway360_async.stores._postgres_schema import SCHEMA

TURNS = 25


# --- durability


async def test_claim_survives_crash_although_commits_are_asynchronous():
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


async def test_check_says_what_crash_or_failover_may_forget(own_server):
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


async def test_check_of_durable_server_has_nothing_to_say():
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


async def test_store_works_when_session_is_discarded_between_calls(dsn, store):
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


async def test_pool_of_callers_is_used_and_left_open(server, dsn):
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

    deadlocks = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name_of(dsn)}'"
    before = server.execute(deadlocks)
    for store in stores:
        await store.connect()
    try:
        await asyncio.gather(*(work(number, store) for number, store in enumerate(stores)))
        assert server.execute(deadlocks) == before
    finally:
        for store in stores:
            await store.aclose()


@pytest.mark.parametrize("counted", [False, True])
async def test_withdrawal_beside_claim_leaves_nothing_leased(dsn, store, counted):
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


async def test_claim_that_waited_for_withdrawal_is_refused(server, dsn, store):
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


async def test_plain_list_that_meets_a_record_is_taken_one_by_one(store):
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


async def test_expired_rows_are_removed_in_passing(server, dsn, store):
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


async def test_count_looks_at_few_of_entries(server, dsn, store):
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


async def test_long_texts_fill_socket(store):
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


def test_traceback_of_refusal_has_no_frame_of_driver():
    async def ask():
        await patient("host=/nowhere user=u password=hunter2").connect()

    with pytest.raises(StoreError) as caught:
        asyncio.run(ask())
    assert not [frame for frame in traceback.extract_tb(caught.tb) if "psycopg" in frame.filename]
