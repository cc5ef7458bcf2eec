"""Web frameworks and task queues.

| | |
|---|---|
| `gateway360_async.integrations.asgi` | an application that takes delivery reports, for any ASGI framework to mount |
| `gateway360_async.integrations.worker` | the task of any task queue |
| `.celery`, `.taskiq`, `.arq`, `.procrastinate`, `.django_tasks` | that task on these engines: `pin_task` |

Each imports its framework or engine only where it is used.
"""

__all__: list[str] = []
