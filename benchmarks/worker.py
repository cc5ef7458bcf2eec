"""One measurement, in a process of its own: a job on stdin, what was measured on stdout, both JSON.

Rules of this module:

- A fresh interpreter a measurement, so that the CPU time, the peak memory and the imports are the
  contender's own and no contender runs on what another one has warmed.
- Outside the measured time: the start of the interpreter, the imports, the making of the client, and a
  warm-up of as many requests as there are connections. Inside: everything from the first number to the
  last result. The measured time is the wall clock's, the CPU time that of all threads of this process.
- The peak memory is of the whole process, the warm-up and the imports included. `growth_bytes` is what the
  measured part put on top of what was there before it.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from . import floor, memory, others, ours, own_work
from .driver import Contender, Job, Load, beat, percentile

__all__ = ["CONTENDERS"]

CONTENDERS: Final[dict[str, type[Contender]]] = {
    "httpx-gather": others.HttpxBare,
    "httpx": others.Httpx,
    "httpx-stamina": others.HttpxStamina,
    "httpx-aiohttp": others.HttpxOverAiohttp,
    "httpx2": others.Httpx2,
    "aiohttp": others.AioHttp,
    "pyreqwest": others.Pyreqwest,
    "ours": ours.Ours,
    "ours-httpx": ours.OursHttpx,
    "ours-stored": ours.OursStored,
    "floor": floor.Floor,
}


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop by its name."""
    if name == "asyncio":
        return None
    import uvloop  # not on every platform

    return uvloop.new_event_loop


async def _measure(job: Job, profiler: cProfile.Profile | None) -> dict[str, Any]:
    contender = CONTENDERS[job.contender](job)
    await contender.open()
    try:
        if job.warm_up:
            await contender.run(Load(job.warm_up, job.cap))
        load = Load(job.requests, job.cap)
        lags: list[float] = []
        if not job.collector:
            gc.disable()
        held = memory.current()
        before = memory.restart_peak()
        heart = asyncio.create_task(beat(lags))
        await asyncio.sleep(0)
        wall, cpu = time.perf_counter(), time.process_time()
        if profiler is None:
            await contender.run(load)
        else:
            with profiler:
                await contender.run(load)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        heart.cancel()
        after = memory.peak()
    finally:
        await contender.close()
    done = len(load.latencies)
    return {
        "requests": done,
        "seconds": wall,
        "rate": done / wall,
        "cpu_us": cpu / done * 1e6 if done else None,
        "p50_ms": _milliseconds(percentile(load.latencies, 0.5)),
        "p99_ms": _milliseconds(percentile(load.latencies, 0.99)),
        "lag_p99_ms": _milliseconds(percentile(lags, 0.99)),
        "lag_max_ms": _milliseconds(max(lags, default=None)),
        "peak_bytes": max(before, after),
        "growth_bytes": after - held,
        "errors": load.errors,
        "capped": load.capped,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _run(order: dict[str, Any]) -> dict[str, Any]:
    if order["kind"] == "load":
        job = Job(**order["job"])
        factory = loop_factory(job.loop)
        if not order.get("profile"):
            return _in_loop(job, factory, None)
        profiler = cProfile.Profile()
        measured = _in_loop(job, factory, profiler)
        return {"profile": own_work.titled(profiler, order["profile"], measured["requests"])}
    if order["kind"] == "own":
        return own_work.own_work(order["requests"])
    if order["kind"] == "own-profile":
        return {"profile": own_work.own_profile(order["requests"])}
    return memory.batch(order["requests"], order["on_duplicate"])


def _in_loop(
    job: Job,
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
    profiler: cProfile.Profile | None,
) -> dict[str, Any]:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_measure(job, profiler))


def _main() -> None:
    try:
        measured = _run(json.load(sys.stdin))
    except ImportError as exc:
        measured = {"not_available": f"{exc.name} is not installed"}
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    _main()
