"""Connections of our own: an httpx transport with a single connection a slot.

Why not httpx's pool: on every request and every answer it walks all its connections and all its waiting
requests, so its cost is quadratic in the work it is given. And it loses a slot for good where a call is
cancelled between two of its steps. A slot holds at most one connection, so there is nothing to walk, and a
slot whose exchange did not end cleanly is thrown away whole, in whatever state it is.

Rules of this module:

- A slot serves one exchange at a time. The client bounds how many there are; nothing here queues.
- Idle slots are a stack: the connection used last is used next, so that the surplus ones grow old, and
  a timer closes them.
- The slots share one `SSLContext`: loading the trust store takes longer than a handshake.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs
import httpx

from .._errors import ClientClosed
from ._base import Answer, Exchange
from ._proxies import environment_proxy
from ._reading import read_answer
from ._trace import Watch

if TYPE_CHECKING:
    from ._connection import OneConnectionTransport

__all__ = ["Slots"]

_NOBODY: Final = Watch(Exchange())
"""What watches a connection between two exchanges, when nothing happens on it."""


@attrs.define(eq=False)
class _Slot:
    transport: httpx.AsyncHTTPTransport
    direct: OneConnectionTransport | None = None
    """The same transport, where there is no proxy between."""
    idle_since: float = 0.0


class Slots:
    """The connections of one client, to one base URL.

    Args:
        limits: `max_keepalive_connections` and `keepalive_expiry` (seconds) bound the idle connections.
        verify: The TLS settings; `None` for httpx's own.
        proxy: The proxy; `None` for the environment's.
        trust_env: Whether the environment's proxies and `SSL_CERT_FILE` count.
    """

    def __init__(
        self,
        limits: httpx.Limits,
        verify: ssl.SSLContext | None,
        proxy: httpx.Proxy | None,
        *,
        trust_env: bool,
    ) -> None:
        self._max_idle = limits.max_keepalive_connections
        self._expiry = limits.keepalive_expiry
        self._verify = verify
        self._proxy = proxy
        self._trust_env = trust_env
        self._idle: deque[_Slot] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(self, request: httpx.Request, watch: Watch, exchange: Exchange, max_bytes: int) -> Answer:
        """Send a request on the slot used last, or on a new one, and read its answer."""
        if self._closed:
            raise ClientClosed
        slot = self._idle.pop() if self._idle else self._open(request.url)
        if slot.direct is not None:
            slot.direct.watched_by(watch)
        else:
            request.extensions["trace"] = watch
        try:
            response = await slot.transport.handle_async_request(request)
            answer = await read_answer(response, exchange, max_bytes)
        except BaseException:
            self._discard(slot, watch)
            raise
        self._put_back(slot)
        return answer

    def _open(self, url: httpx.URL) -> _Slot:
        if self._verify is None:
            self._verify = httpx.create_ssl_context(trust_env=self._trust_env)
        proxy: httpx.Proxy | str | None = self._proxy
        if proxy is None and self._trust_env:
            proxy = environment_proxy(url)
        if proxy is None:
            # Here, and not above: httpx imports httpcore with its first transport, and so do we.
            from ._connection import OneConnectionTransport  # noqa: PLC0415

            direct = OneConnectionTransport(self._verify, self._expiry)
            return _Slot(direct, direct)
        # To a proxy the way is longer (a tunnel, a handshake inside it, SOCKS), and httpx's own pool knows it.
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=self._expiry)
        return _Slot(
            httpx.AsyncHTTPTransport(verify=self._verify, trust_env=self._trust_env, limits=one, proxy=proxy)
        )

    def _put_back(self, slot: _Slot) -> None:
        if self._closed or (self._max_idle is not None and len(self._idle) >= self._max_idle):
            self._discard(slot)
            return
        if slot.direct is not None:
            slot.direct.watched_by(_NOBODY)  # or it would hold on to its last answer, which may quote the key
        loop = asyncio.get_running_loop()
        slot.idle_since = loop.time()
        self._idle.append(slot)
        if self._reaper is None and self._expiry is not None:
            self._reaper = loop.call_later(self._expiry, self._reap, loop)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for too long, and come back when the next one will have been."""
        self._reaper = None
        expiry = 0.0 if self._expiry is None else self._expiry
        while self._idle and self._idle[0].idle_since + expiry <= loop.time():
            self._discard(self._idle.popleft())
        if self._idle:
            self._reaper = loop.call_at(self._idle[0].idle_since + expiry, self._reap, loop)

    def _discard(self, slot: _Slot, watch: Watch | None = None) -> None:
        # In a task of its own: whoever discards may be in the middle of a cancellation, and a second one
        # must not leave the socket open.
        task = asyncio.get_running_loop().create_task(_close(slot, watch))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close every connection, and wait until all are closed."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        while self._idle:
            self._discard(self._idle.popleft())
        if self._closing:
            await asyncio.wait(self._closing)


async def _close(slot: _Slot, watch: Watch | None) -> None:
    try:
        await slot.transport.aclose()
    finally:
        if watch is not None:
            await watch.close_stream()
