"""The sandbox's phone: a page that shows every SMS as it is "sent", and the switches that make it fail.

Rules of this module:

- Any website that is open in the same browser can send requests to loopback. So a name in the Host header has
  to be the sandbox's own (an attacker's name may be made to point here: DNS rebinding), what a browser says
  comes from another site is refused, and nothing is changed by anything but a POST of JSON.
- The page may load nothing from elsewhere and run no inline script: the policy in `_HEADERS` says so to the
  browser.
- A stream ends as soon as the sandbox closes, and leaves no task.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ._app import read_body
from ._checks import Refusal, read_object
from ._phone_page import ASSETS, asset, draw
from ._phone_state import LIMIT, SWITCHES, Desk, PhoneView, badge, switches, switches_in_order
from ._sites import NOT_OWN_NAME, OTHER_SITE, is_other_site, is_own_name

__all__ = ["phone_routes"]

_MAX_BODY: Final = 4096
_STATUS_LENGTH: Final = 20
_PAUSE: Final = 0.1  # seconds between two updates: a batch of thousands is shown in steps
_STILL_HERE: Final = 15.0  # seconds between two signs of life, and two looks whether something expired
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


def _json(data: Mapping[str, Any]) -> str:
    # In ASCII: what a request brought may hold half a character (a lone surrogate), which UTF-8 cannot say.
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def _answer(data: Mapping[str, Any], http_status: int = 200) -> Response:
    return Response(_json(data), http_status, media_type="application/json")


class _Problem(Exception):
    """A request of the page is not carried out. Its text is for the person in front of it."""

    def __init__(self, problem: str, *, field: str | None = None, http_status: int = 400) -> None:
        super().__init__(problem)
        self.answer = _answer({"field": field, "problem": problem}, http_status)


def phone_routes(desk: Desk, names: Collection[str], clock: Callable[[], float]) -> list[Route]:
    """Make the routes of the page.

    Args:
        desk: The sandbox.
        names: Its own names, in lower case, beside localhost.
        clock: Its clock.
    """
    phone = _Phone(desk, clock)
    endpoints: Mapping[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
        "/": ("GET", phone.page),
        "/_phone/state": ("GET", phone.state),
        "/_phone/events": ("GET", phone.events),
        "/_phone/switches": ("POST", phone.switches),
        "/_phone/clear": ("POST", phone.clear),
        "/_phone/undo-clear": ("POST", phone.undo_clear),
        "/_phone/verify": ("POST", phone.verify),
        "/_phone/report": ("POST", phone.report),
        "/_phone/{name}": ("GET", phone.asset),
    }
    return [
        Route(path, _guarded(endpoint, names), methods=[method])
        for path, (method, endpoint) in endpoints.items()
    ]


def _guarded(
    endpoint: Callable[[Request], Awaitable[Response]], names: Collection[str]
) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            _require_own_site(request, names)
            response = await endpoint(request)
        except _Problem as problem:
            response = problem.answer
        except ClientDisconnect:
            response = Response(status_code=400)  # to nobody: the page has gone in the middle of its request
        response.headers.update(_HEADERS)
        return response

    return guarded


def _require_own_site(request: Request, names: Collection[str]) -> None:
    if not is_own_name(request.headers, names):
        raise _Problem(NOT_OWN_NAME, http_status=403)
    # Looking at the page itself is harmless, wherever the link to it stands.
    if request.scope["path"] == "/":
        return
    fetched_by = request.headers.get("sec-fetch-site", "none")
    if is_other_site(request.headers) or fetched_by not in {"same-origin", "none"}:
        raise _Problem(OTHER_SITE, http_status=403)


class _Phone:
    """The endpoints."""

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._id = secrets.token_hex(8)

    async def page(self, _request: Request) -> Response:
        messages = self._desk.messages
        total = badge(len(messages), self._desk.keep)
        html = draw(messages[: -LIMIT - 1 : -1], total, self._desk.base_url, self._desk.api_key)
        return Response(html, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            return PlainTextResponse("Not Found", 404)
        return Response(asset(name), media_type=ASSETS[name])

    async def state(self, request: Request) -> Response:
        return _answer(self._view(request).state())

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type=_EventStream.media_type)  # a stream has an end for those who read it
        return _EventStream(self._desk, self._view(request))

    def _view(self, request: Request) -> PhoneView:
        find = request.query_params.get("find", "")[:40]
        return PhoneView(self._desk, self._clock, find, sandbox=self._id)

    async def switches(self, request: Request) -> Response:
        before = switches(self._desk)
        try:
            for name, value in (await _read(request)).items():
                self._switch(name, value)
        except (_Problem, ValueError) as exc:
            for name, value in before.items():  # all or nothing
                self._switch(name, value)
            if isinstance(exc, _Problem):
                raise
            field, _, _ = str(exc).partition(":")
            raise _Problem(str(exc), field=field) from None
        return _answer(switches_in_order(self._desk))

    def _switch(self, name: str, value: Any) -> None:
        if name not in SWITCHES:
            raise _Problem(f"{name}: there is no such switch", field=name)
        if name == "blocked":
            if not isinstance(value, bool):
                raise _Problem("blocked: expected true or false", field=name)
            (self._desk.block if value else self._desk.unblock)()
        else:
            setattr(self._desk.faults if name in SWITCHES[:4] else self._desk, name, value)

    async def clear(self, request: Request) -> Response:
        await _read(request)
        self._desk.clear()
        return _answer({})

    async def undo_clear(self, request: Request) -> Response:
        await _read(request)
        self._desk.undo_clear()
        return _answer({})

    async def verify(self, request: Request) -> Response:
        fields = await _read(request)
        msisdn, pin = _text(fields, "msisdn"), _text(fields, "pin")
        return _answer({"verified": self._desk.check_pin(msisdn, pin)})

    async def report(self, request: Request) -> Response:
        fields = await _read(request)
        status = _text(fields, "status")
        if len(status) > _STATUS_LENGTH or not status.isalnum():
            raise _Problem("status: expected letters and digits, such as DELIVRD", field="status")
        message = next((item for item in self._desk.messages if item.id == fields.get("id")), None)
        if message is None:
            raise _Problem("id: there is no such SMS any more", field="id", http_status=404)
        if message.report_url is None:
            raise _Problem("id: this SMS asked for no delivery reports", field="id", http_status=409)
        posted = await self._desk.report(message, status)
        return _answer({"status": status, "http_status": posted.http_status, "error": posted.error})


async def _read(request: Request) -> dict[str, Any]:
    body = await read_body(request, _MAX_BODY)
    if body is None:
        raise _Problem("The body is too large.", http_status=413)
    try:
        return read_object(request.headers.get("content-type"), body)
    except Refusal as refusal:
        wrong_type = refusal.envelope["error_id"] == "INVALID_CONTENT_TYPE"
        raise _Problem(refusal.envelope["error_msg"], http_status=415 if wrong_type else 400) from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise _Problem(f"{name}: expected a string that is not empty", field=name)
    return value


class _EventStream(Response):
    """Server-sent events: everything, then what changes, until the browser or the sandbox ends it."""

    media_type = "text/event-stream"

    def __init__(self, desk: Desk, view: PhoneView) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._desk = desk
        self._view = view
        self._changed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        loop = asyncio.get_running_loop()
        # Whichever ends first ends the others: a browser that does not read must not hold the sandbox open.
        tasks = [loop.create_task(part) for part in (self._watch(), self._write(send), _gone(receive))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self) -> None:
        async for _ in self._desk.watch():
            self._changed.set()

    async def _write(self, send: Send) -> None:
        text = f"retry: {_RETRY}\n{_event('state', self._view.state())}"
        while True:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await asyncio.sleep(_PAUSE)
            text = await self._next()

    async def _next(self) -> str:
        """Wait for something to tell."""
        while True:
            try:
                async with asyncio.timeout(_STILL_HERE):
                    await self._changed.wait()
            except TimeoutError:
                update = self._view.update()
                return ": still here\n\n" if update is None else _event("update", update)
            self._changed.clear()
            if (update := self._view.update()) is not None:
                return _event("update", update)


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {_json(data)}\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # an empty body, which a GET has
