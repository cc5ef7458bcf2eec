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
STRANGER = DeliveryReports(URL, "another-s3cret-of-mine").url_for("0" * 32, "34666666111")[-54:]
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


@pytest.fixture
def called():
    return []


@pytest.fixture
def app(reports, called):
    return ReportApp(reports, on_report=called.append)


async def ask(app, path, *chunks, method="POST", gone=False, **headers):
    """Send a request, and give the answer's status, text and headers, and how many chunks were left unread."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": fields}
    messages = [
        {"type": "http.request", "body": chunk, "more_body": gone or index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request"})
    unread, sent = iter(messages), []

    async def receive():
        return next(unread)

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
    return start["status"], end["body"].decode(), headers, len(list(unread)) - 1


@pytest.mark.parametrize("mount", ["", "/elsewhere", "/a/b/c"])
@pytest.mark.parametrize("slash", ["", "/"])  # mounts of Litestar add one
async def test_report_is_taken_wherever_the_app_is_mounted(app, reports, report_id, path, mount, slash):
    asked = f"{mount}/{path.rpartition('/')[2]}{slash}"
    assert await ask(app, asked, body("DELIVRD")) == (204, "", {}, 0)
    assert (await reports.get(report_id)).delivered


@pytest.mark.parametrize(
    ("padded", "headers"),
    [
        (0, {}),
        (MAX_BODY_BYTES, {"content_type": "text/html", "content_length": str(MAX_BODY_BYTES)}),
        *((0, {"content_length": length}) for length in ("x", "-1", "", "9" * 20, "٣")),
    ],
)
async def test_body_in_pieces_is_taken_up_to_its_bound(app, reports, report_id, path, padded, headers):
    raw = body("DELIVRD").ljust(padded)
    assert (await ask(app, path, raw[:7], b"", raw[7:], **headers))[0] == 204
    assert (await reports.get(report_id)).delivered


REFUSED = {
    **{(method, "", ""): (405, "Method Not Allowed") for method in ("PUT", "DELETE", "OPTIONS", "PATCH")},
    # Any path, so that it tells no true tokens apart.
    **{
        (method, asked, ""): (200, "Delivery reports are taken here, by POST.")
        for method in ("GET", "HEAD")
        for asked in ("", "/hooks/sms/x", "/")
    },
    **{
        ("POST", asked, ""): (403, "Forbidden")
        for asked in ("/", "/hooks/sms", "/hooks/sms/", "/x", f"/{'é' * 54}", f"/{'A' * 54}", f"/{STRANGER}")
    },
    **{("POST", "", f"{size}"): (413, "Content Too Large") for size in (MAX_BODY_BYTES + 1, 10**18)},
}


@pytest.mark.parametrize(("asked", "answer"), REFUSED.items())
async def test_request_that_is_no_report_is_answered_unread(
    app, reports, report_id, called, path, asked, answer
):
    method, other, length = asked
    headers = {"Content_Length": length} if length else {}
    status, text, fields, unread = await ask(app, other or path, body("DELIVRD"), method=method, **headers)
    assert (status, text, unread) == (*answer, 1)
    assert (fields.get(b"allow") == b"GET, HEAD, POST") is (status == 405)
    assert (called, await reports.get(report_id)) == ([], None)


async def test_body_that_turns_out_too_long_is_read_no_further(app, path):
    status, _, _, unread = await ask(app, path, *[b" " * (MAX_BODY_BYTES // 2)] * 5)
    assert (status, unread) == (413, 2)


async def test_refused_token_is_logged_without_it(app, caplog):
    assert (await ask(app, "/hooks/sms/made-up", b""))[0] == 403
    assert "a delivery report was refused (403)" in caplog.text
    assert "made-up" not in caplog.text


async def test_forged_report_is_refused_and_not_handed_over(app, reports, report_id, called, path):
    for asked, number in ((path[:-1] + ("A" if path[-1] != "A" else "E"), NUMBER), (path, "34666666222")):
        assert (await ask(app, asked, body("DELIVRD", number=number)))[:2] == (403, "Forbidden")
    assert (called, await reports.get(report_id)) == ([], None)


async def test_malformed_report_does_not_lose_its_neighbours(app, reports, report_id, called, path):
    status, text, headers, _ = await ask(app, path, body("ACCEPTD", "DELIVRD").replace(b'"0"', b"[]"))
    assert status == 400
    assert text.startswith("1 taken; report 0, sms_id: is an array; expected ")
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert (await reports.get(report_id)).delivered
    assert [report.sms_id for report in called] == ["1"]
    assert (await ask(app, path))[0] == 400  # no body


async def test_client_that_goes_away_is_not_answered(app, reports, report_id, path):
    assert await ask(app, path, body("DELIVRD"), gone=True) is None
    assert await reports.get(report_id) is None


@pytest.mark.parametrize("type_", ["lifespan", "websocket"])
async def test_other_protocol_is_refused(app, type_):
    with pytest.raises(RuntimeError, match=type_):
        await app({"type": type_}, None, None)


async def test_coroutine_function_is_awaited_once_the_inbox_has_it(reports, report_id, path, called):
    async def remember(report):
        await asyncio.sleep(0)
        called.append((report, await reports.get(report_id)))

    assert (await ask(ReportApp(reports, on_report=remember), path, body("DELIVRD")))[0] == 204
    ((report, known),) = called
    assert (report, report.report_id) == (known, report_id)


async def test_error_of_on_report_is_raised_and_loses_no_report(reports, report_id, path, called):
    def broken(report):
        called.append(report.status)
        if report.status == "ACCEPTD":
            raise LookupError("no such user")

    app = ReportApp(reports, on_report=broken)
    with pytest.raises(LookupError, match="no such user") as caught:
        await ask(app, path, body("ACCEPTD", "DELIVRD"))
    assert called == ["ACCEPTD", "DELIVRD"]
    assert (await reports.get(report_id)).delivered
    text = "".join(reported(caught.value))
    assert NUMBER not in text
    assert SECRET not in text
    # And the same again, as the gateway may post it after a 500: the one is superseded, the other was taken.
    assert (await ask(app, path, body("ACCEPTD", "DELIVRD")))[0] == 204
    assert called == ["ACCEPTD", "DELIVRD"]


async def test_on_report_that_failed_is_called_again(reports, path, called):
    def broken_at_first(report):
        called.append(report.status)
        if len(called) == 1:
            raise LookupError("no such user")

    app = ReportApp(reports, on_report=broken_at_first)
    with pytest.raises(LookupError):
        await ask(app, path, body("DELIVRD"))
    for _ in range(2):
        assert (await ask(app, path, body("DELIVRD")))[0] == 204
    assert called == ["DELIVRD", "DELIVRD"]


async def test_errors_of_on_report_for_several_are_a_group(reports, path):
    def broken(report):
        raise LookupError(report.status)

    with pytest.raises(ExceptionGroup) as caught:
        await ask(ReportApp(reports, on_report=broken), path, body("ACCEPTD", "DELIVRD"))
    assert [str(error) for error in caught.value.exceptions] == ["ACCEPTD", "DELIVRD"]


@pytest.mark.parametrize(
    ("bodies", "news"),
    [
        ([["ACCEPTD", "DELIVRD"]], ["ACCEPTD", "DELIVRD"]),
        ([["DELIVRD"], ["ACCEPTD"]], ["DELIVRD"]),
        ([["ACCEPTD"], ["DELIVRD"], ["ACCEPTD"], ["DELIVRD"]], ["ACCEPTD", "DELIVRD"]),
        ([["DELIVRD", "ACCEPTD"]], ["DELIVRD"]),
        ([["ACCEPTD"], ["ACCEPTD"], ["UNKNOWN"], ["UNDELIV"]], ["ACCEPTD", "UNKNOWN", "UNDELIV"]),
    ],
)
async def test_on_report_gets_news_only(app, reports, called, path, bodies, news):
    for statuses in bodies:
        raw = json.dumps([one | {"sms_id": "1"} for one in json.loads(body(*statuses))]).encode()
        assert (await ask(app, path, raw))[0] == 204
    assert [report.status for report in called] == news
    in_another_process = []
    await ask(ReportApp(reports, on_report=in_another_process.append), path, body("ACCEPTD"))
    assert bool(in_another_process) is (news[-1] == "ACCEPTD")


async def test_on_report_is_remembered_of_so_many_requests(app, reports, called, monkeypatch):
    monkeypatch.setattr(asgi, "_MAX_ENTRIES", 2)
    paths = ["/" + reports.url_for(reports.new_id(), NUMBER).rpartition("/")[2] for _ in range(3)]
    for asked in (*paths, *paths):
        await ask(app, asked, body("DELIVRD"))
    assert len(called) == 6  # each was forgotten before it came again
    for asked in paths[1:]:
        await ask(app, asked, body("DELIVRD"))
    assert len(called) == 6


@pytest.mark.parametrize(
    ("arguments", "setting"), [({"reports": SECRET}, "reports"), ({"on_report": "print"}, "on_report")]
)
def test_setting_of_another_type_is_refused(reports, arguments, setting):
    with pytest.raises(InvalidConfiguration) as caught:
        ReportApp(**{"reports": reports} | arguments)
    assert caught.value.setting == setting


def test_import_needs_no_framework():
    code = (
        "import sys, gateway360_async.integrations.asgi, gateway360_async.delivery; "
        "sys.exit(any(name in sys.modules for name in ('starlette', 'uvicorn', 'fastapi')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
