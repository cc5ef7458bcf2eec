"""Whether httpx or httpcore is mocked or instrumented in this process.

A test that mocks httpx believes that nothing leaves the machine, and an application that instruments it wants to
see each request. Both replace functions of httpx or httpcore (respx, pytest-httpx, vcrpy, OpenTelemetry, ddtrace,
Sentry), so it is enough to ask whether those are the originals. An original is a plain function whose globals
are those of the library's module: neither a wrapper nor a mock has them, whenever it came.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import FunctionType, ModuleType
from typing import Any, Final

import attrs

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


@attrs.frozen
class _Check:
    """Some names of a namespace, and the objects that they have to be."""

    namespace: Mapping[str, Any]
    described: str
    names: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Any]
    originals: Any


_checks_of: Final[dict[ModuleType, list[_Check]]] = {}


def intercepted_by(library: str, *, engine_only: bool = False) -> str | None:
    """Name the first function or class of httpx or httpcore that is not the original; `None`: all are.

    Args:
        library: "httpx" or "httpx2". One that is not imported is not intercepted.
        engine_only: Whether to look at httpcore alone.
    """
    engine = _ENGINES[library]
    for name in (engine,) if engine_only else (library, engine):
        module = sys.modules.get(name)
        if module is None:
            continue
        checks = _checks_of.get(module)
        if checks is None:
            replaced = _learn(module)
            if replaced is not None:
                return replaced
            continue
        for check in checks:
            try:
                # Tuples compare their members by identity first, and without a Python frame.
                if check.read(check.namespace) != check.originals:
                    return _first_replaced(check)
            except KeyError:
                return check.described
    return None


def _first_replaced(check: _Check) -> str:
    originals = check.originals if len(check.names) > 1 else (check.originals,)
    for name, original in zip(check.names, originals, strict=True):
        if check.namespace.get(name) is not original:
            return f"{check.described}.{name}"
    return check.described


def _learn(module: ModuleType) -> str | None:
    """Learn what the originals of a library are, once all that is there is original. Else name what is not."""
    classes = _HTTPX if module.__name__ in _ENGINES else _HTTPCORE
    spaces: list[tuple[Mapping[str, Any], str, tuple[str, ...]]] = []
    for class_name, methods in classes.items():
        cls = module.__dict__.get(class_name)
        described = f"{module.__name__}.{class_name}"
        if cls is None:  # another version of the library has no such class
            continue
        found = tuple(name for name in methods if name in getattr(cls, "__dict__", {}))
        if not isinstance(cls, type) or not found:
            return described
        for name in found:
            if not _is_original(cls.__dict__[name], module):
                return f"{described}.{name}"
        spaces.append((cls.__dict__, described, found))
    spaces.append(
        (module.__dict__, module.__name__, tuple(name for name in classes if name in module.__dict__))
    )
    checks: list[_Check] = []
    for space, described, names in spaces:
        read: Callable[[Mapping[str, Any]], Any] = itemgetter(*names)
        checks.append(_Check(space, described, names, read, read(space)))
    _checks_of[module] = checks
    return None


def _is_original(function: object, module: ModuleType) -> bool:
    if not isinstance(function, FunctionType):
        return False
    name = str(function.__globals__.get("__name__"))
    home = sys.modules.get(name)
    inside = name == module.__name__ or name.startswith(f"{module.__name__}.")
    return inside and home is not None and function.__globals__ is home.__dict__
