"""The phone's page over HTTP: its state, its stream, its changes, and its callers. In a browser: tests/browser."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from support.sandbox_account import KEY, NUMBER, OTHER, Account, ask, fields, http_of, until

from gateway360_async import sandbox as sandbox_package
from gateway360_async.sandbox import Sandbox, _phone, _phone_view
from gateway360_async.sandbox._http_server import HttpServer
from gateway360_async.testing import FakeClock

SCRIPT = "<script>alert(1)</script>"
FILES = Path(sandbox_package.__file__).parent / "phone"
JSON = {"content-type": "application/json"}


@pytest.fixture
async def gateway():
    async with Sandbox(KEY) as gateway:
        yield gateway


@pytest.fixture
async def http(gateway):
    async with http_of(gateway) as http:
        yield http


async def state(http, **query):
    answer = await http.get("/_phone/state", params=query)
    assert answer.status_code == 200
    return answer.json()


def ids(items):
    return [item["id"] for item in items]


# --- The page and its files ------------------------------------------------------------------------------


async def test_page_loads_nothing_from_elsewhere(http):
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    named = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text)
    assert named
    for address in named:
        file = await http.get(address)
        assert (file.status_code, file.headers["content-security-policy"]) == (200, policy)
        assert file.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?! type=\"module\" src)|<style|\sstyle=|\son\w+=", page.text)


async def test_files_are_served_and_import_each_other_alone(http):
    files = {file.name for file in FILES.iterdir()} - {"index.html"}
    for name in files:
        text = (FILES / name).read_text()
        served = await http.get(f"/_phone/{name}")
        assert (served.status_code, served.text) == (200, text)
        kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
        assert served.headers["content-type"].startswith(kinds[Path(name).suffix])
        assert "innerHTML" not in text.replace("sets innerHTML", "")
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= files
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_page_has_every_id_that_a_script_asks_for():
    page = (FILES / "index.html").read_text()
    for file in FILES.glob("*.js"):
        for name in re.findall(r'(?:\$|stamp)\("([^"]+)"\)', file.read_text()):
            assert name.startswith("switch-") or f'id="{name}"' in page, (file.name, name)


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2f_phone.py", "../_phone.py", ""])
async def test_file_of_another_name_is_not_found(http, name):
    assert (await http.get(f"/_phone/{name}")).status_code == 404


async def test_page_without_sms_says_how_to_begin(http):
    page = (await http.get("/")).text
    assert f"export GATEWAY360_BASE_URL={http.base_url}".rstrip("/") in page
    assert "GATEWAY360_API_KEY=…" in page
    async with Sandbox() as other:
        assert "GATEWAY360_API_KEY=sandbox-key" in (await http.get(f"{other.base_url}/")).text


async def test_page_without_javascript_has_the_inbox(gateway, http):
    await ask(gateway, sender="<b>x</b>", sms_text=f"{SCRIPT} {{PIN}} {{{{count}}}} á")
    first = gateway.last_pin(NUMBER)
    await ask(gateway, msisdn=OTHER, sms_text="x" * 150 + "\U0001f355{PIN}")
    gateway.check_pin(OTHER, gateway.last_pin(OTHER))
    await ask(gateway, sms_text="Again {PIN}")
    page = (await http.get("/")).text
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; " in page
    assert "{{count}}" in page  # a text of an SMS is no place to put something in
    assert '<h4 class="sender">&lt;b&gt;x&lt;/b&gt;</h4>' in page
    assert f"<s>{first}</s>" in page
    assert "Void: replaced" in page
    assert '<li class="several">3 segments</li>' in page
    assert "<li>not in GSM-7: á</li>" in page
    assert f"Again <b>{gateway.last_pin(NUMBER)}</b>" in page
    assert page.index("Again") < page.index("Verified") < page.index("&lt;script")
    assert 'id="empty" hidden' in page


# --- What the page is told -------------------------------------------------------------------------------


async def test_state_has_the_inbox_the_log_and_the_switches(gateway, http):
    await ask(gateway, pin_params={"type": "alpha", "length": 8, "expires_in": 0, "max_tries": 2})
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
    head = "POST /api/2fa/request\nContent-Type: application/json\nContent-Length: "
    assert request["asked"].startswith(head)
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


@pytest.mark.parametrize(
    ("text", "segments", "said"),
    [
        ("{PIN}", 1, ["1 segment", "GSM-7, 6 of 160 units"]),
        ("{PIN}€" + "[" * 77, 2, ["2 segments", "GSM-7, 162 of 306 units"]),
        ("á{PIN}", 1, ["1 segment", "UCS-2, 7 of 70 units", "not in GSM-7: á"]),
        ("абвгдежз{PIN}", 1, ["1 segment", "UCS-2, 14 of 70 units", "not in GSM-7: а б в г д е and 2 more"]),
        (
            "x\r\n@a.example #{PIN}",
            1,
            ["1 segment", "GSM-7, 21 of 160 units", "browsers fill it in on a.example"],
        ),
        ("@a.example #{PIN}\nmore", 1, ["1 segment", "GSM-7, 23 of 160 units"]),
        ("write @a.example #{PIN}", 1, ["1 segment", "GSM-7, 24 of 160 units"]),
    ],
    ids=ascii,
)
def test_state_says_how_a_text_arrives(text, segments, said):
    account = Account()
    account.send(sms_text=text)
    (message,) = _phone_view.PhoneView(account, account.time).state()["messages"]
    assert (message["segments"], list(message["arrival"])) == (segments, said)


async def test_state_tells_sandboxes_on_one_port_apart(http):
    shown = [(await state(http))["sandbox"]]
    async with Events(http) as events:
        shown.append((await events.next())[1]["sandbox"])
    async with Sandbox(KEY) as other, http_of(other) as there:
        shown.append((await state(there))["sandbox"])
    assert shown[0] == shown[1] != shown[2]
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in shown)


async def test_key_is_on_no_page(gateway, http):
    await ask(gateway)
    await ask(gateway, sender=KEY[:11], sms_text=f"{KEY} {{PIN}}", api_key=f"{KEY}2")
    assert KEY not in (await http.get("/")).text + json.dumps(await state(http))


async def test_state_tells_outcomes_apart(gateway, http):
    await ask(gateway)
    pin = gateway.last_pin(NUMBER)
    await ask(gateway, "verify", pin="nope")
    await ask(gateway, "verify", pin=pin)
    await http.post("/api/2fa/request", content=b"{", headers=JSON)
    await ask(gateway, msisdn="1" * 20)
    gateway.throttle_next()
    await ask(gateway)
    gateway.answer_next(299, {"status": "ok"})
    await ask(gateway)
    gateway.lose_next_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(gateway)
    requests = (await state(http))["requests"]
    assert [(item["outcome"], item["ok"]) for item in requests] == [
        ("ok, and the answer lost", True),
        ("turned away, nothing sent", True),
        ("turned away, nothing sent", False),
        ("INVALID_NUMBER", False),
        ("JSON_PARSE_ERROR", False),
        ("verified", True),
        ("not verified", True),
        ("ok", True),
    ]
    assert requests[0]["answered"].startswith("Lost: the connection was closed without an answer.")
    assert requests[1]["answered"].startswith("HTTP/1.1 299\n")
    assert requests[2]["answered"] == "HTTP/1.1 429 Too Many Requests\n\n(no envelope)"
    assert requests[4]["asked"].endswith("(not a JSON object)")
    assert pin not in "".join(item["asked"] for item in requests)


async def test_state_shows_half_a_character_of_a_request(http):
    """JSON can say a lone surrogate, and UTF-8 cannot."""
    await http.post("/api/2fa/request", content=json.dumps(fields(sms_text="\ud800{PIN}")), headers=JSON)
    (request,) = (await state(http))["requests"]
    assert request["outcome"] == "INVALID_SMS_TEXT"
    assert '"sms_text": "\ud800{PIN}"' in request["asked"]
    async with Events(http) as events:
        assert (await events.next())[1]["requests"] == [request]
    assert (await http.get("/")).status_code == 200


async def test_state_cuts_a_long_request(gateway, http):
    await ask(gateway, nonsense="x" * 20_000)
    (request,) = (await state(http))["requests"]
    assert re.search(r"… and \d{5} more characters$", request["asked"])
    assert len(request["asked"]) < 8_100


async def test_state_has_the_newest_and_finds_beyond_them(gateway, http, monkeypatch):
    monkeypatch.setattr(_phone_view, "LIMIT", 3)
    for last in range(5):
        await ask(gateway, msisdn=f"3466666611{last}")
    await ask(gateway, msisdn=7)
    shown = await state(http)
    assert (ids(shown["messages"]), ids(shown["requests"])) == ([5, 4, 3], [6, 5, 4])
    assert shown["totals"] == {"messages": 5, "badge": "5", "requests": "6"}
    found = await state(http, find="+34 666 666 110")
    assert (ids(found["messages"]), ids(found["requests"])) == ([1], [6, 5, 4])  # all requests are shown
    assert found["totals"] == {"messages": 1, "badge": "1", "requests": "6"}


def test_state_finds_number_sender_text_and_pin():
    account = Account()
    account.send(sender="GOOD PIZZA", sms_text="Your code: {PIN}")
    account.send(msisdn=OTHER, sender="Bank 24", sms_text="Código {PIN}")
    for text, found in {
        "pizza": [1],
        "CÓDIGO": [2],
        "(34) 666-666.222": [2],
        account.messages[0].pin: [1],
        "bank 24": [2],  # its digits are no number's
        "x1": [],
    }.items():
        assert ids(_phone_view.PhoneView(account, account.time, text).state()["messages"]) == found


def test_state_of_as_many_as_are_kept_says_so():
    account = Account(keep=2)
    for _ in range(3):
        account.send()
    shown = _phone_view.PhoneView(account, account.time).state()
    assert shown["totals"] == {"messages": 2, "badge": "2+", "requests": "2+"}


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
            if field in ("event", ""):
                name = value
            elif field == "data":
                data = json.loads(value)
        return None


async def test_stream_tells_a_change_and_only_the_change(gateway, http):
    await ask(gateway)
    async with Events(http) as events:
        assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert events.response.headers["cache-control"] == "no-store"
        name, shown = await events.next()
        assert (name, ids(shown["messages"])) == ("state", [1])
        await ask(gateway)
        name, update = await events.next()
        assert name == "update"
        changed = {item["id"]: item["void_reason"] for item in update["messages"]}
        assert (changed, ids(update["requests"])) == ({2: None, 1: "replaced"}, [2])
        gateway.check_pin(NUMBER, gateway.last_pin(NUMBER))
        _, update = await events.next()
        assert [(item["id"], item["void_reason"]) for item in update["messages"]] == [(2, "verified")]
        assert update["requests"] == []
        gateway.faults.fail = True
        _, update = await events.next()
        assert (update["messages"], update["switches"]["fail"]) == ([], True)
        gateway.faults.fail = True  # changes nothing on the page, which is not told
        gateway.clear()
        _, update = await events.next()
        assert (sorted(update["gone_messages"]), sorted(update["gone_requests"])) == ([1, 2], [1, 2])
        assert update["totals"] == {"messages": 0, "badge": "0", "requests": "0"}


async def test_stream_does_not_tell_an_sms_that_is_not_searched_for(gateway, http):
    async with Events(http, "34999") as events:
        assert (await events.next())[0] == "state"
        await ask(gateway)
        name, update = await events.next()
        assert (name, update["messages"], len(update["requests"])) == ("update", [], 1)


async def test_stream_waits_over_a_change_of_nothing(gateway, monkeypatch):
    monkeypatch.setattr(_phone, "_PAUSE", 0.0)
    view = _phone_view.PhoneView(gateway, lambda: 0.0)
    stream = _phone._events(gateway, view)
    assert (await anext(stream)).startswith("retry: 1000\nevent: state\n")
    updates = []
    update = view.update
    monkeypatch.setattr(view, "update", lambda: updates.append(update()) or updates[-1])
    waiting = asyncio.create_task(anext(stream))
    gateway.faults.fail = False
    await until(lambda: updates)
    assert (updates, waiting.done()) == ([None], False)
    gateway.faults.fail = True
    assert (await waiting).startswith("event: update\n")
    await stream.aclose()


async def test_stream_gives_signs_of_life_and_tells_what_expired(monkeypatch):
    monkeypatch.setattr(_phone, "_STILL_HERE", 0.0)
    clock = FakeClock()
    async with Sandbox(KEY, clock=clock) as gateway, http_of(gateway) as http:
        await ask(gateway)
        async with Events(http) as events:
            assert (await events.next())[0] == "state"
            assert await events.next() == ("still here", None)
            clock.advance(3600)
            while (event := await events.next())[0] != "update":
                assert event == ("still here", None)
            assert [item["void_reason"] for item in event[1]["messages"]] == ["expired"]


async def test_stream_of_a_head_request_is_empty(http):
    answer = await http.head("/_phone/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_stream_ends_with_the_sandbox_and_leaves_no_task():
    before = asyncio.all_tasks()
    gateway = Sandbox(KEY)
    await gateway.start()
    async with http_of(gateway) as http, Events(http) as events:
        await events.next()
        await gateway.aclose()
        assert await events.next() is None
    assert asyncio.all_tasks() == before


async def test_stream_of_a_browser_that_goes_leaves_no_task(gateway):
    before = asyncio.all_tasks()
    async with http_of(gateway) as http, Events(http) as events:
        await events.next()
        assert asyncio.all_tasks() > before
    await until(lambda: asyncio.all_tasks() == before)


async def test_stream_that_is_not_read_costs_no_memory_and_ends(http, gateway):
    before = asyncio.all_tasks()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", int(gateway.base_url.rpartition(":")[2])))
        await loop.sock_sendall(sock, b"GET /_phone/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await loop.sock_recv(sock, 15)).startswith(b"HTTP/1.1 200")
        body = fields(nonsense="x" * 8000)
        for _ in range(300):
            await http.post("/api/2fa/request", json=body)
        connections = gateway._server.server_state.connections
        waiting = [connection.transport.get_write_buffer_size() for connection in connections]
        assert max(waiting) < 4_000_000
        await gateway.aclose()
        assert asyncio.all_tasks() <= before


async def test_stream_that_fails_is_logged(caplog):
    class Broken(Sandbox):
        def watch(self):
            raise RuntimeError("the watch is broken")

    async with Broken() as gateway, http_of(gateway) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/_phone/events")
    assert "the watch is broken" in caplog.text


# --- What it may do --------------------------------------------------------------------------------------

SWITCHED = {
    "lose_answers": True,
    "throttle": True,
    "retry_after": 7,
    "fail": True,
    "blocked": True,
    "latency": 0.25,
    "balance": 0,
    "hlr_fail_prefix": "34",
}


@pytest.mark.parametrize("name", SWITCHED)
async def test_switch_is_set_and_set_back(gateway, http, name):
    before = (await state(http))["switches"]
    order = 0
    for value in (SWITCHED[name], before[name]):
        answer = await http.post("/_phone/switches", json={name: value})
        told = answer.json()
        assert (answer.status_code, told["switches"]) == (200, before | {name: value})
        assert told["switches_order"] > order
        order = told["switches_order"]
        holder = gateway.faults if hasattr(gateway.faults, name) else gateway
        assert getattr(holder, name) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("latency", "x"), ("latency", -1), ("balance", 1.5), ("\ud800", 1), ("lose_answers", 1)),
        *(("hlr_fail_prefix", prefix) for prefix in ("", "+34", "\ud800")),
        *(("blocked", None), ("retry_after", -3), ("no_such", 1), ("messages", [])),
    ],
    ids=ascii,
)
async def test_switch_that_is_wrong_is_named_and_nothing_is_set(http, field, value):
    before = (await state(http))["switches"]
    body = json.dumps(
        {"fail": True, "blocked": True} | {field: value}
    )  # httpx could not say half a character
    answer = await http.post("/_phone/switches", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert answer.json()["problem"].startswith(f"{field}: ")
    assert (await state(http))["switches"] == before


async def test_verify_tries_a_pin(gateway, http):
    await ask(gateway)
    for pin, verified in (("wrong", False), (gateway.last_pin(NUMBER), True)):
        answer = await http.post("/_phone/verify", json={"msisdn": NUMBER, "pin": pin})
        assert answer.json() == {"verified": verified}
    assert (gateway.messages[0].tries, gateway.messages[0].void_reason) == (1, "verified")
    for pin in (None, "", 123456):
        answer = await http.post("/_phone/verify", json={"msisdn": NUMBER, "pin": pin})
        assert (answer.status_code, answer.json()["field"]) == (400, "pin")


async def test_clear_is_undone(gateway, http):
    await ask(gateway)
    for path, left in (("clear", 0), ("clear", 0), ("undo-clear", 1)):
        assert (await http.post(f"/_phone/{path}", json={})).status_code == 200
        assert (len(gateway.messages), len(gateway.requests)) == (left, left)


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


async def test_report_is_posted_by_hand(app):
    url, taken = app
    async with Sandbox(KEY, delivery=()) as gateway, http_of(gateway) as http:
        await ask(gateway, report_url=url)
        answer = await http.post("/_phone/report", json={"id": 1, "status": "UNDELIV"})
        report = {"status": "UNDELIV", "http_status": 204, "error": None}
        assert answer.json() == report
        assert [(report["to"], report["status"]) for report in taken] == [(NUMBER, "UNDELIV")]
        (message,) = (await state(http))["messages"]
        assert (message["wants_reports"], message["reports"]) == (True, [report])


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
async def test_report_that_cannot_be_posted_says_why(gateway, http, body, http_status, field):
    await ask(gateway)
    answer = await http.post("/_phone/report", json=body)
    assert (answer.status_code, answer.json()["field"]) == (http_status, field)


# --- Its callers -----------------------------------------------------------------------------------------

PATHS = ["/", "/_phone/state", "/_phone/events", "/_phone/phone.js"]
POSTS = ["/_phone/switches", "/_phone/clear", "/_phone/undo-clear", "/_phone/verify", "/_phone/report"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", "a b"])
async def test_page_of_a_name_that_was_made_to_point_here_is_refused(http, host):
    for path in PATHS:
        answer = await http.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8360", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1:1", "[::1]:8360"],
)
async def test_page_of_its_own_names_and_of_addresses_is_shown(http, host):
    assert (await http.get("/_phone/state", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        *(
            {"origin": origin}
            for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "", "http://[")
        ),
        *({"sec-fetch-site": site} for site in ("cross-site", "same-site")),
    ],
    ids=str,
)
async def test_page_of_another_website_changes_nothing(gateway, http, headers):
    await ask(gateway)
    for path in POSTS:
        answer = await http.post(path, json={"fail": True, "msisdn": NUMBER, "pin": "x"}, headers=headers)
        assert answer.status_code == 403
    assert (len(gateway.messages), gateway.messages[0].tries, gateway.faults.fail) == (1, 0, False)


async def test_page_of_another_website_reads_nothing_but_may_link(http):
    foreign = {"sec-fetch-site": "cross-site"}
    for path, http_status in (("/_phone/state", 403), ("/_phone/events", 403), ("/", 200)):
        assert (await http.get(path, headers=foreign)).status_code == http_status
    answer = await http.options("/_phone/clear", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_page_of_the_sandbox_may_change(http):
    own = {"origin": str(http.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert (await http.post("/_phone/clear", json={}, headers=own)).status_code == 200


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
async def test_post_that_is_no_small_json_object_is_refused(http, content_type, body, http_status):
    headers = {} if content_type is None else {"content-type": content_type}
    for path in POSTS:
        answer = await http.post(path, content=body, headers=headers)
        assert answer.status_code == http_status
        assert answer.json()["problem"]
        assert (await http.get(path)).status_code in {404, 405}  # nothing is changed by a GET
