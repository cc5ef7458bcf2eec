"""A batch with a ledger that fails, or stalls, at a chosen moment: no result is lost, nothing is sent unrecorded."""

from __future__ import annotations

import asyncio

import pytest
from loopback import Server

from gateway360_async import Disposition, Gateway360Client, LedgerError, Ok
from gateway360_async.ledgers import LedgerScope, Recorder

NUMBERS = [str(34600000000 + n) for n in range(10)]
FULL = LedgerError("cannot grow: the disk is full", "room on the disk")


class Scripted:
    """A ledger in memory that fails from the n-th intent, or the n-th outcome, on."""

    def __init__(self, *, begins: int = 1000, settles: int = 1000, held: bool = False) -> None:
        self._begins = begins
        self._settles = settles
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()
        self.begun: list[int] = []
        self.settled: list[int] = []
        self.closed = 0

    async def open(self, scope: LedgerScope) -> Scripted:
        assert "k3y" not in repr(scope)
        return self

    async def begin(self, index, request, *, resend_unknown):
        await asyncio.sleep(0)
        if len(self.begun) >= self._begins:
            raise FULL
        self.begun.append(index)

    async def settle(self, index, result):
        await self.gate.wait()
        if len(self.settled) >= self._settles:
            raise FULL
        self.settled.append(index)

    async def aclose(self) -> None:
        self.closed += 1


def client_for(server: Server) -> Gateway360Client:
    return Gateway360Client("k3y", base_url=server.url, sender="PIZZA", concurrency=2)


@pytest.mark.parametrize("failing", [{"begins": 4}, {"settles": 4}], ids=["an intent", "an outcome"])
async def test_a_ledger_that_fails_on_the_way_ends_the_batch_and_takes_no_result_with_it(failing):
    ledger = Scripted(**failing)
    async with Server() as server, client_for(server) as client:
        items = []
        with pytest.raises(LedgerError, match="the disk is full"):
            async with client.batch(NUMBERS, ledger=ledger) as batch:
                async for item in batch:
                    items.append(item)
        results = {item.index: item.result for item in (*items, *batch.report.unread)}
    sent = [index for index, result in results.items() if result.disposition is Disposition.SENT]
    assert len(sent) == server.posts < len(NUMBERS)
    assert set(sent) <= set(ledger.begun)
    assert ledger.closed == 1


async def test_a_result_is_given_out_when_it_is_on_record_and_not_before():
    ledger = Scripted(held=True)
    async with Server() as server, client_for(server) as client:
        async with client.batch(NUMBERS[:2], ledger=ledger) as batch:
            await server.wait(lambda: server.posts == 2)
            taking = asyncio.create_task(anext(batch))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not taking.done()
            ledger.gate.set()
            assert isinstance((await taking).result, Ok)
            assert [item.index async for item in batch] in ([0], [1])


async def test_an_outcome_that_fails_after_the_block_was_left_is_raised_by_leaving():
    ledger = Scripted(settles=0, held=True)
    async with Server() as server, client_for(server) as client:
        with pytest.raises(LedgerError, match="the disk is full"):
            async with client.batch(NUMBERS[:1], ledger=ledger) as batch:
                await server.wait(lambda: server.posts == 1)
                asyncio.get_running_loop().call_later(0, ledger.gate.set)
        (item,) = batch.report.unread
    assert item.index == 0


async def test_a_recorder_that_is_not_open_sends_nothing():
    recorder = Recorder(Scripted(), LedgerScope("https://x", "k"), None, resend_unknown=False)
    with pytest.raises(LedgerError, match="is not open"):
        await recorder.send(0, None, lambda: False)
    await recorder.aclose()
