"""A batch with a ledger in trouble: a wrong file, a second use, a halt, a cancellation, an ending program."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
import sys
import time

import pytest
from leaks import reported
from loopback import Received, Server, ok, rst, silence

from gateway360_async import Disposition, Gateway360Client, InvalidConfiguration, LedgerError, PinRequest
from gateway360_async._secret import Secret
from gateway360_async.ledgers import LedgerScope, SqliteLedger
from gateway360_async.ledgers._file import LedgerFile

NUMBERS = [str(34600000000 + n) for n in range(100)]
NO_BALANCE = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batch.ledger"


def client_for(server: Server, **settings) -> Gateway360Client:
    return Gateway360Client("k3y", **{"base_url": server.url, "sender": "PIZZA"} | settings)


def slow_disk(monkeypatch, seconds: float) -> None:
    real = LedgerFile.apply

    def apply(self, changes):
        time.sleep(seconds)
        return real(self, changes)

    monkeypatch.setattr(LedgerFile, "apply", apply)


def broken_disk(monkeypatch, error=lambda: LedgerError("cannot grow", "room")) -> None:
    def apply(self, changes):
        raise error()  # a new one each time: one that is kept would keep the futures that hold it

    monkeypatch.setattr(LedgerFile, "apply", apply)


ANOTHER_PROCESS = """
import asyncio, sys
from gateway360_async import Gateway360Client, LedgerError
from gateway360_async.ledgers import SqliteLedger

async def main():
    async with Gateway360Client("k3y", base_url=sys.argv[1], sender="PIZZA") as client:
        try:
            await client.send_all(sys.argv[3:], ledger=SqliteLedger(sys.argv[2]))
        except LedgerError as exc:
            print("refused:", exc)

asyncio.run(main())
"""


async def test_a_refused_second_use_does_not_unlock_the_file_for_other_processes(path):
    gate = asyncio.Event()

    async def held(received: Received) -> None:
        if server.posts == 1:
            await gate.wait()
        await received.answer()

    async with Server(held) as server, client_for(server, concurrency=1) as client:
        async with client.batch(NUMBERS[:3], ledger=SqliteLedger(path)) as batch:
            await server.wait(lambda: server.posts == 1)
            with pytest.raises(LedgerError, match="in use"):
                await client.send_all(NUMBERS[:3], ledger=SqliteLedger(path))
            other = await asyncio.create_subprocess_exec(
                sys.executable, "-c", ANOTHER_PROCESS, server.url, str(path), *NUMBERS[:3],
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            said, _ = await other.communicate()
            gate.set()
            _ = [item async for item in batch]
    sent = sorted(received.json["msisdn"] for received in server.requests)
    assert (b"refused" in said, sent) == (True, NUMBERS[:3])


async def test_another_batch_is_refused_before_it_sends_and_before_it_writes(path):
    others = [str(34700000000 + n) for n in range(50)]
    async with Server() as server, client_for(server) as client:
        async with client.batch(NUMBERS, ledger=SqliteLedger(path), concurrency=1) as batch:
            async for item in batch:
                if item.index == 2:
                    break  # stands for a crash
        before = server.posts
        with pytest.raises(LedgerError, match="another batch"):
            await client.send_all(others, ledger=SqliteLedger(path))
        sent_of_the_other = server.posts - before
        results = await asyncio.gather(
            client.send_all(NUMBERS, ledger=SqliteLedger(path)), return_exceptions=True
        )
    assert (sent_of_the_other, type(results[0])) == (0, list)


async def test_a_halted_run_does_not_say_not_sent_of_what_an_earlier_run_sent(path):
    async def poor(received: Received) -> None:
        await received.answer(
            200, NO_BALANCE if received.json["msisdn"] == NUMBERS[0] else b'{"status":"ok"}'
        )

    async with Server(poor) as server, client_for(server, concurrency=1) as client:
        await client.send_all(NUMBERS[:6], ledger=SqliteLedger(path), halt_on=())
        results = await client.send_all(NUMBERS[:6], ledger=SqliteLedger(path))
    assert server.posts == 7
    assert [result.disposition for result in results[1:]] == [Disposition.SENT] * 5


@pytest.mark.parametrize("lost", [False, True], ids=["sent", "may have been sent"])
async def test_left_early_it_does_not_say_not_sent_of_what_an_earlier_run_sent(path, lost):
    async with Server(rst if lost else ok) as server, client_for(server) as client:
        await client.send_all(NUMBERS[:5], ledger=SqliteLedger(path))
        async with client.batch(NUMBERS[:5], ledger=SqliteLedger(path)) as batch:
            for _ in range(3):
                await asyncio.sleep(0)
        assert server.posts == 5
    assert batch.report.unread
    assert Disposition.NOT_SENT not in {item.result.disposition for item in batch.report.unread}


@pytest.mark.parametrize("takes", [True, False], ids=["consumer takes", "consumer is slow"])
async def test_all_tasks_cancelled_the_batch_ends_and_no_result_is_lost(path, monkeypatch, takes):
    slow_disk(monkeypatch, 0.05)
    items = []
    async with Server() as server:
        client = client_for(server, concurrency=4)
        batch = client.batch(NUMBERS, ledger=SqliteLedger(path))

        async def consume() -> None:
            async with batch:
                async for item in batch:
                    items.append(item)
                    if not takes:
                        await asyncio.Event().wait()

        others = asyncio.all_tasks()
        task = asyncio.create_task(consume())
        await server.wait(lambda: server.posts == 8)
        await asyncio.sleep(0.01)
        for ours in asyncio.all_tasks() - others:  # as asyncio.run does at its end
            if "_serve" not in repr(ours):
                ours.cancel()
        _, hanging = await asyncio.wait((task,), timeout=3)
        known = {item.index for item in (*items, *batch.report.unread)}
        await client.aclose()
    assert (bool(hanging), len(known)) == (False, batch.report.total)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
async def test_whatever_the_ledgers_thread_raises_ends_the_batch(path, monkeypatch, error):
    broken_disk(monkeypatch, error)
    async with Server() as server:
        client = client_for(server)
        sending = asyncio.create_task(client.send_all(NUMBERS[:2], ledger=SqliteLedger(path)))
        done, _ = await asyncio.wait((sending,), timeout=2)
        sending.cancel()
        await asyncio.wait((sending,))
        sending.exception()
        await client.aclose()
    assert done


async def test_a_ledger_that_fails_as_the_block_is_left_makes_no_noise(path, monkeypatch):
    noise: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context["message"]))
    async with Server(silence) as server, client_for(server, concurrency=5) as client:
        with pytest.raises(LedgerError):
            async with client.batch(NUMBERS[:5], ledger=SqliteLedger(path)):
                await server.wait(lambda: server.posts == 5)
                broken_disk(monkeypatch)
    gc.collect()
    await asyncio.sleep(0)
    assert noise == []


async def test_a_cancelled_task_stays_cancelled_though_its_ledger_fails(path, monkeypatch):
    async with Server(silence) as server, client_for(server) as client:

        async def consume() -> None:
            async with client.batch(NUMBERS[:2], ledger=SqliteLedger(path)) as batch:
                async for _ in batch:
                    pass

        task = asyncio.create_task(consume())
        await server.wait(lambda: server.posts == 2)
        broken_disk(monkeypatch)
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled(), task.exception()


async def test_a_ledger_named_memory_is_a_file_or_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with Server() as server, client_for(server) as client:
        for _ in range(2):
            await client.send_all(NUMBERS[:2], ledger=SqliteLedger(":memory:"))
    assert server.posts == 2


async def test_a_path_with_a_null_byte_is_refused_by_name():
    async with Server() as server, client_for(server) as client:
        with pytest.raises((LedgerError, InvalidConfiguration)):
            await client.send_all(NUMBERS[:2], ledger=SqliteLedger("a\0b"))


async def test_a_file_that_was_there_is_its_owners_only_too(path):
    path.touch()
    path.chmod(0o644)
    async with Server() as server, client_for(server) as client:
        await client.send_all(NUMBERS[:2], ledger=SqliteLedger(path, store_numbers=True))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_ledgers_error_on_leaving_shows_no_number(path):
    async with Server() as server, client_for(server) as client:
        await client.send_all(NUMBERS[:5], ledger=SqliteLedger(path))
        with pytest.raises(LedgerError) as caught:
            async with client.batch(NUMBERS[4::-1], ledger=SqliteLedger(path)) as batch:
                while batch._error is None:  # and nobody takes it
                    await asyncio.sleep(0)
    assert not [n for n in NUMBERS[:5] for text in reported(caught.value) if n in text]


async def test_the_blocks_own_error_goes_first_and_carries_the_ledgers_as_a_note(path, monkeypatch):
    async with Server(silence) as server, client_for(server) as client:
        with pytest.raises(KeyError) as caught:
            async with client.batch(NUMBERS[:2], ledger=SqliteLedger(path)):
                await server.wait(lambda: server.posts == 2)
                broken_disk(monkeypatch)
                raise KeyError("the block's own")
    assert caught.value.__notes__ == ["the ledger cannot grow; expected room"]


async def test_a_program_that_ends_ends_its_batch(path, monkeypatch):
    """At the interpreter's end no thread takes work any more."""
    async with Server() as server, client_for(server, concurrency=1) as client:
        with pytest.raises(LedgerError, match="has failed"):
            async with client.batch(NUMBERS, ledger=SqliteLedger(path)) as batch:
                async for _ in batch:
                    batch._recorder._session._thread.shutdown(wait=False)
    assert batch.report.total == server.posts + 1


async def test_one_who_was_cancelled_is_not_told_of_a_failure_that_the_next_gets(path, monkeypatch):
    broken_disk(monkeypatch)
    session = await SqliteLedger(path).open(LedgerScope("https://x", Secret("k3y")))
    first, second = (
        asyncio.create_task(session.begin(index, PinRequest(number, "PIZZA"), resend_unknown=False))
        for index, number in enumerate(NUMBERS[:2])
    )
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(LedgerError):
        await second
    assert first.cancelled()
    await session.aclose()


async def test_a_file_that_may_not_be_written_is_refused_before_it_is_touched(path, monkeypatch):
    """With an answer made up for the superuser, who may write everything; the real one is in test_sqlite.py."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LedgerError, match="Permission denied"):
        await SqliteLedger(path).open(LedgerScope("https://x", Secret("k3y")))
