"""The hunt for the API key and for whole numbers, after every outcome, over every transport.

Looked at: what is printed of results, clients, transports and errors, every library's log at DEBUG with
asyncio's debug mode on, the error below a result with its frames, and whatever can be reached from the client
by its attributes. `test_leaks_raised` hunts in errors; `test_secret` has the wrappers themselves, and
that plain http to another machine is refused, `test_settings`.
"""

import asyncio
import contextlib
import json
import logging
import pickle
import ssl

import httpx
import pytest
import trustme
from support.leaks import carried, printed, reachable, reported, shown
from support.loopback import OK, Received, Server, close, free_port, ok, raw, rst, silence, status

from gateway360_async import Gateway360Client, Ok, ResultError, RetryPolicy, TransportFailure
from gateway360_async.transports import DirectTransport, HttpxTransport

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
ONCE = RetryPolicy(max_attempts=1)

modes = pytest.mark.parametrize("mode", ["own", "ready", "direct"])


@pytest.fixture
async def logged(caplog):
    """The log of all libraries, at DEBUG."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # asyncio then logs every step that it takes, with its arguments
    caplog.set_level(logging.DEBUG)
    yield lambda: [record.getMessage() + str(record.exc_text) for record in caplog.records]
    loop.set_debug(False)


@contextlib.asynccontextmanager
async def client_of(mode, url, **settings):
    async with contextlib.AsyncExitStack() as stack:
        if mode == "ready":
            transport = await stack.enter_async_context(httpx.AsyncClient())
        else:
            transport = {"own": HttpxTransport, "direct": DirectTransport}[mode]()
        settings = {"timeout": httpx.Timeout(5, read=0.1), "retry": ONCE, "sender": "GOOD PIZZA"} | settings
        client = Gateway360Client(KEY, base_url=url, transport=transport, **settings)
        async with client:
            yield client


def seen_of(client, result):
    """Everything that is in a caller's hands after a call."""
    yield from (*printed(client), *shown(result), *carried(result))
    yield from (text for _, text in reachable(result))
    if isinstance(result, Ok):
        return
    if isinstance(result, TransportFailure) and result.cause is not None:
        yield from reported(result.cause)
    try:
        result.unwrap()
    except ResultError as exc:
        yield from (*reported(exc), *carried(exc))


def assert_nowhere(secret, texts):
    found = [text for text in texts if secret in text]
    assert not found, found[0][:500]


# --- Every outcome ---------------------------------------------------------------------------------------

PAGE = b"<html>Bad Gateway</html>"
REFUSED = b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"HLR query returned error."}'
OUTCOMES = {
    "ok": ok,
    "an error envelope": status(200, REFUSED),
    "unauthorized": status(401, b'{"status":"error","error_id":"UNAUTHORIZED"}'),
    "an unknown error": status(500, b'{"status":"error","error_id":"UNKNOWN_ERROR"}'),
    "too many requests": status(429, retry_after="1"),
    "a redirect": status(307, location="/elsewhere"),
    "a page": status(502, PAGE),
    "a compressed answer": status(200, OK, content_encoding="gzip"),
    "an answer over the cap": status(200, b'"' * 70_000),
    "not HTTP": raw(b"220 mail.example ESMTP\r\n\r\n"),
    "half an answer": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"),
    "a connection closed": close,
    "a connection reset": rst,
    "a timeout": silence,
}


@modes
@pytest.mark.parametrize("behaviour", OUTCOMES.values(), ids=OUTCOMES.keys())
async def test_outcome_shows_neither_key_nor_number(mode, behaviour, logged):
    async with Server(behaviour) as server, client_of(mode, server.url) as client:
        result = await client.request_pin(NUMBER)
        seen = [*seen_of(client, result), *logged()]
        # Nor is either left behind in the client, as text or as bytes.
        seen += [f"{path}: {text}" for path, text in reachable(client)]
    assert server.requests[0].json["api_key"] == KEY
    assert any("wait" in line or "Execut" in line for line in logged()), "asyncio's own log was not on"
    assert_nowhere(KEY, seen)
    assert_nowhere(NUMBER, seen)


def untrusted() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@modes
@pytest.mark.parametrize("outcome", ["refused", "TLS refused", "deadline"])
async def test_call_that_fails_on_its_way_shows_neither(mode, outcome, logged):
    settings = {"deadline": 0.05} if outcome == "deadline" else {}
    async with Server(silence, tls=untrusted() if outcome == "TLS refused" else None) as server:
        url = f"http://127.0.0.1:{free_port()}" if outcome == "refused" else server.url
        async with client_of(mode, url, **settings) as client:
            result = await client.request_pin(NUMBER)
            seen = [*seen_of(client, result), *logged(), *(text for _, text in reachable(client))]
    assert isinstance(result, TransportFailure)
    assert_nowhere(KEY, seen)
    assert_nowhere(NUMBER, seen)


# --- What the gateway quotes -----------------------------------------------------------------------------


async def in_a_message(received: Received) -> None:
    said = {"status": "error", "error_id": "BAD_PARAMS", "error_msg": f"wrong: {received.body.decode()}"}
    await received.answer(400, json.dumps(said).encode())


async def as_a_body(received: Received) -> None:
    await received.answer(200, received.body)


async def in_a_header(received: Received) -> None:
    await received.answer(200, OK, x_echo=received.body.decode())


async def as_a_header_line(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\n" + received.body + b"\x00\r\n\r\n")
    received.writer.close()


async def as_a_status_line(received: Received) -> None:
    await received.write(received.body + b"\r\n\r\n")
    received.writer.close()


async def the_number_alone(received: Received) -> None:
    await received.write(NUMBER.encode() + b"\r\n\r\n")
    received.writer.close()


async def after_the_answer(received: Received) -> None:
    await received.write(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + OK + received.body)


QUOTES = [in_a_message, as_a_body, in_a_header, as_a_header_line, as_a_status_line, after_the_answer]
# httpcore writes the headers that it read, and the line that it could not read, into its log at DEBUG.
IN_HTTPCORES_LOG = (in_a_header, as_a_header_line, as_a_status_line)


def named(behaviour):
    return behaviour.__name__.replace("_", " ")


@modes
@pytest.mark.parametrize("behaviour", QUOTES, ids=named)
async def test_key_that_the_gateway_quotes_is_shown_nowhere(mode, behaviour, logged):
    async with Server(behaviour) as server, client_of(mode, server.url) as client:
        result = await client.request_pin(NUMBER)
        seen = list(seen_of(client, result))
        if behaviour is not after_the_answer:
            # A surplus stays in the parser of a connection that is closed, until the next call drops both.
            seen += [f"{path}: {text}" for path, text in reachable(client)]
        if mode == "direct" or behaviour not in IN_HTTPCORES_LOG:
            seen += logged()
    assert_nowhere(KEY, seen)


@pytest.mark.xfail(
    strict=True, reason="httpcore's log at DEBUG quotes what the peer sent: it is not ours to filter"
)
@pytest.mark.parametrize("mode", ["own", "ready"])
@pytest.mark.parametrize("behaviour", IN_HTTPCORES_LOG, ids=named)
async def test_key_that_the_gateway_quotes_in_its_head_is_in_no_log(mode, behaviour, logged):
    async with Server(behaviour) as server, client_of(mode, server.url) as client:
        await client.request_pin(NUMBER)
    assert_nowhere(KEY, logged())


@modes
@pytest.mark.parametrize("behaviour", [*QUOTES[:-1], the_number_alone], ids=named)
async def test_number_that_the_gateway_quotes_is_masked(mode, behaviour):
    async with Server(behaviour) as server, client_of(mode, server.url) as client:
        result = await client.request_pin(NUMBER)
        assert_nowhere(NUMBER, seen_of(client, result))
        if behaviour in (as_a_body, in_a_header):
            assert_nowhere(NUMBER, (text for _, text in reachable(client)))


# --- Batches, and the client itself ----------------------------------------------------------------------

WRONG = f"{NUMBER}00000"
ENTRIES = [NUMBER, f"+{NUMBER}", WRONG, {"msisdn": NUMBER, "sender": "X" * 40}, {NUMBER: 1}, "34600000000"]


@modes
@pytest.mark.parametrize("behaviour", [ok, close, OUTCOMES["unauthorized"]], ids=["ok", "closed", "halted"])
async def test_batch_shows_neither_key_nor_number(mode, behaviour, logged):
    async with Server(behaviour) as server, client_of(mode, server.url) as client:
        async with client.batch(ENTRIES) as batch:
            items = [item async for item in batch]
            seen = list(shown(batch))
        async with client.batch(ENTRIES, on_duplicate="send") as left_early:
            pass
        values = [*items, *(item.request for item in items), *left_early.report.unconsumed]
        values += [item.result for item in items] + [batch.report, left_early.report]
        for value in values:
            seen += shown(value)
            assert_nowhere(KEY, carried(value))  # the number is an item's and a request's own datum
        for item in items:
            seen += carried(item.result)
        seen += [*logged(), *(text for _, text in reachable(client))]
    assert len(items) == len(ENTRIES)
    assert_nowhere(KEY, seen)
    assert_nowhere(NUMBER, seen)


async def test_client_cannot_be_pickled_with_its_key():
    client = Gateway360Client(KEY)
    with pytest.raises(TypeError) as caught:
        pickle.dumps(client)
    assert_nowhere(KEY, reported(caught.value))
    assert_nowhere(KEY, (f"{path}: {text}" for path, text in reachable(client)))


async def test_walk_finds_the_text_of_an_attribute():
    """Or it would prove nothing."""
    transport = HttpxTransport()
    transport.planted = [{"key": KEY.encode()}]
    found = [path for path, text in reachable(Gateway360Client(KEY, transport=transport)) if KEY in text]
    assert found
    assert found[0].endswith("transport.planted[0]['key']")
