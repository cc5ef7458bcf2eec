"""An application on loopback, served by uvicorn in the test's own event loop."""

from __future__ import annotations

import contextlib
import socket

from gateway360_async.delivery import DeliveryReports
from gateway360_async.sandbox._http_server import HttpServer

SECRET = "a-s3cret-of-the-tests"


@contextlib.asynccontextmanager
async def serving(make, path="/hooks/sms", **settings):
    """Serve what `make` makes of an inbox, and give the inbox."""
    listener = socket.create_server(("127.0.0.1", 0))
    reports = DeliveryReports(f"http://127.0.0.1:{listener.getsockname()[1]}{path}", SECRET)
    server = HttpServer(make(reports, **settings), keep_alive=5.0)
    await server.start(listener)
    try:
        yield reports
    finally:
        await server.aclose()
