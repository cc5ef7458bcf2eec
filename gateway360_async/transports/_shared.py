"""What the adapters share: their settings, and how they name a failure."""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ssl
from typing import Final

from .._config import httpx, is_made_by_httpx
from .._exceptions import InvalidConfiguration
from .._results import FailureKind
from ._base import chain

__all__ = [
    "KEEPALIVE_EXPIRY",
    "SPOKEN_ON",
    "checked_limits",
    "checked_ssl_context",
    "described",
    "root_of",
    "tls_kind",
]

KEEPALIVE_EXPIRY: Final = 4.0
"""Seconds. A connection that is reused just as the server closes it loses an answer, so ours expire first."""

SPOKEN_ON: Final = "the peer closed the connection, or spoke, before the request"

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


def checked_limits(limits: httpx.Limits | None) -> httpx.Limits:
    """Check the setting `limits`, which httpx2 spells as httpx does; `None`: as many idle ones as there were busy."""
    if limits is None:
        return httpx.Limits(keepalive_expiry=KEEPALIVE_EXPIRY)
    if is_made_by_httpx("Limits", limits):
        return limits
    raise InvalidConfiguration("limits", f"is of type {type(limits).__name__}", "an httpx.Limits")


def tls_kind(root: BaseException | None) -> FailureKind:
    """Say whether a handshake that failed may succeed the next time."""
    refused = isinstance(root, ssl.SSLError) and not isinstance(root, _BROKEN_OFF)
    return FailureKind.TLS_REFUSED if refused else FailureKind.TLS


def root_of(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """Find the error of the operating system, the TLS library or the HTTP parser, below the wrapping."""
    for below in chain(error, handled):
        if isinstance(below, OSError) and below.errno is not None:  # an ssl.SSLError is an OSError as well
            return below
        if type(below).__module__.startswith("h11."):
            return below
    return None


def described(error: BaseException, root: BaseException | None) -> str:
    """Describe an error, and the one below it where the first leaves it out."""
    said = str(error) or "no further detail"
    reason = f" ({root})" if root is not None and str(root) not in said else ""
    return f"{type(error).__name__}: {said}{reason}"
