"""The default transport: httpx.

Rules of this module:

- httpx's and httpcore's errors are mapped to a `FailureKind` by the table below, for people to read. What
  may have been sent is not read from them: `_trace` observes it.
- The headers are complete before httpx sees them, and the body is a stream that it has not read: nothing
  that looks at the request on its way, an error's `.request` included, finds the API key lying about.
"""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ssl
import sys
from collections.abc import Mapping
from typing import Final

import httpx

from .._errors import ClientClosed, InvalidConfiguration
from .._results import FailureKind
from ._base import Answer, Exchange, TransportError, chain, scrubbed
from ._ready import ReadyClient
from ._slots import Slots
from ._trace import Watch, WatchedBody

__all__ = ["DEFAULT_LIMITS", "KEEPALIVE_EXPIRY", "HttpxTransport"]

KEEPALIVE_EXPIRY: Final = 4.0
"""Seconds. A connection that is reused just as the server closes it loses an answer, so ours expire first."""

DEFAULT_LIMITS: Final = httpx.Limits(keepalive_expiry=KEEPALIVE_EXPIRY)
"""No bound on idle connections: there are never more than the client's `concurrency` has made."""

# In this order: the first class that fits, from the special to the general (httpx, "Exceptions").
_KINDS: Final[tuple[tuple[type[Exception], FailureKind], ...]] = (
    (httpx.PoolTimeout, FailureKind.POOL),
    (httpx.ConnectTimeout, FailureKind.CONNECT),
    (httpx.ConnectError, FailureKind.CONNECT),
    (httpx.TimeoutException, FailureKind.TIMEOUT),
    (httpx.ProxyError, FailureKind.PROXY),
    (httpx.NetworkError, FailureKind.DISCONNECTED),
    (httpx.RemoteProtocolError, FailureKind.PROTOCOL),
)

# A peer that went away in mid-handshake may be back at the next try. Any other TLS error is about what
# the two sides are, and that does not change by asking again.
_BROKEN_OFF: Final = (
    ssl.SSLEOFError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,  # how a handshake that was waiting for the peer looks when it timed out
    ssl.SSLWantWriteError,
    ssl.SSLZeroReturnError,
)


class HttpxTransport:
    """Exchanges through httpx.

    Args:
        client: A ready client of yours, used as it is (its proxies, TLS settings, hooks, limits) and not
            closed here. Its `max_connections` should be at least the client's `concurrency`.
        limits: Without `client`: the bounds on idle connections. How many are busy, the client's
            `concurrency` bounds, above them.
        verify: Without `client`: the TLS settings; `None` for httpx's own, which honour `SSL_CERT_FILE`.
        proxy: Without `client`: the proxy for all requests; `None` for what the environment names.
        trust_env: Without `client`: whether the environment's proxies and certificates count.

    Raises:
        InvalidConfiguration: `client` was given together with a setting that it decides itself, or a
            value is of the wrong type.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        limits: httpx.Limits = DEFAULT_LIMITS,
        verify: ssl.SSLContext | None = None,
        proxy: httpx.Proxy | httpx.URL | str | None = None,
        trust_env: bool = True,
    ) -> None:
        self._client = client
        if client is None:
            self._connections: Slots | ReadyClient = Slots(
                limits, _ssl_context(verify), _proxy(proxy), trust_env=trust_env
            )
            return
        if not isinstance(client, httpx.AsyncClient):
            raise InvalidConfiguration(
                "client", f"is of type {type(client).__name__}", "an httpx.AsyncClient"
            )
        for setting, given in (
            ("limits", limits is not DEFAULT_LIMITS),
            ("verify", verify is not None),
            ("proxy", proxy is not None),
            ("trust_env", not trust_env),
        ):
            if given:
                raise InvalidConfiguration(
                    setting, "was given beside `client`", "this setting on your httpx client"
                )
        self._connections = ReadyClient(client)

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: httpx.Timeout,
        max_bytes: int,
        exchange: Exchange,
    ) -> Answer:
        """POST once and read the answer; see `Transport.post`."""
        handled = sys.exception()
        watch = Watch(exchange)
        content = WatchedBody(body, watch)
        # An explicit length, or httpx would send a stream in chunks.
        headers = {**headers, "Content-Length": str(len(body))}
        try:
            # A ready client builds the request with its own headers, parameters and cookies.
            build = httpx.Request if self._client is None else self._client.build_request
            request = build("POST", url, headers=headers, content=content, extensions={"trace": watch})
            request.extensions["timeout"] = timeout.as_dict()
            return await self._connections.post(request, watch, exchange, max_bytes)
        except ClientClosed:
            raise
        except Exception as exc:  # noqa: BLE001  # whatever it is, the phase says what it means
            # `from None`: the error's traceback keeps the request's bytes alive and in sight.
            raise _translated(exc, watch, handled) from None

    async def aclose(self) -> None:
        """Close our own connections. A ready client stays open: it is yours."""
        await self._connections.aclose()


def _ssl_context(verify: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if verify is None or isinstance(verify, ssl.SSLContext):
        return verify
    raise InvalidConfiguration("verify", f"is of type {type(verify).__name__}", "an ssl.SSLContext, or None")


def _proxy(proxy: httpx.Proxy | httpx.URL | str | None) -> httpx.Proxy | None:
    if proxy is None or isinstance(proxy, httpx.Proxy):
        return proxy
    try:
        return httpx.Proxy(proxy)
    except (httpx.InvalidURL, ValueError, TypeError):
        # The URL is not shown: it may hold a password.
        raise InvalidConfiguration(
            "proxy", "is not a proxy's URL", "an http://, https:// or socks5:// URL, or an httpx.Proxy"
        ) from None


def _translated(error: Exception, watch: Watch, handled: BaseException | None) -> TransportError:
    kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), FailureKind.UNEXPECTED)
    root = _root_of(error, handled)
    if kind is FailureKind.CONNECT and (watch.in_tls or isinstance(root, ssl.SSLError)):
        refused = isinstance(root, ssl.SSLError) and not isinstance(root, _BROKEN_OFF)
        kind = FailureKind.TLS_REFUSED if refused else FailureKind.TLS
    elif kind is FailureKind.PROTOCOL and root is None:
        kind = FailureKind.DISCONNECTED  # httpcore's own error, made where the peer closed the connection
    said = str(error) or "no further detail"
    reason = f" ({root})" if root is not None and str(root) not in said else ""
    return TransportError(kind, f"{type(error).__name__}: {said}{reason}", scrubbed(error, handled))


def _root_of(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """Find what the operating system, the TLS library or the HTTP parser said, below the wrapping."""
    for below in chain(error, handled):
        if isinstance(below, OSError) and below.errno is not None:  # an ssl.SSLError is an OSError as well
            return below
        if type(below).__module__.startswith("h11."):
            return below
    return None
