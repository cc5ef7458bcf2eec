"""The fast transport: aiohttp (extra `aiohttp`).

Rules of this module:

- aiohttp alone: no httpx object stands between the request and the wire. The settings are httpx's types,
  so that one set of them serves both transports.
- The phase is observed at the connector: the request's first byte comes after `connect` has given a
  connection (made, through the handshake and a proxy's tunnel, or used again), and never before. A
  `TraceConfig` reports the same moment, at a sixth of a request's cost.
- aiohttp puts a connection away and takes it out again without a look at what has come on it meanwhile. So
  one that is used again is looked at here: whatever was received or waits in its socket (an answer too
  many, the connection's end) was there before the request, and cannot be its answer.
- aiohttp repeats a request by itself only for idempotent methods, which POST is not.
- No cookies, no redirects, no decoding; a body is read to the cap.
- aiohttp has no bound on writing: the deadline bounds it. Its bound on connecting is one for the connection
  and its handshake together.
"""

from __future__ import annotations

import select
import ssl
import sys
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final, cast
from weakref import WeakSet

import aiohttp
import attrs
import httpx
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from .._errors import ClientClosed
from .._results import FailureKind
from ._base import Answer, Exchange, Phase, TransportError
from ._proxies import environment_proxy
from ._shared import DEFAULT_LIMITS, checked_proxy, checked_ssl_context, named, root_of, tls_kind

__all__ = ["AiohttpTransport"]

# In this order: the first class that fits, from the special to the general (aiohttp, "Client exceptions").
_KINDS: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (aiohttp.ClientHttpProxyError, FailureKind.PROXY),
    (aiohttp.ConnectionTimeoutError, FailureKind.CONNECT),
    (aiohttp.ClientConnectorError, FailureKind.CONNECT),
    (aiohttp.ServerTimeoutError, FailureKind.TIMEOUT),
    (aiohttp.ClientConnectionError, FailureKind.DISCONNECTED),
    (aiohttp.ClientResponseError, FailureKind.PROTOCOL),
    (aiohttp.ClientPayloadError, FailureKind.PROTOCOL),
)


class _Body(aiohttp.BytesPayload):
    """A request's body, by which the connector knows whose connection it gives out."""

    def __init__(self, body: bytes, exchange: Exchange) -> None:
        # Made here: aiohttp would look through its registry of payloads for what fits bytes.
        super().__init__(body, content_type="application/json")
        self.exchange: Final = exchange


class _Connector(aiohttp.TCPConnector):
    """Says that the request's first byte is next, on a connection that has nothing to say yet."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)  # pyright: ignore[reportUnknownMemberType]  # an annotation of aiohttp's
        self._used: WeakSet[ResponseHandler | None] = WeakSet()

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> Connection:
        while True:
            connection = await super().connect(req, *args, **kwargs)
            protocol = connection.protocol
            if protocol not in self._used:
                # Not looked at: a new TLS connection has session tickets to read.
                self._used.add(protocol)
                break
            if not _speaks_unasked(connection):
                break
            connection.close()
        cast("_Body", req.body).exchange.phase = Phase.SENT
        return connection


def _speaks_unasked(connection: Connection) -> bool:
    """Whether an idle connection has received anything, or has it waiting in its socket."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return True
    socket = transport.get_extra_info("socket")
    if not hasattr(select, "poll"):  # pragma: no cover  # Windows
        return bool(select.select((socket,), (), (), 0)[0])
    poll = select.poll()  # `select` itself takes no file descriptor above 1023
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


@attrs.frozen(eq=False)
class _Target:
    """Where to post, and by which proxy."""

    url: yarl.URL
    proxy: yarl.URL | None = None
    proxy_headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)


class AiohttpTransport:
    """Exchanges through aiohttp.

    Args:
        limits: `keepalive_expiry` (seconds) bounds how long a connection stays idle. How many there are,
            the client's `concurrency` bounds, above them.
        verify: The TLS settings; `None` for those that httpx makes, which honour `SSL_CERT_FILE`.
        proxy: The proxy for all requests, http:// or https://; `None` for what the environment names.
        trust_env: Whether the environment's proxies and certificates count.

    Raises:
        InvalidConfiguration: A value is of the wrong type.
    """

    def __init__(
        self,
        *,
        limits: httpx.Limits = DEFAULT_LIMITS,
        verify: ssl.SSLContext | None = None,
        proxy: httpx.Proxy | httpx.URL | str | None = None,
        trust_env: bool = True,
    ) -> None:
        self._expiry = limits.keepalive_expiry
        self._verify = checked_ssl_context(verify)
        self._given_proxy = checked_proxy(proxy)
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        # A client posts to two: where PINs are requested, and where they are verified.
        self._targets: dict[str, _Target] = {}
        self._timeout_of: httpx.Timeout | None = None
        self._timeout = aiohttp.ClientTimeout()

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
        if self._closed:
            raise ClientClosed
        handled = sys.exception()
        session = self._session or self._open()
        target = self._targets.get(url) or self._prepared(url)
        if timeout is not self._timeout_of:
            # `connect` is the whole way to a connection, a proxy's tunnel included.
            self._timeout = aiohttp.ClientTimeout(connect=timeout.connect, sock_read=timeout.read)
            self._timeout_of = timeout
        try:
            response = await session.post(
                target.url,
                data=_Body(body, exchange),
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
                proxy=target.proxy,
                proxy_headers=target.proxy_headers,
            )
            return await _read_answer(response, exchange, max_bytes)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the phase says what it means
            # `from None`: the error's traceback keeps the request's bytes alive and in sight.
            raise _translated(exc, exchange, handled) from None

    def _open(self) -> aiohttp.ClientSession:
        verify = self._verify or httpx.create_ssl_context(trust_env=self._trust_env)
        # No limit: the client bounds the exchanges, and a connector that queues would be a second place to wait.
        connector = _Connector(limit=0, ssl=verify, keepalive_timeout=self._expiry)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self._session

    def _prepared(self, url: str) -> _Target:
        """Read a URL, and choose its proxy, once for a client."""
        proxy = self._given_proxy
        if proxy is None and self._trust_env and (named := environment_proxy(httpx.URL(url))) is not None:
            proxy = checked_proxy(named)
        target = _Target(yarl.URL(url, encoded=True))
        if proxy is not None:
            fields = dict(proxy.headers)
            if proxy.auth is not None:
                credentials = b64encode(":".join(proxy.auth).encode()).decode()
                fields["Proxy-Authorization"] = f"Basic {credentials}"
            target = _Target(target.url, yarl.URL(str(proxy.url), encoded=True), fields)
        self._targets[url] = target
        return target

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._session is not None:
            await self._session.close()


async def _read_answer(response: aiohttp.ClientResponse, exchange: Exchange, max_bytes: int) -> Answer:
    exchange.http_status = response.status
    exchange.phase = Phase.ANSWERED
    whole = False
    try:
        content = response.content
        # A short answer comes in one segment, head and body, and waits for nothing.
        body = content.read_nowait(-1)
        while len(body) <= max_bytes and not content.at_eof():
            body += await content.readany()
        whole = len(body) <= max_bytes
    finally:
        if not whole:
            response.close()  # its connection as well: what is left of the answer must not be the next one's
    exchange.answer = Answer(response.status, response.headers, body[: max_bytes + 1])
    return exchange.answer


def _translated(error: Exception, exchange: Exchange, handled: BaseException | None) -> TransportError:
    kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), FailureKind.UNEXPECTED)
    root = root_of(error, handled)
    if exchange.phase is Phase.UNSENT and isinstance(root, ssl.SSLError):
        kind = tls_kind(root)
    return named(error, kind, root, exchange, handled)
