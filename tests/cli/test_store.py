"""A batch with a store: it goes on, shares the work, and says what it has to; and the commands for a store itself."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from support.cli_helpers import lines_of, numbers, one_line
from support.postgres_process import ABSENT, PostgresProcess, is_installed

from gateway360_async import StoreError
from gateway360_async.cli import main
from gateway360_async.cli._app import app
from gateway360_async.sandbox import HLR_FAIL_PREFIX
from gateway360_async.stores import SqliteStore
from gateway360_async.stores._postgres_schema import SCHEMA


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "numbers.txt"
    file.write_text(numbers(5))
    return file


@pytest.fixture
def store(tmp_path):
    return tmp_path / "batch.db"


def batch(file, store, *more) -> list[str]:
    return ["batch", str(file), "--sender", "X", "--store", str(store), *more]


# --- Going on ----------------------------------------------------------------------------------------------


def test_same_command_with_the_same_store_goes_on(cli, sandbox, file, store):
    assert cli.invoke(app, batch(file, store)).exit_code == 0
    file.write_text(numbers(8))
    again = cli.invoke(app, batch(file, store))
    assert again.exit_code == 0
    lines = lines_of(again.stdout)
    assert sorted(line.get("reason", "sent") for line in lines) == ["already_completed"] * 5 + ["sent"] * 3
    assert {line["disposition"] for line in lines} == {"sent"}
    assert next(line for line in lines if "earlier" in line)["earlier"]["result"] == "Ok"
    assert len(sandbox.messages) == 8


def test_rows_that_are_completed_do_not_wait_for_the_rate(cli, sandbox, file, store):
    """At one an hour, three that were sent, one that is there twice and one that is invalid."""
    file.write_text(numbers(3) + "34600000000\n12\n")
    assert cli.invoke(app, batch(file, store)).exit_code == 1
    again = cli.invoke(app, batch(file, store, "--rate", "1/h"))
    assert len(lines_of(again.stdout)) == 5
    assert len(sandbox.messages) == 3


def test_name_is_the_files_wherever_it_lies_or_what_is_given(cli, sandbox, file, store, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert cli.invoke(app, batch(file, store)).exit_code == 0
    moved = file.rename(elsewhere / file.name)
    assert cli.invoke(app, batch(moved, store)).exit_code == 0
    renamed = moved.rename(tmp_path / "other.txt")
    again = cli.invoke(app, batch(renamed, store, "--name", "numbers.txt"))
    assert [line["reason"] for line in lines_of(again.stdout)] == ["already_completed"] * 5
    assert len(sandbox.messages) == 5
    assert cli.invoke(app, batch(renamed, store)).exit_code == 0
    assert len(sandbox.messages) == 10


def test_store_from_the_environment_is_used_unless_empty(cli, sandbox, file, store, monkeypatch):
    monkeypatch.setenv("GATEWAY360_STORE", str(store))
    command = ["batch", str(file), "--sender", "X"]
    for _ in range(2):
        assert cli.invoke(app, command).exit_code == 0
    assert len(sandbox.messages) == 5
    monkeypatch.setenv("GATEWAY360_STORE", "")
    assert cli.invoke(app, command).exit_code == 0
    assert len(sandbox.messages) == 10  # nothing is on record here


def test_halt_says_how_to_go_on(cli, sandbox, file, store):
    sandbox.balance = 0
    result = cli.invoke(app, batch(file, store))
    assert result.exit_code == 3
    assert "halted: not sent, the gateway answered NOT_ENOUGH_BALANCE" in result.stderr
    sandbox.balance = None
    (command,) = [line.strip() for line in result.stderr.splitlines() if line.startswith("  gateway360 ")]
    assert cli.invoke(app, shlex.split(command)[1:]).exit_code == 0
    assert len(sandbox.messages) == 5


def test_row_in_doubt_is_left_alone_or_sent_again_as_asked(cli, sandbox, file, store):
    sandbox.faults.lose_answers = True
    assert {line["disposition"] for line in lines_of(cli.invoke(app, batch(file, store)).stdout)} == {
        "maybe_sent"
    }
    sandbox.faults.lose_answers = False
    sent = len(sandbox.messages)
    alone = cli.invoke(app, batch(file, store))
    assert alone.exit_code == 1
    assert len(sandbox.messages) == sent
    assert {line["disposition"] for line in lines_of(alone.stdout)} == {"maybe_sent"}
    again = cli.invoke(app, batch(file, store, "--resend-maybe-sent"))
    assert again.exit_code == 0
    assert len(sandbox.messages) == sent + 5


# --- What is said ------------------------------------------------------------------------------------------


def test_warning_is_a_line_once_or_in_the_object(cli, sandbox, file, store, monkeypatch):
    assert cli.invoke(app, batch(file, store)).exit_code == 0
    said = (
        "gateway360: the client before this one had rate=None, and this one has 1000.0: each keeps to its own"
    )
    assert cli.invoke(app, batch(file, store, "--rate", "1000/s")).stderr.splitlines().count(said) == 1
    assert "gateway360: " not in cli.invoke(app, batch(file, store, "--rate", "1000/s")).stderr
    summary = json.loads(cli.invoke(app, batch(file, store, "--json")).stderr)
    assert [warning[:40] for warning in summary["warnings"]] == [
        said.removeprefix("gateway360: ").replace("None", "1000.0")[:40]
    ]
    monkeypatch.setenv("GATEWAY360_LOG", "info")
    assert (
        "gateway360: the client" not in cli.invoke(app, batch(file, store, "--rate", "5/s")).stderr
    )  # the log has it


def test_warnings_of_the_store_are_a_line_each(cli, sandbox, file, store, monkeypatch):
    async def check(self):
        return ["it may forget", "it may forget", "it is slow"]

    monkeypatch.setattr(SqliteStore, "check", check)
    said = cli.invoke(app, batch(file, store)).stderr.splitlines()
    assert said[:2] == ["gateway360: it may forget", "gateway360: it is slow"]
    result = cli.invoke(app, ["store", "check", str(store)])
    assert (result.exit_code, result.stderr.count("gateway360: it may forget"), result.stdout) == (1, 2, "")


def test_store_that_fails_on_the_way_ends_the_batch(cli, sandbox, file, store, monkeypatch):
    claim = SqliteStore.claim

    async def refuse(self, claims):
        if sandbox.messages:
            raise StoreError("is full", "room")
        return await claim(self, claims)

    monkeypatch.setattr(SqliteStore, "claim", refuse)
    file.write_text(numbers(200))
    result = cli.invoke(app, batch(file, store, "--concurrency", "1"))
    assert result.exit_code == 1
    assert "gateway360: the store is full; expected room" in result.stderr
    sent = [line for line in lines_of(result.stdout) if line["disposition"] == "sent"]
    assert len(sent) == len(sandbox.messages) < 200


def test_batch_whose_rows_are_forgotten_is_refused(cli, sandbox, file, store, monkeypatch):
    assert cli.invoke(app, batch(file, store)).exit_code == 0
    now = SqliteStore.now

    async def later(self):
        return await now(self) + 30 * 86_400

    monkeypatch.setattr(SqliteStore, "now", later)
    result = cli.invoke(app, batch(file, store))
    assert result.exit_code == 2
    assert "kept the rows of the batch 'numbers.txt' for 7 days, which are over" in one_line(result.stderr)
    assert len(sandbox.messages) == 5


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--name", "welcome"], "--name: needs a store; give --store, or GATEWAY360_STORE"),
        (["--name", ""], "--name: needs a store"),
        (["--resend-maybe-sent"], "--resend-maybe-sent: needs a store"),
        (["--store", ""], "--store: is empty"),
        (
            ["--store", "http://user:secret@localhost"],
            "--store: begins with http://; expected a file, or redis://",
        ),
        (["--store", "x.db", "--name", ""], "--name: "),
        (["--store", "x.db", "--name", "x" * 201], "--name: "),
        (["--ledger", "x"], "No such option: --ledger"),
        (["--fleet", "x"], "No such option: --fleet"),
    ],
    ids=["name", "empty name", "resend", "empty", "url", "no name", "long name", "gone", "gone, too"],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_store_options_that_are_wrong_are_refused(
    sandbox, file, options, says, dry, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gateway360", "batch", str(file), "--sender", "X", *options, *dry])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert says in one_line(said)
    assert "secret" not in said
    assert sandbox.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.txt"]


def test_stdin_has_no_name(cli, sandbox, store):
    result = cli.invoke(app, batch("-", store))
    assert result.exit_code == 2
    assert "--name: stdin has no name" in one_line(result.stderr)


def test_driver_that_is_not_installed_is_named(file):
    program = "import sys; sys.modules['redis'] = None; from gateway360_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *batch(file, "redis://localhost:1")],
        env=os.environ | {"GATEWAY360_API_KEY": "key"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "redis" in one_line(done.stderr)
    assert "install gateway360-async[" in done.stderr


def test_server_that_is_away_is_one_line_and_no_file(cli, sandbox, file, tmp_path):
    out = tmp_path / "out.jsonl"
    result = cli.invoke(app, batch(file, "redis://:secret@127.0.0.1:1/0", "--out", str(out)))
    assert result.exit_code == 2
    assert "the store " in one_line(result.stderr)
    assert "secret" not in result.stderr
    assert not out.exists()


def test_file_that_is_no_store_is_one_line(cli, sandbox, file, tmp_path):
    for store in (tmp_path, file):
        result = cli.invoke(app, batch(file, store))
        assert result.exit_code == 2
        one_line(result.stderr)
    assert sandbox.requests == []
    assert file.read_text() == numbers(5)


# --- Looking without sending -------------------------------------------------------------------------------


def test_dry_run_makes_no_store(cli, file, store):
    result = cli.invoke(app, batch(file, store, "--dry-run", "--json"))
    assert result.exit_code == 0
    assert json.loads(result.stderr)["store"] == {
        "completed": 0,
        "in_doubt": 0,
        "in_progress": 0,
        "free": 5,
    }
    assert not store.exists()


def test_dry_run_says_what_the_store_knows_and_needs_no_key(cli, sandbox, file, store, tmp_path, monkeypatch):
    file.write_text(numbers(3) + f"{HLR_FAIL_PREFIX}000001\n")
    assert cli.invoke(app, batch(file, store)).exit_code == 1
    sandbox.faults.lose_answers = True
    file.write_text("34600000007\n")
    assert cli.invoke(app, batch(file, store)).exit_code == 1
    posts = len(sandbox.requests)
    file.write_text(numbers(600) + f"{HLR_FAIL_PREFIX}000001\n12\n")
    monkeypatch.delenv("GATEWAY360_API_KEY")
    page = tmp_path / "page.html"
    result = cli.invoke(app, batch(file, store, "--dry-run", "--rate", "1/s", "--report", str(page)))
    assert result.exit_code == 1  # for the row that is invalid
    lines = result.stdout.splitlines()
    at = lines.index("In the store, the batch numbers.txt has")
    assert [line.split(maxsplit=1)[0] for line in lines[at + 2 : at + 6]] == ["4", "1", "0", "596"]
    assert "At --rate 1/s they take 9 min 55 s or more." in lines
    text = page.read_text()
    assert "Nothing was sent: this is what the store knows. Rows that are free: 596" in text
    assert "3 of 5 were sent, 1 may have been" in text
    assert len(sandbox.requests) == posts
    again = cli.invoke(app, batch(file, store, "--dry-run", "--json", "--on-duplicate", "send"))
    assert json.loads(again.stderr)["store"]["completed"] == 4


# --- gateway360 store --------------------------------------------------------------------------------------


def test_store_in_a_file_needs_no_init_and_is_checked(cli, sandbox, file, store):
    assert "Nothing is needed" in cli.invoke(app, ["store", "init", str(store)]).stdout
    missing = cli.invoke(app, ["store", "check", str(store)])
    assert (missing.exit_code, one_line(missing.stderr)) == (2, f"gateway360: {store}: there is no such file")
    assert not store.exists()
    assert cli.invoke(app, batch(file, store)).exit_code == 0
    result = cli.invoke(app, ["store", "check", str(store)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "Nothing is wrong with how the store is set up.\n"


def test_new_epoch_is_asked_for_and_forgets_nothing(cli, sandbox, file, store, monkeypatch):
    monkeypatch.setenv("GATEWAY360_STORE", str(store))
    assert cli.invoke(app, ["batch", str(file), "--sender", "X"]).exit_code == 0
    refused = cli.invoke(app, ["store", "new-epoch"], input="n\n")
    assert refused.exit_code == 1
    assert "Each program that uses the store has to be restarted then" in refused.stderr
    assert "new epoch" not in refused.stdout
    agreed = cli.invoke(app, ["store", "new-epoch"], input="y\n")
    assert (agreed.exit_code, agreed.stdout.count("The store has a new epoch")) == (0, 1)
    assert cli.invoke(app, ["store", "new-epoch", "--yes"]).exit_code == 0
    assert cli.invoke(app, ["batch", str(file), "--sender", "X"]).exit_code == 0
    assert len(sandbox.messages) == 5


def test_tables_of_a_store_in_postgresql_are_made_or_shown(cli, sandbox, file):
    if not is_installed():
        pytest.skip(ABSENT)
    with PostgresProcess() as server:
        url = server.dsn()
        refused = cli.invoke(app, batch(file, url))
        assert refused.exit_code == 2
        assert "gateway360 store init" in one_line(refused.stderr)
        shown = cli.invoke(app, ["store", "init", url, "--sql"])
        assert (shown.exit_code, shown.stdout) == (0, f"{SCHEMA}\n")
        assert cli.invoke(app, batch(file, url)).exit_code == 2  # it was shown, and not run
        assert cli.invoke(app, ["store", "init", url]).stdout == "The store is ready.\n"
        for _ in range(2):
            assert cli.invoke(app, batch(file, url)).exit_code == 0
    assert len(sandbox.messages) == 5
