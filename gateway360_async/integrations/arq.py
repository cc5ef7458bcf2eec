"""PIN requests as a job of arq.

@pin_task(lambda: Gateway360Client(sender="GOOD PIZZA", store=RedisStore("redis://…")))
class WorkerSettings:
    redis_settings = RedisSettings()

await redis.enqueue_job("send_pin", task=task_of(request, "sign-up 4711"))
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from arq import func

from .._client import Gateway360Client
from .worker import PinWorker

__all__ = ["pin_task"]

_T = TypeVar("_T", bound=type)
_DEFAULTS: Final = {
    "max_jobs": 100,
    "job_timeout": 60,  # seconds: the wait for a permit, and the client's deadline
    "job_completion_wait": 35,  # seconds, longer than the client's deadline: a stop cuts no call off
}


def pin_task(make_client: Callable[[], Gateway360Client], *, name: str = "send_pin") -> Callable[[_T], _T]:
    """Give a `WorkerSettings` the function that sends what `task_of` made, and returns its outcome.

    The class may have functions, hooks and settings of its own. A worker with wrong settings does not start.
    See `PinWorker` for `make_client` and for the errors raised.
    """
    worker = PinWorker(make_client)

    def mask(record: logging.LogRecord) -> bool:
        """Keep the arguments out of arq's log."""
        args = record.args
        if isinstance(args, tuple) and len(args) == 4 and str(args[1]).endswith(f":{name}"):
            record.args = (*args[:2], "…", args[3])
        return True

    def add(settings: _T) -> _T:
        own: Any = settings
        begin, end = getattr(own, "on_startup", None), getattr(own, "on_shutdown", None)
        begun: list[object] = []

        async def on_startup(ctx: dict[Any, Any]) -> None:
            logging.getLogger("arq.worker").addFilter(mask)
            await worker.start()
            if begin is not None:
                await begin(ctx)
            begun.append(ctx)

        async def on_shutdown(ctx: dict[Any, Any]) -> None:
            try:
                if end is not None and begun:  # arq ends as well what has not begun
                    await end(ctx)
            finally:
                await worker.stop()

        own.functions = [*getattr(own, "functions", ()), func(worker.send_pin, name=name)]
        own.on_startup, own.on_shutdown = on_startup, on_shutdown
        for setting, value in _DEFAULTS.items():
            setattr(own, setting, getattr(own, setting, value))
        return settings

    return add
