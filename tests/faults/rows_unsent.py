"""Rows whose request certainly was not sent: the call ends, or tries again, before the request's first byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
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
    past_its_deadline,
    when_closed,
)
from certificates import asking_for_a_certificate, client_context, handshake, server_context
from loopback import Behaviour, Received, Server, free_port, silence, status
from matrix import Row, Scene, Setting, serving

from gateway360_async import ClientClosed, Disposition, FailureKind, WrongEventLoop
from gateway360_async.transports import Phase

A_TENTH = httpx.Timeout(0.1, pool=None)
HANDSHAKE = {FailureKind.TLS, FailureKind.CONNECT}  # aiohttp has one error for a connection and its handshake


@contextlib.asynccontextmanager
async def no_name() -> AsyncIterator[Scene]:
    """The resolver is the machine's, and no test's to break: the one thing here that is stood in for."""

    async def try_again(*args: object, **kwargs: object) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    loop = asyncio.get_running_loop()
    original = loop.getaddrinfo
    loop.getaddrinfo = try_again  # type: ignore[method-assign]
    try:
        yield Scene("https://gateway.test")
    finally:
        loop.getaddrinfo = original  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def nobody_listens() -> AsyncIterator[Scene]:
    yield Scene(f"http://127.0.0.1:{free_port()}")


@contextlib.asynccontextmanager
async def full_backlog() -> AsyncIterator[Scene]:
    """A queue of one that nobody accepts from: the kernel drops every further SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield Scene(f"http://127.0.0.1:{listener.getsockname()[1]}", settings={"timeout": A_TENTH})


def tls_by_hand(before: Behaviour, **settings: Any) -> Setting:
    """A port that is asked for TLS, and whose server reads and writes the bytes below it."""

    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[Scene]:
        async with Server(before=before) as server:
            url = server.url.replace("http:", "https:")
            yield Scene(url, server, settings, verify=client_context())

    return scene


async def hello_and_stall(received: Received) -> None:
    await received.reader.read(100)
    await received.silence()


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
async def untrusted() -> AsyncIterator[Scene]:
    async with Server(tls=server_context()) as server:
        yield Scene(server.url, server)


@contextlib.asynccontextmanager
async def another_name() -> AsyncIterator[Scene]:
    async with Server(tls=server_context("gateway.test")) as server:
        yield Scene(server.url, server, verify=client_context())


@contextlib.asynccontextmanager
async def refusing_proxy() -> AsyncIterator[Scene]:
    refusal = status(407, proxy_authenticate="Basic")
    async with Server() as gateway, Server(refusal) as proxy:
        yield Scene(gateway.url.replace("http:", "https:"), gateway, proxy=proxy.url)


@contextlib.asynccontextmanager
async def one_place_held() -> AsyncIterator[Scene]:
    """The only place is taken until the scene says so."""

    async def held(received: Received) -> None:
        await scene.reached.wait()
        await received.answer()

    async with Server(held) as server:
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


one_place = {"concurrency": 1}

RETRIED = (
    _row("name not resolved, for now", no_name, {FailureKind.CONNECT}, retried=True),
    _row("connection refused", nobody_listens, {FailureKind.CONNECT}, retried=True),
    *(
        [_row("connect timeout: full backlog", full_backlog, {FailureKind.CONNECT}, retried=True)]
        if sys.platform == "linux"  # other kernels let more in, or refuse
        else []
    ),
    _row(
        "TLS handshake stalls",
        tls_by_hand(hello_and_stall, timeout=A_TENTH),
        HANDSHAKE,
        retried=True,
        recovers=False,
    ),
    _row("FIN in the TLS handshake", tls_by_hand(hello_and_fin), HANDSHAKE, retried=True, recovers=False),
    _row("RST in the TLS handshake", tls_by_hand(hello_and_rst), HANDSHAKE, retried=True, recovers=False),
    _row(
        "no place within the pool timeout",
        serving(silence, timeout=httpx.Timeout(5, pool=0.02), **one_place),
        {FailureKind.POOL},
        retried=True,
        act=behind_another,
    ),
)

TRANSPARENT = tuple(
    Row(fault, scene, Phase.ANSWERED, Disposition.SENT, posts=1, act=act)
    for fault, scene, act in (
        ("idle connection closed, and seen", serving(), after_the_end_of_an_idle_connection),
        ("idle connection closed, in the kernel", serving(), as_the_connection_ends),
        ("a place, within the pool timeout", one_place_held, behind_one_that_ends),
    )
)

FINAL = (
    _row("untrusted certificate", untrusted, {FailureKind.TLS_REFUSED}, recovers=False),
    _row("wrong host name", another_name, {FailureKind.TLS_REFUSED}, recovers=False),
    _row(
        "plain text on a TLS port",
        tls_by_hand(hello_and_plain_text),
        {FailureKind.TLS_REFUSED},
        recovers=False,
    ),
    _row(
        "no client certificate, TLS 1.2",
        tls_by_hand(handshake(asking_for_a_certificate(ssl.TLSVersion.TLSv1_2))),
        {FailureKind.TLS_REFUSED},
        recovers=False,
    ),
    _row("proxy answers CONNECT with 407", refusing_proxy, {FailureKind.PROXY}, recovers=False),
    _row("client closed", serving(), ClientClosed, act=when_closed),
    _row("another event loop", serving(), WrongEventLoop, act=in_another_loop),
    _row("after a fork", serving(), WrongEventLoop, act=in_a_child),
    _row(
        "cancelled in the handshake",
        tls_by_hand(hello_and_stall),
        {FailureKind.CANCELLED},
        act=left_in_the_handshake,
        recovers=False,
    ),
    _row(
        "deadline in the handshake",
        tls_by_hand(hello_and_stall),
        {FailureKind.DEADLINE},
        act=past_its_deadline,
        recovers=False,
    ),
    _row(
        "deadline while waiting for a place",
        serving(silence, **one_place),
        {FailureKind.DEADLINE},
        act=behind_another_past_its_deadline,
    ),
)
