"""The phone's page over HTTP: what it is told, who may ask, and how it ends. In a browser: tests/browser."""

import asyncio
import contextlib
import json
import re
import socket
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from gateway360_async import sandbox as sandbox_package
from gateway360_async.sandbox import Sandbox, _phone, _phone_page, _phone_state
from gateway360_async.sandbox._http_server import HttpServer

KEY = "k3y-0f-the-account"
NUMBER = "34666666111"
SCRIPT = "<script>alert(1)</script>"
FILES = Path(sandbox_package.__file__).parent / "phone"


@pytest.fixture
async def gateway():
    async with Sandbox(KEY) as gateway:
        yield gateway


@pytest.fixture
async def http(gateway):
    async with httpx.AsyncClient(base_url=gateway.base_url) as http:
        yield http


async def send(http, msisdn=NUMBER, sender="GOOD PIZZA", key=KEY, **fields):
    body = {"api_key": key, "msisdn": msisdn, "sender": sender, **fields}
    return await http.post("/api/2fa/request", json=body)


async def state(http, **query):
    answer = await http.get("/_phone/state", params=query)
    assert answer.status_code == 200
    return answer.json()


# --- The page and its files ------------------------------------------------------------------------------


async def test_the_page_needs_nothing_from_elsewhere_and_allows_no_inline_script(http):
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    named = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text)
    assert named
    for address in named:
        file = await http.get(address)
        assert file.status_code == 200
        assert file.headers["content-security-policy"] == policy
        assert file.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?! type=\"module\" src)|<style|\sstyle=|\son\w+=", page.text)


def test_every_file_is_listed_and_imports_what_is_listed():
    files = {file.name for file in FILES.iterdir()} - {"index.html"}
    assert files == set(_phone_page.ASSETS)
    for name in files:
        text = (FILES / name).read_text()
        assert "innerHTML" not in text.replace("sets innerHTML", "")
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= files
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_every_id_that_a_script_asks_for_is_on_the_page():
    page = (FILES / "index.html").read_text()
    for file in FILES.glob("*.js"):
        for name in re.findall(r'(?:\$|stamp)\("([^"]+)"\)', file.read_text()):
            if not name.startswith("switch-"):
                assert f'id="{name}"' in page, (file.name, name)


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2f_phone.py", "../_phone.py", ""])
async def test_nothing_else_is_given_out(http, name):
    assert (await http.get(f"/_phone/{name}")).status_code == 404


async def test_an_empty_inbox_says_how_to_begin(http):
    page = (await http.get("/")).text
    assert f"export GATEWAY360_BASE_URL={http.base_url}".rstrip("/") in page
    assert "GATEWAY360_API_KEY=…" in page
    async with Sandbox() as other:
        page = (await http.get(f"{other.base_url}/")).text
        assert "GATEWAY360_API_KEY=sandbox-key" in page


async def test_without_javascript_the_inbox_is_on_the_page(gateway, http):
    await send(http, sender="<b>x</b>", sms_text=f"{SCRIPT} {{PIN}} {{{{count}}}}")
    first = gateway.last_pin(NUMBER)
    await send(http, msisdn="34666666112")
    gateway.check_pin("34666666112", gateway.last_pin("34666666112"))
    await send(http, sms_text="Again {PIN}")
    page = (await http.get("/")).text
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; " in page
    assert "{{count}}" in page  # a text of an SMS is no place to put something in
    assert '<h4 class="sender">&lt;b&gt;x&lt;/b&gt;</h4>' in page
    assert f"<s>{first}</s>" in page
    assert "Void: replaced" in page
    assert "Verified" in page
    assert f"Again <b>{gateway.last_pin(NUMBER)}</b>" in page
    assert page.index("Again") < page.index("Verified") < page.index("&lt;script")
    assert 'id="empty" hidden' in page


# --- What the page is told -------------------------------------------------------------------------------


async def test_the_state_has_the_inbox_the_log_and_the_switches(gateway, http):
    await send(http, pin_params={"type": "alpha", "length": 8, "expires_in": 0, "max_tries": 2})
    gateway.check_pin(NUMBER, "wrong")
    shown = await state(http)
    (message,) = shown["messages"]
    (kept,) = gateway.messages
    assert message == {
        "id": 1,
        "msisdn": NUMBER,
        "sender": "GOOD PIZZA",
        "text": kept.text,
        "segments": 1,
        "arrival": ["1 segment", "GSM-7, 34 of 160 units"],
        "pin": kept.pin,
        "sent_at": kept.sent_at,
        "expires_at": None,
        "tries": 1,
        "max_tries": 2,
        "void_reason": None,
        "wants_reports": False,
        "reports": [],
    }
    (request,) = shown["requests"]
    assert (request["ok"], request["outcome"], request["http_status"]) == (True, "ok", 200)
    assert request["asked"].startswith(
        "POST /api/2fa/request\nContent-Type: application/json\nContent-Length: "
    )
    assert '"api_key": "*****"' in request["asked"]
    assert request["answered"] == 'HTTP/1.1 200 OK\n\n{\n  "status": "ok"\n}'
    assert shown["switches"] == {
        "lose_answers": False,
        "throttle": False,
        "retry_after": None,
        "fail": False,
        "blocked": False,
        "latency": 0.0,
        "balance": None,
        "hlr_fail_prefix": "34744",
    }
    assert shown["totals"] == {"messages": 1, "badge": "1", "requests": "1"}


async def test_each_sandbox_has_an_id_of_its_own(http):
    """Another one on the same port gives the same ids to other messages."""
    ids = [(await state(http))["sandbox"]]
    async with Events(http) as events:
        ids.append((await events.next())[1]["sandbox"])
    async with Sandbox(KEY) as other, httpx.AsyncClient(base_url=other.base_url) as there:
        ids.append((await state(there))["sandbox"])
    assert ids[0] == ids[1] != ids[2]
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in ids)


async def test_the_key_is_nowhere(gateway, http):
    await send(http)
    await send(http, sender=KEY[:11], sms_text=f"{KEY} {{PIN}}", key=f"{KEY}2")
    everything = (await http.get("/")).text + json.dumps(await state(http))
    assert KEY not in everything


async def test_the_log_tells_outcomes_apart(gateway, http):
    await send(http)
    pin = gateway.last_pin(NUMBER)
    verify = {"api_key": KEY, "msisdn": NUMBER}
    await http.post("/api/2fa/verify", json=verify | {"pin": "nope"})
    await http.post("/api/2fa/verify", json=verify | {"pin": pin})
    await http.post("/api/2fa/request", content=b"{", headers={"content-type": "application/json"})
    await send(http, msisdn="1" * 20)
    gateway.throttle_next()
    await send(http)
    gateway.answer_next(299, {"status": "ok"})
    await send(http)
    gateway.lose_next_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        await send(http)
    shown = [(item["outcome"], item["ok"]) for item in (await state(http))["requests"]]
    assert shown == [
        ("ok, and the answer lost", True),
        ("turned away, nothing sent", True),
        ("turned away, nothing sent", False),
        ("INVALID_NUMBER", False),
        ("JSON_PARSE_ERROR", False),
        ("verified", True),
        ("not verified", True),
        ("ok", True),
    ]
    requests = (await state(http))["requests"]
    assert requests[0]["answered"].startswith("Lost: the connection was closed without an answer.")
    assert requests[1]["answered"].startswith("HTTP/1.1 299\n")
    assert requests[2]["answered"] == "HTTP/1.1 429 Too Many Requests\n\n(no envelope)"
    assert requests[4]["asked"].endswith("(not a JSON object)")
    assert pin not in "".join(item["asked"] for item in requests)


async def test_half_a_character_in_a_request_is_shown(http):
    """JSON can say a lone surrogate, and UTF-8 cannot."""
    wrong = json.dumps({"api_key": KEY, "msisdn": NUMBER, "sender": "X", "sms_text": "\ud800{PIN}"})
    await http.post("/api/2fa/request", content=wrong, headers={"content-type": "application/json"})
    (request,) = (await state(http))["requests"]
    assert request["outcome"] == "INVALID_SMS_TEXT"
    assert '"sms_text": "\ud800{PIN}"' in request["asked"]
    async with Events(http) as events:
        assert (await events.next())[1]["requests"] == [request]
    assert (await http.get("/")).status_code == 200


async def test_a_long_request_is_cut(http):
    await send(http, nonsense="x" * 20_000)
    (request,) = (await state(http))["requests"]
    assert re.search(r"… and \d{5} more characters$", request["asked"])
    assert len(request["asked"]) < 8_100


async def test_the_newest_are_shown_and_a_number_is_found_beyond_them(gateway, http, monkeypatch):
    monkeypatch.setattr(_phone_state, "LIMIT", 3)
    for last in range(5):
        await send(http, msisdn=f"3466666611{last}")
    await http.post("/api/2fa/request", json={"api_key": KEY, "msisdn": 7})
    shown = await state(http)
    assert [item["id"] for item in shown["messages"]] == [5, 4, 3]
    assert [item["id"] for item in shown["requests"]] == [6, 5, 4]
    assert shown["totals"] == {"messages": 5, "badge": "5", "requests": "6"}
    found = await state(http, find="+34 666 666 110")
    assert [item["id"] for item in found["messages"]] == [1]
    assert [item["id"] for item in found["requests"]] == [
        6,
        5,
        4,
    ]  # what was asked is told whatever is searched for
    assert found["totals"] == {"messages": 1, "badge": "1", "requests": "6"}


async def test_search_finds_number_sender_text_and_pin(gateway, http):
    await send(http, sender="GOOD PIZZA", sms_text="Your code: {PIN}")
    await send(http, msisdn="34666666112", sender="Bank 24", sms_text="Código {PIN}")

    async def found(text):
        return [item["id"] for item in (await state(http, find=text))["messages"]]

    assert await found("pizza") == [1]
    assert await found("CÓDIGO") == [2]
    assert await found("(34) 666-666.112") == [2]
    assert await found(gateway.messages[0].pin) == [1]
    assert await found("bank 24") == [2]  # its digits are no number's
    assert await found("x1") == []


async def test_badge_of_as_many_as_are_kept_says_that_there_may_be_more(monkeypatch):
    async with Sandbox(keep=2) as gateway, httpx.AsyncClient(base_url=gateway.base_url) as http:
        body = {"api_key": gateway.api_key, "sender": "X"}
        for last in range(3):
            await http.post("/api/2fa/request", json={**body, "msisdn": f"3466666611{last}"})
        shown = (await http.get("/_phone/state")).json()
        assert shown["totals"] == {"messages": 2, "badge": "2+", "requests": "2+"}


async def test_clear_is_undone_and_a_newer_pin_stays_the_valid_one(gateway, http):
    await send(http)
    await send(http, msisdn="34666666112")
    old = gateway.messages[0]
    gateway.clear()
    assert not gateway.check_pin("34666666112", "wrong")
    await send(http)
    await http.post("/_phone/undo-clear", json={})
    assert [message.id for message in gateway.messages] == [1, 2, 3]
    assert len(gateway.requests) == 3
    assert old.void_reason == "replaced"
    assert gateway.check_pin(NUMBER, gateway.messages[2].pin)
    assert gateway.check_pin("34666666112", gateway.messages[1].pin)
    gateway.undo_clear()
    assert len(gateway.messages) == 3


async def test_undo_of_a_clear_keeps_no_more_than_is_kept():
    async with Sandbox(keep=2) as gateway, httpx.AsyncClient(base_url=gateway.base_url) as http:
        body = {"api_key": gateway.api_key, "sender": "X"}
        for last in range(4):
            if last == 2:
                gateway.clear()
            await http.post("/api/2fa/request", json={**body, "msisdn": f"3466666611{last}"})
        gateway.undo_clear()
        assert [message.id for message in gateway.messages] == [3, 4]


# --- What it is told as it happens -----------------------------------------------------------------------


class Events:
    """A browser's EventSource, without connecting again."""

    def __init__(self, http, find=""):
        self._stream = http.stream("GET", "/_phone/events", params={"find": find})

    async def __aenter__(self):
        self.response = await self._stream.__aenter__()
        self._lines = self.response.aiter_lines()
        return self

    async def __aexit__(self, *exc_info):
        await self._stream.__aexit__(*exc_info)

    async def next(self):
        """The next event, or comment, as (name, data); `None` at the end."""
        name, data = None, None
        async for line in self._lines:
            if line == "" and name is not None:
                return name, data
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif field == "":
                name = value
        return None


async def test_a_change_is_told_at_once_and_only_the_change(gateway, http):
    await send(http)
    async with Events(http) as events:
        assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert events.response.headers["cache-control"] == "no-store"
        name, shown = await events.next()
        assert (name, [item["id"] for item in shown["messages"]]) == ("state", [1])
        await send(http)
        name, update = await events.next()
        assert name == "update"
        changed = {item["id"]: item["void_reason"] for item in update["messages"]}
        assert changed == {2: None, 1: "replaced"}
        assert [item["id"] for item in update["requests"]] == [2]
        gateway.check_pin(NUMBER, gateway.last_pin(NUMBER))
        _, update = await events.next()
        assert [(item["id"], item["void_reason"]) for item in update["messages"]] == [(2, "verified")]
        assert update["requests"] == []
        gateway.faults.fail = True
        _, update = await events.next()
        assert (update["messages"], update["switches"]["fail"]) == ([], True)
        gateway.clear()
        _, update = await events.next()
        assert (sorted(update["gone_messages"]), sorted(update["gone_requests"])) == ([1, 2], [1, 2])
        assert update["totals"] == {"messages": 0, "badge": "0", "requests": "0"}


async def test_sms_that_is_not_searched_for_is_not_told(gateway, http):
    async with Events(http, "34999") as events:
        assert (await events.next())[0] == "state"
        await send(http)
        name, update = await events.next()
        assert (name, update["messages"], len(update["requests"])) == ("update", [], 1)


async def test_what_changes_nothing_on_the_page_is_waited_over(gateway):
    view = _phone_state.PhoneView(gateway, lambda: 0.0)
    view.state()
    stream = _phone._EventStream(gateway, view)
    waiting = asyncio.create_task(stream._next())
    stream._changed.set()
    while stream._changed.is_set():
        await asyncio.sleep(0)
    assert not waiting.done()
    gateway.faults.fail = True
    stream._changed.set()
    assert (await waiting).startswith("event: update\n")


async def test_a_quiet_stream_gives_signs_of_life_and_tells_what_expired(monkeypatch):
    monkeypatch.setattr(_phone, "_STILL_HERE", 0.0)
    now = 1_700_000_000.0
    async with Sandbox(KEY, clock=lambda: now) as gateway:
        async with httpx.AsyncClient(base_url=gateway.base_url) as http:
            await send(http)
            async with Events(http) as events:
                assert (await events.next())[0] == "state"
                assert await events.next() == ("still here", None)
                now += 3600
                while (event := await events.next())[0] != "update":
                    assert event == ("still here", None)
                assert [item["void_reason"] for item in event[1]["messages"]] == ["expired"]


async def test_a_head_request_does_not_stream(http):
    answer = await http.head("/_phone/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_the_stream_ends_with_the_sandbox_and_leaves_no_task():
    before = asyncio.all_tasks()
    gateway = Sandbox(KEY)
    await gateway.start()
    async with httpx.AsyncClient(base_url=gateway.base_url) as http, Events(http) as events:
        await events.next()
        await gateway.aclose()
        assert await events.next() is None
    assert asyncio.all_tasks() == before


async def test_a_browser_that_goes_leaves_no_task(gateway):
    before = asyncio.all_tasks()
    async with httpx.AsyncClient(base_url=gateway.base_url) as http, Events(http) as events:
        await events.next()
        assert asyncio.all_tasks() > before
    while asyncio.all_tasks() != before:
        await asyncio.sleep(0)


async def test_a_browser_that_does_not_read_costs_no_memory_and_does_not_hold_the_sandbox_open(http, gateway):
    before = asyncio.all_tasks()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", int(gateway.base_url.rpartition(":")[2])))
        await loop.sock_sendall(sock, b"GET /_phone/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await loop.sock_recv(sock, 15)).startswith(b"HTTP/1.1 200")
        for _ in range(300):
            await send(http, nonsense="x" * 8000)
        connections = gateway._server.server_state.connections
        waiting = [connection.transport.get_write_buffer_size() for connection in connections]
        assert max(waiting) < 4_000_000
        await gateway.aclose()
        assert asyncio.all_tasks() <= before


async def test_a_fault_of_the_stream_is_not_hidden(caplog):
    class Broken(Sandbox):
        async def watch(self):
            raise RuntimeError("the watch is broken")
            yield

    async with Broken() as gateway, httpx.AsyncClient(base_url=gateway.base_url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/_phone/events")
    assert "the watch is broken" in caplog.text


# --- What it may do --------------------------------------------------------------------------------------

SWITCHED = [
    ("lose_answers", True),
    ("throttle", True),
    ("retry_after", 7),
    ("fail", True),
    ("blocked", True),
    ("latency", 0.25),
    ("balance", 0),
    ("hlr_fail_prefix", "34"),
]


@pytest.mark.parametrize(("name", "value"), SWITCHED, ids=[name for name, _ in SWITCHED])
async def test_a_switch_is_set_and_set_back(gateway, http, name, value):
    before = (await state(http))["switches"]
    answer = await http.post("/_phone/switches", json={name: value})
    told = answer.json()
    order = told.pop("switches_order")
    assert (answer.status_code, told) == (200, {"switches": before | {name: value}})
    holder = gateway.faults if hasattr(gateway.faults, name) else gateway
    assert getattr(holder, name) == value
    answer = await http.post("/_phone/switches", json={name: before[name]})
    told = answer.json()
    assert told.pop("switches_order") > order
    assert told == {"switches": before}
    assert getattr(holder, name) == before[name]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"latency": "x"}, "latency"),
        ({"latency": -1}, "latency"),
        ({"balance": 1.5}, "balance"),
        ({"hlr_fail_prefix": ""}, "hlr_fail_prefix"),
        ({"hlr_fail_prefix": "+34"}, "hlr_fail_prefix"),
        ({"hlr_fail_prefix": "\ud800"}, "hlr_fail_prefix"),
        ({"\ud800": 1}, "\ud800"),
        ({"lose_answers": 1}, "lose_answers"),
        ({"blocked": None}, "blocked"),
        ({"retry_after": -3}, "retry_after"),
        ({"no_such": 1}, "no_such"),
        ({"messages": []}, "messages"),
    ],
    ids=str,
)
async def test_a_wrong_switch_is_named_and_nothing_is_set(http, wrong, field):
    before = (await state(http))["switches"]
    body = json.dumps({"fail": True, "blocked": True} | wrong)  # httpx could not say half a character
    answer = await http.post("/_phone/switches", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["field"] == field
    assert answer.json()["problem"].startswith(f"{field}: ")
    assert (await state(http))["switches"] == before


async def test_a_pin_is_tried(gateway, http):
    await send(http)
    wrong = await http.post("/_phone/verify", json={"msisdn": NUMBER, "pin": "wrong"})
    assert wrong.json() == {"verified": False}
    assert gateway.messages[0].tries == 1
    right = await http.post("/_phone/verify", json={"msisdn": NUMBER, "pin": gateway.last_pin(NUMBER)})
    assert right.json() == {"verified": True}
    assert gateway.messages[0].void_reason == "verified"


@pytest.mark.parametrize("pin", [None, "", 123456])
async def test_a_pin_that_is_no_text_is_refused(http, pin):
    answer = await http.post("/_phone/verify", json={"msisdn": NUMBER, "pin": pin})
    assert (answer.status_code, answer.json()["field"]) == (400, "pin")


async def test_all_is_cleared(gateway, http):
    await send(http)
    assert (await http.post("/_phone/clear", json={})).status_code == 200
    assert (gateway.messages, gateway.requests) == ([], [])


async def test_undo_after_two_clears_in_a_row_brings_back_what_the_first_took(gateway, http):
    await send(http)
    for path in ("clear", "clear", "undo-clear"):
        assert (await http.post(f"/_phone/{path}", json={})).status_code == 200
    assert (len(gateway.messages), len(gateway.requests)) == (1, 1)


@pytest.fixture
async def app():
    """An application that takes delivery reports."""
    taken = []

    async def take(request):
        taken.extend(await request.json())
        return Response(status_code=204)

    server = HttpServer(Starlette(routes=[Route("/dlr", take, methods=["POST"])]), keep_alive=1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/dlr", taken
    await server.aclose()


async def test_a_report_is_posted_by_hand(app):
    url, taken = app
    async with Sandbox(KEY, delivery=()) as gateway, httpx.AsyncClient(base_url=gateway.base_url) as http:
        await send(http, report_url=url)
        answer = await http.post("/_phone/report", json={"id": 1, "status": "UNDELIV"})
        assert answer.json() == {"status": "UNDELIV", "http_status": 204, "error": None}
        assert [(report["to"], report["status"]) for report in taken] == [(NUMBER, "UNDELIV")]
        (message,) = (await state(http))["messages"]
        assert message["reports"] == [{"status": "UNDELIV", "http_status": 204, "error": None}]


@pytest.mark.parametrize(
    ("body", "http_status", "field"),
    [
        ({"id": 9, "status": "DELIVRD"}, 404, "id"),
        ({"id": "1", "status": "DELIVRD"}, 404, "id"),
        ({"id": 1, "status": "DELIVRD"}, 409, "id"),
        ({"id": 1, "status": "x" * 21}, 400, "status"),
        ({"id": 1, "status": "A B"}, 400, "status"),
        ({"id": 1}, 400, "status"),
    ],
    ids=str,
)
async def test_a_report_that_cannot_be_posted_says_why(http, body, http_status, field):
    await send(http)
    answer = await http.post("/_phone/report", json=body)
    assert (answer.status_code, answer.json()["field"]) == (http_status, field)


# --- Who may ask -----------------------------------------------------------------------------------------

PATHS = ["/", "/_phone/state", "/_phone/events", "/_phone/phone.js"]
POSTS = ["/_phone/switches", "/_phone/clear", "/_phone/verify", "/_phone/report"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", "a b"])
async def test_a_name_that_was_made_to_point_here_is_refused(http, path, host):
    answer = await http.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8360", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1:1", "[::1]:8360"],
)
async def test_the_sandboxs_own_names_and_any_address_are_fine(http, host):
    assert (await http.get("/_phone/state", headers={"host": host})).status_code == 200


async def test_the_name_that_it_listens_on_is_its_own():
    guarded = _phone.phone_routes(None, {"sandbox.test"}, lambda: 0.0)
    (asset,) = [route for route in guarded if route.path == "/_phone/{name}"]
    transport = httpx.ASGITransport(Starlette(routes=[asset]))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox.test") as http:
        assert (await http.get("/_phone/icon.svg")).status_code == 200
        assert (await http.get("http://other.test/_phone/icon.svg")).status_code == 403


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": ""},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
async def test_another_website_is_refused(gateway, http, path, headers):
    await send(http)
    answer = await http.post(path, json={"fail": True, "msisdn": NUMBER, "pin": "x"}, headers=headers)
    assert answer.status_code == 403
    assert (len(gateway.messages), gateway.messages[0].tries, gateway.faults.fail) == (1, 0, False)


async def test_another_website_reads_nothing_but_may_link_to_the_page(http):
    foreign = {"sec-fetch-site": "cross-site"}
    assert (await http.get("/_phone/state", headers=foreign)).status_code == 403
    assert (await http.get("/_phone/events", headers=foreign)).status_code == 403
    assert (await http.get("/", headers=foreign)).status_code == 200
    answer = await http.options("/_phone/clear", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_its_own_page_may(http):
    own = {"origin": str(http.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert (await http.post("/_phone/clear", json={}, headers=own)).status_code == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("content_type", "body", "http_status"),
    [
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        (None, b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b" " * 5000, 413),
    ],
)
async def test_a_post_has_to_be_a_small_json_object(http, path, content_type, body, http_status):
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await http.post(path, content=body, headers=headers)
    assert answer.status_code == http_status
    assert answer.json()["problem"]


@pytest.mark.parametrize("path", POSTS)
async def test_nothing_is_changed_by_a_get(http, path):
    assert (await http.get(path)).status_code in {404, 405}


async def test_a_page_that_goes_in_the_middle_of_its_request_is_no_error(gateway, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base_url.rpartition(":")[2]))
    head = b"POST /_phone/clear HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: 9\r\n\r\n{")
    await writer.drain()
    while not gateway._server.server_state.tasks:
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    while gateway._server.server_state.tasks:
        await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert "Traceback" not in caplog.text
