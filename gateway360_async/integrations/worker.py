"""The worker of any task queue: one client, and one task function.

    worker = PinWorker(lambda: Gateway360Client(sender="GOOD PIZZA", store=RedisStore("redis://…")))

`PinWorker.start` and `PinWorker.stop` are for the engine's start-up and shut-down, `PinWorker.send_pin` is its task. The
docstring of `gateway360_async.integrations` has it on arq.

Invariants:

- It imports no engine.
- `BlockingPinWorker` is for engines whose tasks are plain functions. It begins in each process with the first task there.
- A task returns when its result is on record, so that an engine may acknowledge it then. One that cannot be begun
  because the store is away does not return: an engine would take that for done.
- While the store is away, one task tries for all.
- A task's whole number is in no frame of ours when an error is raised.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._client import Gateway360Client
from .._errors import ClientClosed, InvalidConfiguration, InvalidRequest, StoreError
from .._payloads import PinRequest
from .._results import FailureKind, PinResult, TransportFailure
from ..blocking import BackgroundLoop
from ._tasks import outcome_of, request_of, result_of, task_of

__all__ = ["BlockingPinWorker", "PinWorker", "outcome_of", "request_of", "result_of", "task_of"]

_logger = logging.getLogger("gateway360_async")

_PAUSE: Final = 1.0
"""Seconds between two tries to begin a task while the store is away, each of which waits for it as well."""


class PinWorker:
    """Sends the tasks of a queue, each once, with one client.

    Args:
        make_client: Makes the client, in the process and the event loop that use it. It has to have a `store`.

    Raises:
        InvalidConfiguration: That is not callable.
    """

    def __init__(self, make_client: Callable[[], Gateway360Client]) -> None:
        if not callable(make_client):
            problem = f"is of type {type(make_client).__name__}"
            raise InvalidConfiguration("make_client", problem, "a function that makes a Gateway360Client")
        self._make_client = make_client
        self._client: Gateway360Client | None = None
        self._open = asyncio.Event()
        self._open.set()

    def __repr__(self) -> str:
        return f"<PinWorker {self._client!r}>"

    async def start(self, context: object = None) -> None:  # noqa: ARG002  # engines give what is theirs
        """Open the client.

        Raises:
            InvalidConfiguration: There is no client with a store, or one of its settings is wrong.
            StoreError: The store refuses this client. One that is away is waited for by the tasks.
        """
        client = self._make_client()
        if not isinstance(client, Gateway360Client):
            problem = f"gives a {type(client).__name__}"
            raise InvalidConfiguration("make_client", problem, "a function that makes a Gateway360Client")
        if client.store is None:
            await client.aclose()
            problem = "makes a client without a store, which would send again what its queue delivers again"
            raise InvalidConfiguration("make_client", problem, "Gateway360Client(store=…)")
        try:
            await client.connect()
        except StoreError as exc:
            if not exc.passing:  # it would hold tasks that others could send
                await client.aclose()
                raise
        except BaseException:
            await client.aclose()
            raise
        self._client = client

    async def stop(self, context: object = None) -> None:  # noqa: ARG002
        """Wait for what is in flight, which ends with the client's deadline, and close the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def send_pin(self, ctx: object = None, *, task: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Send a task's request, once: the task function.

        While the store is away, nothing is sent, and it is tried again until it can be. A task that waits so when the
        worker stops never returns: its engine ends it, and its queue delivers it again.

        Args:
            ctx: What an engine gives first, as arq does. It is not looked at.
            task: A task that `task_of` made.

        Returns:
            The result, as `outcome_of` makes it.

        Raises:
            InvalidRequest: That is no task, or its key belongs to another request. Nothing was sent.
            ClientClosed: The worker has not begun, or has ended. Nothing was sent.
        """
        client = self._client
        read = _read(task)
        del task  # whatever is raised from here on, a traceback with local variables does not show it
        if client is None:
            raise ClientClosed("this worker has not begun, or has ended: nothing was sent")
        if isinstance(read, InvalidRequest):
            raise read
        request, key = read
        tries_for_all = False
        try:
            while True:
                if not tries_for_all:
                    await self._open.wait()
                result = await self._tried(client, request, key)
                if result is not None:
                    return outcome_of(result)
                if self._open.is_set():
                    tries_for_all = True
                    self._open.clear()
                await asyncio.sleep(_PAUSE)
        finally:
            if tries_for_all:
                self._open.set()

    async def _tried(self, client: Gateway360Client, request: PinRequest, key: str) -> PinResult | None:
        """Send a request; `None`: the store could not be asked."""
        try:
            result = await client.send(request, idempotency_key=key)
        except ClientClosed:
            # It waited when the worker stopped. Whatever it returned or raised now would be acknowledged.
            never: asyncio.Future[PinResult] = asyncio.get_running_loop().create_future()
            return await never
        if not isinstance(result, TransportFailure) or result.kind is not FailureKind.STORE:
            return result
        if self._open.is_set():
            _logger.warning("no task is begun until the store can be asked: %s", result.detail)
        return None


class BlockingPinWorker:
    """A `PinWorker` for plain functions: on an event loop in the background, one in each process.

    Args:
        make_client: Makes the async client, which has to have a `store`.

    Raises:
        InvalidConfiguration: That is not callable.
    """

    def __init__(self, make_client: Callable[[], Gateway360Client]) -> None:
        self._make_client = make_client
        self._lock = threading.Lock()
        self._pid = 0
        self._worker = PinWorker(make_client)
        self._loop = BackgroundLoop(self._worker.stop)

    def check(self) -> None:
        """Make the client, connect its store and close both, as an engine's parent does before it forks.

        Raises:
            InvalidConfiguration: There is no client with a store, or one of its settings is wrong.
            StoreError: The store refuses this client. One that is away is waited for by the tasks.
        """
        BlockingPinWorker(self._make_client)._begin().close()  # noqa: SLF001  # one of its own kind

    def send_pin(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Send a task's request, once, and wait for its outcome. See `PinWorker.send_pin`."""
        loop = self._begin()
        coroutine = self._worker.send_pin(task=task)
        del task  # whatever is raised from here on, a traceback with local variables does not show it
        return loop.run(coroutine)

    def stop(self) -> None:
        """Wait for what is in flight, which ends with the client's deadline, and close the client."""
        with self._lock:
            self._pid = 0
            self._loop.close()

    def _begin(self) -> BackgroundLoop:
        """Open the client, unless this process has."""
        with self._lock:
            if self._pid != os.getpid():
                worker = PinWorker(self._make_client)
                loop = BackgroundLoop(worker.stop)
                try:
                    loop.run(worker.start())
                except BaseException:
                    loop.close()
                    raise
                self._worker, self._loop, self._pid = worker, loop, os.getpid()
            return self._loop


def _read(task: Mapping[str, Any]) -> tuple[PinRequest, str] | InvalidRequest:
    """Read a task. An error is returned, for the caller to raise: here, its traceback would hold the task."""
    try:
        return request_of(task)
    except InvalidRequest as exc:
        return InvalidRequest(exc.field, exc.problem, exc.expected)
