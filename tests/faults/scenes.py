"""Where a row plays: the gateway, the client's transport, and the clock."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any, Final

import attrs
import httpx
import httpx2
from certificates import client_context, server_context
from forward_proxy import ForwardProxy
from loopback import Behaviour, Received, Server, ok

from gateway360_async import Gateway360Client, Ok, PinRequest, PinResult
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
    """Where a row plays.

    Args:
        url: The gateway's.
        server: The gateway, where there is one.
        settings: The client's, but for the transport.
        verify: The client's TLS settings.
        proxy: The client's proxy.
        reached: Set by a server that tells how far it has come.
        over: Set when the call is over.
        ready: What a ready client is made with besides.
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
Setting = Callable[[str], AbstractAsyncContextManager[Scene]]
"""Opens a scene, for one of `LAYERS`."""


def serving(behaviour: Behaviour = ok, *, before: Behaviour | None = None, **settings: Any) -> Setting:
    """A gateway that behaves so."""

    @contextlib.asynccontextmanager
    async def scene(layer: str) -> AsyncIterator[Scene]:
        async with Server(behaviour, before=before, tls=server_context(layer)) as server:
            yield Scene(server.url, server, settings)

    return scene


def small_buffer(before: Callable[[Scene, Received], Awaitable[None]], **settings: Any) -> Setting:
    """A gateway that takes in little at a time, so that a large request is long under way."""

    @contextlib.asynccontextmanager
    async def scene(layer: str) -> AsyncIterator[Scene]:
        async def in_scene(received: Received) -> None:
            await before(scene, received)

        tls = server_context(layer)
        async with Server(before=in_scene, receive_buffer=4096, tls=tls) as server:
            scene = Scene(server.url, server, settings)
            yield scene

    return scene


# --- Acts


async def send(scene: Scene) -> PinResult:
    """What most rows do."""
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


def as_time_passes(
    step: float, reached: Callable[[Scene], bool] = lambda scene: True, **arguments: Any
) -> Act:
    """Call, and let the time pass in steps once the server has come so far."""

    async def act(scene: Scene) -> PinResult:
        call = asyncio.create_task(scene.client.send(REQUEST, **arguments))
        await until_over(call, scene, step, reached)
        return await call

    return act


async def until_over(
    call: asyncio.Task[Any], scene: Scene, step: float, reached: Callable[[Scene], bool] = lambda scene: True
) -> None:
    """Let the time pass until a call is over."""
    if scene.server is not None:
        await scene.server.wait(lambda: reached(scene))
    while not call.done():
        await pass_by()
        if not call.done():
            scene.later(step)


def asked(scene: Scene) -> bool:
    """Whether the server has seen a whole request."""
    return scene.gateway.posts == 1


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
