"""What the soak's server does with a request: how often each, and whether it counts as accepted.

Rules of this module:

- Whether a request is accepted (an SMS is "sent", paid for) is settled when it has been read whole, before
  anything is answered. Where an answer says nothing about it, a coin decides; where it does, the answer is
  true: an envelope that refuses, a 429 or any other 4xx is only given to a request that was not accepted.
- All is drawn from one seeded source.
"""

from __future__ import annotations

import json
from random import Random
from typing import Final, Literal, TypeAlias

import attrs

__all__ = ["PLANS", "Plan", "draw"]

End: TypeAlias = Literal["keep", "fin", "rst", "stall"]


@attrs.frozen
class Plan:
    """What is done with one request.

    Args:
        name: What it is called in the counts.
        accepted: Whether an SMS is sent.
        pieces: What is written, each after its delay in seconds.
        end: What becomes of the connection after the last piece: kept for the next request, closed, reset,
            or left as it is without ever another answer.
    """

    name: str
    accepted: bool
    pieces: tuple[tuple[float, bytes], ...] = ()
    end: End = "keep"


def _answer(status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


def _envelope(error_id: str, status: int = 200) -> bytes:
    return _answer(status, json.dumps({"status": "error", "error_id": error_id, "error_msg": "x"}).encode())


_OK: Final = _answer(200, b'{"status":"ok"}')
_HTML: Final = b"<html><body>Bad Gateway</body></html>"
_REFUSING: Final = (
    _envelope("INVALID_NUMBER"),
    _envelope("INVALID_SENDER", 400),
    _envelope("NOBODY_KNOWS"),
    _envelope("BAD_PARAMS", 400),
    _answer(404, _HTML, "text/html"),
    _answer(307, b"", extra="location: /elsewhere\r\n"),
)
_OPEN: Final = (
    _envelope("UNKNOWN_ERROR"),
    _envelope("NOBODY_KNOWS", 500),
    _answer(500, b"oops", "text/plain"),
    _answer(502, _HTML, "text/html"),
    _answer(503, b"", extra="retry-after: 1\r\n"),
    _answer(303, b"", extra="location: /outcome\r\n"),
)
_GARBAGE: Final = (
    b"\x00\xff this is not HTTP\r\n\r\n",
    b"HTTP/1.1 two hundred\r\n\r\n",
    _answer(200, b'{"status":"ok"'),
    _answer(200, b'{"status":"ok","status":"error"}'),
    _answer(200, b""),
    _answer(200, b"[]"),
    _answer(200, b"\x1f\x8b\x08 not gzip", extra="content-encoding: gzip\r\n"),
    _answer(200, b'{"status":"ok"}' + b" " * 70_000),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
)
_THROTTLING: Final = tuple(
    _answer(429, b"", extra=wait)
    for wait in ("", "retry-after: 0\r\n", "retry-after: 1\r\n", "retry-after: 3600\r\n")
)

_SHARES: Final = {
    "good": 62.0,
    "slow": 8.0,
    "refused": 5.0,
    "throttled": 4.0,
    "open": 4.0,
    "half": 3.0,
    "silence": 3.0,
    "rst": 3.0,
    "fin": 3.0,
    "surplus": 2.0,
    "garbage": 2.0,
    "drip": 0.5,
    "endless": 0.3,
    "account": 0.2,
}
"""Percent."""

PLANS: Final = tuple(_SHARES)

# What is written in one piece: whether the request is accepted (`None`: a coin decides), the answers to choose
# from, and what may become of the connection.
_PLAIN: Final[dict[str, tuple[bool | None, tuple[bytes, ...], tuple[End, ...]]]] = {
    "good": (True, (_OK,), ("keep",)),
    "slow": (True, (_OK,), ("keep",)),
    # Two answers in one segment, the connection kept: whoever reads on would take the second for the answer to
    # the next request.
    "surplus": (True, (_OK + _OK, _OK + _envelope("INVALID_NUMBER")), ("keep",)),
    "refused": (False, _REFUSING, ("keep",)),
    "account": (False, (_envelope("NOT_ENOUGH_BALANCE"),), ("keep",)),
    "throttled": (False, _THROTTLING, ("keep",)),
    "open": (None, _OPEN, ("keep",)),
    "garbage": (None, _GARBAGE, ("keep", "fin", "rst")),
    "silence": (None, (b"",), ("stall",)),
    "rst": (None, (b"",), ("rst",)),
    "fin": (None, (b"",), ("fin",)),
}


def draw(random: Random) -> Plan:
    """Draw what is done with the next request."""
    name = random.choices(PLANS, tuple(_SHARES.values()))[0]
    coin = random.random() < 0.5
    # Around the client's read timeout and its short deadlines, or 5 ms in the mean.
    delay = random.uniform(0.02, 0.8) if name == "slow" else random.expovariate(200.0)
    if name in _PLAIN:
        accepted, answers, ends = _PLAIN[name]
        pieces = ((delay, random.choice(answers)),)
        return Plan(name, coin if accepted is None else accepted, pieces, random.choice(ends))
    if name == "half":
        part = _OK[: random.randrange(1, len(_OK))]
        return Plan(name, coin, ((delay, part),), random.choice(("fin", "rst", "stall")))
    if name == "drip":  # longer in all than any deadline, though each byte is in time
        return Plan(name, coin, tuple((0.03, _OK[at : at + 1]) for at in range(len(_OK))))
    return Plan(name, coin, ((0.02, b"HTTP/1.1 100 Continue\r\n\r\n"),) * 200, "stall")
