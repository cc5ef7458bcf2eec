"""One number at a time: identical requests share one exchange, different ones take turns. On real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from support.loopback import Received, Server, in_turn, ok, silence, status

from gateway360_async import (
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    Ok,
    PinRequest,
    RetryPolicy,
    SkipReason,
    TransportFailure,
)

NUMBER = "34666666111"
REQUEST = PinRequest(NUMBER, "GOOD PIZZA")
OTHER = PinRequest(NUMBER, "GOOD PIZZA", sms_text="{PIN}")
THIRD = PinRequest(NUMBER, "GOOD PIZZA", sms_text="3 {PIN}")
ELSEWHERE = PinRequest("34666666222", "GOOD PIZZA")


class Gate(Server):
    """Answers when told to; knows how many requests for one number it had at a time."""

    def __init__(self) -> None:
        super().__init__(self._held)
        self.gate = asyncio.Event()
        self.at_a_time: dict[str, int] = {}
        self.most = 0

    async def _held(self, received: Received) -> None:
        number = received.json["msisdn"]
        self.at_a_time[number] = self.at_a_time.get(number, 0) + 1
        self.most = max(self.most, self.at_a_time[number])
        told, gone = (asyncio.create_task(wait) for wait in (self.gate.wait(), received.silence()))
        try:
            await asyncio.wait((told, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.at_a_time[number] -= 1
            for task in (told, gone):
                task.cancel()
        if told.done() and not gone.done():
            await asyncio.wait((gone,))  # whose reading has to end before the next request's begins
            await received.answer()
        else:
            received.writer.close()


@contextlib.asynccontextmanager
async def opened(server: Server, **settings):
    """A client that holds on to nothing once its calls are over."""
    async with Gateway360Client("k3y", base_url=server.url, sender="GOOD PIZZA", **settings) as client:
        yield client
    assert client._core.single_flight._heads == {}


async def cancelled(call: asyncio.Task) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def passes(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- sharing ---------------------------------------------------------------------------------------------------


async def test_identical_requests_at_once_are_one_exchange():
    async with Gate() as server, opened(server) as client:
        calls = [asyncio.create_task(client.send(REQUEST)) for _ in range(3)]
        await server.wait(lambda: server.posts == 1)
        calls.append(asyncio.create_task(client.request_pin("+34 666 666 111")))
        await passes()
        server.gate.set()
        results = await asyncio.gather(*calls)
    assert isinstance(results[0], Ok)
    assert all(result is results[0] for result in results)
    assert server.posts == 1


async def test_one_after_the_other_they_are_two():
    async with Server() as server, opened(server) as client:
        assert await client.send(REQUEST) is not await client.send(REQUEST)
    assert server.posts == 2


@pytest.mark.parametrize("which", [0, 1], ids=["the first", "the second"])
async def test_cancelling_one_of_two_leaves_the_other_its_result(which, caplog):
    async with Gate() as server, opened(server) as client:
        calls = [asyncio.create_task(client.send(REQUEST)) for _ in range(2)]
        await server.wait(lambda: server.posts == 1)
        await cancelled(calls[which])
        assert "34*****111 was cancelled: may have been sent" in caplog.text
        server.gate.set()
        assert isinstance(await calls[1 - which], Ok)
    assert (server.posts, server.connections) == (1, 1)


async def test_cancelling_both_ends_the_exchange(caplog):
    async with Gate() as server, opened(server) as client:
        calls = [asyncio.create_task(client.send(REQUEST)) for _ in range(2)]
        await server.wait(lambda: server.posts == 1)
        await cancelled(calls[0])
        assert server.open
        await cancelled(calls[1])
        await server.wait(lambda: not server.open)
    assert caplog.text.count("was cancelled: may have been sent") == 2


async def test_call_cancelled_twice_ends_when_its_exchange_has(caplog):
    async with Gate() as server, opened(server) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        call.cancel()
        await asyncio.sleep(0)
        await cancelled(call)
        await server.wait(lambda: not server.open)
    assert "was cancelled: may have been sent" in caplog.text


async def test_call_cancelled_before_its_first_step_sends_nothing(caplog):
    async with Server() as server, opened(server) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await asyncio.sleep(0)
        await cancelled(call)
        assert isinstance(await client.send(REQUEST), Ok)
    assert server.posts == 1
    assert "may have been sent" not in caplog.text


async def test_deadline_of_one_who_shares_is_its_own():
    async with Gate() as server, opened(server) as client:
        first = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        second = await client.send(REQUEST, deadline=0.05)
        assert isinstance(second, TransportFailure)
        assert (second.kind, second.disposition) == (FailureKind.DEADLINE, Disposition.MAYBE_SENT)
        server.gate.set()
        assert isinstance(await first, Ok)
    assert server.posts == 1


async def test_deadline_of_the_last_who_shares_ends_the_exchange():
    async with Gate() as server, opened(server) as client:
        first = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        second = asyncio.create_task(client.send(REQUEST, deadline=0.1))
        await passes()
        await cancelled(first)
        result = await second
        await server.wait(lambda: not server.open)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DEADLINE, Disposition.MAYBE_SENT)
    assert "0.1 s passed" in result.detail


async def test_waiter_of_an_expired_unsent_leader_sends_itself():
    async with Gate() as server, opened(server, concurrency=1) as client:
        busy = asyncio.create_task(client.send(ELSEWHERE))
        await server.wait(lambda: server.posts == 1)
        first = asyncio.create_task(client.send(REQUEST, deadline=0.05))
        await passes()
        second = asyncio.create_task(client.send(REQUEST))
        failed = await first
        assert isinstance(failed, TransportFailure)
        assert (failed.kind, failed.disposition) == (FailureKind.DEADLINE, Disposition.NOT_SENT)
        server.gate.set()
        assert isinstance(await second, Ok)
        assert isinstance(await busy, Ok)
    assert server.posts == 2


async def test_deadline_of_all_callers_sends_nothing_more():
    async with Gate() as server, opened(server, concurrency=1) as client:
        busy = asyncio.create_task(client.send(ELSEWHERE))
        await server.wait(lambda: server.posts == 1)
        first = asyncio.create_task(client.send(REQUEST))
        await passes()
        second = asyncio.create_task(client.send(REQUEST, deadline=0.05))
        await passes()
        await cancelled(first)
        result = await second
        server.gate.set()
        assert isinstance(await busy, Ok)
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DEADLINE, Disposition.NOT_SENT)
    assert server.posts == 1


async def test_limiter_that_raises_reaches_all_waiters():
    class Closed(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None:
            await passes()
            raise TimeoutError("no more today")

        async def __aexit__(self, *exc_info) -> None: ...

    async with Server() as server, opened(server, limiter=Closed()) as client:
        raised = await asyncio.gather(client.send(REQUEST), client.send(REQUEST), return_exceptions=True)
    assert [str(error) for error in raised] == ["no more today"] * 2
    assert server.posts == 0


async def test_identical_request_by_force_is_a_second_sms():
    async with Gate() as server, opened(server) as client:
        calls = [asyncio.create_task(client.send(REQUEST, force=force)) for force in (False, True)]
        await server.wait(lambda: server.posts == 1)
        await passes()
        server.gate.set()
        first, second = await asyncio.gather(*calls)
    assert first is not second
    assert (server.posts, server.most) == (2, 1)


# --- turns -----------------------------------------------------------------------------------------------------


async def test_different_requests_for_one_number_are_sent_in_order():
    async with Gate() as server, opened(server) as client:
        calls = [asyncio.create_task(client.send(request)) for request in (REQUEST, OTHER, THIRD)]
        elsewhere = asyncio.create_task(client.send(ELSEWHERE))
        await server.wait(lambda: server.posts == 2)  # another number does not wait
        await passes()
        server.gate.set()
        assert all(isinstance(result, Ok) for result in await asyncio.gather(*calls, elsewhere))
    texts = [r.json.get("sms_text") for r in server.requests if r.json["msisdn"] == NUMBER]
    assert texts == [None, "{PIN}", "3 {PIN}"]
    assert server.most == 1


async def test_call_cancelled_before_its_turn_lets_the_next_go(caplog):
    async with Gate() as server, opened(server) as client:
        calls = [asyncio.create_task(client.send(request)) for request in (REQUEST, OTHER, THIRD)]
        await server.wait(lambda: server.posts == 1)
        await passes()
        await cancelled(calls[1])
        assert "may have been sent" not in caplog.text
        server.gate.set()
        assert isinstance(await calls[2], Ok)
        assert isinstance(await calls[0], Ok)
    assert server.posts == 2


async def test_turn_of_a_call_being_cancelled_goes_to_the_next():
    class CancelsTheNext(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc_info) -> None:
            queue = client._core.single_flight._queues.get(NUMBER)
            if queue is not None and (flight := list(queue.calls)[1]).request == OTHER:
                flight.task.cancel()

    async with Gate() as server, opened(server, limiter=CancelsTheNext()) as client:
        calls = [asyncio.create_task(client.send(request)) for request in (REQUEST, OTHER, THIRD)]
        await server.wait(lambda: server.posts == 1)
        await passes()
        server.gate.set()
        first, second, third = await asyncio.gather(*calls)
    assert isinstance(first, Ok)
    assert isinstance(third, Ok)
    assert (second.kind, second.disposition) == (FailureKind.CANCELLED, Disposition.NOT_SENT)
    assert server.posts == 2


async def test_wait_for_a_turn_ends_with_the_deadline_unsent():
    async with Gate() as server, opened(server) as client:
        first = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        result = await client.send(OTHER, deadline=0.05)
        server.gate.set()
        await first
    assert isinstance(result, TransportFailure)
    assert (result.kind, result.disposition) == (FailureKind.DEADLINE, Disposition.NOT_SENT)
    assert server.posts == 1


# --- batches ---------------------------------------------------------------------------------------------------


async def test_batch_with_duplicates_sends_them_in_turn():
    async with Gate() as server, opened(server) as client:
        sending = asyncio.create_task(client.send_all([REQUEST] * 3, on_duplicate="send"))
        await server.wait(lambda: server.posts == 1)
        await passes()
        server.gate.set()
        results = await sending
    assert [type(result) for result in results] == [Ok] * 3
    assert (server.posts, server.most) == (3, 1)


async def test_batch_shares_with_a_call_that_was_there_before():
    async with Gate() as server, opened(server) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        sending = asyncio.create_task(client.send_all([REQUEST]))
        await passes()
        server.gate.set()
        assert [await call] == await sending
    assert server.posts == 1


async def test_call_that_shares_with_a_batch_outlives_the_batch():
    async with Gate() as server, opened(server) as client:
        async with client.batch([REQUEST, ELSEWHERE]) as batch:
            await server.wait(lambda: server.posts == 2)
            call = asyncio.create_task(client.send(REQUEST))
            await passes()
            leaving = asyncio.create_task(server.wait(lambda: len(server.open) == 1))
            leaving.add_done_callback(lambda _: server.gate.set())
        assert isinstance(await call, Ok)
    assert server.posts == 2
    assert {item.request: item.result.disposition for item in batch.report.unconsumed} == {
        REQUEST: Disposition.SENT,
        ELSEWHERE: Disposition.MAYBE_SENT,
    }


async def test_batch_left_as_a_shared_answer_comes_knows_it():
    class CancelsTheWorkers(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc_info) -> None:
            for worker in batch._workers:
                worker.cancel()

    async with Gate() as server, opened(server, limiter=CancelsTheWorkers()) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        async with client.batch([REQUEST]) as batch:
            await passes()
            server.gate.set()
            assert isinstance(await call, Ok)
    (item,) = batch.report.unconsumed
    assert isinstance(item.result, Ok)
    assert server.posts == 1


async def test_waiter_of_a_batch_cancelled_leaves_the_batch_alone():
    async with Gate() as server, opened(server) as client:
        async with client.batch([REQUEST]) as batch:
            await server.wait(lambda: server.posts == 1)
            call = asyncio.create_task(client.send(REQUEST))
            await passes()
            await cancelled(call)
            server.gate.set()
            assert [type(item.result) async for item in batch] == [Ok]
    assert server.posts == 1


async def test_batch_left_while_it_waits_for_a_call_leaves_it_alone():
    async with Gate() as server, opened(server) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        async with client.batch([REQUEST]) as batch:
            await passes()
        server.gate.set()
        assert isinstance(await call, Ok)
    (item,) = batch.report.unconsumed
    assert isinstance(item.result, TransportFailure)
    assert (item.result.kind, item.result.disposition) == (FailureKind.CANCELLED, Disposition.MAYBE_SENT)


async def test_call_sends_itself_what_a_halted_batch_gave_up():
    async def refused_at_first(received: Received) -> None:
        if received.json["msisdn"] == ELSEWHERE.msisdn:
            await passes(20)
            await received.answer(401, b'{"status":"error","error_id":"UNAUTHORIZED"}')
        else:
            await ok(received)

    async with Server(refused_at_first) as server, opened(server, concurrency=1) as client:
        async with client.batch([ELSEWHERE, REQUEST], concurrency=2) as batch:
            await server.wait(lambda: server.posts == 1)
            call = asyncio.create_task(client.send(REQUEST))
            items = {item.request: item.result async for item in batch}
        assert isinstance(await call, Ok)
    assert items[REQUEST].reason is SkipReason.HALTED
    assert server.posts == 2


async def test_batch_waiting_for_an_expired_call_sends_itself():
    async with Gate() as server, opened(server, concurrency=1) as client:
        busy = asyncio.create_task(client.send(ELSEWHERE))
        await server.wait(lambda: server.posts == 1)
        call = asyncio.create_task(client.send(REQUEST, deadline=0.05))
        await passes()
        sending = asyncio.create_task(client.send_all([REQUEST]))
        assert (await call).disposition is Disposition.NOT_SENT
        server.gate.set()
        assert [type(result) for result in await sending] == [Ok]
        assert isinstance(await busy, Ok)
    assert server.posts == 2


async def test_waiter_cancelled_as_its_leader_raises_is_cancelled():
    async with Server() as server:
        calls: list[asyncio.Task] = []

        class Closed(contextlib.AbstractAsyncContextManager):
            async def __aenter__(self) -> None:
                await passes()
                calls[1].cancel()
                raise TimeoutError("no more today")

            async def __aexit__(self, *exc_info) -> None: ...

        async with opened(server, limiter=Closed()) as client:
            calls += [asyncio.create_task(client.send(REQUEST)) for _ in range(2)]
            raised = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in raised] == [TimeoutError, asyncio.CancelledError]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_of_a_batch_keeps_no_call_in_flight(error):
    class Interrupted:
        async def post(self, url, **kwargs):
            raise error

        async def aclose(self) -> None: ...

    client = Gateway360Client("k3y", transport=Interrupted(), sender="X")
    loop = asyncio.new_event_loop()
    with pytest.raises(error):
        loop.run_until_complete(client.send_all([REQUEST]))
    assert client._core.single_flight._heads == {}
    for task in asyncio.all_tasks(loop):
        task.cancel()
    with contextlib.suppress(error, asyncio.CancelledError):
        loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


async def test_error_raised_in_a_batch_reaches_its_waiter():
    class Closed(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None:
            await passes(10)
            raise TimeoutError("no more today")

        async def __aexit__(self, *exc_info) -> None: ...

    async with Server() as server, opened(server, limiter=Closed()) as client:
        async with client.batch([REQUEST]) as batch:
            await passes(2)
            with pytest.raises(TimeoutError):
                await client.send(REQUEST)
            with pytest.raises(TimeoutError):
                _ = [item async for item in batch]


# --- the cooldown ----------------------------------------------------------------------------------------------


async def test_repeat_within_the_cooldown_gets_the_earlier_result():
    async with Server() as server, opened(server, cooldown=60) as client:
        first = await client.send(REQUEST)
        second = await client.send(OTHER)  # another text is another SMS all the same
        assert not first.replayed
        assert second == Ok(first.attempts, first.elapsed, replayed=True)
        assert server.posts == 1
        assert not (await client.send(ELSEWHERE)).replayed
        assert not (await client.send(REQUEST, force=True)).replayed
        assert not (await client.request_pin(NUMBER, force=True)).replayed
    assert server.posts == 4


async def test_without_a_cooldown_a_repeat_is_sent():
    async with Server() as server, opened(server) as client:
        for _ in range(2):
            assert not (await client.send(REQUEST)).replayed
    assert server.posts == 2


async def test_one_that_waits_for_its_turn_meets_the_cooldown_too():
    async with Gate() as server, opened(server, cooldown=60) as client:
        calls = [asyncio.create_task(client.send(request)) for request in (REQUEST, OTHER)]
        await server.wait(lambda: server.posts == 1)
        server.gate.set()
        first, second = await asyncio.gather(*calls)
    assert (first.replayed, second.replayed) == (False, True)
    assert server.posts == 1


async def test_call_cancelled_after_its_first_byte_begins_a_cooldown():
    async with Server(silence) as server, opened(server, cooldown=60) as client:
        call = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        await cancelled(call)
        repeat = await client.send(REQUEST)
    assert isinstance(repeat, TransportFailure)
    assert repeat.replayed
    assert repeat.disposition is Disposition.MAYBE_SENT
    assert server.posts == 1


async def test_batch_meets_the_cooldown_and_can_be_forced():
    async with Server() as server, opened(server, cooldown=60) as client:
        await client.send(REQUEST)
        assert [result.replayed for result in await client.send_all([NUMBER, "34666666222"])] == [True, False]
        assert [result.replayed for result in await client.send_all([NUMBER], force=True)] == [False]
    assert server.posts == 3


@pytest.mark.parametrize("cooldown", [0, -1, float("inf"), "60", True])
def test_wrong_cooldown_names_itself(cooldown):
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client("k3y", cooldown=cooldown)
    assert caught.value.setting == "cooldown"


# --- all at once -----------------------------------------------------------------------------------------------


async def test_random_calls_send_one_request_per_number_at_a_time():
    """2,000 calls for five numbers, a third of them cancelled at random moments."""
    seed = random.Random(4)
    numbers = [str(34600000000 + n) for n in range(5)]
    texts = [None, "{PIN}", "your {PIN}"]
    most: dict[str, int] = dict.fromkeys(numbers, 0)
    running: dict[str, int] = dict.fromkeys(numbers, 0)

    async def late(received: Received) -> None:
        number = received.json["msisdn"]
        running[number] += 1
        most[number] = max(most[number], running[number])
        await passes(seed.randrange(10))
        running[number] -= 1
        await received.answer()

    async def one(client: Gateway360Client) -> object:
        request = PinRequest(seed.choice(numbers), "PIZZA", sms_text=seed.choice(texts))
        call = asyncio.create_task(client.send(request))
        if not seed.randrange(3):
            await passes(seed.randrange(60))
            call.cancel()
        await asyncio.wait((call,))
        return "cancelled" if call.cancelled() else call.result()

    async with Server(late) as server, opened(server, concurrency=10) as client:
        outcomes: list[object] = []
        for _ in range(40):
            outcomes += await asyncio.gather(*(one(client) for _ in range(50)))
    sent = {id(outcome) for outcome in outcomes if isinstance(outcome, Ok)}
    assert all(isinstance(outcome, Ok) or outcome == "cancelled" for outcome in outcomes)
    cancelled_calls = outcomes.count("cancelled")
    assert cancelled_calls > 100
    assert len(sent) <= server.posts <= len(sent) + cancelled_calls
    # A request that was cancelled may still be with the server when the next one comes: never more than that.
    assert all(count >= 1 for count in most.values())


async def test_closing_waits_for_a_call_that_has_only_just_begun():
    async with Server() as server:
        client = Gateway360Client("k3y", base_url=server.url, sender="GOOD PIZZA")
        call = asyncio.create_task(client.send(REQUEST))
        await asyncio.sleep(0)
        await client.aclose()
        assert isinstance(await call, Ok)


async def test_queue_of_a_number_costs_a_call_the_same_at_any_length(monkeypatch):
    """3,000 different requests for one number: each is compared with none, or with one, as it comes, is found and goes."""
    comparisons = 0
    equal = PinRequest.__eq__

    def counted(self, other):
        nonlocal comparisons
        comparisons += 1
        return equal(self, other)

    monkeypatch.setattr(PinRequest, "__eq__", counted)
    count = 3_000
    async with Gate() as server, opened(server, deadline=1000) as client:
        requests = [PinRequest(NUMBER, "GOOD PIZZA", sms_text=f"{n} {{PIN}}") for n in range(count)]
        calls = [asyncio.create_task(client.send(request)) for request in (*requests, *requests[-100:])]
        await server.wait(lambda: server.posts == 1)
        await passes(3)
        assert len(client._core.single_flight._queues[NUMBER].calls) == count
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls[1:])
        assert client._core.single_flight._queues == {}
        server.gate.set()
        assert isinstance(await calls[0], Ok)
    assert comparisons <= 10 * count
    assert server.posts == 1


async def test_flight_that_is_given_up_is_joined_by_no_other_call():
    class SlowToEnd(contextlib.AbstractAsyncContextManager):
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc_info) -> None:
            await ended.wait()

    ended = asyncio.Event()
    async with Gate() as server, opened(server, limiter=SlowToEnd()) as client:
        first = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 1)
        other = asyncio.create_task(client.send(OTHER))
        await passes()
        first.cancel()
        await passes()  # it has not landed yet
        again = asyncio.create_task(client.send(REQUEST))
        await passes()
        server.gate.set()
        ended.set()
        assert [isinstance(result, Ok) for result in await asyncio.gather(other, again)] == [True, True]
        await asyncio.wait((first,))
    assert first.cancelled()
    assert server.posts == 3


async def test_caller_whose_deadline_passes_has_its_leaders_attempts(later):
    async with (
        Server(in_turn(status(429), silence)) as server,
        opened(server, retry=RetryPolicy(base_delay=0.0)) as client,
    ):
        leader = asyncio.create_task(client.send(REQUEST))
        await server.wait(lambda: server.posts == 2)
        caller = asyncio.create_task(client.send(REQUEST, deadline=5))
        await passes(3)
        later(10)
        result = await caller
        assert (result.kind, result.attempts) == (FailureKind.DEADLINE, 2)
        await cancelled(leader)
    assert server.posts == 2
