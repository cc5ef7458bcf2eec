"""The blocking client: threads, event loops, forks, and the end of the interpreter, against a sandbox."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar

import pytest
from support.leaks import reported

import gateway360_async
from gateway360_async import (
    ClientClosed,
    Disposition,
    InvalidConfiguration,
    InvalidRequest,
    Ok,
    PinRequest,
    Verified,
    WrongEventLoop,
)
from gateway360_async.blocking import AnyLoop, Gateway360Client
from gateway360_async.delivery import DeliveryReports
from gateway360_async.observers import CallStarted, Observer
from gateway360_async.stores import SqliteStore
from gateway360_async.testing import sandbox_in_thread

NUMBER = "34666666111"
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def gateway():
    with sandbox_in_thread() as sandbox:
        yield sandbox


@pytest.fixture
def make(gateway):
    made = []

    def make_client(**settings):
        made.append(Gateway360Client(gateway.api_key, base_url=gateway.base_url, sender="PIZZA", **settings))
        return made[-1]

    yield make_client
    for client in made:
        client.close()


@pytest.fixture
def client(make):
    return make()


def numbers(count):
    return [str(34666666000 + index) for index in range(count)]


def test_methods_have_the_arguments_of_the_async_client():
    of_the_async = gateway360_async.Gateway360Client
    public = {name for name in vars(of_the_async) if not name.startswith("_")}
    assert public - set(vars(Gateway360Client)) == {"aclose"}  # `close` here
    assert inspect.signature(Gateway360Client) == inspect.signature(of_the_async)
    for name in public - {"aclose", "store"}:
        expected = inspect.signature(getattr(of_the_async, name))
        assert inspect.signature(getattr(Gateway360Client, name)) == expected
        assert name in ("batch", "send_all") or inspect.signature(getattr(AnyLoop, name)) == expected


def test_call_sends_and_verifies(client, gateway):
    assert isinstance(client.request_pin(NUMBER), Ok)
    assert isinstance(client.send(PinRequest("34666666112", "PIZZA")), Ok)
    assert isinstance(client.verify_pin(NUMBER, gateway.messages[0].pin), Verified)
    assert [message.msisdn for message in gateway.messages] == [NUMBER, "34666666112"]


def test_threads_and_event_loops_share_one_cooldown(make, gateway):
    client = make(cooldown=60)

    async def view():
        return await client.aio.request_pin(NUMBER)

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(client.request_pin, [NUMBER] * 32))
    results += [asyncio.run(view()), asyncio.run(view())]
    assert {result.disposition for result in results} == {Disposition.SENT}
    assert [result.replayed for result in results[-2:]] == [True, True]
    assert len(gateway.messages) == 1


async def test_call_in_a_running_loop_works_as_well(client, gateway):
    assert isinstance(client.request_pin(NUMBER), Ok)  # and blocks that loop, as any blocking call does
    assert isinstance(await client.aio.send(PinRequest("34666666112", "PIZZA")), Ok)
    assert len(gateway.messages) == 2


def test_error_is_raised_without_the_number_in_its_frames(client, gateway):
    async def refuse(number):
        raise LookupError("no such user")

    for call in (
        lambda: client.request_pin("+34666666111x"),
        lambda: asyncio.run(client.aio.request_pin("+34666666111x")),
        lambda: client.run(refuse, "+34666666111x"),
    ):
        with pytest.raises((InvalidRequest, LookupError)) as caught:
            call()
        assert [text for text in reported(caught.value) if "666666111x" in text] == []
    assert gateway.messages == []


def test_settings_are_checked_and_the_key_is_never_shown(client, gateway):
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client("s3cret-k3y", sender="PIZZA", deadline=-1)
    assert caught.value.setting == "deadline"
    assert [text for text in reported(caught.value) if "s3cret-k3y" in text] == []
    assert "blocking" in repr(client)
    assert gateway.api_key not in repr(client)


def test_batch_reads_its_rows_in_the_thread_that_iterates(client, gateway):
    reader = []

    def rows():
        for number in numbers(30):
            reader.append(threading.get_ident())
            yield number

    with client.batch(rows(), concurrency=4) as batch:
        indices = sorted(item.index for item in batch)
    assert indices == list(range(30))
    assert set(reader) == {threading.get_ident()}
    assert batch.report.by_disposition == {Disposition.SENT: 30}
    assert len(gateway.messages) == 30


def test_batch_interrupted_in_its_rows_ends(client, gateway):
    def rows():
        yield NUMBER
        raise KeyboardInterrupt

    with client.batch(rows()) as batch:
        with pytest.raises(KeyboardInterrupt):
            list(batch)
        with pytest.raises(ClientClosed):  # no more rows can be read
            list(batch)
    assert batch.report.total == len(gateway.messages) == 1


def test_async_rows_are_read_by_the_loop(client):
    async def rows():
        for number in numbers(5):
            yield number

    with client.batch(rows()) as batch:
        assert len(list(batch)) == 5
    assert len(client.send_all(rows())) == 5


def test_batch_raises_the_error_of_its_rows_after_its_items(client):
    def rows():
        yield NUMBER
        raise LookupError("no more rows")

    items = []
    with pytest.raises(LookupError, match="no more rows"), client.batch(rows()) as batch:
        for item in batch:
            items.append(item.index)
    assert items == [0]


def test_batch_left_early_accounts_for_all_rows_and_ends(client, gateway):
    with client.batch(iter(numbers(1000)), concurrency=2) as batch:
        for _item in batch:
            break
    assert list(batch) == []
    assert batch.report.total == 1 + len(batch.report.unconsumed)
    assert len(gateway.messages) <= batch.report.total


def test_batch_passes_over_a_row_that_is_wanted_no_more(client):
    batch = client.batch(["34666666111"])
    wanted = concurrent.futures.Future()
    wanted.cancel()  # by a batch that ended meanwhile
    batch._steps.put(wanted)
    with batch:
        assert [item.index for item in batch] == [0]


def test_batch_stopped_begins_nothing_more(client, gateway):
    with client.batch(iter(numbers(1000)), concurrency=2) as batch:
        items = []
        for item in batch:
            batch.stop()
            items.append(item)
    assert batch.report.total == len(items) < 10
    assert batch.report.unconsumed == ()


@pytest.mark.parametrize("rows", [NUMBER, 5, {"msisdn": NUMBER}])
def test_batch_of_no_rows_is_refused(client, rows):
    for begin in (client.batch, client.send_all):
        with pytest.raises(InvalidConfiguration, match="an iterable or async iterable of rows"):
            begin(rows)


def test_send_all_gives_results_in_the_order_of_the_rows(client):
    results = client.send_all(iter([*numbers(3), "no number", *numbers(5)[3:]]))
    assert [type(result).__name__ for result in results] == ["Ok", "Ok", "Ok", "Skipped", "Ok", "Ok"]


def test_run_calls_an_async_function_on_the_clients_loop(gateway, make):
    reports = DeliveryReports("http://127.0.0.1:1/hooks", "a-s3cret-of-the-tests")
    client = make(reports=reports)
    gateway.lose_next_answer()
    lost = client.request_pin(NUMBER)
    assert lost.disposition is Disposition.MAYBE_SENT
    body = json.dumps(gateway.report_json(gateway.messages[0])).encode()
    token = gateway.messages[0].report_url.rpartition("/")[2]
    assert len(client.run(reports.receive, token, body)) == 1
    assert isinstance(client.resolve(lost, timeout=10), Ok)
    assert asyncio.run(client.aio.run(reports.get, lost.report_id)).msisdn == NUMBER


def test_call_runs_in_the_callers_context(make):
    asked = ContextVar("asked", default=None)
    seen = []

    class Spy(Observer):
        def notify(self, event):
            if isinstance(event, CallStarted):
                seen.append(asked.get())

    client = make(observer=Spy())
    client.connect()  # what begins here has its own context
    for value in ("one", "two"):
        asked.set(value)
        client.request_pin(NUMBER, force=True)
    assert seen == ["one", "two"]


class Held:
    """A gateway that reads one request, and holds its answer until it is told to give it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.arrived, self.release = threading.Event(), threading.Event()
        self.left = False
        self.on_arrival = self.arrived.set
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.recv(65536)
            self.on_arrival()
            connection.settimeout(0.01)
            while not self.release.is_set():
                with suppress(TimeoutError):
                    self.left = connection.recv(65536) == b""
                    return
            body = b'{"status":"ok","result":[{"status":"ok","sms_id":"1"}]}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def join(self):
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def held():
    gateway = Held()
    yield gateway
    gateway.release.set()
    gateway.join()
    gateway.listener.close()


@pytest.fixture
def held_client(held):
    with Gateway360Client("k3y", base_url=held.url, sender="PIZZA") as client:
        yield client


@pytest.fixture
def interrupt():
    """Interrupt the main thread, as Ctrl-C does."""

    def interrupted(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupted)
    yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_caller_interrupted_cancels_its_call(held, held_client, interrupt):
    held.on_arrival = interrupt
    with pytest.raises(KeyboardInterrupt):
        held_client.request_pin(NUMBER)
    held.join()
    assert held.left


def test_close_interrupted_cancels_calls_and_ends_the_thread(held, held_client, interrupt):
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(held_client.request_pin, NUMBER)
        assert held.arrived.wait(30)

        async def close_when_interrupted():
            interrupt()
            await asyncio.Event().wait()

        held_client._loop._at_end = close_when_interrupted
        with pytest.raises(KeyboardInterrupt):
            held_client.close()
        with pytest.raises(ClientClosed):
            call.result()
    held.join()
    assert held.left
    assert not held_client._loop._thread.is_alive()


def test_task_cancelled_cancels_its_call(held, held_client):
    async def view():
        call = asyncio.create_task(held_client.aio.request_pin(NUMBER))
        await asyncio.to_thread(held.arrived.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(view())
    held.join()
    assert held.left


def test_closed_client_sends_nothing(client, gateway):
    client.request_pin(NUMBER)
    client.close()
    client.close()
    with pytest.raises(ClientClosed):
        client.request_pin("34666666112")
    with pytest.raises(ClientClosed):
        asyncio.run(client.aio.request_pin("34666666112"))
    assert len(gateway.messages) == 1


def test_client_that_was_never_used_starts_no_thread(make):
    before = threading.active_count()
    with make() as unused:
        assert threading.active_count() == before
    with pytest.raises(ClientClosed):
        unused.request_pin(NUMBER)


def test_close_waits_for_calls_in_flight(held, held_client):
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(held_client.request_pin, NUMBER)
        assert held.arrived.wait(30)
        closing = threads.submit(held_client.close)
        while not held_client._loop._closed:
            time.sleep(0.001)
        assert not closing.done()
        held.release.set()
        assert call.result().disposition is Disposition.SENT
        closing.result()


def test_call_taken_as_the_client_closes_still_ends(client):
    client.connect()
    loop, taken, closed = client._loop._loop, threading.Event(), threading.Event()
    wake = loop.call_soon_threadsafe

    def wake_late(*args, **settings):
        if threading.current_thread() is not threading.main_thread():
            taken.set()
            assert closed.wait(30)
        return wake(*args, **settings)

    async def answer():
        return "an answer"

    with ThreadPoolExecutor(1) as threads:
        loop.call_soon_threadsafe = wake_late
        call = threads.submit(client.run, answer)
        assert taken.wait(30)
        client.close()
        closed.set()
        assert call.result() == "an answer"


def test_call_that_waits_as_the_client_closes_ends_closed(client):
    async def wait(waits):
        waits.set()
        await asyncio.Event().wait()

    first, second = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as threads:
        calls = [
            threads.submit(client.run, wait, first),
            threads.submit(asyncio.run, client.aio.run(wait, second)),
        ]
        assert first.wait(30)
        assert second.wait(30)
        client.close()
        for call in calls:
            with pytest.raises(ClientClosed):
                call.result()


def test_blocking_call_on_the_clients_own_loop_is_refused(client, gateway):
    for call in (lambda: client.request_pin(NUMBER), client.close):

        async def on_the_loop(call=call):
            call()

        with pytest.raises(WrongEventLoop, match="await `client.aio` there"):
            client.run(on_the_loop)
    assert gateway.messages == []


def in_child(work):
    """Run something after a fork, and give the status that it returns."""
    child = os.fork()
    if not child:
        status = 99
        with suppress(BaseException):
            status = work()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@FORKS
def test_client_made_before_a_fork_works_on_both_sides(make, gateway, tmp_path):
    store = SqliteStore(tmp_path / "pins.db")
    client = make(store=store, cooldown=60)
    assert client.store is store

    def work():
        sent = client.request_pin(NUMBER)
        client.close()
        return 0 if isinstance(sent, Ok) else 1

    assert in_child(work) == 0
    assert client.request_pin(NUMBER).replayed
    assert len(gateway.messages) == 1


@FORKS
def test_client_used_before_a_fork_is_refused_after_it(client, gateway):
    client.request_pin(NUMBER)

    def work():
        with suppress(WrongEventLoop):
            client.request_pin("34666666112")
            return 1
        client.close()  # the parent's thread is not here, and nothing waits for it
        return 0

    assert in_child(work) == 0
    assert isinstance(client.request_pin("34666666113"), Ok)
    assert [message.msisdn for message in gateway.messages] == [NUMBER, "34666666113"]


@pytest.mark.parametrize("store", ["None", "SqliteStore('pins.db')"])
def test_interpreter_ends_cleanly_with_an_open_client(gateway, tmp_path, store):
    program = f"""
from gateway360_async.blocking import Gateway360Client
from gateway360_async.stores import SqliteStore

client = Gateway360Client({gateway.api_key!r}, base_url={gateway.base_url!r}, sender="PIZZA", store={store})
print(client.request_pin("34666666111").disposition)
"""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    # asyncio's debug mode warns of a step that takes long, as any does on a busy machine.
    errors = [line for line in ran.stderr.splitlines() if not re.fullmatch("Executing .* seconds", line)]
    assert (ran.returncode, ran.stdout, errors) == (0, "sent\n", [])


async def test_async_client_of_another_loop_names_the_blocking_one(gateway):
    async with gateway360_async.Gateway360Client(
        gateway.api_key, base_url=gateway.base_url, sender="P"
    ) as client:
        await client.request_pin(NUMBER)

        def elsewhere():
            with pytest.raises(WrongEventLoop, match="gateway360_async.blocking"):
                asyncio.run(client.request_pin(NUMBER))

        await asyncio.to_thread(elsewhere)


def test_client_whose_loop_was_ended_refuses_calls(make, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # the thread's exit is this test's own
    client = make()

    async def leave():
        raise SystemExit

    with pytest.raises((SystemExit, concurrent.futures.CancelledError, ClientClosed)):
        client.run(leave)
    client._loop._thread.join()
    with pytest.raises(ClientClosed):
        client.request_pin("34666666111")


def test_coroutine_that_never_began_is_closed_as_its_call_ends(client):
    client.run(asyncio.sleep, 0)  # the loop runs
    background = client._loop
    never = asyncio.sleep(0)

    async def cancel():
        background._cancel(never)

    client.run(cancel)
    assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED
