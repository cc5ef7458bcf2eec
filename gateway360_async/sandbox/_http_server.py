"""uvicorn's HTTP, in the running event loop of another program.

- uvicorn's own server takes the process's signals and logging, and looks every tenth of a second whether to stop. Here
  its protocol is served without it.
- Closing ends in a bounded time, whatever the clients do, and leaves no task and no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection
from email.utils import formatdate
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .._aio import shield_until_done

__all__ = ["HANG_UP", "HttpServer"]

HANG_UP: Final = "gateway360.hang_up"
"""The key in a request's `scope["state"]` of a callable that closes its connection, after all that was written."""

_BACKLOG: Final = 2048
_GRACE: Final = 0.2  # seconds that requests in flight have to be answered, when the server closes
_POLL: Final = 0.002  # seconds between two looks whether all is closed


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        # Switched off here, for our connections: `Config(access_log=False)` takes the handlers off a logger
        # of the process, and an application that runs under uvicorn would lose its own access log.
        self.access_log = False
        self.app_state = {HANG_UP: transport.close}

    def data_received(self, data: bytes) -> None:
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        super().data_received(data)


class HttpServer:
    """One HTTP server on one socket, in the running event loop.

    Args:
        app: The ASGI application.
        keep_alive: Seconds until an idle connection is closed.
    """

    def __init__(self, app: ASGIApp, *, keep_alive: float) -> None:
        async def cancellable(scope: Scope, receive: Receive, send: Send) -> None:
            # uvicorn would log a cancellation as an error of the application. Only the closing server cancels an
            # exchange, after it has closed its connection.
            with contextlib.suppress(asyncio.CancelledError):
                await app(scope, receive, send)

        self._config = uvicorn.Config(
            cancellable,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            # Handed to `loop.call_later` as it is: a fraction is as good.
            timeout_keep_alive=cast("int", keep_alive),
        )
        self.server_state: Final = ServerState()
        self._server: asyncio.Server | None = None
        self._closing: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket, which the server owns now, and return once it listens."""
        try:
            self._config.load()
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Protocol(self._config, self.server_state, {}),
                sock=listener,
                backlog=_BACKLOG,
                start_serving=False,  # a start that is cancelled leaves nothing behind
            )
            await self._server.start_serving()
        except BaseException:
            await self.aclose()
            listener.close()
            raise

    async def aclose(self) -> None:
        """Answer the requests in flight, for a short time, and close everything."""
        if self._server is None:
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._server))
        # A cancellation is kept until all is closed, which does not take long.
        if cancelled := await shield_until_done(self._closing):
            raise cancelled

    async def _close(self, server: asyncio.Server) -> None:
        # First accept no more, and let a socket that was just accepted become a connection: asyncio loses it on the
        # way from the one to the other when its server closes.
        for listener in server.sockets:
            with contextlib.suppress(NotImplementedError):  # Windows' loop has no readers
                asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(_POLL)
        server.close()
        connections = cast("set[H11Protocol]", self.server_state.connections)
        for connection in list(connections):
            connection.shutdown()  # closes an idle one; a busy one closes after its answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await _emptied(connections)
        for connection in list(connections):
            connection.transport.abort()
        await _emptied(connections)
        # Without a connection, no client waits for their answers any more.
        for task in list(self.server_state.tasks):
            task.cancel()
        await _emptied(self.server_state.tasks)


async def _emptied(things: Collection[object]) -> None:
    while things:  # noqa: ASYNC110  # uvicorn does not tell when it takes one out
        await asyncio.sleep(_POLL)
