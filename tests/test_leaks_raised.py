"""The hunt for the API key and for whole numbers in whatever is raised, as a crash reporter shows it.

That is: the text, the data, and the local variables of every frame that is ours or a library's; of the causes
and contexts too. A test's own frames, which stand for the caller's, are left out.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import pytest
from support.cases import each
from support.leaks import carried, reported
from support.loopback import Server, ok, silence

from gateway360_async import (
    ClientClosed,
    Gateway360Client,
    InvalidConfiguration,
    InvalidRequest,
    PinRequest,
    WrongEventLoop,
    blocking,
)
from gateway360_async._models import request_from
from gateway360_async.delivery import DeliveryReports, ForgedReport
from gateway360_async.integrations.worker import request_of, task_of
from gateway360_async.transports import DirectTransport, HttpxTransport

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
REQUEST = PinRequest(NUMBER, "GOOD PIZZA")

both = pytest.mark.parametrize("make", [HttpxTransport, DirectTransport])


def client_for(server, make=HttpxTransport, **settings):
    return Gateway360Client(KEY, base_url=server.url, transport=make(), **{"sender": "GOOD PIZZA"} | settings)


def assert_hidden(secret, error):
    found = [text for text in reported(error) if secret in text]
    assert not found, found[0][:500]


@contextlib.contextmanager
def hiding(*secrets, raising):
    with pytest.raises(raising) as caught:
        yield caught
    for secret in secrets:
        assert_hidden(secret, caught.value)


# --- A request that is wrong -----------------------------------------------------------------------------

WRONG = {
    "number": lambda: PinRequest(f"{NUMBER}00000", "X"),
    "letters": lambda: PinRequest(f"{NUMBER}x", "X"),
    "trunk prefix": lambda: PinRequest(f"(0){NUMBER}", "X"),
    "sender": lambda: PinRequest(NUMBER, "X" * 40),
    "lookup": lambda: PinRequest(NUMBER, "X", hlr_lookup=7),
    "text": lambda: PinRequest(NUMBER, "X", sms_text="none"),
    "long text": lambda: PinRequest(NUMBER, "X", sms_text="{PIN}" + "x" * 200),
    "url": lambda: PinRequest(NUMBER, "X", report_url=f"ftp://{NUMBER}"),
    "params": lambda: PinRequest(NUMBER, "X", pin_params={"type": "x"}),
    "param's name": lambda: PinRequest(NUMBER, "X", pin_params={NUMBER: 1}),
}


@each("build", WRONG.values(), ids=[*WRONG])
def test_wrong_request_shows_no_number_and_keeps_nothing_alive(build):
    with hiding(NUMBER, raising=InvalidRequest) as caught:
        build()
    assert NUMBER not in "".join(carried(caught.value))
    assert not {"args", "kwargs", "error"} & set(caught.traceback[-1].frame.f_locals)


# The client's name for a row that makes no request: the batch takes its text, and gives out nothing else of it.
ROWS = {
    "number": f"{NUMBER}00000",
    "a field too many": {"msisdn": NUMBER, "bogus": 1},
    "without a header": {NUMBER: 1},
    "a list": [NUMBER],
    "an int": int(NUMBER),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_wrong_row_shows_no_number(row):
    async with Server(ok) as server, client_for(server) as client:
        (result,) = await client.send_all([row])
    assert NUMBER not in f"{result!r} {result}"


@pytest.mark.parametrize("wrong", [{"bogus": 1}, {"msisdn": NUMBER}], ids=["unknown", "twice"])
def test_wrong_keyword_shows_no_number(wrong):
    with hiding(NUMBER, raising=TypeError):
        PinRequest(NUMBER, "X", **wrong)


def test_error_of_the_callers_mapping_keeps_its_frames():
    class Broken(Mapping):
        def __getitem__(self, key):
            raise KeyError(key)

        def __iter__(self):
            raise OSError("the file is gone")

        def __len__(self):
            return 1

    with pytest.raises(OSError, match="gone") as caught:
        request_from(Broken())
    assert [entry.name for entry in caught.traceback][-1] == "__iter__"


# --- A call that raises ----------------------------------------------------------------------------------


class Broken:
    """A limiter that raises."""

    async def __aenter__(self):
        raise OSError("no place")

    async def __aexit__(self, *_):
        pass


async def cancelled(call, server):
    task = asyncio.create_task(call)
    await server.wait(lambda: server.posts == 1)
    task.cancel()
    return await task


@both
async def test_cancelled_call_shows_no_secret(make, caplog):
    async with Server(silence) as server, client_for(server, make) as client:
        with hiding(KEY, NUMBER, raising=asyncio.CancelledError):
            await cancelled(client.send(REQUEST), server)
    assert "34*****111 was cancelled" in caplog.text
    assert NUMBER not in caplog.text


@both
async def test_refused_call_shows_no_secret(make):
    async with Server() as server:
        client = client_for(server, make)
        with hiding(KEY, NUMBER, raising=InvalidRequest):
            await client.send(REQUEST, deadline=0)
        with hiding(KEY, raising=InvalidRequest):
            await client.send(NUMBER)
        await client.aclose()
        with hiding(KEY, NUMBER, raising=ClientClosed):
            await client.send(REQUEST)


@both
async def test_transport_closed_behind_the_client_shows_no_secret(make):
    transport = make()
    async with Server() as server, client_for(server, lambda: transport) as client:
        await transport.aclose()
        result = await client.send(REQUEST)
    assert result.cause is not None
    assert_hidden(KEY, result.cause)
    assert_hidden(NUMBER, result.cause)


def test_another_event_loop_shows_no_secret():
    client = Gateway360Client(KEY)
    with pytest.raises(InvalidRequest):
        asyncio.run(client.send(REQUEST, deadline=0))
    with hiding(KEY, NUMBER, raising=WrongEventLoop):
        asyncio.run(client.send(REQUEST))


@pytest.mark.parametrize("setting", [{"base_url": "http://example.com"}, {"concurrency": 0}, {"sender": ""}])
def test_wrong_setting_shows_no_secret(setting):
    with hiding(KEY, raising=InvalidConfiguration):
        Gateway360Client(KEY, **setting)


secrets = pytest.mark.parametrize("secret", [KEY, NUMBER], ids=["key", "number"])


@both
@secrets
async def test_limiter_that_raises_shows_no_secret(make, secret):
    async with Server() as server, client_for(server, make, limiter=Broken()) as client:
        with hiding(secret, raising=OSError):
            await client.send(REQUEST)


@pytest.mark.parametrize(
    "how", ["cancelled", "limiter", "wrong argument", "wrong number", "no sender", "closed"]
)
@secrets
async def test_call_by_number_shows_no_secret(how, secret):
    async with Server(silence) as server:
        sender = None if how == "no sender" else "GOOD PIZZA"
        client = client_for(server, limiter=Broken() if how == "limiter" else None, sender=sender)
        if how == "closed":
            await client.aclose()
        number = f"{NUMBER}00000" if how == "wrong number" else NUMBER
        call = client.request_pin(number, deadline=0 if how == "wrong argument" else 30)
        with hiding(secret, raising=BaseException):
            await (cancelled(call, server) if how == "cancelled" else call)
        await client.aclose()


@pytest.mark.parametrize("how", ["send_all", "batch", "requests"])
@secrets
async def test_batch_that_raises_shows_no_secret(how, secret):
    async with Server(ok) as server, client_for(server, limiter=Broken()) as client:
        with hiding(secret, raising=OSError):
            if how == "send_all":
                await client.send_all([NUMBER])
            if how == "requests" and secret == KEY:  # the number is a request's own datum
                await client.send_all([REQUEST])
            async with client.batch([NUMBER]) as batch:
                [item async for item in batch]


OTHER = "34611222333"  # than the one of the errors' examples
REPORTS = DeliveryReports("https://example.com/sms", b"a-s3cret-of-the-tests-alone-here")
WRONG_CALLS = {
    "send a number": lambda client: client.send(OTHER),
    "resolve a number": lambda client: client.resolve(OTHER, timeout=1),
    "a batch of a number": lambda client: client.send_all(OTHER),
    "a batch with a wrong setting": lambda client: client.send_all([OTHER], concurrency=0),
    "a batch without a store": lambda client: client.send_all([OTHER], name="welcome"),
    "verify a list": lambda client: client.verify_pin([OTHER], "123456"),
    "ask with a list": lambda client: client.request_pin([OTHER]),
    "task of a number": lambda _: task_of(OTHER, "sign-up 1"),
    "task of a list": lambda _: task_of([OTHER], "sign-up 1"),
    "task without a key": lambda _: task_of(PinRequest(OTHER, "X"), ""),
    "a task of another version": lambda _: request_of(task_of(PinRequest(OTHER, "X"), "key") | {"v": 0}),
    "URL for a number alone": lambda _: REPORTS.url_for(OTHER, OTHER),
    "URL for a wrong number": lambda _: REPORTS.url_for(REPORTS.new_id(), OTHER * 2),
    "report of a number": lambda _: REPORTS.get(OTHER),
    "wait for a number": lambda _: REPORTS.wait(OTHER, 1),
    "forged report": lambda _: REPORTS.receive("x", f'[{{"to": "{OTHER}"}}]'.encode()),
}


@pytest.mark.parametrize("call", WRONG_CALLS.values(), ids=WRONG_CALLS.keys())
async def test_number_in_a_wrong_call_is_in_no_traceback(call):
    async with Gateway360Client(KEY, sender="X") as client:
        with hiding(KEY, OTHER, raising=(InvalidRequest, InvalidConfiguration, ForgedReport)):
            await call(client)


def broken_off():
    yield OTHER
    raise OSError("the file is gone")


WRONG_BLOCKING_CALLS = {
    "send a number": lambda client: client.send(OTHER),
    "ask with a wrong keyword": lambda client: client.request_pin(OTHER, text="{PIN}"),
    "await with a wrong keyword": lambda client: asyncio.run(client.aio.request_pin(OTHER, text="{PIN}")),
    "run with too little": lambda client: client.run(REPORTS.receive, OTHER),
    "await with too little": lambda client: asyncio.run(client.aio.run(REPORTS.receive, OTHER)),
    "a batch of a number": lambda client: client.batch(OTHER),
    "a batch with a wrong setting": lambda client: client.batch([OTHER], concurrency=0),
    "all of a number": lambda client: client.send_all(OTHER),
    "all with a wrong setting": lambda client: client.send_all([OTHER], concurrency=0),
    "all of a broken file": lambda client: client.send_all(broken_off()),
}


@pytest.mark.parametrize("call", WRONG_BLOCKING_CALLS.values(), ids=WRONG_BLOCKING_CALLS.keys())
def test_number_in_a_wrong_blocking_call_is_in_no_traceback(call):
    with blocking.Gateway360Client(KEY, sender="X") as client:
        with hiding(KEY, OTHER, raising=(InvalidRequest, InvalidConfiguration, TypeError, OSError)):
            call(client)


async def test_client_that_is_closed_shows_no_list_of_numbers():
    client = Gateway360Client(KEY, sender="X")
    await client.aclose()
    with hiding(KEY, OTHER, raising=ClientClosed):
        await client.send_all([OTHER])
