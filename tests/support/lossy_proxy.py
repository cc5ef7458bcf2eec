"""Stands between a store and its service, on Unix sockets, and loses answers where that is asked for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, closing, suppress


class LossyProxy:
    """Passes bytes on, in a thread. While it loses answers, the service's first byte ends the connection.

    Args:
        path: Where it listens.
        service: The service's socket.
    """

    def __init__(self, path, service):
        self.path, self._service = str(path), str(service)
        self._losing = False

    def __enter__(self):
        started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(started),))
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    @asynccontextmanager
    async def losing(self):
        """Lose the answers of what is asked in this context."""
        self._losing = True
        try:
            yield
        finally:
            self._losing = False

    async def _serve(self, started):
        self._loop, self._ending, self._users = asyncio.get_running_loop(), asyncio.Event(), set()
        server = await asyncio.start_unix_server(self._meet, self.path)
        started.set()
        await self._ending.wait()
        server.close()
        for user in (users := list(self._users)):
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)

    def _meet(self, reader, writer):
        user = asyncio.ensure_future(self._carry(reader, writer))
        self._users.add(user)
        user.add_done_callback(self._users.discard)
        user.add_done_callback(lambda _: writer.close())  # also of one that was cancelled before it began

    async def _carry(self, reader, writer):
        # Ended by either side, or with the proxy: both are the end of a connection, and no error.
        with suppress(OSError, asyncio.CancelledError):
            there, service = await asyncio.open_unix_connection(self._service)
            with closing(service):
                ways = {
                    asyncio.ensure_future(self._pass(reader, service, lossy=False)),
                    asyncio.ensure_future(self._pass(there, writer, lossy=True)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader, writer, *, lossy):
        while body := await reader.read(65536):
            if lossy and self._losing:
                return
            writer.write(body)
            await writer.drain()
