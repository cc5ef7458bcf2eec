"""The faults, and the server that makes them.

Rules of this module:

- A server serves one logical call and counts every POST of it that it read to the last byte, before it does
  anything else. What the fault is, is settled by then: it depends on no contender.
- "Refused" is real: the port is bound and nobody listens, until `listen` is called.
- Over TLS a FIN comes after TLS's own farewell, as from any server that closes in good order. A RST is one
  on the wire there too, though Python's `ssl` may show it to the client as an end of the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Final

import attrs

__all__ = ["FAULTS", "HOST", "Fault", "Faulty"]

HOST: Final = "127.0.0.1"

# One answer that every contender's parser takes for a success: ours reads `status`, Twilio and Infobip their
# ids, Stainless's whatever there is, Vonage `request_id`, Sinch `id`.
_ACCEPTED: Final = {
    "status": "ok",
    "id": "01FC66621XXXXX119Z8PMV1QPQ",
    "sid": "VE00000000000000000000000000000000",
    "request_id": "c11236f4-00bf-4b89-84ba-88b25df97315",
    "pinId": "9C817C6F8AF3D48F9FE553282AFA2B67",
    "data": {"id": "12ade33a-21c0-473b-b055-b3c836e1c292"},
}


def _answer(status: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


_OK: Final = _answer("200 OK", json.dumps(_ACCEPTED).encode())
_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_TOO_MANY: Final = _answer("429 Too Many Requests")


@attrs.frozen
class Fault:
    """What happens to a POST that was read whole.

    Args:
        name: A short name, for the results.
        title: A column's head.
        answers: What is written, one after the other and the last for ever; `None`: nothing is.
        ends: Whether the connection is closed after it (`"fin"`), or reset (`"rst"`).
        repeatable: Whether a second POST is right, for the first was certainly not taken.
        refused: Whether nothing listens at first.
    """

    name: str
    title: str
    answers: tuple[bytes | None, ...] = (None,)
    ends: str | None = None
    repeatable: bool = False
    refused: bool = False


FAULTS: Final = (
    Fault("silence", "answer never comes"),
    Fault("rst", "RST after the request", ends="rst"),
    Fault("fin", "FIN after the request", ends="fin"),
    Fault("half", "FIN in mid-answer", (_OK[:-40],), ends="fin"),
    Fault("500", "500", (_answer("500 Internal Server Error", b"oops", "text/plain"),)),
    Fault("502", "502, HTML", (_answer("502 Bad Gateway", _HTML, "text/html"),)),
    Fault("503", "503", (_answer("503 Service Unavailable"),)),
    Fault("429-ok", "429, then ok", (_TOO_MANY, _OK), repeatable=True),
    Fault("refused-ok", "refused, then ok", (_OK,), repeatable=True, refused=True),
    Fault("ok", "ok", (_OK,)),
)


class Faulty:
    """One server with one fault, for one logical call."""

    def __init__(self, fault: Fault, tls: ssl.SSLContext | None) -> None:
        self.fault = fault
        self.posts = 0
        self._tls = tls
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{HOST}:{self._socket.getsockname()[1]}"
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Begin to accept connections."""
        self._server = await asyncio.start_server(self._accepted, sock=self._socket, ssl=self._tls)

    async def aclose(self) -> None:
        """Accept nothing more, and drop every connection."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        while self._serving:
            for task in self._serving:
                task.cancel()
            await asyncio.wait(self._serving)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would show its cancellation as an error.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.is_closing():
                    await _read_request(reader)
                    self.posts += 1
                    await self._misbehave(reader, writer)
        finally:
            writer.transport.abort()

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = self.fault.answers
        answer = answers[min(self.posts, len(answers)) - 1]
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        if self.fault.ends is not None:
            _ENDS[self.fault.ends](writer)
            await writer.wait_closed()
        elif answer is None:
            await reader.read()  # until the client has had enough


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    await reader.readexactly(int(fields[b"content-length"]))


def _fin(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _rst(writer: asyncio.StreamWriter) -> None:
    plain: socket.socket = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


_ENDS: Final[dict[str, Callable[[asyncio.StreamWriter], None]]] = {"fin": _fin, "rst": _rst}
