"""The client's transport: the one that was given, or the default one."""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable
from typing import Any, Final, cast

from .._config import httpx, is_made_by_httpx
from .._exceptions import InvalidConfiguration, wrong_setting
from ._base import KEEPALIVE_EXPIRY, Answer, Transport, checked_limits
from ._direct import DirectTransport
from ._environment import ENGINES, environment_proxy, intercepted_by
from ._httpx import HttpxTransport

__all__ = ["DefaultTransport", "adapted", "default_transport"]

_logger = logging.getLogger("gateway360_async")
_LIBRARIES: Final = tuple(name for pair in ENGINES.items() for name in pair)


class DefaultTransport:
    """A `DirectTransport`, which steps aside for an `HttpxTransport` while httpx is mocked or instrumented."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._direct = DirectTransport(limits=limits)
        self._through: dict[str, HttpxTransport] = {}

    def __repr__(self) -> str:
        replaced = intercepted_by(*_LIBRARIES)
        if replaced is None:
            return repr(self._direct)
        return f"HttpxTransport() while {replaced} is replaced, else {self._direct!r}"

    def post(self, url: str, **arguments: Any) -> Awaitable[Answer]:
        """POST once and read the answer; see `Transport.post`."""
        replaced = intercepted_by(*_LIBRARIES)
        if replaced is None:
            return self._direct.post(url, **arguments)
        library = "httpx2" if replaced.startswith(("httpx2.", "httpcore2.")) else "httpx"
        transport = self._through.get(library)
        if transport is None:
            _logger.warning(
                "%s is replaced: %s is mocked or instrumented in this process, so requests go through it, which takes "
                "several times the CPU. To go past it, give the client transport=DirectTransport()",
                replaced,
                library,
            )
            transport = HttpxTransport.of(sys.modules[library], self._limits)
            self._through[library] = transport
        return transport.post(url, **arguments)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._direct.aclose()
        for transport in self._through.values():
            await transport.aclose()


def adapted(transport: Transport | httpx.AsyncClient, limits: httpx.Limits | None) -> Transport:
    """Check the transport that was given, and make one of a ready client of httpx or httpx2."""
    if is_made_by_httpx("AsyncClient", transport):
        transport = HttpxTransport(cast("httpx.AsyncClient", transport))
    if is_made_by_httpx("Client", transport) or not all(
        callable(getattr(transport, method, None)) for method in ("post", "aclose")
    ):
        raise wrong_setting(
            "transport", transport, "a Transport, an httpx.AsyncClient or an httpx2.AsyncClient"
        )
    if limits is not None:
        raise InvalidConfiguration(
            "limits", "was given beside `transport`", "the limits on the transport itself"
        )
    return cast("Transport", transport)


def default_transport(url: str, limits: httpx.Limits | None, concurrency: int) -> tuple[Transport, int]:
    """Make the transport for a URL, and bound the concurrency by its connections.

    Raises:
        InvalidConfiguration: `limits` is wrong, or the environment names a proxy that cannot be read.
    """
    if limits is None:
        # As many idle connections as busy ones: a lower bound would reconnect at almost every request.
        limits = httpx.Limits(
            max_connections=concurrency,
            max_keepalive_connections=concurrency,
            keepalive_expiry=KEEPALIVE_EXPIRY,
        )
    concurrency = min(concurrency, checked_limits(limits).max_connections or concurrency)
    proxy = environment_proxy(url)
    if proxy is not None:
        return HttpxTransport(proxy=proxy, limits=limits), concurrency
    return DefaultTransport(limits), concurrency
