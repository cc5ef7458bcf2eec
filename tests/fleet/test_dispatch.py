"""A batch that a fleet's workers send: two clients stand for the process that enqueues and the one that sends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from fleet_parts import NUMBERS, client_on, end_lease, fleet_on, only
from loopback import Server, in_turn, ok, rst, silence, status

from gateway360_async import (
    Disposition,
    ErrorId,
    FailureKind,
    FleetError,
    Ok,
    PinRequest,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async.fleet import FleetQueue, _dispatch, request_of

NO_BALANCE = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE","error_msg":"no"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_dispatch, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(_dispatch, "_TRY_EVERY", 0.01)


class Queue:
    """A queue in memory. Its worker sends, unless it is told to wait."""

    def __init__(self, client=None):
        self.tasks = []
        self.client = client
        self.changed = asyncio.Condition()

    async def enqueue(self, task):
        self.tasks.append(task)
        async with self.changed:
            self.changed.notify_all()

    async def holds(self, count):
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.tasks) >= count)

    async def work(self):
        done = 0
        while True:
            await self.holds(done + 1)
            request, key = request_of(self.tasks[done])
            done += 1
            await self.client.send(request, idempotency_key=key)

    def numbers(self):
        return [task["request"]["msisdn"] for task in self.tasks]

    def to(self, **settings):
        return FleetQueue("welcome", self.enqueue, **settings)


@asynccontextmanager
async def working(redis, server, **settings):
    """Give the client that enqueues, and a queue with a worker."""
    async with client_on(redis, server) as client, client_on(redis, server, **settings) as worker:
        queue = Queue(worker)
        task = asyncio.create_task(queue.work())
        try:
            yield client, queue
        finally:
            task.cancel()
            await asyncio.wait((task,))


async def run(client, queue, rows=NUMBERS, **settings):
    items = {}
    async with client.batch(rows, queue=queue, **settings) as batch:
        async for item in batch:
            items[item.index] = item.result
    return [items[index] for index in sorted(items)], batch.report


def kinds(results):
    """What results say in a word: a failure's kind, why one was skipped, or the class."""
    said = []
    for result in results:
        if isinstance(result, Skipped):
            said.append((result.reason, result.disposition.value))
        elif isinstance(result, TransportFailure):
            said.append((result.kind, result.disposition.value))
        else:
            said.append(type(result))
    return said


SETTLED = (SkipReason.ALREADY_SETTLED, "sent")
LEFT_OPEN = (FailureKind.INTERRUPTED, "maybe_sent")


async def test_each_entry_is_handed_over_once_and_its_outcome_comes_back(redis):
    async with Server() as server, working(redis, server) as (client, queue):
        results, report = await run(client, queue.to())
    assert kinds(results) == [Ok] * 20
    assert (sorted(queue.numbers()), server.posts) == (NUMBERS, 20)
    assert (report.total, report.by_disposition[Disposition.SENT], report.halted_by) == (20, 20, None)


async def test_the_same_batch_again_goes_on_where_it_stopped_in_any_order(redis):
    async with Server() as server, working(redis, server) as (client, queue):
        await run(client, queue.to(), NUMBERS[:5])
        results, report = await run(client, queue.to(), NUMBERS[6::-1])
        assert kinds(results) == [Ok] * 2 + [SETTLED] * 5
        assert sorted(queue.numbers()) == NUMBERS[:7]
        assert results[-1].result.attempts == 1
        others, _ = await run(client, FleetQueue("another batch", queue.enqueue), NUMBERS[:1])
        changed, _ = await run(client, queue.to(), [PinRequest(NUMBERS[0], "PASTA")])
    assert kinds([*others, *changed]) == [Ok] * 2
    assert server.posts == 9


async def test_what_was_told_as_not_sent_is_not_sent_by_another_copy_of_its_task(redis):
    """Queues deliver twice, and whoever reads "not sent" may send it in another way."""
    async with Server(in_turn(status(429), ok)) as server, working(redis, server) as (client, queue):
        results, _ = await run(client, queue.to(), NUMBERS[:1])
        assert kinds(results) == [(FailureKind.THROTTLED, "not_sent")]
        (task,) = queue.tasks
        request, key = request_of(task)
        late = await queue.client.send(request, idempotency_key=key)
        assert (late.disposition, late.repeated, server.posts) == (Disposition.NOT_SENT, True, 1)
        again, _ = await run(client, queue.to(), NUMBERS[:1])
    assert (kinds(again), server.posts) == ([Ok], 2)


async def test_not_sent_is_not_told_of_what_somebody_else_has_begun_by_then(redis, monkeypatch):
    """Between the look that finds it not sent and the end of the wait, another copy of the task gets there."""
    async with Server(in_turn(status(429), ok)) as server, working(redis, server) as (client, queue):
        close = client._fleet.close
        told = []

        async def late(claims, *, patience):
            if not told:
                request, key = request_of(queue.tasks[0])
                await queue.client.send(request, idempotency_key=key)
            told.append(await close(claims, patience=patience))
            return told[-1]

        monkeypatch.setattr(client._fleet, "close", late)
        results, _ = await run(client, queue.to(), NUMBERS[:1])
    assert (kinds(results), told, server.posts) == ([Ok], [[False]], 2)


async def test_where_redis_goes_before_not_sent_is_told_it_may_be_sent(redis, monkeypatch):
    async with Server(status(429)) as server, working(redis, server) as (client, queue):

        async def refuse(claims, *, patience):
            raise FleetError("cannot be asked", "one that is up")

        monkeypatch.setattr(client._fleet, "close", refuse)
        results, _ = await run(client, queue.to(), NUMBERS[:1])
    assert kinds(results) == [(FailureKind.FLEET, "maybe_sent")]


async def test_two_runs_at_once_send_each_entry_once(redis):
    async with Server() as server, working(redis, server) as (client, queue):
        async with client_on(redis, server) as other:
            both = await asyncio.gather(run(client, queue.to()), run(other, queue.to()))
    assert server.posts == 20
    for results, _ in both:
        assert {result.disposition.value for result in results} == {"sent"}


async def test_no_more_wait_in_the_queue_than_are_allowed(redis):
    async with Server() as server, client_on(redis, server) as client, client_on(redis, server) as worker:
        queue = Queue(worker)
        running = asyncio.create_task(run(client, queue.to(waiting=3)))
        await queue.holds(3)
        await asyncio.sleep(0.05)  # for a fourth, if there were one
        assert sorted(queue.numbers()) == NUMBERS[:3]
        work = asyncio.create_task(queue.work())
        results, _ = await running
        work.cancel()
    assert kinds(results) == [Ok] * 20


async def test_an_entry_whose_worker_died_may_have_been_sent(redis):
    async with Server(silence) as server, working(redis, server) as (client, queue):
        running = asyncio.create_task(run(client, queue.to(), NUMBERS[:1]))
        await server.wait(lambda: server.posts == 1)
        end_lease(redis)
        (result,), _ = await running
        assert "whoever began to send it is gone" in str(result)
        (again,), _ = await run(client, queue.to(), NUMBERS[:1])
    assert kinds([result, again]) == [LEFT_OPEN] * 2
    assert (len(queue.tasks), server.posts) == (1, 1)


async def test_a_lost_answer_is_told_as_it_is_now_and_later(redis):
    async with Server(rst) as server, working(redis, server) as (client, queue):
        (result,), _ = await run(client, queue.to(), NUMBERS[:1])
        (again,), _ = await run(client, queue.to(), NUMBERS[:1])
    assert result.disposition.value == "maybe_sent"
    assert kinds([again]) == [(SkipReason.ALREADY_SETTLED, "maybe_sent")]
    assert again.result == result
    assert server.posts == 1


async def test_what_was_not_sent_is_handed_over_by_the_next_run(redis):
    async with Server(in_turn(status(429), ok)) as server, working(redis, server) as (client, queue):
        results = [
            *(await run(client, queue.to(), NUMBERS[:1]))[0],
            *(await run(client, queue.to(), NUMBERS[:1]))[0],
        ]
    assert results[0].disposition.value == "not_sent"
    assert kinds(results[1:]) == [Ok]
    assert (len(queue.tasks), server.posts) == (2, 2)


async def test_why_it_was_not_sent_last_time_is_no_outcome_of_this_time(redis):
    async with Server(in_turn(status(429), ok)) as server:
        async with working(redis, server) as (client, queue):
            await run(client, queue.to(), NUMBERS[:1])
        async with client_on(redis, server) as client, client_on(redis, server) as worker:
            queue = Queue(worker)
            async with client.batch(NUMBERS[:1], queue=queue.to()) as batch:
                running = asyncio.create_task(anext(batch))
                await queue.holds(1)
                await seen(batch)
                work = asyncio.create_task(queue.work())
                item = await running
                work.cancel()
    assert isinstance(item.result, Ok)


async def test_what_an_earlier_run_has_on_its_way_is_waited_for(redis):
    gate = asyncio.Event()

    async def held(received):
        await gate.wait()
        await received.answer()

    async with Server(held) as server, working(redis, server) as (client, queue):
        async with client.batch(NUMBERS[:1], queue=queue.to()):
            await server.wait(lambda: server.posts == 1)
        async with client.batch(NUMBERS[:1], queue=queue.to()) as batch:
            running = asyncio.create_task(anext(batch))
            await seen(batch)
            gate.set()
            item = await running
    assert isinstance(item.result, Ok)
    assert (len(queue.tasks), server.posts) == (1, 1)


async def seen(batch):
    """Wait until the dispatcher has looked at its entries once more."""
    dispatcher = batch._send.__self__
    while not dispatcher._entries:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def test_an_entry_that_was_begun_is_not_handed_over_again(redis):
    async with Server(silence) as server, working(redis, server) as (client, queue):
        handing = queue.to()
        async with client.batch(NUMBERS[:1], queue=handing) as batch:
            await server.wait(lambda: server.posts == 1)
            (entry,) = batch._send.__self__._entries.values()
            entry.due = 0.0  # long ago, if it had not been begun
            while not entry.due:
                await asyncio.sleep(0.005)
        assert len(queue.tasks) == 1


async def test_what_the_queue_has_lost_is_handed_to_it_again(redis):
    async with Server() as server, client_on(redis, server) as client, client_on(redis, server) as worker:
        queue = Queue(worker)
        async with client.batch(NUMBERS[:1], queue=queue.to(again=1)) as batch:
            await queue.holds(2)
            assert queue.tasks[0] == queue.tasks[1]
            work = asyncio.create_task(queue.work())
            item = await anext(batch)
            work.cancel()
    assert isinstance(item.result, Ok)
    assert server.posts == 1


class Refusing(Queue):
    """A queue that does not take the first tasks that it is handed, or takes them and says that it has not."""

    def __init__(self, client, *, times, takes=False):
        super().__init__(client)
        self.times = times
        self.takes = takes

    async def enqueue(self, task):
        if self.times:
            self.times -= 1
            if self.takes:
                await super().enqueue(task)
            raise ConnectionError(f"cannot take {task['request']['msisdn']}")
        await super().enqueue(task)


@pytest.mark.parametrize("takes", [False, True])
async def test_a_queue_that_is_away_for_a_while_is_tried_again(redis, caplog, takes):
    async with Server() as server, working(redis, server) as (client, queue):
        refusing = Refusing(queue.client, times=3, takes=takes)
        refusing.tasks = queue.tasks
        refusing.changed = queue.changed
        (result,), _ = await run(client, refusing.to(), NUMBERS[:1])
    assert isinstance(result, Ok)
    assert server.posts == 1
    said = [record.message for record in caplog.records if "could not be handed" in record.message]
    assert said
    assert "ConnectionError" in said[0]
    assert NUMBERS[0] not in " ".join(said)


async def test_a_queue_that_stays_away_ends_the_wait_and_may_have_it(redis, monkeypatch):
    monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)
    async with Server() as server, client_on(redis, server) as client:
        (result,), _ = await run(client, Refusing(None, times=99).to(), NUMBERS[:1])
    assert kinds([result]) == [(FailureKind.FLEET, "maybe_sent")]
    assert "takes no tasks (ConnectionError)" in str(result)
    assert NUMBERS[0] not in str(result)


async def test_a_queue_that_fails_after_all_was_done_takes_no_outcome(redis, monkeypatch):
    monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)
    async with Server() as server, client_on(redis, server) as client, client_on(redis, server) as worker:

        async def enqueue(task):
            request, key = request_of(task)
            await worker.send(request, idempotency_key=key)
            (entry,) = batch._send.__self__._entries.values()
            await asyncio.wait((entry.outcome,))
            raise ConnectionError

        async with client.batch(NUMBERS[:1], queue=FleetQueue("welcome", enqueue)) as batch:
            item = await anext(batch)
    assert isinstance(item.result, Ok)


async def test_where_redis_is_away_nothing_is_handed_over(restarting, monkeypatch):
    monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)
    restarting.kill()
    queue = Queue()
    async with Server() as server, client_on(restarting, server) as client:
        results, _ = await run(client, queue.to(), NUMBERS[:2])
    assert kinds(results) == [(FailureKind.FLEET, "not_sent")] * 2
    assert queue.tasks == []


async def test_where_redis_goes_and_stays_away_what_is_in_the_queue_may_be_sent(restarting, monkeypatch):
    queue = Queue()
    async with Server() as server, client_on(restarting, server) as client:
        async with client.batch(NUMBERS[:3], queue=queue.to()) as batch:
            await queue.holds(3)
            monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)
            restarting.kill()
            results = [item.result async for item in batch]
    assert kinds(results) == [(FailureKind.FLEET, "maybe_sent")] * 3
    assert "is in the queue" in str(results[0])
    assert server.posts == 0


async def test_a_redis_that_restarts_meanwhile_is_waited_for(restarting):
    queue = Queue()
    async with (
        Server() as server,
        client_on(restarting, server) as client,
        client_on(restarting, server) as worker,
    ):
        queue.client = worker
        async with client.batch(NUMBERS[:3], queue=queue.to()) as batch:
            await queue.holds(3)
            restarting.kill()
            await asyncio.sleep(0.05)
            restarting.start()
            work = asyncio.create_task(queue.work())
            results = [item.result async for item in batch]
            work.cancel()
    assert kinds(results) == [Ok] * 3


async def test_an_error_of_the_account_halts_the_batch(redis):
    async def poor(received):
        await received.answer(
            200, NO_BALANCE if received.json["msisdn"] == NUMBERS[2] else b'{"status":"ok"}'
        )

    async with Server(poor) as server, working(redis, server) as (client, queue):
        await run(client, queue.to(), NUMBERS[:2] + NUMBERS[5:6])
        results, report = await run(client, queue.to(waiting=1), NUMBERS[:8])
    assert report.halted_by.error_id == ErrorId.NOT_ENOUGH_BALANCE
    assert sorted(queue.numbers()) == [*NUMBERS[:3], NUMBERS[5]]
    halted = (SkipReason.HALTED, "not_sent")
    # What an earlier run has sent was sent, halted or not.
    assert kinds(results) == [
        SETTLED,
        SETTLED,
        type(report.halted_by),
        halted,
        halted,
        SETTLED,
        halted,
        halted,
    ]


async def test_after_a_halt_what_an_earlier_run_handed_over_may_be_sent(redis, monkeypatch):
    async with Server(silence) as server, working(redis, server) as (client, queue):
        async with client.batch(NUMBERS[:1], queue=queue.to()) as first:
            await server.wait(lambda: server.posts == 1)
        assert kinds([item.result for item in first.report.unread]) == [LEFT_OPEN]
        async with client.batch(NUMBERS[:1], queue=queue.to()) as batch:
            batch._halted_by = object()  # by an entry before
            left = await batch._left(0, PinRequest(NUMBERS[0], "PIZZA"))
            monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)
            redis.client.rename("gateway360:memory", "gone")
            unknown = await batch._left(0, PinRequest(NUMBERS[0], "PIZZA"))
            redis.client.rename("gone", "gateway360:memory")
    assert kinds([left, unknown]) == [LEFT_OPEN, (FailureKind.FLEET, "maybe_sent")]


async def test_a_batch_that_is_halted_while_it_asks_hands_nothing_over(redis):
    queue = Queue()
    async with Server() as server, client_on(redis, server) as client:
        batch = client.batch(NUMBERS, queue=queue.to())
        result = await batch._send(PinRequest(NUMBERS[0], "PIZZA"), lambda: True)
    assert kinds([result]) == [(FailureKind.CANCELLED, "not_sent")]
    assert queue.tasks == []


async def test_who_stops_waiting_is_told_what_may_be_sent_yet(redis):
    queue = Queue()
    async with Server() as server, client_on(redis, server) as client:
        async with client.batch(NUMBERS, queue=queue.to(waiting=5)) as batch:
            await queue.holds(5)
    assert kinds([item.result for item in batch.report.unread]) == [LEFT_OPEN] * 5
    assert "may be sent yet" in str(batch.report.unread[0].result)
    assert batch._send.__self__._looking is None


@pytest.fixture
def asking(restarting):
    """Leave a batch while it asks Redis how far its only entry has come, and give what it says of it."""

    async def left_early(client, queue):
        async with client.batch(NUMBERS[:1], queue=queue.to()) as batch:
            restarting.pause()
            for _ in range(5):
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.05, restarting.resume)
        ((item,), handed) = batch.report.unread, queue.tasks
        return item.result, handed

    return left_early


async def test_left_before_it_was_handed_over_it_was_not_sent(restarting, asking):
    async with Server() as server, client_on(restarting, server) as client:
        await client._fleet.look(["any"], patience=1.0)
        result, handed = await asking(client, Queue())
    assert (kinds([result]), handed) == ([(FailureKind.CANCELLED, "not_sent")], [])


async def test_left_early_it_does_not_say_not_sent_of_what_an_earlier_run_sent(restarting, asking):
    async with Server() as server, working(restarting, server) as (client, queue):
        await run(client, queue.to(), NUMBERS[:1])
        result, handed = await asking(client, queue)
    assert (kinds([result]), len(handed)) == ([SETTLED], 1)


async def test_left_early_what_cannot_be_known_may_have_been_sent(restarting, asking):
    async with Server() as server, client_on(restarting, server) as client:
        await client._fleet.look(["any"], patience=1.0)
        restarting.pause()
        async with client.batch(NUMBERS[:1], queue=Queue().to()) as batch:
            await asyncio.sleep(0.02)
            restarting.kill()
    assert kinds([item.result for item in batch.report.unread]) == [(FailureKind.FLEET, "maybe_sent")]


async def test_identical_entries_are_one_and_each_is_told(redis):
    queue = Queue()
    async with Server() as server, client_on(redis, server) as client, client_on(redis, server) as worker:
        queue.client = worker
        skipped, _ = await run_with(client, queue, on_duplicate="skip")
        sent, _ = await run_with(client, queue, on_duplicate="send", batch="another")
    assert kinds(skipped) == [Ok, (SkipReason.DUPLICATE, "not_sent")]
    assert {result.disposition.value for result in sent} == {"sent"}
    assert (len(queue.tasks), server.posts) == (2, 2)


async def run_with(client, queue, *, on_duplicate, batch="welcome"):
    handing = FleetQueue(batch, queue.enqueue)
    work = asyncio.create_task(queue.work())
    try:
        return await run(client, handing, [NUMBERS[0], NUMBERS[0]], on_duplicate=on_duplicate)
    finally:
        work.cancel()


async def test_one_of_two_who_wait_for_the_same_entry_can_go(redis):
    queue = Queue()
    async with Server() as server, client_on(redis, server) as client, client_on(redis, server) as worker:
        queue.client = worker
        batch = client.batch([], queue=queue.to())
        request = PinRequest(NUMBERS[0], "PIZZA")
        one, other = (asyncio.create_task(batch._send(request, lambda: False)) for _ in range(2))
        await queue.holds(1)
        await seen(batch)
        third = asyncio.create_task(batch._send(request, lambda: False))
        await asyncio.sleep(0)
        one.cancel()
        gone = await one
        work = asyncio.create_task(queue.work())
        results = [gone, await other, await third]
        work.cancel()
    assert kinds(results) == [LEFT_OPEN, Ok, Ok]
    assert server.posts == 1


async def test_many_entries_are_looked_at_a_few_at_a_time(redis, monkeypatch):
    monkeypatch.setattr(_dispatch, "_AT_ONCE", 3)
    async with Server() as server, working(redis, server) as (client, queue):
        results, _ = await run(client, queue.to())
    assert kinds(results) == [Ok] * 20


async def test_an_entry_whose_outcome_is_known_is_left_alone(redis):
    queue = Queue()
    async with Server() as server, client_on(redis, server) as client:
        dispatcher = client.batch([], queue=queue.to())._send.__self__
        entry = dispatcher._enter("k", PinRequest(NUMBERS[0], "PIZZA"), None)
        known = Ok(attempts=1)
        entry.outcome.set_result(known)
        dispatcher._follow(entry, None)
        dispatcher._give_up("away")
        dispatcher._leave(entry)
    assert (entry.outcome.result(), queue.tasks) == (known, [])


async def test_rows_are_checked_and_told_as_in_any_batch(redis):
    async with Server() as server, working(redis, server) as (client, queue):
        results, report = await run(
            client, queue.to(), [NUMBERS[0], "nonsense", {"msisdn": NUMBERS[1], "sender": "B"}]
        )
    assert kinds(results) == [Ok, (SkipReason.INVALID, "not_sent"), Ok]
    assert (report.total, report.by_disposition[Disposition.SENT]) == (3, 2)
    assert [received.json["sender"] for received in server.requests] == ["PIZZA", "B"]


async def test_a_fleet_of_another_name_has_records_of_its_own(redis):
    async with Server() as server, working(redis, server) as (client, queue):
        await run(client, queue.to(), NUMBERS[:1])
        async with client_on(redis, server, fleet=fleet_on(redis, name="other")) as other:
            waiting = asyncio.create_task(run(other, queue.to(), NUMBERS[:1]))
            await queue.holds(2)
            waiting.cancel()
            await asyncio.wait((waiting,))
    assert only(redis, "wish")


async def test_a_queue_that_fails_once_the_outcome_is_known_changes_nothing(redis, monkeypatch):
    monkeypatch.setattr(_dispatch, "_PATIENCE", 0.0)
    async with Server() as server, client_on(redis, server) as client:
        dispatcher = client.batch([], queue=Refusing(None, times=99).to())._send.__self__
        entry = dispatcher._enter("k", PinRequest(NUMBERS[0], "PIZZA"), None)
        entry.outcome.set_result(known := Ok(attempts=1))
        await dispatcher._handed_over(entry)
        dispatcher._leave(entry)
    assert entry.outcome.result() is known


async def test_an_entry_is_handed_over_once_at_a_time(redis):
    taken = []

    async def enqueue(task):
        taken.append(task)
        await asyncio.Event().wait()

    async with Server() as server, client_on(redis, server) as client:
        async with client.batch(NUMBERS[:1], queue=FleetQueue("welcome", enqueue)) as batch:
            while not taken:
                await asyncio.sleep(0)
            (entry,) = batch._send.__self__._entries.values()
            batch._send.__self__._hand_over(entry)
            await asyncio.sleep(0)
    assert len(taken) == 1
