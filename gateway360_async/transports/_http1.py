"""Read HTTP/1.1 answers from bytes; no I/O.

Invariants:

- The parser (llhttp) is never fed past the end of an answer, where it would swallow a line end, and begin the next
  answer. A head is fed up to its empty line, a body of known length up to that length, and chunks line by line, for
  their end is a line's end. A byte that is left over is surplus.
- Whether the end of a connection is the end of an answer is decided here (RFC 9112, section 6.3).
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

__all__ = ["MAX_HEAD_BYTES", "AnswerReader", "HttpParserError"]

MAX_HEAD_BYTES: Final = 100 * 1024
"""Bytes of an answer's head at most, as in h11."""


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    Attributes:
        status: The status code, once the head is read; else 0.
        headers: The head's fields by their names in lower case. Lines of one name are one list (RFC 9110, 5.3).
        complete: Whether the answer was read to its end, or to the cap.
        max_bytes: Bytes of the body to read at most. A longer one is cut to one byte more.
        reusable: Whether the connection may carry another request, by the answer's own word.
    """

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self.max_bytes = 0
        self.reset()

    def reset(self) -> None:
        """Forget the answer that was read, and expect another."""
        self.complete = self.reusable = self._by_lines = False
        self.status = self._head_bytes = self._size = 0
        self.headers: dict[str, str] = {}
        self._in_head = True
        self._left: int | None = None
        self._body: list[bytes] = []

    @property
    def body(self) -> bytes:
        """The body so far, cut to one byte more than the cap."""
        pieces = self._body
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return whole if len(whole) <= self.max_bytes else whole[: self.max_bytes + 1]

    def feed(self, data: bytes) -> bool:
        """Take in bytes of the answer.

        Returns:
            Whether there were bytes after its end.

        Raises:
            HttpParserError: They are no HTTP answer, or its head is too long.
        """
        start, size = 0, len(data)
        while start < size and not self.complete:
            if self._in_head and not self._head_bytes:
                # Nearly always the whole head has come, with no line end that could hide where it ends.
                stop = data.find(b"\r\n\r\n", start) + 4
                if stop < 4 or data.count(b"\n", start, stop) != data.count(b"\r\n", start, stop):
                    stop = data.find(b"\n", start) + 1 or size
            elif self._in_head or self._by_lines:
                stop = data.find(b"\n", start) + 1 or size
            elif self._left is None:
                stop = size
            else:
                stop = min(size, start + self._left)
                self._left -= stop - start
            self._feed(data[start:stop])
            start = stop
        return start < size

    def _feed(self, piece: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(piece)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise HttpParserError(f"the head is longer than {MAX_HEAD_BYTES} bytes")
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self.complete, self.reusable = True, False  # 101: an answer, after which no HTTP follows

    def end(self) -> bool:
        """Take in the clean end of the connection, and say whether it ends an answer."""
        if not self._in_head and not self._by_lines and self._left is None:
            self.complete = True
        return self.complete

    # The parser's callbacks, by the names that it looks for.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer's fields are left out
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.status = self._parser.get_status_code()
        self.reusable = self._parser.should_keep_alive()
        self._by_lines = "transfer-encoding" in self.headers
        if not self._by_lines and "content-length" in self.headers:
            self._left = int(self.headers["content-length"])

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)
        self._size += len(piece)
        if self._size > self.max_bytes:
            self.complete, self.reusable = True, False

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200 and self.status != 101:
            self.reset()  # an interim answer, which another follows (RFC 9110, section 15.2)
        else:
            self.complete = True
