"""Exchanges through httpx, or httpx2: proxies, HTTP/2, a ready client with its hooks and settings.

Invariants:

- Errors are mapped to a `FailureKind` by the table below, for people to read. Whether the request may have been
  sent is not read from them: `_one_shot` observes it.
- The headers are complete before httpx sees them, and the body is a stream that it has not read: an error's
  `.request` does not show the API key.
- httpx's pool loses a slot for good where a call is cancelled between two of its steps (httpcore 1.0.9: before a
  connection or a request starts, and while a finished connection is put away). So an exchange runs in a task of
  its own, and is cancelled where httpcore cleans up after itself: inside a step that its trace reports.
"""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from .._aio import shield_until_done
from .._config import httpx, httpx_library
from .._exceptions import ClientClosed, InvalidConfiguration, wrong_setting
from .._results import FailureKind
from ._base import (
    Answer,
    Exchange,
    Phase,
    TransportError,
    checked_limits,
    checked_ssl_context,
    failure_of,
    root_of,
    scrubbed,
    tls_kind,
)
from ._environment import ENGINES, environment_proxy, intercepted_by, read_proxy
from ._one_shot import ExchangeTrace, one_shot_request, read_answer, send_once
from ._tls import ssl_context

__all__ = ["HttpxTransport"]

# In this order: the first class that fits, from the special to the general (httpx, "Exceptions").
_KINDS: Final = (
    ("PoolTimeout", FailureKind.POOL),
    ("ConnectTimeout", FailureKind.CONNECT),
    ("ConnectError", FailureKind.CONNECT),
    ("TimeoutException", FailureKind.TIMEOUT),
    ("ProxyError", FailureKind.PROXY),
    ("NetworkError", FailureKind.DISCONNECTED),
    ("RemoteProtocolError", FailureKind.PROTOCOL),
)

_PASSES: Final = 16
"""Passes of the event loop that are enough to go from one step of httpcore to the next (it takes 3)."""

_CLEAN_UP: Final = 1.0
"""Seconds to wait at most for httpcore to put a cancelled exchange away."""


class HttpxTransport:
    """Exchanges through httpx or httpx2.

    Args:
        client: A ready `httpx.AsyncClient` or `httpx2.AsyncClient` of yours, used as it is (its proxies, TLS
            settings, hooks, limits) and not closed here. Its `max_connections` should be at least the client's
            `concurrency`. `None`: a client of httpx is made, and closed, here.
        verify: Without `client`: the TLS settings; `None`: certifi's certificates, or those of the environment.
        proxy: Without `client`: the proxy for all requests; `None`: the environment's.
        trust_env: Without `client`: whether the environment's proxies and `SSL_CERT_FILE` count.
        limits: Without `client`: the bounds on idle connections. How many are busy, the client's `concurrency`
            bounds, above them.

    Raises:
        InvalidConfiguration: `client` was given together with a setting that it decides itself, or a
            value is of the wrong type.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        verify: ssl.SSLContext | None = None,
        proxy: httpx.Proxy | httpx.URL | str | None = None,
        trust_env: bool = True,
        limits: httpx.Limits | None = None,
    ) -> None:
        library = httpx if client is None else httpx_library(client)
        if library is None:
            raise wrong_setting("client", client, "an httpx.AsyncClient or httpx2.AsyncClient")
        self._library: ModuleType = library
        self._given = client
        self._client: Any = client
        self._closed = False
        self._verify = checked_ssl_context(verify)
        read = read_proxy(proxy)
        del proxy  # a traceback does not show its password
        if isinstance(read, InvalidConfiguration):
            raise read
        self._proxy = read
        self._trust_env = trust_env
        self._limits = checked_limits(limits)
        settings = {
            "limits": limits,
            "verify": verify,
            "proxy": read,
            "trust_env": None if trust_env else False,
        }
        for setting, given in settings.items():
            if client is not None and given is not None:
                raise InvalidConfiguration(
                    setting, "was given beside `client`", "this setting on your httpx client"
                )

    @classmethod
    def of(cls, library: ModuleType, limits: httpx.Limits) -> HttpxTransport:
        """Make one over a client of its own, of httpx or httpx2."""
        transport = cls(limits=limits)
        transport._library = library
        return transport

    def __repr__(self) -> str:
        return f"HttpxTransport({self._library.__name__}.AsyncClient)" if self._given else "HttpxTransport()"

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
        client = self._client or self._open(url)
        library = self._library
        engine = ENGINES[library.__name__]
        pool = _pool_of(library, client, url)
        trace = ExchangeTrace(
            exchange,
            # Certainly httpcore as it is, which reports each step.
            engine_reports=type(pool).__module__.startswith("httpcore") and intercepted_by(engine) is None,
            hooks_known=intercepted_by(library.__name__, engine) is None,
        )
        try:
            # An explicit length, or httpx would send a stream in chunks.
            fields = {**headers, "Content-Length": str(len(body))}
            # A hook or an authentication flow that reads the answer gives its connection back to the pool, before it
            # is looked at here.
            may_be_read = client.event_hooks["response"] or getattr(
                client.auth, "requires_response_body", False
            )
            if may_be_read and not getattr(pool, "_http2", True):
                fields["Connection"] = "close"
            request = client.build_request("POST", url, headers=fields, content=_no_body())
            request = one_shot_request(library, request, body, trace)
            request.extensions |= {"timeout": timeout.as_dict(), "trace": trace}
            outcome = await _cancellable(_exchange(client, request, exchange, max_bytes), trace)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the phase says what it means
            outcome = exc
        finally:
            trace.forget()
        if isinstance(outcome, Exception):
            # `from None`: the error's traceback keeps the request's bytes alive and in sight.
            raise _translated(outcome, library, trace, exchange, handled) from None
        return outcome

    def _open(self, url: str) -> Any:
        from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415  # for httpx alone

        proxy, verify = self._proxy, self._verify
        if self._trust_env:
            proxy, verify = proxy or environment_proxy(url), verify or ssl_context()
        library = self._library
        self._client = library.AsyncClient(
            verify=verify or httpx.create_ssl_context(trust_env=False),
            proxy=proxy,
            trust_env=False,  # the proxy is read above
            limits=library.Limits(
                max_keepalive_connections=self._limits.max_keepalive_connections,
                keepalive_expiry=self._limits.keepalive_expiry,
            ),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        return self._client

    async def aclose(self) -> None:
        """Close our own connections. A ready client stays open: it is yours."""
        self._closed = True
        if self._given is None and self._client is not None:
            await self._client.aclose()


async def _no_body() -> Any:
    """Stand for the body while the client builds the request, so that it reads none."""
    yield b""  # pragma: no cover


def _pool_of(library: ModuleType, client: Any, url: str) -> Any:
    """Find the pool that a client posts through, by private names; `None`: it cannot be found."""
    try:
        transport = client._transport_for_url(library.URL(url))  # noqa: SLF001
        return transport._pool if type(transport) is library.AsyncHTTPTransport else None  # noqa: SLF001
    except AttributeError:
        return None


async def _exchange(client: Any, request: Any, exchange: Exchange, max_bytes: int) -> Answer | Exception:
    """Send, and read the answer. An error is returned: raised, it is an event to what watches tasks."""
    try:
        return await read_answer(await send_once(client, request), exchange, max_bytes)
    except Exception as exc:  # noqa: BLE001
        return exc


async def _cancellable(exchange: Any, trace: ExchangeTrace) -> Answer | Exception:
    """Run an exchange in a task of its own, and end it where that costs its client no slot."""
    loop = asyncio.get_running_loop()
    task: asyncio.Task[Answer | Exception] = loop.create_task(exchange)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        trace.stop = asyncio.CancelledError()
        ending = loop.create_task(_end(task, trace))
        await shield_until_done(ending)
        ending.result()
        raise
    return task.result()


async def _end(task: asyncio.Task[Answer | Exception], trace: ExchangeTrace) -> None:
    """Cancel an exchange where httpcore cleans up after itself."""
    for _ in range(_PASSES):
        if task.done() or trace.interruptible or trace.closing:
            break
        await asyncio.sleep(0)
    if not trace.closing:
        task.cancel()
    await asyncio.wait((task,), timeout=_CLEAN_UP)
    task.cancel()
    if not task.done() or task.cancelled() or isinstance(task.result(), Exception):
        await trace.close_stream()


def _translated(
    error: Exception,
    library: ModuleType,
    trace: ExchangeTrace,
    exchange: Exchange,
    handled: BaseException | None,
) -> TransportError:
    if isinstance(error, TransportError):
        scrubbed(error, handled)
        return error
    kind = next(
        (kind for name, kind in _KINDS if isinstance(error, getattr(library, name))), FailureKind.UNEXPECTED
    )
    root = root_of(error, handled)
    if isinstance(error, ssl.SSLError):
        kind = FailureKind.DISCONNECTED  # an alert after the handshake, which nothing between maps
    elif kind is FailureKind.CONNECT and (trace.in_tls or isinstance(root, ssl.SSLError)):
        kind = tls_kind(root)
    elif kind is FailureKind.PROTOCOL and root is None:
        kind = FailureKind.DISCONNECTED  # httpcore's own error, made where the peer closed the connection
    if exchange.phase is Phase.UNSENT and kind in (FailureKind.DISCONNECTED, FailureKind.TIMEOUT):
        kind = FailureKind.CONNECT  # in a handshake or a proxy's tunnel: there was no way to the gateway yet
    return failure_of(error, kind, root, handled)
