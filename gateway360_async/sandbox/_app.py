"""The gateway as an ASGI application: HTTP in, the gateway's answers out.

Rules of this module:

- What is no matter of the API (a wrong path, a wrong method, a body too large) is answered as a plain web
  server would, without an envelope, does not come into the gateway's log, and meets no fault.
- What a request meets is decided when it has come. The gateway is asked after the latency has passed, whether
  or not the client still waits: one that gives up on a slow answer does not stop its SMS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ._faults import Fault
from ._gateway import Gateway
from ._http_server import HANG_UP
from ._records import Operation
from ._sites import NOT_OWN_NAME, OTHER_SITE, is_other_site, is_own_name

__all__ = ["MAX_BODY_BYTES", "create_app", "read_body"]

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of a request's body that are read at most. A published example has about three hundred."""

# Both are published: the reference has the first, and one of the vendor's examples the second.
_PREFIXES: Final = ("/api", "/api/3.0")
_OTHER_METHODS: Final = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")


def _no_latency() -> float:
    return 0.0


def _no_fault() -> Fault | None:
    return None


def create_app(
    gateway: Gateway,
    *,
    names: Collection[str] = (),
    latency: Callable[[], float] = _no_latency,
    take_fault: Callable[[], Fault | None] = _no_fault,
    routes: Sequence[Route] = (),
) -> Starlette:
    """Make the application.

    Args:
        gateway: What answers.
        names: Its own names, in lower case, beside localhost.
        latency: Called for every request; returns seconds to wait before the gateway is asked.
        take_fault: Called for every request; returns what it meets, or `None`.
        routes: What else is served, beside the API.
    """

    async def request_pin(request: Request) -> Response:
        return await answer(request, "request")

    async def verify_pin(request: Request) -> Response:
        return await answer(request, "verify")

    async def answer(request: Request, operation: Operation) -> Response:
        if not is_own_name(request.headers, names):
            return PlainTextResponse(NOT_OWN_NAME, 421)
        if is_other_site(request.headers):
            return PlainTextResponse(OTHER_SITE, 403)
        try:
            body = await read_body(request, MAX_BODY_BYTES)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody: the client has gone in the middle of its request
        if body is None:
            return PlainTextResponse("Content Too Large", 413)
        fault = take_fault()
        if (delay := latency() + (0.0 if fault is None else fault.seconds)) > 0:
            await asyncio.sleep(delay)
        # Not `request.url`: that is put together from the client's Host header.
        path = str(request.scope["path"])
        content_type = request.headers.get("content-type")
        if fault is not None and not fault.carries_out:
            gateway.turn_away(path, content_type, body, operation=operation, fault=fault)
            return Response(fault.body, fault.http_status, fault.headers)
        kind = None if fault is None else fault.kind
        http_status, envelope = gateway.handle(path, content_type, body, operation=operation, fault=kind)
        return _NoAnswer() if kind == "lose" else JSONResponse(envelope, http_status)

    app = Starlette(
        routes=[
            Route(f"{prefix}/2fa/{operation}", asked, methods=methods)
            for prefix in _PREFIXES
            for operation, endpoint in (("request", request_pin), ("verify", verify_pin))
            for asked, methods in ((endpoint, ["POST"]), (_refuse_method, _OTHER_METHODS))
        ]
        + list(routes)
    )
    app.router.redirect_slashes = False  # a path with a slash too many is a wrong path
    return app


async def _refuse_method(request: Request) -> Response:
    # A common mistake in public integrations: a GET, often with the fields in its body.
    mistake = f"This is a {request.method}: send the fields as JSON in the body of a POST."
    return PlainTextResponse(mistake, 405, headers={"Allow": "POST"})


class _NoAnswer(Response):
    """Closes the connection without a byte of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # nothing is sent
        scope["state"][HANG_UP]()
        # The request's body was read, so what comes next is that the connection is closed. Without knowing
        # that, uvicorn would send a 500 for an application that ends without an answer.
        await receive()


async def read_body(request: Request, at_most: int) -> bytes | None:
    """Read the body, or return `None` as soon as it has more bytes than that. uvicorn discards the rest."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            return None
    return bytes(body)
