"""The sandbox over real HTTP: asked by httpx and by bare sockets, started, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from support.loopback import open_files
from support.sandbox_account import NUMBER, PATH, ask, fields, http_of, until

from gateway360_async.sandbox import Message, ReceivedRequest, Sandbox, _http_server
from gateway360_async.sandbox._app import MAX_BODY_BYTES

OTHER_NAME = (
    "This is not the sandbox's name: use its address, or localhost; or allow this name (--allow-host)."
)


def address(sandbox: Sandbox) -> tuple[str, int]:
    url = httpx.URL(sandbox.base_url)
    return url.host, url.port


def raw(body: bytes, *, length: int | None = None) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def whole(sandbox: Sandbox, **changed: Any) -> bytes:
    return raw(json.dumps(fields(api_key=sandbox.api_key, **changed)).encode())


def in_flight(sandbox: Sandbox) -> int:
    return len(sandbox._server.server_state.tasks)


# --- Requests and answers --------------------------------------------------------------------------------


async def test_request_is_answered_and_kept():
    async with Sandbox() as sandbox:
        answer = await ask(sandbox, sms_text="Your code is {PIN}")
        assert (answer.status_code, answer.content) == (200, b'{"status":"ok"}')
        assert answer.headers["content-type"] == "application/json"
        (message,) = sandbox.messages
        assert isinstance(message, Message)
        assert message.text == f"Your code is {message.pin}"
        (received,) = sandbox.requests
        assert isinstance(received, ReceivedRequest)
        assert (received.path, received.content_type) == (PATH, "application/json")


@pytest.mark.parametrize("prefix", ["/api", "/api/3.0"])
async def test_path_prefixes_are_both_served(prefix):
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        body = fields(api_key=sandbox.api_key)
        assert (await http.post(f"{prefix}/2fa/request?x=1", json=body)).json() == {"status": "ok"}
        wrong = await http.post(f"{prefix}/2fa/verify", json={**body, "pin": "x"})
        right = await http.post(f"{prefix}/2fa/verify", json={**body, "pin": sandbox.last_pin(NUMBER)})
        logged = [(kept.id, kept.operation, kept.path) for kept in sandbox.requests]
    assert wrong.text == (
        '{"status":"ok","result":{"verified":false,"previously_verified":false,"tries_remaining":2,'
        '"message":"The PIN is wrong."}}'
    )
    assert (right.status_code, right.json()["result"]["verified"]) == (200, True)
    operations = enumerate(("request", "verify", "verify"), 1)
    assert logged == [(number, name, f"{prefix}/2fa/{name}") for number, name in operations]


async def test_refusals_are_those_published_to_the_byte():
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        hlr = await ask(sandbox, msisdn="34744123456")
        key = await ask(sandbox, api_key="another")
        parse = await http.post(PATH, content=b"{", headers={"content-type": "application/json"})
    said = '{{"status":"error","error_id":"{}","error_msg":"{}"}}'
    for answer, status, error_id, text in (
        (hlr, 200, "INVALID_NUMBER", "HLR query returned error."),
        (key, 401, "UNAUTHORIZED", "Your API key may be invalid or your IP is blocked."),
        (parse, 400, "JSON_PARSE_ERROR", "Your JSON was formatted incorrectly."),
    ):
        assert (answer.status_code, answer.text) == (status, said.format(error_id, text))


async def test_settings_of_the_constructor_count():
    told: list[Message] = []
    sandbox = Sandbox(
        "k-e-y",
        hlr_fail_prefix="49",
        blocked_keys=["k-e-y"],
        clock=lambda: 5.0,
        keep=1,
        balance=7,
        on_message=told.append,
    )
    async with sandbox:
        assert (await ask(sandbox)).status_code == 401
        sandbox.unblock()
        assert (await ask(sandbox, msisdn="4912345678")).json()["error_id"] == "INVALID_NUMBER"
        for _ in range(2):
            await ask(sandbox)
    assert len(told) == 2
    assert sandbox.messages == told[1:]
    assert (told[0].sent_at, len(sandbox.requests), sandbox.balance) == (5.0, 1, 5)


@pytest.mark.parametrize(
    "path", ["/api", "/2fa/request", "/api/2fa/request/", "/api/2fa/verify/", "/api/3.1/2fa/request"]
)
async def test_path_of_another_kind_is_not_found(path):
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        answer = await http.post(path, json=fields(api_key=sandbox.api_key))
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/plain")
        assert not sandbox.requests


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_method_of_another_kind_is_not_allowed(method):
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        answer = await http.request(method, PATH)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert not sandbox.requests


@pytest.mark.parametrize("chunked", [True, False])
async def test_body_that_is_too_large_is_refused(chunked):
    async def chunks() -> Any:
        for _ in range(64):
            yield b" " * 65536

    async with Sandbox() as sandbox, http_of(sandbox) as http:
        answer = await http.post(PATH, content=chunks() if chunked else b" " * 64 * 65536)
        assert answer.status_code == 413
        assert answer.headers["content-type"].startswith("text/plain")
        assert not sandbox.requests
        assert (await http.post(PATH, json=fields(api_key=sandbox.api_key))).status_code == 200


async def test_body_of_the_largest_size_is_accepted():
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        body = json.dumps(fields(api_key=sandbox.api_key)).encode()
        headers = {"content-type": "application/json"}
        answer = await http.post(PATH, content=body.ljust(MAX_BODY_BYTES), headers=headers)
        assert answer.json() == {"status": "ok"}
        assert sandbox.requests[0].size == MAX_BODY_BYTES
        answer = await http.post(PATH, content=body.ljust(MAX_BODY_BYTES + 1), headers=headers)
        assert answer.status_code == 413


# --- Its callers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, "/api/3.0/2fa/request", "/api/2fa/verify"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", ""])
async def test_request_for_another_host_is_turned_away(path, host):
    """A website may have its own name point here (DNS rebinding)."""
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        sandbox.fail_next()
        headers = {"host": host, "origin": f"http://{host}"}
        answer = await http.post(path, json=fields(api_key=sandbox.api_key), headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (421, "text/plain; charset=utf-8")
        assert answer.text == OTHER_NAME
        assert (sandbox.messages, sandbox.requests, sandbox.pending_faults) == ([], [], ["fail"])


@pytest.mark.parametrize("host", ["127.0.0.1:1", "10.1.2.3", "[::1]:8360", "LOCALHOST:80", "a.localhost"])
async def test_request_for_an_address_or_localhost_is_fine(host):
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        answer = await http.post(PATH, json=fields(api_key=sandbox.api_key), headers={"host": host})
        assert answer.json() == {"status": "ok"}


async def test_request_without_a_host_is_fine():
    async with Sandbox() as sandbox:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(whole(sandbox).replace(b"Host: localhost\r\n", b"").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await reader.read()).endswith(b'{"status":"ok"}')
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://[", "http://127.0.0.1:1", "http://localhost"]
)
async def test_request_of_another_website_is_turned_away(origin):
    async with Sandbox() as sandbox, http_of(sandbox) as http:
        body = fields(api_key=sandbox.api_key)
        answer = await http.post(PATH, json=body, headers={"origin": origin})
        assert (answer.status_code, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")
        assert answer.text == "This request comes from another website."
        assert (sandbox.messages, sandbox.requests) == ([], [])
        answer = await http.post(PATH, json=body, headers={"origin": sandbox.base_url})
        assert answer.json() == {"status": "ok"}


async def test_request_for_the_name_that_it_listens_on_is_fine(monkeypatch):
    bound = socket.create_server

    def create_server(address, **settings):
        assert address == ("Sandbox.test", 0)
        return bound(("127.0.0.1", 0), **settings)

    monkeypatch.setattr(socket, "create_server", create_server)
    async with Sandbox(host="Sandbox.test") as sandbox, httpx.AsyncClient(trust_env=False) as http:
        url = sandbox.base_url.replace("Sandbox.test", "127.0.0.1")
        for name, api, page in (("sandbox.test:80", 200, 200), ("other.test:80", 421, 403)):
            headers = {"host": name}
            answer = await http.post(url + PATH, json=fields(api_key=sandbox.api_key), headers=headers)
            assert answer.status_code == api
            assert (await http.get(f"{url}/_phone/icon.svg", headers=headers)).status_code == page


# --- Connections -----------------------------------------------------------------------------------------


async def test_connection_is_kept_and_closed_when_it_is_idle():
    for keep_alive, requests in ((5.0, 3), (0.01, 1)):
        async with Sandbox(keep_alive=keep_alive) as sandbox:
            reader, writer = await asyncio.open_connection(*address(sandbox))
            for _ in range(requests):
                writer.write(whole(sandbox))
                assert await reader.readuntil(b'{"status":"ok"}')
            if requests == 1:
                assert await reader.read() == b""
            assert len(sandbox.messages) == requests
            writer.close()
            await writer.wait_closed()


async def test_answer_does_not_wait_for_an_acknowledgement():
    async with Sandbox() as sandbox:
        _, writer = await asyncio.open_connection(*address(sandbox))
        await until(lambda: sandbox._server.server_state.connections)
        (connection,) = sandbox._server.server_state.connections
        served = connection.transport.get_extra_info("socket")
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        await writer.wait_closed()


async def test_answer_has_the_date(monkeypatch):
    async with Sandbox() as sandbox:
        monkeypatch.setattr(time, "time", lambda: 784111777.0)
        assert (await ask(sandbox)).headers["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


async def test_requests_at_the_same_time_have_each_an_answer():
    async def post(msisdn: str) -> bytes:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(whole(sandbox, msisdn=msisdn))
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
        assert all(sandbox.check_pin(number, sandbox.last_pin(number) or "") for number in numbers)


async def test_latency_counts_from_the_next_request():
    async with Sandbox(latency=3600) as sandbox:
        task = asyncio.create_task(ask(sandbox))
        await until(lambda: in_flight(sandbox))
        sandbox.latency = 0
        assert (await ask(sandbox, msisdn="34666666222")).status_code == 200
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [message.msisdn for message in sandbox.messages] == ["34666666222"]
    assert len(sandbox.requests) == 1


async def test_client_that_gives_up_does_not_stop_the_sms(monkeypatch):
    arrived, passed = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == 1.5:
            arrived.set()
            await passed.wait()
        else:
            await sleeping(seconds)

    sleeping = asyncio.sleep
    monkeypatch.setattr("gateway360_async.sandbox._sandbox.asyncio.sleep", sleep)
    async with Sandbox(latency=1.5) as sandbox:
        _, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(whole(sandbox))
        await arrived.wait()
        writer.transport.abort()
        await until(lambda: not sandbox._server.server_state.connections)
        assert not sandbox.messages
        passed.set()
        await until(lambda: sandbox.messages)


@pytest.mark.parametrize("path", [PATH, "/_phone/clear"])
async def test_client_that_goes_within_its_request_is_no_error(path, caplog):
    async with Sandbox() as sandbox:
        _, writer = await asyncio.open_connection(*address(sandbox))
        writer.write(raw(b"{", length=100).replace(PATH.encode(), path.encode()))
        await until(lambda: in_flight(sandbox))
        writer.transport.abort()
        await until(lambda: not in_flight(sandbox))
        assert not sandbox.requests
    assert not caplog.records


async def test_sandbox_leaves_the_process_as_it_was(caplog):
    caplog.set_level(logging.DEBUG)
    access = logging.getLogger("uvicorn.access")
    handler = logging.NullHandler()
    access.addHandler(handler)
    loggers = [logging.getLogger(f"uvicorn.{name}") for name in ("error", "access", "asgi")]
    before = [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    signals = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    tasks = asyncio.all_tasks()
    files = open_files()
    try:
        async with Sandbox() as sandbox:
            await ask(sandbox)
            assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == signals
        assert handler in access.handlers
        assert [(logger.level, logger.propagate, logger.handlers) for logger in loggers] == before
    finally:
        access.removeHandler(handler)
    assert asyncio.all_tasks() == tasks
    assert open_files() == files  # its listener among them; another process may have the port already
    assert not [record for record in caplog.records if record.name == "uvicorn.access"]


# --- Starting and closing --------------------------------------------------------------------------------


async def test_closing_closes_idle_connections():
    sandbox = Sandbox()
    await sandbox.start()
    idle = [await asyncio.open_connection(*address(sandbox)) for _ in range(3)]
    reader, writer = idle[0]
    writer.write(whole(sandbox))
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

    async def app(scope: Any, receive: Any, send: Any) -> None:
        arrived.set()
        await passed.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    server = _http_server.HttpServer(app, keep_alive=5.0)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(raw(b"{}"))
    await arrived.wait()
    closing = asyncio.create_task(server.aclose())
    await until(lambda: listener.fileno() == -1)
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
    connections = [await asyncio.open_connection(*address(sandbox)) for _ in range(2)]
    connections[0][1].write(whole(sandbox))
    connections[1][1].write(raw(b"{", length=100))
    await until(lambda: in_flight(sandbox) == 2)
    await sandbox.aclose()
    assert not sandbox.messages
    for reader, writer in connections:
        with contextlib.suppress(ConnectionError):  # the end of the stream, or a reset
            assert await reader.read() == b""
        writer.transport.abort()
    assert asyncio.all_tasks() == tasks
    assert not caplog.records


async def test_closing_twice_and_before_the_start_is_nothing():
    sandbox = Sandbox()
    await sandbox.aclose()
    await sandbox.start()
    await asyncio.gather(sandbox.aclose(), sandbox.aclose())
    await sandbox.aclose()


@pytest.mark.parametrize("step", ["start", "aclose"])
async def test_sandbox_whose_start_or_close_is_cancelled_is_closed(step):
    tasks = asyncio.all_tasks()
    sandbox = Sandbox()
    if step == "aclose":
        await sandbox.start()
    stepping = asyncio.create_task(getattr(sandbox, step)())
    await asyncio.sleep(0)
    stepping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stepping
    assert asyncio.all_tasks() == tasks
    socket.create_server(address(sandbox)).close()


async def test_start_that_fails_is_raised_and_leaves_nothing(monkeypatch):
    def load(self: Any) -> None:
        raise LookupError("no")

    monkeypatch.setattr("uvicorn.Config.load", load)
    tasks = asyncio.all_tasks()
    sandbox = Sandbox()
    with pytest.raises(LookupError):
        await sandbox.start()
    await sandbox.aclose()
    assert asyncio.all_tasks() == tasks
    socket.create_server(address(sandbox)).close()


async def test_start_a_second_time_is_refused():
    async with Sandbox() as sandbox:
        with pytest.raises(RuntimeError, match="once"):
            await sandbox.start()
        assert (await ask(sandbox)).status_code == 200
    with pytest.raises(RuntimeError, match="once"):
        async with sandbox:
            pass  # entering is refused


async def test_start_on_a_port_in_use_is_an_os_error():
    async with Sandbox() as first:
        port = address(first)[1]
        second = Sandbox(port=port)
        with pytest.raises(OSError):
            await second.start()
        await second.aclose()
    async with second:  # the port is free again
        assert second.base_url == first.base_url == f"http://127.0.0.1:{port}"


def test_base_url_before_the_start_is_refused():
    with pytest.raises(RuntimeError, match="not started"):
        _ = Sandbox().base_url


async def test_base_url_of_all_addresses_is_this_machine():
    async with Sandbox(host="0.0.0.0") as sandbox, http_of(sandbox) as http:
        assert sandbox.base_url.startswith("http://127.0.0.1:")
        assert (await http.get("/")).status_code == 200


async def test_base_url_of_an_ipv6_address_is_asked():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with Sandbox(host="::1") as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")
        assert (await ask(sandbox)).status_code == 200


# --- Arguments -------------------------------------------------------------------------------------------

COUNTS = [-1, 1.0, "1", True]
SECONDS = [-0.1, float("nan"), float("inf"), "1", True, None]
WRONG = {
    "api_key": ["", None, 5, b"key"],
    "host": ["", None, 5],
    "port": [-1, 65536, 1.0, "80", True, None],
    "balance": COUNTS,
    "latency": SECONDS,
    "hlr_fail_prefix": ["", None, 5, "+34", "34 ", "３４", "\ud800"],
    "blocked_keys": ["key", None, 5],
    "forbidden_senders": ["BANK", None, 5],
    "keep": COUNTS,
    "keep_alive": SECONDS,
    "delivery": ["DELIVRD", None, 5, {"DELIVRD"}, [""], [5]],
    "delivery_delay": SECONDS,
    "verify_answer": ["", "nest", None, 1, ["flat"]],
}
SETTINGS = ("balance", "latency", "hlr_fail_prefix", "delivery", "delivery_delay", "verify_answer")


@pytest.mark.parametrize("name", WRONG)
def test_argument_that_is_wrong_is_named(name):
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=rf"^{name}(\[0\])?: expected "):
            Sandbox(**{name: value})


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_that_is_wrong_is_named_and_not_set(name):
    sandbox = Sandbox()
    before = getattr(sandbox, name)
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=rf"^{name}(\[0\])?: expected "):
            setattr(sandbox, name, value)
    assert getattr(sandbox, name) == before


def test_word_that_is_none_of_the_choices_is_told_them():
    with pytest.raises(ValueError, match="verify_answer: expected one of nested, flat, camel, list"):
        Sandbox(verify_answer="nest")


# --- What it imports -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_import_without_the_extra_says_what_to_install(name, monkeypatch):
    for module in [m for m in sys.modules if m.startswith("gateway360_async.sandbox")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"install gateway360-async\[sandbox\]"):
        import gateway360_async.sandbox  # noqa: F401


def test_import_brings_in_nothing_more_of_the_library():
    """The root is imported by Python itself; beyond what that brings in, the sandbox brings in itself."""
    code = (
        "import sys, gateway360_async; before = set(sys.modules); import gateway360_async.sandbox;"
        "print(*sorted(m for m in set(sys.modules) - before if m.startswith('gateway360_async')))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split()
    assert all(module.startswith("gateway360_async.sandbox") for module in printed.split())
