"""The sandbox over real HTTP: asked by httpx and by bare sockets, started, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from loopback import open_files

from gateway360_async.sandbox import Message, ReceivedRequest, Sandbox, _http_server
from gateway360_async.sandbox._app import MAX_BODY_BYTES, create_app
from gateway360_async.sandbox._gateway import Gateway

PATH = "/api/2fa/request"
NUMBER = "34666666111"


def request(sandbox: Sandbox, msisdn: str = NUMBER, **fields: Any) -> dict[str, Any]:
    return {"api_key": sandbox.api_key, "msisdn": msisdn, "sender": "GOOD PIZZA", **fields}


def client(sandbox: Sandbox, **settings: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False, **settings)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def address(sandbox: Sandbox) -> tuple[str, int]:
    url = httpx.URL(sandbox.base_url)
    return url.host, url.port


def raw(body: bytes, *, length: int | None = None) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def in_flight(sandbox: Sandbox) -> int:
    return len(sandbox._server.server_state.tasks)


async def test_a_request_and_its_answer():
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.post(PATH, json=request(sandbox, sms_text="Your code is {PIN}"))
        assert answer.status_code == 200
        assert answer.content == b'{"status":"ok"}'
        assert answer.headers["content-type"] == "application/json"
        assert "date" in answer.headers
        (message,) = sandbox.messages
        assert isinstance(message, Message)
        assert message.text == f"Your code is {message.pin}"
        assert sandbox.messages_to(NUMBER) == [message]
        assert sandbox.messages_to("34666666222") == []
        assert sandbox.last_pin(NUMBER) == message.pin
        assert sandbox.last_pin("34666666222") is None
        assert sandbox.check_pin(NUMBER, message.pin)
        assert message.void_reason == "verified"
        (received,) = sandbox.requests
        assert isinstance(received, ReceivedRequest)
        assert (received.path, received.content_type) == (PATH, "application/json")


async def test_the_path_of_the_vendors_other_example():
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.post("/api/3.0/2fa/request?x=1", json=request(sandbox))
        assert answer.json() == {"status": "ok"}
        assert sandbox.requests[0].path == "/api/3.0/2fa/request"


async def test_the_published_refusals_to_the_byte():
    async with Sandbox() as sandbox, client(sandbox) as http:
        hlr = await http.post(PATH, json=request(sandbox, "34744123456"))
        key = await http.post(PATH, json=request(sandbox, api_key="another"))
        parse = await http.post(PATH, content=b"{", headers={"content-type": "application/json"})
        form = await http.post(PATH, data=request(sandbox))
    assert (hlr.status_code, hlr.content) == (
        200,
        b'{"status":"error","error_id":"INVALID_NUMBER","error_msg":"HLR query returned error."}',
    )
    unauthorized = "Your API key may be invalid or your IP is blocked."
    assert key.status_code == 401
    assert key.text == f'{{"status":"error","error_id":"UNAUTHORIZED","error_msg":"{unauthorized}"}}'
    assert (parse.status_code, parse.content) == (
        400,
        b'{"status":"error","error_id":"JSON_PARSE_ERROR","error_msg":"Your JSON was formatted incorrectly."}',
    )
    assert (form.status_code, form.json()["error_id"]) == (400, "INVALID_CONTENT_TYPE")
    assert [received.http_status for received in sandbox.requests] == [200, 401, 400, 400]
    assert not sandbox.messages


async def test_the_settings_change_while_it_runs():
    async with Sandbox(balance=1, forbidden_senders=["BANK"]) as sandbox, client(sandbox) as http:

        async def ask(**fields: Any) -> str:
            envelope = (await http.post(PATH, json=request(sandbox, **fields))).json()
            return envelope.get("error_id", envelope["status"])

        assert await ask(sender="BANK") == "INVALID_SENDER"
        assert await ask() == "ok"
        assert sandbox.balance == 0
        assert await ask() == "NOT_ENOUGH_BALANCE"
        sandbox.balance = None
        assert await ask() == "ok"
        sandbox.block()
        assert await ask() == "UNAUTHORIZED"
        sandbox.block("another")
        sandbox.unblock()
        assert await ask() == "ok"
        sandbox.unblock("another")
        sandbox.unblock("never blocked")
        assert await ask(api_key="another") == "UNAUTHORIZED"
        assert sandbox.hlr_fail_prefix == "34744"
        sandbox.hlr_fail_prefix = "346"
        assert await ask() == "INVALID_NUMBER"
        assert await ask(msisdn="34744123456") == "ok"


def test_whether_the_accounts_key_is_blocked():
    sandbox = Sandbox(blocked_keys=["another"])
    assert not sandbox.blocked
    sandbox.block()
    assert sandbox.blocked
    sandbox.unblock()
    assert not sandbox.blocked


async def test_clearing_forgets_messages_requests_and_pins():
    async with Sandbox() as sandbox, client(sandbox) as http:
        await http.post(PATH, json=request(sandbox))
        pin = sandbox.last_pin(NUMBER) or ""
        sandbox.fail_next()
        sandbox.clear()
        assert (sandbox.messages, sandbox.requests) == ([], [])
        assert sandbox.last_pin(NUMBER) is None
        assert not sandbox.check_pin(NUMBER, pin)
        assert sandbox.pending_faults == ["fail"]
        await http.post(PATH, json=request(sandbox))
        await http.post(PATH, json=request(sandbox))
        assert [message.id for message in sandbox.messages] == [2]
        assert [received.id for received in sandbox.requests] == [2, 3]


async def test_settings_are_handed_on():
    told: list[Message] = []
    sandbox = Sandbox(
        "k-e-y",
        hlr_fail_prefix="49",
        blocked_keys=["k-e-y"],
        clock=lambda: 5.0,
        keep=1,
        on_message=told.append,
    )
    async with sandbox, client(sandbox) as http:
        assert (await http.post(PATH, json=request(sandbox))).status_code == 401
        sandbox.unblock()
        number = (await http.post(PATH, json=request(sandbox, "4912345678"))).json()
        assert number["error_id"] == "INVALID_NUMBER"
        for _ in range(2):
            await http.post(PATH, json=request(sandbox))
    assert len(told) == 2
    assert sandbox.messages == told[1:]
    assert told[0].sent_at == 5.0
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    "path", ["/api", "/2fa/request", "/api/2fa/request/", "/api/2fa/verify/", "/api/3.1/2fa/request"]
)
async def test_other_paths(path):
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.post(path, json=request(sandbox))
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/plain")
        assert not sandbox.requests


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods(method):
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.request(method, PATH)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        assert not sandbox.requests


async def test_sandbox_that_listens_on_all_addresses_is_asked_on_this_machine():
    async with Sandbox(host="0.0.0.0") as sandbox, client(sandbox) as http:
        assert sandbox.base_url.startswith("http://127.0.0.1:")
        assert (await http.get("/")).status_code == 200


@pytest.mark.parametrize("path", [PATH, "/api/3.0/2fa/request", "/api/2fa/verify"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", ""])
async def test_what_was_meant_for_another_host_is_turned_away(path, host):
    """A website may have its own name point here (DNS rebinding)."""
    async with Sandbox() as sandbox, client(sandbox) as http:
        sandbox.fail_next()
        headers = {"host": host, "origin": f"http://{host}"}
        answer = await http.post(path, json=request(sandbox, report_url=sandbox.base_url), headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (421, "text/plain; charset=utf-8")
        assert (
            answer.text
            == "This is not the sandbox's name: use its address, or localhost; or allow this name (--allow-host)."
        )
        assert (sandbox.messages, sandbox.requests, sandbox.pending_faults) == ([], [], ["fail"])


@pytest.mark.parametrize("host", ["127.0.0.1:1", "10.1.2.3", "[::1]:8360", "LOCALHOST:80", "a.localhost"])
async def test_any_address_and_its_own_names_are_fine(host):
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.post(PATH, json=request(sandbox), headers={"host": host})
        assert answer.json() == {"status": "ok"}


async def test_the_name_that_it_listens_on_is_fine(monkeypatch):
    bound = socket.create_server

    def create_server(address, **settings):
        assert address == ("Sandbox.test", 0)
        return bound(("127.0.0.1", 0), **settings)

    monkeypatch.setattr(socket, "create_server", create_server)
    async with Sandbox(host="Sandbox.test") as sandbox, httpx.AsyncClient(trust_env=False) as http:
        url = sandbox.base_url.replace("Sandbox.test", "127.0.0.1") + PATH
        for name, http_status in (("sandbox.test:80", 200), ("other.test:80", 421)):
            answer = await http.post(url, json=request(sandbox), headers={"host": name})
            assert answer.status_code == http_status


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://[", "http://127.0.0.1:1", "http://localhost"]
)
async def test_a_page_of_another_website_is_turned_away(origin):
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.post(PATH, json=request(sandbox), headers={"origin": origin})
        assert (answer.status_code, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")
        assert answer.text == "This request comes from another website."
        assert (sandbox.messages, sandbox.requests) == ([], [])
        answer = await http.post(PATH, json=request(sandbox), headers={"origin": sandbox.base_url})
        assert answer.json() == {"status": "ok"}


async def chunks(size: int) -> Any:
    for _ in range(size // 65536):
        yield b" " * 65536


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_large(chunked):
    size = 4 * 1024 * 1024
    async with Sandbox() as sandbox, client(sandbox) as http:
        answer = await http.post(PATH, content=chunks(size) if chunked else b" " * size)
        assert answer.status_code == 413
        assert answer.headers["content-type"].startswith("text/plain")
        assert not sandbox.requests
        assert (await http.post(PATH, json=request(sandbox))).status_code == 200


async def test_the_largest_body():
    async with Sandbox() as sandbox, client(sandbox) as http:
        body = json.dumps(request(sandbox)).encode()
        headers = {"content-type": "application/json"}
        answer = await http.post(PATH, content=body.ljust(MAX_BODY_BYTES), headers=headers)
        assert answer.json() == {"status": "ok"}
        assert sandbox.requests[0].size == MAX_BODY_BYTES
        answer = await http.post(PATH, content=body.ljust(MAX_BODY_BYTES + 1), headers=headers)
        assert answer.status_code == 413


async def test_a_connection_is_kept():
    async with Sandbox() as sandbox:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        for _ in range(3):
            writer.write(raw(json.dumps(request(sandbox)).encode()))
            assert await reader.readuntil(b'{"status":"ok"}')
        assert len(sandbox.messages) == 3
        writer.close()
        await writer.wait_closed()


async def test_an_answer_does_not_wait_for_the_clients_acknowledgement():
    async with Sandbox() as sandbox:
        _, writer = await asyncio.open_connection(*address(sandbox))
        await until(lambda: sandbox._server.server_state.connections)
        (connection,) = sandbox._server.server_state.connections
        served = connection.transport.get_extra_info("socket")
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        await writer.wait_closed()


async def test_an_idle_connection_is_closed_after_its_time():
    async with Sandbox(keep_alive=0.01) as sandbox:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(raw(json.dumps(request(sandbox)).encode()))
        assert (await reader.read()).endswith(b'{"status":"ok"}')
        writer.close()
        await writer.wait_closed()


async def test_many_requests_at_a_time():
    async def post(msisdn: str) -> bytes:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(raw(json.dumps(request(sandbox, msisdn)).encode()))
        answer = await reader.readuntil(b"}")
        writer.close()
        await writer.wait_closed()
        return answer

    async with Sandbox() as sandbox:
        numbers = [f"34666{index:06}" for index in range(200)]
        answers = await asyncio.gather(*(post(number) for number in numbers))
        assert all(answer.endswith(b'{"status":"ok"}') for answer in answers)
        assert sorted(message.msisdn for message in sandbox.messages) == numbers
        assert len(sandbox.requests) == 200
        assert all(sandbox.check_pin(n, sandbox.last_pin(n) or "") for n in numbers)


async def test_a_slow_gateway():
    async with Sandbox(latency=3600) as sandbox, client(sandbox, timeout=None) as http:
        assert sandbox.latency == 3600
        task = asyncio.create_task(http.post(PATH, json=request(sandbox)))
        await until(lambda: in_flight(sandbox))
        sandbox.latency = 0  # counts for the next request
        assert (await http.post(PATH, json=request(sandbox, "34666666222"))).status_code == 200
        assert not task.done()
        assert not sandbox.messages_to(NUMBER)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [message.msisdn for message in sandbox.messages] == ["34666666222"]
    assert len(sandbox.requests) == 1


async def test_who_gives_up_on_a_slow_answer_does_not_stop_the_sms(monkeypatch):
    arrived, passed = asyncio.Event(), asyncio.Event()
    gateway = Gateway("key")
    app = create_app(gateway, latency=lambda: 1.5)

    async def sleep(seconds: float) -> None:
        assert seconds == 1.5
        arrived.set()
        await passed.wait()

    monkeypatch.setattr("gateway360_async.sandbox._app.asyncio.sleep", sleep)
    body = json.dumps({"api_key": "key", "msisdn": NUMBER, "sender": "GOOD PIZZA"}).encode()
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b""}
    scope["headers"] = [(b"content-type", b"application/json")]
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "http.request", "body": body})

    async def send(message: Any) -> None:
        """Nobody is there."""

    task = asyncio.create_task(app(scope, inbox.get, send))
    await arrived.wait()
    inbox.put_nowait({"type": "http.disconnect"})
    assert not gateway.messages
    passed.set()
    await task
    assert len(gateway.messages) == 1


async def test_without_a_latency_of_its_own_the_application_does_not_wait():
    gateway = Gateway("key")
    transport = httpx.ASGITransport(create_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.post(PATH, json={"api_key": "key", "msisdn": NUMBER, "sender": "GOOD PIZZA"})
    assert answer.json() == {"status": "ok"}


async def test_a_client_that_goes_in_the_middle_of_its_request(caplog):
    async with Sandbox() as sandbox:
        _, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(raw(b"{", length=100))
        await until(lambda: in_flight(sandbox))
        writer.transport.abort()
        await until(lambda: not in_flight(sandbox))
        assert not sandbox.requests
    assert not caplog.records


async def test_it_leaves_the_process_as_it_was():
    access = logging.getLogger("uvicorn.access")
    handler = logging.NullHandler()
    access.addHandler(handler)
    loggers = [logging.getLogger(f"uvicorn.{name}") for name in ("error", "access", "asgi")]
    before = [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    tasks = asyncio.all_tasks()
    files = open_files()
    try:
        async with Sandbox() as sandbox, client(sandbox) as http:
            await http.post(PATH, json=request(sandbox))
        assert handler in access.handlers
        assert [(logger.level, logger.propagate, logger.handlers) for logger in loggers] == before
    finally:
        access.removeHandler(handler)
    assert asyncio.all_tasks() == tasks
    assert open_files() == files  # its listener among them; another process may have the port already


async def test_no_request_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    async with Sandbox() as sandbox, client(sandbox) as http:
        await http.post(PATH, json=request(sandbox))
    assert not [record for record in caplog.records if record.name == "uvicorn.access"]
    assert sandbox.api_key not in caplog.text


async def test_signals_are_left_alone():
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with Sandbox():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_closing_closes_idle_connections():
    sandbox = Sandbox()
    await sandbox.start()
    idle = [await asyncio.open_connection(*address(sandbox)) for _ in range(3)]
    reader, writer = idle[0]
    writer.write(raw(json.dumps(request(sandbox)).encode()))
    await reader.readuntil(b'{"status":"ok"}')
    await until(lambda: len(sandbox._server.server_state.connections) == 3)
    await sandbox.aclose()
    for reader, writer in idle:
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    with pytest.raises(OSError):
        await asyncio.open_connection(*address(sandbox))


@pytest.mark.parametrize("steps", range(6))
async def test_closing_closes_a_connection_that_just_came(steps):
    tasks = asyncio.all_tasks()
    sandbox = Sandbox()
    await sandbox.start()
    with socket.create_connection(address(sandbox)) as late:
        for _ in range(steps):  # of the event loop, from its accepting it to its handing it over
            await asyncio.sleep(0)
        await sandbox.aclose()
        late.settimeout(0)
        with contextlib.suppress(ConnectionError):
            assert late.recv(1) == b""
    assert asyncio.all_tasks() == tasks
    assert not sandbox._server.server_state.connections


async def test_closing_lets_an_answer_under_way_come(monkeypatch):
    monkeypatch.setattr(_http_server, "_GRACE", 10.0)  # for a slow machine; it does not take as long
    arrived, passed = asyncio.Event(), asyncio.Event()

    sandbox = Sandbox()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        arrived.set()
        await passed.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    sandbox._server.config.app = app
    await sandbox.start()
    reader, writer = await asyncio.open_connection(*address(sandbox))
    writer.write(raw(b"{}"))
    await arrived.wait()
    closing = asyncio.create_task(sandbox.aclose())
    await until(lambda: not sandbox._server.servers[0].is_serving())
    passed.set()
    assert (await reader.read()).endswith(b"ok")
    await closing
    writer.close()
    await writer.wait_closed()


async def test_closing_does_not_wait_for_a_slow_request(monkeypatch, caplog):
    monkeypatch.setattr(_http_server, "_GRACE", 0.0)
    tasks = asyncio.all_tasks()
    sandbox = Sandbox(latency=3600)
    await sandbox.start()
    whole_reader, whole = await asyncio.open_connection(*address(sandbox))
    whole.write(raw(json.dumps(request(sandbox)).encode()))
    half_reader, half = await asyncio.open_connection(*address(sandbox))
    half.write(raw(b"{", length=100))
    await until(lambda: in_flight(sandbox) == 2)
    await sandbox.aclose()
    assert not sandbox.messages
    for reader, writer in ((whole_reader, whole), (half_reader, half)):
        with contextlib.suppress(ConnectionError):  # the end of the stream, or a reset
            assert await reader.read() == b""
        writer.transport.abort()
    assert asyncio.all_tasks() == tasks
    assert not caplog.records


async def test_closing_twice_and_before_the_start():
    sandbox = Sandbox()
    await sandbox.aclose()
    await sandbox.start()
    await asyncio.gather(sandbox.aclose(), sandbox.aclose())
    await sandbox.aclose()


async def test_a_cancelled_close_still_closes(monkeypatch):
    tasks = asyncio.all_tasks()
    sandbox = Sandbox()
    await sandbox.start()
    closing = asyncio.create_task(sandbox.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert asyncio.all_tasks() == tasks
    assert not sandbox._server.servers[0].is_serving()


async def test_a_cancelled_start_leaves_nothing():
    tasks = asyncio.all_tasks()
    sandbox = Sandbox()
    starting = asyncio.create_task(sandbox.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert asyncio.all_tasks() == tasks
    socket.create_server(address(sandbox)).close()


async def test_a_start_that_fails_is_raised_and_leaves_nothing(monkeypatch):
    async def startup(self: Any, sockets: Any = None) -> None:
        raise LookupError("no")

    monkeypatch.setattr("uvicorn.Server.startup", startup)
    tasks = asyncio.all_tasks()
    sandbox = Sandbox()
    with pytest.raises(LookupError):
        await sandbox.start()
    await sandbox.aclose()
    assert asyncio.all_tasks() == tasks
    socket.create_server(address(sandbox)).close()


async def test_it_can_be_started_once():
    async with Sandbox() as sandbox:
        with pytest.raises(RuntimeError, match="once"):
            await sandbox.start()
        with pytest.raises(RuntimeError, match="once"):
            async with sandbox:
                pass  # pragma: no cover
        async with client(sandbox) as http:
            assert (await http.post(PATH, json=request(sandbox))).status_code == 200
    with pytest.raises(RuntimeError, match="once"):
        await sandbox.start()


async def test_a_port_in_use():
    async with Sandbox() as first:
        port = address(first)[1]
        second = Sandbox(port=port)
        with pytest.raises(OSError):
            await second.start()
        await second.aclose()
    async with second:  # the port is free again
        assert second.base_url == first.base_url == f"http://127.0.0.1:{port}"


def test_the_url_is_known_once_it_is_started():
    with pytest.raises(RuntimeError, match="not started"):
        _ = Sandbox().base_url


async def test_an_ipv6_address():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with Sandbox(host="::1") as sandbox, client(sandbox) as http:
        assert sandbox.base_url.startswith("http://[::1]:")
        assert (await http.post(PATH, json=request(sandbox))).status_code == 200


async def test_the_date_is_renewed(monkeypatch):
    monkeypatch.setattr(_http_server, "_DATE_EVERY", 0.001)
    async with Sandbox() as sandbox, client(sandbox) as http:
        monkeypatch.setattr(time, "time", lambda: 784111777.0)
        state = sandbox._server.server_state
        await until(lambda: state.default_headers == [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")])
        answer = await http.post(PATH, json=request(sandbox))
        assert answer.headers["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("api_key", ["", None, 5, b"key"]),
        ("host", ["", None, 5]),
        ("port", [-1, 65536, 1.0, "80", True, None]),
        ("balance", [-1, 1.0, "1", True]),
        ("latency", [-0.1, float("nan"), float("inf"), "1", True, None]),
        ("hlr_fail_prefix", ["", None, 5, "+34", "34 ", "３４", "\ud800"]),
        ("blocked_keys", ["key", None, 5]),
        ("forbidden_senders", ["BANK", None, 5]),
        ("keep", [-1, 1.0, "1", True]),
        ("keep_alive", [-1, float("nan"), float("inf"), "1", True, None]),
    ],
)
def test_arguments_that_are_wrong(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name}: "):
            Sandbox(**{name: value})


def test_settings_that_are_wrong():
    sandbox = Sandbox(balance=3, latency=1)
    with pytest.raises(ValueError, match=r"^balance: "):
        sandbox.balance = -1
    with pytest.raises(ValueError, match=r"^latency: "):
        sandbox.latency = -1
    for prefix in ("", "+34", "\ud800"):
        with pytest.raises(ValueError, match=r"^hlr_fail_prefix: expected a string of digits, one or more$"):
            sandbox.hlr_fail_prefix = prefix
    assert (sandbox.balance, sandbox.latency, sandbox.hlr_fail_prefix) == (3, 1, "34744")


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_without_the_extra(name, monkeypatch):
    for module in [m for m in sys.modules if m.startswith("gateway360_async.sandbox")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"install gateway360-async\[sandbox\]"):
        import gateway360_async.sandbox  # noqa: F401


def test_it_imports_nothing_of_the_library_of_its_own():
    """The root is imported by Python itself; beyond what that brings in, the sandbox brings in itself."""
    code = (
        "import sys, gateway360_async; before = set(sys.modules); import gateway360_async.sandbox;"
        "print(*sorted(m for m in set(sys.modules) - before if m.startswith('gateway360_async')))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split()
    assert all(module.startswith("gateway360_async.sandbox") for module in printed.split())
