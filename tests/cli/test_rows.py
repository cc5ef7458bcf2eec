"""Files in the forms that people have, and what becomes of the rows that are wrong."""

from __future__ import annotations

import asyncio
import csv
import io
import threading

import pytest

from gateway360_async import InvalidRequest
from gateway360_async._payloads import request_from
from gateway360_async.cli._problems import UsageProblem
from gateway360_async.cli._rows import FileProblem, Row, Rows, from_thread


def rows_of(text: str) -> Rows:
    return Rows(io.StringIO(text, newline=""), "FILE")


def listed(text: str) -> list[tuple[int, dict[str, object]]]:
    return [(row.line, dict(row)) for row in rows_of(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n", []),
        ("34600000001\n", [(1, {"msisdn": "34600000001"})]),
        (
            "\n 34600000001 \r\n\n+34 600 000 002",
            [(2, {"msisdn": "34600000001"}), (4, {"msisdn": "+34 600 000 002"})],
        ),
        ("phone\n34600000001\n", [(1, {"msisdn": "phone"}), (2, {"msisdn": "34600000001"})]),
    ],
    ids=[
        "empty",
        "blank lines only",
        "one",
        "blank lines and spaces",
        "a header of another kind is a bad row",
    ],
)
def test_one_number_a_line(text, expected):
    assert listed(text) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_a_csv_with_the_apis_names(delimiter):
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


def test_empty_cells_are_fields_that_are_not_given_and_blank_rows_are_no_rows():
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
        ("hlr_lookup", "maybe", "maybe"),
        ("pin_params.length", "6.0", 6),
        ("pin_params.length", " 6.000 ", 6),
        ("pin_params.max_tries", "-1", -1),
        ("pin_params.max_tries", "2.5", "2.5"),
        ("pin_params.max_tries", "9" * 40, "9" * 40),
        ("pin_params.max_tries", "²", "²"),
    ],
)
def test_numbers_and_booleans_are_read_and_anything_else_is_left_to_the_requests_check(column, cell, value):
    ((_, fields),) = listed(f"msisdn,{column}\n34600000001,{cell}\n")
    group, _, field = column.partition(".")
    assert (fields[group][field] if field else fields[group]) == value


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("hlr_lookup", "maybe", "maybe is not yes, no, true, false, 1 or 0"),
        ("hlr_lookup", "2", "2 is not yes, no, true, false, 1 or 0"),
        ("hlr_lookup", "\u00b2", "\u00b2 is not yes, no, true, false, 1 or 0"),
        ("pin_params.length", "six", "six is not a whole number from 4 to 16"),
        ("pin_params.length", "6.5", "6.5 is not a whole number from 4 to 16"),
        ("pin_params.length", "3", "is too small; expected a whole number from 4 to 16"),
        ("pin_params.expires_in", "1 h", "1 h is not a whole number of seconds, 0 or more"),
        ("pin_params.max_tries", "\x1b[2J", "\\x1b[2J is not a whole number, 0 or more"),
        ("pin_params.max_tries", "+34 666 666 111", "the cell is not a whole number, 0 or more"),
        ("pin_params.max_tries", "your code is ready now", "the cell is not a whole number, 0 or more"),
        ("sms_text", "Su c\udcf3digo: {PIN}", "this file is not UTF-8: save it as CSV UTF-8"),
        ("hlr_lookup", "\udce9", "this file is not UTF-8: save it as CSV UTF-8"),
        ("column 2", "oops", "the first line names no such column; expected no more cells than it names"),
        ("column 2", "\udce9", "this file is not UTF-8: save it as CSV UTF-8"),
    ],
    ids=ascii,
)
def test_cell_that_cannot_be_read_is_refused_in_a_persons_words(column, cell, said):
    header = "msisdn" if column == "column 2" else f"msisdn,{column}"
    (row,) = rows_of(f"{header}\n34600000001,{cell}\n")
    for _ in range(2):  # as often as it is looked at
        with pytest.raises(InvalidRequest) as caught:
            request_from(row, sender="X")
        assert str(caught.value) == f"{column}: {said}"
    assert row["msisdn"] == "34600000001"
    assert "\udce9" not in str(dict(row))


def test_line_that_is_not_utf_8_is_refused_and_its_neighbours_stay():
    bad, good = rows_of("caf\udce9\n34600000001\n")
    with pytest.raises(InvalidRequest, match="msisdn: this file is not UTF-8: save it as CSV UTF-8"):
        request_from(bad, sender="X")
    assert dict(bad) == {"msisdn": "caf?"}
    assert request_from(good, sender="X").msisdn == "34600000001"


def test_a_cell_too_many_is_kept_under_a_name_that_no_request_has():
    assert listed("msisdn,sender\n34600000001,X,oops\n") == [
        (2, {"msisdn": "34600000001", "sender": "X", "column 3": "oops"})
    ]


def test_quoted_cells_may_hold_delimiters_and_line_breaks_and_lines_are_counted_on():
    text = 'msisdn,sms_text\n1,"a, {PIN}\nb"\n2,x\n'
    assert [(row.line, row["msisdn"]) for row in rows_of(text)] == [(2, "1"), (4, "2")]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("phone,name", "names no msisdn column"),
        ("msisdn,colour", "unknown column 'colour'"),
        ("msisdn,sender,Sender", "'sender' is there twice"),
        ("msisdn," + "x" * 200_000, "no header"),
        ("m\0s\0i\0s\0d\0n\0", "this file is not UTF-8: save it as CSV UTF-8"),
        ("\udcff\udcfem\0s\0", "this file is not UTF-8: save it as CSV UTF-8"),
        ("msisdn,t\udce9l", "this file is not UTF-8: save it as CSV UTF-8"),
        ("tel\udce9fono,t\udce9l", "this file is not UTF-8: save it as CSV UTF-8"),
    ],
    ids=[
        "no msisdn",
        "unknown",
        "twice",
        "too long",
        "UTF-16",
        "UTF-16 with its mark",
        "cp1252",
        "cp1252 alone",
    ],
)
def test_a_wrong_header_is_one_clear_problem(header, problem):
    with pytest.raises(UsageProblem, match=problem) as caught:
        rows_of(f"{header}\n34600000001,x\n")
    assert str(caught.value).startswith("FILE: ")


def test_a_row_that_is_no_csv_ends_the_file_there_and_says_so():
    rows = iter(rows_of("msisdn,sender\n1,A\n2," + "x" * (csv.field_size_limit() + 1) + "\n"))
    assert next(rows).line == 2
    with pytest.raises(
        FileProblem, match="FILE, line 3: field larger .* nothing from this line on can be read"
    ):
        next(rows)


# --- From a thread ---------------------------------------------------------------------------------------


async def test_rows_from_a_thread_come_in_order_and_not_far_ahead():
    read = []

    def source():
        for line in range(1000):
            read.append(line)
            yield Row(line, {})

    rows = from_thread(source())
    assert (await anext(rows)).line == 0
    assert len(read) <= 64 + 2
    assert [row.line async for row in rows] == list(range(1, 1000))


async def test_an_error_of_the_file_is_raised_where_the_rows_are_awaited():
    def source():
        yield Row(1, {})
        raise FileProblem("broken")

    rows = from_thread(source())
    assert (await anext(rows)).line == 1
    with pytest.raises(FileProblem, match="broken"):
        await anext(rows)


def test_a_reader_that_still_waits_when_the_loop_is_gone_ends_quietly():
    release = threading.Event()

    def source():
        yield Row(1, {})
        release.wait(5)

    async def first() -> Row:
        return await anext(from_thread(source()))

    assert asyncio.run(first()).line == 1
    release.set()
    for thread in threading.enumerate():
        if thread.name == "gateway360-rows":
            thread.join(5)
