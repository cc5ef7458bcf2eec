"""CPU time that a task function adds to a request: the async worker, and the one for plain functions.

    python -m benchmarks.task_cpu [--tasks N] [--rounds N]

The client answers at once, so what is measured is the worker's own: reading the task, handing it over to the event loop and
back, and writing the outcome. The bar is 60 µs.
"""

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gateway360_async import Gateway360Client, Ok, PinRequest
from gateway360_async.integrations.worker import BlockingPinWorker, PinWorker, task_of
from gateway360_async.stores import SqliteStore

from . import API_KEY, SENDER, number
from .meter import Clock
from .process import measure
from .report import bounded, options, print_bars


def _make_client() -> Gateway360Client:
    class Instant(Gateway360Client):
        async def send(self, *_: object, **__: object) -> Ok:  # type: ignore[override]
            return Ok(1, 0.01)

    return Instant(API_KEY, store=SqliteStore(Path(tempfile.mkdtemp()) / "pins.db"))


def _made(tasks: int) -> list[dict[str, object]]:
    return [task_of(PinRequest(number(index), SENDER), f"key {index}") for index in range(tasks)]


async def awaited(tasks: int) -> dict[str, Any]:
    """Send tasks with the async worker."""
    worker = PinWorker(_make_client)
    await worker.start()
    made = _made(tasks)
    with Clock() as clock:
        for task in made:
            await worker.send_pin(task=task)
    await worker.stop()
    return clock.per(tasks)


def blocked(tasks: int, threads: int) -> dict[str, Any]:
    """Send tasks with the worker for plain functions."""
    worker = BlockingPinWorker(_make_client)
    made = _made(tasks)
    worker.send_pin(made[0])
    with ThreadPoolExecutor(threads) as pool:

        def work(part: list[dict[str, object]]) -> None:
            for task in part:
                worker.send_pin(task)

        with Clock() as clock:
            list(pool.map(work, [made[at::threads] for at in range(threads)]))
    worker.stop()
    return clock.per(tasks)


def main(words: Sequence[str]) -> int:
    asked = options("benchmarks.task_cpu", __doc__, words, tasks=5_000, rounds=5)
    for name, case in {
        "async": {"function": "task_cpu:awaited"},
        "blocking, 1 thread": {"function": "task_cpu:blocked", "threads": 1},
        "blocking, 32 threads": {"function": "task_cpu:blocked", "threads": 32},
    }.items():
        found = [measure(**case, tasks=asked.tasks)["cpu_us"] for _ in range(asked.rounds)]
        print_bars([bounded(f"CPU per task, {name}", 60.0, "µs", found, at_most=True)])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
