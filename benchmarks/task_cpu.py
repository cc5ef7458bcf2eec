"""CPU time that a task function adds to a request: the async worker, and the one for plain functions.

    python -m benchmarks.task_cpu [--tasks N]

The client answers at once, so what is measured is the worker's own: reading the task, handing it over to the event loop and
back, and writing the outcome. The bar is 60 µs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway360_async import Gateway360Client, Ok, PinRequest
from gateway360_async.integrations.worker import BlockingPinWorker, PinWorker, task_of
from gateway360_async.stores import SqliteStore

from .driver import API_KEY, SENDER

__all__: list[str] = []


def _make_client() -> Gateway360Client:
    class Instant(Gateway360Client):
        async def send(self, *_: object, **__: object) -> Ok:  # type: ignore[override]
            return Ok(1, 0.01)

    return Instant(API_KEY, store=SqliteStore(Path(tempfile.mkdtemp()) / "pins.db"))


async def _asynchronous(tasks: list[dict[str, object]]) -> float:
    worker = PinWorker(_make_client)
    await worker.start()
    start = time.process_time()
    for task in tasks:
        await worker.send_pin(task=task)
    spent = time.process_time() - start
    await worker.stop()
    return spent


def _blocking(tasks: list[dict[str, object]], threads: int) -> float:
    worker = BlockingPinWorker(_make_client)
    worker.send_pin(tasks[0])
    with ThreadPoolExecutor(threads) as pool:
        start = time.process_time()
        for _ in pool.map(
            lambda part: [worker.send_pin(task) for task in part], [tasks[i::threads] for i in range(threads)]
        ):
            pass
        spent = time.process_time() - start
    worker.stop()
    return spent


def main() -> None:
    """Measure, and print microseconds a task."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=5_000)
    count = parser.parse_args().tasks
    tasks = [task_of(PinRequest(f"346{index:08d}", SENDER), f"key {index}") for index in range(count)]
    for name, measure in {
        "async": lambda: asyncio.run(_asynchronous(tasks)),
        "blocking, 1 thread": lambda: _blocking(tasks, 1),
        "blocking, 32 threads": lambda: _blocking(tasks, 32),
    }.items():
        spent = [measure() / count * 1e6 for _ in range(5)]
        print(f"{name:22} {statistics.median(spent):6.1f} µs a task   ({min(spent):.1f} to {max(spent):.1f})")


if __name__ == "__main__":
    main()
