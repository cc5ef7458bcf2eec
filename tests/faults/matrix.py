"""The fault matrix: what a row is, and how one is run.

Rules of this module:

- A row is run through `Gateway360Client`, over real sockets on loopback, once for each transport. What it
  says of the fault is the same for all of them: the promise is the client's, not an HTTP library's.
- The phase is read from the `Exchange`s that pass the transport's port, kept by a wrapper that does nothing
  else.
- What the server has seen is checked in every row, whatever the row is about: a call is one whole request at
  most, and after an HTTP 429 one SMS at most; what is called `NOT_SENT` made no SMS; the next call has an
  answer of its own; and no connection outlives the client.
- Retrying is the default policy's, without its pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import attrs
import httpx
from loopback import OK, Behaviour, Received, Server, ok

from gateway360_async import (
    Disposition,
    FailureKind,
    Gateway360Client,
    Ok,
    PinRequest,
    PinResult,
    RetryPolicy,
    TransportFailure,
)
from gateway360_async.transports import AiohttpTransport, Exchange, HttpxTransport, Phase, Transport

KEY: Final = "k3y-0f-the-account"
REQUEST: Final = PinRequest("34666666111", "GOOD PIZZA")
OTHER: Final = PinRequest("34666666222", "GOOD PIZZA")
LAST: Final = PinRequest("34666666333", "GOOD PIZZA")
TRANSPORTS: Final = ("httpx", "aiohttp", "ready client")
"""The default, the fast one, and the default over an `httpx.AsyncClient` of the user's."""


class Observed:
    """A transport that keeps the exchanges which pass through it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._exchanges: list[tuple[bytes, Exchange]] = []

    async def post(self, url: str, *, body: bytes, exchange: Exchange, **arguments: Any) -> Any:
        self._exchanges.append((bytes(body), exchange))
        return await self._transport.post(url, body=body, exchange=exchange, **arguments)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def phases(self, request: PinRequest) -> list[Phase]:
        """How far each attempt for a request has come."""
        return [exchange.phase for body, exchange in self._exchanges if request.msisdn.encode() in body]


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
    """

    url: str
    server: Server | None = None
    settings: dict[str, Any] = attrs.field(factory=dict)
    verify: ssl.SSLContext | None = None
    proxy: str | None = None
    reached: asyncio.Event = attrs.field(factory=asyncio.Event)
    over: asyncio.Event = attrs.field(factory=asyncio.Event)
    client: Gateway360Client = attrs.field(init=False)

    @property
    def posts(self) -> list[Received]:
        """The whole requests that the call has made."""
        return [] if self.server is None else self.server.posts_for(REQUEST.msisdn)

    @property
    def gateway(self) -> Server:
        assert self.server is not None
        return self.server


Act = Callable[[Scene], Awaitable[PinResult]]
Setting = Callable[[], AbstractAsyncContextManager[Scene]]


async def send(scene: Scene) -> PinResult:
    """What most rows do."""
    return await scene.client.send(REQUEST)


def _phases(phase: Phase | Collection[Phase]) -> frozenset[Phase]:
    return frozenset({phase} if isinstance(phase, Phase) else phase)


@attrs.frozen
class Row:
    """A fault, and what has to become of a call that meets it.

    Args:
        fault: Its name.
        scene: Where it happens.
        phase: How far every attempt comes. Two, where one adapter's parser gives the head of an answer out
            before it looks at the rest, and another's does not.
        disposition: What the call says of the SMS, or what it raises.
        kinds: What it may call the failure: adapters know more or less of what happened. Empty: no failure.
        posts: Whole requests that the server sees.
        retried: Whether the policy tries again, up to its four attempts.
        attempts: Attempts, where they are neither 1 nor 4.
        act: What is done.
        recovers: Whether the server can be told to behave, and is then asked once more.
        without: Transports that have no such fault, and why.
    """

    fault: str
    scene: Setting
    phase: frozenset[Phase] = attrs.field(converter=_phases)
    disposition: Disposition | type[Exception]
    kinds: Collection[FailureKind] = ()
    posts: int = 0
    retried: bool = False
    attempts: int | None = None
    act: Act = send
    recovers: bool = True
    without: dict[str, str] = attrs.field(factory=dict)

    @property
    def columns(self) -> tuple[str, str]:
        """How far an attempt comes and what the call says, as the table at the end of a run shows them."""
        says = self.disposition
        return (
            "/".join(phase.name for phase in sorted(self.phase)),
            says.__name__ if isinstance(says, type) else str(says),
        )


def serving(behaviour: Behaviour = ok, *, before: Behaviour | None = None, **settings: Any) -> Setting:
    """A gateway that behaves so."""

    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[Scene]:
        async with Server(behaviour, before=before) as server:
            yield Scene(server.url, server, settings)

    return scene


@attrs.frozen
class Outcome:
    """What was counted in a row, for the table."""

    attempts: int
    posts: int


async def run(row: Row, mode: str) -> Outcome:
    """Run a row over a transport, and check everything that it says, and that holds in every row."""
    async with row.scene() as scene:
        async with transport_of(mode, scene) as transport:
            observed = Observed(transport)
            scene.client = Gateway360Client(
                KEY,
                base_url=scene.url,
                transport=observed,
                retry=RetryPolicy(base_delay=0.0),
                **scene.settings,
            )
            result: PinResult | Exception
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(scene.client.aclose)
                try:
                    result = await row.act(scene)
                except Exception as exc:
                    if not isinstance(row.disposition, type) or type(exc) is not row.disposition:
                        raise
                    result = exc
                finally:
                    scene.over.set()
                check_sms(scene.posts, result)
                if row.recovers and scene.server is not None and not isinstance(result, Exception):
                    scene.server.behaviour, scene.server.before = ok, None
                    answered = await scene.client.send(LAST)
                    assert isinstance(answered, Ok), answered
                    assert answered.attempts == 1
        if scene.server is not None:
            await scene.server.wait(lambda: not scene.gateway.open)
        phases, posts = observed.phases(REQUEST), len(scene.posts)
        _check(row, result, phases, posts)
        return Outcome(len(phases) if isinstance(result, Exception) else result.attempts, posts)


def check_sms(posts: list[Received], result: PinResult | Exception) -> None:
    """Hold what a call says against the whole requests that the server has seen for it."""
    taken = [post for post in posts if (post.answered or (0,))[0] != 429]
    assert len(taken) <= 1, f"{len(taken)} SMS for one call"
    assert not taken or taken[0] is posts[-1], "a request after one that may have been taken"
    if isinstance(result, Exception):
        assert not posts, "the server has the request, and the client says that nothing was sent"
    elif result.disposition is Disposition.NOT_SENT:
        assert all(map(_refused, posts)), "the server has the request, and has not refused it"
    elif result.disposition is Disposition.SENT:
        assert [post.answered for post in taken] == [(200, OK)], (
            "no SMS, and the client says that there is one"
        )


def _refused(post: Received) -> bool:
    status, body = post.answered or (0, b"")
    return 300 <= status < 500 or (status == 200 and b'"status":"error"' in body)


def _check(row: Row, result: PinResult | Exception, phases: list[Phase], posts: int) -> None:
    assert set(phases) <= row.phase, (phases, result)
    assert phases or row.phase == {Phase.UNSENT}
    assert posts == row.posts, result
    if isinstance(result, Exception):
        return
    assert result.disposition is row.disposition, result
    assert result.attempts == (row.attempts or (4 if row.retried else 1)), result
    if isinstance(result, TransportFailure):
        assert result.kind in row.kinds, result
    else:
        assert not row.kinds, result


@contextlib.asynccontextmanager
async def transport_of(mode: str, scene: Scene) -> AsyncIterator[Transport]:
    if mode == "httpx":
        yield HttpxTransport(verify=scene.verify, proxy=scene.proxy)
    elif mode == "aiohttp":
        yield AiohttpTransport(verify=scene.verify, proxy=scene.proxy)
    else:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=4)
        verify = True if scene.verify is None else scene.verify
        async with httpx.AsyncClient(limits=limits, verify=verify, proxy=scene.proxy) as client:
            yield HttpxTransport(client)
