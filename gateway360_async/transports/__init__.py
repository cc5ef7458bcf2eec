"""The port to HTTP, and its adapters.

`Transport` is the protocol that the client speaks. `HttpxTransport` is the default; `AiohttpTransport` (extra
`aiohttp`) is the fast one, and is imported when it is asked for. Another adapter sets `Exchange.phase` as it
goes, raises `TransportError`, and hands over what it caught through `scrubbed`.
"""

from typing import TYPE_CHECKING, Any

from ._base import Answer, Exchange, Phase, Transport, TransportError, chain, scrubbed
from ._given import adapted, default_transport
from ._httpx import HttpxTransport
from ._shared import KEEPALIVE_EXPIRY

if TYPE_CHECKING:
    from ._aiohttp import AiohttpTransport

__all__ = [
    "KEEPALIVE_EXPIRY",
    "AiohttpTransport",
    "Answer",
    "Exchange",
    "HttpxTransport",
    "Phase",
    "Transport",
    "TransportError",
    "adapted",
    "chain",
    "default_transport",
    "scrubbed",
]


def __getattr__(name: str) -> Any:
    if name != "AiohttpTransport":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ._aiohttp import AiohttpTransport  # noqa: PLC0415  # an extra, which may be missing
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.startswith("gateway360_async"):
            raise
        raise ImportError(f"AiohttpTransport needs {exc.name}: install gateway360-async[aiohttp]") from exc
    return AiohttpTransport
