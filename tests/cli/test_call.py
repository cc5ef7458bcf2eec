"""`gateway360 verify`: a PIN that is right, one that is wrong, and one that is not shown."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest
from support.cli_helpers import one_line
from support.loopback import Server, status

from gateway360_async import Gateway360Client
from gateway360_async.cli import _call, _problems
from gateway360_async.cli._app import app
from gateway360_async.cli._options import VerifyOptions

NUMBER = "34666666111"


@pytest.fixture
def pin(sandbox) -> str:
    """The PIN that a number was just sent."""

    async def send() -> None:
        async with Gateway360Client(sender="X") as client:
            await client.request_pin(NUMBER)

    asyncio.run(send())
    return sandbox.messages[-1].pin


def wrong(pin: str) -> str:
    return "".join(str(9 - int(digit)) for digit in pin)


def test_right_pin_is_verified_once(cli, pin):
    result = cli.invoke(app, ["verify", "+34 666 666 111"], input=f"{pin}\n")
    assert result.exit_code == 0
    assert result.stdout.startswith("verified (")
    again = cli.invoke(app, ["verify", NUMBER], input=f"{pin}\n")
    assert again.exit_code == 1
    assert one_line(again.stderr).startswith("gateway360: not verified")


def test_verify_with_wrong_pin_says_tries_remaining(cli, pin):
    result = cli.invoke(app, ["verify", NUMBER], input=wrong(pin))
    assert result.exit_code == 1
    assert one_line(result.stderr).startswith("gateway360: not verified, tries remaining: 2")
    result = cli.invoke(app, ["verify", NUMBER, "--json"], input=wrong(pin))
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["result"], said["verified"], said["tries_remaining"]) == ("NotVerified", False, 1)
    result = cli.invoke(app, ["verify", NUMBER, "--json"], input=pin)
    assert (result.exit_code, json.loads(result.stdout)["verified"]) == (0, True)


def test_no_output_shows_the_pin_or_the_key(cli, sandbox, pin):
    for typed in (wrong(pin), pin):
        for options in ([], ["--json"]):
            result = cli.invoke(app, ["verify", NUMBER, *options], input=typed)
            assert typed not in result.output
            assert sandbox.api_key not in result.output


def test_no_command_takes_a_pin_as_an_argument(cli, sandbox):
    result = cli.invoke(app, ["verify", NUMBER, "123456"])
    assert result.exit_code == 2
    assert "123456" in result.stderr  # it is on the command line already, and refused
    assert sandbox.requests == []
    (command,) = [command for command in app.registered_commands if command.name == "verify"]
    assert "pin" not in command.callback.__annotations__


@pytest.mark.parametrize(
    ("arguments", "typed", "says"),
    [
        ([NUMBER], "", "no PIN"),
        ([NUMBER], " \n", "no PIN"),
        ([NUMBER], "1" * 100, "pin: has 100 characters; expected the PIN of the SMS: 4 to 16 characters"),
        (["123"], "123456", "the number: has 3 digits"),
        ([NUMBER, "--base-url", "http://example.com"], "123456", "--base-url: is plain http"),
    ],
    ids=["no PIN", "an empty PIN", "a long PIN", "number", "url"],
)
def test_verify_with_wrong_argument_is_one_line(cli, sandbox, arguments, typed, says):
    result = cli.invoke(app, ["verify", *arguments], input=typed)
    assert result.exit_code == 2
    assert says in one_line(result.stderr)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (status(500), "not known, and the try may have been counted: http_status: HTTP 500"),
        (
            status(401, b'{"status":"error","error_id":"UNAUTHORIZED","error_msg":"No."}'),
            "not known, and the try was not counted: UNAUTHORIZED: No.",
        ),
        (
            status(400, b'{"status":"error","error_id":"BAD_PARAMS"}'),
            "not known, and the try was not counted: BAD_PARAMS",
        ),
    ],
    ids=["no envelope", "an error", "an error without a text"],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["for people", "for programs"])
async def test_verify_without_answer_says_whether_the_try_counted(answer, says, as_json, monkeypatch, capsys):
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    monkeypatch.setattr(_call, "_pin", lambda: "123456")
    async with Server(answer) as server:
        assert await _call.verify(VerifyOptions(NUMBER, base_url=server.url, json=as_json)) == 1
    captured = capsys.readouterr()
    if as_json:
        assert json.loads(captured.out)["verified"] is None
    else:
        assert says in one_line(captured.err)


def test_without_a_detail_the_kind_says_it(monkeypatch):
    from gateway360_async import Disposition, FailureKind, TransportFailure

    failure = TransportFailure(FailureKind.POOL, Disposition.NOT_SENT)
    assert _call._text(failure) == "not known, and the try was not counted: pool"


# --- Asked for at a terminal -------------------------------------------------------------------------------


def test_at_a_terminal_the_pin_is_asked_for(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(_problems, "getpass", lambda prompt: " 123456 ")
    before = signal.getsignal(signal.SIGINT)
    assert _call._pin() == "123456"
    assert signal.getsignal(signal.SIGINT) is before


def test_end_of_the_input_is_no_answer(monkeypatch):
    def end(prompt):
        raise EOFError

    monkeypatch.setattr(_problems, "getpass", end)
    assert _problems.ask("PIN: ") == ""


def until_it_sleeps(process: int) -> None:
    """Wait until a process waits for what is typed.

    A signal between Python's last look and the call of `read` is heard at the next one only: a person presses the keys again.
    """
    state = Path(f"/proc/{process}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "SZ":  # not on macOS
        time.sleep(0.001)


def at_a_terminal(typed: bytes) -> tuple[int, str]:
    """Run the command at a terminal of its own, and type something when it asks."""
    process, terminal = pty.fork()
    if not process:  # the child
        os.execv(sys.executable, [sys.executable, "-m", "gateway360_async.cli", "verify", NUMBER])
    seen = b""
    try:
        while b"PIN: " not in seen:
            seen += os.read(terminal, 1024)
        until_it_sleeps(process)
        os.write(terminal, typed)
        while block := os.read(terminal, 1024):
            seen += block
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    _, code = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(code), seen.decode()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_terminal_does_not_show_what_is_typed(sandbox, pin):
    code, seen = at_a_terminal(f"{pin}\n".encode())
    assert code == 0
    assert "verified (" in seen
    assert pin not in seen


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_ctrl_c_at_the_prompt_is_heard_at_once(sandbox):
    code, seen = at_a_terminal(b"\x03")
    assert code == 130
    assert seen.rstrip().endswith("gateway360: interrupted")
    assert sandbox.requests == []
