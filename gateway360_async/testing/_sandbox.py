"""A sandbox in a thread of its own, for tests whose code runs anywhere.

Rules of this module:

- The thread and its event loop live as long as the sandbox does, so that a test leaves nothing to the next one,
  a fork included.
- The loop is asyncio's own, whatever policy an application has set.
- What blocks refuses to do so in a running event loop: the application that it waits for may live there.
- The environment is put back as it was found, and nothing else in it is touched.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from .._settings import API_KEY_VARIABLE, BASE_URL_VARIABLE
from ..sandbox import Message, PostedReport, Sandbox
from ..sandbox._reporter import report_fields

__all__ = ["ThreadedSandbox", "environment", "sandbox_in_thread", "serving"]

_T = TypeVar("_T")

_LOOK_AGAIN: Final = 0.005  # seconds between two looks whether a condition is true
_PATIENCE: Final = 10.0  # seconds that starting, and closing, may take; they take milliseconds


class ThreadedSandbox(Sandbox):
    """A `Sandbox` in a thread of its own: see `sandbox_in_thread`, and the fixture `gateway360_sandbox`.

    All that is not a coroutine can be called from any thread, and all that is one, such as `report`, from any
    event loop; `watch` belongs to the loop that it is called in. What a test without a loop needs instead of the
    coroutines is here.
    """

    def post_report(self, message: Message, status: str = "DELIVRD") -> PostedReport:
        """Post one delivery report of an SMS, now, and wait for what becomes of it. See `report`.

        The application has to be served by another thread or process. One in a `TestClient` listens nowhere:
        hand it `report_json`.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
            RuntimeError: The sandbox is closed, or an event loop runs here: there, `await sandbox.report(…)`.
        """
        _require_no_loop("await sandbox.report(…)")
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(self.report(message, status))

    def report_json(self, message: Message, status: str = "DELIVRD") -> list[dict[str, str]]:
        """Give what `report` posts, for a test that posts it to the application itself.

        app.post(urlsplit(message.report_url).path, json=sandbox.report_json(message))
        """
        return [report_fields(message, status, self._clock())]

    def wait_until(self, condition: Callable[[], _T], *, timeout: float = 5.0) -> _T:
        """Wait until something is true that happens behind the test's back: a task that sends, a report.

            sandbox.wait_until(lambda: sandbox.last_pin("34666666111"))

        Args:
            condition: Called in this thread, every few milliseconds.
            timeout: Seconds to wait at most.

        Returns:
            What the condition gave: the first that is true.

        Raises:
            TimeoutError: It did not become true.
            RuntimeError: An event loop runs here: there, `await sandbox.until(…)`.
        """
        _require_no_loop("await sandbox.until(…)")
        end = time.monotonic() + timeout
        while not (value := condition()):
            self._require_time(end, timeout)
            time.sleep(_LOOK_AGAIN)
        return value

    async def until(self, condition: Callable[[], _T], *, timeout: float = 5.0) -> _T:
        """Wait, in an event loop, until something is true. See `wait_until`."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            self._require_time(end, timeout)
            await asyncio.sleep(_LOOK_AGAIN)
        return value

    def _require_time(self, end: float, timeout: float) -> None:
        if time.monotonic() >= end:
            counts = f"{len(self.messages)} SMS and {len(self.requests)} requests"
            raise TimeoutError(f"not true within {timeout} s; the sandbox has {counts}")


def _require_no_loop(instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"this would block the event loop that runs here: use `{instead}`")


@contextmanager
def sandbox_in_thread(**settings: Any) -> Generator[ThreadedSandbox, None, None]:
    """Run a sandbox in a thread of its own, and let `GATEWAY360_BASE_URL` and `GATEWAY360_API_KEY` name it.

    For unittest, Django's tests, and fixtures of your own with a longer life than a test:

        def setUp(self):
            self.sandbox = self.enterContext(sandbox_in_thread(balance=3))

    Args:
        settings: The arguments of `Sandbox`.

    Raises:
        ValueError: An argument is wrong; the text begins with its name.
        OSError: The address cannot be listened on: the port is in use, for example.
    """
    sandbox = ThreadedSandbox(**settings)
    with serving(sandbox), _set(environment(sandbox)):
        yield sandbox


def environment(sandbox: Sandbox) -> Mapping[str, str]:
    """Give the variables that point a client at a sandbox that is running."""
    return {BASE_URL_VARIABLE: sandbox.base_url, API_KEY_VARIABLE: sandbox.api_key}


@contextmanager
def _set(variables: Mapping[str, str]) -> Generator[None, None, None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def serving(sandbox: Sandbox) -> Generator[None, None, None]:
    """Serve in a thread, from when it listens to when all is closed. What starting raises is raised here."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    ended: Future[None] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with sandbox:
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(serve())
        except BaseException as exc:  # noqa: BLE001  # raised below, in the thread that wants to know
            (ended if started.done() else started).set_exception(exc)
        else:
            ended.set_result(None)

    # A daemon: a test run that breaks off without its teardown must not wait for it for ever.
    thread = threading.Thread(target=run, name="gateway360-sandbox", daemon=True)
    thread.start()
    try:
        loop, stop = started.result(_PATIENCE)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            ended.result(_PATIENCE)
    finally:
        thread.join(_PATIENCE)
