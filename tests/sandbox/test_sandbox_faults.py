"""Faults of the sandbox: for the next requests, in order; and switches that stay."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from support.sandbox_account import NUMBER, PATH, fields, http_of

from gateway360_async import Disposition, Gateway360Client, Ok, RetryPolicy, TransportFailure
from gateway360_async.sandbox import Faults, Sandbox

VERIFY = "/api/2fa/verify"


@pytest.fixture
async def sandbox():
    async with Sandbox() as gateway:
        yield gateway


@pytest.fixture
async def http(sandbox):
    async with http_of(sandbox) as client:
        yield client


def body(sandbox: Sandbox, **changed: Any) -> dict[str, Any]:
    return fields(api_key=sandbox.api_key, **changed)


async def ask(sandbox: Sandbox, http: httpx.AsyncClient) -> int:
    """Send a PIN, and return the HTTP status; 0: no answer."""
    try:
        return (await http.post(PATH, json=body(sandbox))).status_code
    except httpx.RemoteProtocolError:
        return 0


def client_of(sandbox: Sandbox, **policy: Any) -> Gateway360Client:
    retry = RetryPolicy(base_delay=0.0, **policy)
    return Gateway360Client(sandbox.api_key, base_url=sandbox.base_url, sender="X", retry=retry)


async def test_lost_answer_is_maybe_sent_to_the_client(sandbox):
    async with client_of(sandbox, max_attempts=1) as client:
        sandbox.lose_next_answer()
        lost = await client.request_pin(NUMBER)
        assert isinstance(lost, TransportFailure)
        assert lost.disposition is Disposition.MAYBE_SENT
        (message,) = sandbox.messages
        assert sandbox.check_pin(NUMBER, message.pin)
        assert isinstance(await client.request_pin(NUMBER), Ok)
    logged = [(kept.fault, kept.http_status, kept.message_id) for kept in sandbox.requests]
    assert logged == [("lose", 200, 1), (None, 200, 2)]


async def test_lost_answer_has_not_one_byte(sandbox, caplog):
    raw = json.dumps(body(sandbox)).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    url = httpx.URL(sandbox.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode() + raw)
    assert await reader.readuntil(b'{"status":"ok"}')
    sandbox.lose_next_answer()
    writer.write(head.encode() + raw)
    assert await reader.read() == b""  # of a connection that was kept, and is closed now
    writer.close()
    await writer.wait_closed()
    assert len(sandbox.messages) == 2
    assert not caplog.records


async def test_lost_answer_may_be_a_refusal_or_a_verification(sandbox, http):
    sandbox.lose_next_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(PATH, json=body(sandbox, sender=""))
    (kept,) = sandbox.requests
    assert (kept.http_status, kept.envelope["error_id"], kept.fault) == (400, "BAD_PARAMS", "lose")
    assert not sandbox.messages
    await ask(sandbox, http)
    sandbox.lose_next_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(VERIFY, json=body(sandbox, pin=sandbox.last_pin(NUMBER)))
    assert sandbox.messages[0].void_reason == "verified"


async def test_throttle_answers_429_and_sends_nothing(sandbox, http):
    sandbox.throttle_next(2, retry_after=7)
    sandbox.throttle_next()
    answers = [await http.post(PATH, json=body(sandbox)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 429, 429, 200]
    assert [answer.headers.get("retry-after") for answer in answers] == ["7", "7", None, None]
    assert answers[0].text == "Too Many Requests"
    assert answers[0].headers["content-type"] == "text/plain; charset=utf-8"
    assert len(sandbox.messages) == 1
    kept = sandbox.requests[0]
    assert (kept.id, kept.operation, kept.http_status, kept.envelope) == (1, "request", 429, {})
    assert (kept.fault, kept.message_id, kept.size) == ("throttle", None, len(answers[0].request.content))
    assert kept.body == fields(api_key="*****")


async def test_throttle_is_tried_again_by_the_client(sandbox):
    async with client_of(sandbox) as client:
        sandbox.throttle_next(2)
        result = await client.request_pin(NUMBER)
    assert isinstance(result, Ok)
    assert (result.attempts, len(sandbox.messages)) == (3, 1)


async def test_fail_answers_5xx_and_sends_nothing(sandbox, http):
    sandbox.fail_next()
    sandbox.fail_next(http_status=503)
    answers = [await http.post(PATH, json=body(sandbox)) for _ in range(3)]
    assert [(answer.status_code, answer.content) for answer in answers[:2]] == [(500, b""), (503, b"")]
    assert (answers[2].status_code, len(sandbox.messages)) == (200, 1)
    assert [kept.fault for kept in sandbox.requests] == ["fail", "fail", None]


@pytest.mark.parametrize(
    ("given", "headers", "sent", "content_type", "envelope"),
    [
        ({"status": "ok", "new": [1]}, None, b'{"status":"ok","new":[1]}', "application/json", None),
        (b'{"status": "ok"}', None, b'{"status": "ok"}', "application/json", {"status": "ok"}),
        (b"[1]", None, b"[1]", "application/json", {}),
        (b"[" * 100_000, None, b"[" * 100_000, "application/json", {}),
        (b"<p>", {"Content-Type": "text/html", "x-a": "b c"}, b"<p>", "text/html", {}),
        (b"\xff", {"X-Empty": ""}, b"\xff", "application/json", {}),
        (b"", None, b"", None, {}),
    ],
    ids=["mapping", "json", "array", "deep", "html", "bytes", "nothing"],
)
async def test_answer_of_ones_own_is_sent(sandbox, http, given, headers, sent, content_type, envelope):
    sandbox.answer_next(202, given, headers)
    answer = await http.post(PATH, json=body(sandbox))
    assert (answer.status_code, answer.content) == (202, sent)
    assert answer.headers.get("content-type") == content_type
    for name, value in (headers or {}).items():
        assert answer.headers[name] == value
    (kept,) = sandbox.requests
    assert (kept.fault, kept.http_status) == ("answer", 202)
    assert kept.envelope == (given if envelope is None else envelope)
    assert not sandbox.messages


async def test_answer_of_ones_own_may_have_no_body(sandbox, http):
    sandbox.answer_next(204, b"")
    assert (await http.post(PATH, json=body(sandbox))).status_code == 204


async def test_request_that_is_turned_away_is_masked_in_the_log(sandbox, http):
    sandbox.answer_next(200, {"echo": f"key={sandbox.api_key}"})
    sandbox.answer_next(200, {})
    verify = body(sandbox, pin="SECRET-PIN", custom=sandbox.api_key)
    answer = await http.post(VERIFY, json=verify)
    assert sandbox.api_key in answer.json()["echo"]
    await http.post(PATH, content=sandbox.api_key.encode(), headers={"content-type": sandbox.api_key})
    first, second = sandbox.requests
    assert (first.operation, first.envelope) == ("verify", {"echo": "key=*****"})
    assert (second.body, second.content_type, second.http_status) == (None, "*****", 200)
    for secret in (sandbox.api_key, "SECRET-PIN"):
        assert secret not in repr(sandbox.requests)


async def test_faults_come_in_the_order_of_the_calls(sandbox, http):
    sandbox.faults.fail = True
    sandbox.fail_next(http_status=501)
    sandbox.lose_next_answer(2)
    sandbox.throttle_next()
    sandbox.delay_next(0)
    assert sandbox.pending_faults == ["fail", "lose", "lose", "throttle", "delay"]
    assert [await ask(sandbox, http) for _ in range(6)] == [501, 0, 0, 429, 200, 500]
    assert sandbox.pending_faults == []


async def test_fault_waits_for_a_request_of_the_gateway(sandbox, http):
    sandbox.fail_next()
    assert (await http.get(PATH)).status_code == 405
    assert (await http.post("/nowhere")).status_code == 404
    assert (await http.post(PATH, content=b" " * 100_000)).status_code == 413
    assert sandbox.pending_faults == ["fail"]
    assert await ask(sandbox, http) == 500


async def test_delay_is_added_to_the_latency(sandbox, http, monkeypatch):
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    sandbox.delay_next(2.5, count=2)
    with monkeypatch.context() as patch:
        patch.setattr("gateway360_async.sandbox._sandbox.asyncio.sleep", sleep)
        assert await ask(sandbox, http) == 200
        sandbox.latency = 1.0
        assert [await ask(sandbox, http) for _ in range(2)] == [200, 200]
    assert [seconds for seconds in slept if seconds] == [2.5, 3.5, 1.0]
    assert [kept.fault for kept in sandbox.requests] == ["delay", "delay", None]
    assert len(sandbox.messages) == 3


async def test_switches_stay_until_they_are_set_back(sandbox, http):
    faults = sandbox.faults
    assert isinstance(faults, Faults)
    assert repr(faults) == "Faults(lose_answers=False, throttle=False, retry_after=None, fail=False)"
    faults.lose_answers = True
    assert [await ask(sandbox, http) for _ in range(2)] == [0, 0]
    faults.fail = True
    assert await ask(sandbox, http) == 500
    faults.throttle, faults.retry_after = True, 0
    answer = await http.post(PATH, json=body(sandbox))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "0")
    faults.retry_after = None
    assert "retry-after" not in (await http.post(PATH, json=body(sandbox))).headers
    assert len(sandbox.messages) == 2
    sandbox.faults.throttle = sandbox.faults.fail = sandbox.faults.lose_answers = False
    assert await ask(sandbox, http) == 200
    logged = [kept.fault for kept in sandbox.requests]
    assert logged == ["lose", "lose", "fail", "throttle", "throttle", None]


async def test_fault_of_a_request_is_decided_when_it_comes(sandbox, http):
    sandbox.latency = 3600
    sandbox.throttle_next()
    task = asyncio.create_task(ask(sandbox, http))
    while sandbox.pending_faults:
        await asyncio.sleep(0)
    sandbox.latency = 0
    assert await ask(sandbox, http) == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


WRONG_HEADERS = (
    *("x: y", {1: "x"}, {"": "x"}, {"a b": "x"}, {"x": 1}, {"x": "a\r\nb: c"}, {"x": " a"}, {"x": "\u00e9"}),
    *({"Content-Length": "3"}, {"Transfer-Encoding": "chunked"}),
)


@pytest.mark.parametrize(
    ("method", "name", "arguments"),
    [
        *(("lose_next_answer", "count", (count,)) for count in (0, -1, 100_001, 1.0, "1", True, None)),
        ("throttle_next", "count", (0,)),
        *(("throttle_next", "retry_after", (1, value)) for value in (-1, 1.5, "7", True, 2**31)),
        ("fail_next", "count", (0,)),
        *(("fail_next", "http_status", (1, status)) for status in (499, 600, "500", None)),
        *(("answer_next", "http_status", (status, b"")) for status in (199, 600, "200")),
        *(("answer_next", "body", (200, value)) for value in ("text", None, [1], {"x": object()})),
        *(("answer_next", "body", (status, b"x")) for status in (204, 205, 304)),
        *(("answer_next", "headers", (200, b"", headers)) for headers in WRONG_HEADERS),
        ("delay_next", "count", (1, 0)),
        *(("delay_next", "seconds", (value,)) for value in (-1, float("nan"), "1", None, True)),
    ],
)
def test_argument_that_is_wrong_is_named(method, name, arguments):
    sandbox = Sandbox()
    with pytest.raises(ValueError, match=f"^{name}: "):
        getattr(sandbox, method)(*arguments)
    assert sandbox.pending_faults == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("lose_answers", 1), ("throttle", None), ("fail", "yes")),
        *(("retry_after", value) for value in (-1, True, "7")),
    ],
)
def test_switch_that_is_set_wrongly_is_named(name, value):
    faults = Sandbox().faults
    before = repr(faults)
    with pytest.raises(ValueError, match=f"^{name}: "):
        setattr(faults, name, value)
    assert repr(faults) == before


def test_switch_of_another_name_is_refused():
    with pytest.raises(AttributeError, match="loose_answers, only lose_answers, throttle, retry_after, fail"):
        Sandbox().faults.loose_answers = True


async def test_faults_are_asked_for_from_another_thread():
    """As the fixtures of a test that is no coroutine: the sandbox lives in a loop elsewhere."""

    def drive() -> list[int]:
        statuses = []
        with httpx.Client(base_url=sandbox.base_url, trust_env=False) as http:
            for prepare in (
                sandbox.throttle_next,
                lambda: setattr(sandbox.faults, "fail", True),
                lambda: setattr(sandbox.faults, "fail", False),
                sandbox.block,
                sandbox.unblock,
            ):
                prepare()
                statuses.append(http.post(PATH, json=body(sandbox)).status_code)
        return statuses

    async with Sandbox() as sandbox:
        assert await asyncio.to_thread(drive) == [429, 500, 200, 401, 200]
        assert len(sandbox.messages) == 2
