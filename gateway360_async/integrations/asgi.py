"""The route for delivery reports as a plain ASGI application, which any ASGI server or framework can mount.

    app.mount("/hooks/sms", ReportApp(reports, on_report=remember))     # Starlette, FastAPI

It answers:

- 200 to a GET or HEAD, by which a gateway asks whether the URL is there: nothing is taken
- 204 taken; reports that were taken before are taken again
- 400 some reports are malformed: the others were taken
- 403 no token of ours, or not for these numbers: nothing was taken
- 405 another method
- 413 longer than 1 MiB
- 500 the inbox's store or `on_report` has failed, as the framework answers what is raised

A body is read only where the token could be one of ours, and never past its bound; its content type is ignored, as the
gateway publishes none. An error carries no whole number in the frames of this module.
"""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

import attrs

from .._exceptions import wrong_setting
from .._redaction import SecretBytes
from ..delivery import MAX_BODY_BYTES, DeliveryReport, DeliveryReports, ForgedReport, InvalidReports

__all__ = ["OnReport", "ReportApp"]

OnReport: TypeAlias = Callable[[DeliveryReport], object]
"""A function, which must not block, or a coroutine function."""

_logger = logging.getLogger("gateway360_async")

_MAX_ENTRIES: Final = 10_000  # requests: with ids of at most 128 characters, some MiB

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Answer: TypeAlias = tuple[int, str]
"""The status, and the text."""

_FORGED: Final = (403, "Forbidden")
_TOO_LARGE: Final = (413, "Content Too Large")


class ReportApp:
    """Takes the delivery reports that are posted to the URLs of a `DeliveryReports`.

    The token is the last segment of the request's path, wherever the application is mounted.

    Args:
        reports: The inbox, which the client has as well.
        on_report: Called for each report that is news, in the body's order, once the inbox has it: not for one that is
            `superseded` (an `ACCEPTD` after its `DELIVRD`) or that it has taken. Its error is raised after the other
            reports were handed over, and the report is news when the gateway posts it again. After a restart, or in
            another process, a report can come twice: key your records by `report.report_id`.

    Raises:
        InvalidConfiguration: An argument is of another type.
    """

    def __init__(self, reports: DeliveryReports, *, on_report: OnReport | None = None) -> None:
        if not isinstance(reports, DeliveryReports):  # pyright: ignore[reportUnnecessaryIsInstance]  # users without a type checker
            raise wrong_setting("reports", reports, "a DeliveryReports")
        if on_report is not None and not callable(on_report):
            raise wrong_setting("on_report", on_report, "a function or a coroutine function, or None")
        self._reports = reports
        self._on_report = on_report
        self._latest: OrderedDict[str | None, DeliveryReport] = OrderedDict()
        """Of the last requests, by their report ids, the report that `on_report` took last."""

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] != "http":  # a server then goes on without this protocol
            raise RuntimeError(f"ReportApp serves HTTP only, not {scope['type']!r}")
        token: str = scope["path"].rstrip("/").rpartition("/")[2]  # Litestar's mounts add a slash
        answer = self._refusal(scope, token) or await self._take(token, receive)
        if answer is not None:  # the client is there
            await _send(send, *answer)  # to a HEAD, a server leaves the body out

    def _refusal(self, scope: _Message, token: str) -> _Answer | None:
        """Answer without a look at the body; `None`: it has to be read."""
        if scope["method"] in ("GET", "HEAD"):  # with any token: it tells no true ones apart
            return 200, "Delivery reports are taken here, by POST."
        if scope["method"] != "POST":
            return 405, "Method Not Allowed"
        if not self._reports.knows(token):
            _logger.warning("a delivery report was refused (403): its URL has no token of this secret")
            return _FORGED
        return _TOO_LARGE if _announced(scope["headers"]) > MAX_BODY_BYTES else None

    async def _take(self, token: str, receive: _Receive) -> _Answer | None:
        body = await _read_body(receive)
        if body is None:
            return None
        if len(body) > MAX_BODY_BYTES:
            return _TOO_LARGE
        answer = 204, ""
        try:
            taken = await self._reports.receive(token, body)
        except ForgedReport:
            return _FORGED
        except InvalidReports as exc:
            taken, answer = exc.reports, (400, f"{len(exc.reports)} taken; {exc}")
        await self._hand_over(taken)
        return answer

    async def _hand_over(self, taken: Iterable[DeliveryReport]) -> None:
        if self._on_report is None:
            return
        raised: list[Exception] = []
        for report in taken:
            latest = self._latest.get(report.report_id)
            short = attrs.evolve(report, sender=None, custom=None)  # without its longest texts
            if report.superseded or (
                latest is not None and (short == latest or not report.supersedes(latest))
            ):
                continue
            try:
                result = self._on_report(report)
                if inspect.isawaitable(result):
                    await result
            except Exception as exc:  # noqa: BLE001  # raised below: the other reports are not lost by it
                raised.append(exc)
                continue
            self._latest[report.report_id] = short
            if len(self._latest) > _MAX_ENTRIES:
                self._latest.popitem(last=False)
        try:
            if len(raised) == 1:
                raise raised[0]  # as it is, so that a framework's handler for its type gets it
            if raised:
                raise ExceptionGroup("on_report failed for several reports", raised)
        finally:
            del raised  # or it would keep itself, and the frames below, alive


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Read the header with the body's length, in bytes; 0: there is none, or it is no number."""
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0


async def _read_body(receive: _Receive) -> SecretBytes | None:
    """Read the body, or one chunk past the bound; `None`: the client went away."""
    body = bytearray()
    more = True
    while more and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return SecretBytes(
        body
    )  # it holds whole numbers, and a crash reporter shows the locals of the frames above


async def _send(send: _Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"allow", b"GET, HEAD, POST")] if status == 405 else []
    if status != 204:  # which has no content, and so no length of it (RFC 9110, section 8.6)
        length = str(len(body)).encode("ascii")
        headers += [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
