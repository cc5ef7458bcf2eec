"""The exceptions of this library.

    Gateway360Error
    ├── InvalidRequest        (ValueError)    a request's field is wrong; nothing was sent
    ├── InvalidConfiguration  (ValueError)    a setting is wrong; nothing was sent
    ├── ClientClosed          (RuntimeError)  the client was closed; nothing was sent
    ├── WrongEventLoop        (RuntimeError)  another event loop, or after a fork; nothing was sent
    ├── StoreError                            a store of idempotency records cannot be used
    ├── InvalidReports        (ValueError)    delivery reports that cannot be read (see `delivery`)
    ├── ForgedReport                          a delivery report without a token of ours (see `delivery`)
    └── ResultError                           only `result.unwrap()` raises it (see `_results`)
        ├── RejectedError                     the gateway answered with an error
        ├── NotSentError                      no answer, and certainly not sent
        └── MaybeSentError                    no answer, and it may have been sent

Invariants:

- No text holds a whole number, a whole message text or the API key.
- Every error pickles, so that it survives a process pool and a task queue.

Trouble of the network or of the gateway is never raised: it is a result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Gateway360Error(Exception):
    """The root of everything that this library raises on its own account."""


class InvalidRequest(Gateway360Error, ValueError):
    """A field of a request is wrong. Raised before anything is sent.

    Attributes:
        field: The field's name, dotted where it is nested: `"msisdn"`, `"pin_params.length"`.
        problem: The fault, without the value itself where that is personal.
        expected: The right form.
    """

    def __init__(self, field: str, problem: str, expected: str) -> None:
        super().__init__(field, problem, expected)
        self.field = field
        self.problem = problem
        self.expected = expected

    def __str__(self) -> str:
        # "maybe is not yes or no" says both.
        said = self.problem.endswith(self.expected)
        return f"{self.field}: {self.problem}{'' if said else f'; expected {self.expected}'}"


def wrong_setting(setting: str, value: object, expected: str) -> InvalidConfiguration:
    """Return the error of a setting of another type. Its text holds no part of the value."""
    return InvalidConfiguration(setting, f"is of type {type(value).__name__}", expected)


def wrong_type(field: str, value: object, wanted: str) -> InvalidRequest:
    """Make the error for a value of another type: `msisdn: expected a number as text, not an int`."""
    expected = f"{wanted}, not {kind_of(value)}"
    return InvalidRequest(field, f"expected {expected}", expected)


def kind_of(value: object) -> str:
    """Name what a value is, as a person would, without the value: `an int`, `text`, `None`."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, (str, bytes)):
        return "text" if isinstance(value, str) else "bytes"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


class InvalidConfiguration(Gateway360Error, ValueError):
    """A setting of the client, a policy or a transport is wrong. Nothing was sent.

    Attributes:
        setting: The setting's name, as the constructor spells it.
        problem: The fault, never the API key's value.
        expected: The right form.
    """

    def __init__(self, setting: str, problem: str, expected: str) -> None:
        super().__init__(setting, problem, expected)
        self.setting = setting
        self.problem = problem
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.setting}: {self.problem}; expected {self.expected}"


class ClientClosed(Gateway360Error, RuntimeError):
    """The client was closed. Nothing was sent."""

    def __init__(self, message: str = "this client was closed: nothing was sent") -> None:
        super().__init__(message)


class WrongEventLoop(Gateway360Error, RuntimeError):
    """The client or store belongs to another event loop, or to the process before a fork. Nothing was sent."""


class StoreError(Gateway360Error):
    """A store of idempotency records cannot be used. A request that it could not record was not sent.

    A call never raises it: its result is a `TransportFailure` of the kind `STORE`, `NOT_SENT`.

    Attributes:
        problem: The fault, without its URL, which may hold a password.
        expected: The right state, or what to do.
        passing: Whether it may be over in a moment, as an outage is.
    """

    def __init__(self, problem: str, expected: str, *, passing: bool = False) -> None:
        super().__init__(problem, expected)
        self.problem = problem
        self.expected = expected
        self.passing = passing

    def __str__(self) -> str:
        return f"the store {self.problem}; expected {self.expected}"


def without_arguments(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let no `InvalidRequest` out of a function with frames that show the number which it was given."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001  # raised below, after the arguments have gone
            # Another error is a bug, perhaps of the caller's mapping: its frames tell where.
            error = exc.with_traceback(None) if isinstance(exc, InvalidRequest) else exc
        del args, kwargs
        try:
            raise error
        finally:
            del error  # or it would keep itself, and the caller's frames, alive

    return call
