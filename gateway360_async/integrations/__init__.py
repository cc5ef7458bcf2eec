"""Where the client meets the frameworks.

| | |
|---|---|
| `gateway360_async.integrations.starlette` | the route for delivery reports, in Starlette and FastAPI; an application with it |
| `gateway360_async.integrations.asgi` | the same as a plain ASGI application |
| `gateway360_async.integrations.worker` | the task of any task queue |
| `gateway360_async.integrations.celery`, `.taskiq`, `.arq` | that task on these engines: `pin_task` |

Each imports its framework only where it is used. The README has a sign-up in FastAPI, and the table of the engines.
"""

__all__: list[str] = []
