"""A batch with a ledger in a file: what the next run finds, and what goes wrong with files. Real SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Executor, Future

import pytest
from loopback import Received, Server, free_port, ok, silence

from gateway360_async import (
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    LedgerError,
    Ok,
    PinRequest,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async._records import Hasher
from gateway360_async._secret import Secret
from gateway360_async.ledgers import LedgerScope, SqliteLedger, _sqlite
from gateway360_async.ledgers._file import LedgerFile

NUMBERS = [str(34600000000 + n) for n in range(10)]
REFUSED = b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"no %s"}'
NO_BALANCE = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'
NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batch.ledger"


def client_for(server: Server, **settings) -> Gateway360Client:
    return Gateway360Client("k3y", **{"base_url": server.url, "sender": "PIZZA"} | settings)


async def run(server: Server, path, requests=NUMBERS, *, resend_unknown=False, **settings):
    """One run of the batch: its results in the input's order."""
    async with client_for(server, **settings) as client:
        return await client.send_all(
            requests, ledger=SqliteLedger(path), resend_unknown=resend_unknown, halt_on=()
        )


def answering(answers: dict[str, bytes]):
    """Answers as told for some numbers, and `ok` for the rest."""

    async def answer(received: Received) -> None:
        number = received.json["msisdn"]
        if number not in answers:
            await ok(received)
        elif answers[number]:
            await received.answer(200, answers[number])
        else:
            received.reset()

    return answer


# --- runs ------------------------------------------------------------------------------------------------------


async def test_the_next_run_skips_what_is_settled_with_its_result_and_sends_what_was_never_begun(path):
    async with Server(answering({NUMBERS[3]: REFUSED % NUMBERS[3].encode()})) as server:
        first = await run(server, path, NUMBERS[:6])
        second = await run(server, path)
    assert server.posts == 10
    assert all(isinstance(result, Skipped) for result in second[:6])
    assert {result.reason for result in second[:6]} == {SkipReason.ALREADY_SETTLED}
    assert [result.disposition for result in second[:6]] == [result.disposition for result in first]
    assert [result.result for result in second[:3]] == first[:3]
    assert second[3].result.error_id == "INVALID_NUMBER"
    assert second[3].result.error_msg == "no 34*****003"
    assert [type(result) for result in second[6:]] == [Ok] * 4


async def test_what_may_have_been_sent_is_not_sent_again_unless_the_caller_says_so(path):
    lost = answering({NUMBERS[1]: b""})
    async with Server(lost) as server:
        (_, failed, *_) = await run(server, path, NUMBERS[:3])
        (_, again, *_) = await run(server, path, NUMBERS[:3])
        assert server.posts == 3
        assert isinstance(again, Skipped)
        assert (again.disposition, again.result.kind) == (Disposition.MAYBE_SENT, failed.kind)
        server.behaviour = ok
        (skipped, sent, _) = await run(server, path, NUMBERS[:3], resend_unknown=True)
        assert isinstance(skipped, Skipped)
        assert isinstance(sent, Ok)
        (_, settled, _) = await run(server, path, NUMBERS[:3], resend_unknown=True)
    assert isinstance(settled, Skipped)
    assert settled.result == sent
    assert server.posts == 4


async def test_a_refusal_of_the_second_does_not_undo_the_first_that_may_have_been_sent(path):
    async with Server(answering({NUMBERS[0]: b""})) as server:
        await run(server, path, NUMBERS[:1])
        server.behaviour = answering({NUMBERS[0]: REFUSED % b"."})
        (refused,) = await run(server, path, NUMBERS[:1], resend_unknown=True)
        assert (refused.kind, refused.disposition) == (FailureKind.INTERRUPTED, Disposition.MAYBE_SENT)
        assert "this time: not sent, the gateway answered INVALID_NUMBER" in refused.detail
        (left,) = await run(server, path, NUMBERS[:1])
    assert isinstance(left, TransportFailure)
    assert (left.kind, left.disposition) == (FailureKind.INTERRUPTED, Disposition.MAYBE_SENT)
    assert server.posts == 2


async def test_what_was_not_sent_for_a_reason_that_passes_is_sent_by_the_next_run(path):
    port = free_port()
    async with Gateway360Client(
        "k3y", base_url=f"http://127.0.0.1:{port}", sender="PIZZA", deadline=0.2
    ) as client:
        down = await client.send_all(NUMBERS[:2], ledger=SqliteLedger(path))
    assert {result.disposition for result in down} == {Disposition.NOT_SENT}
    async with Server(answering(dict.fromkeys(NUMBERS, NO_BALANCE)), port=port) as server:
        assert {result.error_id for result in await run(server, path, NUMBERS[:2])} == {"NOT_ENOUGH_BALANCE"}
        server.behaviour = ok
        assert [type(result) for result in await run(server, path, NUMBERS[:2])] == [Ok, Ok]
    assert server.posts == 4


async def test_invalid_entries_duplicates_and_what_is_skipped_by_a_halt_are_not_on_record(path):
    requests = [*NUMBERS[:2], NUMBERS[0], "no number", *NUMBERS[2:]]
    async with Server(answering({NUMBERS[1]: NO_BALANCE})) as server:
        async with client_for(server, concurrency=1) as client:
            halted = await client.send_all(requests, ledger=SqliteLedger(path))
        reasons = [result.reason for result in halted[2:]]
        assert reasons == [SkipReason.HALTED, SkipReason.INVALID, *[SkipReason.HALTED] * 8]
        server.behaviour = ok
        fixed = [*NUMBERS[:2], NUMBERS[0], "34600000099", *NUMBERS[2:]]
        results = await run(server, path, fixed)
    assert [getattr(result, "reason", "sent") for result in results[:4]] == [
        SkipReason.ALREADY_SETTLED,
        "sent",
        SkipReason.DUPLICATE,
        "sent",
    ]
    assert server.posts == 2 + 10


async def test_a_batch_left_early_settles_what_is_in_flight_on_record_too(path):
    async with Server(silence) as server, client_for(server, concurrency=3) as client:
        async with client.batch(NUMBERS, ledger=SqliteLedger(path)) as batch:
            await server.wait(lambda: server.posts == 3)
        assert [item.result.disposition for item in batch.report.unread] == [Disposition.MAYBE_SENT] * 3
        server.behaviour = ok
        results = await client.send_all(NUMBERS, ledger=SqliteLedger(path))
    assert [type(result) for result in results] == [Skipped] * 3 + [Ok] * 7
    assert {result.result.kind for result in results[:3]} == {FailureKind.CANCELLED}
    assert server.posts == 10


async def test_an_entry_cancelled_before_its_intent_is_on_record_is_sent_by_the_next_run(path):
    async with Server() as server, client_for(server) as client:
        async with client.batch(NUMBERS[:1], ledger=SqliteLedger(path)) as batch:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        (item,) = batch.report.unread
        assert item.result.disposition is Disposition.NOT_SENT
        assert "intent" in item.result.detail
        assert server.posts == 0
        assert [type(result) for result in await client.send_all(NUMBERS[:1], ledger=SqliteLedger(path))] == [
            Ok
        ]


async def test_a_limiter_that_raises_leaves_its_entry_to_the_next_run(path):
    class Closed:
        async def __aenter__(self) -> None:
            raise TimeoutError("no more today")

        async def __aexit__(self, *exc_info) -> None: ...

    async with Server() as server:
        async with client_for(server, limiter=Closed()) as client:
            with pytest.raises(TimeoutError):
                await client.send_all(NUMBERS[:1], ledger=SqliteLedger(path))
        assert [type(result) for result in await run(server, path, NUMBERS[:1])] == [Ok]


async def test_two_entries_for_one_number_are_two_entries(path):
    async with Server() as server, client_for(server) as client:
        for _ in range(2):
            await client.send_all([NUMBERS[0]] * 3, ledger=SqliteLedger(path), on_duplicate="send")
    assert server.posts == 3


async def test_no_intent_is_durable_later_than_its_requests_first_byte(path):
    """The server looks into the file's own log, through a copy, each time that it has read a request."""
    begun: list[bool] = []

    async def look(received: Received) -> None:
        copy = path.with_suffix(f".{server.posts}")
        copy.write_bytes(path.read_bytes())
        copy.with_name(copy.name + "-wal").write_bytes(path.with_name(path.name + "-wal").read_bytes())
        with sqlite3.connect(copy) as connection:
            index = NUMBERS.index(received.json["msisdn"])
            (state,) = connection.execute("SELECT state FROM entries WHERE idx = ?", (index,)).fetchone()
        connection.close()
        begun.append(state == 1)
        await received.answer()

    async with Server(look) as server:
        await run(server, path, concurrency=1)
    assert begun == [True] * len(NUMBERS)


# --- what the file holds ---------------------------------------------------------------------------------------


async def test_the_file_is_its_owners_only_and_holds_neither_numbers_nor_the_key(path):
    async with Server(answering({NUMBERS[0]: REFUSED % NUMBERS[0].encode(), NUMBERS[1]: b""})) as server:
        async with client_for(server) as client, client.batch(NUMBERS, ledger=SqliteLedger(path)) as batch:
            async for _ in batch:
                for file in path.parent.iterdir():
                    assert stat.S_IMODE(file.stat().st_mode) == 0o600
                    assert not any(number.encode() in file.read_bytes() for number in NUMBERS)
    held = path.read_bytes()
    assert b"k3y" not in held
    assert not any(number.encode() in held or number[2:].encode() in held for number in NUMBERS)


async def test_whole_numbers_are_stored_where_that_is_asked_for(path):
    async with Server() as server, client_for(server) as client:
        await client.send_all(NUMBERS, ledger=SqliteLedger(path, store_numbers=True))
    with sqlite3.connect(path) as connection:
        numbers = [number for (number,) in connection.execute("SELECT number FROM entries ORDER BY idx")]
    connection.close()
    assert numbers == NUMBERS


def test_a_ledgers_repr_says_what_it_is(path):
    assert repr(SqliteLedger(path)) == f"SqliteLedger({str(path)!r}, store_numbers=False)"


@pytest.mark.parametrize(("arguments", "setting"), [((1,), "path"), (("x", 1), "store_numbers")])
def test_a_wrong_argument_names_itself(arguments, setting):
    path, *store_numbers = arguments
    with pytest.raises(InvalidConfiguration) as caught:
        SqliteLedger(path, store_numbers=store_numbers[0] if store_numbers else False)
    assert caught.value.setting == setting


async def test_what_is_no_ledger_names_itself():
    async with Server() as server, client_for(server) as client:
        with pytest.raises(InvalidConfiguration) as caught:
            client.batch([], ledger="a path")
    assert caught.value.setting == "ledger"


# --- files that cannot be used ---------------------------------------------------------------------------------


async def refused(server: Server, path, **settings) -> LedgerError:
    """A run that is refused before anything is sent."""
    posts = server.posts
    with pytest.raises(LedgerError) as caught:
        await run(server, path, **settings)
    assert server.posts == posts
    return caught.value


async def test_a_ledger_of_another_batch_is_refused(path):
    async with Server() as server, Server() as elsewhere:
        await run(server, path)
        error = await refused(server, path, requests=NUMBERS[::-1])
        assert "is of another batch: its entry 0 is another request" in str(error)
        assert "is of another batch" in str(await refused(elsewhere, path))
        other_key = Gateway360Client("another", base_url=server.url, sender="PIZZA")
        with pytest.raises(LedgerError, match="its gateway, or its API key, is another"):
            await other_key.send_all(NUMBERS, ledger=SqliteLedger(path))
        await other_key.aclose()
        assert {type(result) for result in await run(server, path)} == {Skipped}  # and nothing is lost
    assert server.posts == len(NUMBERS)


async def test_another_entry_far_inside_ends_the_batch_and_loses_nothing(path):
    async with Server() as server, client_for(server, concurrency=2) as client:
        await client.send_all(NUMBERS[:5], ledger=SqliteLedger(path))
        changed = [*NUMBERS[:4], "34699999999", *NUMBERS[5:]]
        items = []
        with pytest.raises(LedgerError, match="its entry 4 is another request"):
            async with client.batch(changed, ledger=SqliteLedger(path)) as batch:
                async for item in batch:
                    items.append(item)
    assert "34699999999" not in {received.json["msisdn"] for received in server.requests}
    seen = {item.index: item.result for item in (*items, *batch.report.unread)}
    assert [type(seen[index]) for index in range(4)] == [Skipped] * 4
    assert seen[4].disposition is Disposition.NOT_SENT


async def test_a_ledger_in_use_is_refused(path):
    async with Server(silence) as server, client_for(server) as client:
        async with client.batch(NUMBERS[:1], ledger=SqliteLedger(path)):
            await server.wait(lambda: server.posts == 1)
            assert "is in use by another batch of this process" in str(await refused(server, path))
            said = in_another_process(path, "asyncio.run(main())")
            assert "is in use by another process" in said


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"id,number\n1,2\n" * 100, "is not a database"), (None, "is another program's database")],
    ids=["text", "another database"],
)
async def test_a_file_that_is_something_else_is_refused_and_left_as_it_was(path, content, says):
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (x)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    async with Server() as server:
        assert says in str(await refused(server, path))
    assert path.read_bytes() == before


async def test_a_ledger_of_another_format_is_refused(path):
    async with Server() as server:
        await run(server, path)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 9")
        connection.close()
        assert "has format 9" in str(await refused(server, path))


async def test_a_damaged_ledger_is_refused(path):
    requests = [str(34600000000 + n) for n in range(500)]
    async with Server() as server:
        await run(server, path, requests)
        held = bytearray(path.read_bytes())
        held[8192:12288] = b"\xaa" * 4096
        path.write_bytes(held)
        assert "is damaged" in str(await refused(server, path, requests=requests))


async def test_a_result_that_cannot_be_read_is_damage(path):
    async with Server() as server:
        await run(server, path, NUMBERS[:1])
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE entries SET result = '{}'")
        connection.close()
        assert "the result of its entry 0 cannot be read" in str(
            await refused(server, path, requests=NUMBERS[:1])
        )


async def test_a_directory_that_is_not_there_or_a_file_that_is_a_directory_is_refused(path, tmp_path):
    async with Server() as server:
        assert "No such file or directory" in str(await refused(server, path / "deeper"))
        assert "Is a directory" in str(await refused(server, tmp_path))


def in_another_process(path, code: str) -> str:
    """Run code that limits its own process, and then writes to a ledger; it prints what came out."""
    whole = textwrap.dedent(OPENING).format(path=str(path)) + textwrap.dedent(code)
    command = [sys.executable, "-c", whole]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


OPENING = """
    import asyncio, os, resource, signal
    from gateway360_async import LedgerError, PinRequest, Ok
    from gateway360_async._secret import Secret
    from gateway360_async.ledgers import LedgerScope, SqliteLedger

    async def main():
        try:
            session = await SqliteLedger({path!r}).open(LedgerScope("https://x", Secret("k3y")))
            try:
                for index in range(10_000):
                    request = PinRequest(str(34600000000 + index), "PIZZA")
                    assert await session.begin(index, request, resend_unknown=False) is None
                    await session.settle(index, Ok())
            finally:
                await session.aclose()
        except LedgerError as exc:
            print(exc)
"""


def test_a_ledger_that_cannot_be_written_is_refused(path):
    path.touch(0o444)
    # The superuser may write everything, so it becomes nobody.
    code = f"""
    if os.getuid() == 0:
        os.setuid({NOBODY})
    asyncio.run(main())
    """
    assert "Permission denied" in in_another_process(path, code)


def test_a_full_disk_is_an_error_and_what_was_recorded_stays(path):
    code = """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    asyncio.run(main())
    """
    said = in_another_process(path, code)
    assert "the disk is full" in said or "the disk failed" in said
    with sqlite3.connect(path) as connection:
        states = [state for (state,) in connection.execute("SELECT state FROM entries ORDER BY idx")]
    connection.close()
    assert len(states) > 10
    assert set(states[:-1]) == {2}


async def test_after_a_failure_nothing_more_is_recorded_and_each_asks_in_vain(path):
    session = await SqliteLedger(path).open(LedgerScope("https://x", Secret("k3y")))
    session._file._connection.execute("PRAGMA max_page_count = 5")  # a disk of that size, for SQLite
    requests = [PinRequest(str(34600000000 + index), "PIZZA") for index in range(300)]
    asked = [session.begin(index, request, resend_unknown=False) for index, request in enumerate(requests)]
    first, *others = await asyncio.gather(*asked, return_exceptions=True)
    assert first is None  # it had a commit for itself, before the others asked
    assert len({id(answer) for answer in others}) == 1
    assert "the disk is full" in str(others[0])
    with pytest.raises(LedgerError, match="the disk is full"):
        await session.settle(0, Ok())
    await session.aclose()


def test_who_makes_fingerprints_shows_no_key():
    assert repr(Hasher(Secret("k3y"), b"salt")) == "<Hasher>"


@pytest.mark.parametrize("fails", [False, True], ids=["and opens", "and fails"])
async def test_opening_that_is_cancelled_lets_go_of_the_file(path, monkeypatch, fails):
    began, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class SlowFile(LedgerFile):
        def __init__(self, *args):
            began.set()
            assert go_on.wait(30)
            if fails:
                closed.set()
                raise LedgerError("is on a disk that is gone", "a disk")
            super().__init__(*args)

        def close(self):
            super().close()
            closed.set()

    scope = LedgerScope("https://x", Secret("k3y"))
    with monkeypatch.context() as patch:
        patch.setattr(_sqlite, "LedgerFile", SlowFile)
        opening = asyncio.create_task(SqliteLedger(path).open(scope))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(began.wait, 30)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        go_on.set()
        assert await asyncio.to_thread(closed.wait, 30)
    session = await SqliteLedger(path).open(scope)
    await session.aclose()


async def test_opening_that_is_cancelled_before_its_thread_began_touches_no_file(path, monkeypatch):
    monkeypatch.setattr(_sqlite, "ThreadPoolExecutor", lambda *_, **__: NoThreads())
    opening = asyncio.create_task(SqliteLedger(path).open(LedgerScope("https://x", Secret("k3y"))))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not path.exists()


class NoThreads(Executor):
    """An executor whose threads never come to their work."""

    def submit(self, *_, **__):
        return Future()
