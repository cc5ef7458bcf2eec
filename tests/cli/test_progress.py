"""The bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from support.cli_helpers import numbers
from support.commands import COMMAND
from support.forked import Nursery

from gateway360_async.cli._progress import Live, console_on

COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7]|38;5;\d+)[0-9;]*m")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(out: io.StringIO) -> Console:
    return Console(file=out, force_terminal=True, width=100, color_system=None, legacy_windows=False)


def lines(text: str) -> list[str]:
    """The lines that were drawn, in their order, without the commands to the terminal."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\r", "\n", re.sub(r"\x1b\[[0-9;]*m", "", text))
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_live_shows_progress_rate_and_time_left():
    out, clock = io.StringIO(), Clock()
    counts = Counter({"sent": 0, "maybe sent": 0})
    with Live(terminal(out), "sending", 4000, lambda: counts, clock=clock) as live:
        for _ in range(10):
            clock.now += 1
            counts["sent"] += 100
            live.tick()
        live.refresh()
        drawn = lines(out.getvalue())
        assert any("1,000/4,000 100/s 0:00:10 ETA 0:00:30" in line for line in drawn)
        assert "1,000 sent · 0 maybe sent" in drawn
        counts["maybe sent"] += 3
        live.tick()  # too early for another look
        assert live.tasks[0].completed == 1000
    # When it is left it shows what is, not what it last looked at.
    assert lines(out.getvalue())[-1] == "1,000 sent · 3 maybe sent"


def test_two_rows_in_no_time_have_no_rate():
    out, clock = io.StringIO(), Clock()
    counts = Counter({"sent": 0})
    with Live(terminal(out), "sending", 2, lambda: counts, clock=clock) as live:
        for _ in range(2):
            clock.now += 0.0004
            counts["sent"] += 1
            live._look()
        live.end()
    assert "/s" not in out.getvalue()


def test_live_without_total_ends_with_what_there_was():
    out = io.StringIO()
    counts = Counter({"sent": 12})
    with Live(terminal(out), "sending", None, lambda: counts) as live:
        live.refresh()
        assert "12/" not in out.getvalue()
        live.end()
    assert any("12/12" in line for line in lines(out.getvalue()))


@pytest.mark.parametrize(
    ("force", "shown"), [(False, True), (True, False)], ids=["no terminal", "not asked for"]
)
def test_live_without_terminal_shows_nothing(force, shown):
    out = io.StringIO()
    console = Console(file=out, force_terminal=force)
    with Live(console, "sending", 10, Counter, shown=shown) as live:
        live.tick()
        live.end()
    assert out.getvalue() == ""


def test_console_without_terminal_cuts_nothing(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    console_on(stderr=True).print("x" * 150)
    assert capsys.readouterr().err == "x" * 150 + "\n"


def test_terminals_own_width_counts(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "77")
    assert console_on(stderr=True).width == 77


# --- A real terminal ---------------------------------------------------------------------------------------


@pytest.fixture
def on_a_terminal(nursery: Nursery) -> Callable[..., str]:
    """Run the command with stderr, and stdout if asked, on a terminal, and give what it drew."""

    def on_a_terminal(arguments: list[str], code: int = 0, *, out: bool = False, **environment: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        environment = kept | {"TERM": "xterm-256color"} | environment
        with os.fdopen(theirs, "wb", 0) as terminal, Path(os.devnull).open("wb") as nowhere:
            stdout = terminal if out else nowhere
            process = nursery.start([*COMMAND, *arguments], env=environment, stdout=stdout, stderr=terminal)
        drawn = b""
        try:
            while block := os.read(ours, 65536):
                drawn += block
        except OSError:  # how Linux says that the terminal is closed
            pass
        os.close(ours)
        assert process.wait() == code
        return drawn.decode()

    return on_a_terminal


def test_batch_on_a_terminal_is_drawn_in_colours(on_a_terminal, sandbox, tmp_path):
    file = tmp_path / "numbers.csv"
    file.write_text("msisdn\n" + numbers(30))
    arguments = ["batch", str(file), "--sender", "X", "--on-duplicate", "send"]
    drawn = on_a_terminal(arguments)
    assert COLOUR.search(drawn)
    assert any("30/30" in line for line in lines(drawn))
    assert "30 sent · 0 not sent · 0 maybe sent · 0 skipped" in lines(drawn)
    assert "╭" in drawn
    drawn = on_a_terminal(arguments, NO_COLOR="1")
    assert not COLOUR.search(drawn)
    assert any("30/30" in line for line in lines(drawn))
    assert len(sandbox.messages) == 60


def test_batch_without_results_shows_progress_and_no_row(on_a_terminal, sandbox, tmp_path):
    file = tmp_path / "numbers.csv"
    file.write_text("msisdn\n" + numbers(30) + "12\n")
    drawn = on_a_terminal(["batch", str(file), "--sender", "X"], 1, out=True)
    assert any("31/31" in line for line in lines(drawn))
    assert "╭" in drawn
    assert '"msisdn"' not in drawn
    assert lines(drawn)[-2].startswith("line 32: skipped, invalid: msisdn: has 2 digits")
    assert lines(drawn)[-1] == "With --out FILE the result of every row is kept."
    file.write_text("msisdn\n" + numbers(2))
    assert "--out FILE" not in on_a_terminal(["batch", str(file), "--sender", "X"], out=True)
    file.write_text("msisdn\n" + numbers(30) + "12\n")
    drawn = on_a_terminal(["batch", str(file), "--sender", "X", "--out", "-"], 1, out=True)
    assert drawn.count('"msisdn"') == 31
    assert "31/31" not in drawn
    assert "--out FILE" not in drawn


def test_dry_run_on_a_terminal_shows_how_far_it_is(on_a_terminal, tmp_path):
    file = tmp_path / "numbers"
    file.write_text(numbers(30))
    drawn = on_a_terminal(["batch", str(file), "--sender", "X", "--dry-run"])
    assert any(line.startswith("checking") and "30/30" in line for line in lines(drawn))
