"""`gateway360 demo --processes 2`: two real commands, and one of them is killed."""

from __future__ import annotations

import json

import pytest

from gateway360_async.cli import _demo
from gateway360_async.cli._app import app
from gateway360_async.cli._demo import Account
from gateway360_async.cli._examples import EXAMPLES

pytestmark = pytest.mark.timeout(120)  # processes take seconds to start on a machine that is busy


def test_demo_with_killed_process_accounts_for_every_sms(cli, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # it is about this machine alone
    monkeypatch.setenv("GATEWAY360_STORE", "nowhere://")
    assert "gateway360 demo --processes 2" in [example for _, example in EXAMPLES["demo"]]
    result = cli.invoke(app, ["demo", "--processes", "2", "--count", "300", "--concurrency", "10"])
    assert result.exit_code == 0, result.output
    assert "process 1 was killed (SIGKILL) after 50 results" in result.stdout
    assert "SMS to one number at most: 1\n" in result.stdout
    assert result.stdout.endswith("in doubt: every SMS is accounted for\n")


def test_demo_says_it_to_programs_too(cli):
    result = cli.invoke(app, ["demo", "--processes", "2", "--count", "40", "--concurrency", "5", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["entries"], said["most_messages_to_a_number"], said["killed_after"]) == (40, 1, 6)
    assert (said["by_reason"]["duplicate"], said["by_reason"]["invalid"]) == (2, 2)
    assert said["in_doubt_with_a_message"] <= said["in_doubt"] <= 25
    assert (said["problems"], said["accounted_for"], said["exit_code"]) == ([], True, 0)


def test_demo_exits_with_1_if_its_claim_does_not_hold(cli, monkeypatch):
    class Doubling(_demo.Sandbox):
        @property
        def messages(self):
            return [*super().messages, *super().messages[:1]]

    monkeypatch.setattr(_demo, "Sandbox", Doubling)
    result = cli.invoke(app, ["demo", "--processes", "2", "--count", "20"])
    assert result.exit_code == 1, result.output
    assert "THIS MUST NOT BE" in result.stdout
    assert "1 numbers with two SMS" in result.stdout


def test_demo_with_stalled_processes_gives_up(cli, monkeypatch):
    monkeypatch.setattr(_demo, "_STALLED", 0.0)
    result = cli.invoke(app, ["demo", "--processes", "2", "--count", "20"])
    assert result.exit_code == 2, result.output
    assert "gateway360: nothing happened for 0 s; a process said last: nothing" in result.stderr


def test_process_that_does_not_begin_is_quoted(cli, monkeypatch):
    monkeypatch.setattr(_demo, "demo_numbers", lambda count: ["phone,name", "34600000001,x"])
    result = cli.invoke(app, ["demo", "--processes", "2", "--count", "20", "--json"])
    assert result.exit_code == 2, result.output
    problem = json.loads(result.stderr)["problem"]
    assert problem.startswith("a process did not begin; it said: ")
    assert problem.endswith("add --column msisdn=phone")


# --- The account -------------------------------------------------------------------------------------------


def lines(*said: tuple[str, str]):
    """A line for each number and what was said of it."""
    for index, (msisdn, disposition) in enumerate(said):
        yield {"index": index, "msisdn": msisdn, "disposition": disposition, "result": "Ok"}


def account_of(*said, rows: int | None = None) -> Account:
    account = Account(len(said) if rows is None else rows)
    for line in lines(*said):
        account.add(line)
    return account


def test_account_that_holds():
    account = account_of(("1", "sent"), ("2", "not_sent"), ("3", "maybe_sent"), ("4", "maybe_sent"))
    account.add(
        {"index": 4, "msisdn": "1", "disposition": "not_sent", "result": "Skipped", "reason": "duplicate"}
    )
    account._rows = 5
    assert account.close({"1": 1, "3": 1}, 2)
    assert (account.problems, account.in_doubt, account.of_in_doubt) == ([], 2, 1)
    assert account.audit.counts() == {"sent": 1, "not sent": 1, "maybe sent": 2, "skipped": 1}


@pytest.mark.parametrize(
    ("said", "sms", "problem"),
    [
        ([("1", "sent")], {"1": 2}, "1 numbers with two SMS"),
        ([("1", "sent"), ("2", "sent")], {"1": 1}, "1 numbers that are said to be sent, without an SMS"),
        ([("1", "not_sent")], {"1": 1}, "1 numbers that are said to be not sent, with an SMS"),
        ([("1", "sent")], {"1": 1, "2": 1}, "1 numbers with an SMS of which nothing was said"),
        ([("1", "maybe_sent"), ("2", "maybe_sent")], {"1": 1}, "1 rows in doubt beyond 1"),
    ],
)
def test_account_that_does_not_hold_says_why(said, sms, problem):
    account = account_of(*said)
    assert not account.close(sms, 1)
    assert account.problems == [problem]


def test_account_wants_each_row_once_and_an_sms():
    missing = account_of(("1", "sent"), rows=2)
    assert not missing.close({"1": 1}, 0)
    assert missing.problems == ["1 rows without one result"]
    assert not account_of(("1", "not_sent")).close({}, 0)
