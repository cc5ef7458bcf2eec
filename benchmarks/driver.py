"""What a measurement is made of: the numbers that are sent to, and what was seen on the way.

Rules of this module:

- Every contender is handed the same numbers by the same `Load`, which ends by itself when the time is
  over, so that a slow contender bounds its own run; the requests that were begun are then finished and
  counted, and their time as well.
- Only an accepted request counts towards the rate. Anything else is an error, and shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import attrs

__all__ = ["API_KEY", "BEAT", "PATH", "SENDER", "Contender", "Job", "Load", "beat", "payload", "percentile"]

API_KEY: Final = "bench-key"
SENDER: Final = "GOOD PIZZA"
PATH: Final = "/api/2fa/request"
BEAT: Final = 0.005
"""Seconds between two beats of the heartbeat."""


@attrs.frozen
class Job:
    """One measurement, as its process is told. Durations are in seconds."""

    contender: str
    base_url: str
    concurrency: int
    requests: int
    cap: float
    warm_up: int
    loop: str = "asyncio"
    authority: str | None = None
    """The certificate authority to trust, as PEM; `None` without TLS."""
    collector: bool = True
    """Whether Python's cyclic garbage collector is on, as it is everywhere."""


class Load:
    """The numbers to send to, and the results so far."""

    def __init__(self, requests: int, cap: float) -> None:
        self._requests = requests
        self._cap = cap
        self.capped = False
        self.latencies: list[float] = []
        self.errors: dict[str, int] = {}

    def numbers(self) -> Iterator[str]:
        """Give the numbers one by one, each another, until all are given or the time is over."""
        ends = time.perf_counter() + self._cap
        for index in range(self._requests):
            if time.perf_counter() > ends:
                self.capped = True
                return
            yield f"346{index:08d}"

    def ok(self, seconds: float) -> None:
        """An accepted request, and how long it took."""
        self.latencies.append(seconds)

    def error(self, what: str) -> None:
        """Anything but an accepted request."""
        self.errors[what] = self.errors.get(what, 0) + 1


class Contender(Protocol):
    """One way to send. It is opened, warmed up, and measured, all on one event loop."""

    def __init__(self, job: Job) -> None: ...

    async def open(self) -> None:
        """Make the client."""

    async def run(self, load: Load) -> None:
        """Send to all numbers of `load`."""

    async def close(self) -> None:
        """Close the client."""


def payload(number: str) -> dict[str, object]:
    """The body as people write it, field for field what ours sends."""
    return {"api_key": API_KEY, "msisdn": number, "sender": SENDER, "hlr_lookup": 1}


async def beat(lags: list[float]) -> None:
    """Beat every 5 ms, and note how late each beat comes, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        lags.append(loop.time() - due)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of all values do not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
