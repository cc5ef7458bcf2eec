"""The sandbox's phone: a page with every SMS as it is "sent", and with switches.

- Nothing is changed by anything but a POST of JSON from the page itself.
- The page may load nothing from elsewhere and run no inline script: the policy in `_HEADERS` says so to the
  browser.
- A stream ends as soon as the sandbox closes, and leaves no task.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ._app import read_body, require_own_name, require_own_site
from ._checks import Refusal, read_object
from ._phone_view import SWITCHES, PhoneView, assets, draw, holder, switches

if TYPE_CHECKING:
    from ._sandbox import Sandbox

__all__ = ["phone_routes"]

_Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
_Fields: TypeAlias = dict[str, Any]

_MAX_BODY: Final = 4096
_STATUS_LENGTH: Final = 20
_PAUSE: Final = 0.1  # seconds between two updates: a batch of thousands is shown in steps
_STILL_HERE: Final = 15.0  # seconds between two signs of life, and two looks whether something expired
_STREAM: Final = "text/event-stream"
_RETRY: Final = 1000  # milliseconds until a browser connects again

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class _Problem(HTTPException):
    """A request of the page that is not carried out, and a text for its user."""

    def __init__(self, problem: str, field: str | None = None, http_status: int = 400) -> None:
        super().__init__(http_status, problem)
        self.field = field


def phone_routes(sandbox: Sandbox, names: Collection[str], clock: Callable[[], float]) -> list[Route]:
    """Make the routes of the page of a sandbox, with its names and its clock."""
    phone = _Phone(sandbox, clock)
    changes = {
        "switches": phone.switches,
        "clear": phone.clear,
        "undo-clear": phone.undo_clear,
        "verify": phone.verify,
        "report": phone.report,
    }
    return [
        Route("/", _guarded(phone.page, names)),
        Route("/_phone/state", _guarded(phone.state, names)),
        Route("/_phone/events", _guarded(phone.events, names)),
        *(
            Route(f"/_phone/{name}", _guarded(_posted(change), names), methods=["POST"])
            for name, change in changes.items()
        ),
        Route("/_phone/{name}", _guarded(phone.asset, names)),
    ]


def _guarded(endpoint: _Endpoint, names: Collection[str]) -> _Endpoint:
    async def guarded(request: Request) -> Response:
        try:
            require_own_name(request, names, 403)
            if request.scope["path"] != "/":  # a link to the page itself may stand anywhere
                require_own_site(request)
            response = await endpoint(request)
        except HTTPException as exc:
            problem = {"field": getattr(exc, "field", None), "problem": exc.detail}
            response = _json(problem, exc.status_code)
        response.headers.update(_HEADERS)
        return response

    return guarded


def _posted(change: Callable[[_Fields], Awaitable[_Fields]]) -> _Endpoint:
    """Make an endpoint of a function from one JSON object to another."""

    async def posted(request: Request) -> Response:
        body = await read_body(request, _MAX_BODY)
        try:
            fields = read_object(request.headers.get("content-type"), body)
        except Refusal as refusal:
            wrong_type = refusal.envelope["error_id"] == "INVALID_CONTENT_TYPE"
            raise _Problem(refusal.envelope["error_msg"], http_status=415 if wrong_type else 400) from None
        return _json(await change(fields))

    return posted


class _Phone:
    """The endpoints."""

    def __init__(self, sandbox: Sandbox, clock: Callable[[], float]) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._id = secrets.token_hex(8)

    async def page(self, request: Request) -> Response:
        html = draw(self._view(request).state(), self._sandbox.base_url, self._sandbox.api_key)
        return Response(html, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in assets():
            raise HTTPException(404)
        content, media_type = assets()[name]
        return Response(content, media_type=media_type)

    async def state(self, request: Request) -> Response:
        return _json(self._view(request).state())

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type=_STREAM)  # a stream has an end for a browser that reads it
        return StreamingResponse(_events(self._sandbox, self._view(request)), media_type=_STREAM)

    def _view(self, request: Request) -> PhoneView:
        find = request.query_params.get("find", "")[:40]
        return PhoneView(self._sandbox, self._clock, find, sandbox_id=self._id)

    async def switches(self, fields: _Fields) -> _Fields:
        before = switches(self._sandbox)["switches"]
        try:
            for name, value in fields.items():
                self._switch(name, value)
        except (_Problem, ValueError) as exc:
            for name, value in before.items():  # all or nothing
                self._switch(name, value)
            if isinstance(exc, _Problem):
                raise
            field, _, _ = str(exc).partition(":")
            raise _Problem(str(exc), field) from None
        return switches(self._sandbox)

    def _switch(self, name: str, value: Any) -> None:
        if name not in SWITCHES:
            raise _Problem(f"{name}: there is no such switch", name)
        if name != "blocked":
            setattr(holder(self._sandbox, name), name, value)
        elif isinstance(value, bool):
            (self._sandbox.block if value else self._sandbox.unblock)()
        else:
            raise _Problem("blocked: expected true or false", name)

    async def clear(self, _fields: _Fields) -> _Fields:
        self._sandbox.clear()
        return {}

    async def undo_clear(self, _fields: _Fields) -> _Fields:
        self._sandbox.undo_clear()
        return {}

    async def verify(self, fields: _Fields) -> _Fields:
        return {"verified": self._sandbox.check_pin(_text(fields, "msisdn"), _text(fields, "pin"))}

    async def report(self, fields: _Fields) -> _Fields:
        status = _text(fields, "status")
        if len(status) > _STATUS_LENGTH or not status.isalnum():
            raise _Problem("status: expected letters and digits, such as DELIVRD", "status")
        message = next((item for item in self._sandbox.messages if item.id == fields.get("id")), None)
        if message is None:
            raise _Problem("id: there is no such SMS any more", "id", 404)
        if message.report_url is None:
            raise _Problem("id: this SMS asked for no delivery reports", "id", 409)
        posted = await self._sandbox.report(message, status)
        return {"status": status, "http_status": posted.http_status, "error": posted.error}


def _text(fields: _Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise _Problem(f"{name}: expected a string that is not empty", name)
    return value


def _dumped(data: Mapping[str, Any]) -> str:
    # In ASCII: a request may bring half a character (a lone surrogate), which UTF-8 cannot say.
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def _json(data: Mapping[str, Any], http_status: int = 200) -> Response:
    return Response(_dumped(data), http_status, media_type="application/json")


async def _events(sandbox: Sandbox, view: PhoneView) -> AsyncIterator[str]:
    """Server-sent events: everything, then the changes, until the sandbox closes."""
    watch = sandbox.watch()
    yield f"retry: {_RETRY}\nevent: state\ndata: {_dumped(view.state())}\n\n"
    while True:
        await asyncio.sleep(_PAUSE)
        quiet = False
        try:
            async with asyncio.timeout(_STILL_HERE):
                await anext(watch)
        except StopAsyncIteration:
            return
        except TimeoutError:
            quiet = True
        watch.skip()
        if (update := view.update()) is not None:
            yield f"event: update\ndata: {_dumped(update)}\n\n"
        elif quiet:
            yield ": still here\n\n"
