"""Read an httpx answer to its end, or to the cap, without decoding it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import cast

import httpx

from ._base import Answer, Exchange, Phase

__all__ = ["read_answer"]


async def read_answer(response: httpx.Response, exchange: Exchange, max_bytes: int) -> Answer:
    """Read the answer whose headers have just arrived, and give its connection back or drop it.

    The body is taken as it came off the wire: httpx would unfold a compressed one without a bound, and
    would keep however much there is.
    """
    exchange.http_status = response.status_code
    exchange.phase = Phase.ANSWERED
    try:
        body = await _read_raw(response, max_bytes)
    finally:
        # An answer that was not read to its end leaves its connection unusable; httpcore closes it here.
        await response.aclose()
    return Answer(response.status_code, response.headers, body)


async def _read_raw(response: httpx.Response, max_bytes: int) -> bytes:
    with contextlib.suppress(httpx.ResponseNotRead):
        # Read before by an event hook of the user's client, or made in memory by a mock transport.
        return response.content[: max_bytes + 1]
    stream = cast("httpx.AsyncByteStream", response.stream)  # httpx itself has checked it
    body = bytearray()
    async with contextlib.aclosing(_iterate(stream)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                del body[max_bytes + 1 :]
                break
    return bytes(body)


async def _iterate(stream: httpx.AsyncByteStream) -> AsyncGenerator[bytes, None]:
    async for chunk in stream:
        yield chunk
