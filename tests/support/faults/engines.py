"""Engines for httpx and httpx2 as people write them."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any


def retrying_over_streams(library: Any, verify: ssl.SSLContext) -> Any:
    """Make a transport that is not httpcore: streams of asyncio, a connection a request.

    It asks again where there was no answer, or a 5xx, up to four times.
    """

    class Retrying(library.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            for _ in range(3):
                try:
                    response = await exchange(request)
                except library.TransportError:
                    continue
                if response.status_code < 500:
                    return response
            return await exchange(request)

    async def exchange(request: Any) -> Any:
        url = request.url
        try:
            reader, writer = await asyncio.open_connection(
                url.host, url.port, ssl=verify if url.scheme == "https" else None
            )
        except OSError as exc:
            raise library.ConnectError(str(exc)) from exc
        try:
            fields = b"".join(b"%b: %b\r\n" % field for field in request.headers.raw)
            writer.write(b"POST %b HTTP/1.1\r\n%b\r\n" % (url.raw_path, fields))
            async for piece in request.stream:
                writer.write(piece)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return library.Response(int(head[9:12]), content=await reader.readexactly(length))
        except (OSError, EOFError) as exc:
            raise library.ReadError(str(exc)) from exc
        finally:
            writer.transport.abort()

    return Retrying()


def over_wrapped_streams(library: Any, verify: ssl.SSLContext) -> Any:
    """Make httpx's own transport over a network backend of the user's, whose streams look like no others."""
    transport = library.AsyncHTTPTransport(verify=verify)
    pool = transport._pool
    core: Any = sys.modules[type(pool).__module__.partition(".")[0]]

    class Stream(core.AsyncNetworkStream):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return await self.inner.read(max_bytes, timeout)

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            await self.inner.write(buffer, timeout)

        async def aclose(self) -> None:
            await self.inner.aclose()

        async def start_tls(self, *arguments: Any, **settings: Any) -> Any:
            return Stream(await self.inner.start_tls(*arguments, **settings))

        def get_extra_info(self, info: str) -> Any:
            return self.inner.get_extra_info(info)

    class Backend(core.AsyncNetworkBackend):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def connect_tcp(self, *arguments: Any, **settings: Any) -> Any:
            return Stream(await self.inner.connect_tcp(*arguments, **settings))

    pool._network_backend = Backend(pool._network_backend)
    return transport
