"""The README's examples run as they stand, against the sandbox."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
# What begins with a file's name is for pytest: tests/testing/test_testing_documented.py runs it.
EXAMPLES = re.findall(r"^```python\n(?!# \w+\.py\n)(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"example {n}" for n in range(1, len(EXAMPLES) + 1)])
def test_an_example_runs(example, sandbox, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert "no answer" not in capsys.readouterr().out


def test_there_are_exactly_two_commands_for_a_fresh_machine():
    assert len(re.findall(r"^python3 -m pip install -q uv && ", README, re.MULTILINE)) == 2


def test_every_test_that_proves_a_claim_is_there():
    named = re.findall(r"`tests/([\w/]+\.py)(?:::(\w+))?`", README)
    assert len(named) > 15
    for file, test in named:
        text = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert f"def {test or 'test_'}" in text, (file, test)
