"""The phone's page: its files, and the inbox, log and switches as JSON and HTML.

- Bounded, whatever the sandbox keeps: the newest `LIMIT` messages and requests, and of a long body its
  beginning. The search is here, so that it finds beyond the newest, too.
- A view remembers what it has given out, and gives only what differs. It holds no queue: a page that is slow
  to read gets fewer and larger updates, and costs no memory.
- Request and answer are given as text: a browser would round a large number, and put keys into another order.
- A request's texts are untrusted: in HTML they are escaped, and put in by one pass over the page, so that no text of
  an SMS is taken for a place to put something in.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from html import escape
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

import attrs

from .._models._sms_size import beyond_gsm_7, sms_size
from ._gateway import Gateway
from ._records import Message, ReceivedRequest

__all__ = ["LIMIT", "SWITCHES", "PhoneView", "assets", "draw", "holder", "switches"]

LIMIT: Final = 200
"""Messages, and requests, that a page is shown at most."""

_AROUND_DIGITS: Final = re.compile(r"[\s+().\-/]")
_CLIP: Final = 8_000  # characters of a request, or an answer, that a page is shown
_BEYOND: Final = 6  # characters that are named as the reason for UCS-2
# The last line alone, as the format of origin-bound one-time codes has it (WICG).
_CODE_LINE: Final = re.compile(r"@(\S+) #\S+")
_ORDER: Final = itertools.count(1)

_FILES: Final = files("gateway360_async.sandbox").joinpath("phone")
_MEDIA_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_DEFAULT_KEY: Final = "sandbox-key"
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
# In the words of sms.js.
_STATES: Final = {
    None: "Valid",
    "replaced": "Void: replaced",
    "expired": "Void: expired",
    "tries": "Void: tries used up",
    "verified": "Verified",
}

_FAULTS: Final = ("lose_answers", "throttle", "retry_after", "fail")
SWITCHES: Final = (*_FAULTS, "blocked", "latency", "balance", "hlr_fail_prefix")
"""The switches, in the order of the page."""


class PhoneView:
    """The view of one page, and the part of it that has been given out.

    Args:
        gateway: The sandbox.
        clock: The sandbox's clock.
        find: A text; only SMS whose number, sender, text or PIN contains it. Empty: all. Requests are all shown.
        sandbox_id: Tells sandboxes apart: another one on the same port begins again with the number 1.
    """

    def __init__(
        self, gateway: Gateway, clock: Callable[[], float], find: str = "", *, sandbox_id: str = ""
    ) -> None:
        self._id = sandbox_id
        self._gateway = gateway
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
        return {"sandbox": self._id, **self._changed()}

    def update(self) -> dict[str, Any] | None:
        """Give the changes since the last time, or `None`."""
        before = self._switches
        update = self._changed()
        parts = ("messages", "requests", "gone_messages", "gone_requests")
        return update if any(update[part] for part in parts) or update["switches"] != before else None

    def _changed(self) -> dict[str, Any]:
        found, every = self._gateway.messages, self._gateway.requests
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
                "badge": self._badge(len(found)),
                "requests": self._badge(len(every)),
            },
            **switches(self._gateway),
        }
        self._messages, self._requests, self._switches = shown, logged, update["switches"]
        return update

    def _finds(self, message: Message) -> bool:
        if self._digits is not None and self._digits in message.msisdn:
            return True
        return any(self._find in text.casefold() for text in (message.sender, message.text, message.pin))

    def _badge(self, number: int) -> str:
        # Of as many as are kept, there may have been more.
        return f"{number:,}+" if number == self._gateway.keep else f"{number:,}"


def switches(gateway: Gateway) -> dict[str, Any]:
    """Return the switches as they are set, with a number that grows each time.

    A page is told on two connections, the stream and the answer to its own change. The one that was written
    first can arrive last; by its number, the page leaves it out.
    """
    shown = {name: getattr(holder(gateway, name), name) for name in SWITCHES}
    return {"switches": shown, "switches_order": next(_ORDER)}


def holder(gateway: Gateway, name: str) -> object:
    """Return the object that has a switch."""
    return gateway.faults if name in _FAULTS else gateway


_SHOWN: Final = (
    "msisdn",
    "sender",
    "text",
    "pin",
    "sent_at",
    "expires_at",
    "tries",
    "max_tries",
    "void_reason",
)


def _message(message: Message) -> dict[str, Any]:
    segments, arrival = _arrival(message.text)
    without_time = attrs.filters.exclude("at")
    return {
        "id": message.id,
        **{name: getattr(message, name) for name in _SHOWN},
        "segments": segments,
        "arrival": arrival,
        "wants_reports": message.report_url is not None,
        "reports": [attrs.asdict(report, filter=without_time) for report in message.reports],
    }


@lru_cache(maxsize=1000)  # the page asks again for each SMS that it shows, at each change
def _arrival(text: str) -> tuple[int, tuple[str, ...]]:
    """Return the segments of a text, and the page's sentences about its arrival.

    These are the sizes of any SMS. The vendor does not publish how Request PIN sends a text that is longer than one
    segment, or not in GSM-7.
    """
    size = sms_size(text)
    said = [
        f"{size.segments} segment{'s' if size.segments > 1 else ''}",
        f"{size.alphabet}, {size.units} of {size.room} units",
    ]
    if beyond := [ch for _, ch in beyond_gsm_7(text)]:
        more = f" and {len(beyond) - _BEYOND} more" if len(beyond) > _BEYOND else ""
        said.append(f"not in GSM-7: {' '.join(beyond[:_BEYOND])}{more}")
    if code := _CODE_LINE.match(re.split(r"\r\n|\r|\n", text)[-1]):
        said.append(f"browsers fill it in on {code[1]}")
    return size.segments, tuple(said)


def _request(request: ReceivedRequest) -> dict[str, Any]:
    msisdn = (request.body or {}).get("msisdn")
    body = "(not a JSON object)" if request.body is None else _pretty(request.body)
    asked = (
        f"POST {request.path}\n"
        f"Content-Type: {request.content_type or '(none)'}\n"
        f"Content-Length: {request.size}\n\n{body}"
    )
    return {
        "id": request.id,
        "at": request.at,
        "operation": request.operation,
        "msisdn": msisdn[:20] if isinstance(msisdn, str) else "",
        "http_status": request.http_status,
        "ok": request.envelope.get("status") == "ok",
        "outcome": _outcome(request),
        "fault": request.fault,
        "asked": _clipped(asked),
        "answered": _clipped(_answer(request)),
    }


def _outcome(request: ReceivedRequest) -> str:
    if request.fault in {"throttle", "fail", "answer"}:
        return "turned away, nothing sent"
    outcome = str(request.envelope.get("error_id", "ok"))
    if request.verified is not None:
        outcome = "verified" if request.verified else "not verified"
    return f"{outcome}, and the answer lost" if request.fault == "lose" else outcome


def _answer(request: ReceivedRequest) -> str:
    try:
        phrase = HTTPStatus(request.http_status).phrase
    except ValueError:
        phrase = ""
    line = f"HTTP/1.1 {request.http_status} {phrase}".rstrip()
    text = f"{line}\n\n{_pretty(request.envelope) if request.envelope else '(no envelope)'}"
    lost = "Lost: the connection was closed without an answer. It would have been:\n\n"
    return lost + text if request.fault == "lose" else text


def _pretty(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _clipped(text: str) -> str:
    more = len(text) - _CLIP
    return text if more <= 0 else f"{text[:_CLIP]}\n… and {more} more characters"


@cache
def assets() -> Mapping[str, tuple[bytes, str]]:
    """Return the files of the page, each with its media type."""
    named = [(file, _MEDIA_TYPES.get(file.name.rpartition(".")[2])) for file in _FILES.iterdir()]
    return {
        file.name: (file.read_bytes(), media_type) for file, media_type in named if media_type is not None
    }


def draw(state: Mapping[str, Any], base_url: str, api_key: str) -> str:
    """Draw the page with the state of a `PhoneView`."""
    items = "".join(_sms(message) for message in state["messages"])
    parts = {
        "count": state["totals"]["badge"],
        "inbox": f'<section class="group"><ol>{items}</ol></section>' if items else "",
        "empty": "hidden" if items else "",
        "base_url": escape(base_url),
        "api_key": _DEFAULT_KEY if api_key == _DEFAULT_KEY else "…",  # another may be a real one
    }
    page = _FILES.joinpath("index.html").read_text("utf-8")
    return _PLACE.sub(lambda place: parts[place[1]], page)


def _sms(message: Mapping[str, Any]) -> str:
    sender, reason = escape(message["sender"]), message["void_reason"]
    tag, void = ("b", "") if reason is None else ("s", f' data-void="{reason}"')
    pin = f"<{tag}>{escape(message['pin'])}</{tag}>"
    before, _, after = message["text"].partition(message["pin"])
    moment = time.strftime("%H:%M:%S", time.localtime(message["sent_at"]))
    segments, *others = message["arrival"]
    several = ' class="several"' if message["segments"] > 1 else ""
    facts = "".join(f"<li>{escape(sentence)}</li>" for sentence in others)
    return (
        f'<li class="sms"{void}><article><header>'
        f'<span class="avatar" aria-hidden="true">{escape(message["sender"].strip()[:1])}</span>'
        f'<h4 class="sender">{sender}</h4><time class="at">{moment}</time>'
        f'<p class="to">to <span class="number">+{escape(message["msisdn"])}</span></p></header>'
        f'<p class="bubble">{escape(before)}{pin}{escape(after)}</p>'
        f'<ul class="arrival"><li{several}>{segments}</li>{facts}</ul>'
        f'<p class="pin-row"><code class="pin">{pin}</code> <span class="state">{_STATES[reason]}</span></p>'
        "</article></li>"
    )
