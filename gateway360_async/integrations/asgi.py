"""The route for delivery reports as a plain ASGI application, which any ASGI server or framework can mount.

    app.mount("/hooks/sms", ReportApp(reports, on_report=remember))

Rules of this module:

- It imports no framework. Its answers are HTTP's plainest:

      200  a GET or HEAD, as of a gateway that asks whether the URL is there: nothing is read or taken
      204  taken; what was taken before is taken again
      400  some reports are malformed: the others were taken
      403  no token of ours, or not for these numbers: nothing was taken
      405  another method
      413  longer than 1 MiB
      500  a store of yours or `on_report` has failed, as the framework answers what is raised

- The content type is not looked at: the gateway publishes none for its reports.
- A body is read only where the token could be one of ours, and never past its bound. How long a client may take
  to send it is the server's matter, as it is for every other route.
- What is raised below carries no whole number in its frames here.
"""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

import attrs

from .._errors import InvalidConfiguration
from .._secret import SecretBytes
from ..delivery import MAX_BODY_BYTES, DeliveryReport, DeliveryReports, ForgedReport, InvalidReports

__all__ = ["OnReport", "ReportApp"]

OnReport: TypeAlias = Callable[[DeliveryReport], object]
"""What is called with a report: a function, which must not block, or a coroutine function."""

_logger = logging.getLogger("gateway360_async")

_REMEMBERED: Final = 10_000  # requests: with ids of at most 128 characters, some MiB

_Scope: TypeAlias = MutableMapping[str, Any]
_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Sender: TypeAlias = Callable[[_Message], Awaitable[None]]


@attrs.frozen
class _Answer:
    status: int
    text: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()


_TAKEN: Final = _Answer(204)
_FORGED: Final = _Answer(403, "Forbidden")
_HERE: Final = _Answer(200, "Delivery reports are taken here, by POST.")
_OTHER_METHOD: Final = _Answer(405, "Method Not Allowed", ((b"allow", b"GET, HEAD, POST"),))
_TOO_LARGE: Final = _Answer(413, "Content Too Large")


class ReportApp:
    """Takes the delivery reports that are posted to the URLs of a `DeliveryReports`.

    The token is the last segment of the request's path, wherever the application is mounted.

    Args:
        reports: The inbox, which the client has as well.
        on_report: Called for every report that is news, in the body's order: not for one that is `superseded`
            (an `ACCEPTD` that comes after its `DELIVRD`), nor for one that it had taken before. A function, which
            must not block, or a coroutine function. By then the inbox has the report, so `DeliveryReports.wait`
            and the client's `resolve` know of it, whatever becomes of the call. What it raises is raised on, once
            it was called for the other reports too; the framework answers 500 and logs it as it does any other,
            and when the gateway posts the report again, it is called again. After a restart, or in another
            process, it can be called twice for the same report: key what you store by `report.report_id`.

    Raises:
        InvalidConfiguration: One of them is of another type.
    """

    def __init__(self, reports: DeliveryReports, *, on_report: OnReport | None = None) -> None:
        if not isinstance(reports, DeliveryReports):  # pyright: ignore[reportUnnecessaryIsInstance]  # users without a type checker
            raise InvalidConfiguration("reports", f"is of type {type(reports).__name__}", "a DeliveryReports")
        if on_report is not None and not callable(on_report):
            problem = f"is of type {type(on_report).__name__}"
            raise InvalidConfiguration("on_report", problem, "a function or a coroutine function, or None")
        self._reports = reports
        self._on_report = on_report
        self._told: OrderedDict[str | None, DeliveryReport] = OrderedDict()
        """Of the last requests, by their report ids, the report that `on_report` took last."""

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Sender) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] != "http":
            # What ASGI wants of an application that does not know a protocol; a server then goes on without.
            raise RuntimeError(f"ReportApp serves HTTP only, not {scope['type']!r}")
        token: str = scope["path"].rstrip("/").rpartition("/")[2]  # Litestar's mounts add a slash
        answer = self._refusal(scope, token)
        if answer is None:
            body = await _read_body(receive)
            if body is None:
                return  # there is nobody left to answer
            taken, answer = await self._take(token, body)
            await self._hand_over(taken)
        await _send(send, answer)  # to a HEAD, a server leaves the body out

    def _refusal(self, scope: _Scope, token: str) -> _Answer | None:
        """Answer what needs no look at the body."""
        if scope["method"] in ("GET", "HEAD"):
            return _HERE  # whatever the token: which ones are true is told to nobody
        if scope["method"] != "POST":
            return _OTHER_METHOD
        if not self._reports.knows(token):
            _logger.warning("a delivery report was refused (403): its URL has no token of this secret")
            return _FORGED
        return _TOO_LARGE if _announced(scope["headers"]) > MAX_BODY_BYTES else None

    async def _take(self, token: str, body: SecretBytes) -> tuple[list[DeliveryReport], _Answer]:
        if len(body) > MAX_BODY_BYTES:
            return [], _TOO_LARGE
        try:
            return await self._reports.receive(token, body), _TAKEN
        except ForgedReport:
            return [], _FORGED
        except InvalidReports as exc:
            return exc.reports, _Answer(400, f"{len(exc.reports)} taken; {exc}")

    async def _hand_over(self, taken: Iterable[DeliveryReport]) -> None:
        if self._on_report is None:
            return
        raised: list[Exception] = []
        for report in taken:
            # Without its longest texts, as it is remembered.
            said = attrs.evolve(report, sender=None, custom=None)
            told = self._told.get(report.report_id)
            if report.superseded or (told is not None and (said == told or not report.supersedes(told))):
                continue
            try:
                result = self._on_report(report)
                if inspect.isawaitable(result):
                    await result
                self._told[report.report_id] = said
                if len(self._told) > _REMEMBERED:
                    self._told.popitem(last=False)
            except Exception as exc:  # noqa: BLE001  # raised below: the other reports are not lost by it
                raised.append(exc)
        try:
            if len(raised) == 1:
                raise raised[0]  # as it is, so that a framework's handler for its type gets it
            if raised:
                raise ExceptionGroup("on_report failed for several reports", raised)
        finally:
            del raised  # or it would keep itself, and the frames below, alive


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Give the body's length as its header has it; 0: it does not say, or nothing that is a number."""
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0


async def _read_body(receive: _Receive) -> SecretBytes | None:
    """Read the body, or one chunk past the bound; `None`: the client went away."""
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    # It holds whole numbers, and a crash reporter shows the locals of the frames above.
    return SecretBytes(body)


async def _send(send: _Sender, answer: _Answer) -> None:
    body = answer.text.encode()
    headers = list(answer.headers)
    if answer.status != 204:  # which has no content, and so no length of it (RFC 9110, section 8.6)
        headers += [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode("ascii")),
        ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
