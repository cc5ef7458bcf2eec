"""The plain ASGI application, asked as a server asks it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from support.leaks import reported

from gateway360_async import InvalidConfiguration
from gateway360_async.delivery import MAX_BODY_BYTES, DeliveryReport, DeliveryReports, dump_delivery_reports
from gateway360_async.integrations import asgi
from gateway360_async.integrations.asgi import ReportApp

URL = "https://example.com/hooks/sms"
SECRET = "a-s3cret-of-the-tests"
NUMBER = "34666666111"


def body(*statuses, number=NUMBER):
    return dump_delivery_reports(
        DeliveryReport(sms_id=f"{index}", msisdn=number, status=status)
        for index, status in enumerate(statuses)
    )


@pytest.fixture
def reports():
    return DeliveryReports(URL, SECRET)


@pytest.fixture
def report_id(reports):
    return reports.new_id()


@pytest.fixture
def path(reports, report_id):
    return reports.url_for(report_id, NUMBER).removeprefix("https://example.com")


def http(path, method="POST", **headers):
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": fields}


async def ask(app, scope, *chunks, gone=False):
    """Send a request, and give the answer's status, headers and body; `None`: there was none."""
    messages = [
        {"type": "http.request", "body": chunk, "more_body": gone or index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    if gone:
        messages.append({"type": "http.disconnect"})
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return None
    start, end = sent
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    headers = dict(start["headers"])
    if start["status"] != 204:
        assert headers[b"content-length"] == str(len(end["body"])).encode()
    return start["status"], headers, end["body"].decode(), len(messages)


async def test_reports_are_taken(reports, report_id, path):
    status, headers, text, _ = await ask(ReportApp(reports), http(path), body("DELIVRD"))
    assert (status, headers, text) == (204, {}, "")
    assert (await reports.get(report_id)).delivered


async def test_a_body_in_pieces(reports, report_id, path):
    raw = body("DELIVRD")
    status, *_ = await ask(ReportApp(reports), http(path), raw[:7], b"", raw[7:])
    assert status == 204
    assert (await reports.get(report_id)).delivered


async def test_a_message_with_nothing_but_its_type_is_an_empty_body(reports, path):
    async def receive():
        return {"type": "http.request"}

    sent = []

    async def send(message):
        sent.append(message)

    await ReportApp(reports)(http(path), receive, send)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("mount", ["", "/elsewhere", "/a/b/c"])
async def test_the_token_is_the_last_segment_wherever_it_is_mounted(reports, path, mount):
    status, *_ = await ask(ReportApp(reports), http(f"{mount}/{path.rpartition('/')[2]}"), body("DELIVRD"))
    assert status == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_posts_are_taken(reports, path, method):
    status, headers, text, unread = await ask(ReportApp(reports), http(path, method), body("DELIVRD"))
    assert (status, headers[b"allow"], text, unread) == (405, b"GET, HEAD, POST", "Method Not Allowed", 1)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_ping_is_answered_200_without_effect(reports, report_id, path, method):
    called = []
    app = ReportApp(reports, on_report=called.append)
    for asked in (path, "/hooks/sms/x", "/", ""):  # alike, so that it tells nobody which tokens are true
        status, _, text, unread = await ask(app, http(asked, method), body("DELIVRD"))
        assert (status, text, unread) == (200, "Delivery reports are taken here, by POST.", 1)
    assert called == []
    assert await reports.get(report_id) is None


@pytest.mark.parametrize(
    "bad", ["/", "", "/hooks/sms", "/hooks/sms/", "/hooks/sms/x", "/hooks/sms/" + "é" * 54]
)
async def test_without_a_token_the_body_is_not_read(reports, bad):
    status, _, text, unread = await ask(ReportApp(reports), http(bad), body("DELIVRD"))
    assert (status, text, unread) == (403, "Forbidden", 1)


async def test_refused_token_is_logged_without_it(reports, caplog):
    assert (await ask(ReportApp(reports), http("/hooks/sms/made-up"), b""))[0] == 403
    assert "a delivery report was refused (403)" in caplog.text
    assert "made-up" not in caplog.text


async def test_slash_after_the_token_is_passed_over_as_mounts_of_litestar_add_one(reports, report_id, path):
    assert (await ask(ReportApp(reports), http(f"{path}/"), body("DELIVRD")))[0] == 204
    assert (await reports.get(report_id)).status == "DELIVRD"


async def test_a_strangers_body_is_not_read(reports):
    for forged in (
        "/" + "A" * 54,
        "/"
        + DeliveryReports("https://x.example", b"another secret of 16").url_for("0" * 32, "34666666111")[
            -54:
        ],
    ):
        status, _, text, unread = await ask(ReportApp(reports), http(forged), body("DELIVRD"))
        assert (status, text, unread) == (403, "Forbidden", 1)


async def test_a_forged_report(reports, report_id, path):
    for forged in (http(path[:-1] + ("A" if path[-1] != "A" else "E")), http("/" + "A" * 54)):
        status, _, text, _ = await ask(ReportApp(reports), forged, body("DELIVRD"))
        assert (status, text) == (403, "Forbidden")
    status, *_ = await ask(ReportApp(reports), http(path), body("DELIVRD", number="34666666222"))
    assert status == 403
    assert await reports.get(report_id) is None


async def test_a_malformed_report_does_not_lose_its_neighbours(reports, report_id, path):
    called = []
    app = ReportApp(reports, on_report=called.append)
    status, headers, text, _ = await ask(app, http(path), body("ACCEPTD", "DELIVRD").replace(b'"0"', b"[]"))
    assert status == 400
    assert text.startswith("1 taken; report 0, sms_id: is an array; expected ")
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert (await reports.get(report_id)).delivered
    assert [report.sms_id for report in called] == ["1"]


@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 10**18])
async def test_a_body_that_is_announced_too_long_is_not_read(reports, path, length):
    scope = http(path, Content_Length=str(length))
    status, _, text, unread = await ask(ReportApp(reports), scope, b"[]")
    assert (status, text, unread) == (413, "Content Too Large", 1)


async def test_a_body_that_turns_out_too_long_is_read_no_further(reports, path):
    chunks = [b" " * (MAX_BODY_BYTES // 2)] * 5
    status, _, _, unread = await ask(ReportApp(reports), http(path), *chunks)
    assert (status, unread) == (413, 2)


async def test_the_longest_body_is_taken(reports, report_id, path):
    raw = body("DELIVRD")
    raw += b" " * (MAX_BODY_BYTES - len(raw))
    scope = http(path, content_type="text/html", content_length=str(len(raw)))
    status, *_ = await ask(ReportApp(reports), scope, raw[: MAX_BODY_BYTES // 2], raw[MAX_BODY_BYTES // 2 :])
    assert status == 204


@pytest.mark.parametrize("length", ["x", "-1", "", "9" * 20, "٣"])
async def test_an_announced_length_that_is_none_is_not_believed(reports, path, length):
    status, *_ = await ask(ReportApp(reports), http(path, content_length=length), body("DELIVRD"))
    assert status == 204


async def test_a_client_that_goes_away_is_not_answered(reports, report_id, path):
    assert await ask(ReportApp(reports), http(path), body("DELIVRD"), gone=True) is None
    assert await reports.get(report_id) is None


@pytest.mark.parametrize("type_", ["lifespan", "websocket"])
async def test_another_protocol_is_refused(reports, type_):
    with pytest.raises(RuntimeError, match=type_):
        await ReportApp(reports)({"type": type_}, None, None)


# --- what is called


async def test_a_function_is_called_in_the_bodys_order(reports, report_id, path):
    called = []
    await ask(ReportApp(reports, on_report=called.append), http(path), body("ACCEPTD", "DELIVRD"))
    assert [(report.report_id, report.status) for report in called] == [
        (report_id, "ACCEPTD"),
        (report_id, "DELIVRD"),
    ]


async def test_a_coroutine_function_is_awaited_after_the_inbox_has_it(reports, report_id, path):
    called = []

    async def remember(report):
        await asyncio.sleep(0)
        called.append((report, await reports.get(report_id)))

    status, *_ = await ask(ReportApp(reports, on_report=remember), http(path), body("DELIVRD"))
    ((report, known),) = called
    assert (status, report) == (204, known)


async def test_what_is_forged_is_handed_to_nobody(reports, path):
    called = []
    app = ReportApp(reports, on_report=called.append)
    await ask(app, http(path), body("DELIVRD", number="34666666222"))
    assert called == []


async def test_what_it_raises_is_raised_on_and_loses_no_report(reports, report_id, path):
    called = []

    def broken(report):
        called.append(report.status)
        if report.status == "ACCEPTD":
            raise LookupError("no such user")

    app = ReportApp(reports, on_report=broken)
    with pytest.raises(LookupError, match="no such user") as caught:
        await ask(app, http(path), body("ACCEPTD", "DELIVRD"))
    assert called == ["ACCEPTD", "DELIVRD"]
    assert (await reports.get(report_id)).delivered
    text = "".join(reported(caught.value))
    assert NUMBER not in text
    assert SECRET not in text
    # And the same again, as the gateway may post it after a 500: the one is superseded, the other was taken.
    status, *_ = await ask(app, http(path), body("ACCEPTD", "DELIVRD"))
    assert (status, called) == (204, ["ACCEPTD", "DELIVRD"])


async def test_on_report_that_failed_is_called_again_for_the_same_report(reports, path):
    called = []

    def broken_at_first(report):
        called.append(report.status)
        if len(called) == 1:
            raise LookupError("no such user")

    app = ReportApp(reports, on_report=broken_at_first)
    with pytest.raises(LookupError):
        await ask(app, http(path), body("DELIVRD"))
    for _ in range(2):
        status, *_ = await ask(app, http(path), body("DELIVRD"))
        assert status == 204
    assert called == ["DELIVRD", "DELIVRD"]


@pytest.mark.parametrize(
    ("bodies", "news"),
    [
        ([["DELIVRD"], ["ACCEPTD"]], ["DELIVRD"]),
        ([["ACCEPTD"], ["DELIVRD"], ["ACCEPTD"], ["DELIVRD"]], ["ACCEPTD", "DELIVRD"]),
        ([["DELIVRD", "ACCEPTD"]], ["DELIVRD"]),
        ([["ACCEPTD"], ["ACCEPTD"], ["UNKNOWN"], ["UNDELIV"]], ["ACCEPTD", "UNKNOWN", "UNDELIV"]),
    ],
)
async def test_on_report_gets_what_is_news_only(reports, path, bodies, news):
    called = []
    app = ReportApp(reports, on_report=called.append)
    for statuses in bodies:
        raw = json.dumps([one | {"sms_id": "1"} for one in json.loads(body(*statuses))]).encode()
        status, *_ = await ask(app, http(path), raw)
        assert status == 204
    assert [report.status for report in called] == news


async def test_on_report_of_another_process_gets_nothing_superseded(reports, path):
    first, second = [], []
    await ask(ReportApp(reports, on_report=first.append), http(path), body("DELIVRD"))
    await ask(ReportApp(reports, on_report=second.append), http(path), body("ACCEPTD"))
    assert ([report.status for report in first], second) == (["DELIVRD"], [])


async def test_on_report_is_remembered_of_so_many_requests(reports, monkeypatch):
    monkeypatch.setattr(asgi, "_REMEMBERED", 2)
    called = []
    app = ReportApp(reports, on_report=called.append)
    paths = ["/" + reports.url_for(reports.new_id(), NUMBER).rpartition("/")[2] for _ in range(3)]
    for asked in (*paths, *paths):
        await ask(app, http(asked), body("DELIVRD"))
    assert len(app._told) == 2
    assert len(called) == 6  # each was forgotten before it came again


async def test_what_it_raises_for_several_is_a_group(reports, path):
    def broken(report):
        raise LookupError(report.status)

    with pytest.raises(ExceptionGroup) as caught:
        await ask(ReportApp(reports, on_report=broken), http(path), body("ACCEPTD", "DELIVRD"))
    assert [str(error) for error in caught.value.exceptions] == ["ACCEPTD", "DELIVRD"]


@pytest.mark.parametrize(
    ("arguments", "setting"), [({"reports": SECRET}, "reports"), ({"on_report": "print"}, "on_report")]
)
def test_a_setting_of_another_type(reports, arguments, setting):
    with pytest.raises(InvalidConfiguration) as caught:
        ReportApp(**{"reports": reports} | arguments)
    assert caught.value.setting == setting


def test_neither_needs_a_framework():
    code = (
        "import sys, gateway360_async.integrations.asgi, gateway360_async.delivery; "
        "sys.exit(any(name in sys.modules for name in ('starlette', 'uvicorn', 'fastapi')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
