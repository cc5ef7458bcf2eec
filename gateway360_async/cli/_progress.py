"""How far a batch has come, live on a terminal; nothing anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ._audit import Outcome
from ._words import a_second, count

__all__ = ["STYLES", "Live", "console_on"]

STYLES: Final[Mapping[str, str]] = {
    Outcome.SENT: "green",
    Outcome.NOT_SENT: "yellow",
    Outcome.MAYBE_SENT: "red",
    Outcome.SKIPPED: "bright_black",
}
_EVERY: Final = 0.1
"""Seconds between two looks at the counts."""
_WIDE: Final = 200


def console_on(*, stderr: bool) -> Console:
    """Make a console; if it is no terminal, nothing is cut or wrapped to fit one."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE)


class Live(Progress):
    """Shows a bar, the rate, the time that is left, and below them the counts.

    Args:
        console: If it is no terminal, nothing is shown.
        doing: The activity, in a word.
        total: About how many entries there are; `None`: not known.
        counts: Gives the counts by a word for them.
        shown: Whether to show anything.
        passing: Whether it goes away at the end.
        clock: Gives seconds since any moment.
    """

    def __init__(
        self,
        console: Console,
        doing: str,
        total: int | None,
        counts: Callable[[], Counter[str]],
        *,
        shown: bool = True,
        passing: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._clock = clock
        self._next = 0.0
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}", style="progress.download"),
            TextColumn("{task.fields[rate]}", style="progress.data.speed"),
            TimeElapsedColumn(),
            TextColumn("ETA", style="progress.remaining"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
            get_time=clock,
            transient=passing,
            expand=True,
        )
        self._bar = self.add_task(doing, total=total, done="", rate="")

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._look()
        self.stop()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give the bar, and the counts in a line of their own, where they are not cut."""
        yield self.make_tasks_table(self.tasks)
        yield Text(" · ").join(
            Text(f"{count(number)} {word}", style=STYLES.get(word, "") if number else "bright_black")
            for word, number in self._counts().items()
        )

    def tick(self) -> None:
        """Look at the counts, if it is time."""
        now = self._clock()
        if now >= self._next:
            self._next = now + _EVERY
            self._look()

    def end(self) -> None:
        """Say that this was all, where the total is not known."""
        if self.tasks[0].total is None:
            self.update(self._bar, total=self._counts().total())

    def _look(self) -> None:
        done, task = self._counts().total(), self.tasks[0]
        of = "" if task.total is None else f"/{count(int(task.total))}"
        # Of less than a second a rate says nothing.
        speed = (task.finished_speed or task.speed) if (task.elapsed or 0.0) >= 1 else None
        rate = "" if speed is None else f"{a_second(speed)}/s"
        self.update(self._bar, completed=done, done=f"{count(done)}{of}", rate=rate)
