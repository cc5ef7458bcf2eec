"""The end of a batch, and how to go on."""

from __future__ import annotations

import io
import json
import shlex
import subprocess

import attrs
import pytest
from rich.console import Console
from support.cli_helpers import numbers
from support.loopback import Server, status

from gateway360_async import ApiError, Disposition, FailureKind, Ok, Skipped, SkipReason, TransportFailure
from gateway360_async.cli._app import app
from gateway360_async.cli._audit import Audit
from gateway360_async.cli._batch import batch
from gateway360_async.cli._batch_options import BatchOptions
from gateway360_async.cli._summary import Summary, advice, show_summary, summary_object

OPTIONS = BatchOptions("numbers.txt", out="out.jsonl", sender="X")
WITH_STORE = BatchOptions("numbers.txt", out="out.jsonl", sender="X", store="batch.db", name="welcome")
MAYBE = TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT)


def counted(*results) -> Audit:
    audit = Audit()
    for result in results:
        audit.add(result, 0.0)
    return audit


def shown(audit: Audit, *, terminal: bool, elapsed: float = 2.0) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    show_summary(console, audit, elapsed)
    return out.getvalue()


def test_summary_without_a_terminal_is_plain_columns():
    text = shown(counted(Ok(elapsed=0.05, attempts=2), Ok(elapsed=0.05), MAYBE), terminal=False)
    assert [line.split() for line in text.splitlines()] == [
        ["3", "entries", "in", "2.00", "s", "(1.5", "calls", "a", "second)"],
        ["result", "why", "the", "SMS", "entries", "share"],
        ["Ok", "sent", "2", "66.7", "%"],
        ["TransportFailure", "timeout", "maybe", "sent", "1", "33.3", "%"],
        ["total", "3"],
        "time to a result: median 50 ms, 95 % within 50 ms, the slowest 50 ms; 1 were tried more than once".split(),
    ]
    assert text.isascii()


def test_summary_on_a_terminal_has_a_frame():
    assert "╭" in shown(counted(Ok()), terminal=True)


def test_summary_of_nothing():
    text = shown(counted(), terminal=False, elapsed=0.0)
    assert text.startswith("0 entries in 0 s ")
    assert "time to a result" not in text


def test_less_than_a_second_has_no_rate():
    assert "a second" not in shown(counted(Ok(), Ok()), terminal=False, elapsed=0.0004)


def test_summary_rate_leaves_out_rows_completed_before():
    before = [Skipped(SkipReason.ALREADY_COMPLETED, result=Ok())] * 98
    text = shown(counted(*before, Ok(), Ok()), terminal=False, elapsed=2.0)
    assert "100 entries in 2.00 s (1.0 calls a second)" in text


def test_rows_that_an_earlier_run_sent_are_sent():
    before = Skipped(SkipReason.ALREADY_COMPLETED, result=Ok())
    assert "1 of these SMS were sent before this run" in shown(counted(Ok(), before), terminal=False)


def test_summary_prints_the_gateways_words_as_they_are():
    text = shown(counted(ApiError("[/bold]\x1b[2J[red]")), terminal=True)
    assert "[/bold]\\x1b[2J[red]" in text
    assert "\x1b[2J" not in text


async def test_error_id_that_looks_like_markup_is_printed(tmp_path, monkeypatch, capsys):
    """It broke the table, once."""
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    file = tmp_path / "numbers"
    file.write_text(numbers(1))
    envelope = json.dumps({"status": "error", "error_id": "[/bold]"}).encode()
    async with Server(status(200, envelope)) as server:
        assert await batch(BatchOptions(str(file), sender="X", base_url=server.url)) == 1
    assert "[/bold]" in capsys.readouterr().err


# --- How to go on ----------------------------------------------------------------------------------------


def test_batch_that_was_finished_needs_no_advice():
    assert advice(WITH_STORE, counted(Ok()), Summary(code=1, elapsed=1.0)) == []


def test_with_a_store_the_command_itself_goes_on():
    assert advice(WITH_STORE, counted(Ok()), Summary(code=130, elapsed=1.0, completed_to=1)) == [
        "To go on where it stopped:",
        "  gateway360 batch numbers.txt --out out.jsonl --sender X --name welcome --store batch.db",
    ]
    lines = advice(WITH_STORE, counted(Ok(), MAYBE), Summary(code=143, elapsed=1.0))
    assert lines[0].startswith("1 may have been sent. Going on leaves them alone; with --resend-maybe-sent")
    stdin = BatchOptions("-", sender="X", store="batch.db", name="welcome")
    lines = advice(stdin, counted(Ok()), Summary(code=130, elapsed=1.0))
    assert lines == [
        "To go on where it stopped, with the same input:",
        "  gateway360 batch - --sender X --name welcome --store batch.db",
    ]


def test_without_a_store_the_rest_of_the_file_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    summary = Summary(code=130, elapsed=1.0, completed_to=7, can_be_cut=True)
    lines = advice(OPTIONS, counted(Ok()), summary)
    assert "Every line up to 7 has its result in out.jsonl; nothing after it was begun." in lines[0]
    assert lines[1:] == [
        "To go on with the rest:",
        "  tail -n +8 numbers.txt > rest.txt",
        "  gateway360 batch rest.txt --out out.jsonl --sender X --store rest.db",
        "A number of the rest that is in the lines up to 7, too, would get a second SMS.",
        "With --store FILE, the same command goes on by itself.",
    ]
    headed = attrs.evolve(summary, headed_by=2)
    assert "  { head -n 2 numbers.txt; tail -n +8 numbers.txt; } > rest.csv" in advice(
        OPTIONS, counted(Ok(), MAYBE), headed
    )
    dashed = attrs.evolve(OPTIONS, file="-n.txt", on_duplicate="send")
    assert "  tail -n +8 ./-n.txt > rest.txt" in advice(dashed, counted(Ok()), summary)
    assert not any("second SMS" in line for line in advice(dashed, counted(Ok()), summary))
    (tmp_path / "rest.txt").write_text("x")
    assert "  tail -n +8 numbers.txt > rest-2.txt" in advice(OPTIONS, counted(Ok()), summary)


def test_advice_after_a_halt_goes_on_once_it_is_put_right():
    poor = ApiError("NOT_ENOUGH_BALANCE")
    summary = Summary(code=3, elapsed=1.0, halted_by=poor)
    assert advice(WITH_STORE, counted(Ok(), MAYBE, poor), summary) == [
        "1 may have been sent. Going on leaves them alone; with --resend-maybe-sent it sends them again, a second SMS each.",
        "When that is put right, go on with:",
        "  gateway360 batch numbers.txt --out out.jsonl --sender X --name welcome --store batch.db",
    ]
    assert advice(OPTIONS, counted(poor), summary) == [
        "Nothing was sent. When that is put right, give the same command again."
    ]
    rest = advice(OPTIONS, counted(Ok(), poor), attrs.evolve(summary, completed_to=2, can_be_cut=True))
    assert "  tail -n +3 numbers.txt > rest.txt" in rest


def test_advice_without_results_says_so():
    options = attrs.evolve(OPTIONS, out=None)
    said = advice(options, counted(Ok()), Summary(code=130, elapsed=1.0, completed_to=7))
    assert "Every line up to 7 has its result, which only --out FILE keeps; nothing" in said[0]
    assert options.command() == "gateway360 batch numbers.txt --sender X"


def test_command_quotes_escape_codes_for_the_shell(tmp_path):
    name = "it's\x1b[2J\\\u0085é.txt"
    shown = BatchOptions(name).command()
    assert shown.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf %s {shown.split(' ', 2)[2]}"], capture_output=True, check=True
    )
    assert done.stdout.decode() == name
    summary = Summary(code=130, elapsed=1.0, completed_to=7, can_be_cut=True)
    assert all(line.isprintable() for line in advice(BatchOptions(name, out=name), counted(Ok()), summary))


def test_after_a_wrong_key_the_same_command_goes_on(cli, sandbox, tmp_path, monkeypatch):
    file, store = tmp_path / "numbers", tmp_path / "batch.db"
    file.write_text(numbers(5))
    command = ["batch", str(file), "--sender", "X", "--store", str(store)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY360_API_KEY", "wrong")
        halted = cli.invoke(app, command)
    assert halted.exit_code == 3
    assert "When that is put right, go on with:" in halted.stderr
    (said,) = [line.strip() for line in halted.stderr.splitlines() if line.startswith("  gateway360 ")]
    again = cli.invoke(app, shlex.split(said)[1:])
    assert again.exit_code == 0
    assert again.stderr.count("used another API key with this store") == 1
    assert len(sandbox.messages) == 5


# --- For programs ----------------------------------------------------------------------------------------


SECRET = BatchOptions(
    "numbers.txt", out="out.jsonl", sender="X", store="redis://:secret@localhost", name="welcome"
)
GOES_ON = (
    '  gateway360 batch numbers.txt --out out.jsonl --sender X --name welcome --store "$GATEWAY360_STORE"'
)
NOT_SHOWN = "GATEWAY360_STORE stands for the store's URL, which is not shown."


def test_command_shows_no_password():
    assert advice(SECRET, counted(Ok()), Summary(code=130, elapsed=1.0)) == [
        "To go on where it stopped:",
        GOES_ON,
        NOT_SHOWN,
    ]
    halted_by = ApiError("UNAUTHORIZED")
    summary = Summary(code=3, elapsed=1.0, halted_by=halted_by)
    assert advice(SECRET, counted(halted_by), summary) == [
        "When that is put right, go on with:",
        GOES_ON,
        NOT_SHOWN,
    ]
    summary = summary_object(counted(Ok()), Summary(code=130, elapsed=1.0), SECRET)
    assert summary["go_on_with"] == GOES_ON.strip()


@pytest.mark.parametrize(
    ("url", "shown", "file"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0", None),
        ("unix:///run/my redis.sock?db=1", "'unix:///run/my redis.sock?db=1'", None),
        ("redis://:secret@localhost", '"$GATEWAY360_STORE"', None),
        ("rediss://localhost?password=secret", '"$GATEWAY360_STORE"', None),
        ("postgresql://me:secret@localhost/pins", '"$GATEWAY360_STORE"', None),
        ("-my@file.db", "./-my@file.db", "-my@file.db"),
        ("sqlite:///tmp/batch.db", "sqlite:///tmp/batch.db", "/tmp/batch.db"),
    ],
)
def test_url_is_shown_unless_it_may_hold_a_password(url, shown, file):
    options = BatchOptions("numbers", sender="X", store=url, name="welcome")
    assert options.command() == f"gateway360 batch numbers --sender X --name welcome --store {shown}"
    assert "secret" not in repr(options)
    assert options.store_is_secret is ("secret" in url)
    assert options.store_file == file


def test_summary_for_a_program_holds_it_all():
    refused = ApiError("UNAUTHORIZED", http_status=401)
    audit = counted(Ok(elapsed=0.05), MAYBE, refused)
    summary = Summary(code=3, elapsed=2.0, halted_by=refused, problems=["a line"], completed_to=3)
    summary = json.loads(json.dumps(summary_object(audit, summary, WITH_STORE)))
    assert summary == {
        "entries": 3,
        "sent": 1,
        "not_sent": 1,
        "maybe_sent": 1,
        "skipped": 0,
        "sent_before": 0,
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
        "completed_to_line": 3,
        "go_on_with": "gateway360 batch numbers.txt --out out.jsonl --sender X --name welcome --store batch.db",
        "results": "out.jsonl",
        "report": None,
        "exit_code": 3,
    }
    nothing = summary_object(counted(), Summary(code=0, elapsed=0.0), OPTIONS)
    assert (nothing["per_second"], nothing["latency"], nothing["go_on_with"]) == (None, {}, None)


def test_with_json_the_summary_is_the_one_thing_on_stderr(run_batch, sandbox):
    result = run_batch(numbers(3) + "12\n", "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stderr)
    assert (summary["sent"], summary["by_reason"], summary["exit_code"]) == (3, {"invalid": 1}, 1)
    assert len(result.stdout.splitlines()) == 4
