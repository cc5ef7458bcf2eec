"""Whether httpx or httpcore is mocked or instrumented in this process.

A test that mocks httpx believes that nothing leaves the machine, and an application that instruments it wants to
see each request. Both replace functions of httpx or httpcore (respx, pytest-httpx, vcrpy, OpenTelemetry, ddtrace,
Sentry), so it is enough to ask whether those are the originals. An original is a plain function whose globals
are those of the library's module: neither a wrapper nor a mock has them, whenever it came.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any, Final

__all__ = ["intercepted_by"]

_ENGINES: Final = {"httpx": "httpcore", "httpx2": "httpcore2"}
# The ways that a request takes through the two: one of these has to be replaced to mock or to instrument it.
_HTTPX: Final = {
    "AsyncClient": ("__init__", "send", "_send_single_request", "_transport_for_url"),
    "AsyncHTTPTransport": ("handle_async_request",),
}
_HTTPCORE: Final = {
    "AsyncConnectionPool": ("handle_async_request",),
    "AsyncHTTPConnection": ("handle_async_request",),
    "AsyncHTTP11Connection": ("handle_async_request",),
    "AnyIOBackend": ("connect_tcp",),
}
_intact: Final[dict[ModuleType, Callable[[], bool]]] = {}
"""By library, and only once all of it was original: a quick look whether it is so still."""


def intercepted_by(library: str, *, engine_only: bool = False) -> str | None:
    """Name the first function or class of httpx or httpcore that is not the original; `None`: all are.

    Args:
        library: "httpx" or "httpx2". One that is not imported is not intercepted.
        engine_only: Whether to look at httpcore alone.
    """
    if not engine_only:
        replaced = _replaced_in(library)
        if replaced is not None:
            return replaced
    return _replaced_in(_ENGINES[library])


def _replaced_in(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is None:
        return None
    intact = _intact.get(module)
    try:
        if intact is not None and intact():
            return None
    except AttributeError:  # another version of the library lacks it
        pass
    replaced = _search(module)
    if replaced is None and intact is None:
        look_at = _look_at_httpx if module.__name__ in _ENGINES else _look_at_httpcore
        with suppress(AttributeError):  # the same
            _intact[module] = look_at(module)
    return replaced


# Before each exchange this is asked, so it is written out: a loop over the names takes five times as long. By
# identity, for a wrapper calls itself equal to what it wraps.


def _look_at_httpx(httpx: Any) -> Callable[[], bool]:
    client, transport = httpx.AsyncClient, httpx.AsyncHTTPTransport
    init, send, single = client.__init__, client.send, getattr(client, "_send_single_request", None)
    choose, handle = getattr(client, "_transport_for_url", None), transport.handle_async_request

    def intact() -> bool:
        return (
            httpx.AsyncClient is client
            and client.send is send
            and client._send_single_request is single  # noqa: SLF001
            and client._transport_for_url is choose  # noqa: SLF001
            and client.__init__ is init
            and httpx.AsyncHTTPTransport is transport
            and transport.handle_async_request is handle
        )

    return intact


def _look_at_httpcore(httpcore: Any) -> Callable[[], bool]:
    pool, connection = httpcore.AsyncConnectionPool, httpcore.AsyncHTTPConnection
    http11, backend = httpcore.AsyncHTTP11Connection, httpcore.AnyIOBackend
    in_pool, in_connection = pool.handle_async_request, connection.handle_async_request
    in_http11, connect = http11.handle_async_request, backend.connect_tcp

    def intact() -> bool:
        return (
            httpcore.AsyncConnectionPool is pool
            and pool.handle_async_request is in_pool
            and httpcore.AsyncHTTPConnection is connection
            and connection.handle_async_request is in_connection
            and httpcore.AsyncHTTP11Connection is http11
            and http11.handle_async_request is in_http11
            and httpcore.AnyIOBackend is backend
            and backend.connect_tcp is connect
        )

    return intact


def _search(module: ModuleType) -> str | None:
    """Name the first function or class of a library that is not the original, whenever it was replaced."""
    for class_name, methods in (_HTTPX if module.__name__ in _ENGINES else _HTTPCORE).items():
        cls = module.__dict__.get(class_name)
        described = f"{module.__name__}.{class_name}"
        if cls is None:  # another version of the library has no such class
            continue
        found = [name for name in methods if name in getattr(cls, "__dict__", {})]
        if not isinstance(cls, type) or not found:
            return described
        for name in found:
            if not _is_original(cls.__dict__[name], module):
                return f"{described}.{name}"
    return None


def _is_original(function: Any, module: ModuleType) -> bool:
    if type(function) is not FunctionType:  # `isinstance` would believe a wrapper
        return False
    name = str(function.__globals__.get("__name__"))
    home = sys.modules.get(name)
    inside = name == module.__name__ or name.startswith(f"{module.__name__}.")
    return inside and home is not None and function.__globals__ is home.__dict__
