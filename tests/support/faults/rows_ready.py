"""Rows of ready clients: hooks, authentication flows and engines that read, repeat or keep the request."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

from support.faults.engines import over_wrapped_streams, retrying_over_streams
from support.faults.matrix import Row
from support.faults.rows_surplus import KINDS, in_its_own_record, in_one_segment, placed
from support.faults.scenes import OTHER, REQUEST, Scene, Setting, no_listener, pass_by, second_call, serving
from support.loopback import Behaviour, ok, rst, status

from gateway360_async import Disposition, FailureKind, Ok, PinResult
from gateway360_async.transports import Phase

NO_HOOKS = dict.fromkeys(("direct", "proxy"), "it has no hooks, and no engine of the user's")


async def _reads_the_body(request: Any) -> None:
    assert b"msisdn" in await request.aread()


async def _reads_the_stream(request: Any) -> None:
    assert b"msisdn" in b"".join([piece async for piece in request.stream])


async def _reads_the_answer(response: Any) -> None:
    await response.aread()


def answer_hook_that_waits(library: ModuleType, scene: Scene) -> dict[str, Any]:
    """A hook that reads the answer, and in which the next call is made."""

    async def reads_and_waits(response: Any) -> None:
        await response.aread()
        scene.reached.set()
        await pass_by()

    return hook(response=reads_and_waits)


async def within_the_hook(scene: Scene) -> PinResult:
    first = asyncio.create_task(scene.client.send(OTHER))
    await scene.reached.wait()
    result = await scene.client.send(REQUEST)
    assert isinstance(await first, Ok)
    return result


def hook(*, request: Any = None, response: Any = None) -> dict[str, Any]:
    hooks = {"request": request, "response": response}
    return {"event_hooks": {name: [function] for name, function in hooks.items() if function}}


def body_hook(library: ModuleType, scene: Scene) -> dict[str, Any]:
    return hook(request=_reads_the_body)


def stream_hook(library: ModuleType, scene: Scene) -> dict[str, Any]:
    return hook(request=_reads_the_stream)


def answer_hook(library: ModuleType, scene: Scene) -> dict[str, Any]:
    return hook(response=_reads_the_answer)


def signing(library: Any, scene: Scene) -> dict[str, Any]:
    class Signature(library.Auth):
        requires_request_body = True

        def auth_flow(self, request: Any) -> Any:
            request.headers["X-Signed-Bytes"] = str(len(request.content))
            yield request

    return {"auth": Signature()}


def reading_the_answer(library: Any, scene: Scene) -> dict[str, Any]:
    """An authentication that wants the answer's body, over a pool in which the next call waits."""

    class Reader(library.Auth):
        requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            yield request

    return {"auth": Reader(), "limits": library.Limits(max_connections=1)}


async def beside_another(scene: Scene) -> PinResult:
    first, second = (asyncio.create_task(scene.client.send(request)) for request in (OTHER, REQUEST))
    assert isinstance(await first, Ok)
    return await second


def asking_twice(library: Any, scene: Scene) -> dict[str, Any]:
    """As OAuth or Digest do: the first refusal is a reason to ask again."""

    class Twice(library.Auth):
        def auth_flow(self, request: Any) -> Any:
            response = yield request
            if response.status_code == 401:
                yield request

    return {"auth": Twice()}


def wrapped(library: ModuleType, scene: Scene) -> dict[str, Any]:
    return {"transport": over_wrapped_streams(library, scene.verify)}


def over_streams(ready: Any) -> Any:
    """The same over an engine that is not httpcore, which says nothing of what it does, and tries four times."""

    def made(library: ModuleType, scene: Scene) -> dict[str, Any]:
        return {"transport": retrying_over_streams(library, scene.verify), **ready(library, scene)}

    return made


def _row(
    fault: str, behaviour: Behaviour | Setting, ready: Any, disposition: Disposition, **more: Any
) -> Row:
    more = {"phase": Phase.ANSWERED, "posts": 1, **more}
    return Row(fault, behaviour, disposition=disposition, ready=ready, without=NO_HOOKS, **more)


READERS = (("a hook that reads the body", body_hook), ("an authentication that reads the body", signing))
SURPLUS = (("ok", in_one_segment), ("429", in_its_own_record))
STOPPED: dict[str, Any] = {"phase": Phase.SENT, "kinds": {FailureKind.UNEXPECTED}}

ROWS = (
    *(_row(name, serving(ok), ready, Disposition.SENT) for name, ready in READERS),
    # A connection that cannot be looked into is not used again.
    _row(
        "a network backend of its own", serving(ok), wrapped, Disposition.SENT, act=second_call, connections=2
    ),
    _row("a hook that reads the stream", serving(ok), stream_hook, Disposition.SENT),
    _row(
        "an authentication that asks twice",
        serving(status(401)),
        asking_twice,
        Disposition.MAYBE_SENT,
        **STOPPED,
    ),
    *(
        _row(
            f"a hook that reads the answer, and a surplus {kind} behind it",
            placed(in_one_segment, KINDS[kind], refused=kind == "ok"),
            answer_hook,
            Disposition.NOT_SENT if kind == "ok" else Disposition.SENT,
            act=second_call,
            connections=2,
        )
        for kind in KINDS
    ),
    *(
        _row(
            f"a call within a hook that reads the answer, and a surplus {kind} behind it",
            placed(place, KINDS[kind], refused=kind == "ok"),
            answer_hook_that_waits,
            Disposition.NOT_SENT if kind == "ok" else Disposition.SENT,
            act=within_the_hook,
            connections=2,
        )
        for kind, place in SURPLUS
    ),
    *(
        _row(
            f"an authentication that reads the answer, and a surplus {kind} behind it",
            placed(place, KINDS[kind], refused=kind == "ok"),
            reading_the_answer,
            Disposition.NOT_SENT if kind == "ok" else Disposition.SENT,
            act=beside_another,
            connections=2,
        )
        for kind, place in SURPLUS
    ),
    *(
        row
        for name, ready in READERS
        for row in (
            _row(f"{name}, retrying engine", serving(ok), over_streams(ready), Disposition.SENT),
            _row(
                f"{name}, retrying engine, RST",
                serving(rst),
                over_streams(ready),
                Disposition.MAYBE_SENT,
                **STOPPED,
            ),
            _row(
                f"{name}, retrying engine, 503",
                serving(status(503)),
                over_streams(ready),
                Disposition.MAYBE_SENT,
                **STOPPED,
            ),
            _row(
                f"{name}, retrying engine, refused",
                no_listener,
                over_streams(ready),
                Disposition.NOT_SENT,
                phase=Phase.UNSENT,
                kinds={FailureKind.CONNECT},
                posts=0,
                retried=True,
            ),
        )
    ),
)
