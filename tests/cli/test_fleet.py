"""A batch that a fleet sends: with a real Redis, a worker of taskiq's and a sandbox."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
from cli_helpers import invoke_here, lines_of, numbers, one_line
from fleet_helpers import aside
from loopback import free_port

from gateway360_async.cli import _queue
from gateway360_async.cli._app import app

QUEUE = "gateway360:queue"


@pytest.fixture
def fleet(make_redis):
    with aside(make_redis(durable=True)) as fleet:
        yield fleet


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "numbers.txt"
    file.write_text(numbers(20))
    return file


def batch(file, fleet, *more) -> list[str]:
    return ["batch", str(file), "--sender", "X", "--fleet", fleet.url, *more]


def until(true) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- What a fleet sends ------------------------------------------------------------------------------------


def test_the_workers_send_a_file_and_the_same_command_goes_on(cli, sandbox, fleet, file, tmp_path):
    file.write_text(numbers(50) + "not a number\n")
    out, page = tmp_path / "out.jsonl", tmp_path / "report.html"
    command = batch(file, fleet, "--out", str(out), "--report", str(page))
    with fleet.worker():
        result = cli.invoke(app, command)
        assert result.exit_code == 1
        again = cli.invoke(app, [*command, "--json"])
        assert again.exit_code == 1
        other = cli.invoke(app, [*command, "--batch", "another"])
        assert other.exit_code == 1
    lines = lines_of(out.read_text())
    assert sorted(line["disposition"] for line in lines) == ["not_sent"] + ["sent"] * 50
    assert "51 entries" in result.stderr
    assert "gateway360:" not in result.stderr  # nothing to warn of
    assert "the workers of a fleet, at their rate" in page.read_text()
    lines = lines_of((tmp_path / "out-2.jsonl").read_text())
    assert sorted(line["reason"] for line in lines) == ["already_settled"] * 50 + ["invalid"]
    summary = json.loads(again.stderr)
    assert (summary["sent"], summary["skipped"], summary["warnings"]) == (0, 51, [])
    # The name is the batch's: under another one it is sent again.
    assert len(lines_of((tmp_path / "out-3.jsonl").read_text())) == 51
    assert len(sandbox.messages) == 100
    assert fleet.ask("XLEN", QUEUE) == 0


def test_the_file_has_its_name_wherever_it_lies(cli, sandbox, fleet, file, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file.rename(elsewhere / file.name)
    with fleet.worker():
        assert cli.invoke(app, batch(elsewhere / file.name, fleet)).exit_code == 0
        file.write_text(numbers(3))
        assert cli.invoke(app, batch(file, fleet)).exit_code == 0
        other = file.rename(tmp_path / "other.txt")
        again = cli.invoke(app, batch(other, fleet, "--batch", "numbers.txt"))
    assert len(sandbox.messages) == 20
    assert [line["reason"] for line in lines_of(again.stdout)] == ["already_settled"] * 3


def test_the_environment_names_the_fleet_and_an_empty_one_is_none(cli, sandbox, fleet, file, monkeypatch):
    monkeypatch.setenv("GATEWAY360_FLEET", fleet.url)
    monkeypatch.setenv("GATEWAY360_FLEET_NAME", "pizzas")
    with fleet.worker(name="pizzas"):
        assert cli.invoke(app, ["batch", str(file), "--sender", "X"]).exit_code == 0
    assert len(sandbox.messages) == 20
    assert fleet.ask("XLEN", "pizzas:queue") == 0
    assert fleet.ask("EXISTS", "pizzas:memory") == 1
    monkeypatch.setenv("GATEWAY360_FLEET", "")
    assert cli.invoke(app, ["batch", str(file), "--sender", "X"]).exit_code == 0
    assert len(sandbox.messages) == 40  # from here: there is no memory of it


def test_a_halt_says_how_to_go_on(cli, sandbox, fleet, file):
    sandbox.balance = 0
    with fleet.worker():
        result = cli.invoke(app, batch(file, fleet))
        assert result.exit_code == 3
        assert "halted: not sent, the gateway answered NOT_ENOUGH_BALANCE" in result.stderr
        assert "When that is put right, for the workers too, go on with:" in result.stderr
        sandbox.balance = None
        (command,) = [line.strip() for line in result.stderr.splitlines() if line.startswith("  gateway360 ")]
        assert cli.invoke(app, shlex.split(command)[1:]).exit_code == 0
    assert len(sandbox.messages) == 20


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--ledger", "batch.ledger"],
            "--ledger does not go with --fleet (or GATEWAY360_FLEET): the fleet's",
        ),
        (["--resend-unknown"], "--resend-unknown does not go with --fleet"),
        (["--rate", "30/s"], "the rate is the workers': GATEWAY360_FLEET_RATE"),
        (["--concurrency", "5"], "taskiq worker --max-async-tasks"),
        (["--fleet", ""], "--fleet: is empty"),
        (["--fleet", "http://user:secret@localhost"], "--fleet: is no URL of Redis; expected"),
        (["--batch", ""], "--batch: is no name; expected 1 to 200 printable characters"),
        (["--batch", "x" * 201], "--batch: is no name"),
    ],
    ids=["ledger", "resend", "rate", "concurrency", "empty", "url", "no name", "long name"],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_what_does_not_go_with_a_fleet_is_refused(cli, sandbox, file, options, says, dry):
    fleet = ["--fleet", "redis://localhost:1"]
    result = cli.invoke(app, ["batch", str(file), "--sender", "X", *fleet, *options, *dry])
    assert result.exit_code == 2
    assert says in one_line(result.stderr)
    assert "secret" not in result.stderr
    assert sandbox.requests == []


def test_names_that_are_wrong_are_refused(cli, sandbox, file, monkeypatch):
    result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--batch", "welcome"])
    assert result.exit_code == 2
    assert "--batch welcome: names a batch of a fleet; give --fleet, or GATEWAY360_FLEET" in one_line(
        result.stderr
    )
    command = ["batch", "-", "--sender", "X", "--fleet", "redis://localhost:1"]
    result = cli.invoke(app, command)
    assert result.exit_code == 2
    assert "--batch: stdin has no name" in one_line(result.stderr)
    monkeypatch.setenv("GATEWAY360_FLEET_NAME", "a name")
    result = cli.invoke(app, [*command, "--batch", "welcome"])
    assert result.exit_code == 2
    assert "GATEWAY360_FLEET_NAME: is 'a name'" in one_line(result.stderr)
    assert sandbox.requests == []


@pytest.mark.parametrize("missing", ["redis", "taskiq", "taskiq_redis"])
def test_what_is_not_installed_is_named(file, missing):
    program = f"import sys; sys.modules[{missing!r}] = None; from gateway360_async.cli import main; main()"
    command = ["batch", str(file), "--sender", "X", "--fleet", "redis://localhost:1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        env=os.environ | {"GATEWAY360_API_KEY": "key"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(rf"needs {missing}\S*: install gateway360-async\[fleet\]", one_line(done.stderr))


def test_a_redis_that_is_away_is_one_line_and_no_file(cli, sandbox, file, tmp_path):
    out = tmp_path / "out.jsonl"
    url = "redis://:secret@127.0.0.1:1/0"
    result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--fleet", url, "--out", str(out)])
    assert result.exit_code == 2
    assert "the fleet's Redis cannot be asked" in one_line(result.stderr)
    assert "secret" not in result.stderr
    assert not out.exists()


def test_a_redis_cluster_is_refused(cli, sandbox, file, make_redis):
    bus = str(free_port())  # otherwise it is the same for all that have no port
    with make_redis(cluster_enabled="yes", bind="127.0.0.1", cluster_port=bus) as cluster:
        result = cli.invoke(app, batch(file, cluster))
    assert result.exit_code == 2
    assert one_line(result.stderr).startswith("gateway360: --fleet: is a Redis Cluster")


# --- Interrupts --------------------------------------------------------------------------------------------


class Said:
    """What is said on stderr, for those who wait for it."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        return False

    def getvalue(self) -> str:
        return self.text


def while_it_runs(arguments, steps):
    """Invoke a command, and go through some steps in another thread meanwhile."""
    stderr = Said()
    thread = threading.Thread(target=steps, args=(stderr,))
    thread.start()
    try:
        return invoke_here(arguments, stderr=stderr)
    finally:
        thread.join()


def interrupt(number=signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_ctrl_c_puts_nothing_more_in_the_queue_and_waits_for_what_is_in_it(sandbox, fleet, monkeypatch):
    read, write = os.pipe()
    os.write(write, b"34600000001\n34600000002\n")

    def steps(stderr) -> None:
        until(lambda: fleet.ask("XLEN", QUEUE) == 2)
        interrupt()
        until(
            lambda: "stopping: nothing more is put in the queue. Waiting for 2 that are in it" in stderr.text
        )
        with fleet.worker():
            until(lambda: "interrupted" in stderr.text)

    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, stdout, stderr = while_it_runs(batch("-", fleet, "--batch", "it's mine"), steps)
        os.close(write)
    assert code == 130
    assert [line["disposition"] for line in lines_of(stdout)] == ["sent"] * 2
    said = stderr.splitlines()
    at = said.index("To go on where it stopped, with the same input:")
    assert shlex.split(said[at + 1]) == ["gateway360", *batch("-", fleet)[:4], *("--batch", "it's mine")] + [
        "--fleet",
        fleet.url,
    ]
    assert said[at + 2].startswith("The fleet remembers what it has sent for a day")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_second_ctrl_c_leaves_them_in_the_queue_and_the_command_that_it_names_goes_on(
    cli, sandbox, fleet, file, tmp_path, number
):
    out = tmp_path / "out.jsonl"

    def steps(stderr) -> None:
        until(lambda: fleet.ask("XLEN", QUEUE) == 20)
        interrupt(number)
        if number == signal.SIGINT:
            until(lambda: "another Ctrl-C leaves them there, and they may be sent yet" in stderr.text)
            interrupt()

    code, _, stderr = while_it_runs(batch(file, fleet, "--out", str(out)), steps)
    assert code == 128 + number
    lines = lines_of(out.read_text())
    assert [line["disposition"] for line in lines] == ["maybe_sent"] * 20
    assert {line["detail"] for line in lines} == {"is in the queue, and may be sent yet"}
    assert "20 may have been sent, or may be yet: what was handed to the queue stays there." in stderr
    assert "--resend-unknown" not in stderr
    (command,) = [line.strip() for line in stderr.splitlines() if line.startswith("  gateway360 ")]
    with fleet.worker():
        result = cli.invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0
    assert len(lines_of((tmp_path / "out-2.jsonl").read_text())) == 20
    assert len({message.msisdn for message in sandbox.messages}) == len(sandbox.messages) == 20


def test_with_json_nothing_is_said_before_the_object_at_the_end(sandbox, fleet, file, monkeypatch):
    monkeypatch.setattr(_queue, "QUIET", 0.0)
    asked = threading.Event()

    def steps(stderr) -> None:
        assert asked.wait(10)
        interrupt(signal.SIGTERM)

    trouble = _queue.BatchQueue._trouble

    async def watched_trouble(queue):
        said = await trouble(queue)
        asked.set()
        return said

    monkeypatch.setattr(_queue.BatchQueue, "_trouble", watched_trouble)
    fleet.ask("CONFIG", "SET", "appendonly", "no")
    code, _, stderr = while_it_runs(batch(file, fleet, "--json"), steps)
    assert code == 143
    summary = json.loads(stderr)
    assert summary["go_on_with"].endswith(f" --batch numbers.txt --json --fleet {fleet.url}")
    file_less, workerless = summary["warnings"]
    assert file_less.startswith("Redis keeps no append-only file")
    assert workerless.startswith("no worker has taken anything for 10 s: start one:\n  taskiq worker ")


# --- What is said meanwhile --------------------------------------------------------------------------------


def test_without_a_worker_one_is_asked_for(sandbox, fleet, file, monkeypatch):
    monkeypatch.setattr(_queue, "QUIET", 0.0)

    def steps(stderr) -> None:
        until(
            lambda: (
                "gateway360: no worker has taken anything for 10 s: start one:\n  taskiq worker "
                in stderr.text
            )
        )
        with fleet.worker():
            until(lambda: "20 entries" in stderr.text)

    code, stdout, stderr = while_it_runs(batch(file, fleet), steps)
    assert code == 0
    assert len(lines_of(stdout)) == 20
    assert stderr.count("no worker") == 1


def test_a_queue_that_has_lost_its_tasks_is_asked_about(sandbox, fleet, file, monkeypatch):
    monkeypatch.setattr(_queue, "QUIET", 0.0)
    monkeypatch.setattr(_queue, "_LOOK_EVERY", 0.01)

    def steps(stderr) -> None:
        until(lambda: fleet.ask("XLEN", "gateway360:queue") == 20)
        fleet.ask("XTRIM", "gateway360:queue", "MAXLEN", "0")
        until(lambda: "the queue is empty, and no outcome has come" in stderr.text)
        interrupt()
        until(lambda: "stopping" in stderr.text)
        interrupt()

    code, _, stderr = while_it_runs(batch(file, fleet), steps)
    assert code == 130
    assert "what does the log of the workers say?" in stderr


def test_what_redis_lacks_is_said_once(cli, sandbox, fleet, file, monkeypatch):
    fleet.ask("CONFIG", "SET", "appendonly", "no")
    with fleet.worker():
        result = cli.invoke(app, batch(file, fleet))
        monkeypatch.setenv("GATEWAY360_LOG", "info")
        again = cli.invoke(app, batch(file, fleet))
    assert result.exit_code == 0
    assert result.stderr.count("gateway360: Redis keeps no append-only file") == 1
    assert "gateway360: Redis" not in again.stderr  # the log has it
