"""The client's side of the port: one object that hands each event to every observer.

Rules of this module:

- An observer watches. Nothing that it raises reaches a call; it is said in the log, once a class, so that an
  observer that always fails does not fill a disk.
- What the log says of it does not show the event.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from typing import Final

from .._exceptions import InvalidConfiguration
from ._events import Event, Observer

__all__ = ["Watch", "watch"]

_logger = logging.getLogger("gateway360_async")

_EXPECTED: Final = "an Observer (an object with a method `notify(event)`), or a sequence of them"


class Watch:
    """Hands events to observers.

    Args:
        observers: Who is told, in this order.
    """

    __slots__ = ("_failed", "_observers")

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._failed: set[type] = set()

    def notify(self, event: Event) -> None:
        """Tell every observer. Raises nothing but what ends the program, such as a `KeyboardInterrupt`."""
        for observer in self._observers:
            try:
                observer.notify(event)
            except (Exception, asyncio.CancelledError):
                # The latter too: nothing is awaited here, so it is not the task's.
                class_ = type(observer)
                if class_ not in self._failed:
                    self._failed.add(class_)
                    _logger.exception(
                        "the observer %s failed, and the calls go on; this is said once", class_.__qualname__
                    )


def watch(observer: Observer | Sequence[Observer] | None, also: Observer | None = None) -> Watch | None:
    """Check the client's `observer`, and make what tells it.

    Args:
        observer: Who is to be told.
        also: Who is to be told besides, the last, unless one of its class is there already.

    Returns:
        `None` where there is nobody to tell.

    Raises:
        InvalidConfiguration: It is neither an observer nor a sequence of them.
    """
    given: Sequence[object]
    if observer is None:
        given = ()
    elif isinstance(observer, Sequence) and not isinstance(observer, (str, bytes)):
        given = observer
    else:
        given = (observer,)
    observers = [_checked(one) for one in given]
    if also is not None and not any(type(one) is type(also) for one in observers):
        observers.append(also)
    return Watch(observers) if observers else None


def _checked(observer: object) -> Observer:
    if isinstance(observer, type):
        raise InvalidConfiguration(
            "observer", f"is the class {observer.__name__}", f"{_EXPECTED}: make one of it"
        )
    notify = getattr(observer, "notify", None)
    if not callable(notify):
        raise InvalidConfiguration("observer", f"is of type {type(observer).__name__}", _EXPECTED)
    if inspect.iscoroutinefunction(notify):
        problem = f"has a `notify` that is asynchronous ({type(observer).__name__})"
        raise InvalidConfiguration("observer", problem, f"{_EXPECTED}; nobody would await it")
    return observer  # type: ignore[return-value]  # it has what the protocol asks for
