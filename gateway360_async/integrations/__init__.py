"""Web frameworks and task queues.

- `.asgi`: an application that takes delivery reports, for any ASGI framework to mount.
- `.worker`: the task of any task queue.
- `.celery`, `.taskiq`, `.arq`, `.procrastinate`, `.django_tasks`: that task on these engines, as `pin_task`.

Each imports its framework or engine only when it is used.
"""

__all__: list[str] = []
