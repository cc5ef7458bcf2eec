"""Where rows play whose request is not sent: ports that refuse, stall, break off or speak first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from certificates import asking_for_a_certificate, client_context, handshake, server_context
from loopback import OK, Behaviour, Received, Server, free_port, linger_none, status
from rows_surplus import http
from scenes import Scene, Setting


def scheme(layer: str) -> str:
    return "http" if layer == "plain" else "https"


@contextlib.asynccontextmanager
async def no_name(layer: str) -> AsyncIterator[Scene]:
    """The resolver is the machine's, and no test's to break: the one thing here that is stood in for."""

    async def try_again(*args: object, **kwargs: object) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    loop = asyncio.get_running_loop()
    original = loop.getaddrinfo
    loop.getaddrinfo = try_again  # type: ignore[method-assign]
    try:
        yield Scene(f"{scheme(layer)}://gateway.test", settings={"allow_insecure": True})
    finally:
        loop.getaddrinfo = original  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def nobody_listens(layer: str) -> AsyncIterator[Scene]:
    yield Scene(f"{scheme(layer)}://127.0.0.1:{free_port()}")


@contextlib.asynccontextmanager
async def full_backlog(layer: str) -> AsyncIterator[Scene]:
    """A queue of one that nobody accepts from: the kernel drops every further SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"{scheme(layer)}://127.0.0.1:{listener.getsockname()[1]}"
        yield Scene(url, settings={"timeout": httpx.Timeout(10, connect=1, read=1, pool=None)})


def at_once(behave: Callable[[socket.socket], object]) -> Setting:
    """A port whose server does so in the pass of the event loop in which the kernel has a connection.

    So it has happened before the client can have sent anything, as it may on another machine.
    """

    @contextlib.asynccontextmanager
    async def scene(layer: str) -> AsyncIterator[Scene]:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.setblocking(False)

            def accept() -> None:
                behave(stack.enter_context(listener.accept()[0]))

            loop = asyncio.get_running_loop()
            loop.add_reader(listener, accept)
            stack.callback(loop.remove_reader, listener)
            yield Scene(f"{scheme(layer)}://127.0.0.1:{listener.getsockname()[1]}")

    return scene


def speak(connection: socket.socket) -> None:
    connection.send(http(OK))


def close_by_fin(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def close_by_rst(connection: socket.socket) -> None:
    linger_none(connection)
    connection.close()


def tls_by_hand(before: Behaviour, **settings: Any) -> Setting:
    """A port that is asked for TLS, and whose server reads and writes the bytes below it."""

    @contextlib.asynccontextmanager
    async def scene(layer: str) -> AsyncIterator[Scene]:
        async with Server(before=before) as server:
            url = server.url.replace("http:", "https:")
            yield Scene(url, server, settings)

    return scene


def stalls(**settings: Any) -> Setting:
    """A port that takes the first words of TLS, and says nothing."""

    @contextlib.asynccontextmanager
    async def scene(layer: str) -> AsyncIterator[Scene]:
        async def hello_and_stall(received: Received) -> None:
            await received.reader.read(65536)
            scene.reached.set()
            await received.silence()

        async with tls_by_hand(hello_and_stall, **settings)(layer) as scene:
            yield scene

    return scene


async def hello_and_fin(received: Received) -> None:
    await received.reader.read(65536)
    received.writer.close()


async def hello_and_rst(received: Received) -> None:
    await received.reader.read(65536)
    received.reset()


async def hello_and_plain_text(received: Received) -> None:
    await received.reader.read(65536)
    await received.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    received.writer.close()


@contextlib.asynccontextmanager
async def untrusted(layer: str) -> AsyncIterator[Scene]:
    async with Server(tls=server_context(layer)) as server:
        yield Scene(server.url, server, verify=client_context(trusting=False))


@contextlib.asynccontextmanager
async def another_name(layer: str) -> AsyncIterator[Scene]:
    async with Server(tls=server_context(layer, "gateway.test")) as server:
        yield Scene(server.url, server)


@contextlib.asynccontextmanager
async def tls_wanting_a_certificate(layer: str) -> AsyncIterator[Scene]:
    async with tls_by_hand(handshake(asking_for_a_certificate(layer)))(layer) as scene:
        yield scene


@contextlib.asynccontextmanager
async def tls_that_speaks_first(layer: str) -> AsyncIterator[Scene]:
    context = server_context(layer)
    assert context is not None
    async with tls_by_hand(handshake(context, http(OK)))(layer) as scene:
        yield scene


@contextlib.asynccontextmanager
async def refusing_proxy(layer: str) -> AsyncIterator[Scene]:
    refusal = status(407, proxy_authenticate="Basic")
    async with Server() as gateway, Server(refusal) as proxy:
        yield Scene(gateway.url.replace("http:", "https:"), gateway, proxy=proxy.url)


@contextlib.asynccontextmanager
async def one_place_held(layer: str) -> AsyncIterator[Scene]:
    """The only place is taken until the scene says so."""

    async def held(received: Received) -> None:
        await scene.reached.wait()
        await received.answer()

    async with Server(held, tls=server_context(layer)) as server:
        scene = Scene(server.url, server, {"concurrency": 1, "timeout": httpx.Timeout(5, pool=5)})
        yield scene
