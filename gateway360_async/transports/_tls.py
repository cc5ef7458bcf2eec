"""TLS over bytes in memory, and the certificates that the environment names; no network I/O.

Invariant: it is known at each moment whether the stream stands at the end of a record (RFC 8446, section 5.1).
asyncio's own TLS hides a part of a record, which may be a surplus answer's, and would become the next answer.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path
from typing import Final

from .._results import FailureKind
from ._base import TransportError

__all__ = ["TlsStream", "ssl_context"]

_HEADER_BYTES: Final = 5
_RECORD_BYTES: Final = 16 * 1024
"""Plain bytes in a record at most."""


def ssl_context() -> ssl.SSLContext:
    """Make the TLS settings, with the environment's certificates, or certifi's.

    Raises:
        TransportError: A variable names no certificates. The error names variable and path; it is final.
    """
    variable, wanted = "SSL_CERT_FILE", "PEM file"
    if not os.environ.get(variable):
        variable, wanted = "SSL_CERT_DIR", "folder"
    path = os.environ.get(variable)
    try:
        if not path:
            import certifi  # noqa: PLC0415  # with the first connection over TLS

            return ssl.create_default_context(cafile=certifi.where())
        if variable == "SSL_CERT_FILE":
            return ssl.create_default_context(cafile=path)
        if not any(Path(part).is_dir() for part in path.split(os.pathsep)):
            raise FileNotFoundError(2, "No such folder")  # OpenSSL does not complain of it
        return ssl.create_default_context(capath=path)
    except OSError as exc:  # an ssl.SSLError is one: the file is empty, or holds something else
        problem = f"no certificates can be read from {path!r}, which {variable} names: {exc.strerror or exc}"
        raise TransportError(FailureKind.TLS_REFUSED, f"{problem}. Name a {wanted}, or unset it") from None


class TlsStream:
    """One connection's TLS, as a client of a host that its certificate must name.

    Attributes:
        established: Whether the handshake is over.
        closed_by_peer: Whether the peer has said that nothing follows (`close_notify`).
        broken: Why nothing more can be read; `None`: it can.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._header = b""
        self._record_left = 0
        self.established = False
        self.closed_by_peer = False
        self.broken: ssl.SSLError | None = None

    @property
    def between_records(self) -> bool:
        """Whether nothing of a further record has come."""
        return not self._record_left and not self._header

    def receive(self, data: bytes) -> bytes:
        """Take in bytes, and give the plain ones; `b""` begins the handshake.

        Afterwards `output` gives the bytes to be written because of it, and `broken` says whether it failed.
        """
        self._count(data)
        self._incoming.write(data)
        pieces: list[bytes] = []
        try:
            if not self.established:
                self._ssl.do_handshake()
                self.established = True
            while self._incoming.pending or self._ssl.pending():
                piece = self._ssl.read(_RECORD_BYTES)
                if not piece:
                    self.closed_by_peer = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            self.broken = exc
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _count(self, data: bytes) -> None:
        """Follow the records: five bytes, whose last two say how many follow."""
        position, size = 0, len(data)
        while position < size:
            if self._record_left:
                step = min(self._record_left, size - position)
                self._record_left -= step
            else:
                step = min(_HEADER_BYTES - len(self._header), size - position)
                self._header += data[position : position + step]
                if len(self._header) == _HEADER_BYTES:
                    self._record_left = int.from_bytes(self._header[3:])
                    self._header = b""
            position += step

    def encrypt(self, data: bytes) -> bytes:
        """Give the bytes that carry plain ones; `ssl.SSLError`: the connection is broken."""
        view = memoryview(data)
        while view:
            view = view[self._ssl.write(view) :]
        return self._outgoing.read()

    def output(self) -> bytes:
        """Give the bytes of TLS itself to be written: of the handshake, an alert, a new key."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """Give the bytes that tell the peer that nothing follows."""
        with contextlib.suppress(ssl.SSLError):  # it would wait for the peer's word
            self._ssl.unwrap()
        return self._outgoing.read()
