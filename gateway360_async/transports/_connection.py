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

from .._redaction import SecretBytes
from .._results import FailureKind
from ._base import Answer, Exchange, Phase, TransportError, scrubbed
from ._http1 import AnswerReader, HttpParserError

if TYPE_CHECKING:
    from ._pool import ConnectionPool
    from ._tls import TlsStream

__all__ = ["Connection"]

_KEEP_ALIVE_TIMEOUT: Final = re.compile(r"\btimeout=(\d{1,6})\b", re.IGNORECASE)


class Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange at a time.

    Args:
        pool: Its owner.
        loop: The event loop.
        tls: Its TLS; `None`: plain.

    Attributes:
        ready: Done once the connection can carry a request.
        expires: When the present wait is over, on the event loop's clock: an idle connection's, or for the peer.
        keep_alive: Seconds for which the server says that it keeps an idle connection; infinity: it says nothing.
    """

    __slots__ = (
        "_answered_early",
        "_exchange",
        "_loop",
        "_poll",
        "_pool",
        "_reader",
        "_result",
        "_timeouts",
        "_tls",
        "_transport",
        "_unwritten",
        "expires",
        "keep_alive",
        "ready",
    )

    def __init__(self, pool: ConnectionPool, loop: asyncio.AbstractEventLoop, tls: TlsStream | None) -> None:
        self._pool = pool
        self._loop = loop
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._poll: Any = None
        self._reader = AnswerReader()
        self._exchange: Exchange | None = None
        self._result: asyncio.Future[Answer] | None = None
        self._timeouts: tuple[float, float] = (math.inf, math.inf)
        self._unwritten = False
        self._answered_early = False
        self.expires = math.inf
        self.keep_alive = math.inf
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ready.add_done_callback(_retrieve)

    # --- The owner's side

    @property
    def is_connected(self) -> bool:
        """Whether it has been connected, so that a trouble is one of the TLS handshake."""
        return self._transport is not None

    def is_untouched(self) -> bool:
        """Whether a new connection is still open, and nothing has come on it before its first request.

        Over TLS its socket is not asked: a server may send session tickets (RFC 8446, section 4.6.1).
        """
        if self._tls is None:
            return self.can_be_used_again()
        return not cast("asyncio.Transport", self._transport).is_closing()

    def can_be_used_again(self) -> bool:
        """Whether nothing has come on an idle connection, by a look at its socket that does not wait."""
        transport = cast("asyncio.Transport", self._transport)
        if transport.is_closing() or self._loop.time() >= self.expires:
            return False
        if self._tls is not None and not self._tls.between_records:
            return False
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select((transport.get_extra_info("socket"),), (), (), 0)[0]  # Windows

    def send(
        self,
        exchange: Exchange,
        head: bytes,
        body: bytes,
        *,
        max_bytes: int,
        read_timeout: float,
        write_timeout: float,
    ) -> asyncio.Future[Answer]:
        """Write a request, in one piece, and expect its answer.

        Args:
            exchange: Where to report the phase.
            head: The request's head, up to the value of `Content-Length`.
            body: The request's body.
            max_bytes: Bytes of the answer's body at most.
            read_timeout: Seconds to wait for each part of the answer.
            write_timeout: Seconds to wait for the kernel to take the request.

        Returns:
            The answer to be; it raises `TransportError`.
        """
        self._exchange = exchange
        result = self._result = self._loop.create_future()
        self._timeouts = read_timeout, write_timeout
        self._reader.max_bytes = max_bytes
        request = SecretBytes(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        exchange.phase = Phase.SENT
        self._write(request)
        self.wait(write_timeout if self._unwritten else read_timeout)
        return result

    def give_up(self, exchange: Exchange) -> None:
        """Close the connection if it still serves this exchange."""
        if self._exchange is exchange:
            self.abort()

    def wait(self, seconds: float) -> None:
        """Begin a wait that ends in `expire`."""
        self.expires = self._loop.time() + seconds
        self._pool.watch(self)

    def expire(self) -> None:
        """End the present wait: its time is over."""
        if self._exchange is None:
            self.close()
            return
        what = "the request was not written" if self._unwritten else "nothing more was received"
        seconds = self._timeouts[self._unwritten]
        self._fail(FailureKind.TIMEOUT, f"{what} within {seconds:g} s")

    def close(self) -> None:
        """Close the connection, and tell the peer of it where that needs no waiting."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self.abort()
            return
        if self._tls is not None and self._tls.established:
            transport.write(self._tls.close())
        if self._exchange is not None or transport.get_write_buffer_size():
            self.abort()
        else:
            transport.close()

    def abort(self) -> None:
        """Close the connection at once. An exchange that it serves has no answer."""
        if not self.ready.done():
            self.ready.set_exception(ConnectionAbortedError("the connection was closed before it was ready"))
        self._fail(FailureKind.DISCONNECTED, "the transport was closed")

    # --- The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with a TLS handshake where there is one."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        if hasattr(select, "poll"):
            self._poll = select.poll()  # `select` itself takes no file descriptor above 1023
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        if self._tls is None:
            self._established()
        else:
            self._decrypt(b"")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint is no bound
        """Say where the bytes that have come are put."""
        return self._pool.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what the peer sends."""
        received = self._pool.buffer[:nbytes]
        data = bytes(received)
        received[:] = bytes(nbytes)  # an answer may quote the request
        if self._tls is not None:
            data = self._decrypt(data)
            if data:
                self._received(data)
            if self._tls.broken is not None:
                self._fail(FailureKind.DISCONNECTED, "the TLS connection is broken", self._tls.broken)
            elif self._tls.closed_by_peer:
                self._ended(clean=True)
        else:
            self._received(data)

    def eof_received(self) -> None:
        """Take in the end of what the peer sends."""
        self._ended(clean=self._tls is None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._pool.lost(self)
        if not self.ready.done():
            self.ready.set_exception(
                exc or ConnectionError("the peer closed the connection in the TLS handshake")
            )
        self._fail(FailureKind.DISCONNECTED, "the connection was lost", exc)

    def pause_writing(self) -> None:
        """Note that the kernel has not taken all."""
        self._unwritten = True

    def resume_writing(self) -> None:
        """Note that the kernel has taken all."""
        self._unwritten = False
        if self._answered_early:
            self._finish(reusable=False)
        else:
            self.wait(self._timeouts[0])

    # --- Within

    def _established(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def _write(self, request: SecretBytes) -> None:
        transport = cast("asyncio.Transport", self._transport)
        if self._tls is None:
            transport.write(request)
            return
        try:
            transport.write(self._tls.encrypt(request))
        except ssl.SSLError as exc:
            self._fail(FailureKind.DISCONNECTED, "the TLS connection is broken", exc)

    def _decrypt(self, data: bytes) -> bytes:
        """Take in bytes of the TLS connection, answer those that ask for it, and give the plain ones."""
        tls, transport = cast("TlsStream", self._tls), cast("asyncio.Transport", self._transport)
        try:
            plain = tls.receive(data)
        except ssl.SSLError as exc:
            transport.write(tls.output())  # an alert, which says why
            if not self.ready.done():
                self.ready.set_exception(exc)
            self._fail(FailureKind.DISCONNECTED, "the TLS connection is broken", exc)
            transport.abort()
            return b""
        output = tls.output()
        if output:
            transport.write(output)
        if tls.established:
            self._established()
        return plain

    def _received(self, data: bytes) -> None:
        exchange, reader = self._exchange, self._reader
        if exchange is None:
            self.abort()  # nothing was asked
            return
        if self._answered_early:
            return  # surplus, on a connection that is not used again
        try:
            surplus = reader.feed(data)
        except HttpParserError as exc:
            self._report_head(exchange)
            self._fail(FailureKind.PROTOCOL, "the answer is no HTTP/1.1", exc)
            return
        self._report_head(exchange)
        if not reader.complete:
            self.wait(self._timeouts[0])
        elif self._unwritten and not 300 <= reader.status < 500:
            self._answered_early = True
            self.wait(self._timeouts[1])
        else:
            self._finish(reusable=reader.reusable and not surplus and not self._unwritten)

    def _report_head(self, exchange: Exchange) -> None:
        if self._reader.status:
            exchange.http_status = self._reader.status
            exchange.phase = Phase.ANSWERED

    def _ended(self, *, clean: bool) -> None:
        if self._exchange is None:
            self.close()
        elif clean and not self._answered_early and self._reader.end():
            self._finish(reusable=False)
        else:
            self._fail(FailureKind.DISCONNECTED, "the peer closed the connection before its answer was whole")

    def _finish(self, *, reusable: bool) -> None:
        """Give out the answer, and keep the connection or close it."""
        reader, exchange, result = self._reader, self._exchange, self._result
        self._exchange = self._result = None
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
        """Say of the exchange under way that it has no answer, and close the connection."""
        result, self._result, self._exchange = self._result, None, None
        self._reader.reset()
        if result is not None and not result.done():
            if cause is not None:
                detail = f"{detail}: {type(cause).__name__}: {cause}" if str(cause) else detail
                scrubbed(cause, None)
            result.set_exception(TransportError(kind, detail, cause))
        if self._transport is not None:
            self._transport.abort()


def _retrieve(ready: asyncio.Future[None]) -> None:
    """Look at the error of a handshake that no call waits for any more, or asyncio complains of it."""
    if not ready.cancelled():  # its call was cancelled
        ready.exception()
