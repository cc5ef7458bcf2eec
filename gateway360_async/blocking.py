"""The client for code without an event loop of its own: threads, WSGI, Django, Celery tasks, notebooks.

    with Gateway360Client(sender="GOOD PIZZA") as client:
        result = client.request_pin("34666666111")

It is the async client on an event loop in a background thread. All threads share it, and any event loop awaits it:
`await client.aio.request_pin("34666666111")`.

Invariants:

- The thread starts with the first call, so a client may be made before a fork. One that was used before is refused after it.
- A caller that stops waiting (Ctrl-C, a time limit, a cancellation) cancels its call.
- The caller's thread reads the rows of a batch, so they may come from its database connection.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from functools import wraps
from operator import itemgetter
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, cast

from ._aio import BackgroundLoop
from ._batch import BatchItem, BatchReport, InputReader
from ._client import Gateway360Client as AsyncClient
from ._config import Lazy
from ._exceptions import ClientClosed
from ._results import BatchResult

if TYPE_CHECKING:
    from . import stores
else:
    stores = Lazy(".stores")

__all__ = ["AnyLoop", "BackgroundLoop", "Batch", "Gateway360Client"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _with_arguments(
    _method: Callable[Concatenate[AsyncClient, _P], object],
) -> Callable[[Callable[..., _T]], Callable[Concatenate[Gateway360Client, _P], _T]]:
    """Give a method the arguments of the async client's, for type checkers and `inspect.signature`."""
    return wraps(_method, assigned=())


def _waits(
    method: Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[Gateway360Client, _P], _T]:
    @wraps(method)
    def call(self: Gateway360Client, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return self._loop.run(method(self._client, *args, **kwargs))
        finally:
            del args, kwargs  # or a traceback with local variables would show the number

    return cast("Callable[Concatenate[Gateway360Client, _P], _T]", call)


def _awaits(
    method: Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[AnyLoop, _P], Coroutine[Any, Any, _T]]:
    @wraps(method)
    async def call(self: AnyLoop, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await self._loop.wait(method(self._client, *args, **kwargs))
        finally:
            del args, kwargs

    return cast("Callable[Concatenate[AnyLoop, _P], Coroutine[Any, Any, _T]]", call)


async def _run(
    _client: AsyncClient,
    function: Callable[_P, Coroutine[Any, Any, _T]],
    /,
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _T:
    """Run an async function on the client's event loop, such as `DeliveryReports.receive`."""
    try:
        return await function(*args, **kwargs)
    finally:
        del args, kwargs


class AnyLoop:
    """The methods of a blocking client, to be awaited in any event loop of asyncio: `Gateway360Client.aio`."""

    def __init__(self, client: AsyncClient, loop: BackgroundLoop) -> None:
        self._client = client
        self._loop = loop

    request_pin = _awaits(AsyncClient.request_pin)
    send = _awaits(AsyncClient.send)
    verify_pin = _awaits(AsyncClient.verify_pin)
    resolve = _awaits(AsyncClient.resolve)
    connect = _awaits(AsyncClient.connect)
    run = _awaits(_run)


class Gateway360Client:
    """Sends PIN requests to Gateway360, from any thread. Keep one for all calls.

    Its arguments, methods and results are those of `gateway360_async.Gateway360Client`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    @_with_arguments(AsyncClient.__init__)
    def __init__(self, *args: Any, **settings: Any) -> None:
        try:
            self._client = AsyncClient(*args, **settings)
        finally:
            del args, settings  # no traceback with local variables shows the key
        self._loop = BackgroundLoop(self._client.aclose)
        self.aio = AnyLoop(self._client, self._loop)
        """The client, to be awaited in any event loop of asyncio."""

    def __repr__(self) -> str:
        return f"<blocking {getattr(self, '_client', None)!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new calls, wait for those in flight, and stop the thread, as the interpreter's exit does."""
        self._loop.close()

    @property
    def store(self) -> stores.Store | None:
        """The store that this client was given; `None`: it remembers for this process only."""
        return self._client.store

    request_pin = _waits(AsyncClient.request_pin)
    send = _waits(AsyncClient.send)
    verify_pin = _waits(AsyncClient.verify_pin)
    resolve = _waits(AsyncClient.resolve)
    connect = _waits(AsyncClient.connect)
    run = _waits(_run)

    @_with_arguments(AsyncClient.batch)
    def batch(self, rows: Iterable[object] | AsyncIterable[object], **settings: Any) -> Batch:
        """Send many requests, and get each result as it comes. The thread that iterates reads the rows.

        The arguments are those of `gateway360_async.Gateway360Client.batch`.

            with client.batch(rows) as batch:
                for item in batch:
                    print(item.index, item.result)
            print(batch.report)
        """
        try:
            return Batch(self._client, self._loop, InputReader(rows), settings)
        finally:
            del rows

    @_with_arguments(AsyncClient.send_all)
    def send_all(self, rows: Iterable[object] | AsyncIterable[object], **settings: Any) -> list[BatchResult]:
        """Send many requests, and get their results in the order of the rows. See `batch`."""
        try:
            source = InputReader(rows)
            if source.is_at_hand:
                rows = list(map(itemgetter(1), iter(source.read_now, None)))  # by this thread
            coroutine = self._client.send_all(rows, **settings)
        finally:
            del rows  # numbers, mostly: no traceback with local variables shows them
        return self._loop.run(coroutine)


class Batch:
    """A batch of the blocking client: `Gateway360Client.batch` makes one. Use it once, as a context manager.

    It is `gateway360_async.Batch` without `async`. It reads no rows while the caller's thread does not iterate.
    """

    def __init__(
        self, client: AsyncClient, loop: BackgroundLoop, source: InputReader, settings: Mapping[str, Any]
    ) -> None:
        self._loop = loop
        self._source = source
        rows = self._read() if source.is_at_hand else cast("AsyncIterable[object]", source)
        self._batch = client.batch(rows, **settings)
        self._steps: SimpleQueue[Future[Any]] = SimpleQueue()
        """The rows that the batch wants read, and then the next item."""
        self._next: Future[BatchItem] | None = None

    @property
    def report(self) -> BatchReport:
        """The state of the batch so far; whole once the block has been left."""
        return self._batch.report

    def stop(self) -> None:
        """Begin nothing more. Results of calls on their way come as before; rows that were not begun do not."""

        async def stop() -> None:
            self._batch.stop()

        self._loop.run(stop())

    def __enter__(self) -> Self:
        self._loop.run(self._batch.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036  # as it comes
        self._loop.run(self._batch.__aexit__(*error))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchItem:
        if self._next is None:
            self._next = self._loop.submit(self._batch.__anext__())
            self._next.add_done_callback(self._steps.put)
        while (step := self._steps.get()) is not self._next:
            if not step.set_running_or_notify_cancel():
                continue  # the batch has ended meanwhile
            try:
                step.set_result(self._source.read_now())
            except Exception as exc:  # noqa: BLE001  # the batch raises it, once it has settled its calls
                step.set_exception(exc)
            except BaseException:
                step.set_exception(CancelledError())  # Ctrl-C is for this thread
                raise
        self._next = None
        try:
            return cast("BatchItem", step.result())
        except StopAsyncIteration:
            raise StopIteration from None
        except CancelledError:
            raise ClientClosed from None
        finally:
            del step  # or it would keep the error, and its frames, alive

    async def _read(self) -> AsyncIterator[object]:
        """Have each row read by the thread that iterates over the items."""
        while True:
            wanted: Future[tuple[int, object] | None] = Future()
            self._steps.put(wanted)
            read = await asyncio.wrap_future(wanted)
            if read is None:
                return
            yield read[1]
