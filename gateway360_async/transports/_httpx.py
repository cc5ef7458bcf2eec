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
from ._base import Answer, Exchange, TransportError
from ._ready import ReadyClient
from ._shared import DEFAULT_LIMITS, checked_proxy, checked_ssl_context, named, root_of, tls_kind
from ._slots import Slots
from ._trace import Watch, WatchedBody

__all__ = ["HttpxTransport"]

# In this order: the first class that fits, from the special to the general (httpx, "Exceptions").
_KINDS: Final[tuple[tuple[type[Exception], FailureKind], ...]] = (
    (httpx.PoolTimeout, FailureKind.POOL),
    (httpx.ConnectTimeout, FailureKind.CONNECT),
    (httpx.ConnectError, FailureKind.CONNECT),
    (httpx.TimeoutException, FailureKind.TIMEOUT),
    (httpx.ProxyError, FailureKind.PROXY),
    (httpx.NetworkError, FailureKind.DISCONNECTED),
    (httpx.RemoteProtocolError, FailureKind.PROTOCOL),
    # As it is, from the TLS library: an alert after the handshake, which nothing between maps.
    (ssl.SSLError, FailureKind.DISCONNECTED),
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
        # By URL: the headers that it was made from, it, and the headers. A client posts to two.
        self._prepared: dict[str, tuple[Mapping[str, str], httpx.URL, list[tuple[bytes, bytes]]]] = {}
        if client is None:
            self._connections: Slots | ReadyClient = Slots(
                limits, checked_ssl_context(verify), checked_proxy(proxy), trust_env=trust_env
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
        try:
            request = self._build(url, headers, WatchedBody(body, watch), len(body))
            request.extensions = {"timeout": timeout.as_dict()}
            return await self._connections.post(request, watch, exchange, max_bytes)
        except ClientClosed:
            raise
        except Exception as exc:  # noqa: BLE001  # whatever it is, the phase says what it means
            # `from None`: the error's traceback keeps the request's bytes alive and in sight.
            raise _translated(exc, watch, exchange, handled) from None

    def _build(self, url: str, headers: Mapping[str, str], body: WatchedBody, length: int) -> httpx.Request:
        # An explicit length, or httpx would send a stream in chunks.
        if self._client is not None:
            # With the client's own headers, parameters and cookies.
            headers = {**headers, "Content-Length": str(length)}
            return self._client.build_request("POST", url, headers=headers, content=body)
        prepared = self._prepared.get(url)
        if prepared is None or prepared[0] != headers:
            # Once for a client: reading the URL and encoding the headers takes longer than all the rest.
            target = httpx.URL(url)
            fields = [(b"Host", target.netloc), *httpx.Headers(headers).raw]
            prepared = self._prepared[url] = (headers, target, fields)
        _, target, fields = prepared
        return httpx.Request(
            "POST", target, headers=[*fields, (b"Content-Length", b"%d" % length)], stream=body
        )

    async def aclose(self) -> None:
        """Close our own connections. A ready client stays open: it is yours."""
        await self._connections.aclose()


def _translated(
    error: Exception, watch: Watch, exchange: Exchange, handled: BaseException | None
) -> TransportError:
    kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), FailureKind.UNEXPECTED)
    root = root_of(error, handled)
    if kind is FailureKind.CONNECT and (watch.in_tls or isinstance(root, ssl.SSLError)):
        kind = tls_kind(root)
    elif kind is FailureKind.PROTOCOL and root is None:
        kind = FailureKind.DISCONNECTED  # httpcore's own error, made where the peer closed the connection
    return named(error, kind, root, exchange, handled)
