"""What the client's side knows: one byte a number, and what was logged.

Rules of this module:

- Its memory is all taken at the beginning, for it is in the process whose memory has to be flat.
- A call is settled once. What is settled twice, or never, is counted against the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import warnings
from collections import Counter
from collections.abc import Generator
from typing import Any, Final

from gateway360_async import BatchResult, Disposition, Skipped, TransportFailure

__all__ = ["Account", "LogWatch", "State"]


class State(enum.IntEnum):
    """What the client has said of one number."""

    PENDING = 0
    OK = 1
    NOT_SENT = 2
    MAYBE_SENT = 3
    SKIPPED = 4
    CANCELLED_SILENTLY = 5
    """Cancelled, and the log says nothing: nothing was sent."""
    CANCELLED_MAYBE = 6
    """Cancelled, and the log says that it may have been sent."""
    CANCELLED_SENT = 7
    """Cancelled, and the log says that it was sent."""
    RAISED = 8
    UNUSED = 255

    @property
    def cancelled(self) -> bool:
        """Whether a cancellation ended the call."""
        return State.CANCELLED_SILENTLY <= self <= State.CANCELLED_SENT


_OF_RESULT: Final = {
    Disposition.SENT: State.OK,
    Disposition.NOT_SENT: State.NOT_SENT,
    Disposition.MAYBE_SENT: State.MAYBE_SENT,
}
_OF_LOG: Final = {
    None: State.CANCELLED_SILENTLY,
    Disposition.SENT: State.CANCELLED_SENT,
    Disposition.MAYBE_SENT: State.CANCELLED_MAYBE,
}


class Account:
    """The state of every number, and the counts."""

    def __init__(self, capacity: int) -> None:
        self.states = bytearray(b"\xff") * capacity
        self.used = 0
        self.counts: Counter[State] = Counter()
        self.wrong: Counter[str] = Counter()
        """What should never have happened, in words."""
        self.entries = 0
        """Calls and entries of batches that have no number of their own: double clicks, duplicates, invalid ones."""
        self.kinds: Counter[str] = Counter()
        """Failures by their kind, for people."""
        self.longest = 0.0
        """Seconds that the longest call took."""

    @property
    def full(self) -> bool:
        """Whether every number has been used."""
        return self.used >= len(self.states)

    @property
    def calls(self) -> int:
        """Calls and entries that were begun."""
        return self.used + self.entries

    def take(self) -> int:
        """Begin a call: give the next number's index."""
        index = self.used
        self.used += 1
        self.states[index] = State.PENDING
        return index

    def settle(self, index: int, state: State) -> None:
        """End a call."""
        if self.states[index] != State.PENDING:
            self.wrong["a call was settled twice"] += 1
        self.states[index] = state
        self.counts[state] += 1

    def returned(self, result: BatchResult) -> State:
        """Say what a result means, and take its kind down."""
        if isinstance(result, Skipped):
            return State.SKIPPED
        self.longest = max(self.longest, result.elapsed)
        if isinstance(result, TransportFailure):
            self.kinds[f"{result.kind} {result.disposition}"] += 1
        return _OF_RESULT[result.disposition]

    def cancelled(self, logged: Disposition | None) -> State:
        """Say what a cancellation means, of which the log said this or nothing."""
        if logged is Disposition.NOT_SENT:  # which the library has no reason to log
            self.wrong["a cancelled call was logged as not sent"] += 1
            logged = None
        return _OF_LOG[logged]


class LogWatch(logging.Handler):
    """Reads the log: what it says of cancelled calls, and errors, of which there should be none."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[asyncio.Task[Any], Disposition] = {}
        self.errors = 0
        self.first_errors: list[str] = []

    @contextlib.contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Watch every logger, and the warnings of what was left open."""
        root = logging.getLogger()
        root.addHandler(self)
        with warnings.catch_warnings():
            warnings.simplefilter("always", ResourceWarning)
            logging.captureWarnings(capture=True)
            try:
                yield
            finally:
                logging.captureWarnings(capture=False)
                root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        said: Disposition | None = None
        if isinstance(record.args, tuple):
            for word in record.args:
                said = getattr(word, "disposition", said)
        if record.levelno == logging.WARNING and said is not None:
            task = asyncio.current_task()
            assert task is not None
            self._said[task] = said
        elif record.levelno >= logging.ERROR or record.name == "py.warnings":
            self.errors += 1
            if len(self.first_errors) < 5:
                self.first_errors.append(self.format(record)[-2_000:])

    def said_of(self, task: asyncio.Task[Any]) -> Disposition | None:
        """Give what the log said of a cancelled call's task, once."""
        return self._said.pop(task, None)
