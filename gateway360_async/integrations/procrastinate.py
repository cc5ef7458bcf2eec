"""PIN requests as a task of Procrastinate, whose queue is PostgreSQL.

    send_pin = pin_task(app, lambda: Gateway360Client(sender="GOOD PIZZA", store=PostgresStore("postgresql://…")))
    await send_pin.defer_async(task=task_of(request, "sign-up 4711"))

Procrastinate keeps no results: a task's outcome is in its log.
"""

# Parts of Procrastinate have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from procrastinate import App, JobContext, RetryStrategy
from procrastinate.job_context import AbortReason
from procrastinate.worker import Worker

from .._client import Gateway360Client
from .._exceptions import ClientClosed, InvalidConfiguration, StoreError
from .worker import PinWorker

__all__ = ["pin_task"]

_NOT_BEGUN: Final = RetryStrategy(wait=1, retry_exceptions={ClientClosed, InvalidConfiguration, StoreError})
"""Puts a task that could not begin back into the queue, for a second."""


async def _end_worker(call: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker) -> Any:
    """End a worker whose client cannot open; give a task back that its worker's end interrupts."""
    try:
        return await call()
    except (InvalidConfiguration, StoreError):
        logging.getLogger("gateway360_async").exception("the worker ends")
        worker.stop()
        raise
    except asyncio.CancelledError:
        if context.abort_reason() is AbortReason.SHUTDOWN:
            raise ClientClosed("the worker has stopped") from None
        raise


def pin_task(
    app: App,
    make_client: Callable[[], Gateway360Client],
    *,
    name: str = "gateway360.send_pin",
    **options: Any,
) -> Any:
    """Register the task that sends what `task_of` made.

    Its `options` are Procrastinate's; a task that could not begin is retried. A worker with wrong settings ends with its
    first task. See `PinWorker` for `make_client` and for the errors raised.
    """
    worker = PinWorker(make_client)
    shown = re.compile(rf"({re.escape(name)}\[\d+\])\(.*\}}\)")

    async def send_pin(task: dict[str, Any]) -> dict[str, Any]:
        return await worker.send_pin(task=task)

    def mask(record: logging.LogRecord) -> bool:
        """Keep the arguments out of Procrastinate's log."""
        record.msg = shown.sub(r"\1(…)", str(record.msg))
        for job in [getattr(record, "job", None), *getattr(record, "jobs", ())]:
            if job is not None and job["task_name"] == name:
                job.update(task_kwargs={}, call_string=f"{name}[{job['id']}](…)")
        return True

    for logger in ("jobs", "worker", f"worker.{app.worker_defaults.get('name') or 'worker'}"):
        logging.getLogger(f"procrastinate.{logger}").addFilter(mask)
    task: Any = app.task
    middleware = [_end_worker, *options.pop("task_middleware", ())]
    return task(name=name, task_middleware=middleware, **{"retry": _NOT_BEGUN, **options})(send_pin)
