"""The examples of tests in the documentation, run as they stand: files with their names in the first line."""

from __future__ import annotations

import re
import sys
import textwrap

import pytest
from support.plugins import alone

from gateway360_async import testing
from gateway360_async.testing import answers

pytest_plugins = ["pytester"]

# Each starts a Python of its own, which takes seconds on a machine that is busy.
pytestmark = pytest.mark.timeout(120)


def files_of_docstring(text: str) -> dict[str, str]:
    blocks = re.findall(
        r"^    # (\w+\.py)\n((?:(?:    .*)?\n)+?)(?=^    # \w+\.py\n|^\S)", text, re.MULTILINE
    )
    return {name: textwrap.dedent(code) for name, code in blocks}


def run(pytester: pytest.Pytester, files: dict[str, str]) -> pytest.RunResult:
    for name, code in files.items():
        (pytester.path / name).write_text(code, encoding="utf-8")
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", *alone("asyncio")]
    return pytester.run(*command)


DOCUMENTED = files_of_docstring(testing.__doc__) | files_of_docstring(answers.__doc__)


def test_documented_tests_pass(pytester):
    assert sorted(DOCUMENTED) == ["shop.py", "test_funds.py", "test_shop.py"]
    run(pytester, DOCUMENTED).assert_outcomes(passed=4)


def test_documented_tests_fail_for_a_view_that_sends_twice(pytester):
    """They are worth something: one of them fails where the view is as it is quickly written."""
    once = "    result = await request.state.client.request_pin(number)\n"
    assert once in DOCUMENTED["shop.py"]
    again = f"{once}    if result.disposition != 'sent':\n    {once}"
    files = {
        "test_shop.py": DOCUMENTED["test_shop.py"],
        "shop.py": DOCUMENTED["shop.py"].replace(once, again),
    }
    run(pytester, files).assert_outcomes(passed=1, failed=1)
