"""Read an httpx answer to its end, or to the cap, without decoding it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, cast

import httpx

from ._base import Answer, Exchange, Phase

__all__ = ["read_answer"]


_LAYERS: Final = 8
"""Wrappers between an httpx answer and its connection; there are five."""


async def read_answer(response: httpx.Response, exchange: Exchange, max_bytes: int) -> Answer:
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
        if _has_surplus(response):
            await response.extensions["network_stream"].aclose()
    finally:
        # An answer that was not read to its end leaves its connection unusable; httpcore closes it here.
        await response.aclose()
    return exchange.answer


def _has_surplus(response: httpx.Response) -> bool:
    """Whether more came with the answer than the answer.

    httpcore notices bytes that wait in the socket before it uses a connection again, but not those that it
    has read already: they stay in h11's buffer, and would become the answer to the next request. What the
    parser has left over only the parser knows, so this looks into it: no public name leads there, and a
    test on real sockets notices if the way has changed.
    """
    holder: object = response.stream
    for _ in range(_LAYERS):
        parser = getattr(holder, "_h11_state", None)
        if parser is not None:
            return bool(parser.trailing_data[0])
        for name in ("_stream", "_httpcore_stream", "_connection"):
            inner: object = getattr(holder, name, None)
            if inner is not None:
                holder = inner
                break
    return False


async def _read_raw(response: httpx.Response, max_bytes: int) -> bytes:
    if response.is_stream_consumed:
        # Read before by an event hook of the user's client, or made in memory by a mock transport.
        return response.content[: max_bytes + 1]
    chunks = aiter(cast("httpx.AsyncByteStream", response.stream))  # httpx itself has checked it
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            # Left in the middle, the generator would be closed by the garbage collector, some time.
            await cast("AsyncGenerator[bytes, None]", chunks).aclose()
            return body[: max_bytes + 1]
    return body
