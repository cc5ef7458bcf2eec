"""Rows whose request certainly was not sent: the call ends, or tries again, before the request's first byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
from acts_unsent import (
    after_the_end_of_an_idle_connection,
    as_the_connection_ends,
    behind_another,
    behind_another_past_its_deadline,
    behind_one_that_ends,
    in_a_child,
    in_another_loop,
    left_in_the_handshake,
    past_the_deadline_in_a_handshake,
    past_the_timeout_of_each_handshake,
    when_closed,
)
from certificates import asking_for_a_certificate, client_context, handshake, server_context
from loopback import Behaviour, Received, Server, free_port, silence, status
from matrix import PLAIN, TLS, Row
from scenes import Scene, Setting, as_time_passes, serving

from gateway360_async import ClientClosed, Disposition, FailureKind, WrongEventLoop
from gateway360_async.transports import Phase


def _scheme(layer: str) -> str:
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
        yield Scene(f"{_scheme(layer)}://gateway.test", settings={"allow_insecure": True})
    finally:
        loop.getaddrinfo = original  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def nobody_listens(layer: str) -> AsyncIterator[Scene]:
    yield Scene(f"{_scheme(layer)}://127.0.0.1:{free_port()}")


@contextlib.asynccontextmanager
async def full_backlog(layer: str) -> AsyncIterator[Scene]:
    """A queue of one that nobody accepts from: the kernel drops every further SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"{_scheme(layer)}://127.0.0.1:{listener.getsockname()[1]}"
        yield Scene(url, settings={"timeout": httpx.Timeout(10, connect=1, read=1, pool=None)})


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


def _row(
    fault: str,
    scene: Setting,
    kinds: set[FailureKind] | type[Exception],
    *,
    retried: bool = False,
    **more: Any,
) -> Row:
    said = kinds if isinstance(kinds, type) else Disposition.NOT_SENT
    return Row(
        fault, scene, Phase.UNSENT, said, () if isinstance(kinds, type) else kinds, retried=retried, **more
    )


def _mended(fault: str, scene: Setting, act: Any, **more: Any) -> Row:
    return Row(fault, scene, Phase.ANSWERED, Disposition.SENT, posts=1, act=act, **more)


one_place = {"concurrency": 1}
HELLO: dict[str, Any] = {"layers": ("TLS 1.3",)}  # a client's first words are the same in both versions

LOST_IN_THE_PROXY = {
    # The proxy has taken the request: its word is an answer, and not the gateway's.
    "proxy, plain": {
        "phase": Phase.ANSWERED,
        "disposition": Disposition.MAYBE_SENT,
        "kinds": {FailureKind.HTTP_STATUS},
        "retried": False,
    },
    "proxy, TLS": {"kinds": {FailureKind.PROXY}, "retried": False},
}

RETRIED = (
    _row(
        "name not resolved, for now",
        no_name,
        {FailureKind.CONNECT},
        retried=True,
        over=LOST_IN_THE_PROXY,
    ),
    _row(
        "connection refused",
        nobody_listens,
        {FailureKind.CONNECT},
        retried=True,
        over=LOST_IN_THE_PROXY,
    ),
    *(
        [
            _row(
                "connect timeout: full backlog",
                full_backlog,
                {FailureKind.CONNECT},
                retried=True,
                act=as_time_passes(1.5),
                over={
                    "proxy, plain": {
                        "phase": Phase.SENT,
                        "disposition": Disposition.MAYBE_SENT,
                        "kinds": {FailureKind.TIMEOUT},
                        "retried": False,
                    },
                },
            )
        ]
        if sys.platform == "linux"  # other kernels let more in, or refuse
        else []
    ),
    _row(
        "TLS handshake stalls",
        stalls(timeout=httpx.Timeout(10, connect=1, pool=None)),
        {FailureKind.TLS},
        retried=True,
        recovers=False,
        act=past_the_timeout_of_each_handshake,
        **HELLO,
    ),
    _row(
        "FIN in the TLS handshake",
        tls_by_hand(hello_and_fin),
        {FailureKind.TLS},
        retried=True,
        recovers=False,
        **HELLO,
    ),
    _row(
        "RST in the TLS handshake",
        tls_by_hand(hello_and_rst),
        {FailureKind.TLS},
        retried=True,
        recovers=False,
        **HELLO,
    ),
    _row(
        "no place within the pool timeout",
        serving(silence, timeout=httpx.Timeout(20, pool=1), **one_place),
        {FailureKind.POOL},
        retried=True,
        act=behind_another,
        layers=PLAIN,  # nothing is connected
    ),
)

TRANSPARENT = (
    _mended("idle connection closed, and seen", serving(), after_the_end_of_an_idle_connection),
    _mended(
        "idle connection closed, in the kernel",
        serving(),
        as_the_connection_ends,
        without={
            "proxy": "it is in the proxy's kernel, and no client can know of it before its request has gone"
        },
    ),
    _mended("a place, within the pool timeout", one_place_held, behind_one_that_ends),
)

FINAL = (
    _row("untrusted certificate", untrusted, {FailureKind.TLS_REFUSED}, recovers=False, layers=TLS),
    _row("wrong host name", another_name, {FailureKind.TLS_REFUSED}, recovers=False, layers=TLS),
    _row(
        "plain text on a TLS port",
        tls_by_hand(hello_and_plain_text),
        {FailureKind.TLS_REFUSED},
        recovers=False,
        **HELLO,
    ),
    _row(
        "no client certificate, TLS 1.2",
        tls_wanting_a_certificate,
        {FailureKind.TLS_REFUSED},
        recovers=False,
        layers=("TLS 1.2",),
    ),
    _row(
        "proxy answers CONNECT with 407",
        refusing_proxy,
        {FailureKind.PROXY},
        recovers=False,
        layers=TLS,
        without={"direct": "it knows no proxy"},
    ),
    # The client says so before it asks its transport.
    _row("client closed", serving(), ClientClosed, act=when_closed, layers=PLAIN),
    _row("another event loop", serving(), WrongEventLoop, act=in_another_loop, layers=PLAIN),
    _row("after a fork", serving(), WrongEventLoop, act=in_a_child, layers=PLAIN),
    _row(
        "cancelled in the handshake",
        stalls(),
        {FailureKind.CANCELLED},
        act=left_in_the_handshake,
        recovers=False,
        **HELLO,
    ),
    _row(
        "deadline in the handshake",
        stalls(),
        {FailureKind.DEADLINE},
        act=past_the_deadline_in_a_handshake,
        recovers=False,
        **HELLO,
    ),
    _row(
        "deadline while waiting for a place",
        serving(silence, timeout=httpx.Timeout(20, pool=None), **one_place),
        {FailureKind.DEADLINE},
        act=behind_another_past_its_deadline,
        layers=PLAIN,  # nothing is connected
    ),
)
