"""The phone's page: its files, and the inbox drawn on the server for a browser without JavaScript.

Rules of this module:

- The files are the package's own data: nothing is fetched from anywhere, and only names listed here are given
  out.
- What a request brought is untrusted: it is escaped, and put in by one pass over the page, so that no text of
  an SMS is taken for a place to put something in.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Final

from ._arrival import arrival
from ._records import Message, VoidReason

__all__ = ["ASSETS", "asset", "draw"]

ASSETS: Final[Mapping[str, str]] = {
    "base.css": "text/css",
    "inbox.css": "text/css",
    "panels.css": "text/css",
    "icon.svg": "image/svg+xml",
    "dom.js": "text/javascript",
    "inbox.js": "text/javascript",
    "live.js": "text/javascript",
    "phone.js": "text/javascript",
    "requests.js": "text/javascript",
    "sms.js": "text/javascript",
    "switches.js": "text/javascript",
}
"""The files of the page, with their media types."""

_DEFAULT_KEY: Final = "sandbox-key"
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
# The same words as in sms.js.
_VOID: Final[Mapping[VoidReason, str]] = {
    "replaced": "Void: replaced",
    "expired": "Void: expired",
    "tries": "Void: tries used up",
    "verified": "Verified",
}


@functools.cache
def asset(name: str) -> bytes:
    """Read a file of the page."""
    return files("gateway360_async.sandbox").joinpath("phone", name).read_bytes()


def draw(messages: Iterable[Message], total: str, base_url: str, api_key: str) -> str:
    """Draw the page.

    Args:
        messages: What to show, the newest first.
        total: How many there are.
        base_url: Where the sandbox listens.
        api_key: Its key. Shown if it is the one that every sandbox has; another may be somebody's real one.
    """
    items = "".join(_sms(message) for message in messages)
    parts = {
        "count": total,
        "inbox": f'<section class="group"><ol>{items}</ol></section>' if items else "",
        "empty": "hidden" if items else "",
        "base_url": escape(base_url),
        "api_key": _DEFAULT_KEY if api_key == _DEFAULT_KEY else "…",
    }
    return _PLACE.sub(lambda place: parts[place[1]], asset("index.html").decode())


def _sms(message: Message) -> str:
    reason = message.void_reason
    tag = "b" if reason is None else "s"
    pin = f"<{tag}>{escape(message.pin)}</{tag}>"
    before, _, after = message.text.partition(message.pin)
    moment = time.strftime("%H:%M:%S", time.localtime(message.sent_at))
    state = "Valid" if reason is None else _VOID[reason]
    segments, said = arrival(message.text)
    several = ' class="several"' if segments > 1 else ""
    facts = "".join(
        f"<li{several if not index else ''}>{escape(sentence)}</li>" for index, sentence in enumerate(said)
    )
    void = "" if reason is None else f' data-void="{reason}"'
    return (
        f'<li class="sms"{void}><article><header>'
        f'<span class="avatar" aria-hidden="true">{escape(message.sender.strip()[:1])}</span>'
        f'<h4 class="sender">{escape(message.sender)}</h4><time class="at">{moment}</time>'
        f'<p class="to">to <span class="number">+{escape(message.msisdn)}</span></p></header>'
        f'<p class="bubble">{escape(before)}{pin}{escape(after)}</p>'
        f'<ul class="arrival">{facts}</ul>'
        f'<p class="pin-row"><code class="pin">{pin}</code> <span class="state">{state}</span></p>'
        "</article></li>"
    )
