"""The README and the guide say what is true: their examples are in order, and all that they name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruff import find_ruff_bin
from support.examples import EXAMPLES, PAGES, README

from gateway360_async.cli._examples import EXAMPLES as EXAMPLES_OF_COMMANDS

TEXT = README.read_text(encoding="utf-8")
ALL = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_is_in_order(example):
    check = ["check", "--select=B,F,I,UP", "--target-version=py311", "--output-format=concise"]
    check += ["--config", 'lint.isort.known-first-party = ["gateway360_async"]']
    for command in check, ["format", "--line-length=100", "--diff"]:
        ruff = [find_ruff_bin(), *command, "--isolated", "-"]
        found = subprocess.run(
            ruff, check=False, input=example.source, capture_output=True, text=True, timeout=10
        )
        assert found.returncode == 0, found.stdout


def test_there_are_exactly_two_commands_for_a_fresh_machine():
    """Which need neither the right to change the distribution's Python nor a tool that is not there: see `.ci/run`."""
    assert len(re.findall(r"^python3 -m venv \.venv && \.venv/bin/pip install -q ", TEXT, re.MULTILINE)) == 2
    assert not re.search(
        r"python3 -m (?:pip|uv)\b|^pip install", TEXT[: TEXT.index("## Ten lines")], re.MULTILINE
    )


def test_commands_are_those_that_the_command_line_tests_run():
    shown = re.findall(r"^gateway360 (?:.*\\\n)*.*$", ALL, re.MULTILINE)
    assert len(shown) > 4
    run = {command for examples in EXAMPLES_OF_COMMANDS.values() for _, command in examples}
    assert [command for command in shown if command not in run] == []


def test_every_test_that_proves_a_claim_is_there():
    named = re.findall(r"`tests/([\w/]+\.py)(?:::(\w+))?`", ALL)
    assert len(named) > 15
    for file, test in named:
        text = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert (f"def {test}" if test else "test") in text.lower(), (file, test)


def test_readme_has_at_most_200_lines():
    assert TEXT.count("\n") <= 200


@pytest.mark.timeout(180)
def test_applications_pass_strict_type_checkers(tmp_path):
    applications = [example for example in EXAMPLES if "FastAPI(lifespan" in example.source]
    assert {example.path.name for example in applications} == {"README.md", "web-applications.md"}
    for index, example in enumerate(applications):
        (tmp_path / f"app_{index}.py").write_text(example.source)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    # Of its own: mypy throws away what it has found with other options, which are those of the checkout.
    cache = Path(__file__).parent.parent / ".mypy_cache" / "applications"
    for command in (
        ["mypy", "--strict", "--cache-dir", cache, "."],
        ["basedpyright", "--pythonpath", sys.executable],
    ):
        found = subprocess.run(
            [sys.executable, "-m", *command], check=False, cwd=tmp_path, capture_output=True, text=True
        )
        assert found.returncode == 0, found.stdout
