"""What a batch ends with, and how it says to go on."""

from __future__ import annotations

import io
import json

import attrs
import pytest
from cli_helpers import numbers
from loopback import Server, status
from rich.console import Console

from gateway360_async import ApiError, Disposition, ErrorId, FailureKind, Ok, TransportFailure
from gateway360_async.cli._app import app
from gateway360_async.cli._batch import batch
from gateway360_async.cli._options import BatchOptions
from gateway360_async.cli._stats import Statistics
from gateway360_async.cli._summary import Ending, advice, show_summary, summary_object

OPTIONS = BatchOptions("numbers.txt", out="out.jsonl", sender="X")
WITH_LEDGER = BatchOptions("numbers.txt", out="out.jsonl", sender="X", ledger="batch.ledger")
MAYBE = TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT)


def counted(*results) -> Statistics:
    statistics = Statistics()
    for result in results:
        statistics.add(result, 0.0)
    return statistics


def shown(statistics: Statistics, *, terminal: bool, elapsed: float = 2.0) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    show_summary(console, statistics, Ending(code=0, elapsed=elapsed))
    return out.getvalue()


def test_a_summary_without_a_terminal_is_plain_columns():
    text = shown(counted(Ok(elapsed=0.05, attempts=2), Ok(elapsed=0.05), MAYBE), terminal=False)
    assert [line.split() for line in text.splitlines()] == [
        ["3", "entries", "in", "2.00", "s", "(1.5", "a", "second)"],
        ["result", "why", "the", "SMS", "entries", "share"],
        ["Ok", "sent", "2", "66.7", "%"],
        ["TransportFailure", "timeout", "maybe", "sent", "1", "33.3", "%"],
        ["total", "3"],
        "time to a result: median 50 ms, 95 % within 50 ms, the slowest 50 ms; 1 were tried more than once".split(),
    ]
    assert text.isascii()


def test_a_summary_on_a_terminal_has_a_frame():
    assert "╭" in shown(counted(Ok()), terminal=True)


def test_a_summary_of_nothing():
    text = shown(counted(), terminal=False, elapsed=0.0)
    assert text.startswith("0 entries in 0 s ")
    assert "time to a result" not in text


def test_what_the_gateway_says_is_neither_markup_nor_a_terminals_command():
    text = shown(counted(ApiError("[/bold]\x1b[2J[red]")), terminal=True)
    assert "[/bold]\\x1b[2J[red]" in text
    assert "\x1b[2J" not in text


async def test_an_error_id_that_looks_like_markup_is_counted_by_its_name(tmp_path, monkeypatch, capsys):
    """It broke the table, once."""
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    file = tmp_path / "numbers"
    file.write_text(numbers(1))
    envelope = json.dumps({"status": "error", "error_id": "[/bold]"}).encode()
    async with Server(status(200, envelope)) as server:
        assert await batch(BatchOptions(str(file), sender="X", base_url=server.url)) == 1
    assert "[/bold]" in capsys.readouterr().err


# --- How to go on ----------------------------------------------------------------------------------------


def test_a_batch_that_was_finished_needs_no_advice():
    assert advice(WITH_LEDGER, counted(Ok()), Ending(code=1, elapsed=1.0)) == []


def test_with_a_ledger_the_command_itself_goes_on():
    assert advice(WITH_LEDGER, counted(Ok()), Ending(code=130, elapsed=1.0, settled_to=1)) == [
        "To go on where it stopped:",
        "  gateway360 batch numbers.txt --out out.jsonl --sender X --ledger batch.ledger",
    ]
    lines = advice(WITH_LEDGER, counted(Ok(), MAYBE), Ending(code=143, elapsed=1.0))
    assert lines[0].startswith("1 may have been sent. Going on leaves them alone; with --resend-maybe-sent")
    stdin = BatchOptions("-", sender="X", ledger="batch.ledger")
    lines = advice(stdin, counted(Ok()), Ending(code=130, elapsed=1.0))
    assert lines == [
        "To go on where it stopped, with the same input:",
        "  gateway360 batch - --sender X --ledger batch.ledger",
    ]


def test_without_a_ledger_the_rest_of_the_file_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ending = Ending(code=130, elapsed=1.0, settled_to=7, can_be_cut=True)
    lines = advice(OPTIONS, counted(Ok()), ending)
    assert "Every line up to 7 has its result in out.jsonl; nothing after it was begun." in lines[0]
    assert lines[1:] == [
        "To go on with the rest:",
        "  tail -n +8 numbers.txt > rest.txt",
        "  gateway360 batch rest.txt --out out.jsonl --sender X --ledger rest.ledger",
        "A number of the rest that is in the lines up to 7, too, would get a second SMS.",
        "With --ledger FILE, the same command goes on by itself.",
    ]
    headed = attrs.evolve(ending, headed_by=2)
    assert "  { head -n 2 numbers.txt; tail -n +8 numbers.txt; } > rest.csv" in advice(
        OPTIONS, counted(Ok(), MAYBE), headed
    )
    dashed = attrs.evolve(OPTIONS, file="-n.txt", on_duplicate="send")
    assert "  tail -n +8 ./-n.txt > rest.txt" in advice(dashed, counted(Ok()), ending)
    assert not any("second SMS" in line for line in advice(dashed, counted(Ok()), ending))
    (tmp_path / "rest.txt").write_text("x")
    assert "  tail -n +8 numbers.txt > rest-2.txt" in advice(OPTIONS, counted(Ok()), ending)


def test_after_a_halt_the_ledger_goes_on_when_the_account_is_put_right():
    poor = ApiError("NOT_ENOUGH_BALANCE")
    ending = Ending(code=3, elapsed=1.0, halted_by=poor)
    assert advice(WITH_LEDGER, counted(Ok(), MAYBE, poor), ending) == [
        "1 may have been sent. Going on leaves them alone; with --resend-maybe-sent it sends them again, a second SMS each.",
        "When that is put right, go on with:",
        "  gateway360 batch numbers.txt --out out.jsonl --sender X --ledger batch.ledger",
    ]
    assert (
        "What was not sent is in out.jsonl with the disposition not_sent."
        in (advice(OPTIONS, counted(Ok(), poor), ending)[0])
    )


def test_a_ledger_that_a_wrong_key_began_is_said_to_be_of_that_key():
    refused = ApiError("UNAUTHORIZED")
    ending = Ending(code=3, elapsed=1.0, halted_by=refused)
    lines = advice(WITH_LEDGER, counted(refused), ending)
    assert lines[0] == (
        "Nothing was sent. A ledger belongs to its key: if another key is the right one, remove batch.ledger first. "
        "Then:"
    )
    assert advice(WITH_LEDGER, counted(Ok(), refused), ending)[0].startswith("When that is put right")


def test_the_advice_after_a_wrong_key_is_right(cli, sandbox, tmp_path, monkeypatch):
    file, ledger = tmp_path / "numbers", tmp_path / "batch.ledger"
    file.write_text(numbers(5))
    command = ["batch", str(file), "--sender", "X", "--ledger", str(ledger)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY360_API_KEY", "wrong")
        assert cli.invoke(app, command).exit_code == 3
    assert cli.invoke(app, command).exit_code == 2  # of another key, and refused
    ledger.unlink()
    assert cli.invoke(app, command).exit_code == 0
    assert len(sandbox.messages) == 5


# --- For programs ----------------------------------------------------------------------------------------


WITH_FLEET = BatchOptions(
    "numbers.txt", out="out.jsonl", sender="X", fleet="redis://:secret@localhost", batch="welcome"
)
GOES_ON = (
    '  gateway360 batch numbers.txt --out out.jsonl --sender X --batch welcome --fleet "$GATEWAY360_FLEET"'
)
OF_FLEET = [
    "GATEWAY360_FLEET stands for the fleet's URL, which is not shown.",
    "The fleet remembers what it has sent for a day: later, the same command would send it again.",
]


def test_with_a_fleet_the_command_goes_on_and_shows_no_password():
    lines = advice(WITH_FLEET, counted(Ok()), Ending(code=130, elapsed=1.0))
    assert lines == ["To go on where it stopped:", GOES_ON, *OF_FLEET]
    lines = advice(WITH_FLEET, counted(Ok(), MAYBE), Ending(code=143, elapsed=1.0))
    assert lines[0].startswith(
        "1 may have been sent, or may be yet: what was handed to the queue stays there."
    )
    assert lines[1:] == ["To go on where it stopped:", GOES_ON, *OF_FLEET]
    summary = summary_object(counted(Ok()), Ending(code=130, elapsed=1.0), WITH_FLEET)
    assert summary["go_on_with"] == GOES_ON.strip()


@pytest.mark.parametrize("results", [(), (Ok(),), (MAYBE,)], ids=["nothing", "sent", "maybe sent"])
@pytest.mark.parametrize("error_id", ["UNAUTHORIZED", "NOT_ENOUGH_BALANCE"])
def test_after_a_halt_a_fleet_with_another_key_begins_anew(results, error_id):
    halted_by = ApiError(ErrorId(error_id), None)
    lines = advice(WITH_FLEET, counted(halted_by, *results), Ending(code=3, elapsed=1.0, halted_by=halted_by))
    at = lines.index("When that is put right, for the workers too, go on with:")
    assert lines[at + 1] == GOES_ON
    anew = any(line.startswith("With another key than before, it begins anew") for line in lines)
    assert anew is (bool(results) and error_id == "UNAUTHORIZED")


def test_the_summary_for_a_program_holds_it_all():
    refused = ApiError("UNAUTHORIZED", http_status=401)
    statistics = counted(Ok(elapsed=0.05), MAYBE, refused)
    ending = Ending(code=3, elapsed=2.0, halted_by=refused, problems=["a line"], settled_to=3)
    summary = json.loads(json.dumps(summary_object(statistics, ending, WITH_LEDGER)))
    assert summary == {
        "entries": 3,
        "sent": 1,
        "not_sent": 1,
        "maybe_sent": 1,
        "skipped": 0,
        "by_error_id": {"UNAUTHORIZED": 1},
        "by_kind": {"timeout": 1},
        "by_reason": {},
        "elapsed": 2.0,
        "per_second": 1.5,
        "latency": {"least": 0.0, "median": 0.00011, "p95": 0.05, "p99": 0.05, "most": 0.05},
        "tried_more_than_once": 0,
        "interrupted": False,
        "halted_by": {
            "result": "ApiError",
            "disposition": "not_sent",
            "error_id": "UNAUTHORIZED",
            "error_msg": None,
            "scope": "account",
            "http_status": 401,
            "attempts": 1,
            "elapsed": 0.0,
        },
        "problems": ["a line"],
        "settled_to_line": 3,
        "go_on_with": "gateway360 batch numbers.txt --out out.jsonl --sender X --ledger batch.ledger",
        "results": "out.jsonl",
        "report": None,
        "exit_code": 3,
    }
    nothing = summary_object(counted(), Ending(code=0, elapsed=0.0), OPTIONS)
    assert (nothing["per_second"], nothing["latency"], nothing["go_on_with"]) == (None, {}, None)


def test_with_json_the_summary_is_the_one_thing_on_stderr(cli, sandbox, tmp_path):
    file = tmp_path / "numbers"
    file.write_text(numbers(3) + "12\n")
    result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--json"])
    assert result.exit_code == 1
    summary = json.loads(result.stderr)
    assert (summary["sent"], summary["by_reason"], summary["exit_code"]) == (3, {"invalid": 1}, 1)
    assert len(result.stdout.splitlines()) == 4
