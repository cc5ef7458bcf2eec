"""Make one exchange through a transport, as the client does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx
import httpx2
import pytest

from gateway360_async.transports import (
    Answer,
    DirectTransport,
    Exchange,
    HttpxTransport,
    Transport,
    TransportError,
)

BODY = b'{"api_key":"k3y"}'
HEADERS = {"Content-Type": "application/json"}
OURS = {"direct": DirectTransport, "own": HttpxTransport}
READY = {"ready": httpx, "ready2": httpx2}


async def post(transport: Transport, url: str, exchange: Exchange | None = None, **settings) -> Answer:
    """Post `BODY`, bounded to 5 seconds for each step and to 64 KiB, but for other settings."""
    usual = {"headers": HEADERS, "body": BODY, "timeout": httpx.Timeout(5), "max_bytes": 65536}
    return await transport.post(url, exchange=exchange or Exchange(), **usual | settings)


async def failed_post(
    transport: Transport, url: str, match: str | None = None, **settings
) -> tuple[object, object]:
    """Post, and give the kind of the failure and the phase."""
    exchange = Exchange()
    with pytest.raises(TransportError, match=match) as caught:
        await post(transport, url, exchange, **settings)
    return caught.value.kind, exchange.phase


@contextlib.asynccontextmanager
async def transport_of(mode: str, connections: int = 20, **settings) -> AsyncIterator[Transport]:
    """Make one of `OURS`, with these settings, or one over a ready client, and close it."""
    if mode in OURS:
        transport = OURS[mode](**settings)
        yield transport
        await transport.aclose()
    else:
        library = READY[mode]
        limits = library.Limits(max_connections=connections, keepalive_expiry=4)
        async with library.AsyncClient(limits=limits) as client:
            transport = HttpxTransport(client)
            yield transport
            await transport.aclose()
            assert not client.is_closed
