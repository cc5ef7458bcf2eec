"""PIN requests as a task of Django, whose queue is the database, with `django-tasks-db`.

send_pin = pin_task(__name__, lambda: Gateway360Client(sender="GOOD PIZZA", store=PostgresStore("postgresql://…")))
send_pin.enqueue(task_of(request, "sign-up 4711"))

`manage.py db_worker` does one task at a time. It leaves the task of a worker that was killed as it is, `RUNNING`.
"""

# Django has no types.
# mypy: disable-error-code="import-untyped"
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.core import checks
from django_tasks_db import compat

from .._client import Gateway360Client
from .._exceptions import Gateway360Error
from .worker import BlockingPinWorker

__all__ = ["pin_task"]


def pin_task(
    module: str, make_client: Callable[[], Gateway360Client], *, name: str = "send_pin", **options: Any
) -> Any:
    """Make the task that sends what `task_of` made, and returns its outcome.

    It is kept as `name` in the module `module`, which is `__name__`. Its `options` are those of Django's `task`, such as
    `queue_name`. `manage.py db_worker` does not start with wrong settings. See `BlockingPinWorker` for `make_client` and for
    the errors raised.
    """
    worker = BlockingPinWorker(make_client)

    def send_pin(task: dict[str, Any]) -> dict[str, Any]:
        return worker.send_pin(task)

    def check(**_: Any) -> list[checks.CheckMessage]:
        try:
            if "db_worker" in sys.argv:  # other commands need neither the key nor the store
                worker.check()
        except Gateway360Error as exc:
            return [checks.Error(f"gateway360: {exc}", id="gateway360.E002")]
        return []

    checks.register(check)
    send_pin.__module__, send_pin.__qualname__ = module, name
    backend = options.get("backend", compat.DEFAULT_TASK_BACKEND_ALIAS)
    defaults = {"priority": compat.DEFAULT_TASK_PRIORITY, "queue_name": compat.DEFAULT_TASK_QUEUE_NAME}
    settings = {"backend": backend, "run_after": None, **defaults, **options}
    return compat.task_backends[backend].task_class(func=send_pin, **settings)
