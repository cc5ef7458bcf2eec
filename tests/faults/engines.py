"""An engine for httpx and httpx2 that is not httpcore: streams of asyncio, a connection a request, four tries."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any


def retrying_over_streams(library: Any, verify: ssl.SSLContext) -> Any:
    """Make a transport as people write one: it asks again where there was no answer, or a 5xx."""

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
