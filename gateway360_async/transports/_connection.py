"""One HTTP/1.1 connection: an `asyncio.Protocol` that every byte passes.

Invariants:

- A request is `SENT` from the moment of its write; before, it is `UNSENT`.
- A byte that no request is waiting for closes the connection. One whose answer did not end cleanly is not used
  again: it holds a surplus byte, a part of a TLS record, or a rest of the request.
- The transport's buffer holds nothing that the kernel has not refused (`set_write_buffer_limits(0)`), so that
  `pause_writing` means "the request is not written whole", and `resume_writing` "it is".
- An answer that comes before the request is written whole counts once the rest is written, unless HTTP itself
  says that the request was refused (RFC 9110, sections 15.4 and 15.5).
"""

from __future__ import annotations

import asyncio
import math
import re
import select
import ssl
from typing import TYPE_CHECKING, Any, Final, cast

from .._config import httpx
from .._redaction import SecretBytes
from .._results import FailureKind
from ._base import Answer, Exchange, Phase, TransportError, scrubbed
from ._http1 import AnswerReader, HttpParserError

if TYPE_CHECKING:
    from ._direct import ConnectionPool, Target
    from ._tls import TlsStream

__all__ = ["Connection"]

_KEEP_ALIVE_TIMEOUT: Final = re.compile(r"\btimeout=(\d{1,6})\b", re.IGNORECASE)


class Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange at a time, plain or over TLS.

    Attributes:
        ready: Done once the connection can carry a request, with `None`, or cannot, with the error.
        is_connected: Whether only TLS can be in the way of its first request.
        exchange: The exchange under way.
        expires: The end of the present wait, on the event loop's clock: an idle connection's, or for the peer.
        keep_alive: Seconds for which the server says that it keeps an idle connection.
    """

    def __init__(
        self, pool: ConnectionPool, target: Target, loop: asyncio.AbstractEventLoop, tls: TlsStream | None
    ) -> None:
        self._pool = pool
        self.target = target
        self._loop = loop
        self._tls = tls
        self._transport = cast("asyncio.Transport", None)  # until it is connected
        self._poll: Any = None
        self._reader = AnswerReader()
        self.exchange: Exchange | None = None
        self._result: asyncio.Future[Answer] | None = None
        self._timeouts: tuple[float | None, float | None] = (None, None)
        self._unwritten = self._answered_early = self.is_connected = False
        self.expires = self.keep_alive = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self.ready: asyncio.Future[Exception | None] = loop.create_future()

    # --- The owner's side

    def can_be_used(self, *, again: bool) -> bool:
        """Whether the connection is open, and nothing has come on it, by a look at its socket.

        Over TLS a new connection's socket is not asked: a server may send session tickets (RFC 8446, 4.6.1).
        """
        if self._transport.is_closing() or self._loop.time() >= self.expires:
            return False
        if self._tls is not None and not (again and self._tls.between_records):
            return not again
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select((self._transport.get_extra_info("socket"),), (), (), 0)[0]  # Windows

    def send(
        self, exchange: Exchange, head: bytes, body: bytes, timeout: httpx.Timeout, max_bytes: int
    ) -> asyncio.Future[Answer]:
        """Write a request, in one piece, and give the answer to be, or its `TransportError`.

        `head` ends before the value of `Content-Length`; the others are as in `Transport.post`.
        """
        self.exchange = exchange
        result = self._result = self._loop.create_future()
        self._timeouts = timeout.read, timeout.write
        self._reader.max_bytes = max_bytes
        request = SecretBytes(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        exchange.phase = Phase.SENT
        try:
            self._transport.write(request if self._tls is None else self._tls.encrypt(request))
        except ssl.SSLError as exc:
            self._fail(FailureKind.DISCONNECTED, "the TLS connection is broken", exc)
        self.wait(self._timeouts[self._unwritten])
        return result

    def wait(self, seconds: float | None) -> None:
        """Begin a wait for the peer, or for another exchange; `None`: it has no end."""
        self.expires = math.inf if seconds is None else self._loop.time() + seconds
        if self.expires < self._timer_at:
            self._set_timer(self.expires)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._expire, context=self._pool.context)

    def _expire(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._loop.time() < self.expires:  # another wait has begun since the timer was set
            if self.expires < math.inf:
                self._set_timer(self.expires)
        elif self.exchange is None:
            self.close()
        else:
            problem = "the request was not written" if self._unwritten else "nothing more was received"
            self._fail(FailureKind.TIMEOUT, f"{problem} within {self._timeouts[self._unwritten]:g} s")

    def close(self) -> None:
        """Close the connection, and tell the peer of it where that needs no waiting."""
        transport = self._transport
        if not self.is_connected or transport.is_closing():
            self.abort()
            return
        if self._tls is not None and self._tls.established:
            transport.write(self._tls.close())
        if self.exchange is not None or transport.get_write_buffer_size():
            self.abort()
        else:
            transport.close()

    def abort(self) -> None:
        """Close the connection at once, and end its exchange without an answer."""
        self._fail(FailureKind.DISCONNECTED, "the transport was closed")

    # --- The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self.is_connected = True
        if hasattr(select, "poll"):
            self._poll = select.poll()  # `select` itself takes no file descriptor above 1023
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        if self._tls is None:
            self._become_ready(None)
        else:
            self._received_tls(self._tls, b"")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint is no bound
        return self._pool.buffer

    def buffer_updated(self, nbytes: int) -> None:
        received = self._pool.buffer[:nbytes]
        data = bytes(received)
        received[:] = bytes(nbytes)  # an answer may quote the request
        if self._tls is None:
            self._received(data)
        else:
            self._received_tls(self._tls, data)

    def eof_received(self) -> None:
        self._ended(clean=self._tls is None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = -math.inf
        self._pool.lost(self)
        self._become_ready(exc or ConnectionError("the peer closed the connection in the TLS handshake"))
        self._fail(FailureKind.DISCONNECTED, "the connection was lost", exc)

    def pause_writing(self) -> None:
        self._unwritten = True  # the kernel has not taken all

    def resume_writing(self) -> None:
        self._unwritten = False
        if self._answered_early:
            self._finish(reusable=False)
        else:
            self.wait(self._timeouts[0])

    # --- Within

    def _become_ready(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_result(error)

    def _received_tls(self, tls: TlsStream, data: bytes) -> None:
        plain = tls.receive(data)
        output = tls.output()
        if output:
            self._transport.write(output)  # of the handshake, a new key, or an alert, which says why
        if tls.established:
            self._become_ready(None)
        if plain:
            self._received(plain)
        if tls.broken is not None:
            self._fail(FailureKind.DISCONNECTED, "the TLS connection is broken", tls.broken)
        elif tls.closed_by_peer:
            self._ended(clean=True)

    def _received(self, data: bytes) -> None:
        exchange, reader = self.exchange, self._reader
        if exchange is None:
            self.abort()  # nothing was asked
            return
        if self._answered_early:
            return  # surplus, on a connection that is not used again
        surplus, error = True, None
        try:
            surplus = reader.feed(data)
        except HttpParserError as exc:
            error = exc
        if reader.status:
            exchange.http_status = reader.status
            exchange.phase = Phase.ANSWERED
        if error is not None:
            self._fail(FailureKind.PROTOCOL, "the answer is no HTTP/1.1", error)
        elif not reader.complete:
            self.wait(self._timeouts[0])
        elif self._unwritten and not 300 <= reader.status < 500:
            self._answered_early = True
            self.wait(self._timeouts[1])
        else:
            self._finish(reusable=reader.reusable and not surplus and not self._unwritten)

    def _ended(self, *, clean: bool) -> None:
        if self.exchange is None:
            self.close()
        elif clean and not self._answered_early and self._reader.end():
            self._finish(reusable=False)
        else:
            self._fail(FailureKind.DISCONNECTED, "the peer closed the connection before its answer was whole")

    def _finish(self, *, reusable: bool) -> None:
        reader, exchange, result = self._reader, self.exchange, self._result
        self.exchange = self._result = None
        self._answered_early = False
        answer = Answer(reader.status, reader.headers, reader.body)
        cast("Exchange", exchange).answer = answer
        reader.reset()  # an idle connection holds nothing of an answer, which may quote the request
        if reusable and (self._tls is None or self._tls.between_records):
            said = answer.headers.get("keep-alive")
            if said is not None:
                found = _KEEP_ALIVE_TIMEOUT.search(said)
                self.keep_alive = int(found[1]) if found else math.inf
            self._pool.released(self)
        else:
            self.close()
        if result is not None and not result.done():
            result.set_result(answer)

    def _fail(self, kind: FailureKind, detail: str, cause: Exception | None = None) -> None:
        self._become_ready(cause or ConnectionAbortedError(detail))
        result, self._result, self.exchange = self._result, None, None
        self._reader.reset()
        if result is not None and not result.done():
            if cause is not None:
                detail = f"{detail}: {type(cause).__name__}: {cause}" if str(cause) else detail
                scrubbed(cause, None)
            result.set_exception(TransportError(kind, detail, cause))
        if self.is_connected:
            self._transport.abort()
