"""Each benchmark starts, and one of each kind runs in a small size. Their figures are no test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("blocking", "duplicates", "numbers", "phone", "soak", "storm", "stores", "task_cpu")
ROOT = Path(__file__).parent.parent

ALL_HELP = """
import runpy, sys

for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        assert not exc.code, name
"""


def output_of(*words):
    # Compiled files stay, so that a benchmark's processes do not compile all of Python anew.
    environment = {"PYTHONPYCACHEPREFIX": "", **os.environ}
    ran = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr


def test_benchmark_help_names_its_command():
    commands = ["benchmarks", *(f"benchmarks.{name}" for name in NAMES)]
    said = output_of("-c", ALL_HELP, *commands)
    assert [command for command in commands if f"usage: python -m {command} " not in said] == [], said


@pytest.mark.parametrize(
    ("words", "bar"),
    [
        (("blocking", "--rounds", "1", "--each", "1"), "blocking ÷ async"),
        (("task_cpu", "--rounds", "1", "--tasks", "10"), "CPU per task, async"),
        (
            ("stores", "--store", "sqlite", "--only", "throughput", "--rounds", "1", "--rows", "50"),
            "CPU added",
        ),
        (("soak", "--minutes", "0.02", "--concurrency", "4"), "calls = results"),
        (("duplicates", "--only", "ours", "--calls", "1"), "2, sent"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_benchmark_small_run_prints_its_bar(words, bar):
    assert bar in output_of("-m", "benchmarks", *words)
