"""TLS over bytes in memory (`ssl.MemoryBIO`), and the certificates that the environment names; no network I/O.

Why not asyncio's own TLS: it keeps what it has received and not yet decrypted to itself, and a part of an
answer too many that waits there would become the next request's answer. Here it is known at each moment whether
the stream stands at the end of a record (RFC 8446, section 5.1).
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
    """Make the TLS settings: certifi's certificates, or those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names.

    Raises:
        TransportError: A variable names no certificates. The error names variable and path; it is final.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    variable, path, wanted = (
        ("SSL_CERT_FILE", file, "PEM file") if file else ("SSL_CERT_DIR", folder, "folder")
    )
    try:
        if file:
            return ssl.create_default_context(cafile=file)
        if folder:
            if not any(Path(part).is_dir() for part in folder.split(os.pathsep)):
                raise FileNotFoundError(2, "No such folder")  # OpenSSL says nothing of it
            return ssl.create_default_context(capath=folder)
        import certifi  # noqa: PLC0415  # with the first connection over TLS

        return ssl.create_default_context(cafile=certifi.where())
    except OSError as exc:  # an ssl.SSLError is one: the file is empty, or holds something else
        problem = f"no certificates can be read from {path!r}, which {variable} names: {exc.strerror or exc}"
        raise TransportError(FailureKind.TLS_REFUSED, f"{problem}. Name a {wanted}, or unset it") from None


class TlsStream:
    """One connection's TLS, as a client.

    Args:
        context: The TLS settings.
        host: The name that the peer's certificate must be for.

    Attributes:
        established: Whether the handshake is over.
        closed_by_peer: Whether the peer has said that nothing follows (`close_notify`).
        broken: The error behind bytes that came with it and are whole; else `None`.
    """

    __slots__ = (
        "_header",
        "_incoming",
        "_outgoing",
        "_record_left",
        "_ssl",
        "broken",
        "closed_by_peer",
        "established",
    )

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
        """Take in bytes of the connection, and give the plain ones; `b""` begins the handshake.

        Whatever is to be written because of it, `output` gives, also after an error.

        Raises:
            ssl.SSLError: The handshake failed, or the bytes are no TLS.
        """
        self._count(data)
        self._incoming.write(data)
        if not self.established:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.established = True
        pieces: list[bytes] = []
        while self._incoming.pending or self._ssl.pending():
            try:
                piece = self._ssl.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as exc:
                if not pieces:
                    raise
                self.broken = exc
                break
            if not piece:
                self.closed_by_peer = True
                break
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _count(self, data: bytes) -> None:
        """Follow the records: five bytes, the last two of which say how many follow."""
        position, size = 0, len(data)
        while position < size:
            if not self._record_left:
                missing = _HEADER_BYTES - len(self._header)
                self._header += data[position : position + missing]
                position += missing
                if len(self._header) < _HEADER_BYTES:
                    return
                self._record_left = int.from_bytes(self._header[3:])
                self._header = b""
            step = min(self._record_left, size - position)
            self._record_left -= step
            position += step

    def encrypt(self, data: bytes) -> bytes:
        """Give the bytes that carry plain ones.

        Raises:
            ssl.SSLError: The connection is broken.
        """
        view = memoryview(data)
        while view:
            view = view[self._ssl.write(view) :]
        return self._outgoing.read()

    def output(self) -> bytes:
        """Give the bytes to be written that are not the caller's: of the handshake, an alert, a new key."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """Give the bytes that tell the peer that nothing follows."""
        with contextlib.suppress(ssl.SSLError):  # it would wait for the peer's word
            self._ssl.unwrap()
        return self._outgoing.read()
