"""uvicorn, made to live inside somebody else's event loop.

Rules of this module:

- uvicorn is a program: it takes the process's signals, sets up the process's logging, and looks every
  tenth of a second whether to stop. Embedded, it does none of that.
- Only methods that uvicorn's `Server` shows to the outside are overridden.
- Closing ends in a bounded time, whatever the clients do, and leaves no task and no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HANG_UP", "HttpServer"]

HANG_UP: Final = "gateway360.hang_up"
"""The key in a request's `scope["state"]` of what closes its connection, after what was written before."""

_BACKLOG: Final = 2048
_GRACE: Final = 0.2  # seconds that requests in flight have to be answered, when the server closes
_POLL: Final = 0.002  # seconds between two looks whether all is closed
_DATE_EVERY: Final = 1.0  # seconds that the Date header is good for


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        # Switched off here, for our connections: `Config(access_log=False)` takes the handlers off a logger
        # of the process, and an application that runs under uvicorn would lose its own access log.
        self.access_log = False
        self.app_state = {**self.app_state, HANG_UP: transport.close}


class HttpServer(uvicorn.Server):
    """One HTTP server on one socket, in the running event loop.

    Args:
        app: What answers.
        keep_alive: Seconds until an idle connection is closed.
    """

    def __init__(self, app: ASGIApp, *, keep_alive: float) -> None:
        super().__init__(
            uvicorn.Config(
                _Cancellable(app),
                http=_Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                # Handed to `loop.call_later` as it is: a fraction is as good.
                timeout_keep_alive=cast("int", keep_alive),
            )
        )
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket, which belongs to the server from now on. Returns once it listens."""
        self._task = asyncio.get_running_loop().create_task(self._run(listener))
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if self._task.done():
            self._task.result()

    async def aclose(self) -> None:
        """Answer what is in flight, for a short time, and close everything."""
        self._stop.set()
        cancelled: asyncio.CancelledError | None = None
        while self._task is not None and not self._task.done():
            try:
                # A cancellation is kept until all is closed, which does not take long.
                await asyncio.wait((self._task,))
            except asyncio.CancelledError as exc:
                cancelled = exc
        if cancelled is not None:
            raise cancelled

    async def _run(self, listener: socket.socket) -> None:
        with listener:
            try:
                await self.serve(sockets=[listener])
            finally:
                self._ready.set()  # a start that failed must not be waited for

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the application."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        while not self._stop.is_set():
            await self.on_tick(0)  # renews the Date header
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DATE_EVERY):
                    await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First accept no more, and let what was just accepted become a connection: asyncio loses a socket
        # that is on its way from the one to the other when its server closes.
        for listener in sockets or ():
            with contextlib.suppress(NotImplementedError):  # Windows' loop has no readers
                asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(_POLL)
        for server in self.servers:
            server.close()
        connections = cast("set[H11Protocol]", self.server_state.connections)
        tasks = self.server_state.tasks
        for connection in list(connections):
            connection.shutdown()  # closes an idle one; a busy one closes after its answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await _emptied(connections)
        for connection in list(connections):
            connection.transport.abort()
        await _emptied(connections)
        # Without a connection nobody waits for their answers any more.
        for task in list(tasks):
            task.cancel()
        await _emptied(tasks)


class _Cancellable:
    """Ends quietly where it is cancelled: uvicorn would log that as an error of the application.

    Only the closing server cancels an exchange, after it has closed its connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._app(scope, receive, send)


async def _emptied(things: set[H11Protocol] | set[asyncio.Task[None]]) -> None:
    while things:  # noqa: ASYNC110  # uvicorn tells nobody when it takes one out
        await asyncio.sleep(_POLL)
