"""The soak's gateway: it misbehaves by a seed, and keeps for each number the requests that it read and the SMS.

- A request is accepted or not when its last byte has been read, before anything is answered. If an answer says nothing
  about it, a coin decides; otherwise the answer is true: an envelope that refuses, a 429 or any other 4xx is only given
  to a request that was not accepted.
- Some connections break before that: at once, or in the middle of a request. Every quarter of a minute it stops listening
  for a moment, as a gateway that is restarted does: connections are refused.
- Anything but one whole request with the key and a number of the soak's, and nothing behind it, is a stray.
"""

import asyncio
import base64
import json
from collections import Counter
from random import Random
from typing import Any, Final

from ..gateway import End, Gateway, Plan, answer, listen, obey, read_index
from ..worker import say

_RESTARTS_EVERY: Final = 15.0
"""Seconds."""
_RESTART_TAKES: Final = 0.25
"""Seconds."""
_BROKEN_EARLY: Final = 0.005
"""The share of requests whose connection is broken before they were read whole."""


def _envelope(error_id: str, status: int = 200) -> bytes:
    return answer(status, json.dumps({"status": "error", "error_id": error_id, "error_msg": "x"}).encode())


_OK: Final = answer(200, b'{"status":"ok"}')
_HTML: Final = b"<html><body>Bad Gateway</body></html>"
_REFUSING: Final = (
    _envelope("INVALID_NUMBER"),
    _envelope("INVALID_SENDER", 400),
    _envelope("NOBODY_KNOWS"),
    _envelope("BAD_PARAMS", 400),
    answer(404, _HTML, "text/html"),
    answer(307, extra="location: /elsewhere\r\n"),
)
_OPEN: Final = (
    _envelope("UNKNOWN_ERROR"),
    _envelope("NOBODY_KNOWS", 500),
    answer(500, b"oops", "text/plain"),
    answer(502, _HTML, "text/html"),
    answer(503, extra="retry-after: 1\r\n"),
    answer(303, extra="location: /outcome\r\n"),
)
_GARBAGE: Final = (
    b"\x00\xff this is not HTTP\r\n\r\n",
    b"HTTP/1.1 two hundred\r\n\r\n",
    answer(200, b'{"status":"ok"'),
    answer(200, b'{"status":"ok","status":"error"}'),
    answer(200),
    answer(200, b"[]"),
    answer(200, b"\x1f\x8b\x08 not gzip", extra="content-encoding: gzip\r\n"),
    answer(200, b'{"status":"ok"}' + b" " * 70_000),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
)
_THROTTLING: Final = tuple(
    answer(429, extra=wait) for wait in ("", *(f"retry-after: {seconds}\r\n" for seconds in (0, 1, 3600)))
)
# Two answers in one segment: a client that reads on would take the second for the answer to the next request.
_SURPLUS: Final = (_OK + _OK, _OK + _envelope("INVALID_NUMBER"))

# The share in percent, whether the request is accepted (`None`: a coin decides), the answers to choose from, and what may
# become of the connection. `_plan` says more of those without an answer.
_Fault = tuple[float, bool | None, tuple[bytes, ...], tuple[End, ...]]
_FAULTS: Final[dict[str, _Fault]] = {
    "good": (62.0, True, (_OK,), ("keep",)),
    "slow": (8.0, True, (_OK,), ("keep",)),
    "refused": (5.0, False, _REFUSING, ("keep",)),
    "throttled": (4.0, False, _THROTTLING, ("keep",)),
    "open": (4.0, None, _OPEN, ("keep",)),
    "half": (3.0, None, (), ("fin", "rst", "stall")),
    "silence": (3.0, None, (b"",), ("stall",)),
    "rst": (3.0, None, (b"",), ("rst",)),
    "fin": (3.0, None, (b"",), ("fin",)),
    "surplus": (2.0, True, _SURPLUS, ("keep",)),
    "garbage": (2.0, None, _GARBAGE, ("keep", "fin", "rst")),
    "drip": (0.5, None, (), ("keep",)),
    "endless": (0.3, None, (), ("stall",)),
    "account": (0.2, False, (_envelope("NOT_ENOUGH_BALANCE"),), ("keep",)),
}
FAULTS: Final = tuple(_FAULTS)
_SHARES: Final = tuple(share for share, *_ in _FAULTS.values())


def _plan(fault: str, random: Random) -> Plan:
    _, _, answers, ends = _FAULTS[fault]
    end = random.choice(ends)
    if fault == "drip":  # longer in all than any deadline, though each byte is in time
        return Plan(tuple((0.03, _OK[at : at + 1]) for at in range(len(_OK))), end)
    if fault == "endless":
        return Plan(((0.02, b"HTTP/1.1 100 Continue\r\n\r\n"),) * 200, end)
    # Around the client's read timeout and its short deadlines, or 5 ms in the mean.
    delay = random.uniform(0.02, 0.8) if fault == "slow" else random.expovariate(200.0)
    written = _OK[: random.randrange(1, len(_OK))] if fault == "half" else random.choice(answers)
    return Plan(((delay, written),), end)


class _Misbehaving(Gateway):
    def __init__(self, seed: int, capacity: int) -> None:
        super().__init__()
        self._random = Random(f"server {seed}")  # noqa: S311  # faults, not secrets
        self._whole, self._sms, self._fault = (bytearray(capacity) for _ in range(3))
        self.counts: Counter[str] = Counter()

    def cut(self) -> End | None:
        if self._random.random() >= _BROKEN_EARLY:
            return None
        self.counts["broken early"] += 1
        return self._random.choice(("fin", "rst"))

    def read(self, head: bytes, body: bytes) -> Plan:
        index = read_index(head, body)
        if index is None or index >= len(self._whole):
            self.strays += 1
            return Plan(end="rst")
        fault = self._random.choices(FAULTS, _SHARES)[0]
        accepted = _FAULTS[fault][1]
        self._whole[index] += 1
        self._sms[index] += self._random.random() < 0.5 if accepted is None else accepted
        self._fault[index] = FAULTS.index(fault)
        self.counts[fault] += 1
        return _plan(fault, self._random)

    def report(self, latency: float | None = None) -> dict[str, Any]:  # noqa: ARG002
        arrays = {"whole": self._whole, "sms": self._sms, "fault": self._fault}
        packed = {name: base64.b64encode(data).decode() for name, data in arrays.items()}
        return {"counts": dict(self.counts), "strays": self.strays, **packed}


async def serve(seed: int, capacity: int) -> None:
    """Say the port, then answer each line with a report."""
    gateway = _Misbehaving(seed, capacity)
    listening = asyncio.create_task(_listen(gateway))
    await obey(gateway)
    listening.cancel()


async def _listen(gateway: _Misbehaving) -> None:
    """Listen, with a restart now and then, for ever."""
    port = 0
    while True:
        server = await listen(gateway, port=port, reuse_address=True)
        if not port:
            port = server.sockets[0].getsockname()[1]
            say(port=port)
        await asyncio.sleep(_RESTARTS_EVERY)
        server.close()  # its connections live on
        gateway.counts["restarts"] += 1
        await asyncio.sleep(_RESTART_TAKES)
