"""Pieces of asyncio that it lacks."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from ._exceptions import ClientClosed, WrongEventLoop

__all__ = ["BackgroundLoop", "LoopAffinity", "shield_until_done"]

_T = TypeVar("_T")


class LoopAffinity:
    """The event loop and the process that an object belongs to: those that use it first.

    From another loop, or after a fork, a request could leave on a socket that another process reads.

    Args:
        name: The name of the object in errors.
    """

    __slots__ = ("_loop", "_name", "_pid")

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def require(self) -> asyncio.AbstractEventLoop:
        """Return the running loop. The first one becomes the owner.

        Raises:
            WrongEventLoop: The object belongs to another event loop or process.
        """
        # The process first: in the child of a fork, asyncio denies that its parent's loop is running.
        if self._loop is not None and self._pid != os.getpid():
            raise WrongEventLoop(
                f"this {self._name} was used before a fork: make one in each process; nothing was sent"
            )
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._pid = os.getpid()
        elif self._loop is not loop:
            raise WrongEventLoop(
                f"this {self._name} belongs to another event loop: make one in each, or share one client of "
                "gateway360_async.blocking among all; nothing was sent"
            )
        return loop


async def shield_until_done(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until a future is done, through any cancellation of the current task.

    Args:
        future: Ends by itself, within moments or a deadline of its own. Its result is not looked at.

    Returns:
        The last cancellation that came meanwhile, for the caller to raise; its task remembers it in any case
        (`Task.cancelling`).
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled


class BackgroundLoop:
    """An event loop in a thread of its own. The first coroutine starts it.

    Args:
        at_end: Run on the loop before it stops, such as a client's `aclose`.
        name: The name of the thread.
        loop_factory: Makes the loop.
    """

    def __init__(
        self,
        at_end: Callable[[], Coroutine[Any, Any, object]],
        *,
        name: str = "gateway360",
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._at_end = at_end
        self._name = name
        self._loop_factory = loop_factory
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed = False
        self._pending: deque[tuple[Coroutine[Any, Any, Any], Context, Callable[[Any], object]]] = deque()
        """Coroutines that were not yet begun, each with its context and its thread's answer."""

    def submit(self, coroutine: Coroutine[Any, Any, _T], *, blocks: bool = True) -> Future[_T]:
        """Run a coroutine on the loop, in the caller's context; close it if it cannot run.

        Args:
            coroutine: The coroutine.
            blocks: Whether this thread waits for its result.

        Raises:
            ClientClosed: The loop was closed.
            WrongEventLoop: It was used before a fork, or would wait for itself.
        """
        try:
            self._require_usable(blocks=blocks)
            with self._lock:
                return asyncio.run_coroutine_threadsafe(coroutine, self._loop_to_use())
        except BaseException:
            coroutine.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the loop and wait for its result. Raises its error, or as `submit` does."""
        ended: SimpleQueue[asyncio.Task[_T]] = SimpleQueue()  # in C: half the cost of a `Future`
        context = copy_context()
        loop = None
        try:
            self._require_usable(blocks=True)
            with self._lock:
                loop = self._loop_to_use()
                self._pending.append((coroutine, context, ended.put))
            # No more under the lock: to wake a loop is a system call, and other threads would queue for it.
            with suppress(RuntimeError):  # the loop was closed since, and has begun it before
                loop.call_soon_threadsafe(self._begin, context=context)
            task = ended.get()
        except BaseException:
            if loop is None:
                coroutine.close()  # no other thread has seen it
            else:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._cancel, coroutine)
            raise
        try:
            return task.result()
        except asyncio.CancelledError:
            raise ClientClosed from None  # while it waited
        finally:
            del task  # or it would keep the error, and its frames, alive

    async def wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the loop and await its result, in any event loop of asyncio. Raises as `run` does."""
        future = self.submit(coroutine, blocks=False)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ClientClosed from None

    def close(self) -> None:
        """Run `at_end` and stop the thread. Does nothing after a fork: the thread is the parent's."""
        if self._pid not in (0, os.getpid()):
            return
        self._require_usable(blocks=True)
        with self._lock:
            loop, self._closed = None if self._closed else self._loop, True
        if loop is None or self._thread is None:
            return
        try:
            loop.call_soon_threadsafe(self._begin)  # the last that were taken
            asyncio.run_coroutine_threadsafe(self._at_end(), loop).result()
        finally:
            atexit.unregister(self.close)
            with suppress(RuntimeError):  # the thread has ended before
                loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    def _require_usable(self, *, blocks: bool) -> None:
        # Before the lock: it may have been held at the fork.
        if self._pid not in (0, os.getpid()):
            problem = "this client was used before a fork: make one in each process; nothing was sent"
            raise WrongEventLoop(problem)
        if blocks and threading.current_thread() is self._thread:
            raise WrongEventLoop("this thread runs the client's own event loop: await `client.aio` there")

    def _loop_to_use(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise ClientClosed
        return self._loop or self._start()

    def _begin(self) -> None:
        while self._pending:  # of other threads too, whose turn would come
            coroutine, context, ended = self._pending.popleft()
            task = asyncio.get_running_loop().create_task(coroutine, context=context)
            task.add_done_callback(ended, context=context)

    def _cancel(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._begin()
        for task in asyncio.all_tasks():
            if task.get_coro() is coroutine:
                task.cancel()
                return
        coroutine.close()  # it never began, or has ended

    def _start(self) -> asyncio.AbstractEventLoop:
        self._pid = os.getpid()
        loop = self._loop_factory()
        self._thread = threading.Thread(target=self._serve, args=(loop,), name=self._name, daemon=True)
        self._thread.start()
        self._loop = loop
        atexit.register(self.close)
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        # Python 3.12 starts no thread at the interpreter's end, and the runner wants one to wait for the executor.
        with suppress(RuntimeError), asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.get_loop().run_forever()
            finally:
                # A `SystemExit` of a caller's coroutine ends the loop: later calls are refused, and do not wait for ever.
                with self._lock:
                    self._closed = True
                loop.call_soon(self._begin)
                runner.run(asyncio.sleep(0))
