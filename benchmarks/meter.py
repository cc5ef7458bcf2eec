"""The clocks of a measurement: wall time, CPU time, heartbeat lag and memory of this process."""

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final, Self

_BEAT: Final = 0.005
"""Seconds between two beats of the heartbeat."""
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")


class Clock:
    """The wall and the CPU seconds of a block, the CPU's of all threads of this process."""

    def __enter__(self) -> Self:
        self.seconds, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self.seconds, time.process_time() - self.cpu

    def per(self, requests: int) -> dict[str, Any]:
        """Return the rate, and the CPU microseconds per request."""
        return {
            "requests": requests,
            "seconds": self.seconds,
            "rate": requests / self.seconds,
            "cpu_us": self.cpu / requests * 1e6 if requests else None,
        }


@contextlib.asynccontextmanager
async def metered(clock: Clock) -> AsyncGenerator[dict[str, Any], None]:
    """Measure a block on the event loop: the yielded dictionary has the figures after it.

    The peak that the kernel keeps is set back first: what the imports held for a moment would hide a growth of as much.
    """
    figures: dict[str, Any] = {}
    lags: list[float] = []
    held, before = memory("VmRSS"), memory("VmHWM")
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
    heart = asyncio.create_task(_beat(lags))
    await asyncio.sleep(0)
    with clock:
        yield figures
    heart.cancel()
    after = memory("VmHWM")
    figures |= {
        "lag_p99_ms": percentile(lags, 0.99),
        "lag_max_ms": percentile(lags, 1.0),
        "peak_bytes": max(before, after),
        "held_bytes": held,
        "growth_bytes": after - held,
        "peak_was_restarted": _CLEAR.exists(),
    }


async def _beat(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _BEAT
        await asyncio.sleep(_BEAT)
        lags.append(loop.time() - due)


def memory(name: str) -> int:
    """Return this process' bytes: `VmRSS` now, `VmHWM` at most. Without Linux' counters, the most that it ever held."""
    with contextlib.suppress(OSError, StopIteration):
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024
    # Not on Linux, where `ru_maxrss` of a child begins at its parent's.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def percentile(seconds: Sequence[float], share: float) -> float | None:
    """Return the milliseconds that `share` of all values do not exceed (nearest rank)."""
    if not seconds:
        return None
    return sorted(seconds)[max(0, -int(-share * len(seconds) // 1) - 1)] * 1e3
