"""What the adapters share: their settings, and how they name a failure."""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ssl
from typing import Final

import httpx

from .._errors import InvalidConfiguration
from .._results import FailureKind
from ._base import Exchange, Phase, TransportError, chain, scrubbed

__all__ = [
    "DEFAULT_LIMITS",
    "KEEPALIVE_EXPIRY",
    "checked_proxy",
    "checked_ssl_context",
    "named",
    "root_of",
    "tls_kind",
]

KEEPALIVE_EXPIRY: Final = 4.0
"""Seconds. A connection that is reused just as the server closes it loses an answer, so ours expire first."""

DEFAULT_LIMITS: Final = httpx.Limits(keepalive_expiry=KEEPALIVE_EXPIRY)
"""No bound on idle connections: there are never more than the client's `concurrency` has made."""

# A peer that went away in mid-handshake may be back at the next try. Any other TLS error is about what
# the two sides are, and that does not change by asking again.
_BROKEN_OFF: Final = (
    ssl.SSLEOFError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,  # how a handshake that was waiting for the peer looks when it timed out
    ssl.SSLWantWriteError,
    ssl.SSLZeroReturnError,
)


def checked_ssl_context(verify: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Check the setting `verify`."""
    if verify is None or isinstance(verify, ssl.SSLContext):
        return verify
    raise InvalidConfiguration("verify", f"is of type {type(verify).__name__}", "an ssl.SSLContext, or None")


def checked_proxy(proxy: httpx.Proxy | httpx.URL | str | None) -> httpx.Proxy | None:
    """Check the setting `proxy`."""
    if proxy is None or isinstance(proxy, httpx.Proxy):
        return proxy
    try:
        return httpx.Proxy(proxy)
    except (httpx.InvalidURL, ValueError, TypeError):
        # The URL is not shown: it may hold a password.
        raise InvalidConfiguration(
            "proxy", "is not a proxy's URL", "an http://, https:// or socks5:// URL, or an httpx.Proxy"
        ) from None


def tls_kind(root: BaseException | None) -> FailureKind:
    """Say whether a handshake that failed may succeed the next time."""
    refused = isinstance(root, ssl.SSLError) and not isinstance(root, _BROKEN_OFF)
    return FailureKind.TLS_REFUSED if refused else FailureKind.TLS


def root_of(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """Find what the operating system, the TLS library or the HTTP parser said, below the wrapping."""
    for below in chain(error, handled):
        if isinstance(below, OSError) and below.errno is not None:  # an ssl.SSLError is an OSError as well
            return below
        if type(below).__module__.startswith("h11."):
            return below
    return None


def named(
    error: Exception,
    kind: FailureKind,
    root: BaseException | None,
    exchange: Exchange,
    handled: BaseException | None,
) -> TransportError:
    """Make the error that the client reads, with what the library said and what lies below it."""
    if exchange.phase is Phase.UNSENT and kind in (FailureKind.DISCONNECTED, FailureKind.TIMEOUT):
        kind = FailureKind.CONNECT  # in a handshake or a proxy's tunnel: there was no way to the gateway yet
    said = str(error) or "no further detail"
    reason = f" ({root})" if root is not None and str(root) not in said else ""
    return TransportError(kind, f"{type(error).__name__}: {said}{reason}", scrubbed(error, handled))
