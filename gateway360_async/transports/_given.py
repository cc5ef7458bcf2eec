"""The client's transport: the one that was given, or the default one."""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import httpx

from .._errors import InvalidConfiguration
from .._settings import checked_instance
from ._base import Transport
from ._httpx import HttpxTransport
from ._shared import KEEPALIVE_EXPIRY

__all__ = ["adapted", "default_transport"]


def adapted(transport: Transport | httpx.AsyncClient, limits: httpx.Limits | None) -> Transport:
    """Check the transport that was given, and make one of a ready `httpx.AsyncClient`."""
    if isinstance(transport, httpx.AsyncClient):
        transport = HttpxTransport(transport)
    if not all(callable(getattr(transport, method, None)) for method in ("post", "aclose")):
        problem = f"is of type {type(transport).__name__}"
        raise InvalidConfiguration("transport", problem, "a Transport, or an httpx.AsyncClient")
    if limits is not None:
        raise InvalidConfiguration(
            "limits", "was given beside `transport`", "the limits on the transport itself"
        )
    return transport


def default_transport(limits: httpx.Limits | None, concurrency: int) -> tuple[Transport, int]:
    """Make the transport, and bound the concurrency by its connections."""
    if limits is None:
        # As many idle connections as busy ones: a lower bound would reconnect at almost every request.
        limits = httpx.Limits(
            max_connections=concurrency,
            max_keepalive_connections=concurrency,
            keepalive_expiry=KEEPALIVE_EXPIRY,
        )
    checked_instance("limits", limits, httpx.Limits, "an httpx.Limits")
    return HttpxTransport(limits=limits), min(concurrency, limits.max_connections or concurrency)
