"""Files in the forms that people have, and what becomes of the rows that are wrong."""

from __future__ import annotations

import asyncio
import io
import threading

import pytest

from gateway360_async import InvalidRequest
from gateway360_async._models import request_from
from gateway360_async.cli._problems import FileProblem, UsageProblem
from gateway360_async.cli._rows import Row, Rows, ThreadReader


def rows_of(text: str) -> Rows:
    return Rows(io.StringIO(text, newline=""), "FILE")


def listed(text: str) -> list[tuple[int, dict[str, object]]]:
    return [(row.line, dict(row)) for row in rows_of(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("34600000001\n", [(1, {"msisdn": "34600000001"})]),
        (
            "\n 34600000001 \r\n\n+34 600 000 002",
            [(2, {"msisdn": "34600000001"}), (4, {"msisdn": "+34 600 000 002"})],
        ),
        ("\ufeff\n1\n", [(2, {"msisdn": "1"})]),
        ("customers\n1\n", [(1, {"msisdn": "customers"}), (2, {"msisdn": "1"})]),
    ],
    ids=["one", "blank lines and spaces", "a mark alone is a blank line", "a title is a bad row"],
)
def test_one_number_a_line(text, expected):
    assert listed(text) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_csv_with_the_apis_names(delimiter):
    header = ["MSISDN", " sender ", "hlr_lookup", "sms_text", "pin_params.type", "pin_params.length"]
    cells = ["34600000001", "GOOD PIZZA", "0", "Code: {PIN} ", "alpha", "8"]
    text = f"{delimiter.join(header)}\r\n{delimiter.join(cells)}\r\n"
    assert listed(text) == [
        (
            2,
            {
                "msisdn": "34600000001",
                "sender": "GOOD PIZZA",
                "hlr_lookup": 0,
                "sms_text": "Code: {PIN} ",
                "pin_params": {"type": "alpha", "length": 8},
            },
        )
    ]


def test_empty_cells_and_blank_rows_are_left_out():
    text = "msisdn,sender,pin_params.length\n34600000001,,\n\n,,\n34600000002,X, \n"
    assert listed(text) == [(2, {"msisdn": "34600000001"}), (5, {"msisdn": "34600000002", "sender": "X"})]


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("hlr_lookup", "1", 1),
        ("hlr_lookup", "True", True),
        ("hlr_lookup", "false", False),
        ("hlr_lookup", "Yes", True),
        ("hlr_lookup", "no", False),
        ("hlr_lookup", "1.0", True),
        ("hlr_lookup", "0.00", False),
        ("pin_params.max_tries", "0.0", 0),
        ("hlr_lookup", "VERDADERO", True),
        ("hlr_lookup", "Sí", True),
        ("hlr_lookup", "si\u0301", True),
        ("hlr_lookup", "FALSO", False),
        ("hlr_lookup", "n", False),
        ("hlr_lookup", "\u200b0\u200b", False),
        ("pin_params.type", "ALPHA", "alpha"),
        ("hlr_lookup", "maybe", "maybe"),
        ("pin_params.length", "6.0", 6),
        ("pin_params.length", " 6.000 ", 6),
        ("pin_params.length", '"6,0"', 6),
        ("pin_params.expires_in", '"1,000"', "1,000"),
        ("pin_params.max_tries", "-1", -1),
        ("pin_params.max_tries", "2.5", "2.5"),
        ("pin_params.max_tries", "9" * 40, "9" * 40),
        ("pin_params.max_tries", "²", "²"),
    ],
)
def test_cell_is_read_or_left_to_the_requests_check(column, cell, value):
    ((_, fields),) = listed(f"msisdn,{column}\n34600000001,{cell}\n")
    group, _, field = column.partition(".")
    assert (fields[group][field] if field else fields[group]) == value


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("hlr_lookup", "maybe", "maybe is not yes, no, 1 or 0"),
        ("hlr_lookup", "2", "2 is not yes, no, 1 or 0"),
        ("hlr_lookup", "\u00b2", "\u00b2 is not yes, no, 1 or 0"),
        ("pin_params.length", "six", "six is not a whole number from 4 to 16"),
        ("pin_params.length", "6.5", "6.5 is not a whole number from 4 to 16"),
        ("pin_params.length", "3", "is too small; expected a whole number from 4 to 16"),
        ("pin_params.expires_in", "1 h", "1 h is not a whole number of seconds, 0 or more"),
        ("pin_params.max_tries", "\x1b[2J", "\\x1b[2J is not a whole number, 0 or more"),
        ("pin_params.max_tries", "+34 666 666 111", "the cell is not a whole number, 0 or more"),
        ("pin_params.max_tries", "your code is ready now", "the cell is not a whole number, 0 or more"),
        (
            "sms_text",
            r"Your {PIN}\nbye",
            r"holds \n or the like, which the phone shows as it is; expected a line break itself",
        ),
        ("pin_params.type", "digits", "digits is not numeric, alpha or alphanumeric"),
    ],
    ids=ascii,
)
def test_cell_that_cannot_be_read_is_refused_in_a_persons_words(column, cell, said):
    (row,) = rows_of(f"msisdn,{column}\n34600000001,{cell}\n")
    for _ in range(2):  # as often as it is looked at
        with pytest.raises(InvalidRequest) as caught:
            request_from(row, sender="X")
        assert str(caught.value) == f"{column}: {said}"
    assert row["msisdn"] == "34600000001"


@pytest.mark.parametrize("header", ["msisdn,sender", "msisdn,sender,"], ids=["beyond", "unnamed"])
def test_cell_without_a_column_refuses_its_row(header):
    bad, good = rows_of(f"{header}\n1,X,oops\n34600000002,X,\n")
    with pytest.raises(InvalidRequest, match="column 3: the first line has no name for it"):
        request_from(bad)
    assert request_from(good).msisdn == "34600000002"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("msisdn;sender;;\n1;X;;\n", [(2, {"msisdn": "1", "sender": "X"})]),
        (",,msisdn\n,,1\n", [(2, {"msisdn": "1"})]),
        ("\t\tmsisdn\n\t\t1\n", [(2, {"msisdn": "1"})]),
        ("\ufeff\ufeffmsisdn,\u200bsender\n1,X\n", [(2, {"msisdn": "1", "sender": "X"})]),
        ("sep=;\nmsisdn;sender\n1,2;X\n", [(3, {"msisdn": "1,2", "sender": "X"})]),
        ('\ufeff\n"sep=\t"\r\nmsisdn\tsender\r\n1,2\tX\r\n', [(4, {"msisdn": "1,2", "sender": "X"})]),
        ("msisdn,name,name\n1,Ana,x\n", [(2, {"msisdn": "1"})]),
        ("msisdn;sender\n;;;\n\u200b;\n1;X\n", [(4, {"msisdn": "1", "sender": "X"})]),
    ],
    ids=["tail", "head", "tabs", "two marks", "sep", "quoted sep", "other columns", "empty cells"],
)
def test_file_as_a_spreadsheet_saves_it_is_read(text, expected):
    assert listed(text) == expected


def test_top_lines_are_counted_for_those_who_cut_the_file():
    assert [rows_of(text).headed_by for text in ("", "1\n", "\n1\n", "\nsep=;\nmsisdn;a\n1\n")] == [
        0,
        0,
        1,
        3,
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "msisdn\n", "msisdn,sender\n\n,\n", "sep=;\n"], ids=ascii)
def test_file_without_rows_is_refused(text):
    with pytest.raises(FileProblem, match="^FILE: there are no numbers in it$"):
        listed(text)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"PK\x03\x04\x14", r"FILE: this is a spreadsheet \(.xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1", r"FILE: this is a spreadsheet \(.xls\)"),
        ("msisdn".encode("utf-16"), "FILE: this is text in UTF-16, not a CSV"),
        (b"m\0s\0i\0", "FILE, line 1: this is no text"),
        (b"1\n" + b"x" * 100_001, "FILE, line 2: this is no text"),
        ("1\n2\ntel\u00e9fono".encode("cp1252"), "FILE, line 3: this is not UTF-8, but Windows-1252"),
    ],
    ids=["xlsx", "xls", "UTF-16 with its mark", "UTF-16", "no lines", "cp1252"],
)
def test_file_of_another_kind_is_named_with_the_way_to_save_it(start, said):
    with pytest.raises(UsageProblem, match=f"^{said}.*save it as .CSV UTF-8.$"):
        listed(start.decode("utf-8", "surrogateescape"))


# --- From a thread ---------------------------------------------------------------------------------------


async def test_rows_from_a_thread_come_in_order_and_not_far_ahead():
    read = []

    def source():
        for line in range(1000):
            read.append(line)
            yield Row(line, {})

    rows = aiter(ThreadReader(source()))
    assert (await anext(rows)).line == 0
    assert len(read) <= 64 + 2
    assert [row.line async for row in rows] == list(range(1, 1000))


async def test_thread_reader_raises_the_error_of_its_source():
    def source():
        yield Row(1, {})
        raise FileProblem("broken")

    rows = aiter(ThreadReader(source()))
    assert (await anext(rows)).line == 1
    with pytest.raises(FileProblem, match="broken"):
        await anext(rows)


async def test_wait_for_a_row_that_does_not_come_ends_when_stopped():
    never = threading.Event()

    def source():
        yield Row(1, {})
        never.wait(5)
        yield Row(2, {})

    reader = ThreadReader(source())
    rows = aiter(reader)
    assert (await anext(rows)).line == 1
    waiting = asyncio.ensure_future(anext(rows, None))
    await asyncio.sleep(0)
    reader.stop()
    assert await waiting is None
    never.set()


async def test_row_that_comes_as_the_reader_stops_is_left():
    reader = ThreadReader(iter([]))
    waiting = asyncio.ensure_future(anext(aiter(reader), None))
    reader._queue.put_nowait(Row(1, {}))
    reader.stop()
    assert await waiting is None


def test_thread_reader_without_a_loop_ends_quietly():
    release = threading.Event()

    def source():
        yield Row(1, {})
        release.wait(5)

    async def first() -> Row:
        return await anext(aiter(ThreadReader(source())))

    assert asyncio.run(first()).line == 1
    release.set()
    for thread in threading.enumerate():
        if thread.name == "gateway360-rows":
            thread.join(5)
