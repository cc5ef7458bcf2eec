"""What the phone's page is told: the inbox, the log and the switches, as JSON, and what has changed of them.

Rules of this module:

- Bounded, whatever the sandbox keeps: the newest `LIMIT` messages and requests, and of a long body its
  beginning. The search is here, so that it finds beyond the newest, too.
- A view remembers what it has given out, and gives only what differs. It holds no queue: a page that is slow
  to read gets fewer and larger updates, and costs no memory.
- Request and answer are given as text: a browser would round a large number, and put keys into another order.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from ._arrival import arrival
from ._records import Message, PostedReport, ReceivedRequest

__all__ = ["LIMIT", "SWITCHES", "Desk", "PhoneView", "badge", "switches", "switches_in_order"]

LIMIT: Final = 200
"""Messages, and requests, that a page is shown at most."""

_AROUND_DIGITS: Final = re.compile(r"[\s+().\-/]")
_CLIP: Final = 8_000  # characters of a request, or an answer, that a page is shown
_ORDER: Final = itertools.count(1)

SWITCHES: Final = (
    "lose_answers",
    "throttle",
    "retry_after",
    "fail",
    "blocked",
    "latency",
    "balance",
    "hlr_fail_prefix",
)
"""The switches, in the order of the page. The first four are those of `Sandbox.faults`."""


class Desk(Protocol):
    """What the phone's page needs of a `Sandbox`, beside the switches, which it sets by their names."""

    @property
    def api_key(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def messages(self) -> list[Message]: ...
    @property
    def requests(self) -> list[ReceivedRequest]: ...
    @property
    def faults(self) -> Any: ...
    @property
    def blocked(self) -> bool: ...
    @property
    def keep(self) -> int | None: ...
    def block(self) -> None: ...
    def unblock(self) -> None: ...
    def clear(self) -> None: ...
    def undo_clear(self) -> None: ...
    def check_pin(self, msisdn: str, pin: str) -> bool: ...
    async def report(self, message: Message, status: str = ...) -> PostedReport: ...
    def watch(self) -> AsyncIterator[object]: ...


class PhoneView:
    """What one page sees, and what of it has been given out.

    Args:
        desk: The sandbox.
        clock: The sandbox's clock.
        find: A text; only SMS whose number, sender, text or PIN contains it. Empty: all. Requests are all shown.
        sandbox: Which sandbox this is: another one on the same port begins again with the number 1.
    """

    def __init__(self, desk: Desk, clock: Callable[[], float], find: str = "", *, sandbox: str = "") -> None:
        self._sandbox = sandbox
        self._desk = desk
        self._clock = clock
        self._find = find.strip().casefold()
        digits = _AROUND_DIGITS.sub("", self._find)
        self._digits = digits if digits.isdecimal() else None
        """The digits of a text that is a number."""
        self._messages: dict[int, dict[str, Any]] = {}
        self._requests: set[int] = set()
        self._switches: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """Give everything, and remember that it was given."""
        self._messages, self._requests = {}, set()
        return {"sandbox": self._sandbox, **self._changed()}

    def update(self) -> dict[str, Any] | None:
        """Give what has changed since the last time, or `None`."""
        before = self._switches
        update = self._changed()
        parts = ("messages", "requests", "gone_messages", "gone_requests")
        return update if any(update[part] for part in parts) or update["switches"] != before else None

    def _changed(self) -> dict[str, Any]:
        found, every = self._desk.messages, self._desk.requests
        if self._find:
            found = [message for message in found if self._finds(message)]
        messages, requests = found[: -LIMIT - 1 : -1], every[: -LIMIT - 1 : -1]
        shown = {message.id: _message(message) for message in messages}
        logged = {request.id for request in requests}
        update: dict[str, Any] = {
            "now": self._clock(),
            "messages": [item for key, item in shown.items() if self._messages.get(key) != item],
            "requests": [_request(request) for request in requests if request.id not in self._requests],
            "gone_messages": [key for key in self._messages if key not in shown],
            "gone_requests": [key for key in self._requests if key not in logged],
            "totals": {
                "messages": len(found),
                "badge": badge(len(found), self._desk.keep),
                "requests": badge(len(every), self._desk.keep),
            },
            **switches_in_order(self._desk),
        }
        self._messages, self._requests, self._switches = shown, logged, update["switches"]
        return update

    def _finds(self, message: Message) -> bool:
        if self._digits is not None and self._digits in message.msisdn:
            return True
        return any(self._find in text.casefold() for text in (message.sender, message.text, message.pin))


def badge(number: int, keep: int | None) -> str:
    """Write how many there are; of as many as are kept, there may have been more."""
    return f"{number:,}+" if number == keep else f"{number:,}"


def switches(desk: Desk) -> dict[str, Any]:
    """Say what is set."""
    return {name: getattr(desk.faults if name in SWITCHES[:4] else desk, name) for name in SWITCHES}


def switches_in_order(desk: Desk) -> dict[str, Any]:
    """Say what is set, with a number that grows each time.

    A page is told on two connections, the stream and the answer to its own change. The one that was written
    first can arrive last; by its number, the page leaves it out.
    """
    return {"switches": switches(desk), "switches_order": next(_ORDER)}


def _message(message: Message) -> dict[str, Any]:
    segments, said = arrival(message.text)
    return {
        "id": message.id,
        "msisdn": message.msisdn,
        "sender": message.sender,
        "text": message.text,
        "segments": segments,
        "arrival": said,
        "pin": message.pin,
        "sent_at": message.sent_at,
        "expires_at": message.expires_at,
        "tries": message.tries,
        "max_tries": message.max_tries,
        "void_reason": message.void_reason,
        "wants_reports": message.report_url is not None,
        "reports": [
            {
                "status": report.status,
                "http_status": report.http_status,
                "error": report.error,
            }
            for report in message.reports
        ],
    }


def _msisdn(request: ReceivedRequest) -> str:
    value = None if request.body is None else request.body.get("msisdn")
    return value if isinstance(value, str) else ""


def _request(request: ReceivedRequest) -> dict[str, Any]:
    body = "(not a JSON object)" if request.body is None else _pretty(request.body)
    head = (
        f"POST {request.path}",
        f"Content-Type: {request.content_type or '(none)'}",
        f"Content-Length: {request.size}",
    )
    return {
        "id": request.id,
        "at": request.at,
        "operation": request.operation,
        "msisdn": _msisdn(request)[:20],
        "http_status": request.http_status,
        "ok": request.envelope.get("status") == "ok",
        "outcome": _outcome(request),
        "fault": request.fault,
        "asked": _clipped("\n".join((*head, "", body))),
        "answered": _clipped(_answer(request)),
    }


def _outcome(request: ReceivedRequest) -> str:
    if request.fault in {"throttle", "fail", "answer"}:
        return "turned away, nothing sent"
    envelope = request.envelope
    outcome = str(envelope.get("error_id", "ok"))
    if request.verified is not None:
        outcome = "verified" if request.verified else "not verified"
    return f"{outcome}, and the answer lost" if request.fault == "lose" else outcome


def _answer(request: ReceivedRequest) -> str:
    line = f"HTTP/1.1 {request.http_status} {_phrase(request.http_status)}".rstrip()
    body = _pretty(request.envelope) if request.envelope else "(no envelope)"
    text = f"{line}\n\n{body}"
    return (
        f"Lost: the connection was closed without an answer. It would have been:\n\n{text}"
        if (request.fault == "lose")
        else text
    )


def _phrase(http_status: int) -> str:
    try:
        return HTTPStatus(http_status).phrase
    except ValueError:
        return ""


def _pretty(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _clipped(text: str) -> str:
    more = len(text) - _CLIP
    return text if more <= 0 else f"{text[:_CLIP]}\n… and {more} more characters"
