from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from support.commands import IMPORTS
from support.forked import Nursery
from typer.testing import CliRunner

from gateway360_async.cli._app import app


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A batch leaves its process, which ends then, with both ignored; this one goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process from which commands are forked."""
    with Nursery(*IMPORTS) as nursery:
        yield nursery


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


@pytest.fixture
def run_batch(cli, tmp_path) -> Callable[..., object]:
    """Write a file, and invoke a batch of it with the sender X."""

    def invoke(text: str, *options: str) -> object:
        (tmp_path / "in.csv").write_text(text, encoding="utf-8")
        return cli.invoke(app, ["batch", str(tmp_path / "in.csv"), "--sender", "X", *options])

    return invoke
