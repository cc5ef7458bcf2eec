"""The worker of any task queue: one client, and one task function.

    worker = PinWorker(lambda: Gateway360Client(sender="GOOD PIZZA", store=RedisStore("redis://…")))

Invariants:

- It imports no engine.
- Tasks and outcomes are plain JSON, with their version as `v`. A reader refuses a version that it does not know.
- A task holds the whole number, and never the account's key. It is checked like any other input.
- A task returns when its result is on record, so an engine may acknowledge it then. A task that cannot begin because the
  store is away does not return: an engine would take it for done.
- A task's whole number is in no frame of ours when an error is raised.
"""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import closing
from typing import Any, Final, cast

from .._aio import BackgroundLoop
from .._client import Gateway360Client
from .._exceptions import (
    ClientClosed,
    InvalidConfiguration,
    InvalidRequest,
    StoreError,
    without_arguments,
    wrong_type,
)
from .._models import PinRequest, checked_idempotency_key, request_from
from .._operations import canonical
from .._results import FailureKind, PinResult, TransportFailure
from .._runner._records import result_from_fields, result_to_fields

__all__ = ["BlockingPinWorker", "PinWorker", "outcome_of", "request_of", "result_of", "task_of"]

_logger = logging.getLogger("gateway360_async")

_VERSION: Final = 1
_PAUSE: Final = 1.0
"""Seconds between two tries to begin a task while the store is away, each of which waits for it as well."""


@without_arguments
def task_of(request: PinRequest, idempotency_key: str) -> dict[str, Any]:
    """Make the task of a request.

    Args:
        request: The request.
        idempotency_key: The name of this SMS: tasks with the same key are one.

    Raises:
        InvalidRequest: An argument is wrong.
    """
    if not isinstance(request, PinRequest):
        raise wrong_type("request", request, "a PinRequest")
    fields: dict[str, Any] = json.loads(canonical(request))
    if request.line_types != "sms":
        fields["line_types"] = request.line_types
    return {"v": _VERSION, "key": checked_idempotency_key(idempotency_key), "request": fields}


@without_arguments
def request_of(task: Mapping[str, Any]) -> tuple[PinRequest, str]:
    """Read a task: its request, and its idempotency key. Raises `InvalidRequest`."""
    version: object = task.get("v") if isinstance(task, Mapping) else None
    if isinstance(version, int) and version != _VERSION:
        expected = f"version {_VERSION}: update the worker before the web application"
        raise InvalidRequest("task", f"is of version {version}", expected)
    fields: object = None if version is None else task.get("request")
    if version != _VERSION or not isinstance(fields, Mapping):
        raise InvalidRequest("task", "is no task of a PIN request", "a task that task_of() made")
    request = request_from(cast("Mapping[object, object]", fields), checked=True)
    return request, checked_idempotency_key(task.get("key"))


def outcome_of(result: PinResult) -> dict[str, Any]:
    """Make the outcome of a task: the result's fields, its class in `result`, and its `disposition`.

    A `retry_after` without an end, of a header that cannot be read, is `"inf"`: JSON has no such number.
    """
    fields = result_to_fields(result)
    if fields.get("retry_after") == math.inf:
        fields["retry_after"] = "inf"
    return {"v": _VERSION, "disposition": result.disposition.value, **fields}


def result_of(outcome: Mapping[str, Any]) -> PinResult:
    """Read the outcome of a task. Raises `ValueError` for anything else."""
    try:
        # Of all results, only a failure has its disposition as a field.
        derived = {"v"} if outcome["result"] == "TransportFailure" else {"v", "disposition"}
        fields = {name: value for name, value in outcome.items() if name not in derived}
        result = result_from_fields(fields) if outcome["v"] == _VERSION else None
    except Exception as exc:  # of any kind: an error of cattrs
        raise ValueError("that is no outcome of a task: outcome_of() makes them") from exc
    if result is None:
        raise ValueError(f"that is an outcome of another version than {_VERSION}: update this side as well")
    return result


class PinWorker:
    """Sends the tasks of a queue, each once, with one client.

    The client opens with `start`, or with the first task, and closes with `stop`, or with the event loop.

    Args:
        make_client: Makes the client, in the process and the event loop that use it. It has to have a `store`.

    Raises:
        InvalidConfiguration: `make_client` is not callable.
    """

    def __init__(self, make_client: Callable[[], Gateway360Client]) -> None:
        if not callable(make_client):
            raise _wrong_client(f"is of type {type(make_client).__name__}")
        self._make_client = make_client
        self._client: Gateway360Client | None = None
        self._life: AsyncGenerator[None] | None = None
        self._starting = asyncio.Lock()
        self._stopped = False
        self._open = asyncio.Event()
        """Whether the store is not known to be away. While it is, one task tries for all."""
        self._open.set()

    def __repr__(self) -> str:
        return f"<PinWorker {self._client!r}>"

    async def start(self, context: object = None) -> None:  # noqa: ARG002  # engines give a context of theirs
        """Open the client, unless it is open.

        Raises:
            InvalidConfiguration: There is no client with a store, or one of its settings is wrong.
            StoreError: The store refuses this client. Tasks wait for a store that is away.
        """
        async with self._starting:
            if self._life is None:
                life = self._lifespan()
                await anext(life)
                self._life, self._stopped = life, False

    async def _lifespan(self) -> AsyncGenerator[None]:
        # A generator, for an event loop that ends closes those that it has.
        client = self._make_client()
        if not isinstance(client, Gateway360Client):
            raise _wrong_client(f"gives a {type(client).__name__}")
        try:
            if client.store is None:
                problem = "makes a client without a store, which would send redelivered tasks again"
                raise _wrong_client(problem, "Gateway360Client(store=…)")
            try:
                await client.connect()
            except StoreError as exc:
                if not exc.passing:  # it would hold tasks that other workers could send
                    raise
            self._client = client
            yield
        finally:
            self._client = None
            await client.aclose()

    async def stop(self, context: object = None) -> None:  # noqa: ARG002
        """Wait for calls in flight, which end with the client's deadline, and close the client."""
        self._stopped, life, self._life = True, self._life, None
        if life is not None:
            await life.aclose()

    async def send_pin(self, ctx: object = None, *, task: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Send a task's request, once: the task function. `ctx` is the context of an engine that gives one.

        While the store is away, nothing is sent, and the task tries until it can begin. A task that waits so when the
        worker stops never returns: its engine ends it, and its queue delivers it again.

        Returns:
            The result, as `outcome_of` makes it.

        Raises:
            InvalidRequest: `task` was not made by `task_of`, or its key belongs to another request. Nothing was sent.
            InvalidConfiguration, StoreError: The client cannot open; see `start`. Nothing was sent.
            ClientClosed: The worker has stopped. Nothing was sent.
        """
        try:
            if self._client is None and not self._stopped:
                await self.start()
            client = self._client
            if client is None:
                raise ClientClosed("this worker has stopped: nothing was sent")
            request, key = request_of(task)
        finally:
            del task  # a traceback with local variables does not show the number
        tries_for_all = False
        try:
            while True:
                if not tries_for_all:
                    await self._open.wait()
                result = await client.send(request, idempotency_key=key)
                if not isinstance(result, TransportFailure) or result.kind is not FailureKind.STORE:
                    return outcome_of(result)
                if self._open.is_set():
                    _logger.warning("no task is begun until the store can be asked: %s", result.detail)
                    tries_for_all = True
                    self._open.clear()
                await asyncio.sleep(_PAUSE)
        except ClientClosed:
            # It waited when the worker stopped. An engine would acknowledge any return, and any error.
            never: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            return await never
        finally:
            if tries_for_all:
                self._open.set()


def _wrong_client(problem: str, expected: str = "a function that makes a Gateway360Client") -> Exception:
    return InvalidConfiguration("make_client", problem, expected)


class BlockingPinWorker:
    """A `PinWorker` for plain functions: on an event loop in the background, which the first task starts.

    Args:
        make_client: Makes the async client, which has to have a `store`.

    Raises:
        InvalidConfiguration: `make_client` is not callable.
    """

    def __init__(self, make_client: Callable[[], Gateway360Client]) -> None:
        self._make_client = make_client
        self._worker = PinWorker(make_client)
        self._loop = BackgroundLoop(self._worker.stop)

    def check(self) -> None:
        """Open a client and close it, as an engine's parent does before it forks. Raises as `PinWorker.start`."""
        worker = PinWorker(self._make_client)
        with closing(BackgroundLoop(worker.stop)) as loop:
            loop.run(worker.start())

    def send_pin(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Send a task's request, once, and wait for its outcome. See `PinWorker.send_pin`."""
        coroutine = self._worker.send_pin(task=task)
        del task  # a traceback with local variables does not show the number
        return self._loop.run(coroutine)

    def stop(self) -> None:
        """Wait for calls in flight, which end with the client's deadline, and close the client."""
        self._loop.close()
