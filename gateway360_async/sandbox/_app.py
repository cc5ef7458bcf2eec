"""The gateway as an ASGI application: HTTP in, the gateway's answers out.

Rules of this module:

- What is no matter of the API (a wrong path, a wrong method, a body too large) is answered as a plain web
  server would, without an envelope, and does not come into the gateway's log.
- The gateway is asked after the latency has passed, whether or not the client still waits: one that gives
  up on a slow answer does not stop its SMS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ._gateway import Gateway

__all__ = ["MAX_BODY_BYTES", "create_app"]

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of a request's body that are read at most. A published example has about three hundred."""

# Both are published: the reference has the first, and one of the vendor's examples the second.
_PREFIXES: Final = ("/api", "/api/3.0")


def _no_latency() -> float:
    return 0.0


def create_app(gateway: Gateway, *, latency: Callable[[], float] = _no_latency) -> Starlette:
    """Make the application.

    Args:
        gateway: What answers.
        latency: Called for every request; returns seconds to wait before the gateway is asked.
    """

    async def request_pin(request: Request) -> Response:
        try:
            body = await _read_body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody: the client has gone in the middle of its request
        if body is None:
            return PlainTextResponse("Content Too Large", 413)
        if (delay := latency()) > 0:
            await asyncio.sleep(delay)
        # Not `request.url`: that is put together from the client's Host header.
        path = str(request.scope["path"])
        http_status, envelope = gateway.handle(path, request.headers.get("content-type"), body)
        return JSONResponse(envelope, http_status)

    app = Starlette(
        routes=[Route(f"{prefix}/2fa/request", request_pin, methods=["POST"]) for prefix in _PREFIXES]
    )
    app.router.redirect_slashes = False  # a path with a slash too many is a wrong path
    return app


async def _read_body(request: Request) -> bytes | None:
    """Read the body, or return `None` as soon as it is too large. uvicorn discards the rest."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)
