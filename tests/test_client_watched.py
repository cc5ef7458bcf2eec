"""A client that is watched: which events come, in which order, whatever becomes of the call."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import pytest
from loopback import Received, Server, free_port, in_turn, ok, silence, status

from gateway360_async import (
    Disposition,
    FailureKind,
    Gateway360Client,
    InvalidConfiguration,
    Ok,
    RetryPolicy,
    TransportFailure,
)
from gateway360_async.observers import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallStarted,
    RetryWaiting,
)

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"


class Seen:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list = []

    def notify(self, event) -> None:
        self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def of(self, class_) -> list:
        return [event for event in self.events if isinstance(event, class_)]


@pytest.fixture
def seen() -> Seen:
    return Seen()


def client_for(server: Server, seen, **settings) -> Gateway360Client:
    return Gateway360Client(KEY, base_url=server.url, sender="PIZZA", observer=seen, **settings)


async def test_a_call_that_is_tried_twice(seen, at_once):
    async with Server(in_turn(status(429), ok)) as server, client_for(server, seen, retry=at_once) as client:
        result = await client.request_pin(NUMBER)
        url = f"{server.url}/api/2fa/request"
    assert seen.kinds == [
        "CallStarted",
        "AttemptStarted",
        "AttemptFinished",
        "RetryWaiting",
        "AttemptStarted",
        "AttemptFinished",
        "CallFinished",
    ]
    assert len({event.call_id for event in seen.events}) == 1
    assert {event.number for event in seen.events} == {"34*****111"}
    assert {event.operation for event in seen.events} == {"request_pin"}
    started, _, first, waiting, _, second, finished = seen.events
    assert started.url == url
    assert first.result.kind is FailureKind.THROTTLED
    assert waiting.result == first.result
    assert [event.attempt for event in seen.of(AttemptFinished)] == [1, 2]
    assert second.elapsed > 0
    assert finished.result == result
    assert finished.elapsed >= second.elapsed
    assert not finished.joined
    assert finished.error is None


async def test_a_call_that_joins_another_has_no_attempts(seen):
    async with Server() as server, client_for(server, seen) as client:
        one, two = await asyncio.gather(client.request_pin(NUMBER), client.request_pin(NUMBER))
    assert one == two
    assert len(seen.of(AttemptStarted)) == 1
    assert sorted(event.joined for event in seen.of(CallFinished)) == [False, True]
    assert len({event.call_id for event in seen.of(CallStarted)}) == 2


async def test_a_call_that_joined_in_vain_and_then_sent_by_itself_is_not_joined(seen):
    """The first gives up before its first byte; the second, that had joined it, sends itself."""
    release = asyncio.Event()

    async def hold(received: Received) -> None:
        await release.wait()
        await received.answer()

    async with Server(hold) as server, client_for(server, seen, concurrency=1) as client:
        busy = asyncio.create_task(client.request_pin("34666666999"))
        await server.wait(lambda: server.posts == 1)
        first = asyncio.create_task(client.request_pin(NUMBER, deadline=0.05))
        await asyncio.sleep(0)
        second = asyncio.create_task(client.request_pin(NUMBER))
        assert (await first).kind is FailureKind.DEADLINE
        release.set()
        assert isinstance(await second, Ok)
        await busy
    by_id = {event.call_id: event for event in seen.of(CallFinished)}
    assert [by_id[event.call_id].joined for event in seen.of(CallStarted)] == [False, False, False]


async def test_a_call_that_is_cancelled_ends_with_what_is_known(seen):
    async with Server(silence) as server, client_for(server, seen) as client:
        calling = asyncio.create_task(client.request_pin(NUMBER))
        await server.wait(lambda: server.posts == 1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    assert seen.kinds == ["CallStarted", "AttemptStarted", "AttemptFinished", "CallFinished"]
    attempt, finished = seen.of(AttemptFinished)[0], seen.of(CallFinished)[0]
    for event in (attempt, finished):
        assert event.result.kind is FailureKind.CANCELLED
        assert event.result.disposition is Disposition.MAYBE_SENT
        assert event.error is asyncio.CancelledError


async def test_a_call_whose_deadline_passes_ends_with_it(seen, later):
    async with Server(silence) as server, client_for(server, seen) as client:
        call = asyncio.create_task(client.request_pin(NUMBER, deadline=10))
        await server.wait(lambda: server.posts == 1)
        later(10)
        result = await call
    assert seen.of(AttemptFinished)[0].result.kind is FailureKind.DEADLINE
    assert seen.of(CallFinished)[0].result == result
    assert seen.of(CallFinished)[0].error is None


async def test_a_call_that_raises_ends_with_its_error(seen):
    class Failing:
        async def __aenter__(self):
            raise OSError("no")

        async def __aexit__(self, *_): ...

    async with Server() as server, client_for(server, seen, limiter=Failing()) as client:
        with pytest.raises(OSError, match="no"):
            await client.request_pin(NUMBER)
    assert [event.error for event in (seen.of(AttemptFinished) + seen.of(CallFinished))] == [OSError] * 2
    assert seen.of(AttemptFinished)[0].result is seen.of(CallFinished)[0].result is None


async def test_a_try_of_a_pin_is_told_as_one(seen):
    async with Server(status(200, b'{"verified":true}')) as server, client_for(server, seen) as client:
        result = await client.verify_pin(NUMBER, "1234")
        server.behaviour = silence
        trying = asyncio.create_task(client.verify_pin(NUMBER, "1234"))
        await server.wait(lambda: server.posts == 2)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
    assert {event.operation for event in seen.events} == {"verify_pin"}
    first, second = seen.of(CallFinished)
    assert first.result == result
    assert second.result.disposition is Disposition.MAYBE_SENT
    assert "1234" not in repr(seen.events)


async def test_a_batch_tells_how_far_it_has_come(seen):
    async with Server() as server, client_for(server, seen) as client:
        await client.send_all([NUMBER, NUMBER, "no number", "34666666112"])
        await client.send_all([])
    progress = seen.of(BatchProgress)
    assert [(event.total, event.finished) for event in progress] == [
        (1, False),
        (2, False),
        (3, False),
        (4, False),
        (4, True),
        (0, True),
    ]
    assert progress[4].by_disposition == {Disposition.SENT: 2, Disposition.NOT_SENT: 2}
    assert progress[4].batch_id != progress[5].batch_id
    assert len(seen.of(CallStarted)) == len(seen.of(CallFinished)) == 2


async def test_several_observers_are_told_and_one_that_fails_changes_nothing(seen, caplog):
    class Failing:
        def notify(self, event):
            raise ValueError("no")

    async with Server() as server, client_for(server, [Failing(), seen]) as client:
        assert isinstance(await client.request_pin(NUMBER), Ok)
    assert seen.kinds[-1] == "CallFinished"
    assert len([record for record in caplog.records if record.name == "gateway360_async"]) == 1


def test_what_is_no_observer_is_refused():
    with pytest.raises(InvalidConfiguration, match="observer"):
        Gateway360Client(KEY, observer=print)


async def test_the_environment_asks_for_a_log(monkeypatch, caplog):
    monkeypatch.setenv("GATEWAY360_LOG", "info")
    caplog.set_level(logging.INFO, "gateway360_async")
    async with Server() as server:
        async with Gateway360Client(KEY, base_url=server.url, sender="PIZZA") as client:
            await client.request_pin(NUMBER)
    assert any("34*****111" in record.getMessage() for record in caplog.records)
    monkeypatch.setenv("GATEWAY360_LOG", "loud")
    with pytest.raises(InvalidConfiguration, match="GATEWAY360_LOG"):
        Gateway360Client(KEY)


def test_a_client_that_nobody_watches_imports_no_observers():
    program = (
        "import sys, gateway360_async; gateway360_async.Gateway360Client('k');"
        "print([name for name in sys.modules if 'observers' in name or 'delivery' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_retry_that_waits_says_for_how_long(seen):
    policy = RetryPolicy(max_attempts=2, base_delay=0.0)
    client = Gateway360Client(
        KEY, base_url=f"http://127.0.0.1:{free_port()}", sender="PIZZA", observer=seen, retry=policy
    )
    async with client:
        result = await client.request_pin(NUMBER)
    assert isinstance(result, TransportFailure)
    (waiting,) = seen.of(RetryWaiting)
    assert waiting.attempt == 1
    assert waiting.delay == 0.0
