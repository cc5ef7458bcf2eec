"""Faults: what is made to go wrong, once or until it is switched off.

Rules of this module:

- No I/O, no clock: it says what the next request meets, and the application does it.
- One list, in the order of the calls: each request takes the first fault of it. A request that finds the list
  empty meets the switches; of several that are on, the one that sends least.
- Called from any thread: the list is a deque, whose ends are safe to use from several, and a switch is one
  attribute.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs

from ._arguments import flag, whole
from ._records import FaultKind

__all__ = ["Fault", "Faults", "Script", "failure", "prepared", "throttling"]

_MOST: Final = 100_000  # of one call: a slip of the keyboard must not fill the memory
_LONGEST_RETRY_AFTER: Final = 2**31 - 1
_WITHOUT_BODY: Final = (204, 205, 304)  # RFC 9110, 6.4.1 and 15.3.6
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")


@attrs.frozen
class Fault:
    """What one request meets.

    Args:
        kind: What it is.
        seconds: How much longer it takes, in seconds.
        http_status: The answer's status, where the request is not carried out.
        body: The answer's body.
        headers: The answer's headers.
        envelope: The body as a JSON object, for the log; empty where it is none.
    """

    kind: FaultKind
    seconds: float = 0.0
    http_status: int = 200
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    envelope: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @property
    def carries_out(self) -> bool:
        """Whether the request does what it does without the fault."""
        return self.kind in {"lose", "delay"}


def throttling(retry_after: int | None) -> Fault:
    """Make a 429, as a plain web server would answer."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    if _retry_after("retry_after", retry_after) is not None:
        headers["retry-after"] = str(retry_after)
    return Fault("throttle", http_status=429, body=b"Too Many Requests", headers=headers)


def failure(http_status: int) -> Fault:
    """Make a 5xx without a body."""
    return Fault("fail", http_status=whole("http_status", http_status, 500, 599))


def prepared(http_status: int, body: Any, headers: Any) -> Fault:
    """Make an answer of a user's own.

    Raises:
        ValueError: An argument is wrong; the text begins with its name.
    """
    whole("http_status", http_status, 200, 599)
    if isinstance(body, Mapping):
        try:
            raw = json.dumps(dict(cast("Mapping[str, object]", body)), separators=(",", ":")).encode()
        except (TypeError, ValueError) as exc:
            raise ValueError("body: expected bytes, or a mapping that can be written as JSON") from exc
    elif isinstance(body, bytes):
        raw = body
    else:
        raise ValueError("body: expected bytes, or a mapping that can be written as JSON")  # noqa: TRY004  # one type for all
    if raw and http_status in _WITHOUT_BODY:
        raise ValueError(f"body: expected none, as an answer with HTTP status {http_status} has none")
    fields = {"content-type": "application/json"} if raw else {}
    return Fault(
        "answer",
        http_status=http_status,
        body=raw,
        headers=fields | _headers(headers),
        envelope=_object_in(raw),
    )


def _headers(value: Any) -> dict[str, str]:
    if value is None:
        return {}
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
        fields[name.lower()] = content
    return fields


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _retry_after(name: str, value: Any) -> int | None:
    return None if value is None else whole(name, value, 0, _LONGEST_RETRY_AFTER)


class Faults:
    """Switches that stay as they are set: every request meets them until they are set back.

    A fault that was asked for with `Sandbox.lose_next_answer` and its like comes first. Of several switches
    that are on, `throttle` goes before `fail`, and `fail` before `lose_answers`.

    Args:
        changed: Called after each change.

    Raises:
        ValueError: A value is wrong; the text begins with the switch's name.
        AttributeError: There is no such switch.
    """

    lose_answers: bool
    """Carry every request out, and close its connection without a byte of an answer."""
    throttle: bool
    """Answer every request with HTTP 429. Nothing is sent."""
    retry_after: int | None
    """Seconds for the `Retry-After` header of these; `None`: without one."""
    fail: bool
    """Answer every request with a bare HTTP 500. Nothing is sent."""

    _changed: Callable[[], None]

    __slots__ = ("_changed", "fail", "lose_answers", "retry_after", "throttle")

    def __init__(self, changed: Callable[[], None]) -> None:
        for name, value in (
            ("lose_answers", False),
            ("throttle", False),
            ("retry_after", None),
            ("fail", False),
            ("_changed", changed),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _SWITCHES:
            raise AttributeError(f"there is no switch {name}, only {', '.join(_SWITCHES)}")
        _SWITCHES[name](name, value)
        object.__setattr__(self, name, value)
        self._changed()

    def __repr__(self) -> str:
        return f"Faults({', '.join(f'{name}={getattr(self, name)}' for name in _SWITCHES)})"

    def standing(self) -> Fault | None:
        """What a request meets by the switches, or `None`."""
        if self.throttle:
            return throttling(self.retry_after)
        if self.fail:
            return failure(500)
        return Fault("lose") if self.lose_answers else None


_SWITCHES: Final[Mapping[str, Callable[[str, Any], object]]] = {
    "lose_answers": flag,
    "throttle": flag,
    "retry_after": _retry_after,
    "fail": flag,
}


class Script:
    """The faults of the next requests, in order, and the switches for those that come after."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.faults: Final = Faults(changed)
        self._changed = changed
        self._next: Final[deque[Fault]] = deque()

    def add(self, fault: Fault, count: int = 1) -> None:
        """Have the next `count` requests, after those that have one, meet a fault."""
        self._next.extend([fault] * whole("count", count, 1, _MOST))
        self._changed()

    def take(self) -> Fault | None:
        """What the request meets that has just come, or `None`."""
        if not self._next:
            return self.faults.standing()
        fault = self._next.popleft()
        self._changed()
        return fault

    @property
    def pending(self) -> list[FaultKind]:
        """The kinds of those that no request has met yet."""
        return [fault.kind for fault in self._next.copy()]
