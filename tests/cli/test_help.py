"""The help, its examples, and what a shell completes."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_helpers import lines_of, numbers
from typer.testing import CliRunner

from gateway360_async import Gateway360Client
from gateway360_async.cli._app import app
from gateway360_async.cli._examples import EXAMPLES

COMMANDS = ["batch", "demo", "request", "sandbox", "store", "verify"]
SCRIPT = Path(sys.executable).with_name("gateway360")


def with_script(**more: str) -> dict[str, str]:
    """The environment with the command on the path."""
    return os.environ | {"PATH": f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"} | more


def sent_pin(sandbox) -> str:
    """Have a PIN sent to the number of the examples."""

    async def send() -> None:
        async with Gateway360Client() as client:
            await client.request_pin("34666666111", sender="X")

    asyncio.run(send())
    return sandbox.messages[0].pin


def test_every_command_has_examples_that_its_help_shows(cli):
    assert sorted(EXAMPLES) == sorted([*COMMANDS, "gateway360"])
    for command, examples in EXAMPLES.items():
        arguments = [] if command == "gateway360" else [command]
        result = cli.invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"})
        assert result.exit_code == 0
        shown = [line.rstrip() for line in result.stdout.splitlines()]
        for purpose, example in examples:
            for line in (f"# {purpose}", *example.splitlines()):
                assert f" {line}" in shown  # whole, and not wrapped: it can be pasted


REDIS = "redis://localhost:6379/0"


@pytest.mark.parametrize(
    "example",
    [
        line
        for command in ("demo", "request", "batch")
        for _, line in EXAMPLES[command]
        if REDIS not in line and "--processes" not in line  # a run of seconds: test_demo_processes.py has it
    ]
    + [EXAMPLES["verify"][1][1]],
)
def test_every_example_does_what_it_says(example, cli, sandbox, tmp_path, monkeypatch):
    """In a real shell where it needs one: what `shlex` takes apart, a shell hands over in the same pieces."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers.csv").write_text("msisdn\n" + numbers(3))
    pin = sent_pin(sandbox) if "verify" in example else ""
    if "|" in example:
        done = subprocess.run(
            ["bash", "-c", example], env=with_script(PIN=pin), capture_output=True, text=True, check=False
        )
        code, said = done.returncode, done.stderr
    else:
        result = cli.invoke(app, shlex.split(example.replace("\\\n", ""))[1:])
        code, said = result.exit_code, result.output
    assert code == 0, said
    if "batch" in example:
        assert len(sandbox.messages) == (0 if "--dry-run" in example else 3)


def test_example_for_many_machines_shares_the_work(sandbox, make_redis, tmp_path):
    (tmp_path / "customers.csv").write_text("msisdn\n" + numbers(3))
    (example,) = (line for _, line in EXAMPLES["batch"] if REDIS in line)
    with make_redis(durable=True) as redis:
        for results in ("results.jsonl", "results-2.jsonl"):
            done = subprocess.run(
                ["bash", "-c", example.replace(REDIS, redis.url)],
                cwd=tmp_path, env=with_script(), capture_output=True, text=True, check=False, timeout=50,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert len(lines_of((tmp_path / results).read_text())) == 3
    assert len(sandbox.messages) == 3


def test_stores_examples_are_understood(monkeypatch):
    taken = []
    for name in ("init", "check", "new_epoch"):
        monkeypatch.setattr(f"gateway360_async.cli._store.{name}", lambda url, **more: taken.append(url))
    monkeypatch.setattr("gateway360_async.cli._store.run", lambda _: None)
    monkeypatch.setattr("typer.confirm", lambda *args, **more: True)
    for _, example in EXAMPLES["store"]:
        app(shlex.split(example)[1:], standalone_mode=False)
    assert len(taken) == len(EXAMPLES["store"])


def test_sandboxs_examples_are_understood(monkeypatch):
    taken = []
    monkeypatch.setattr("gateway360_async.cli._sandbox.sandbox", taken.append)
    monkeypatch.setattr("gateway360_async.cli._options.run", lambda _, json: None)
    for _, example in EXAMPLES["sandbox"]:
        app(shlex.split(example)[1:], standalone_mode=False)
    assert [(options.open_page, options.json) for options in taken] == [(True, False), (False, True)]


# --- Completion ------------------------------------------------------------------------------------------


def completed(cli: CliRunner, shell: str, line: str) -> list[str]:
    """The answer to a shell about a line, by the protocol of the completion script."""
    if shell == "bash":
        words = line.split(" ")
        environment = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    else:
        environment = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment["_GATEWAY360_COMPLETE"] = f"complete_{shell}"
    done = cli.invoke(app, [], env=environment, prog_name="gateway360")
    assert done.exit_code == 0
    if shell == "zsh":
        return re.findall(r'(?:^|\(\()"([^"]+)"', done.stdout, flags=re.MULTILINE)
    return [text.split("\t")[0] for text in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_values_are_completed(shell, cli):
    assert sorted(completed(cli, shell, "gateway360 ")) == COMMANDS
    assert completed(cli, shell, "gateway360 ba") == ["batch"]
    assert completed(cli, shell, "gateway360 batch --dry") == ["--dry-run"]
    assert {"--store", "--name", "--rate", "--report", "--json"} <= set(
        completed(cli, shell, "gateway360 batch --")
    )
    assert sorted(completed(cli, shell, "gateway360 batch x --on-duplicate ")) == ["send", "skip"]
    assert completed(cli, shell, "gateway360 request 1 --pin-type al") == ["alpha", "alphanumeric"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_shown_installed_and_at_work(shell, tmp_path):
    """Below a shell of that name, which is how it knows which one to make it for."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}: install Debian's package `{shell}`")
    environment = with_script(HOME=str(tmp_path))
    # With a command after it, so that the shell stays and is found.
    shown = subprocess.run(
        [shell, "-c", "gateway360 --show-completion; true"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"_GATEWAY360_COMPLETE=complete_{shell}" in shown.stdout
    installed = subprocess.run(
        [shell, "-c", "gateway360 --install-completion; true"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{shell} completion installed in {tmp_path}" in installed.stdout
    assert any("gateway360" in path.name for path in tmp_path.rglob("*"))
    if shell == "bash":
        script = """
            eval "$SHOWN"
            COMP_WORDS=(gateway360 batch --sto) COMP_CWORD=2
            _gateway360_completion gateway360
            echo "${COMPREPLY[@]}"
        """
        done = subprocess.run(
            ["bash", "-c", script],
            env=environment | {"SHOWN": shown.stdout}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == "--store"
