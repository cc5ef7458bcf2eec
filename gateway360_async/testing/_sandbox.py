"""A sandbox in a thread of its own, for tests whose code runs anywhere.

- The thread and its event loop live as long as the sandbox does, so that a test leaves nothing to the next one,
  a fork included.
- A call that blocks refuses to do so in a running event loop: the application that it waits for may live there.
- The environment is put back as it was found, and nothing else in it is touched.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

import httpx

from .._aio import BackgroundLoop
from .._config import API_KEY_VARIABLE, BASE_URL_VARIABLE
from ..sandbox import Message, PostedReport, Sandbox
from ..sandbox._reporter import report_fields
from ..transports import Answer, DirectTransport, Exchange

__all__ = ["OneShotTransport", "ThreadedSandbox", "environment", "sandbox_in_thread", "serving"]

_T = TypeVar("_T")

_LOOK_AGAIN: Final = 0.005  # seconds between two looks whether a condition is true


class ThreadedSandbox(Sandbox):
    """A `Sandbox` in a thread of its own.

    See `sandbox_in_thread`, and the fixture `gateway360_sandbox`. A method that is no coroutine can be called from any
    thread, and a coroutine, such as `report`, from any event loop; `watch` belongs to the loop that it is called in. A
    test without a loop uses these methods instead of the coroutines.
    """

    def post_report(self, message: Message, status: str = "DELIVRD") -> PostedReport:
        """Post one delivery report of an SMS, now, and wait for its result. See `report`.

        The application has to be served by another thread or process. One in a `TestClient` listens nowhere:
        hand it `report_json`.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
            RuntimeError: The sandbox is closed, or an event loop runs here: there, `await sandbox.report(…)`.
        """
        _require_no_loop("await sandbox.report(…)")
        return asyncio.run(self.report(message, status))

    def report_json(self, message: Message, status: str = "DELIVRD") -> list[dict[str, str]]:
        """Return the JSON that `report` posts, for a test that posts it itself.

        app.post(urlsplit(message.report_url).path, json=sandbox.report_json(message))
        """
        return [report_fields(message, status, self._clock())]

    def wait_until(self, condition: Callable[[], _T], *, timeout: float = 5.0) -> _T:
        """Wait until something is true: a task has sent, a report has come.

            sandbox.wait_until(lambda: sandbox.last_pin("34666666111"))

        Args:
            condition: Called in this thread, every few milliseconds.
            timeout: Seconds to wait at most.

        Returns:
            The condition's first value that is true.

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
    """Run a sandbox in a thread of its own, and let the environment name it.

    The variables are `GATEWAY360_BASE_URL` and `GATEWAY360_API_KEY`. For unittest, Django's tests, and fixtures of your
    own with a longer life than a test:

        def setUp(self):
            self.sandbox = self.enterContext(sandbox_in_thread(balance=3))

    Args:
        settings: The arguments of `Sandbox`.

    Raises:
        ValueError: An argument is wrong; the text begins with its name.
        OSError: The address cannot be listened on: the port is in use, for example.
    """
    sandbox = ThreadedSandbox(**settings)
    with serving(sandbox):
        variables = environment(sandbox)
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield sandbox
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def environment(sandbox: Sandbox) -> Mapping[str, str]:
    """Return the variables that point a client at a sandbox that is running."""
    return {BASE_URL_VARIABLE: sandbox.base_url, API_KEY_VARIABLE: sandbox.api_key}


@contextmanager
def serving(sandbox: Sandbox) -> Generator[None, None, None]:
    """Serve in a thread, from when it listens to when all is closed."""
    # asyncio's own loop, whatever policy an application has set.
    background = BackgroundLoop(
        sandbox.aclose, name="gateway360-sandbox", loop_factory=asyncio.SelectorEventLoop
    )
    with closing(background):
        background.run(sandbox.start())
        yield


class OneShotTransport:
    """A `Transport` for a sandbox, whose connections end with their answers.

    The loop of the fixture `gateway360_client` may be ended by any plugin, in any way: each exchange has a connection
    of its own, and waits until that is closed.
    """

    def __init__(self) -> None:
        # Without the machine's certificates, which take time.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: httpx.Timeout,
        max_bytes: int,
        exchange: Exchange,
    ) -> Answer:
        """POST once and read the answer; see `Transport.post`."""
        one = DirectTransport(verify=self._tls)
        try:
            return await one.post(
                url, headers=headers, body=body, timeout=timeout, max_bytes=max_bytes, exchange=exchange
            )
        finally:
            await one.aclose()

    async def aclose(self) -> None:
        """Do nothing: no connection is left to close."""
