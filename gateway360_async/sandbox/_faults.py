"""Faults, for the next requests in order, or until they are switched off.

- No I/O, no clock: it says what a request meets, and the server does it.
- Called from any thread: the list of faults is a deque, whose ends are safe to use from several.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, cast

import attrs
from starlette.responses import PlainTextResponse, Response

from ._records import FaultKind
from ._settings import Settings, flag, whole
from ._settings import seconds as _checked_seconds

__all__ = ["Fault", "FaultControls", "Faults"]

_MOST: Final = 100_000  # of one call: a slip of the keyboard must not fill the memory
_WITHOUT_BODY: Final = (204, 205, 304)  # RFC 9110, 6.4.1 and 15.3.6
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")


@attrs.frozen
class Fault:
    """The fault that one request meets, if it has a kind."""

    kind: FaultKind | None = None
    seconds: float = 0.0
    """Seconds that the request takes longer."""
    response: Response | None = attrs.field(default=None, repr=False)
    """The answer of a request that is not carried out; `None`: it is."""


def _retry_after(name: str, value: int | None) -> int | None:
    return None if value is None else whole(name, value, 0, 2**31 - 1)


def _throttling(retry_after: int | None) -> Fault:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Fault("throttle", response=PlainTextResponse("Too Many Requests", 429, headers))


def _failure(http_status: int) -> Fault:
    return Fault("fail", response=Response(status_code=http_status))


def _bytes_of(http_status: int, body: object) -> bytes:
    if isinstance(body, Mapping):
        try:
            body = json.dumps(dict(cast("Mapping[str, object]", body)), separators=(",", ":")).encode()
        except (TypeError, ValueError):
            body = None
    if not isinstance(body, bytes):
        raise ValueError("body: expected bytes, or a mapping that can be written as JSON")  # noqa: TRY004  # one type for all
    if body and http_status in _WITHOUT_BODY:
        raise ValueError(f"body: expected none, as an answer with HTTP status {http_status} has none")
    return body


def _headers_of(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("headers: expected a mapping of names to values")  # noqa: TRY004  # one type for all
    fields: dict[str, str] = {}
    for name, content in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError("headers: expected names of RFC 9110, such as Retry-After")
        if not isinstance(content, str) or not _FIELD_VALUE.fullmatch(content):
            raise ValueError(f"headers: expected a string in ASCII, without line breaks, for {name}")
        if name.lower() in {"content-length", "transfer-encoding"}:
            raise ValueError(f"headers: expected no {name}, which the server sets itself")
        fields[name] = content
    return fields


class Faults(Settings):
    """Switches that every request meets until they are set back.

    A fault that was asked for with `Sandbox.lose_next_answer` and its like comes first. Of several switches
    that are on, `throttle` goes before `fail`, and `fail` before `lose_answers`.

    Args:
        changed: Called after each change.

    Raises:
        ValueError: A value is wrong; the text begins with the switch's name.
        AttributeError: There is no such switch.
    """

    lose_answers: bool = False
    """Carry every request out, and close its connection without a byte of an answer."""
    throttle: bool = False
    """Answer every request with HTTP 429. Nothing is sent."""
    retry_after: int | None = None
    """Seconds for the `Retry-After` header of these; `None`: without one."""
    fail: bool = False
    """Answer every request with a bare HTTP 500. Nothing is sent."""

    _CHECKS: ClassVar[Mapping[str, Callable[[str, Any], object]]] = {
        "lose_answers": flag,
        "throttle": flag,
        "retry_after": _retry_after,
        "fail": flag,
    }

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._CHECKS and not name.startswith("_"):
            raise AttributeError(f"there is no switch {name}, only {', '.join(self._CHECKS)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Faults({', '.join(f'{name}={getattr(self, name)}' for name in self._CHECKS)})"


class FaultControls(Settings):
    """The part of `Sandbox` that asks for faults."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__(changed)
        self._faults: Final = Faults(changed)
        self._next_faults: Final[deque[Fault]] = deque()

    def lose_next_answer(self, count: int = 1) -> None:
        """Carry out the next request, and close its connection without an answer.

        Its SMS is sent. Faults that are asked for by this and its like stand in one list, in the order of the
        calls, and each request, to send a PIN or to verify one, takes the first. Only then do the switches count:
        `faults`.

        Args:
            count: How many requests in a row.

        Raises:
            ValueError: `count` is not 1 to 100,000. So of all methods that have it.
        """
        self._add(Fault("lose"), count)

    def throttle_next(self, count: int = 1, retry_after: int | None = None) -> None:
        """Answer the next request with a bare HTTP 429. Nothing is sent.

        Args:
            count: How many requests in a row.
            retry_after: Seconds, for the header `Retry-After`; `None`: without it.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._add(_throttling(_retry_after("retry_after", retry_after)), count)

    def fail_next(self, count: int = 1, http_status: int = 500) -> None:
        """Answer the next request with a bare 5xx. Nothing is sent, which it does not say.

        Args:
            count: How many requests in a row.
            http_status: 500 to 599.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._add(_failure(whole("http_status", http_status, 500, 599)), count)

    def answer_next(
        self, http_status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer the next request with an answer of your own. Nothing is sent.

        Args:
            http_status: 200 to 599.
            body: As it is; a mapping is sent as JSON.
            headers: More headers. The content type is `application/json` unless one is given here.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        content = _bytes_of(whole("http_status", http_status, 200, 599), body)
        fields = _headers_of({} if headers is None else headers)
        media_type = "application/json" if content else None
        self._add(Fault("answer", response=Response(content, http_status, fields, media_type)))

    def delay_next(self, seconds: float, count: int = 1) -> None:
        """Delay the next request, beside `latency`, and carry it out then.

        Args:
            seconds: How much longer, in seconds.
            count: How many requests in a row.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._add(Fault("delay", _checked_seconds("seconds", seconds)), count)

    @property
    def pending_faults(self) -> list[FaultKind]:
        """The faults that no request has met yet, by kind, in order."""
        return [cast("FaultKind", fault.kind) for fault in self._next_faults.copy()]

    @property
    def faults(self) -> Faults:
        """Switches that stay: `gateway.faults.lose_answers = True`."""
        return self._faults

    def _add(self, fault: Fault, count: int = 1) -> None:
        self._next_faults.extend([fault] * whole("count", count, 1, _MOST))
        self._changed()

    def _take_fault(self) -> Fault:
        """Take the fault of a request that has just come."""
        if self._next_faults:
            fault = self._next_faults.popleft()
            self._changed()
            return fault
        # Of several switches, the one that sends least.
        if self._faults.throttle:
            return _throttling(self._faults.retry_after)
        if self._faults.fail:
            return _failure(500)
        return Fault("lose" if self._faults.lose_answers else None)
