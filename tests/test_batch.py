"""The batch over a scripted `send`: bounded, lazy, in order of completion, and nothing lost."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter

import pytest

from gateway360_async import (
    ApiError,
    Batch,
    BatchItem,
    Disposition,
    ErrorId,
    FailureKind,
    InvalidConfiguration,
    Ok,
    PinRequest,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async._batch import HALT_ON, InputReader
from gateway360_async._models import request_from

UNAUTHORIZED = ApiError(ErrorId.UNAUTHORIZED, "no", 401)
CANCELLED = {
    disposition: TransportFailure(FailureKind.CANCELLED, disposition)
    for disposition in (Disposition.NOT_SENT, Disposition.MAYBE_SENT)
}


def number(n: int) -> str:
    return str(34600000000 + n)


class Sender:
    """Sends nothing: each request waits for `release`, and a cancellation is a result, as the batch wants."""

    def __init__(self, *, held: bool = False) -> None:
        self.results: dict[str, object] = {}
        self.sent: list[str] = []
        self.free: str | None = None  # the one number that is not held
        self.active = 0
        self.peak = 0
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()
        self.changed = asyncio.Event()

    async def __call__(self, request: PinRequest, halted, permit=None) -> object:
        self.active += 1
        self.peak = max(self.peak, self.active)
        self.changed.set()
        try:
            if request.msisdn != self.free:
                await self.gate.wait()
            await asyncio.sleep(0)
            if halted():
                return CANCELLED[Disposition.NOT_SENT]
            self.sent.append(request.msisdn)
        except asyncio.CancelledError:
            return CANCELLED[Disposition.MAYBE_SENT]
        finally:
            self.active -= 1
        result = self.results.get(request.msisdn, Ok())
        if isinstance(result, BaseException):
            raise result
        return result

    async def until_active(self, count: int) -> None:
        while self.active < count:
            self.changed.clear()
            await self.changed.wait()


def batch_of(rows, send, *, concurrency=4, on_duplicate="skip", halt_on=HALT_ON) -> Batch:
    return Batch(
        InputReader(rows),
        build=lambda row: request_from(row, sender="PIZZA"),
        send=send,
        concurrency=concurrency,
        on_duplicate=on_duplicate,
        halt_on=halt_on,
    )


async def collect(batch: Batch) -> list[BatchItem]:
    async with batch:
        return [item async for item in batch]


async def counted(n: int, read: list[int]):
    for index in range(n):
        read.append(index)
        yield number(index)


# --- Everything comes out --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
async def test_every_entry_comes_out_once_with_its_index(count, asynchronous):
    send = Sender()
    requests = counted(count, []) if asynchronous else [number(n) for n in range(count)]
    batch = batch_of(requests, send)
    items = await collect(batch)
    assert sorted(item.index for item in items) == list(range(count))
    assert all(item.source == item.request.msisdn == number(item.index) for item in items)
    assert batch.report.total == batch.report.by_result.get("Ok", 0) == count
    assert batch.report.unconsumed == ()
    assert send.peak <= 4


async def test_items_come_as_they_complete():
    slow = asyncio.Event()

    async def send(request: PinRequest, halted, permit=None) -> Ok:
        if request.msisdn == number(0):
            await slow.wait()
        return Ok()

    async with batch_of([number(n) for n in range(4)], send, concurrency=2) as batch:
        order = []
        async for item in batch:
            order.append(item.index)
            if len(order) == 3:
                slow.set()
    assert order == [1, 2, 3, 0]


async def test_entry_may_be_a_request_a_number_or_a_mapping():
    ready = PinRequest(number(1), "OTHER")
    rows = [ready, number(2), {"msisdn": number(3), "pin_params": {"length": 4}}]
    items = {item.index: item.request for item in await collect(batch_of(rows, Sender()))}
    assert items[0] is ready
    assert items[1] == PinRequest(number(2), "PIZZA")
    assert items[2].pin_params.length == 4


async def test_row_that_makes_no_request_is_skipped_as_invalid():
    rows = [number(1), "123", {"msisdn": number(2), "colour": "red"}, None, 34666666111, number(3)]
    send = Sender()
    items = {item.index: item for item in await collect(batch_of(rows, send))}
    assert [items[n].request for n in (1, 2, 3, 4)] == [None] * 4
    assert all(items[n].result.reason is SkipReason.INVALID for n in (1, 2, 3, 4))
    assert items[1].result.detail.startswith("msisdn: has 3 digits")
    assert items[2].result.detail.startswith("colour: ")
    assert items[2].source == rows[2]
    assert sorted(send.sent) == [number(1), number(3)]


# --- Bounds ----------------------------------------------------------------------------------------------


async def test_batch_runs_no_more_at_a_time_and_reads_not_ahead():
    read: list[int] = []
    send = Sender(held=True)
    async with batch_of(counted(1000, read), send, concurrency=5) as batch:
        await send.until_active(5)
        assert len(read) <= 5
        send.gate.set()
        first = await anext(batch)
        assert isinstance(first.result, Ok)
        for _ in range(50):  # no consumer takes an item: the items that wait bound the rows that are read
            await asyncio.sleep(0)
        assert len(read) <= 1 + 5 + 5 + 5
        rest = [item async for item in batch]
    assert len(rest) == 999
    assert send.peak <= 5


async def test_there_is_no_task_for_an_entry():
    send = Sender()
    before = len(asyncio.all_tasks())
    peak = 0
    async with batch_of((number(n) for n in range(500)), send, concurrency=7) as batch:
        async for _ in batch:
            peak = max(peak, len(asyncio.all_tasks()) - before)
    assert peak <= 7


async def test_number_that_was_seen_takes_less_than_a_hundred_bytes():
    count = 50_000
    sizes = []
    async with batch_of((number(n) for n in range(count)), _at_once, concurrency=2) as batch:
        async for _ in batch:
            if batch.report.total % 10_000 == 0:
                sizes.append(
                    sys.getsizeof(batch._seen)
                    + sum(map(sys.getsizeof, list(batch._seen)[:1])) * len(batch._seen)
                )
    assert sizes[-1] / count < 100


async def test_on_duplicate_send_remembers_no_numbers():
    batch = batch_of([number(1)] * 3, _at_once, on_duplicate="send")
    items = await collect(batch)
    assert [type(item.result) for item in items] == [Ok] * 3
    assert batch._seen is None


async def _at_once(request: PinRequest, halted, permit=None) -> Ok:
    return Ok()


# --- Duplicates ------------------------------------------------------------------------------------------


async def test_number_is_sent_to_once_however_it_is_written():
    rows = ["34600000001", "+34 600 000 001", {"msisdn": "0034600000001", "sms_text": "other {PIN}"}]
    send = Sender()
    batch = batch_of(rows, send)
    items = {item.index: item for item in await collect(batch)}
    assert send.sent == ["34600000001"]
    assert isinstance(items[0].result, Ok)
    assert [items[n].result.reason for n in (1, 2)] == [SkipReason.DUPLICATE] * 2
    assert items[1].request.msisdn == "34600000001"
    assert batch.report.by_reason == {SkipReason.DUPLICATE: 2}


# --- Halting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error_id", [ErrorId.UNAUTHORIZED, ErrorId.NOT_ENOUGH_BALANCE])
async def test_error_of_the_account_halts_and_the_rest_is_skipped(error_id):
    send = Sender()
    send.results[number(2)] = error = ApiError(error_id)
    batch = batch_of([number(n) for n in range(10)], send, concurrency=1)
    items = {item.index: item.result for item in await collect(batch)}
    assert [type(items[n]) for n in range(3)] == [Ok, Ok, ApiError]
    assert all(
        items[n] == Skipped(SkipReason.HALTED, f"the batch was halted by {error_id}") for n in range(3, 10)
    )
    assert send.sent == [number(n) for n in range(3)]
    assert batch.report.halted_by is error
    assert batch.report.halted
    assert batch.report.by_error_id == {error_id: 1}


async def test_row_not_yet_sent_when_the_batch_halts_is_skipped():
    send = Sender()
    send.results[number(0)] = UNAUTHORIZED
    batch = batch_of([number(n) for n in range(6)], send, concurrency=3)
    items = await collect(batch)
    kinds = Counter(type(item.result) for item in items)
    assert send.sent[0] == number(0)
    assert kinds[Skipped] == 6 - len(send.sent)
    assert all(item.result.reason is SkipReason.HALTED for item in items if isinstance(item.result, Skipped))


async def test_invalid_entry_stays_invalid_after_the_halt():
    send = Sender()
    send.results[number(0)] = UNAUTHORIZED
    items = {
        item.index: item.result for item in await collect(batch_of([number(0), "x"], send, concurrency=1))
    }
    assert items[1].reason is SkipReason.INVALID


@pytest.mark.parametrize("halt_on", [(), {ErrorId.INVALID_NUMBER}], ids=["never", "on another"])
async def test_halt_on_takes_the_callers_error_ids(halt_on):
    send = Sender()
    send.results[number(0)] = UNAUTHORIZED
    batch = batch_of([number(n) for n in range(3)], send, concurrency=1, halt_on=halt_on)
    assert [type(item.result) for item in await collect(batch)] == [ApiError, Ok, Ok]
    assert batch.report.halted_by is None
    assert not batch.report.halted


# --- Leaving early ---------------------------------------------------------------------------------------


async def test_leaving_early_ends_calls_in_flight_and_reads_no_more():
    read: list[int] = []
    send = Sender(held=True)
    send.free = number(0)
    async with batch_of(counted(1000, read), send, concurrency=4) as batch:
        async for first in batch:
            await send.until_active(4)
            break
    report = batch.report
    assert isinstance(first.result, Ok)
    assert report.total == len(read)
    assert 1 + len(report.unconsumed) == report.total
    assert sorted([first.index, *(item.index for item in report.unconsumed)]) == read
    assert report.by_kind[FailureKind.CANCELLED] == 4
    assert report.by_disposition[Disposition.MAYBE_SENT] == report.by_kind[FailureKind.CANCELLED]
    assert send.active == 0
    assert [item async for item in batch] == []


async def test_leaving_early_keeps_what_was_settled_and_not_taken():
    read: list[int] = []
    async with batch_of(counted(1000, read), _at_once, concurrency=3) as batch:
        async for first in batch:
            for _ in range(50):  # until the items fill their queue and each worker waits with one more
                await asyncio.sleep(0)
            break
    unread = batch.report.unconsumed
    assert len(unread) == 6
    assert sorted([first.index, *(item.index for item in unread)]) == read
    assert all(isinstance(item.result, Ok) for item in unread)


async def test_exception_in_the_block_settles_and_goes_on():
    send = Sender(held=True)
    with pytest.raises(ZeroDivisionError):
        async with batch_of([number(n) for n in range(9)], send, concurrency=3) as batch:
            await send.until_active(3)
            1 / 0  # noqa: B018
    assert send.active == 0
    assert batch.report.by_kind == {FailureKind.CANCELLED: 3}
    assert len(batch.report.unconsumed) == 3


async def test_block_cancelled_twice_ends_its_calls_in_flight():
    send = Sender(held=True)
    batch = batch_of([number(n) for n in range(9)], send, concurrency=3)
    task = asyncio.create_task(collect(batch))
    await send.until_active(3)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert send.active == 0
    assert batch.report.total == 3


async def test_block_that_never_suspended_sends_nothing():
    send = Sender()
    async with batch_of([number(1)], send) as batch:
        pass
    assert send.sent == []
    assert batch.report.total == 0


async def test_leaving_while_the_input_is_awaited_ends():
    async def never():
        yield number(0)
        await asyncio.Event().wait()

    async with batch_of(never(), Sender()) as batch:
        assert (await anext(batch)).index == 0
    assert batch.report.total == 1


async def test_workers_that_are_cancelled_from_outside_end_the_batch():
    send = Sender(held=True)
    batch = batch_of([number(n) for n in range(9)], send, concurrency=2)
    async with batch:
        await send.until_active(2)
        for worker in list(batch._workers):
            worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(batch)
    assert [type(item.result) for item in batch.report.unconsumed] == [TransportFailure] * 2
    assert send.active == 0


# --- Errors ----------------------------------------------------------------------------------------------


async def test_error_in_the_input_is_raised_after_the_calls_in_flight():
    def broken():
        yield number(0)
        yield number(1)
        raise OSError("disk gone")

    taken = []
    with pytest.raises(OSError, match="disk gone"):
        async with batch_of(broken(), Sender()) as batch:
            async for item in batch:
                taken.append(item.index)
    assert sorted(taken) == [0, 1]
    assert batch.report.total == 2


async def test_error_that_is_raised_ends_the_batch_once():
    send = Sender()
    send.results[number(1)] = RuntimeError("closed")
    taken = []
    batch = batch_of([number(n) for n in range(50)], send, concurrency=2)
    async with batch:
        with pytest.raises(RuntimeError, match="closed"):
            async for item in batch:
                taken.append(item.index)
        assert [item async for item in batch] == []
    assert {0, 1} <= set(taken)
    assert len(send.sent) < 50
    assert batch.report.total == len(taken)


async def test_entry_whose_send_raises_comes_out_all_the_same():
    send = Sender()
    send.results[number(1)] = RuntimeError("closed")
    read: list[int] = []
    taken = []
    batch = batch_of(counted(50, read), send, concurrency=2)
    with pytest.raises(RuntimeError, match="closed"):
        async with batch:
            async for item in batch:
                taken.append(item)
    assert sorted([item.index for item in (*taken, *batch.report.unconsumed)]) == read
    (failed,) = (item.result for item in taken if not isinstance(item.result, Ok))
    assert (failed.kind, failed.disposition) == (FailureKind.UNEXPECTED, Disposition.NOT_SENT)
    assert failed.detail == "RuntimeError: closed"


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration], ids=lambda error: error.__name__)
async def test_error_like_the_end_is_raised_as_another(error):
    send = Sender()
    send.results[number(2)] = error()

    async def raises(request: PinRequest, halted, permit=None) -> Ok:
        if request.msisdn == number(1):
            raise StopAsyncIteration
        return Ok()

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await collect(batch_of([number(n) for n in range(5)], raises, concurrency=1))


async def test_two_consumers_share_the_items_and_both_end():
    batch = batch_of([number(n) for n in range(20)], Sender(), concurrency=3)

    async def consume() -> list[int]:
        return [item.index async for item in batch]

    async with batch:
        first, second = await asyncio.gather(consume(), consume())
    assert sorted(first + second) == list(range(20))


async def test_consumer_elsewhere_ends_when_the_block_is_left():
    send = Sender(held=True)
    async with batch_of([number(n) for n in range(5)], send, concurrency=2) as batch:
        waiting = asyncio.create_task(anext(batch))
        await send.until_active(2)
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_consumer_whose_item_was_kept_waits_for_the_end():
    send = Sender(held=True)
    async with batch_of([number(0)], send) as batch:
        taking = asyncio.create_task(anext(batch, None))
        await asyncio.sleep(0)
        batch._items.put_nowait(BatchItem(7, None, Ok(), None))
        batch._keep_unconsumed()  # in the same step, before the waiting consumer takes it
    assert await taking is None
    assert 7 in {item.index for item in batch.report.unconsumed}


async def test_workers_cancelled_as_they_deliver_lose_no_item():
    batch = batch_of([number(n) for n in range(50)], _at_once, concurrency=2)
    async with batch:
        taken = [await anext(batch)]
        for _ in range(50):
            await asyncio.sleep(0)
        for worker in list(batch._workers):
            worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            async for item in batch:
                taken.append(item)
    everything = [*taken, *batch.report.unconsumed]
    assert sorted(item.index for item in everything) == list(range(len(everything)))


async def test_worker_cancelled_before_its_first_step_ends_the_batch():
    batch = batch_of([number(n) for n in range(5)], Sender())
    async with batch:
        for worker in batch._workers:
            worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(batch)


async def test_batch_is_used_once_and_inside_its_block():
    batch = batch_of([], Sender())
    with pytest.raises(RuntimeError, match="async with"):
        await anext(batch)
    assert batch.report.total == 0
    await collect(batch)
    with pytest.raises(RuntimeError, match="used once"):
        await collect(batch)


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"rows": "34600000000"}, "rows"),
        ({"rows": {"msisdn": "34600000000"}}, "rows"),
        ({"rows": 3}, "rows"),
        ({"on_duplicate": "maybe"}, "on_duplicate"),
        ({"halt_on": "UNAUTHORIZED"}, "halt_on"),
        ({"halt_on": 3}, "halt_on"),
    ],
    ids=str,
)
async def test_wrong_arguments_name_themselves(arguments, setting):
    with pytest.raises(InvalidConfiguration) as caught:
        batch_of(**{"rows": [], "send": Sender()} | arguments)
    assert caught.value.setting == setting


# --- The report ------------------------------------------------------------------------------------------


async def test_report_counts_everything_and_can_be_read_on_the_way():
    send = Sender()
    send.results |= {
        number(1): ApiError(ErrorId.INVALID_NUMBER),
        number(2): ApiError("BRAND_NEW"),
        number(3): TransportFailure(FailureKind.DISCONNECTED, Disposition.MAYBE_SENT),
    }
    batch = batch_of([*(number(n) for n in range(5)), number(0), "x"], send, concurrency=1)
    async with batch:
        await anext(batch)
        assert batch.report.total >= 1
        async for _ in batch:
            pass
    report = batch.report
    assert report.total == 7
    assert report.by_result == {"Ok": 2, "ApiError": 2, "TransportFailure": 1, "Skipped": 2}
    assert report.by_disposition == {Disposition.SENT: 2, Disposition.NOT_SENT: 4, Disposition.MAYBE_SENT: 1}
    assert report.by_error_id == {ErrorId.INVALID_NUMBER: 1, "BRAND_NEW": 1}
    assert report.by_kind == {FailureKind.DISCONNECTED: 1}
    assert report.by_reason == {SkipReason.DUPLICATE: 1, SkipReason.INVALID: 1}
    assert report.elapsed == batch.report.elapsed > 0
    assert "34600000000" not in repr(report)
    gc.collect()


async def test_consumer_beside_one_cancelled_at_the_end_does_not_wait():
    send = Sender(held=True)
    async with batch_of([number(0)], send, concurrency=1) as batch:
        consumers = [asyncio.create_task(anext(batch, None)) for _ in range(3)]
        await asyncio.sleep(0)
        put = batch._items.put_nowait

        def put_and_cancel(item):
            put(item)
            if item is not None:
                consumers[0].cancel()  # in the step in which the last item comes

        batch._items.put_nowait = put_and_cancel
        send.gate.set()
        await asyncio.wait(consumers)
    assert sum(consumer.cancelled() for consumer in consumers) == 1
