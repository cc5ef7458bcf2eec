"""Faults of the sandbox: for the next requests, in order; and switches that stay."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from gateway360_async import Disposition, Gateway360Client, Ok, RetryPolicy, TransportFailure
from gateway360_async.sandbox import Faults, Sandbox

NUMBER = "34666666111"
PATH = "/api/2fa/request"


@pytest.fixture
async def sandbox():
    async with Sandbox() as gateway:
        yield gateway


@pytest.fixture
async def http(sandbox):
    async with httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as client:
        yield client


def body(sandbox: Sandbox, **fields: Any) -> dict[str, Any]:
    return {"api_key": sandbox.api_key, "msisdn": NUMBER, "sender": "GOOD PIZZA", **fields}


async def ask(sandbox: Sandbox, http: httpx.AsyncClient) -> int:
    """Send a PIN, and return the HTTP status; 0: no answer."""
    try:
        return (await http.post(PATH, json=body(sandbox))).status_code
    except httpx.RemoteProtocolError:
        return 0


def client_of(sandbox: Sandbox, **settings: Any) -> Gateway360Client:
    return Gateway360Client(
        sandbox.api_key,
        base_url=sandbox.base_url,
        sender="X",
        retry=RetryPolicy(max_attempts=1),
        **settings,
    )


async def test_a_lost_answer_to_the_real_client(sandbox):
    async with client_of(sandbox) as client:
        sandbox.lose_next_answer()
        lost = await client.request_pin(NUMBER)
        assert isinstance(lost, TransportFailure)
        assert lost.disposition is Disposition.MAYBE_SENT
        (message,) = sandbox.messages
        assert sandbox.check_pin(NUMBER, message.pin)
        assert isinstance(await client.request_pin(NUMBER), Ok)
    assert [(r.fault, r.http_status, r.message_id) for r in sandbox.requests] == [
        ("lose", 200, 1),
        (None, 200, 2),
    ]


async def test_a_lost_answer_has_not_one_byte(sandbox, caplog):
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


async def test_a_refusal_can_be_lost_too(sandbox, http):
    sandbox.lose_next_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(PATH, json=body(sandbox, sender=""))
    (kept,) = sandbox.requests
    assert (kept.http_status, kept.envelope["error_id"], kept.fault) == (400, "BAD_PARAMS", "lose")
    assert not sandbox.messages


async def test_the_answer_of_a_verification_can_be_lost(sandbox, http):
    await ask(sandbox, http)
    sandbox.lose_next_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/api/2fa/verify", json=body(sandbox, pin=sandbox.last_pin(NUMBER)))
    assert sandbox.messages[0].void_reason == "verified"


async def test_throttling(sandbox, http):
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
    assert kept.body == body(sandbox, api_key="*****")


async def test_throttling_to_the_real_client(sandbox):
    async with Gateway360Client(
        sandbox.api_key, base_url=sandbox.base_url, sender="X", retry=RetryPolicy(base_delay=0.0)
    ) as client:
        sandbox.throttle_next(2)
        result = await client.request_pin(NUMBER)
    assert isinstance(result, Ok)
    assert result.attempts == 3
    assert len(sandbox.messages) == 1


async def test_failing(sandbox, http):
    sandbox.fail_next()
    sandbox.fail_next(http_status=503)
    answers = [await http.post(PATH, json=body(sandbox)) for _ in range(3)]
    assert [(answer.status_code, answer.content) for answer in answers[:2]] == [(500, b""), (503, b"")]
    assert answers[2].status_code == 200
    assert len(sandbox.messages) == 1
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
async def test_an_answer_of_ones_own(sandbox, http, given, headers, sent, content_type, envelope):
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


async def test_an_answer_without_a_body(sandbox, http):
    sandbox.answer_next(204, b"")
    assert (await http.post(PATH, json=body(sandbox))).status_code == 204


async def test_what_is_turned_away_is_masked_in_the_log(sandbox, http):
    sandbox.answer_next(200, {"echo": f"key={sandbox.api_key}"})
    sandbox.answer_next(200, {})
    verify = body(sandbox, pin="SECRET-PIN", custom=sandbox.api_key)
    answer = await http.post("/api/2fa/verify", json=verify)
    assert sandbox.api_key in answer.json()["echo"]
    await http.post(PATH, content=sandbox.api_key.encode(), headers={"content-type": sandbox.api_key})
    first, second = sandbox.requests
    assert (first.operation, first.envelope) == ("verify", {"echo": "key=*****"})
    assert (second.body, second.content_type) == (None, "*****")
    shown = repr(sandbox.requests)
    assert sandbox.api_key not in shown
    assert "SECRET-PIN" not in shown


async def test_faults_come_in_the_order_in_which_they_were_asked_for(sandbox, http):
    sandbox.fail_next()
    sandbox.lose_next_answer(2)
    sandbox.throttle_next()
    assert sandbox.pending_faults == ["fail", "lose", "lose", "throttle"]
    assert [await ask(sandbox, http) for _ in range(5)] == [500, 0, 0, 429, 200]
    assert sandbox.pending_faults == []


async def test_what_does_not_come_to_the_gateway_meets_no_fault(sandbox, http):
    sandbox.fail_next()
    assert (await http.get(PATH)).status_code == 405
    assert (await http.post("/nowhere")).status_code == 404
    assert (await http.post(PATH, content=b" " * 100_000)).status_code == 413
    assert sandbox.pending_faults == ["fail"]
    assert await ask(sandbox, http) == 500


async def test_a_delay_is_added_to_the_latency(sandbox, http, monkeypatch):
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    sandbox.delay_next(2.5, count=2)
    with monkeypatch.context() as patch:
        patch.setattr("gateway360_async.sandbox._app.asyncio.sleep", sleep)
        assert await ask(sandbox, http) == 200
        sandbox.latency = 1.0
        assert await ask(sandbox, http) == 200
        assert await ask(sandbox, http) == 200
    assert [seconds for seconds in slept if seconds] == [2.5, 3.5, 1.0]
    assert [kept.fault for kept in sandbox.requests] == ["delay", "delay", None]
    assert len(sandbox.messages) == 3


async def test_switches_stay_until_they_are_set_back(sandbox, http):
    faults = sandbox.faults
    assert isinstance(faults, Faults)
    assert repr(faults) == "Faults(lose_answers=False, throttle=False, retry_after=None, fail=False)"
    faults.lose_answers = True
    assert [await ask(sandbox, http) for _ in range(2)] == [0, 0]
    assert len(sandbox.messages) == 2
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
    assert [kept.fault for kept in sandbox.requests] == [
        "lose",
        "lose",
        "fail",
        "throttle",
        "throttle",
        None,
    ]


async def test_what_was_asked_for_comes_before_the_switches(sandbox, http):
    sandbox.faults.fail = True
    sandbox.throttle_next()
    sandbox.delay_next(0)
    assert [await ask(sandbox, http) for _ in range(3)] == [429, 200, 500]


async def test_what_a_request_meets_is_decided_when_it_has_come(sandbox, http):
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
        *(
            ("answer_next", "headers", (200, b"", headers))
            for headers in (
                "x: y",
                {1: "x"},
                {"": "x"},
                {"a b": "x"},
                {"x": 1},
                {"x": "a\r\nb: c"},
                {"x": " a"},
                {"x": "\u00e9"},
                {"Content-Length": "3"},
                {"Transfer-Encoding": "chunked"},
            )
        ),
        ("delay_next", "count", (1, 0)),
        *(("delay_next", "seconds", (value,)) for value in (-1, float("nan"), "1", None, True)),
    ],
)
def test_arguments_that_are_wrong(method, name, arguments):
    sandbox = Sandbox()
    with pytest.raises(ValueError, match=f"^{name}: "):
        getattr(sandbox, method)(*arguments)
    assert sandbox.pending_faults == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lose_answers", 1),
        ("throttle", None),
        ("fail", "yes"),
        ("retry_after", -1),
        ("retry_after", True),
        ("retry_after", "7"),
    ],
)
def test_switches_that_are_set_wrongly(name, value):
    faults = Sandbox().faults
    before = repr(faults)
    with pytest.raises(ValueError, match=f"^{name}: "):
        setattr(faults, name, value)
    assert repr(faults) == before


def test_a_switch_that_there_is_not():
    with pytest.raises(AttributeError, match="loose_answers, only lose_answers, throttle, retry_after, fail"):
        Sandbox().faults.loose_answers = True


async def test_from_another_thread():
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
