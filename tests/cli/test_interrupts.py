"""Ctrl-C and SIGTERM while answers are outstanding: what becomes of them, what is said, and how it goes on."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from support.cli_helpers import invoke_here, lines_of, numbers
from support.commands import Command
from support.forked import Nursery
from support.loopback import Received, Server

from gateway360_async.cli._batch import Interrupts, batch
from gateway360_async.cli._batch_options import BatchOptions


class Held:
    """A gateway that answers nothing until it is released, and everything after."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, received: Received) -> None:
        released = asyncio.ensure_future(self.released.wait())
        gone = asyncio.ensure_future(received.silence())
        await asyncio.wait((released, gone), return_when=asyncio.FIRST_COMPLETED)
        for task in (released, gone):
            task.cancel()
        await asyncio.wait((released, gone))  # one that still reads would be in the next request's way
        if self.released.is_set():
            await received.answer()


@pytest.fixture
def started(nursery: Nursery) -> Callable[..., Awaitable[Command]]:
    """Start a command in a process of its own."""

    async def started(arguments: list[str], url: str) -> Command:
        environment = os.environ | {"GATEWAY360_API_KEY": "key", "GATEWAY360_BASE_URL": url}
        return await Command.start(nursery, arguments, environment)

    return started


# --- Real processes ----------------------------------------------------------------------------------------


async def test_ctrl_c_waits_for_answers_and_names_the_next_command(started, tmp_path):
    gateway = Held()
    file, out, store = tmp_path / "numbers.txt", tmp_path / "out.jsonl", tmp_path / "batch.db"
    page = tmp_path / "report.html"
    file.write_text(numbers(20))
    arguments = ["batch", str(file), "--sender", "GOOD PIZZA", "--out", str(out), "--concurrency", "4"]
    arguments += ["--store", str(store), "--report", str(page)]
    async with Server(gateway) as server:
        process = await started(arguments, server.url)
        await server.wait(lambda: server.posts == 4)
        process.send_signal(signal.SIGINT)
        stopping = await process.stderr.readline()
        assert b"stopping: nothing more is begun. Waiting for what is on its way" in stopping
        gateway.released.set()
        _, stderr = await process.communicate()
        assert process.returncode == 130
        assert server.posts == 4
        lines = lines_of(out.read_text())
        assert [line["disposition"] for line in lines] == ["sent"] * 4
        said = stderr.decode().splitlines()
        assert "gateway360: interrupted" in said
        assert "The run was interrupted" in page.read_text()
        # The very command that it names, but for the way to the program.
        (command,) = [line.strip() for line in said if line.startswith("  gateway360 ")]
        words = shlex.split(command)
        process = await started(words[1:], server.url)
        _, stderr = await process.communicate()
        assert process.returncode == 0, stderr
        assert server.posts == 20
    again = lines_of((tmp_path / "out-2.jsonl").read_text())
    assert sorted(line.get("reason", "sent") for line in again) == ["already_completed"] * 4 + ["sent"] * 16
    assert (tmp_path / "report-2.html").stat().st_size


async def test_second_ctrl_c_gives_up_on_the_answers(started, tmp_path):
    file, out = tmp_path / "customers.csv", tmp_path / "out.jsonl"
    file.write_text("\nmsisdn,sms_text\n" + "".join(f'346{n:08},"a\n{{PIN}}"\n' for n in range(20)))
    arguments = ["batch", str(file), "--sender", "X", "--out", str(out), "--concurrency", "4"]
    async with Server(Held()) as server:
        process = await started(arguments, server.url)
        await server.wait(lambda: server.posts == 4)
        process.send_signal(signal.SIGINT)
        await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
        assert process.returncode == 130
        assert server.posts == 4
        said = stderr.decode()
        lines = lines_of(out.read_text())
        assert [(line["kind"], line["disposition"]) for line in lines] == [("cancelled", "maybe_sent")] * 4
        assert "4 of them may have been sent" in said
        # Two lines of header and emptiness, and four rows of two lines each.
        assert "Every line up to 10 has its result" in said
        shell = [line.strip() for line in said.splitlines() if line.startswith("  ")][-2]
        assert shell.startswith("{ head -n 2 ")
        process = await asyncio.create_subprocess_shell(shell, cwd=tmp_path)
        assert await process.wait() == 0
    rest = (tmp_path / "rest.csv").read_text()
    assert rest.splitlines()[:3] == ["", "msisdn,sms_text", '34600000004,"a']
    assert rest.count("{PIN}") == 16


@pytest.mark.parametrize(
    "data",
    [
        b"\r".join([b"msisdn", *numbers(20).encode().split()]),
        b"\r".join(numbers(20).encode().split()),
        b"msisdn,sms_text\n" + b"".join(b'%s,"a\rb {PIN}"\n' % n for n in numbers(20).encode().split()),
    ],
    ids=["a header, CR only", "CR only", "a CR in a cell"],
)
async def test_advice_for_bare_carriage_returns_names_no_command(data, tmp_path, monkeypatch, capsys):
    """It would leave people out, or send them a second SMS."""
    file = tmp_path / "in.csv"
    file.write_bytes(data)
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    async with Server(Held()) as server:
        task = asyncio.ensure_future(
            batch(BatchOptions(str(file), sender="X", base_url=server.url, concurrency=2))
        )
        await server.wait(lambda: server.posts == 2)
        task.cancel()
        assert await task == 130
    captured = capsys.readouterr()
    last = max(line["line"] for line in lines_of(captured.out)) + (b'"' in data)
    assert "tail -n" not in captured.err
    assert f"Line {last} is the last one with a result" in captured.err
    assert "by hand. With --store FILE from the start" in captured.err


async def test_interrupted_batch_with_json_ends_with_one_object(started, tmp_path):
    file = tmp_path / "numbers.txt"
    file.write_text(numbers(20))
    arguments = ["batch", str(file), "--sender", "X", "--concurrency", "4", "--json", "--store"]
    async with Server(Held()) as server:
        process = await started([*arguments, str(tmp_path / "batch.db")], server.url)
        await server.wait(lambda: server.posts == 4)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = await process.communicate()
        assert process.returncode == 143
    summary = json.loads(stderr)
    assert summary["interrupted"] is True
    assert (summary["entries"], summary["maybe_sent"], summary["completed_to_line"]) == (4, 4, 4)
    assert summary["go_on_with"].startswith("gateway360 batch ")
    assert len(lines_of(stdout.decode())) == 4


# --- The same in this process ------------------------------------------------------------------------------


def interrupted(
    arguments: list[str],
    steps: Callable[[Server, Held, io.StringIO], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, str, str]:
    """Run a batch against a gateway in a thread that goes through some steps."""
    stderr = io.StringIO()
    url: list[str] = []
    ready, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        held = Held()
        async with Server(held) as server:
            url.append(server.url)
            ready.set()
            await steps(server, held, stderr)
            await asyncio.to_thread(ended.wait, 10)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    try:
        return invoke_here([*arguments, "--base-url", url[0]], stderr=stderr)
    finally:
        ended.set()
        thread.join()


async def said(stderr: io.StringIO, text: str) -> None:
    until = time.monotonic() + 10
    while text not in stderr.getvalue():
        assert time.monotonic() < until
        await asyncio.sleep(0.005)


def no_reader_is_left() -> None:
    """The thread that waits for a line ends when there is none any more."""
    for thread in threading.enumerate():
        if thread.name == "gateway360-rows":
            thread.join(5)
            assert not thread.is_alive()


async def one_ctrl_c(server: Server, held: Held, stderr: io.StringIO) -> None:
    await server.wait(lambda: server.posts == 4)
    os.kill(os.getpid(), signal.SIGINT)
    await said(stderr, "stopping")
    held.released.set()


async def two_ctrl_cs(server: Server, held: Held, stderr: io.StringIO) -> None:
    await server.wait(lambda: server.posts == 4)
    os.kill(os.getpid(), signal.SIGINT)
    await said(stderr, "stopping")
    os.kill(os.getpid(), signal.SIGINT)


async def a_sigterm(server: Server, held: Held, stderr: io.StringIO) -> None:
    await server.wait(lambda: server.posts == 4)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("steps", "code", "says", "dispositions"),
    [
        (one_ctrl_c, 130, "interrupted", {"sent"}),
        (two_ctrl_cs, 130, "interrupted", {"maybe_sent"}),
        (a_sigterm, 143, "terminated", {"maybe_sent"}),
    ],
    ids=["Ctrl-C", "Ctrl-C twice", "SIGTERM"],
)
@pytest.mark.parametrize("options", [[], ["--rate", "1000/s"]], ids=["unpaced", "paced"])
def test_interrupted_call_has_its_result_written_down(
    steps, code, says, dispositions, options, tmp_path, monkeypatch
):
    file, out = tmp_path / "numbers", tmp_path / "out.jsonl"
    file.write_text(numbers(50))
    page = tmp_path / "report.html"
    arguments = ["batch", str(file), "--sender", "X", "--out", str(out), "--concurrency", "4", *options]
    got, _, stderr = interrupted([*arguments, "--report", str(page)], steps, monkeypatch)
    assert got == code
    assert f"The run was {says}: line 4 of the input was the last that was begun." in page.read_text()
    assert f"gateway360: {says}\n" in stderr
    lines = lines_of(out.read_text())
    assert len(lines) == 4
    assert {line["disposition"] for line in lines} == dispositions


@pytest.fixture
def stdin_pipe(monkeypatch):
    """A pipe's writing end, whose reading end is standard input."""
    read, write = os.pipe()
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        try:
            yield write
        finally:
            os.close(write)  # first: a file that a thread reads from cannot be closed
            no_reader_is_left()


def test_batch_of_a_pipe_stops_while_it_waits_for_a_line(stdin_pipe, monkeypatch):
    async def steps(server: Server, held: Held, stderr: io.StringIO) -> None:
        await server.wait(lambda: server.posts == 1)
        os.kill(os.getpid(), signal.SIGINT)
        await said(stderr, "stopping")
        held.released.set()

    os.write(stdin_pipe, b"34600000001\n")
    code, stdout, stderr = interrupted(["batch", "-", "--sender", "X"], steps, monkeypatch)
    assert code == 130
    assert [line["disposition"] for line in lines_of(stdout)] == ["sent"]
    assert "Every line up to 1 has its result in the output; nothing after it was begun." in stderr
    assert "rest" not in stderr


def test_batch_interrupted_before_its_first_row_says_so(stdin_pipe, monkeypatch):
    """Interrupted while it waits for the first line."""

    async def steps(server: Server, held: Held, stderr: io.StringIO) -> None:
        until = time.monotonic() + 10
        while not any(thread.name == "gateway360-rows" for thread in threading.enumerate()):
            assert time.monotonic() < until
            await asyncio.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    header = threading.Timer(0, os.write, (stdin_pipe, b"msisdn\n"))
    header.start()
    code, stdout, stderr = interrupted(["batch", "-", "--sender", "X"], steps, monkeypatch)
    header.join()
    assert (code, stdout) == (130, "")
    assert "Nothing was begun" in stderr


async def test_cancellation_that_is_no_signal_ends_it_all_the_same(tmp_path, monkeypatch, capsys):
    """As Ctrl-C is, where the event loop handles no signals."""
    file = tmp_path / "numbers"
    file.write_text(numbers(5))
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    async with Server(Held()) as server:
        options = BatchOptions(file=str(file), sender="X", base_url=server.url, concurrency=2)
        task = asyncio.ensure_future(batch(options))
        await server.wait(lambda: server.posts == 2)
        task.cancel()
        task.cancel()  # twice, and both are seen to
        assert await task == 130
    captured = capsys.readouterr()
    assert [line["disposition"] for line in lines_of(captured.out)] == ["maybe_sent"] * 2
    assert "gateway360: interrupted" in captured.err


async def test_signal_after_the_batch_does_nothing_more():
    told: list[str] = []
    with Interrupts(lambda: told.append("stopped"), say=True) as interrupts:
        pass
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    interrupts._interrupt()
    interrupts._terminate()
    assert (interrupts.code, told) == (None, [])


def test_signal_after_the_loop_is_closed_is_ignored():
    """It took the exit code away: the loop undoes its handlers."""

    async def run() -> None:
        with Interrupts(lambda: None, say=True):
            pass

    asyncio.run(run())
    for number in (signal.SIGINT, signal.SIGTERM):
        assert signal.getsignal(number) is signal.SIG_IGN
        os.kill(os.getpid(), number)


async def test_row_left_by_a_killed_run_waits_for_no_rate(started, tmp_path, monkeypatch, capsys):
    """At one an hour."""
    file, store = tmp_path / "numbers.txt", tmp_path / "batch.db"
    file.write_text(numbers(4))
    async with Server(Held()) as server:
        arguments = ["batch", str(file), "--sender", "X", "--store", str(store)]
        process = await started(arguments, server.url)
        await server.wait(lambda: server.posts == 4)
        process.kill()
        await process.communicate()
        monkeypatch.setenv("GATEWAY360_API_KEY", "key")
        options = BatchOptions(file=str(file), sender="X", base_url=server.url, store=str(store), rate="1/h")
        assert await batch(options) == 1
        assert server.posts == 4
    assert [line["kind"] for line in lines_of(capsys.readouterr().out)] == ["interrupted"] * 4


async def test_dry_run_tells_running_from_killed_runs_apart(started, tmp_path, monkeypatch, capsys):
    file, store = tmp_path / "numbers.txt", tmp_path / "batch.db"
    file.write_text(numbers(4))
    async with Server(Held()) as server:
        process = await started(["batch", str(file), "--sender", "X", "--store", str(store)], server.url)
        await server.wait(lambda: server.posts == 4)
        options = BatchOptions(
            str(file), sender="X", base_url=server.url, store=str(store), dry_run=True, json=True
        )
        assert await batch(options) == 0
        known = json.loads(capsys.readouterr().err)["store"]
        assert known == {"completed": 0, "in_doubt": 0, "in_progress": 4, "free": 0}
        process.kill()
        await process.communicate()
        assert await batch(options) == 0
        assert json.loads(capsys.readouterr().err)["store"]["in_doubt"] == 4
        assert server.posts == 4


async def test_second_ctrl_c_with_store_leaves_rows_in_doubt(started, tmp_path):
    gateway = Held()
    file, out, store = tmp_path / "numbers.txt", tmp_path / "out.jsonl", tmp_path / "batch.db"
    file.write_text(numbers(50))
    arguments = [
        "batch",
        str(file),
        "--sender",
        "X",
        "--out",
        str(out),
        "--concurrency",
        "4",
        "--store",
        str(store),
    ]
    async with Server(gateway) as server:
        process = await started(arguments, server.url)
        await server.wait(lambda: server.posts == 4)
        process.send_signal(signal.SIGINT)
        assert b"stopping" in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
        assert process.returncode == 130
        assert [line["disposition"] for line in lines_of(out.read_text())] == ["maybe_sent"] * 4
        said = stderr.decode()
        assert "4 may have been sent. Going on leaves them alone; with --resend-maybe-sent" in said
        (command,) = [line.strip() for line in said.splitlines() if line.startswith("  gateway360 ")]
        gateway.released.set()
        process = await started([*shlex.split(command)[1:], "--resend-maybe-sent"], server.url)
        await process.communicate()
        assert process.returncode == 0
        assert server.posts == 4 + 50
    assert {line["result"] for line in lines_of((tmp_path / "out-2.jsonl").read_text())} == {"Ok"}


async def test_store_that_is_started_anew_costs_no_row_and_no_sms(started, restarting, tmp_path):
    gateway = Held()
    file = tmp_path / "numbers.txt"
    file.write_text(numbers(50))
    arguments = ["batch", str(file), "--sender", "X", "--concurrency", "4", "--store", restarting.url]
    async with Server(gateway) as server:
        process = await started(arguments, server.url)
        await server.wait(lambda: server.posts == 4)
        await asyncio.to_thread(restarting.kill)
        gateway.released.set()
        # The four that are on their way end, and those that were claimed ahead; no other row is claimed.
        await server.wait(lambda: server.posts > 4)
        await asyncio.to_thread(restarting.start)
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr
        assert server.posts == 50
    assert {line["result"] for line in lines_of(stdout.decode())} == {"Ok"}


async def test_at_a_slow_rate_ctrl_c_ends_the_batch_at_once(started, tmp_path):
    """At one an hour: all rows but one wait, with a store and without."""
    file = tmp_path / "numbers.txt"
    file.write_text(numbers(300))
    gateway = Held()
    gateway.released.set()
    for options in ([], ["--store", str(tmp_path / "batch.db")]):
        async with Server(gateway) as server:
            process = await started(
                ["batch", str(file), "--sender", "X", "--rate", "1/h", *options], server.url
            )
            await server.wait(lambda: server.posts == 1)
            process.send_signal(signal.SIGINT)
            stdout, stderr = await process.communicate()
            assert process.returncode == 130, stderr
            assert [line["disposition"] for line in lines_of(stdout.decode())] == ["sent"]
            assert server.posts == 1


@pytest.mark.parametrize("json", [False, True])
async def test_first_ctrl_c_is_told_to_people(json, capsys):
    with Interrupts(lambda: None, say=not json) as interrupts:
        interrupts._interrupt()
    assert ("stopping" in capsys.readouterr().err) is not json


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_dry_run_that_waits_for_a_line_just_ends(number, code, says, stdin_pipe):
    os.write(stdin_pipe, b"34600000001\n")

    def stop() -> None:
        until = time.monotonic() + 10
        while not any(thread.name == "gateway360-rows" for thread in threading.enumerate()):
            assert time.monotonic() < until
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    stopping = threading.Thread(target=stop)
    stopping.start()
    got, _, stderr = invoke_here(["batch", "-", "--sender", "X", "--dry-run"])
    stopping.join()
    assert (got, stderr) == (code, f"gateway360: {says}\n")
