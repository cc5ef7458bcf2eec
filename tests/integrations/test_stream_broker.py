"""The broker on Redis Streams, with a real Redis: nothing gets lost, nothing is left, and nothing ends with Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError
from taskiq import BrokerMessage, TaskiqMessage
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from gateway360_async.integrations import _stream
from gateway360_async.integrations._stream import Consumer
from gateway360_async.integrations.taskiq import StreamBroker

NUMBER = "34666666111"
STREAM = "gateway360:queue"
GROUP = "workers"
SOON = 300
"""Milliseconds: short, and never what a test waits for in vain."""


@pytest.fixture
async def redis(server):
    async with server.client() as redis:
        yield redis


@contextlib.asynccontextmanager
async def brokers(server, count=1, **settings):
    """Give brokers, each with a connection and a name of its own, as workers have."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            broker = StreamBroker(server.url, **{"xread_block": 100, "idle_timeout": SOON} | settings)
            await broker.startup()
            stack.push_async_callback(broker.shutdown)
            made.append(broker)
        yield made if count > 1 else made[0]


@contextlib.asynccontextmanager
async def listening(broker):
    """Give what a broker hears, one at a time."""
    messages = broker.listen()
    try:
        yield messages
    finally:
        await messages.aclose()


def task(text):
    return BrokerMessage(task_id=text, task_name="task", message=text.encode(), labels={})


async def kick(broker, *texts):
    for text in texts:
        await broker.kick(task(text))


async def die(broker, messages, count):
    """Hear tasks, and end as a killed process does: without a word to Redis, and without a heartbeat."""
    heard = [(await anext(messages)).data for _ in range(count)]
    broker._consumer._beating.cancel()
    await broker.connection_pool.disconnect()
    return heard


async def pending(redis):
    return (await redis.xpending(STREAM, GROUP))["pending"]


async def test_what_was_enqueued_before_the_first_worker_is_heard(server):
    async with brokers(server) as broker:
        await kick(broker, "1", "2")
        async with listening(broker) as messages:
            heard = [await anext(messages), await anext(messages)]
            assert [message.data for message in heard] == [b"1", b"2"]


async def test_what_is_acknowledged_leaves_nothing_behind(server, redis):
    async with brokers(server) as broker:
        await kick(broker, *map(str, range(50)))
        async with listening(broker) as messages:
            heard = [await anext(messages) for _ in range(50)]
            assert await redis.xlen(STREAM) == 50
            before = (await redis.info("commandstats"))["cmdstat_xlen"]["calls"]
            await asyncio.gather(*(message.ack() for message in heard))
        assert await redis.xlen(STREAM) == 0
        assert await pending(redis) == 0
        # As many as end together are acknowledged together.
        stats = await redis.info("commandstats")
        assert before == 1
        assert (stats["cmdstat_xack"]["calls"], stats["cmdstat_xdel"]["calls"]) == (1, 1)


async def test_the_last_tasks_of_a_dead_worker_are_delivered_on_an_idle_queue(server, redis):
    """More than are taken over at a time, and nothing new comes meanwhile."""
    async with brokers(server, 2, xread_count=10) as (dead, alive):
        texts = [f"{index}" for index in range(35)]
        await kick(dead, *texts)
        lost = await die(dead, dead.listen(), 35)
        async with listening(alive) as messages:
            heard = [await anext(messages) for _ in range(35)]
            assert [message.data for message in heard] == lost
            await asyncio.gather(*(message.ack() for message in heard))
        assert await redis.xlen(STREAM) == 0
        dead._consumer._held.clear()


async def test_all_that_is_idle_is_taken_over_at_the_first_look(server, redis):
    """The next look is ten minutes later."""
    async with brokers(server, 2, xread_count=10, idle_timeout=3_600_000) as (dead, alive):
        await kick(dead, *map(str, range(35)))
        await die(dead, dead.listen(), 35)
        dead._consumer._held.clear()
        await dead._consumer._make_idle()
        async with listening(alive) as messages:
            for message in [await anext(messages) for _ in range(35)]:
                await message.ack()
        assert await redis.xlen(STREAM) == 0


async def test_a_worker_that_was_killed_while_it_took_over_stops_nobody(server, redis):
    """taskiq-redis' own broker leaves a lock behind, which never expires."""
    for name in (f"autoclaim:{GROUP}:{STREAM}", f"autoclaim:taskiq:{STREAM}"):
        await redis.set(name, "somebody who is gone")
    async with brokers(server, 2) as (dead, alive):
        await kick(dead, "1")
        await die(dead, dead.listen(), 1)
        async with listening(alive) as messages:
            assert (await anext(messages)).data == b"1"
        dead._consumer._held.clear()


async def test_what_a_living_worker_works_on_for_long_is_delivered_to_nobody_else(server, redis):
    async with brokers(server, 2) as (busy, idle):
        await kick(busy, "1")
        async with listening(busy) as mine, listening(idle) as others:
            message = await anext(mine)
            waiting = asyncio.create_task(anext(others))
            (claimed,) = await redis.xpending_range(STREAM, GROUP, "-", "+", 1)
            beats = 0
            while beats < 4:  # longer than after which a dead one's would be taken over
                (now,) = await redis.xpending_range(STREAM, GROUP, "-", "+", 1)
                beats += now["time_since_delivered"] < claimed["time_since_delivered"]
                claimed = now
                await asyncio.sleep(0.01)
            assert claimed["consumer"].decode() == busy.consumer_name
            assert claimed["times_delivered"] == 1
            assert not waiting.done()
            await message.ack()
            await kick(busy, "2")
            both = asyncio.create_task(anext(mine))
            await asyncio.wait([waiting, both], return_when=asyncio.FIRST_COMPLETED)
            for task in (waiting, both):
                task.cancel()
            await asyncio.wait([waiting, both])


async def test_what_was_taken_and_not_begun_is_given_back_when_a_worker_stops(server, redis):
    async with brokers(server, 2, idle_timeout=3_600_000) as (leaving, staying):
        await kick(leaving, "1", "2", "3")
        async with listening(leaving) as messages:
            begun = await anext(messages)
        assert await pending(redis) == 3
        async with listening(staying) as messages:
            heard = [await anext(messages), await anext(messages)]
            assert [message.data for message in heard] == [b"2", b"3"]
            await begun.ack()
            for message in heard:
                await message.ack()
        assert await redis.xlen(STREAM) == 0


async def test_more_than_can_be_asked_for_at_once_is_given_back(server, redis):
    async with brokers(server, idle_timeout=3_600_000, xread_count=250) as broker:
        await kick(broker, *map(str, range(250)))
        async with listening(broker) as messages:
            await anext(messages)
        idle = await redis.xpending_range(STREAM, GROUP, "-", "+", 1000, idle=3_600_000)
        assert len(idle) == 249
        broker._consumer._held.clear()


async def test_what_a_worker_never_finished_is_given_back_when_it_ends(server, redis):
    async with brokers(server, idle_timeout=3_600_000) as staying:
        async with brokers(server, idle_timeout=3_600_000) as leaving:
            leaving._consumer = None
            await kick(leaving, "1")
            messages = leaving.listen()
            message = await anext(messages)
            await messages.aclose()
            leaving._consumer._held.clear()  # nobody is about to acknowledge it
        await message.ack()  # too late
        async with listening(staying) as messages:
            assert (await anext(messages)).data == b"1"
            staying._consumer._held.clear()


async def test_a_worker_that_ends_leaves_no_consumer_behind(server, redis):
    async with brokers(server) as broker:
        await kick(broker, "1")
        async with listening(broker) as messages:
            await (await anext(messages)).ack()
        assert len(await redis.xinfo_consumers(STREAM, GROUP)) == 1
    assert await redis.xinfo_consumers(STREAM, GROUP) == []


async def test_a_consumer_that_holds_a_task_is_never_deleted(server, redis):
    async with brokers(server) as broker:
        await kick(broker, "1")
        async with listening(broker) as messages:
            await anext(messages)
            await broker._consumer._drop(broker.consumer_name)
            assert await pending(redis) == 1
            broker._consumer._held.clear()


async def test_the_consumers_of_workers_that_were_killed_go_once_they_hold_nothing(
    server, redis, monkeypatch
):
    monkeypatch.setattr(_stream, "_LEAST_GONE", 0)
    async with brokers(server, 2) as (dead, alive):
        await kick(dead, "1")
        await die(dead, dead.listen(), 1)
        await redis.xgroup_createconsumer(STREAM, GROUP, "gone")
        async with listening(alive) as messages:
            await (await anext(messages)).ack()
            waiting = asyncio.create_task(anext(messages))
            names = {alive.consumer_name.encode()}
            while {found["name"] for found in await redis.xinfo_consumers(STREAM, GROUP)} - names:
                await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        dead._consumer._held.clear()


async def test_a_redis_that_restarts_ends_no_listener(server, redis, caplog):
    async with brokers(server) as broker:
        await kick(broker, "1")
        async with listening(broker) as messages:
            first = await anext(messages)
            coming = asyncio.create_task(anext(messages))
            while not (await redis.info("clients"))["blocked_clients"]:
                await asyncio.sleep(0.01)
            await server.kill()
            acknowledging = asyncio.create_task(first.ack())
            enqueueing = asyncio.create_task(kick(broker, "2"))
            while "cannot be asked" not in caplog.text:
                await asyncio.sleep(0.01)
            assert not acknowledging.done()
            await server.start()
            await enqueueing
            second = await coming
            assert second.data == b"2"
            await acknowledging
            await second.ack()
        assert await redis.xlen(STREAM) == 0
        assert "is back" in caplog.text
        assert server.path not in caplog.text


async def test_a_redis_that_comes_back_without_its_data_is_listened_to_as_well(server, redis, caplog):
    async with brokers(server) as broker:
        await kick(broker, "1")
        async with listening(broker) as messages:
            first = await anext(messages)
            await server.kill(forget=True)
            await server.start()
            await kick(broker, "2")
            second = await anext(messages)
            assert second.data == b"2"
            await asyncio.gather(first.ack(), second.ack())
        assert await redis.xlen(STREAM) == 0
        assert "it begins anew" in caplog.text


async def test_a_worker_may_begin_before_its_redis(server):
    await server.kill()
    async with brokers(server) as broker:
        async with listening(broker) as messages:
            coming = asyncio.create_task(anext(messages))
            await asyncio.sleep(0.05)
            await server.start()
            await kick(broker, "1")
            assert (await coming).data == b"1"
            broker._consumer._held.clear()


async def test_who_ends_while_redis_is_away_ends_all_the_same(server, monkeypatch):
    monkeypatch.setattr("gateway360_async.integrations._stream_broker._DRAIN", 0.1)
    async with brokers(server) as broker:
        await kick(broker, "1")
        async with listening(broker) as messages:
            message = await anext(messages)
            await server.kill()
            acknowledging = asyncio.create_task(message.ack())
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await acknowledging
    await server.start()


async def test_who_gives_up_waiting_for_an_acknowledgement_stops_no_other(server, redis):
    async with brokers(server) as broker:
        await kick(broker, "1", "2")
        async with listening(broker) as messages:
            impatient, patient = [asyncio.create_task((await anext(messages)).ack()) for _ in range(2)]
            await asyncio.sleep(0)
            impatient.cancel()
            await patient
        assert await redis.xlen(STREAM) == 0


async def test_a_task_is_not_enqueued_without_end(server):
    await server.kill()
    async with brokers(server, patience=0.1) as broker:
        with pytest.raises(NoConnection):
            await kick(broker, "1")
    await server.start()


async def test_what_redis_refuses_to_enqueue_is_an_error_at_once(server, redis):
    await redis.set(STREAM, "no stream")
    async with brokers(server) as broker:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await kick(broker, "1")


async def test_a_queue_that_refuses_to_be_read_is_waited_for(server, redis, caplog):
    await redis.set(STREAM, "no stream")
    async with brokers(server) as broker:
        async with listening(broker) as messages:
            coming = asyncio.create_task(anext(messages))
            while "cannot be asked (ResponseError)" not in caplog.text:
                await asyncio.sleep(0.01)
            await redis.delete(STREAM)
            await kick(broker, "1")
            await (await coming).ack()
            # And once more, when it has joined.
            await redis.set(STREAM, "no stream")
            coming = asyncio.create_task(anext(messages))
            while caplog.text.count("cannot be asked (ResponseError)") < 2:
                await asyncio.sleep(0.01)
            await redis.delete(STREAM)
            await kick(broker, "2")
            await (await coming).ack()


async def test_what_this_worker_is_at_is_not_given_to_it_again(server, redis):
    """After an outage that was longer than `idle_timeout`, say."""
    async with brokers(server, idle_timeout=3_600_000) as broker:
        await kick(broker, "1")
        async with listening(broker) as messages:
            message = await anext(messages)
            (held,) = broker._consumer._held
            await redis.xclaim(STREAM, GROUP, "somebody", 0, [held], idle=3_600_000)
            broker._consumer._look_at = 0.0
            await kick(broker, "2")
            other = await anext(messages)
            assert other.data == b"2"
            (taken_over, _) = await redis.xpending_range(STREAM, GROUP, "-", "+", 2)
            assert taken_over["consumer"].decode() == broker.consumer_name
            await asyncio.gather(message.ack(), other.ack())


async def test_an_entry_that_is_no_task_is_deleted_and_named(server, redis, caplog):
    async with brokers(server) as broker:
        poison = await redis.xadd(STREAM, {"number": NUMBER})
        await kick(broker, "1")
        async with listening(broker) as messages:
            await (await anext(messages)).ack()
        assert await redis.xlen(STREAM) == 0
    assert f"holds no task: {poison.decode()} is deleted" in caplog.text
    assert NUMBER not in caplog.text


@pytest.mark.parametrize(
    "poison",
    [
        NUMBER.encode(),
        b"\xff" + NUMBER.encode(),
        json.dumps({"task_id": "1", "task_name": "task", "args": [NUMBER]}).encode(),
        json.dumps(
            {
                "task_id": "1",
                "task_name": "task",
                "args": [],
                "kwargs": {"msisdn": NUMBER},
                "labels": {"number": NUMBER},
                "labels_types": {"number": "x"},
            }
        ).encode(),
        TaskiqMessage(task_id="1", task_name="nobody's", args=[NUMBER], kwargs={}, labels={})
        .model_dump_json()
        .encode(),
    ],
)
async def test_a_message_that_cannot_be_read_is_acknowledged_and_its_text_is_not_logged(
    server, redis, caplog, poison
):
    async with brokers(server) as broker:
        receiver = Receiver(broker, max_async_tasks=1, run_startup=False)
        await broker.kick(BrokerMessage(task_id="1", task_name="task", message=poison, labels={}))
        async with listening(broker) as messages:
            await receiver.callback(await anext(messages))
        assert await redis.xlen(STREAM) == 0
    assert "it is dropped" in caplog.text or "nobody's" in caplog.text
    assert NUMBER not in caplog.text


async def test_a_task_is_written_and_read_as_taskiq_does(server):
    async with brokers(server) as broker:
        message = TaskiqMessage(
            task_id="1",
            task_name="task",
            args=[1],
            kwargs={"a": None},
            labels={"times": "5", "raw": "YQ=="},
            labels_types={"times": 2, "raw": 6},
        )
        written = broker.formatter.dumps(message)
        theirs = RedisStreamBroker(server.url).formatter.dumps(message)
        assert written == theirs
        read = broker.formatter.loads(written.message)
        assert (read.args, read.kwargs, read.labels) == ([1], {"a": None}, {"times": 5, "raw": b"a"})
        read.parse_labels()
        assert read.labels == {"times": 5, "raw": b"a"}


async def test_an_older_redis_says_of_a_deleted_entry_that_it_is_none():
    """Redis 6.2 gives `nil` for it, which 7.0 leaves out."""
    consumer = Consumer(None, stream=STREAM, group=GROUP, name="worker", idle_timeout=1, count=1, block=1)
    forgotten = []
    consumer._ask_to_forget = forgotten.append
    assert consumer._taken([(b"1-1", None), (b"1-2", {b"data": b"task"})]) == [(b"1-2", b"task")]
    assert forgotten == [b"1-1"]
