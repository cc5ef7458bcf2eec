"""`batch --dry-run`: everything is checked, and nothing happens."""

from __future__ import annotations

import json
import os
import sys

import pytest
from support.cli_helpers import invoke_here, lines_of, numbers, one_line

from gateway360_async.cli._app import app
from gateway360_async.cli._batch import Gateway360Client


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No connection is opened, and no client made."""

    def refuse(*args, **kwargs):
        raise AssertionError("a dry run opens no connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr(Gateway360Client, "__init__", refuse)


def test_dry_run_says_what_would_be_sent_and_what_is_wrong(cli, tmp_path):
    file = tmp_path / "customers.csv"
    file.write_text("msisdn,sender\n34600000001,X\n+34 600 000 001,X\n123,X\n34600000002,\n34600000003,Y\n")
    out = tmp_path / "out.jsonl"
    options = ["--rate", "30/m", "--out", str(out)]
    result = cli.invoke(app, ["batch", str(file), "--dry-run", *options])
    assert result.exit_code == 1
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"Dry run of {file}: nothing was sent, and no connection opened."
    assert [line.split(maxsplit=1)[0] for line in lines[2:6]] == ["5", "2", "1", "2"]
    assert "At --rate 30/m they take 2.00 s or more." in lines
    assert any("GATEWAY360_API_KEY is not set" in line for line in lines)
    assert lines[-2].startswith("  line 4, msisdn: has 3 digits")
    assert lines[-1].startswith("  line 5, sender: is missing; ")
    assert not out.exists()


def test_dry_run_of_valid_rows_exits_with_0(run_batch, monkeypatch):
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    result = run_batch(numbers(1200), "--dry-run", "--concurrency", "7")
    assert result.exit_code == 0
    assert "1,200  requests" in result.stdout
    assert "Without --rate, 7 requests are on their way at a time." in result.stdout
    assert "GATEWAY360_API_KEY" not in result.stdout
    assert "key" not in result.stdout


def test_duplicates_that_are_to_be_sent_are_requests(run_batch):
    result = run_batch("34600000001\n34600000001\n", "--dry-run", "--on-duplicate", "send")
    assert result.exit_code == 0
    assert "2  requests" in result.stdout
    assert "would get two PINs" in result.stdout
    assert "duplicates, which" not in result.stdout


def test_dry_run_of_many_invalid_rows_shows_the_first(cli, tmp_path):
    file = tmp_path / "numbers"
    file.write_text("12\n" * 1234 + "34600000001\n" * 2)
    command = ["batch", str(file), "--sender", "X", "--dry-run", "--rate", "30/s"]
    result = cli.invoke(app, command)
    assert result.stdout.count("  line ") == 20
    assert "  and 1,214 more: --json lists them all" in result.stdout
    result = cli.invoke(app, [*command, "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stderr) == {
        "dry_run": True,
        "entries": 1236,
        "invalid": 1234,
        "duplicates": 1,
        "requests": 1,
        "by_country": {"ES": 1},
        "two_readings": 0,
        "seconds_at_rate": 0.0,
        "store": None,
        "notice": None,
        "exit_code": 1,
    }
    lines = lines_of(result.stdout)
    assert len(lines) == 1235
    assert lines[0]["reason"] == "invalid"
    assert lines[-1] == {
        "index": 1235,
        "line": 1236,
        "msisdn": "34600000001",
        "result": "Skipped",
        "disposition": "not_sent",
        "reason": "duplicate",
        "detail": "an earlier entry has the same number",
    }


def test_dry_run_counts_by_country_and_names_unread_columns(cli, tmp_path):
    file = tmp_path / "in.csv"
    known = ["34600000001", "34600000002", "447400123456", "+882 1612 345678"]
    others = ["351912345678", "33612345678", "4915123456789", "393312345678", "48512345678", "41781234567"]
    others += ["436641234567", "32470123456", "31612345678", "46701234567", "4740612345", "4532123456"]
    others += ["358412345678", "353850123456", "420601123456", "421912123456", "36201234567", "40712034567"]
    others += ["306912345678"]
    file.write_text("msisdn,name\n" + "".join(f"{number},Ana\n" for number in known + others))
    result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "              by country: 2 ES, 1 GB, 1 +882, 1 PT, " in result.stdout
    assert ", and of 2 more countries\n" in result.stdout
    assert "Columns that are not read: name.\n" in result.stdout
    result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--dry-run", "--json"])
    summary = json.loads(result.stderr)
    assert (summary["by_country"]["ES"], len(summary["by_country"])) == (2, 22)
    assert summary["notice"] == "columns that are not read: name"


def test_rows_from_a_pipe_can_be_looked_at_too(monkeypatch):
    read, write = os.pipe()
    os.write(write, b"34600000001\n12\n")
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, stdout, _ = invoke_here(["batch", "-", "--sender", "X", "--dry-run"])
    assert code == 1
    assert stdout.startswith("Dry run of stdin: ")
    assert "line 2, msisdn" in stdout


@pytest.mark.parametrize("option", ["--out", "--report", "--store"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no/x", "there is no folder no; make it first"),
        ("numbers/x", "numbers is no folder"),
        (".", "this is a folder; name a file in it"),
    ],
)
def test_files_that_the_batch_could_not_write_are_found_out(cli, tmp_path, monkeypatch, option, name, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers").write_text(numbers(1))
    result = cli.invoke(app, ["batch", "numbers", "--sender", "X", "--dry-run", option, name])
    assert result.exit_code == 2
    assert one_line(result.stderr) == f"gateway360: {option} {name}: {says}"
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]


@pytest.mark.parametrize("name", ["there", "not-there"])
def test_file_that_may_not_be_written_is_found_out(cli, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers").write_text(numbers(1))
    (tmp_path / "there").touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    result = cli.invoke(app, ["batch", "numbers", "--sender", "X", "--dry-run", "--out", name])
    assert result.exit_code == 2
    assert f"--out {name}: this user may not write it; name another" in one_line(result.stderr)


def test_dry_run_refuses_files_that_hold_something(cli, tmp_path):
    file = tmp_path / "numbers"
    file.write_text(numbers(1))
    for option in ("--out", "--report"):
        result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--dry-run", option, str(file)])
        assert result.exit_code == 2
        assert "holds something already" in one_line(result.stderr)


TEXTS = (
    "msisdn,sms_text\n"
    "34600000001,Your code: {PIN}\n"
    f"34600000002,{'á' * 100} {{PIN}}\n"
    "34600000003,“Your” code: {{PIN}}\n"
    "34600000004,\n"
    "34600000005,${PIN} or\n"
    f"34600000006,{'€' * 80} %{{PIN}}\n"
    "123,“{PIN}”\n"
)


def test_dry_run_warns_of_texts_by_row_and_in_all(run_batch):
    result = run_batch(TEXTS, "--dry-run")
    assert result.exit_code == 1  # for the row that is invalid: a warning is none
    about = result.stdout[result.stdout.index("5 texts") :].splitlines()
    gsm_7 = "a segment holds 70 or 67 units, not 160 or 153"
    accent = f"GSM-7 has no U+00E1 LATIN SMALL LETTER A WITH ACUTE at position 1: {gsm_7}"
    quote = f"GSM-7 has no U+201C LEFT DOUBLE QUOTATION MARK at position 1 (and of others: 1): {gsm_7}"
    braces = "the phone shows {123456} for {{PIN}}: write {PIN} alone"
    percent = "the phone shows %123456 for %{PIN}: write {PIN} alone"
    assert about[:-1] == [
        "5 texts take 7 segments, which operators bill one by one.",
        "           2  take more than one segment",
        "           2  hold characters that GSM-7 does not have",
        "           3  show braces or signs around the PIN",
        "",
        "Warnings:",
        f"  line 3, sms_text: the text takes 2 segments: 107 units of UCS-2; {accent}",
        f"  line 4, sms_text: {quote}; {braces}",
        "  line 6, sms_text: the phone shows $123456 for ${PIN}: write {PIN} alone",
        f"  line 7, sms_text: the text takes 2 segments: 168 units of GSM-7; {percent}",
        "",
        "Invalid:",
    ]


def test_texts_are_warned_of_in_json(run_batch):
    result = run_batch(TEXTS, "--dry-run", "--json")
    assert json.loads(result.stderr)["texts"] == {
        "rows": 5,
        "segments": 7,
        "of_several_segments": 2,
        "not_gsm_7": 2,
        "with_braces": 3,
    }
    lines = lines_of(result.stdout)
    assert [(line["line"], len(line.get("warnings", []))) for line in lines] == [
        (3, 2),
        (4, 2),
        (6, 1),
        (7, 2),
        (8, 0),
    ]
    assert (lines[0]["segments"], lines[0]["units"], lines[0]["msisdn"]) == (2, 107, "34600000002")


def test_of_many_warnings_the_first_are_shown(run_batch):
    result = run_batch(
        "msisdn,sms_text\n" + "".join(f"346000000{n:02},{{{{PIN}}}}\n" for n in range(25)), "--dry-run"
    )
    assert result.exit_code == 0
    assert result.stdout.count("  line ") == 20
    assert result.stdout.rstrip().endswith("  and 5 more: --json lists them all")


def test_dry_run_says_what_is_wrong_in_a_cell(run_batch):
    result = run_batch("msisdn,hlr_lookup\n666666111,\n34600000001,maybe\n", "--dry-run")
    number, cell = result.stdout.splitlines()[-2:]
    assert number.endswith("or a region for national numbers (--region ES)")
    assert cell == "  line 3, hlr_lookup: maybe is not yes, no, 1 or 0"
