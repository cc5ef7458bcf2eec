"""Read HTTP/1.1 answers from bytes; no I/O.

Invariants:

- The parser (llhttp, by `httptools`) is never fed past the end of an answer: it would swallow a line end there
  without a word, and begin to read the next answer. So a head is fed up to its empty line, a body of known length
  up to that length, and chunks line by line, for their end is a line's end. A byte that is left over is surplus.
- The parser has no call for the end of the stream: whether the end of a connection is the end of an answer is
  decided here (RFC 9112, section 6.3).
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

__all__ = ["MAX_HEAD_BYTES", "AnswerReader", "HttpParserError"]

MAX_HEAD_BYTES: Final = 100 * 1024
"""Bytes of an answer's head at most, as in h11."""

_HEAD_END: Final = b"\r\n\r\n"


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    Attributes:
        status: The status code, once the head is read; else 0.
        headers: The head's fields by their names in lower case. Lines of one name are one list (RFC 9110, 5.3).
        complete: Whether the answer was read to its end, or to the cap.
        max_bytes: Bytes of the body to read at most. A longer one is cut to one byte more.
        reusable: Whether the connection may carry another request, by the answer's own word.
    """

    __slots__ = (
        "_body",
        "_by_lines",
        "_head_bytes",
        "_in_head",
        "_left",
        "_parser",
        "_size",
        "complete",
        "headers",
        "max_bytes",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self.max_bytes = 0
        self.reset()

    def reset(self) -> None:
        """Forget the answer that was read, and expect another."""
        self.complete = False
        self._begin_head()

    def _begin_head(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reusable = False
        self._in_head = True
        self._head_bytes = 0
        self._by_lines = False
        self._left: int | None = None
        self._body: list[bytes] = []
        self._size = 0

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
        if self._in_head and not self._head_bytes:
            # Nearly always: the whole head, and the whole body of known length, in one piece.
            end = data.find(_HEAD_END) + 4
            if end > 3 and data.count(b"\n", 0, end) == data.count(b"\r\n", 0, end):
                self._feed(data[:end])
                return self._feed_pieces(data, end)
        return self._feed_pieces(data, 0)

    def _feed_pieces(self, data: bytes, start: int) -> bool:
        size = len(data)
        while start < size and not self.complete:
            if self._in_head or self._by_lines:
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
        """Take in the clean end of the connection.

        Returns:
            Whether it is the end of an answer as well.
        """
        if self._in_head or self._by_lines or self._left is not None:
            return self.complete
        self.complete = True
        return True

    # The parser's callbacks, by the names that it looks for.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a field of the head; those of a trailer are left out."""
        if not self._in_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Decide how the body ends."""
        self._in_head = False
        self.status = self._parser.get_status_code()
        self.reusable = self._parser.should_keep_alive()
        if "transfer-encoding" in self.headers:
            self._by_lines = True
        elif "content-length" in self.headers:
            self._left = int(self.headers["content-length"])

    def on_body(self, piece: bytes) -> None:
        """Take in bytes of the body, up to the cap."""
        self._body.append(piece)
        self._size += len(piece)
        if self._size > self.max_bytes:
            self.complete, self.reusable = True, False

    def on_message_complete(self) -> None:
        """Note the end of the answer, or of an interim one, which another follows (RFC 9110, 15.2)."""
        if 100 <= self.status < 200 and self.status != 101:
            self._begin_head()
        else:
            self.complete = True
