"""The API over HTTP: requests in, the gateway's answers out.

- A matter of HTTP alone (a wrong path, a wrong method, a body too large) is answered as a plain web server would,
  without an envelope, does not come into the gateway's log, and meets no fault.
- Any website that is open in a browser of this machine can send requests to loopback, and may have a name of its
  own point here (DNS rebinding), which makes the sandbox's answers its own to read. Headers that no website can set
  tell both: `Host` and `Origin`. A program that is no browser sends no `Origin`, and is let through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ._http_server import HANG_UP
from ._records import Operation

__all__ = ["MAX_BODY_BYTES", "Answer", "create_app", "read_body", "require_own_name", "require_own_site"]

Answer: TypeAlias = Callable[[Operation, str, str | None, bytes], Awaitable[Response | None]]
"""Answers an operation, with its path, content type and body; `None`: the answer is lost."""

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of a request's body that are read at most. A published example has about three hundred."""

# Both are published: the reference has the first, and one of the vendor's examples the second.
_PREFIXES: Final = ("/api", "/api/3.0")
_METHODS: Final = ("POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
_OPERATIONS: Final[Sequence[Operation]] = ("request", "verify")


def create_app(answer: Answer, names: Collection[str], routes: Sequence[Route]) -> Starlette:
    """Make the application of the API and of other routes.

    `names` are the sandbox's own, in lower case, beside localhost.
    """

    async def asked(request: Request, operation: Operation) -> Response:
        if request.method != "POST":
            # A common mistake in public integrations: a GET, often with the fields in its body.
            mistake = f"This is a {request.method}: send the fields as JSON in the body of a POST."
            raise HTTPException(405, mistake, {"Allow": "POST"})
        require_own_name(request, names)
        require_own_site(request)
        body = await read_body(request, MAX_BODY_BYTES)
        # Not `request.url`: that is put together from the client's Host header.
        path = str(request.scope["path"])
        return await answer(operation, path, request.headers.get("content-type"), body) or _NoAnswer()

    api = [
        Route(f"{prefix}/2fa/{operation}", partial(asked, operation=operation), methods=_METHODS)
        for prefix in _PREFIXES
        for operation in _OPERATIONS
    ]
    app = Starlette(routes=[*api, *routes], exception_handlers={ClientDisconnect: _gone})
    app.router.redirect_slashes = False  # a path with a slash too many is a wrong path
    return app


async def _gone(_request: Request, _exc: Exception) -> Response:
    return Response(status_code=400)  # not read: the client has gone in the middle of its request


class _NoAnswer(Response):
    """Closes the connection without a byte of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # nothing is sent
        scope["state"][HANG_UP]()
        # The request's body was read, so the next event is that the connection is closed. Without knowing that,
        # uvicorn would send a 500 for an application that ends without an answer.
        await receive()


async def read_body(request: Request, at_most: int) -> bytes:
    """Read the body, or raise 413 once it is too large: uvicorn discards the rest."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            raise HTTPException(413)
    return bytes(body)


def require_own_name(request: Request, names: Collection[str], http_status: int = 421) -> None:
    """Refuse a request for another host than an address, localhost, or a name."""
    host = request.headers.get("host")
    if host is None:
        return  # HTTP/1.0: every browser names one
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name in {"localhost", *names} or name.endswith(".localhost"):
            return
        # An address cannot be rebound: a browser that names one has come to where it meant to go.
        ipaddress.ip_address(name)
    except ValueError:  # an unclosed bracket, or another name
        said = "This is not the sandbox's name: use its address, or localhost; or allow this name (--allow-host)."
        raise HTTPException(http_status, said) from None


def require_own_site(request: Request) -> None:
    """Refuse a request that a page of another website sends, as its browser says."""
    # Compared as text: an origin that is malformed ("http://[") or no website ("null") is not the sandbox's own.
    origin, host = request.headers.get("origin"), request.headers.get("host")
    fetched_by = request.headers.get("sec-fetch-site", "none")
    if (origin is not None and origin.partition("://")[2] != host) or fetched_by not in {
        "same-origin",
        "none",
    }:
        raise HTTPException(403, "This request comes from another website.")
