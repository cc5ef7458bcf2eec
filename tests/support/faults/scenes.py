"""The places of the rows: the gateway, the client's transport, the clock, and what is done there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any, Final

import attrs
import httpx
import httpx2
from support.certificates import client_context, server_context
from support.faults.forward_proxy import ForwardProxy
from support.loopback import Behaviour, Received, Server, free_port, ok

from gateway360_async import Gateway360Client, Ok, PinRequest, PinResult, Skipped
from gateway360_async.transports import DirectTransport, HttpxTransport, Transport

KEY: Final = "k3y-0f-the-account"
OTHER: Final = PinRequest("34666666111", "GOOD PIZZA")
REQUEST: Final = PinRequest("34666666222", "GOOD PIZZA")
LAST: Final = PinRequest("34666666333", "GOOD PIZZA")
TRANSPORTS: Final = ("direct", "httpx client", "httpx2 client", "proxy")
"""The default; over a ready client of httpx and of httpx2; and httpx through a proxy on loopback."""
LAYERS: Final = ("plain", "TLS 1.2", "TLS 1.3")
READY: Final = {"httpx client": httpx, "httpx2 client": httpx2}
PASSES: Final = 20
"""Passes of the event loop that are enough for what loopback and a proxy on it do with a few bytes."""


async def pass_by(passes: int = PASSES) -> None:
    """Give everything that is under way in this process its turns."""
    for _ in range(passes):
        await asyncio.sleep(0)


@attrs.define
class Scene:
    """The place of a row.

    Args:
        url: The gateway's.
        server: The gateway, where there is one.
        settings: The client's, but for the transport.
        verify: The client's TLS settings.
        proxy: The client's proxy.
        reached: Set by a server that tells how far it has come.
        over: Set when the call is over.
        ready: More settings of a ready client.
        later: Puts the event loop's clock forward by so many seconds.
    """

    url: str
    server: Server | None = None
    settings: dict[str, Any] = attrs.field(factory=dict)
    verify: ssl.SSLContext = attrs.field(factory=client_context)
    proxy: str | None = None
    reached: asyncio.Event = attrs.field(factory=asyncio.Event)
    over: asyncio.Event = attrs.field(factory=asyncio.Event)
    ready: Callable[[ModuleType, Scene], dict[str, Any]] | None = None
    client: Gateway360Client = attrs.field(init=False)
    later: Callable[[float], None] = attrs.field(init=False)

    @property
    def posts(self) -> list[Received]:
        """The whole requests that the call has made."""
        return [] if self.server is None else self.server.posts_for(REQUEST.msisdn)

    @property
    def gateway(self) -> Server:
        assert self.server is not None
        return self.server


Act = Callable[[Scene], Awaitable[PinResult]]
InScene = Callable[[Scene, Received], Awaitable[None]]
Setting = Callable[[str], AbstractAsyncContextManager[Scene]]
"""Opens a scene, for one of `LAYERS`."""


# --- Gateways


def serving(
    behaviour: Behaviour = ok,
    *,
    before: Behaviour | None = None,
    act: InScene | None = None,
    begin: InScene | None = None,
    by_hand: Callable[[str], Behaviour] | None = None,
    name: str = "127.0.0.1",
    trusting: bool = True,
    receive_buffer: int | None = None,
    **settings: Any,
) -> Setting:
    """Make the setting of a gateway that behaves so.

    Args:
        behaviour: Answers a whole request; `act` knows the scene.
        before: Runs before each request is read; `begin` knows the scene.
        by_hand: Makes `before` for a layer, on a port that is asked for TLS and has none of its own.
        name: The name in its certificate.
        trusting: Whether the client trusts the certificate's authority.
        receive_buffer: Bytes that the kernel takes in for a connection that is not read.
        settings: The client's.
    """

    @contextlib.asynccontextmanager
    async def setting(layer: str) -> AsyncIterator[Scene]:
        def in_scene(what: InScene) -> Behaviour:
            return lambda received: what(scene, received)

        async with Server(
            behaviour if act is None else in_scene(act),
            before=by_hand(layer) if by_hand else before if begin is None else in_scene(begin),
            tls=None if by_hand else server_context(layer, name),
            receive_buffer=receive_buffer,
        ) as server:
            url = server.url.replace("http:", "https:") if by_hand else server.url
            scene = Scene(url, server, settings, verify=client_context(trusting=trusting))
            yield scene

    return setting


def small_buffer(begin: InScene, **settings: Any) -> Setting:
    """A gateway that takes in little at a time, so that a large request is long under way."""
    return serving(begin=begin, receive_buffer=4096, **settings)


def nowhere(layer: str, port: int, host: str = "127.0.0.1", **settings: Any) -> Scene:
    """The scene of a port that is no gateway's."""
    return Scene(f"{'http' if layer == 'plain' else 'https'}://{host}:{port}", settings=settings)


@contextlib.asynccontextmanager
async def no_name(layer: str) -> AsyncIterator[Scene]:
    """The resolver is the machine's, and no test's to break: the one thing here that is stood in for."""

    async def try_again(*args: object, **kwargs: object) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    loop = asyncio.get_running_loop()
    original = loop.getaddrinfo
    loop.getaddrinfo = try_again  # type: ignore[method-assign]
    try:
        yield nowhere(layer, 8000, "gateway.test", allow_insecure=True)
    finally:
        loop.getaddrinfo = original  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def no_listener(layer: str) -> AsyncIterator[Scene]:
    yield nowhere(layer, free_port())


@contextlib.asynccontextmanager
async def full_backlog(layer: str) -> AsyncIterator[Scene]:
    """A queue of one from which no connection is taken: the kernel drops every further SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        timeout = httpx.Timeout(10, connect=1, read=1, pool=None)
        yield nowhere(layer, listener.getsockname()[1], timeout=timeout)


def at_once(behave: Callable[[socket.socket], object]) -> Setting:
    """A port whose server does so in the pass of the event loop in which the kernel has a connection.

    So it has happened before the client can have sent anything, as it may on another machine.
    """

    @contextlib.asynccontextmanager
    async def setting(layer: str) -> AsyncIterator[Scene]:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.add_reader(listener, lambda: behave(stack.enter_context(listener.accept()[0])))
            stack.callback(loop.remove_reader, listener)
            yield nowhere(layer, listener.getsockname()[1])

    return setting


# --- Acts


async def send(scene: Scene) -> PinResult:
    """The act of most rows."""
    return await scene.client.send(REQUEST)


async def second_call(scene: Scene) -> PinResult:
    """Call over a connection that has carried another call, if it is still fit for it."""
    assert isinstance(await scene.client.send(OTHER), Ok)
    return await scene.client.send(REQUEST)


def unheard(act: Act) -> Act:
    """Do so, and only then let a server that has stopped reading hear of it."""

    async def acts(scene: Scene) -> PinResult:
        result = await act(scene)
        scene.gateway.requests[0].below_tls.resume_reading()
        return result

    return acts


def left(when: Callable[[Scene], Awaitable[object]]) -> Act:
    """Leave a batch then: it says what became of what it cancelled, which an exception cannot."""

    async def act(scene: Scene) -> PinResult:
        async with scene.client.batch([REQUEST]) as batch:
            await when(scene)
        (item,) = batch.report.unconsumed
        assert not isinstance(item.result, Skipped)
        return item.result

    return act


async def reached(scene: Scene) -> None:
    await scene.reached.wait()


async def asked(scene: Scene) -> None:
    """Wait until the server has seen a whole request."""
    await scene.gateway.wait(lambda: scene.gateway.posts == 1)


def as_time_passes(
    step: float, after: Callable[[Scene], Awaitable[object]] | None = None, **arguments: Any
) -> Act:
    """Call, and let the time pass in steps until it is over, once the server has come so far."""

    async def act(scene: Scene) -> PinResult:
        call = asyncio.create_task(scene.client.send(REQUEST, **arguments))
        if after is not None:
            await after(scene)
        while not call.done():
            await pass_by()
            if not call.done():
                scene.later(step)
        return await call

    return act


# --- Transports


@contextlib.asynccontextmanager
async def transport_of(mode: str, scene: Scene) -> AsyncIterator[Transport]:
    """Make one of `TRANSPORTS`, and close it."""
    if mode == "direct":
        yield DirectTransport(verify=scene.verify)
    elif mode == "proxy":
        buffer = None if scene.server is None else scene.server.receive_buffer
        async with ForwardProxy(buffer) as proxy:
            transport = HttpxTransport(verify=scene.verify, proxy=scene.proxy or proxy.url)
            try:
                yield transport
            finally:
                await transport.aclose()  # before the proxy, which waits for it
    else:
        library: Any = READY[mode]
        settings = {
            "limits": library.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=4),
            "verify": scene.verify,
            "proxy": scene.proxy,
            "trust_env": False,
        }
        settings |= {} if scene.ready is None else scene.ready(library, scene)
        async with library.AsyncClient(**settings) as client:
            yield HttpxTransport(client)
