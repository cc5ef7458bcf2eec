from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A batch leaves its process, which ends then, with both ignored; this one goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()
