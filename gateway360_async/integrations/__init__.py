"""Where the client meets the frameworks: one module each, which imports its framework, and nobody else does.

from gateway360_async.integrations.asgi import ReportApp            any ASGI server or framework
from gateway360_async.integrations.starlette import report_route    Starlette and FastAPI
"""

__all__: list[str] = []
