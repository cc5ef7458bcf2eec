"""PIN requests as a task of Celery.

    send_pin = pin_task(app, lambda: Gateway360Client(sender="GOOD PIZZA", store=RedisStore("redis://…")))
    send_pin.delay(task_of(request, "sign-up 4711"))

A pool of threads shares one client. `app.send_task` writes the number into the message's headers, which monitors show.
"""

# Celery has no types.
# mypy: disable-error-code="import-untyped,misc"
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import worker_init, worker_process_shutdown, worker_shutdown

from .._client import Gateway360Client
from .._exceptions import ClientClosed, Gateway360Error
from .worker import BlockingPinWorker

__all__ = ["pin_task"]


class _PinTask(Task):
    """A task whose arguments, and so its number, are in no log or monitor."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        return super().apply_async(*args, **{"argsrepr": "(…)", "kwargsrepr": "{…}", **options})


def pin_task(
    app: Celery,
    make_client: Callable[[], Gateway360Client],
    *,
    name: str = "gateway360.send_pin",
    **options: Any,
) -> Any:
    """Register the task that sends what `task_of` made, and returns its outcome.

    Its `options` are Celery's; `acks_late` and `reject_on_worker_lost` are on. A worker with wrong settings does not start.
    See `BlockingPinWorker` for `make_client` and for the errors raised.
    """
    worker = BlockingPinWorker(make_client)

    def send_pin(task: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return worker.send_pin(task)
        except ClientClosed as exc:  # it waited for its store when the worker stopped
            raise Reject(str(exc), requeue=True) from None

    def check(sender: Any = None, **_: Any) -> None:
        try:
            if sender.app is app:
                worker.check()
        except Gateway360Error as exc:  # Celery logs any other error of a signal's receiver, and goes on
            raise SystemExit(f"gateway360: {exc}") from None

    def stop(**_: Any) -> None:
        worker.stop()

    worker_init.connect(check, weak=False)
    for ended in (worker_process_shutdown, worker_shutdown):
        ended.connect(stop, weak=False)
    settings = {"acks_late": True, "reject_on_worker_lost": True, **options}
    return app.task(name=name, base=_PinTask, **settings)(send_pin)
