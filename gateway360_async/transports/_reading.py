"""Read an httpx answer to its end, or to the cap, without decoding it; drop a connection that is not clean."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

from ._base import Answer, Exchange, Phase

__all__ = ["read_answer", "was_spoken_on"]

_LAYERS: Final = 8
"""Wrappers between an httpx answer and its connection; there are five."""


async def read_answer(response: Any, exchange: Exchange, max_bytes: int) -> Answer:
    """Read the answer whose headers have just arrived, and give its connection back or drop it.

    The body is taken as it came off the wire: httpx would unfold a compressed one without a bound, and
    would keep however much there is.
    """
    exchange.http_status = response.status_code
    exchange.phase = Phase.ANSWERED
    try:
        body = await _read_raw(response, max_bytes)
        headers: dict[str, str] = {}
        # From the raw fields: httpx's own mapping finds out an encoding, and decodes anew at each look.
        for raw_name, raw_value in response.headers.raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            # A field on several lines is one list (RFC 9110, section 5.3): no line hides another.
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        exchange.answer = Answer(response.status_code, headers, body)
        stream = response.extensions.get("network_stream")
        if stream is not None and not _is_clean(response, stream):
            await stream.aclose()
    finally:
        # An answer that was not read to its end leaves its connection unusable; httpcore closes it here.
        await response.aclose()
    return exchange.answer


def _is_clean(response: Any, network_stream: Any) -> bool:
    """Whether nothing has come after the answer, as far as that can be proven.

    httpcore notices bytes that wait in the socket before it uses a connection again, but not those that were
    read already: in h11's buffer, in a TLS layer, in anyio's queue. They would become the answer to the next
    request. No public name leads there, so where a private one is missing the connection counts as not clean.
    """
    if response.extensions.get("http_version") == b"HTTP/2":
        return True  # its answers name their requests
    parser = _parser_of(response.stream)
    if parser is None or parser.trailing_data[0]:
        return False
    try:
        return not _holds_bytes(network_stream)
    except AttributeError:
        return False


def was_spoken_on(network_stream: Any) -> bool:
    """Whether a new connection was closed or written on by its peer, as far as that can be seen.

    Over TLS 1.3 it cannot: there may be session tickets (RFC 8446, section 4.6.1).
    """
    tls = network_stream.get_extra_info("ssl_object")
    if tls is not None and tls.version() == "TLSv1.3":
        return False
    try:
        return bool(network_stream.get_extra_info("is_readable")) or _holds_bytes(network_stream)
    except AttributeError:
        return False


def _holds_bytes(network_stream: Any) -> bool:
    """Whether bytes wait between the socket and httpcore, by private names."""
    layer = network_stream._stream  # noqa: SLF001  # anyio's, in httpcore's
    while hasattr(layer, "_ssl_object"):
        # Its last read ended with the answer's own record, so a further one, or a part of it, waits here.
        if layer._read_bio.pending or layer._ssl_object.pending():  # noqa: SLF001
            return True
        layer = layer.transport_stream
    return bool(layer._protocol.read_queue)  # noqa: SLF001


def _parser_of(stream: object) -> Any:
    holder = stream
    for _ in range(_LAYERS):
        parser = getattr(holder, "_h11_state", None)
        if parser is not None:
            return parser
        for name in ("_stream", "_httpcore_stream", "_connection"):
            inner: object = getattr(holder, name, None)
            if inner is not None:
                holder = inner
                break
    return None


async def _read_raw(response: Any, max_bytes: int) -> bytes:
    if response.is_stream_consumed:
        # Read before by an event hook of the user's client, or made in memory by a mock transport.
        whole = cast("bytes", response.content)
        return bytes(whole[: max_bytes + 1])
    chunks = aiter(response.stream)
    body = b""
    chunk: bytes
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            # Left in the middle, the generator would be closed by the garbage collector, some time.
            await cast("AsyncGenerator[bytes, None]", chunks).aclose()
            return body[: max_bytes + 1]
    return body
