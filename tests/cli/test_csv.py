"""A CSV is read strictly: no cell moves from one row into another."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway360_async.cli._csv import MalformedCell, cells_of, csv_rows
from gateway360_async.cli._problems import FileProblem


def read(*lines: str, columns: str = "msisdn,sms_text,sender", delimiter: str = ",") -> list:
    names = columns.split(",")
    text = names.index("sms_text") if "sms_text" in names else None
    numbered = enumerate(io.StringIO("\n".join(lines), newline=""), 2)
    return list(csv_rows("FILE", numbered, delimiter, names, text))


def refused(*lines: str, **how: str) -> str:
    with pytest.raises(FileProblem) as caught:
        read(*lines, **how)
    return str(caught.value).removeprefix("FILE, ")


OPEN = "a quote opens here and is not closed"
ROW = "34600000002,Your {PIN},X"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['1,"Your {PIN},X', *[ROW] * 100], f"line 2, sms_text: {OPEN}: line 3 looks like a row"),
        (['1,Your {PIN},"X', *[ROW] * 100], f"line 2, sender: {OPEN}: line 3 looks like a row"),
        (['1,"Your {PIN}', ROW, ROW, 'bye",X'], f"line 2, sms_text: {OPEN}: line 3 looks like a row"),
        (['1,"Your {PIN}', "bye", "+34 600-000-002"], f"line 2, sms_text: {OPEN}: line 4 looks like a row"),
        (['1,"Your {PIN}', "34600000002.0,,"], f"line 2, sms_text: {OPEN}: line 3 looks like a row"),
        (['1,"a', 'b {PIN}","X', ROW], f"line 3, sender: {OPEN}: line 4 looks like a row"),
        (["1,a,b", '1,"Your {PIN}'], f"line 3, sms_text: {OPEN}"),
        (['1,"Your {PIN}', *["bye" * 50] * 100], f"line 2, sms_text: {OPEN}"),
        (['1,a {PIN},"X', 'Y"'], "lines 2 to 3, sender: only sms_text may hold a line break: take it out"),
        (['1,"a', 'b"c,X'], "lines 2 to 3, sms_text: there is text after the closing quote"),
        (['1,"a"b'], "line 2, sms_text: there is text after the closing quote"),
        (['1,a "b" {PIN}'], "line 2, sms_text: a quote stands within the cell"),
        (['1, "a"'], "line 2, sms_text: a quote stands within the cell"),
        ([r'1,"say \"hi\" {PIN}",X'], "line 2, sms_text: a backslash escapes nothing in a CSV"),
        ([r'1,"{PIN} \"",X'], "line 2, sms_text: a backslash escapes nothing in a CSV"),
        ([r"1,say\, {PIN}"], "line 2, sms_text: a backslash escapes nothing in a CSV"),
        (['1,a,b,"c'], f"line 2, column 4: {OPEN}"),
    ],
    ids=lambda value: None if isinstance(value, list) else value[:40],
)
def test_row_that_could_be_read_otherwise_refuses_the_file(lines, said):
    assert refused(*lines).startswith(said)


def test_line_with_the_delimiters_of_a_row_looks_like_one():
    semicolons = {"columns": "name,msisdn,sms_text", "delimiter": ";"}
    assert refused('Ana;1;"Your {PIN}', "Eva;unknown;x", **semicolons).endswith("line 3 looks like a row")
    ((_, _, cells),) = read('1,"Your {PIN}', 'Thanks, Ana, and bye, now"')
    assert cells == ["1", "Your {PIN}\nThanks, Ana, and bye, now"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
def test_text_of_an_sms_may_hold_line_breaks(end):
    lines = f'"Your {{PIN}}{end}{end}bye ""now""",34600000001,X{end}x,2,Y'
    rows = read(lines, columns="sms_text,msisdn,sender")
    assert rows == [
        (2, 4, [f'Your {{PIN}}{end}{end}bye "now"', "34600000001", "X"]),
        (5, 5, ["x", "2", "Y"]),
    ]


def test_number_in_a_spreadsheets_dress_is_no_quote_within():
    assert cells_of('="34600000001",="x","=""1"""', ",") == ['="34600000001"', '="x"', '="1"']


CELL = st.text(st.sampled_from(["a", '"', ",", ";", "1", " ", "é"]), max_size=6)


@given(st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=4), st.sampled_from(",;\t"))
def test_csv_as_the_standard_library_writes_it_is_read_as_it_was(rows, delimiter):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    assert [cells_of(line, delimiter) for line in out.getvalue().split("\n")[:-1]] == rows


@given(st.text(st.sampled_from(["a", '"', ",", "\\", "="]), max_size=12))
def test_line_that_is_read_is_read_as_by_the_csv_module(line):
    try:
        cells = cells_of(line, ",")
    except MalformedCell:
        return
    assert cells == (next(csv.reader([line], strict=True)) or [""])
