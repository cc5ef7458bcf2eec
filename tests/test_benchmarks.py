"""Each benchmark starts, and one of each kind runs in a small size. Their figures are no test."""

import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("blocking", "duplicates", "numbers", "phone", "soak", "storm", "stores", "task_cpu")
ROOT = Path(__file__).parent.parent


def output_of(*words):
    ran = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("command", ["benchmarks", *(f"benchmarks.{name}" for name in NAMES)])
def test_benchmark_help_names_its_command(command):
    assert f"usage: python -m {command} " in output_of(command, "--help")


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
    assert bar in output_of("benchmarks", *words)
