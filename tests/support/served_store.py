"""A store that other processes share: a `MemoryStore` behind a socket, with the troubles that a service may have."""

from __future__ import annotations

import asyncio
import pickle
import struct
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway360_async.stores import Store, StoreError
from gateway360_async.testing.stores import Memory, MemoryStore


async def receive(reader):
    (size,) = struct.unpack("!I", await reader.readexactly(4))
    return pickle.loads(await reader.readexactly(size))


def send(writer, what):
    body = pickle.dumps(what)
    writer.write(struct.pack("!I", len(body)) + body)


class Server:
    """Serves a memory in a thread, until it is stopped.

    Attributes:
        losing: Whether answers are lost: the step is done, and the connection is closed.
        full: Whether nothing can be claimed.
    """

    def __init__(self, path):
        self.path, self.memory = str(path), Memory()
        self.losing = self.full = False

    def start(self):
        started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(started),))
        self._thread.start()
        assert started.wait(10)

    def stop(self):
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    async def _serve(self, started):
        self._loop, self._stopping, self._users = asyncio.get_running_loop(), asyncio.Event(), set()
        server = await asyncio.start_unix_server(self._meet, self.path)
        started.set()
        await self._stopping.wait()
        server.close()
        for user in (users := list(self._users)):
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)

    def _meet(self, reader, writer):
        user = asyncio.ensure_future(self._serve_user(reader, writer))
        self._users.add(user)
        user.add_done_callback(self._users.discard)
        user.add_done_callback(lambda _: writer.close())  # also of one that was cancelled before it began

    async def _serve_user(self, reader, writer):
        # Ended by the other side, or with the server: both are the end of a connection, and no error.
        with suppress(OSError, EOFError, asyncio.CancelledError):
            await self._answer(reader, writer)

    async def _answer(self, reader, writer):
        namespace, known = await receive(reader)
        store = MemoryStore(self.memory, namespace=namespace)
        store._identity = known
        try:
            store._identity = await store._open(known)
            send(writer, store._identity)
        except StoreError as error:
            send(writer, error)
        while True:
            name, arguments, options = await receive(reader)
            try:
                if self.full and name == "claim":
                    raise StoreError("has no memory left", "more of it", passing=True)
                answer = await getattr(store, name)(*arguments, **options)
            except StoreError as error:
                answer = error
            if self.losing:
                return
            send(writer, answer)


class ServedStore(Store):
    """Asks a `Server`, one question at a time."""

    def __init__(self, path, namespace="gateway360"):
        super().__init__(namespace=namespace)
        self._path = path
        self._writer = None
        self._turn = asyncio.Lock()

    async def _open(self, known):
        if self._writer is not None:
            return known
        async with self._turn:
            return await self._connected(known)

    async def _connected(self, known):
        if self._writer is not None:
            return self._identity
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise StoreError("is away", "a server", passing=True) from error
        self._reader, self._writer = reader, writer
        return await self._asked((self.namespace, known))

    async def _asked(self, question):
        try:
            send(self._writer, question)
            answer = await receive(self._reader)
        except BaseException as error:
            # The answer may still come: it would be taken for the next one's.
            await self._close()
            if isinstance(error, (OSError, EOFError)):
                raise StoreError("is away", "a server", passing=True) from error
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _close(self):
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _ask(self, name, *arguments, **options):
        self._require_owner()
        async with self._turn:
            await self._connected(self._identity)
            return await self._asked((name, arguments, options))

    async def claim(self, claims):
        return await self._ask("claim", claims)

    async def complete(self, completions):
        return await self._ask("complete", completions)

    async def renew(self, claims):
        return await self._ask("renew", claims)

    async def peek(self, records):
        return await self._ask("peek", records)

    async def permits(self, key, count, interval):
        return await self._ask("permits", key, count, interval)

    async def header(self, key, value, *, replace=False):
        return await self._ask("header", key, value, replace=replace)

    async def now(self):
        return await self._ask("now")

    async def check(self):
        return await self._ask("check")

    async def new_epoch(self):
        return await self._ask("new_epoch")


class _Denied(ServedStore):
    """May connect, and nothing else."""

    async def claim(self, claims):
        raise StoreError("refuses a claim", "a user with the right to claim")


class ServedHooks:
    """The hooks of the suite for a `Server` that the test class has as `self.server`."""

    def make_store(self, *, namespace="gateway360"):
        return ServedStore(self.server.path, namespace)

    async def restart(self, *, keep_data):
        self.server.stop()
        Path(self.server.path).unlink(missing_ok=True)
        if not keep_data:
            self.server.memory.clear()
        self.server.start()

    @asynccontextmanager
    async def lose_answers(self):
        self.server.losing = True
        try:
            yield
        finally:
            self.server.losing = False

    async def fill(self):
        self.server.full = True

    async def make_room(self):
        self.server.full = False

    async def deny(self):
        return _Denied(self.server.path)
