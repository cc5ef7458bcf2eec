"""Memory: what a process holds at its peak, and what a long batch adds.

Rules of this module:

- The peak that the kernel keeps is set back before the measured part: what the imports took for a moment
  and gave back would hide a growth of as much. Where the platform cannot do that, the result says so.
- The input is generated as it is read, and every result is dropped, so that what grows is the client's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from pathlib import Path
from typing import Any

from .driver import beat, percentile
from .ours import null_client

__all__ = ["batch", "can_restart", "current", "peak", "restart_peak"]

_PROCESS = Path("/proc/self")


def peak() -> int:
    """The most memory that this process has held since `restart_peak`, in bytes."""
    held = _status("VmHWM")
    if held is not None:
        return held
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def current() -> int:
    """The memory that this process holds now, in bytes; its peak where the platform does not tell."""
    held = _status("VmRSS")
    return peak() if held is None else held


def restart_peak() -> int:
    """Set the peak back to what is held now, where that is possible, and give what it was."""
    was = peak()
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
    return was


def can_restart() -> bool:
    """Whether `restart_peak` does anything here."""
    return (_PROCESS / "clear_refs").exists()


def _status(name: str) -> int | None:
    with contextlib.suppress(OSError, StopIteration):
        # Not `ru_maxrss`: that of a child begins at its parent's.
        lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024
    return None


def batch(count: int, on_duplicate: str) -> dict[str, Any]:
    """Send `count` lazily generated requests in one batch against the null transport, and tell the peak."""
    return asyncio.run(_batch(count, on_duplicate))


async def _batch(count: int, on_duplicate: str) -> dict[str, Any]:
    lags: list[float] = []
    async with null_client(yields=True) as client:
        # What the first request makes or imports is no growth of a batch.
        await _send(client, 1_000, on_duplicate)
        held = current()
        restart_peak()
        heart = asyncio.create_task(beat(lags))
        await _send(client, count, on_duplicate)
        heart.cancel()
        highest = peak()
    return {
        "requests": count,
        "peak_bytes": highest,
        "growth_bytes": highest - held,
        "peak_was_restarted": can_restart(),
        # The beats of a run of 1,000,000 are some thousands: they hold less than a megabyte.
        "lag_p99_ms": (percentile(lags, 0.99) or 0.0) * 1e3,
    }


async def _send(client: Any, count: int, on_duplicate: str) -> None:
    numbers = (f"346{index:08d}" for index in range(count))
    async with client.batch(numbers, on_duplicate=on_duplicate) as items:
        async for item in items:
            item.result.unwrap()
