"""The commands, in this process, against a sandbox over real HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest
import typer
from support.cli_helpers import invoke_here, lines_of, numbers, one_line
from support.loopback import free_port

from gateway360_async import cli as cli_package
from gateway360_async.cli import _app, _batch, _demo, _problems, _sandbox
from gateway360_async.cli._app import app
from gateway360_async.cli._problems import UsageProblem
from gateway360_async.sandbox import HLR_FAIL_PREFIX

# --- request ---------------------------------------------------------------------------------------------


def test_request_sends_one_pin(cli, sandbox):
    options = ["--sms-text", "Your {PIN}", "--pin-type", "alpha", "--pin-length", "8", "--no-hlr-lookup"]
    result = cli.invoke(app, ["request", "+34 666 666 111", "--sender", "GOOD PIZZA", *options])
    assert result.exit_code == 0
    assert result.stdout.startswith("sent (1 attempt")
    (message,) = sandbox.messages
    assert (message.msisdn, message.sender) == ("34666666111", "GOOD PIZZA")
    assert message.text == f"Your {message.pin}"
    assert len(message.pin) == 8


def test_request_that_is_refused_exits_with_1(cli, sandbox):
    result = cli.invoke(app, ["request", f"{HLR_FAIL_PREFIX}123456", "--sender", "X", "--json"])
    assert result.exit_code == 1
    assert lines_of(result.stdout)[0] | {"elapsed": 0} == {
        "result": "ApiError",
        "disposition": "not_sent",
        "error_id": "INVALID_NUMBER",
        "error_msg": "HLR query returned error.",
        "scope": "number",
        "http_status": 200,
        "attempts": 1,
        "elapsed": 0,
    }


LOCAL = "http:// is for this machine alone, as in http://127.0.0.1:8360"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["123"], "the number: has 3 digits"),
        (["--sender", "FAR TOO LONG A SENDER"], "--sender: has 21 characters"),
        (["--pin-length", "3"], "--pin-length: is too small"),
        (["--pin-max-tries", "-1"], "--pin-max-tries: is too small"),
        (["--report-url", "x"], "--report-url: does not start with http://"),
        (["--deadline", "0"], "--deadline: is 0.0"),
        (["--base-url", "http://example.com"], LOCAL),
        (["--base-url", "https://example.com/api"], "--base-url: ends in the path prefix"),
        (["--region", "XX"], "--region: is 'XX', and there is no such region; expected an ISO 3166 code"),
    ],
    ids=" ".join,
)
def test_wrong_argument_is_named_as_it_is_typed(cli, sandbox, arguments, says):
    number = [] if arguments[0].isdecimal() else ["34666666111"]
    result = cli.invoke(app, ["request", "--sender", "X", *number, *arguments])
    assert (result.exit_code, sandbox.requests) == (2, [])
    said = one_line(result.stderr)
    assert says in said
    assert not any(python in said for python in ("allow_insecure", "path_prefix", "None", "base_url"))


def test_without_a_key_there_is_one_line(cli, sandbox, monkeypatch):
    monkeypatch.delenv("GATEWAY360_API_KEY")
    result = cli.invoke(app, ["request", "34666666111", "--sender", "X"])
    assert result.exit_code == 2
    assert "GATEWAY360_API_KEY" in one_line(result.stderr)


def test_at_a_terminal_the_key_is_asked_for_and_not_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(_problems, "getpass", lambda prompt: " typed ")
    assert _problems.api_key() == "typed"
    assert "typed" not in "".join(capsys.readouterr())


def test_gateway_that_is_not_there_is_a_result(cli, sandbox):
    url = f"http://127.0.0.1:{free_port()}"
    result = cli.invoke(
        app, ["request", "34666666111", "--sender", "X", "--base-url", url, "--deadline", "0.3"]
    )
    assert result.exit_code == 1
    assert "not sent, " in one_line(result.stderr)


# --- batch -----------------------------------------------------------------------------------------------


def test_batch_with_bad_rows_gives_each_row_a_line(run_batch, sandbox, tmp_path):
    rows = [f"346{n:08},GOOD PIZZA,{6 if n % 10 else 99}\n" for n in range(200)]
    out = tmp_path / "out.jsonl"
    result = run_batch("msisdn,sender,pin_params.length\n" + "".join(rows), "--out", str(out))
    assert result.exit_code == 1
    lines = lines_of(out.read_text())
    assert sorted(line["line"] for line in lines) == list(range(2, 202))
    bad = [line for line in lines if line["result"] == "Skipped"]
    assert sorted(line["index"] for line in bad) == list(range(0, 200, 10))
    assert all(line["detail"].startswith("pin_params.length: is too large") for line in bad)
    assert all(line["msisdn"] == f"346{line['index']:08}" for line in lines)
    assert len(sandbox.messages) == 180
    assert "200 entries" in result.stderr
    assert result.stdout == ""


def test_numbers_from_stdin_to_stdout(cli, sandbox, tmp_path, monkeypatch):
    file = tmp_path / "numbers"
    file.write_bytes(b"\xef\xbb\xbf" + numbers(5).encode())
    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, stdout, _ = invoke_here(["batch", "-", "--sender", "X"])
    assert code == 0
    assert [line["disposition"] for line in lines_of(stdout)] == ["sent"] * 5
    assert len(sandbox.messages) == 5


def test_numbers_from_a_pipe_are_sent_as_they_come(sandbox, monkeypatch):
    read, write = os.pipe()

    def feed() -> None:
        with os.fdopen(write, "wb") as pipe:
            for number in numbers(3).splitlines():
                pipe.write(f"{number}\n".encode())
                pipe.flush()

    feeder = threading.Thread(target=feed)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        feeder.start()
        code, stdout, _ = invoke_here(["batch", "-", "--sender", "X", "--rate", "1000/s"])
        feeder.join()
    assert code == 0
    assert len(lines_of(stdout)) == len(sandbox.messages) == 3


def test_batch_with_wrong_key_halts_with_a_line_for_each_row(run_batch, sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY360_API_KEY", "wrong")
    page = tmp_path / "report.html"
    result = run_batch(numbers(300), "--concurrency", "10", "--report", str(page))
    assert result.exit_code == 3
    lines = lines_of(result.stdout)
    assert len(lines) == 300
    assert len(sandbox.requests) <= 10
    assert sum(line.get("reason") == "halted" for line in lines) == 300 - len(sandbox.requests)
    assert "halted: not sent, the gateway answered UNAUTHORIZED" in result.stderr
    assert "The run was halted: not sent, the gateway answered UNAUTHORIZED" in page.read_text()


def test_duplicate_is_skipped_or_sent_as_asked(run_batch, sandbox):
    text = "34600000001\n+34 600 000 001\n"
    assert run_batch(text).exit_code == 1
    assert len(sandbox.messages) == 1
    assert run_batch(text, "--on-duplicate", "send").exit_code == 0
    assert len(sandbox.messages) == 3


OPEN = 'msisdn,sender\n34600000001,X\n34600000002,"X\n' + "34600000003,X\n" * 100


def test_file_with_an_open_quote_sends_nothing(run_batch, sandbox):
    result = run_batch(OPEN)
    assert (result.exit_code, result.stdout) == (2, "")
    assert one_line(result.stderr).endswith(
        "in.csv, line 3, sender: a quote opens here and is not closed: line 4 looks like a row"
    )
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("text", "code", "sent"), [(OPEN, 1, 1), ("msisdn,sender\n", 2, 0)], ids=["an open quote", "no rows"]
)
def test_pipe_that_cannot_be_read_on_sends_what_came_before(sandbox, monkeypatch, text, code, sent):
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        pipe.write(text)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        exited, stdout, stderr = invoke_here(["batch", "-"])
    assert exited == code
    assert len(lines_of(stdout)) == len(sandbox.messages) == sent
    assert (
        "stdin, line 3, sender: a quote opens here" if sent else "stdin: there are no numbers in it"
    ) in stderr


def test_column_option_reads_the_column_and_names_the_others(run_batch, sandbox, tmp_path):
    text, option = "nombre;telefono\nAna;34600000001\n", ["--column", "msisdn=telefono"]
    said = f"{tmp_path / 'in.csv'}: columns that are not read: nombre"
    result = run_batch(text, *option)
    assert result.exit_code == 0
    assert result.stderr.count("gateway360: ") == 1
    assert f"gateway360: {said}\n" in result.stderr
    assert [message.msisdn for message in sandbox.messages] == ["34600000001"]
    assert json.loads(run_batch(text, *option, "--json").stderr)["warnings"] == [said]


WRONG = [
    ("phone,name\n34600000001,x\n", [], "names no column msisdn"),
    (numbers(3), ["--rate", "fast"], "--rate fast"),
    (numbers(3), ["--rate", "0/s"], "--rate 0/s"),
    (numbers(3), ["--sender", "FAR TOO LONG A SENDER"], "sender: has 21 characters"),
    (numbers(3), ["--base-url", "http://example.com"], "--base-url: is plain http"),
    (numbers(3), ["--path-prefix", "?"], "--path-prefix: is not a path"),
    (numbers(3), ["--out", "/no/such/folder/out"], "--out /no/such/folder/out: there is no folder /no/such"),
    ("", [], "there are no numbers in it"),
    ('msisdn,sender\n34600000001,X\n34600000002,"X\n', [], "line 3, sender: a quote opens here"),
]


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry run"])
@pytest.mark.parametrize(("text", "options", "says"), WRONG, ids=[says for _, _, says in WRONG])
def test_batch_with_wrong_option_is_one_line_and_sends_nothing(run_batch, sandbox, text, options, says, dry):
    result = run_batch(text, *options, *dry)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in one_line(result.stderr)
    assert sandbox.requests == []


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry run"])
@pytest.mark.parametrize("text", [numbers(3), "msisdn\n34600000001\n"], ids=["numbers", "a CSV"])
def test_batch_without_a_sender_is_refused(cli, sandbox, tmp_path, text, dry):
    (tmp_path / "in").write_text(text)
    result = cli.invoke(app, ["batch", str(tmp_path / "in"), *dry])
    assert (result.exit_code, sandbox.requests) == (2, [])
    assert "no sender: give --sender, or a column named sender" in one_line(result.stderr)


def test_missing_file_is_one_line(cli, sandbox):
    result = cli.invoke(app, ["batch", "no-such-file.csv", "--sender", "X"])
    assert result.exit_code == 2
    assert "no-such-file.csv: No such file or directory" in one_line(result.stderr)


def test_results_that_cannot_be_written_name_the_file(sandbox, tmp_path, monkeypatch):
    file = tmp_path / "numbers"
    file.write_text(numbers(20))
    code, _, stderr = invoke_here(["batch", str(file), "--sender", "X", "--out", "/dev/full"])
    assert code == 1
    assert "gateway360: /dev/full: No space left on device; the result of line" in stderr


def test_results_never_overwrite_anything(cli, sandbox, tmp_path):
    file, out = tmp_path / "numbers", tmp_path / "out.jsonl"
    file.write_text(numbers(3))
    for name in (str(file), str(out)):
        out.write_text("the results of the run before")
        result = cli.invoke(app, ["batch", str(file), "--sender", "X", "--out", name])
        assert result.exit_code == 2
        assert "holds something already" in one_line(result.stderr)
    out.write_text("")
    assert sandbox.requests == []
    assert cli.invoke(app, ["batch", str(file), "--sender", "X", "--out", str(out)]).exit_code == 0
    assert len(lines_of(out.read_text())) == 3


def test_wait_for_the_rate_is_outside_the_deadline(run_batch, sandbox):
    before = _batch.Gateway360Client
    impatient = lambda *args, **kwargs: before(*args, **kwargs, deadline=1.0)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_batch, "Gateway360Client", impatient)
        result = run_batch(numbers(9), "--rate", "5/s")
    assert result.exit_code == 0
    assert len(sandbox.messages) == 9


# --- demo ------------------------------------------------------------------------------------------------


def test_demo_accounts_for_every_sms(cli):
    result = cli.invoke(app, ["demo", "--count", "200"])
    assert result.exit_code == 0
    assert "SMS that it sent: 170 = Ok results: 170: every SMS is accounted for" in result.stdout
    assert "requests that reached the gateway: 180" in result.stdout


def test_demo_says_it_to_programs_too(cli):
    result = cli.invoke(app, ["demo", "--count", "40", "--json"])
    assert result.exit_code == 0
    (said,) = lines_of(result.stdout)
    assert (said["entries"], said["sent"], said["messages"], said["requests"]) == (40, 34, 34, 36)
    assert said["by_reason"] == {"duplicate": 2, "invalid": 2}
    assert (said["accounted_for"], said["exit_code"]) == (True, 0)


def test_demo_is_about_this_machine_and_not_about_its_proxy(cli, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert cli.invoke(app, ["demo", "--count", "20"]).exit_code == 0


def test_demo_exits_with_1_if_its_claim_does_not_hold(cli, monkeypatch):
    class Forgetful(_demo.Sandbox):
        @property
        def messages(self):
            return super().messages[1:]

    monkeypatch.setattr(_demo, "Sandbox", Forgetful)
    result = cli.invoke(app, ["demo", "--count", "20"])
    assert result.exit_code == 1
    assert "THIS MUST NOT BE" in result.stdout


# --- sandbox ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["for people", "for programs"])
def test_sandbox_shows_each_sms_and_ends_with_ctrl_c(options, cli, monkeypatch):
    port = free_port()
    monkeypatch.setenv("GATEWAY360_API_KEY", "sandbox-key")

    def use() -> None:
        async def send() -> None:
            from gateway360_async import Gateway360Client, RetryPolicy

            patient = RetryPolicy(max_attempts=100, base_delay=0.05, max_delay=0.05, budget=None)
            url = f"http://127.0.0.1:{port}"
            async with Gateway360Client(base_url=url, sender="GOOD PIZZA", retry=patient) as client:
                await client.request_pin("34666666111")

        asyncio.run(send())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=use)
    thread.start()
    result = cli.invoke(app, ["sandbox", "--port", str(port), *options])
    thread.join()
    assert result.exit_code == 0
    if options:
        ready, sms = lines_of(result.stdout)
        assert ready == {
            "event": "ready",
            "base_url": f"http://127.0.0.1:{port}",
            "api_key": "sandbox-key",
        }
        assert (sms["event"], sms["sender"], sms["msisdn"]) == ("sms", "GOOD PIZZA", "34666666111")
        assert sms["pin"] in sms["text"]
        return
    assert f"export GATEWAY360_BASE_URL=http://127.0.0.1:{port}" in result.stdout
    assert "GOOD PIZZA → 34666666111" in result.stdout
    assert "1 SMS, 1 requests" in result.stdout


def test_sandbox_escapes_texts_and_keeps_the_last_sms(cli, monkeypatch):
    monkeypatch.setattr(_sandbox, "_KEPT", 2)

    class Used(_sandbox.Sandbox):
        async def __aenter__(self):
            gateway = await super().__aenter__()
            async with httpx.AsyncClient(trust_env=False) as client:
                for last in range(3):
                    fields = {
                        "msisdn": f"3466666600{last}",
                        "sender": "X",
                        "sms_text": "\x1b]0;t\x07 {PIN}",
                    }
                    url = f"{gateway.base_url}/api/2fa/request"
                    await client.post(url, json={"api_key": gateway.api_key, **fields})
            os.kill(os.getpid(), signal.SIGINT)
            return gateway

    monkeypatch.setattr(_sandbox, "Sandbox", Used)
    result = cli.invoke(app, ["sandbox", "--port", "0"])
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert result.stdout.count("\\x1b]0;t\\x07 ") == 3
    assert result.stdout.endswith("2 SMS, 2 requests (of the last 2 each)\n")


@pytest.mark.parametrize("there_is_one", [True, False], ids=["a browser", "no browser"])
def test_phone_is_opened_in_the_browser(cli, monkeypatch, there_is_one):
    opened = []

    def browser(url: str) -> bool:
        opened.append(url)
        os.kill(os.getpid(), signal.SIGINT)
        return there_is_one

    monkeypatch.setattr("webbrowser.open", browser)
    result = cli.invoke(app, ["sandbox", "--port", "0", "--open"])
    assert result.exit_code == 0
    (url,) = opened
    assert f"is at {url}\n" in result.stdout
    assert ("open the page yourself" in result.stdout) is not there_is_one


def test_port_that_is_taken_is_one_line(cli):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        result = cli.invoke(app, ["sandbox", "--port", str(port)])
    assert result.exit_code == 2
    assert one_line(result.stderr) == (
        f"gateway360: --port {port}: is in use by another program; give another, or 0 for a free one"
    )


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-name.invalid"])
def test_sandbox_on_an_address_of_another_machine_says_so(cli, host):
    result = cli.invoke(app, ["sandbox", "--host", host, "--port", "0"])
    assert result.exit_code == 2
    assert f"--host {host}: is no address of this machine" in one_line(result.stderr)


def test_port_that_may_not_be_taken_is_one_line(cli, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.bind", refuse)
    result = cli.invoke(app, ["sandbox", "--port", "80"])
    assert result.exit_code == 2
    assert "--port 80: Permission denied; give another, or 0" in one_line(result.stderr)


def test_sandbox_without_signal_handlers_ends_with_ctrl_c(cli, monkeypatch):
    """As on Windows, where Ctrl-C cancels the task."""

    def refuse(*args):
        raise NotImplementedError

    class Used(_sandbox.Sandbox):
        async def __aenter__(self):
            gateway = await super().__aenter__()
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
            return gateway

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    monkeypatch.setattr(_sandbox, "Sandbox", Used)
    result = cli.invoke(app, ["sandbox", "--port", "0"])
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("0 SMS, 0 requests\n")


# --- The way in ------------------------------------------------------------------------------------------


def test_no_option_takes_a_key():
    for command in app.registered_commands:
        names = command.callback.__annotations__
        assert not any("key" in name for name in names)


def run_main(arguments, monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["gateway360", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli_package.main()
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sandbox", "--port", "70000"], "--port"),
        (["sandbox", "--port", "x"], "--port"),
        (["sandbox", "--balance", "-3"], "--balance"),
        (["request"], "msisdn"),
        (["request", "34666666111"], "--sender"),
        (["batch", "x", "--concurrency", "0"], "--concurrency"),
        (["no-such-command"], "no-such-command"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(arguments, says, monkeypatch, capsys):
    assert run_main(arguments, monkeypatch) == 2
    assert says in one_line(capsys.readouterr().err)


def test_no_arguments_are_the_help(monkeypatch, capsys):
    assert run_main([], monkeypatch) == 2
    assert "batch" in "".join(capsys.readouterr())


def test_help_and_the_version_are_no_failure(monkeypatch, capsys):
    assert run_main(["batch", "--help"], monkeypatch) == 0
    assert run_main(["--version"], monkeypatch) == 0
    assert "gateway360-async 0." in capsys.readouterr().out


def test_package_run_as_module_is_the_command(monkeypatch, capsys):
    # Not `runpy`: pytest imports the package of a plugin in a way of its own, which that does not know.
    spec = importlib.util.find_spec("gateway360_async.cli.__main__")
    code = compile(Path(spec.origin).read_text(encoding="utf-8"), spec.origin, "exec")
    within = {"__package__": "gateway360_async.cli", "__spec__": spec}
    monkeypatch.setattr(sys, "argv", ["gateway360", "--version"])
    with pytest.raises(SystemExit) as caught:
        exec(code, {"__name__": "__main__", **within})
    assert caught.value.code == 0
    exec(code, {"__name__": spec.name, **within})
    assert capsys.readouterr().out.count("gateway360-async") == 1


def test_aborted_prompt_is_one_line(monkeypatch, capsys):
    def abort(**kwargs):
        raise typer.Abort

    monkeypatch.setattr(_app, "app", abort)
    assert run_main(["demo"], monkeypatch) == 1
    assert one_line(capsys.readouterr().err) == "gateway360: aborted"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError("No module named 'typer'", name="typer"), "typer is not installed"),
        (ImportError("the sandbox needs starlette"), "the sandbox needs starlette"),
    ],
    ids=["the extra cli", "the extra sandbox"],
)
def test_missing_extra_is_one_line(monkeypatch, capsys, error, says):
    def fail(**kwargs) -> None:
        raise error

    monkeypatch.setattr(_app, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli_package.main()
    assert caught.value.code == 2
    assert says in one_line(capsys.readouterr().err)


def test_import_error_of_the_package_itself_is_raised(monkeypatch):
    def fail(**kwargs) -> None:
        raise ModuleNotFoundError("oops", name="gateway360_async.nothing")

    monkeypatch.setattr(_app, "app", fail)
    with pytest.raises(ModuleNotFoundError, match="oops"):
        cli_package.main()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), UsageProblem("No space left")], ids=type)
def test_problem_of_a_command_is_one_line(capsys, error):
    async def fail() -> int:
        raise error

    with pytest.raises(SystemExit) as caught:
        _problems.run(fail())
    assert caught.value.code == 2
    assert one_line(capsys.readouterr().err) == "gateway360: No space left"
