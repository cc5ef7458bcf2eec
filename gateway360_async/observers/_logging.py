"""Events as lines of the standard `logging`.

Rules of this module:

- One line an event, on the logger `gateway360_async.calls`; what it says in words stands in the record's
  attributes as well, each with the prefix `gateway360_`, for those who log JSON.
- Numbers are masked, and neither the key nor a PIN is in any event. What was raised is named by its class: its
  text is somebody else's.
- A library leaves an application's handlers alone. The environment's `GATEWAY360_LOG` is the one wish for
  lines on standard error, and it gives way to handlers that are there already.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import logging
from typing import Final, assert_never

import attrs

from .._config import read_log_level
from .._exceptions import InvalidConfiguration
from .._results import ApiError, Disposition, NotVerified, TransportFailure
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
from ._labels import disposition_of, is_replayed, kind_of

__all__ = ["LoggingObserver", "observer_from_environment"]

_ROOT: Final = "gateway360_async"
_CALLS: Final = "gateway360_async.calls"
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# What a record shows of these, it shows piece by piece.
_IN_PARTS: Final = frozenset({"result", "error", "by_disposition"})


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
      `gateway360_attempt`, `gateway360_delay` (seconds), `gateway360_joined`;
    - of its result `gateway360_disposition` (`verified` or `not_verified` of a PIN that was judged),
      `gateway360_attempts`, `gateway360_repeated`, `gateway360_kind`, `gateway360_error_id`,
      `gateway360_http_status`, `gateway360_tries_remaining`, and `gateway360_error` (the class of what was
      raised);
    - of a batch `gateway360_batch_id`, `gateway360_total`, `gateway360_sent`, `gateway360_not_sent`,
      `gateway360_maybe_sent`, `gateway360_finished`.

    Args:
        logger: Where to write; `None`: the logger `gateway360_async.calls`.
        level: The level of what goes well, `logging.INFO` say.

    Raises:
        InvalidConfiguration: An argument is of the wrong type.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        if logger is not None and not isinstance(logger, logging.Logger):
            raise InvalidConfiguration("logger", f"is of type {type(logger).__name__}", "a logging.Logger")
        if not isinstance(level, int) or isinstance(level, bool):
            raise InvalidConfiguration(
                "level", f"is of type {type(level).__name__}", "a level of logging, such as logging.INFO"
            )
        self._logger = logging.getLogger(_CALLS) if logger is None else logger
        self._level = level

    def notify(self, event: Event) -> None:
        """Write a line."""
        level = self._level_of(event)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _line(event), extra=_fields(event))

    def _level_of(self, event: Event) -> int:
        match event:
            case CallFinished(result=result, error=error):
                sent = error is None and result is not None and result.disposition is Disposition.SENT
                return self._level if sent else logging.WARNING
            case RetryWaiting() | BatchProgress(finished=True):
                return self._level
            case _:
                return logging.DEBUG


def _line(event: Event) -> str:
    if isinstance(event, BatchProgress):
        state = "ended" if event.finished else "goes on"
        counts = ", ".join(f"{event.by_disposition.get(one, 0)} {one}" for one in Disposition)
        return f"batch {event.batch_id} {state}: {event.total} entries in {event.elapsed:.3f} s ({counts})"
    about = f"{event.operation} {event.number}"
    match event:
        case CallStarted():
            said = "began"
        case AttemptStarted(attempt=attempt):
            said = f"attempt {attempt} began"
        case AttemptFinished(attempt=attempt, elapsed=elapsed):
            said = f"attempt {attempt} ended after {elapsed:.3f} s: {_outcome(event.result, event.error)}"
        case RetryWaiting(attempt=attempt, delay=delay, result=result):
            said = f"waits {delay:.3f} s after attempt {attempt}: {result}"
        case CallFinished(joined=joined):
            said = _outcome(event.result, event.error)
            if joined:
                said += ", shared with an identical call"
        case _:
            assert_never(event)
    return f"{about}: {said} [call {event.call_id}]"


def _outcome(result: CallResult | None, error: type[BaseException] | None) -> str:
    if error is None:
        return "no result" if result is None else str(result)
    raised = f"raised {error.__name__}"
    return raised if result is None else f"{raised}; {result}"


def _fields(event: Event) -> dict[str, object]:
    own: tuple[attrs.Attribute[object], ...] = attrs.fields(type(event))
    fields: dict[str, object] = {
        one.name: getattr(event, one.name) for one in own if one.name not in _IN_PARTS
    }
    fields["event"] = type(event).__name__
    match event:
        case BatchProgress(by_disposition=counts):
            fields |= {one.value: counts.get(one, 0) for one in Disposition}
        case AttemptFinished(result=result, error=error) | CallFinished(result=result, error=error):
            fields |= _result_fields(result, error)
        case RetryWaiting(result=result):
            fields |= _result_fields(result, None)
        case CallStarted() | AttemptStarted():
            pass
        case _:
            assert_never(event)
    return {f"gateway360_{name}": value for name, value in fields.items()}


def _result_fields(result: CallResult | None, error: type[BaseException] | None) -> dict[str, object]:
    fields: dict[str, object] = {"disposition": disposition_of(result)}
    if result is not None:
        fields |= {"attempts": result.attempts, "replayed": is_replayed(result)}
    kind = kind_of(result, error)
    if kind is not None:
        fields["kind"] = kind
    if error is not None:
        fields["error"] = error.__name__
    match result:
        case ApiError(error_id=error_id, http_status=status):
            fields |= {"error_id": str(error_id), "http_status": status}
        case TransportFailure(http_status=int(status)):
            fields["http_status"] = status
        case NotVerified(tries_remaining=int(tries)):
            fields["tries_remaining"] = tries
        case _:
            pass
    return fields


def observer_from_environment() -> LoggingObserver | None:
    """Make the observer that the environment's `GATEWAY360_LOG` asks for, and let its lines be seen.

    The level of the logger `gateway360_async` becomes what the variable says. Its lines go to standard error
    as long as no other handler gets them: once the application sets up its own, theirs are the lines.

    Returns:
        `None` if the variable is not set, or empty.

    Raises:
        InvalidConfiguration: The variable is neither `debug`, `info` nor `warning`.
    """
    level = read_log_level()
    if level is None:
        return None
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.addFilter(lambda _record: logger.handlers == [handler] and not logging.getLogger().handlers)
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
    return LoggingObserver()
