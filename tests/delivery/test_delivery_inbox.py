"""The inbox: reports that are taken, refused, kept and waited for."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import threading
from datetime import datetime

import attrs
import pytest
from support.leaks import reported

from gateway360_async import Gateway360Error, InvalidConfiguration, InvalidRequest
from gateway360_async.delivery import (
    MAX_BODY_BYTES,
    DeliveryReport,
    DeliveryReports,
    DeliveryStatus,
    ForgedReport,
    InvalidReports,
    dump_delivery_reports,
    parse_delivery_reports,
)
from gateway360_async.delivery._inbox import _size

URL = "https://example.com/hooks/sms"
SECRET = "a-s3cret-of-the-tests"
NUMBER = "34666666111"
OTHER = "34666666222"


def report(status="DELIVRD", msisdn=NUMBER, second=None, sms_id="1"):
    return DeliveryReport(
        sms_id=sms_id,
        msisdn=msisdn,
        status=status,
        dlr_date=None if second is None else datetime(2026, 1, 1, 12, 0, second),
    )


def posted(*reports):
    return dump_delivery_reports(reports)


def token_for(reports, report_id, number=NUMBER):
    return reports.url_for(report_id, number).rpartition("/")[2]


@pytest.fixture
def reports():
    return DeliveryReports(URL, SECRET)


@pytest.fixture
def report_id(reports):
    return reports.new_id()


@pytest.fixture
def token(reports, report_id):
    return token_for(reports, report_id)


# --- what is taken, and what is not


async def test_receive_takes_a_report_with_its_report_id(reports, report_id, token):
    assert await reports.get(report_id) is None
    assert await reports.wait(report_id, 0.001) is None
    assert await reports.receive(token, b"[]") == []
    assert await reports.get(report_id) is None
    body = posted(report()).replace(NUMBER.encode(), b"+" + NUMBER.encode())
    (taken,) = await reports.receive(token, body)
    assert taken == attrs.evolve(report(), report_id=report_id)
    assert await reports.get(report_id) == taken
    assert await reports.wait(report_id, 5) == taken


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        (SECRET, posted(report(msisdn=OTHER))),
        (SECRET, posted(report(msisdn=OTHER)).replace(b"]", b",7]")),
        ("another-s3cret-of-mine", posted(report())),
    ],
    ids=["number", "number and malformed", "secret"],
)
async def test_receive_refuses_forged_reports(secret, body, reports, report_id):
    token = token_for(DeliveryReports(URL, secret), report_id)
    with pytest.raises(ForgedReport) as caught:
        await reports.receive(token, body)
    text = "".join(reported(caught.value))
    assert not any(hidden in text for hidden in (NUMBER, OTHER, SECRET, token))
    assert await reports.get(report_id) is None


async def test_receive_takes_a_token_of_an_old_secret(reports, token):
    rotated = DeliveryReports(URL, ["another-s3cret-of-mine", SECRET])
    assert await rotated.receive(token, posted(report()))


async def test_receive_drops_reports_for_other_numbers(reports, report_id, token, caplog):
    caplog.set_level(logging.DEBUG, "gateway360_async")
    body = posted(report(msisdn=OTHER), report("ACCEPTD", sms_id="2"), report(msisdn=OTHER))
    taken = await reports.receive(token, body)
    assert [one.sms_id for one in taken] == ["2"]
    assert caplog.messages == ["2 of the 3 reports of a body are not for the number of its URL: dropped"]
    assert (await reports.get(report_id)).status is DeliveryStatus.ACCEPTD


async def test_receive_takes_the_neighbours_of_a_malformed_report(reports, report_id, token):
    body = posted(report(), report()).replace(b'"sms_id":"1"', b'"sms_id":""', 1)
    with pytest.raises(InvalidReports) as caught:
        await reports.receive(token, body)
    (taken,) = caught.value.reports
    assert taken.report_id == report_id
    assert [one.field for one in caught.value.problems] == ["sms_id"]
    assert await reports.get(report_id) == taken
    text = "".join(reported(caught.value))
    assert not any(hidden in text for hidden in (NUMBER, SECRET, token))


async def test_receive_refuses_a_malformed_body(reports, report_id, token):
    with pytest.raises(InvalidReports) as caught:
        await reports.receive(token, b"{")
    assert caught.value.reports == []
    assert await reports.get(report_id) is None


def test_forged_report_is_an_error_that_pickles():
    revived = pickle.loads(pickle.dumps(ForgedReport()))
    assert type(revived) is ForgedReport
    assert "token" in str(revived)
    assert isinstance(revived, Gateway360Error)


# --- of several, the one that says most


@pytest.mark.parametrize(
    ("arriving", "kept"),
    [
        (["ACCEPTD", "DELIVRD"], "DELIVRD"),
        (["DELIVRD", "ACCEPTD"], "DELIVRD"),
        (["ACCEPTD", "BRAND_NEW"], "BRAND_NEW"),
        (["DELIVRD", "DELIVRD"], "DELIVRD"),
    ],
)
async def test_final_report_stands_against_a_temporary_one(reports, report_id, token, arriving, kept):
    for status in arriving:
        assert await reports.receive(token, posted(report(status)))
    assert (await reports.get(report_id)).status == kept
    other_id = reports.new_id()
    await reports.receive(token_for(reports, other_id), posted(*map(report, arriving)))
    assert (await reports.get(other_id)).status == kept


@pytest.mark.parametrize(
    ("bodies", "superseded"),
    [
        ([["DELIVRD"], ["ACCEPTD"]], [[False], [True]]),
        ([["DELIVRD", "ACCEPTD"]], [[False, True]]),
        ([["ACCEPTD", "DELIVRD"], ["UNKNOWN", "ACCEPTD"]], [[False, False], [True, True]]),
        ([["ACCEPTD"], ["ACCEPTD"], ["UNKNOWN"]], [[False], [False], [False]]),
    ],
)
async def test_receive_marks_superseded_reports(reports, token, bodies, superseded):
    taken = [await reports.receive(token, posted(*map(report, body))) for body in bodies]
    assert [[one.superseded for one in body] for body in taken] == superseded


async def test_receive_of_an_old_body_changes_nothing(reports, report_id, token):
    await reports.receive(token, posted(report("UNDELIV", second=1)))
    await reports.receive(token, posted(report("DELIVRD", second=2)))
    before = await reports.get(report_id)
    assert await reports.receive(token, posted(report("UNDELIV", second=1)))
    assert await reports.get(report_id) == before


# --- waiting


async def test_wait_is_told_of_a_report(reports, report_id, token):
    waiting = [asyncio.create_task(reports.wait(report_id, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    (taken,) = await reports.receive(token, posted(report("ACCEPTD")))
    assert await asyncio.gather(*waiting) == [taken] * 3
    assert reports._waiters == {}


async def test_wait_for_the_end_passes_over_temporary_reports(reports, report_id, token):
    await reports.receive(token, posted(report("ACCEPTD")))
    assert await reports.wait(report_id, 0.001, final=True) is None
    waiting = asyncio.create_task(reports.wait(report_id, 5, final=True))
    await asyncio.sleep(0)
    await reports.receive(token, posted(report("BRAND_NEW")))
    assert (await reports.wait(report_id, 5)).status == "BRAND_NEW"
    assert not waiting.done()
    (taken,) = await reports.receive(token, posted(report("EXPIRED")))
    assert await waiting == taken
    assert await reports.wait(report_id, 5, final=True) == taken


async def test_wait_is_told_once_of_two_reports(reports, report_id, token):
    troubles = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    waiting = asyncio.create_task(reports.wait(report_id, 5))
    await asyncio.sleep(0)
    (first,) = await reports.receive(token, posted(report("ACCEPTD")))
    await reports.receive(token, posted(report("DELIVRD")))  # before the waiter has run
    assert not waiting.done()
    assert await waiting == first
    assert troubles == []


async def test_wait_ignores_reports_of_other_requests(reports, report_id):
    waiting = asyncio.create_task(reports.wait(report_id, 5))
    await asyncio.sleep(0)
    await reports.receive(token_for(reports, reports.new_id()), posted(report()))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_wait_leaves_nothing_behind(reports, report_id):
    waiting = [asyncio.create_task(reports.wait(report_id, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    for left, task in zip((1, 0), waiting, strict=True):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(reports._waiters.get(report_id, ())) == left
    assert await reports.wait(report_id, 0.001) is None
    assert reports._waiters == {}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 10**400, True, "1", None])
async def test_wait_refuses_a_wrong_timeout(reports, report_id, timeout):
    with pytest.raises(InvalidRequest) as caught:
        await reports.wait(report_id, timeout)
    assert caught.value.field == "timeout"


async def test_get_and_wait_refuse_a_wrong_report_id(reports):
    for method in (reports.get("x"), reports.wait("x", 1)):
        with pytest.raises(InvalidRequest) as caught:
            await method
        assert caught.value.field == "report_id"


# --- event loops and threads


def in_another_loop(coroutine):
    """Run in an event loop of another thread, to its end."""
    result = []
    thread = threading.Thread(target=lambda: result.append(asyncio.run(coroutine)))
    thread.start()
    thread.join()
    return result[0]


async def test_wait_is_told_from_the_loop_of_another_thread(reports, report_id, token, monkeypatch):
    loop = asyncio.get_running_loop()
    handed_over = []

    def call_soon_threadsafe(callback, *args):
        handed_over.append(threading.current_thread())
        return type(loop).call_soon_threadsafe(loop, callback, *args)

    waiting = asyncio.create_task(reports.wait(report_id, 5))
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "call_soon_threadsafe", call_soon_threadsafe)
    (taken,) = in_another_loop(reports.receive(token, posted(report())))
    assert not waiting.done()
    # Nothing else may be called from there: it would not wake a loop that is asleep.
    (thread,) = handed_over
    assert thread is not threading.current_thread()
    assert await waiting == taken


def test_inbox_outlives_an_event_loop(reports, report_id, token):
    async def left_behind():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        return await reports.wait(report_id, 5)

    loop = asyncio.new_event_loop()
    task = loop.create_task(left_behind())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    (taken,) = asyncio.run(reports.receive(token, posted(report())))  # no waiter is told, and nothing fails
    assert asyncio.run(reports.wait(report_id, 5)) == taken
    task._log_destroy_pending = False
    del task, loop
    gc.collect()


# --- what is kept


async def test_memory_drops_the_oldest_report_first():
    reports = DeliveryReports(URL, SECRET, max_entries=2)
    ids = [reports.new_id() for _ in range(3)]
    for report_id in ids:
        await reports.receive(token_for(reports, report_id), posted(report()))
        await reports.receive(token_for(reports, ids[0]), posted(report()))  # again is not anew
    kept = [await reports.get(report_id) is not None for report_id in ids]
    assert kept == [True, False, True]
    assert len(reports._store._reports) == 2


async def test_memory_is_bounded_in_bytes(report_id):
    reports = DeliveryReports(URL, SECRET, max_bytes=8 * 1024 * 1024)
    ids = [reports.new_id() for _ in range(20)]
    longest = attrs.evolve(report(), custom="x" * 1_000_000)
    for one in ids:
        await reports.receive(token_for(reports, one), posted(longest))
        await reports.receive(token_for(reports, one), posted(longest))  # in the place of the first
    kept = [await reports.get(one) is not None for one in ids]
    assert kept == [False] * 12 + [True] * 8
    for one in ids:
        await reports.receive(token_for(reports, one), posted(report("UNDELIV")))
    assert all([await reports.get(one) for one in ids])
    store = reports._store
    assert store._bytes == sum(map(_size, store._reports.values()))


async def test_largest_report_fits_the_least_memory():
    reports = DeliveryReports(URL, SECRET, max_bytes=8 * 1024 * 1024)
    one = reports.new_id()
    wide = json.loads(posted(report()))[0] | {"custom": "\U0001f355" + "x" * (MAX_BODY_BYTES - 200)}
    body = json.dumps(wide, ensure_ascii=False).encode()
    assert MAX_BODY_BYTES - 100 < len(body) <= MAX_BODY_BYTES
    (taken,) = await reports.receive(token_for(reports, one), body)
    assert _size(taken) > 4_000_000
    assert await reports.get(one) == taken


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_entries", 0),
        ("max_entries", 1.5),
        ("max_entries", True),
        ("max_bytes", 8 * 1024 * 1024 - 1),
        ("max_bytes", None),
        ("poll", 0),
        ("poll", "1"),
        ("poll", float("nan")),
    ],
)
def test_wrong_setting_is_refused(setting, value):
    with pytest.raises(InvalidConfiguration) as caught:
        DeliveryReports(URL, SECRET, **{setting: value})
    assert caught.value.setting == setting


# --- a store that processes share


class Table:
    """A store as an application would write one: bytes by key."""

    def __init__(self):
        self.rows = {}
        self.looks = 0
        self.looked = asyncio.Event()

    async def put(self, report_id, report):
        await asyncio.sleep(0)
        kept = self.rows.get(report_id)
        if kept is None or report.supersedes(parse_delivery_reports(kept)[0]):
            self.rows[report_id] = dump_delivery_reports([report])

    async def get(self, report_id):
        await asyncio.sleep(0)
        self.looks += 1
        self.looked.set()
        row = self.rows.get(report_id)
        return None if row is None else parse_delivery_reports(row)[0]


async def test_store_is_shared_by_two_processes():
    table = Table()
    web = DeliveryReports(URL, SECRET, store=table)
    worker = DeliveryReports(URL, SECRET, store=table, poll=0.001)
    report_id = worker.new_id()
    waiting = asyncio.create_task(worker.wait(report_id, 5))
    await table.looked.wait()
    await web.receive(token_for(worker, report_id), posted(report("ACCEPTD")))
    assert (await waiting).status == "ACCEPTD"
    assert table.looks >= 2
    ending = asyncio.create_task(worker.wait(report_id, 5, final=True))
    await web.receive(token_for(worker, report_id), posted(report("DELIVRD")))
    await web.receive(token_for(worker, report_id), posted(report("ACCEPTD")))
    assert (await ending).delivered
    assert (await web.get(report_id)).delivered
    assert (await web.get(report_id)).report_id == report_id  # which the table does not keep


async def test_wait_with_a_store_is_told_before_the_next_look():
    reports = DeliveryReports(URL, SECRET, store=(table := Table()), poll=3600)
    report_id = reports.new_id()
    waiting = asyncio.create_task(reports.wait(report_id, 5))
    await table.looked.wait()
    (taken,) = await reports.receive(token_for(reports, report_id), posted(report()))
    assert await waiting == taken
    assert table.looks == 1


async def test_store_error_goes_to_the_caller():
    class Broken(Table):
        async def put(self, report_id, report):
            raise OSError("disk full")

        async def get(self, report_id):
            raise TimeoutError("the store's own")

    reports = DeliveryReports(URL, SECRET, store=Broken())
    report_id = reports.new_id()
    with pytest.raises(OSError, match="disk full") as caught:
        await reports.receive(token_for(reports, report_id), posted(report()))
    assert NUMBER not in "".join(reported(caught.value))
    with pytest.raises(TimeoutError, match="own"):
        await reports.wait(report_id, 5)
    assert reports._waiters == {}


async def test_wait_is_told_although_the_store_hangs_or_fails(monkeypatch):
    class Hanging(Table):
        async def get(self, report_id):
            self.looked.set()
            await asyncio.Event().wait()

        async def put(self, report_id, report):
            raise OSError("disk full")

    reports = DeliveryReports(URL, SECRET, store=(table := Hanging()))
    report_id = reports.new_id()
    waiting = asyncio.create_task(reports.wait(report_id, 3600))
    await table.looked.wait()
    with pytest.raises(OSError, match="disk full"):
        await reports.receive(token_for(reports, report_id), posted(report()))
    loop = asyncio.get_running_loop()
    an_hour_later = loop.time() + 3600
    monkeypatch.setattr(loop, "time", lambda: an_hour_later)
    assert (await waiting).report_id == report_id
