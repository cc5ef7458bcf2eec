"""Problems in the words of the command line: for a person a line, for a program an object."""

from __future__ import annotations

import json
import sys

import pytest
from support.cli_helpers import numbers, one_line
from support.loopback import Server, status

from gateway360_async import cli as cli_package
from gateway360_async.cli import _app
from gateway360_async.cli._app import app
from gateway360_async.cli._batch import batch
from gateway360_async.cli._batch_options import BatchOptions

REQUEST = ["request", "+34666666111", "--sender", "X"]


def test_key_that_cannot_be_one_is_named_by_its_variable(cli, sandbox, monkeypatch):
    monkeypatch.setenv("GATEWAY360_API_KEY", " key")
    said = one_line(cli.invoke(app, REQUEST).stderr)
    assert said.startswith("gateway360: GATEWAY360_API_KEY: holds a control character, or white space")
    assert "`api_key`" not in said


@pytest.mark.parametrize(
    "arguments",
    [[*REQUEST, "--region", "XX"], ["batch", "no-such-file", "--sender", "X"], ["verify", "12"]],
    ids=["request", "batch", "verify"],
)
def test_problem_with_json_is_an_object(cli, sandbox, arguments):
    result = cli.invoke(app, [*arguments, "--json"], input="1234\n")
    assert (result.exit_code, result.stdout) == (2, "")
    said = json.loads(result.stderr)
    assert (list(said), said["exit_code"]) == (["problem", "exit_code"], 2)


@pytest.mark.parametrize("missing", [False, True], ids=["wrong usage", "a missing extra"])
def test_problem_before_the_command_with_json_is_an_object(monkeypatch, capsys, missing):
    def fail(**kwargs):
        raise ImportError("the sandbox needs starlette")

    if missing:
        monkeypatch.setattr(_app, "app", fail)
    monkeypatch.setattr(sys, "argv", ["gateway360", "demo", "--count", "x", "--json"])
    with pytest.raises(SystemExit) as caught:
        cli_package.main()
    assert caught.value.code == 2
    said = json.loads(capsys.readouterr().err)["problem"]
    assert ("the sandbox needs starlette" if missing else "--count") in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch", "\x1b[2J.csv", "--sender", "X"],
        ["batch", "x", "--sender", "X", "--rate", "\x1b[2J"],
        ["batch", "x", "--sender", "X", "--out", "no/\x1b[2J"],
        ["request", "+34666666111", "--sender", "X", "--region", "\x1b[2J"],
    ],
    ids=["file", "rate", "out", "region"],
)
def test_no_value_commands_the_terminal(cli, sandbox, arguments):
    said = one_line(cli.invoke(app, arguments).stderr)
    assert "\x1b" not in said
    assert "x1b[2J" in said


@pytest.mark.parametrize("arguments", [[], ["batch"], ["store"], ["store", "check"]], ids=" ".join)
def test_short_option_for_help(cli, arguments):
    result = cli.invoke(app, [*arguments, "-h"])
    assert (result.exit_code, "Usage:" in result.stdout) == (0, True)


# --- A gateway that refuses each row ------------------------------------------------------------------------

REFUSED = b'{"status":"error","error_id":"INVALID_SENDER"}'


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (status(404, b"<h1>Not Found</h1>"), "HTTP 404"),
        (status(200, REFUSED), "the gateway answered INVALID_SENDER"),
    ],
    ids=["404", "INVALID_SENDER"],
)
async def test_gateway_that_answers_each_row_alike_halts_the_batch(
    tmp_path, monkeypatch, capsys, answer, says
):
    file = tmp_path / "numbers"
    file.write_text(numbers(200))
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    async with Server(answer) as server:
        options = BatchOptions(str(file), sender="X", base_url=server.url, concurrency=3)
        assert await batch(options) == 3
        assert 10 <= server.posts <= 10 + 2 * 3
    stdout, said = capsys.readouterr()
    assert stdout == ""
    assert said.endswith("With --out FILE the result of every row is kept.\n")
    assert 10 <= said.count("  line ") <= 16
    assert "halted: each of the first rows got the same answer: not sent, " in said
    assert says in said
    assert "Nothing was sent. When that is put right, give the same command again." in said


INVALID_NUMBER = b'{"status":"error","error_id":"INVALID_NUMBER"}'
ACCEPTED = b'{"status":"ok"}'


@pytest.mark.parametrize(
    ("answers", "code"),
    [([REFUSED] * 5 + [ACCEPTED] + [REFUSED] * 24, 1), ([INVALID_NUMBER] * 30, 1), ([ACCEPTED] * 30, 0)],
    ids=["one accepted", "numbers", "all accepted"],
)
async def test_gateway_that_refuses_some_rows_halts_nothing(tmp_path, monkeypatch, capsys, answers, code):
    file = tmp_path / "numbers"
    file.write_text(numbers(30))
    monkeypatch.setenv("GATEWAY360_API_KEY", "key")
    left = iter(answers)

    async def answer(received):
        await status(200, next(left))(received)

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    async with Server(answer) as server:
        options = BatchOptions(str(file), sender="X", base_url=server.url, concurrency=1)
        assert await batch(options) == code
        assert server.posts == 30
    assert ("--out FILE" in capsys.readouterr().err) == bool(code)
