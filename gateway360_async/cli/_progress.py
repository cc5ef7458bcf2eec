"""How far a batch has come, live on a terminal; nothing anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ._stats import Fate
from ._words import a_second, count

__all__ = ["FATE_STYLES", "Live"]

FATE_STYLES: Final[Mapping[str, str]] = {
    Fate.SENT: "green",
    Fate.NOT_SENT: "yellow",
    Fate.MAYBE_SENT: "red",
    Fate.SKIPPED: "bright_black",
}
_EVERY: Final = 0.1
"""Seconds between two looks at the counts: what is shown need not be told of every entry."""


class Live:
    """Shows a bar, the rate, the time that is left, and below them the counts.

    Args:
        console: Where to; nothing is shown where it is no terminal.
        doing: What is going on, in a word.
        total: How many entries there are about; `None`: nobody knows.
        counts: Gives the counts by a word for them.
        beside: Gives counts that are shown, and are no part of what is done.
        shown: Whether to show anything.
        passing: Whether it goes away at the end.
        clock: Seconds since any moment.
    """

    def __init__(
        self,
        console: Console,
        doing: str,
        total: int | None,
        counts: Callable[[], Counter[str]],
        *,
        beside: Callable[[], Counter[str]] | None = None,
        shown: bool = True,
        passing: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._beside = beside
        self._clock = clock
        self._next = 0.0
        self._progress = _Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Done(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("ETA", style="progress.remaining"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
            get_time=clock,
            transient=passing,
            expand=True,
        )
        self._bar = self._progress.add_task(doing, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._show()
        self._progress.stop()

    def tick(self) -> None:
        """Look at the counts, if it is time."""
        now = self._clock()
        if now >= self._next:
            self._next = now + _EVERY
            self._show()

    def end(self) -> None:
        """Say that this was all: the total was about right, or unknown."""
        self._progress.update(self._bar, total=self._counts().total())

    def _show(self) -> None:
        counts = self._counts()
        self._progress.counts = Counter({**counts, **(self._beside() if self._beside else {})})
        self._progress.update(self._bar, completed=counts.total())


class _Progress(Progress):
    """With the counts in a line of their own, where they are not cut."""

    counts: Counter[str] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        line = Text(" · ").join(
            Text(f"{count(number)} {word}", style=FATE_STYLES.get(word, "") if number else "bright_black")
            for word, number in (self.counts or {}).items()
        )
        yield line


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f"/{count(int(task.total))}"
        return Text(f"{count(int(task.completed))}{total}", style="progress.download")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        # Of less than a second a rate says nothing.
        speed = (task.finished_speed or task.speed) if (task.elapsed or 0.0) >= 1 else None
        return Text("" if speed is None else f"{a_second(speed)}/s", style="progress.data.speed")
