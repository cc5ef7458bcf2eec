"""The files of a batch, and the command line that goes on with it."""

from __future__ import annotations

import inspect
import io
import json
import os
import shlex
from contextlib import ExitStack

import pytest
from support.cli_helpers import lines_of, numbers, one_line

from gateway360_async.cli._app import app
from gateway360_async.cli._batch_options import BatchOptions, free_name
from gateway360_async.cli._problems import UsageProblem
from gateway360_async.cli._results import create
from gateway360_async.cli._rows import open_input
from gateway360_async.sandbox import HLR_FAIL_PREFIX


def test_name_that_holds_something_gets_a_number(tmp_path):
    name = tmp_path / "out.v1.jsonl"
    assert free_name(str(name)) == str(name)
    name.touch()
    assert free_name(str(name)) == str(name)
    name.write_text("x")
    assert free_name(str(name)) == str(tmp_path / "out.v1-2.jsonl")
    (tmp_path / "out.v1-2.jsonl").write_text("x")
    assert (
        free_name(str(name))
        == free_name(str(tmp_path / "out.v1-2.jsonl"))
        == str(tmp_path / "out.v1-3.jsonl")
    )


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (BatchOptions("numbers.txt"), "gateway360 batch numbers.txt"),
        (BatchOptions("-", json=True), "gateway360 batch - --json"),
        (
            BatchOptions("numbers.txt", region="ES", line_types="any"),
            "gateway360 batch numbers.txt --region ES --line-types any",
        ),
        (BatchOptions("-n.csv", sender="-X"), "gateway360 batch ./-n.csv --sender=-X"),
        (
            BatchOptions(
                "my file.csv",
                out="out.jsonl",
                column=["msisdn=tel", "sms_text=my text"],
                sender="GOOD PIZZA",
                base_url="http://127.0.0.1:1",
                path_prefix="/api/3.0",
                concurrency=7,
                rate="30/s",
                on_duplicate="send",
                store="a.db",
                name="welcome",
                resend_maybe_sent=True,
                report="r.html",
            ),
            (
                "gateway360 batch 'my file.csv' --out out.jsonl --sender 'GOOD PIZZA' --column msisdn=tel "
                "--column 'sms_text=my text' --rate 30/s --concurrency 7 --name welcome --resend-maybe-sent "
                "--on-duplicate send --report r.html --base-url http://127.0.0.1:1 --path-prefix /api/3.0 "
                "--store a.db"
            ),
        ),
    ],
    ids=["bare", "stdin", "numbers", "dashes", "all"],
)
def test_command_that_goes_on_says_all_that_was_said(options, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert options.command() == command
    # And it is understood as it was meant.
    taken = []

    def take(coroutine, *, json):
        taken.append(inspect.getcoroutinelocals(coroutine)["options"])
        coroutine.close()

    monkeypatch.setattr("gateway360_async.cli._options.run", take)
    app(shlex.split(command)[1:], standalone_mode=False)
    assert taken[0].command() == command


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [("30/s", 1 / 30), ("30", 1 / 30), ("1000/m", 0.06), ("7200/h", 0.5), (" 0.5/s ", 2.0), (None, None)],
)
def test_rate_gives_the_seconds_between_two_requests(rate, seconds):
    expected = None if seconds is None else pytest.approx(seconds)
    assert BatchOptions("numbers", rate=rate).interval == expected


NO_RATES = ["fast", "0/s", "0.0", "-1/s", "30/d", "30/", "1e3/s", ""]
EXTREMES = ["1" + "0" * 400, "1000001/s", "0." + "0" * 320 + "1", "0.00001", "0.04/h"]


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        *((rate, f"--rate {rate}: give a number above 0") for rate in NO_RATES),
        *((rate, "--rate: give a rate from one a day, 0.042/h, to 1000000/s") for rate in EXTREMES),
    ],
)
def test_rate_that_is_none_or_not_sensible_is_refused(rate, says):
    with pytest.raises(UsageProblem, match=says):
        BatchOptions("numbers", rate=rate).interval  # noqa: B018


# --- Through the command -----------------------------------------------------------------------------------


def test_report_that_cannot_be_written_is_refused(cli, sandbox, tmp_path):
    file, page = tmp_path / "numbers", tmp_path / "report.html"
    file.write_text(numbers(3))
    page.write_text("the page of the run before")
    for options, says in [
        (["--report", str(page)], f"--report {page}: this file holds something already"),
        (["--report", str(tmp_path)], f"--report {tmp_path}: this is a folder; name a file in it"),
        (
            ["--report", "/no/such/folder/report.html"],
            "/no/such/folder/report.html: there is no folder /no/such/folder; make it first",
        ),
        (["--report", "-"], "--report -: the page needs a file of its own"),
        (["--report", str(tmp_path / "x"), "--out", str(tmp_path / "x")], "--out names the same file"),
        (["--store", str(tmp_path / "y"), "--report", str(tmp_path / "y")], "--report names the same file"),
    ]:
        result = cli.invoke(app, ["batch", str(file), "--sender", "X", *options])
        assert result.exit_code == 2
        assert says in one_line(result.stderr)
    assert page.read_text() == "the page of the run before"
    assert sandbox.requests == []


def test_same_command_with_store_writes_to_next_free_names(cli, sandbox, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers").write_text(numbers(3))
    command = ["batch", "numbers", "--sender", "X", "--store", "l", "--out", "o.jsonl", "--report", "r.html"]
    first = cli.invoke(app, command)
    assert (first.exit_code, first.stderr.count("holds something")) == (0, 0)
    before = [(tmp_path / name).read_bytes() for name in ("o.jsonl", "r.html")]
    dry = cli.invoke(app, [*command, "--dry-run"])
    assert dry.exit_code == 0
    assert "The report is in r-2.html" in dry.stderr
    assert "this is what the store knows" in (tmp_path / "r-2.html").read_text()
    (tmp_path / "r-2.html").unlink()
    again = cli.invoke(app, command)
    assert again.exit_code == 0
    assert again.stderr.splitlines()[:2] == [
        "gateway360: --out o.jsonl holds something already; this run's is o-2.jsonl",
        "gateway360: --report r.html holds something already; this run's is r-2.html",
    ]
    assert "The report is in r-2.html" in again.stderr
    assert "3 of these SMS were sent before this run" in again.stderr
    page = (tmp_path / "r-2.html").read_text()
    assert "All 3 were sent" in page
    assert "Entries to look at" not in page
    assert [line["reason"] for line in lines_of((tmp_path / "o-2.jsonl").read_text())] == [
        "already_completed"
    ] * 3
    third = cli.invoke(app, [*command, "--json"])
    summary = json.loads(third.stderr)
    assert (summary["sent"], summary["sent_before"], summary["skipped"]) == (3, 3, 0)
    assert (summary["results"], summary["report"]) == ("o-3.jsonl", "r-3.html")
    assert [(tmp_path / name).read_bytes() for name in ("o.jsonl", "r.html")] == before
    assert len(sandbox.messages) == 3
    # The next free name may be the other's.
    result = cli.invoke(app, [*command[:6], "--out", "r.html", "--report", "r-4.html"])
    assert "--report r-4.html: --out names the same file" in result.stderr


def test_folder_is_no_file_for_results(cli, sandbox, tmp_path):
    (tmp_path / "numbers").write_text(numbers(3))
    result = cli.invoke(
        app,
        [
            "batch",
            str(tmp_path / "numbers"),
            "--sender",
            "X",
            "--store",
            str(tmp_path / "l"),
            "--out",
            str(tmp_path),
        ],
    )
    assert result.exit_code == 2
    assert "this is a folder; name a file in it" in one_line(result.stderr)


def test_results_file_is_for_its_owner_alone(cli, sandbox, tmp_path):
    file, out = tmp_path / "numbers", tmp_path / "out.jsonl"
    file.write_text(numbers(1))
    before = os.umask(0)
    try:
        assert cli.invoke(app, ["batch", str(file), "--sender", "X", "--out", str(out)]).exit_code == 0
    finally:
        os.umask(before)
    assert oct(out.stat().st_mode & 0o777) == "0o600"


async def test_input_that_was_read_from_before_is_read_from_there(tmp_path, monkeypatch):
    file = tmp_path / "in.csv"
    file.write_text("a title\nmsisdn\n1\n2\n")
    with file.open("rb", buffering=0) as opened:
        assert opened.readline() == b"a title\n"
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(opened))
        with ExitStack() as files:
            given = await open_input("-", None, "X", files)
            assert ([row["msisdn"] for row in given.rows], given.total) == (["1", "2"], 2)


def test_create_appends_to_what_another_run_wrote(tmp_path):
    name = tmp_path / "out"
    name.write_text("another run's\n")
    with ExitStack() as files:
        create(str(name), files).write("ours\n")
    assert name.read_text() == "another run's\nours\n"


def test_page_that_cannot_be_written_takes_no_result_with_it(cli, sandbox, tmp_path):
    file, out = tmp_path / "numbers", tmp_path / "out.jsonl"
    file.write_text(numbers(3))
    result = cli.invoke(
        app, ["batch", str(file), "--sender", "X", "--out", str(out), "--report", "/dev/full"]
    )
    assert result.exit_code == 1
    assert "gateway360: /dev/full: No space left on device; the page is not whole" in result.stderr
    assert "The report is in" not in result.stderr
    assert [line["result"] for line in lines_of(out.read_text())] == ["Ok"] * 3


def test_page_shows_the_run_and_no_whole_number(cli, sandbox, tmp_path):
    file, page = tmp_path / "numbers-34600000001.csv", tmp_path / "report.html"
    bad = f"{HLR_FAIL_PREFIX}000001"
    file.write_text(f"msisdn,sender\n34600000001,X\n34600000001,X\n{bad},X\n12,X\n")
    options = ["--report", str(page), "--rate", "1000/s", "--sender", "34600000009"]
    result = cli.invoke(app, ["batch", str(file), *options])
    assert result.exit_code == 1
    text = page.read_text(encoding="utf-8")
    assert f"The report is in {page}" in result.stderr
    assert "1 of 4 were sent" in text
    assert "34*****001" in text
    assert "1000/s" in text
    for number in ("34600000001", bad, "34600000009", sandbox.api_key):
        assert number not in text
