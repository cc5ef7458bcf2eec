"""Rows whose request certainly was not sent: the call ends, or tries again, before the request's first byte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import warnings
from collections.abc import AsyncIterator
from typing import Any

import httpx
from support.certificates import asking_for_a_certificate, handshake, server_context
from support.faults.matrix import PLAIN, TLS, Row
from support.faults.rows_surplus import IN_THE_PROXY, http
from support.faults.scenes import (
    OTHER,
    REQUEST,
    Act,
    Scene,
    Setting,
    as_time_passes,
    asked,
    at_once,
    full_backlog,
    left,
    no_listener,
    no_name,
    pass_by,
    reached,
    serving,
)
from support.loopback import OK, Behaviour, Received, Server, close, linger_none, rst, silence, status

import gateway360_async
from gateway360_async import ClientClosed, Disposition, FailureKind, Ok, PinResult, WrongEventLoop
from gateway360_async.transports import Phase

# --- Gateways


def after_hello(then: Behaviour) -> Setting:
    """A port that takes the client's first words of TLS, and then does so."""

    async def hello(received: Received) -> None:
        await received.reader.read(65536)
        await then(received)

    return serving(by_hand=lambda layer: hello)


def stalls(**settings: Any) -> Setting:
    """A port that takes the client's first words of TLS, and says nothing."""

    @contextlib.asynccontextmanager
    async def setting(layer: str) -> AsyncIterator[Scene]:
        async def hello(received: Received) -> None:
            await received.reader.read(65536)
            scene.reached.set()
            await received.silence()

        async with serving(by_hand=lambda layer: hello, **settings)(layer) as scene:
            yield scene

    return setting


async def plain_text(received: Received) -> None:
    await received.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    received.writer.close()


def speak(connection: socket.socket) -> None:
    connection.send(http(OK))


def close_by_fin(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def close_by_rst(connection: socket.socket) -> None:
    linger_none(connection)
    connection.close()


@contextlib.asynccontextmanager
async def refusing_proxy(layer: str) -> AsyncIterator[Scene]:
    refusal = status(407, proxy_authenticate="Basic")
    async with Server() as gateway, Server(refusal) as proxy:
        yield Scene(gateway.url.replace("http:", "https:"), gateway, proxy=proxy.url)


async def held(scene: Scene, received: Received) -> None:
    """Keep the only place until the scene says so."""
    await scene.reached.wait()
    await received.answer()


# --- Acts


def behind_another(step: float, **arguments: Any) -> Act:
    """Call while the only place is taken."""

    async def act(scene: Scene) -> PinResult:
        first = asyncio.create_task(scene.client.send(OTHER))
        await asked(scene)
        try:
            return await as_time_passes(step, **arguments)(scene)
        finally:
            first.cancel()
            await asyncio.wait((first,))

    return act


async def behind_one_that_ends(scene: Scene) -> PinResult:
    first = asyncio.create_task(scene.client.send(OTHER))
    await asked(scene)
    second = asyncio.create_task(scene.client.send(REQUEST))
    await asyncio.sleep(0)  # it waits now
    scene.reached.set()
    assert isinstance(await first, Ok)
    return await second


async def after_the_end_of_an_idle_connection(scene: Scene) -> PinResult:
    assert isinstance(await scene.client.send(OTHER), Ok)
    scene.gateway.requests[0].writer.close()
    await pass_by()
    return await scene.client.send(REQUEST)


async def as_the_connection_ends(scene: Scene) -> PinResult:
    """The FIN is in the kernel, and the event loop has not looked yet."""
    assert isinstance(await scene.client.send(OTHER), Ok)
    scene.gateway.requests[0].fin()
    return await scene.client.send(REQUEST)


async def past_the_timeout_of_each_handshake(scene: Scene) -> PinResult:
    call = asyncio.create_task(scene.client.send(REQUEST))
    for _ in range(4):
        await scene.reached.wait()
        scene.reached.clear()
        scene.later(1.5)
    return await call


async def when_closed(scene: Scene) -> PinResult:
    await scene.client.send(OTHER)
    await scene.client.aclose()
    return await scene.client.send(REQUEST)


async def in_another_loop(scene: Scene) -> PinResult:
    await scene.client.send(OTHER)
    return await asyncio.to_thread(asyncio.run, scene.client.send(REQUEST))


async def in_a_child(scene: Scene) -> PinResult:
    """A real fork. The child can only say by a pipe what it met, and leaves by `os._exit`."""
    await scene.client.send(OTHER)
    read, write = os.pipe()
    with warnings.catch_warnings():
        # CPython's doubt about forking beside threads is right, and no news to a test of just that.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:  # the child, which leaves by os._exit
        try:
            scene.client.send(REQUEST).send(None)
        except BaseException as exc:  # noqa: BLE001  # nothing of the child's may reach pytest
            os.write(write, type(exc).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    met = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    raise getattr(gateway360_async, met)("in the child")


# --- Rows


def _row(
    fault: str, scene: Setting, said: FailureKind | type[Exception], *other: FailureKind, **more: Any
) -> Row:
    if isinstance(said, type):
        return Row(fault, scene, Phase.UNSENT, said, **more)
    return Row(fault, scene, Phase.UNSENT, Disposition.NOT_SENT, {said, *other}, **more)


def _mended(fault: str, scene: Setting, act: Act, **more: Any) -> Row:
    return Row(fault, scene, Phase.ANSWERED, Disposition.SENT, posts=1, act=act, **more)


RETRY: dict[str, Any] = {"retried": True}
HELLO: dict[str, Any] = {"layers": ("TLS 1.3",), "recovers": False}
"""A client's first words are the same in both versions."""
MAYBE_SENT = {"disposition": Disposition.MAYBE_SENT, "retried": False}
LOST_IN_THE_PROXY = {
    # The proxy has taken the request: its word is an answer, and not the gateway's.
    "proxy, plain": MAYBE_SENT | {"phase": Phase.ANSWERED, "kinds": {FailureKind.HTTP_STATUS}},
    "proxy, TLS": {"kinds": {FailureKind.PROXY}, "retried": False},
}
LATE_IN_THE_PROXY = {"proxy, plain": MAYBE_SENT | {"phase": Phase.SENT, "kinds": {FailureKind.TIMEOUT}}}
LAZY_PROXY = {"proxy": "the proxy connects once it has the request"}

RETRIED = (
    _row("name not resolved, for now", no_name, FailureKind.CONNECT, over=LOST_IN_THE_PROXY, **RETRY),
    _row("connection refused", no_listener, FailureKind.CONNECT, over=LOST_IN_THE_PROXY, **RETRY),
    *(
        _row(
            "connect timeout: full backlog",
            full_backlog,
            FailureKind.CONNECT,
            act=as_time_passes(1.5),
            over=LATE_IN_THE_PROXY,
            **RETRY,
        )
        for _ in range(sys.platform == "linux")  # other kernels let more in, or refuse
    ),
    _row(
        "TLS handshake stalls",
        stalls(timeout=httpx.Timeout(10, connect=1, pool=None)),
        FailureKind.TLS,
        act=past_the_timeout_of_each_handshake,
        **RETRY | HELLO,
    ),
    _row("FIN in the TLS handshake", after_hello(close), FailureKind.TLS, **RETRY | HELLO),
    _row("RST in the TLS handshake", after_hello(rst), FailureKind.TLS, **RETRY | HELLO),
    *(
        _row(
            f"{fault} before the request",
            at_once(behave),
            FailureKind.CONNECT,
            layers=PLAIN,
            without=LAZY_PROXY,
            **RETRY,
        )
        for fault, behave in (("an answer", speak), ("FIN", close_by_fin), ("RST", close_by_rst))
    ),
    _row(
        "an answer before the request, in the handshake's last segment",
        serving(by_hand=lambda layer: handshake(server_context(layer), http(OK))),
        FailureKind.CONNECT,
        FailureKind.TLS,  # by DirectTransport: it was part of the handshake
        recovers=False,
        layers=("TLS 1.2",),  # in 1.3 the client has the last word
        **RETRY,
    ),
    _row(
        "no place within the pool timeout",
        serving(silence, timeout=httpx.Timeout(20, pool=1), concurrency=1),
        FailureKind.POOL,
        act=behind_another(1.1),
        layers=PLAIN,  # nothing is connected
        **RETRY,
    ),
)

TRANSPARENT = (
    _mended("idle connection closed, and seen", serving(), after_the_end_of_an_idle_connection),
    _mended("idle connection closed, in the kernel", serving(), as_the_connection_ends, without=IN_THE_PROXY),
    _mended(
        "a place, within the pool timeout",
        serving(act=held, concurrency=1, timeout=httpx.Timeout(5, pool=5)),
        behind_one_that_ends,
    ),
)

FINAL = (
    _row(
        "untrusted certificate", serving(trusting=False), FailureKind.TLS_REFUSED, recovers=False, layers=TLS
    ),
    _row(
        "wrong host name", serving(name="gateway.test"), FailureKind.TLS_REFUSED, recovers=False, layers=TLS
    ),
    _row("plain text on a TLS port", after_hello(plain_text), FailureKind.TLS_REFUSED, **HELLO),
    _row(
        "no client certificate, TLS 1.2",
        serving(by_hand=lambda layer: handshake(asking_for_a_certificate(layer))),
        FailureKind.TLS_REFUSED,
        recovers=False,
        layers=("TLS 1.2",),
    ),
    _row(
        "proxy answers CONNECT with 407",
        refusing_proxy,
        FailureKind.PROXY,
        recovers=False,
        layers=TLS,
        without={"direct": "it knows no proxy"},
    ),
    # The client says so before it asks its transport.
    _row("client closed", serving(), ClientClosed, act=when_closed, layers=PLAIN),
    _row("another event loop", serving(), WrongEventLoop, act=in_another_loop, layers=PLAIN),
    _row("after a fork", serving(), WrongEventLoop, act=in_a_child, layers=PLAIN),
    _row("cancelled in the handshake", stalls(), FailureKind.CANCELLED, act=left(reached), **HELLO),
    _row(
        "deadline in the handshake",
        stalls(),
        FailureKind.DEADLINE,
        act=as_time_passes(3.0, reached, deadline=2.0),
        **HELLO,
    ),
    _row(
        "deadline while waiting for a place",
        serving(silence, timeout=httpx.Timeout(20, pool=None), concurrency=1),
        FailureKind.DEADLINE,
        act=behind_another(3.0, deadline=2.0),
        layers=PLAIN,  # nothing is connected
    ),
)
