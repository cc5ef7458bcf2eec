"""The fault matrix: a row, and how one is run.

- A row is run through `Gateway360Client`, over real sockets on loopback, once for each transport, plain and over each
  version of TLS. It says the same for all of them, for the promise is the client's. A transport that changes the
  fault by its nature is named in the row (`over`), or left out with a reason (`without`).
- In every row: a call is one whole request at most, and after an HTTP 429 one SMS at most; what is called `NOT_SENT`
  made no SMS; the next call has an answer of its own; and no connection outlives the client.
- Time passes where a row says so: nothing waits for a clock. Retrying is the default policy's, without its pauses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

import attrs
from support.faults.scenes import KEY, LAST, LAYERS, REQUEST, Act, Scene, Setting, send, transport_of
from support.loopback import OK, Received, ok

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
from gateway360_async._redaction import SecretBytes
from gateway360_async.transports import Exchange, Phase, Transport

PLAIN = ("plain",)
TLS = ("TLS 1.2", "TLS 1.3")


class Observed:
    """A transport that keeps the exchanges which pass through it.

    Args:
        transport: The transport.
        padding: Spaces to put behind the JSON of the request that a row is about.
    """

    def __init__(self, transport: Transport, padding: int) -> None:
        self._transport = transport
        self._padding = padding
        self._exchanges: list[tuple[bytes, Exchange]] = []

    async def post(self, url: str, *, body: bytes, exchange: Exchange, **arguments: Any) -> Any:
        self._exchanges.append((bytes(body), exchange))
        if self._padding and REQUEST.msisdn.encode() in body:
            body = SecretBytes(body + b" " * self._padding)
        return await self._transport.post(url, body=body, exchange=exchange, **arguments)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def phases(self, request: PinRequest) -> list[Phase]:
        """How far each attempt for a request has come."""
        return [exchange.phase for body, exchange in self._exchanges if request.msisdn.encode() in body]


def _phases(phase: Phase | Collection[Phase]) -> frozenset[Phase]:
    return frozenset({phase} if isinstance(phase, Phase) else phase)


@attrs.frozen
class Row:
    """A fault, and the right outcome of a call that meets it.

    Args:
        fault: Its name.
        scene: The place where it happens.
        phase: The phase that every attempt reaches. Two, where one adapter's parser gives the head of an answer out
            before it looks at the rest, and another's does not.
        disposition: The result's, or the error that is raised.
        kinds: The failure's, of which adapters know more or less. Empty: no failure.
        posts: Whole requests that the server sees.
        retried: Whether the policy tries again, up to its four attempts.
        attempts: Attempts, where they are neither 1 nor 4.
        connections: Connections that the server has seen by then; `None`: it does not matter.
        padding: By how many bytes the request is made larger.
        act: Makes the call.
        recovers: Whether the server can be told to behave, and is then asked once more.
        layers: Those of `LAYERS` that the fault exists on, or that it is not the same on.
        ready: Makes more settings of a ready client: hooks, an engine.
        over: The differences over a transport ("proxy"), or over it with or without TLS ("proxy, plain", "proxy, TLS").
        without: Transports that have no such fault, alone or with or without TLS, and why.
    """

    fault: str
    scene: Setting
    phase: frozenset[Phase] = attrs.field(converter=_phases)
    disposition: Disposition | type[Exception]
    kinds: Collection[FailureKind] = ()
    posts: int = 0
    retried: bool = False
    attempts: int | None = None
    connections: int | None = None
    padding: int = 0
    act: Act = send
    recovers: bool = True
    layers: Collection[str] = LAYERS
    ready: Callable[[ModuleType, Scene], dict[str, Any]] | None = None
    over: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    without: Mapping[str, str] = attrs.field(factory=dict)

    def at(self, mode: str, layer: str) -> Row | None:
        """This row as it is over a transport and a layer; `None`: it is left out there."""
        where = (mode, f"{mode}, {'plain' if layer == 'plain' else 'TLS'}")
        if layer not in self.layers or any(map(self.without.get, where)):
            return None
        row = self
        for place in where:
            row = attrs.evolve(row, **self.over.get(place, {}))
        return row


async def run(row: Row, mode: str, layer: str, later: Callable[[float], None]) -> tuple[int, int]:
    """Run a row over a transport, check it, and give the attempts and the whole requests that were made."""
    async with row.scene(layer) as scene:
        scene.later = later
        scene.ready = row.ready
        async with transport_of(mode, scene) as transport:
            observed = Observed(transport, row.padding)
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
                connections = None if scene.server is None else scene.server.connections
                if row.recovers and scene.server is not None and not isinstance(result, Exception):
                    scene.server.behaviour, scene.server.before = ok, None
                    answered = await scene.client.send(LAST)
                    assert isinstance(answered, Ok), answered
                    assert answered.attempts == 1
        if scene.server is not None:
            await scene.server.wait(lambda: not scene.gateway.open)
        phases, posts = observed.phases(REQUEST), len(scene.posts)
        _check(row, result, phases, posts)
        assert row.connections in (None, connections), f"{connections} connections"
        return len(phases) if isinstance(result, Exception) else result.attempts, posts


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
