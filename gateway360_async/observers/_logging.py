"""Events as lines of the standard `logging`.

- A line holds no whole number, no key and no PIN. Of an error it names the class: the text is not ours.
- An application's handlers stay as they are. Only `GATEWAY360_LOG` asks for lines on standard error, and these
  give way to handlers that are there.
"""

# Type checkers read the annotations; the checks serve everything else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import logging
from typing import Final

import attrs

from .._config import read_log_level
from .._exceptions import wrong_setting
from .._results import ApiError, Disposition
from ._events import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Event,
    RetryWaiting,
)
from ._measurements import disposition_of, kind_of

__all__ = ["LoggingObserver", "observer_from_environment"]

_IN_PARTS: Final = attrs.filters.exclude("result", "error", "by_disposition")
_SAID: Final[dict[type[Event], str]] = {
    CallStarted: "began",
    AttemptStarted: "attempt {0.attempt} began",
    AttemptFinished: "attempt {0.attempt} ended after {0.elapsed:.3f} s: {1}",
    RetryWaiting: "waits {0.delay:.3f} s after attempt {0.attempt}: {1}",
    CallFinished: "{1}",
}


class LoggingObserver:
    """Writes a line for each event.

    | event | level |
    |---|---|
    | a call finished, and its SMS was sent or its PIN judged; a retry waits; a batch ended | `level` |
    | a call finished otherwise | `WARNING` |
    | a call began; an attempt began or ended; a batch goes on | `DEBUG` |

    A record has these attributes, as far as they apply:

    - of every event `gateway360_event` (the event's class) and `gateway360_elapsed` (seconds);
    - of a call `gateway360_call_id`, `gateway360_operation`, `gateway360_number` (masked), `gateway360_url`,
      `gateway360_attempt`, `gateway360_delay` (seconds), `gateway360_coalesced`;
    - of its result `gateway360_disposition` (`verified` or `not_verified` of a PIN that was judged),
      `gateway360_attempts`, `gateway360_replayed`, `gateway360_kind`, `gateway360_error_id`,
      `gateway360_http_status`, `gateway360_tries_remaining`, and `gateway360_error` (the class of the error that
      was raised);
    - of a batch `gateway360_batch_id`, `gateway360_total`, `gateway360_sent`, `gateway360_not_sent`,
      `gateway360_maybe_sent`, `gateway360_finished`.

    Args:
        logger: The logger to write to; `None`: `gateway360_async.calls`.
        level: The level of good news, such as `logging.INFO`.

    Raises:
        InvalidConfiguration: An argument is of the wrong type.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        if logger is not None and not isinstance(logger, logging.Logger):
            raise wrong_setting("logger", logger, "a logging.Logger")
        if not isinstance(level, int) or isinstance(level, bool):
            expected = "a level of logging, such as logging.INFO"
            raise wrong_setting("level", level, expected)
        self._logger = logging.getLogger("gateway360_async.calls") if logger is None else logger
        self._level = level

    def notify(self, event: Event) -> None:
        """Write a line."""
        level = logging.DEBUG
        if isinstance(event, CallFinished):
            sent = event.result is not None and event.result.disposition is Disposition.SENT
            level = self._level if sent and event.error is None else logging.WARNING
        elif isinstance(event, RetryWaiting) or getattr(event, "finished", False):
            level = self._level
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _line(event), extra=_fields(event))


def _line(event: Event) -> str:
    if isinstance(event, BatchProgress):
        state = "ended" if event.finished else "goes on"
        counts = ", ".join(f"{event.by_disposition.get(one, 0)} {one}" for one in Disposition)
        return f"batch {event.batch_id} {state}: {event.total} entries in {event.elapsed:.3f} s ({counts})"
    result, error = getattr(event, "result", None), getattr(event, "error", None)
    raised = None if error is None else f"raised {error.__name__}"
    outcome = "; ".join(str(one) for one in (raised, result) if one is not None) or "no result"
    said = _SAID[type(event)].format(event, outcome)
    if getattr(event, "coalesced", False):
        said += ", shared with an identical call"
    return f"{event.operation} {event.number}: {said} [call {event.call_id}]"


def _fields(event: Event) -> dict[str, object]:
    fields = attrs.asdict(event, recurse=False, filter=_IN_PARTS) | {"event": type(event).__name__}
    if isinstance(event, BatchProgress):
        fields |= {one.value: event.by_disposition.get(one, 0) for one in Disposition}
    elif isinstance(event, (AttemptFinished, CallFinished, RetryWaiting)):
        fields |= _outcome_fields(event.result, getattr(event, "error", None))
    return {f"gateway360_{name}": value for name, value in fields.items()}


def _outcome_fields(result: CallResult | None, error: type[BaseException] | None) -> dict[str, object]:
    fields: dict[str, object] = {
        "kind": kind_of(result, error) or None,
        "error": None if error is None else error.__name__,
        "error_id": str(result.error_id) if isinstance(result, ApiError) else None,
        "http_status": getattr(result, "http_status", None),
        "tries_remaining": getattr(result, "tries_remaining", None),
        "attempts": getattr(result, "attempts", None),
        "replayed": None if result is None else getattr(result, "replayed", False),
    }
    known = {name: value for name, value in fields.items() if value is not None}
    return known | {"disposition": disposition_of(result)}


def observer_from_environment() -> LoggingObserver | None:
    """Make the observer that `GATEWAY360_LOG` asks for, and show its lines.

    The level of the logger `gateway360_async` becomes the variable's. Its lines go to standard error as long as no
    other handler gets them; once the application sets up its own, they go only there.

    Returns:
        `None` if the variable is not set, or empty.

    Raises:
        InvalidConfiguration: The variable is neither `debug`, `info` nor `warning`.
    """
    level = read_log_level()
    if level is None:
        return None
    logger = logging.getLogger("gateway360_async")
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.addFilter(lambda _record: logger.handlers == [handler] and not logging.getLogger().handlers)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    return LoggingObserver()
