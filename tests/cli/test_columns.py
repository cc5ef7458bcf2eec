"""The first line: which column holds which field, and which one is meant."""

from __future__ import annotations

import pytest

from gateway360_async.cli._csv import FIELDS, header_of, renamed_columns
from gateway360_async.cli._problems import UsageProblem


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "name;telefono;mensaje",
            "no column msisdn; if telefono holds the numbers, add --column msisdn=telefono",
        ),
        ("Nombre,Número de cliente,Teléfono", "if Teléfono holds the numbers"),
        ("id,Phone number", 'add --column "msisdn=Phone number"'),
        ("telefono", "add --column msisdn=telefono"),
        ("misdn,name", "add --column msisdn=misdn"),
        (
            "id,name",
            "no column msisdn, but id, name: say which one holds the numbers, with --column msisdn=NAME",
        ),
        (
            "34600000001,Ana",
            "holds a number, not the columns' names: put a line such as msisdn,sender above it",
        ),
        ("msisdn,sender,Sender", "names the column sender twice"),
        ('msisdn,"sender', "the first line, column 2: a quote opens here and is not closed"),
    ],
    ids=[
        "Spanish",
        "the shortest",
        "English",
        "one column",
        "a typo",
        "none",
        "no header",
        "twice",
        "a quote",
    ],
)
def test_header_that_is_wrong_is_refused_with_the_cure(line, said):
    with pytest.raises(UsageProblem) as caught:
        header_of(f"{line}\r\n", None, {})
    assert said in str(caught.value)
    assert "34600000001" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "notice"),
    [
        ("msisdn,sender", None),
        ("msisdn,name,,name,city", "columns that are not read: name, city"),
        (
            "msisdn,Texto SMS,remitente",
            (
                "columns that are not read: Texto SMS, remitente; perhaps you meant --column sender=remitente "
                '--column "sms_text=Texto SMS"'
            ),
        ),
        ("msisdn,telefono", "columns that are not read: telefono"),
        ("msisdn,\x1b[2Jx", "columns that are not read: \\x1b[2Jx"),
    ],
    ids=["none", "others", "likely ones", "one that is there", "escape codes"],
)
def test_notice_names_the_columns_that_are_not_read(line, notice):
    assert header_of(line, None, {}).notice == notice


def test_column_option_says_which_column_holds_a_field():
    header = header_of(
        "msisdn,Telefono,texto", None, renamed_columns(["msisdn=telefono", "sms_text = texto"])
    )
    assert header.fields == ["", "msisdn", "sms_text"]
    assert header.notice == "columns that are not read: msisdn"


@pytest.mark.parametrize("option", ["telefono", "phone=telefono", "msisdn=", "=x"])
def test_column_option_that_is_wrong_is_refused(option):
    with pytest.raises(UsageProblem, match=f"--column {option}: write FIELD=NAME.*{', '.join(FIELDS)}"):
        renamed_columns([option])


def test_column_option_that_does_not_fit_the_header_is_refused():
    with pytest.raises(UsageProblem, match="once for each FIELD"):
        renamed_columns(["msisdn=a", "msisdn=b"])
    with pytest.raises(UsageProblem, match="--column msisdn=b: the first line names no column b"):
        header_of("msisdn", None, {"msisdn": "b"})
    with pytest.raises(UsageProblem, match="names the column a twice"):
        header_of("a,A", None, {"msisdn": "a"})
